"""Read-only mode: a server of Apache's and one of ours that lost their quorum are asked the same, answer by answer.

Needs Java and ZABRA_ZOOKEEPER_CLASSPATH (the jars of Apache ZooKeeper 3.9.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from compat import jute
from compat.ensembles import READ_ONLY, Ensemble, Spec
from compat.rawclient import Client, Link
from compat.servers import APACHE, ZABRA, missing_java, require

pytestmark = pytest.mark.java

#: Requests to a cut-off server, and what they are.
REQUESTS: Final = {
    "exists": (jute.EXISTS, jute.path_watch("/node", True)),
    "exists not": (jute.EXISTS, jute.path_watch("/nix", True)),
    "getData": (jute.GET_DATA, jute.path_watch("/node", True)),
    "getData without the right": (jute.GET_DATA, jute.path_watch("/closed", False)),
    "getChildren": (jute.GET_CHILDREN, jute.path_watch("/", True)),
    "getChildren2": (jute.GET_CHILDREN2, jute.path_watch("/", False)),
    "getACL": (jute.GET_ACL, jute.text("/node")),
    "getEphemerals": (jute.GET_EPHEMERALS, jute.text("/")),
    "getAllChildrenNumber": (jute.GET_ALL_CHILDREN_NUMBER, jute.text("/")),
    "whoAmI": (jute.WHO_AM_I, b""),
    "multiRead": (jute.MULTI_READ, jute.multi([(jute.GET_DATA, jute.path_watch("/node", False))])),
    "addWatch": (jute.ADD_WATCH, jute.path_int("/node", 1)),
    "checkWatches": (jute.CHECK_WATCHES, jute.path_int("/node", 3)),
    "removeWatches": (jute.REMOVE_WATCHES, jute.path_int("/node", 3)),
    "setWatches": (jute.SET_WATCHES, jute.set_watches(0, ["/node"], ["/nix"], ["/"])),
    "setWatches2": (jute.SET_WATCHES2, jute.set_watches(0, ["/node"], [], [], [], ["/"])),
    "ping": (jute.PING, b""),
    "sync": (jute.SYNC, jute.text("/node")),
    "create": (jute.CREATE, jute.create("/new", b"", jute.OPEN, 0)),
    "create an ephemeral": (jute.CREATE, jute.create("/new", b"", jute.OPEN, 1)),
    "create2": (jute.CREATE2, jute.create("/new", b"", jute.OPEN, 0)),
    "createContainer": (jute.CREATE_CONTAINER, jute.create("/new", b"", jute.OPEN, 4)),
    "createTTL": (jute.CREATE_TTL, jute.create_ttl("/new", b"", jute.OPEN, 5, 1000)),
    "delete": (jute.DELETE, jute.path_version("/node", -1)),
    "setData": (jute.SET_DATA, jute.set_data("/node", b"", -1)),
    "setACL": (jute.SET_ACL, jute.set_acl("/node", jute.OPEN, -1)),
    "multi": (jute.MULTI, jute.multi([(jute.CHECK, jute.path_version("/node", -1))])),
    "empty multi": (jute.MULTI, jute.multi([])),
    "check": (jute.CHECK, jute.path_version("/node", -1)),
    "reconfig": (jute.RECONFIG, jute.reconfig(None, "2", None)),
    "a create that does not parse": (jute.CREATE, b""),
    "unknown": (99, b""),
    "closeSession": (jute.CLOSE_SESSION, b""),
}


class CutOff:
    """One kind of server: two of them, with and without local sessions; of each pair the second one is dead."""

    def __init__(self, ensembles: dict[bool, Ensemble], sessions: dict[bool, tuple[int, bytes]]) -> None:
        self.ensembles = ensembles
        #: (id, password) of a global session made while there was a quorum.
        self.sessions = sessions


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CutOff, CutOff]]:
    """Apache's and ours."""
    require(missing_java())
    found = []
    running: list[Ensemble] = []
    try:
        for kind in (APACHE, ZABRA):
            cut_off = CutOff({}, {})
            for local in (False, True):
                folder = tmp_path_factory.mktemp(f"{kind}-{local}")
                config = {"localSessionsEnabled": str(local).lower(), "localSessionsUpgradingEnabled": "true"}
                specs = {sid: Spec(kind, properties={"readonlymode.enabled": "true"}) for sid in (1, 2)}
                ensemble = cut_off.ensembles[local] = Ensemble(folder, specs, config=config)
                running.append(ensemble)
                ensemble.start()
                cut_off.sessions[local] = prepare(ensemble)
                ensemble[2].kill()
                ensemble.wait_mode(1, READ_ONLY)
            found.append(cut_off)
        yield found[0], found[1]
    finally:
        for ensemble in running:
            ensemble.__exit__(None, None, None)


def prepare(ensemble: Ensemble) -> tuple[int, bytes]:
    """Some nodes, of which one makes the session global; its id and password."""
    with ensemble.client(1) as client:
        for path, acl, flags in (
            ("/node", jute.OPEN, 0),
            ("/closed", [(30, "world", "anyone")], 0),
            ("/mine", jute.OPEN, 1),
        ):
            assert client.call(jute.CREATE, jute.create(path, b"data", acl, flags)) == (0, path)
        ensemble.quiet()
        return client.session, client.password


def greeted(ensemble: Ensemble, **handshake: Any) -> Any:
    """What a server says to a ConnectRequest: shape of the answer, ``None`` for a close."""
    with Link(ensemble[1].port) as link:
        link.send(jute.frame(jute.connect(**handshake)))
        payload = link.receive()
        if payload is None or len(payload) < 20:
            # Stock answers a client that it cannot give a session with the bare header of a reply.
            return payload and jute.decode_reply(payload, 0)[2]
        answer = jute.decode_handshake(payload)
        return answer.timeout_ms, answer.session != 0, answer.surplus


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("read_only", [False, None, True])
def test_who_is_let_in(local: bool, read_only: bool | None, both: tuple[CutOff, CutOff]) -> None:
    answers = []
    for cut_off in both:
        ensemble, (session, password) = cut_off.ensembles[local], cut_off.sessions[local]
        answers.append(
            {
                "new": greeted(ensemble, read_only=read_only),
                "global session": greeted(ensemble, read_only=read_only, session=session, password=password),
                "unknown session": greeted(ensemble, read_only=read_only, session=5),
                "has seen more": greeted(ensemble, read_only=read_only, last_zxid=2**40),
            }
        )
    assert answers[1] == answers[0]
    assert (answers[1]["new"] is not None) == bool(read_only)


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(name: str, both: tuple[CutOff, CutOff]) -> None:
    """The reply, its code, and whether the connection goes on."""
    opcode, body = REQUESTS[name]
    xid = {jute.PING: jute.XID_PING, jute.SET_WATCHES: jute.XID_SET_WATCHES}.get(opcode, 1)
    answers = []
    for cut_off in both:
        with cut_off.ensembles[True].client(1, read_only=True) as client:
            client.post(opcode, body, xid)
            reply = client.reply(opcode)
            client.post(jute.EXISTS, jute.path_watch("/node", False), 2)
            after = client.reply(jute.EXISTS)
        answers.append((reply and (reply[0], reply[2], shape(reply[3]), reply[4]), client.events, after and after[2]))
    stock, ours = answers
    if opcode == 99:
        # Stock closes from another thread: what came meanwhile may still be answered.
        stock, ours = (answer[:2] for answer in answers)
    assert ours == stock


def shape(body: Any) -> Any:
    """A body without the times and zxids in it."""
    if isinstance(body, jute.Stat):
        return (*body[4:7], *body[8:10])
    return tuple(map(shape, body)) if isinstance(body, tuple | list) else body


def test_words(both: tuple[CutOff, CutOff]) -> None:
    """The role is told, and nothing of who else there is."""
    told = []
    for cut_off in both:
        member = cut_off.ensembles[False][1]
        conf = [line.partition("=")[0] for line in member.ask("conf").splitlines()]
        lines = [line for line in member.ask("srvr").splitlines() if not line.startswith(("Zookeeper", "Latency"))]
        metrics = member.metrics()
        known = {name: metrics.get(name) for name in ("server_state", "peer_state", "quorum_size")}
        told.append((member.ask("isro"), conf, lines[0], lines[-2:], known))
    assert told[1] == told[0]
    assert (told[1][0], told[1][4]["server_state"]) == ("ro", "read-only")


def test_clients_are_sent_away_when_there_is_a_quorum_again(both: tuple[CutOff, CutOff]) -> None:
    for cut_off in both:
        ensemble, (session, password) = cut_off.ensembles[True], cut_off.sessions[True]
        with ensemble.client(1, read_only=True) as client:
            ensemble.start(2)
            assert client.link.receive() is None
        with Client(ensemble[1].port, session=session, password=password) as again:
            assert (again.session, again.handshake.surplus) == (session, b"\0")
            assert again.call(jute.SET_DATA, jute.set_data("/node", b"new", -1))[0] == 0
