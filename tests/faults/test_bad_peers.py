"""Nonsense on the election and quorum ports: one clear line, that connection closed, the ensemble unharmed."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from compat import datafiles, jute
from compat.ensembles import FOLLOWER, LEADER, Ensemble, Member, Spec
from compat.servers import LOOPBACK, ZABRA

#: Who does not introduce itself has 2 s, a learner 5 s for each of its steps.
CONFIG = {"tickTime": "250", "initLimit": "20", "syncLimit": "8"}
FOLLOWERINFO, LEADERINFO, ACKEPOCH, ACK, REQUEST, SNAP, UPTODATE = 11, 17, 18, 3, 1, 15, 12
LOOKING, LEADING = 0, 2
#: Nobody has this id.
STRANGER = 77


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """One ensemble for all, so that what one leaves behind would hurt the next."""
    with Ensemble(tmp_path_factory.mktemp("peers"), dict.fromkeys((1, 2, 3), Spec(ZABRA)), config=CONFIG) as made:
        made.start()
        yield made
        for member in made.members.values():
            assert member.stop() == 0
    for member in made.members.values():
        text = member.log.read_text()
        assert "Traceback" not in text
        assert " ERROR " not in text


@contextmanager
def unharmed(ensemble: Ensemble, but: int = 0) -> Iterator[None]:
    """The same server leads the same epoch, everybody serves, and no client was disconnected; ``but`` those of one."""
    leader = ensemble.leader()
    zxid = leader.zxid()
    with ExitStack() as stack:
        clients = {sid: stack.enter_context(ensemble.client(sid)) for sid in ensemble.members if sid != but}
        yield
        assert ensemble.leader() is leader
        now = leader.zxid()
        assert zxid is not None
        assert now is not None
        assert zxid >> 32 == now >> 32
        for sid, client in clients.items():
            path = f"/witness-{client.session}"
            assert client.call(jute.CREATE, jute.create(path, b"", jute.OPEN, 1))[0] == 0, sid
            assert client.call(jute.GET_DATA, jute.path_watch(path, False))[0] == 0, sid
            client.close_session()


def packet(kind: int, zxid: int = -1, data: bytes | None = None) -> bytes:
    """A quorum packet without identities."""
    return struct.pack(">iq", kind, zxid) + jute.text(data) + struct.pack(">i", -1)


def hello(sid: int, epoch: int = 0, version: int = 0) -> bytes:
    """FOLLOWERINFO."""
    return packet(FOLLOWERINFO, epoch << 32, struct.pack(">qiq", sid, 0x10000, version))


def introduction(sid: int, port: int) -> bytes:
    """Of who dials an election port."""
    address = f"{LOOPBACK}:{port}".encode()
    return struct.pack(">qqi", -65536, sid, len(address)) + address


def vote(state: int, leader: int, zxid: int, epoch: int, round_: int = 1) -> bytes:
    """An election message as a frame, with no membership that is newer."""
    text = b"version=0"
    return jute.frame(struct.pack(">iqqqqii", state, leader, zxid, round_, epoch, 2, len(text)) + text)


def dial(port: int, *data: bytes) -> socket.socket:
    """A connection on which this was sent."""
    link = socket.create_connection((LOOPBACK, port), 20)
    link.sendall(b"".join(data))
    return link


def heard(link: socket.socket) -> bytes:
    """Everything until the server closes."""
    data = b""
    try:
        while chunk := link.recv(65536):
            data += chunk
    except ConnectionError:
        pass
    return data


def lines_about(ensemble: Ensemble, member: Member, link: socket.socket) -> list[str]:
    """What the server's log says of a connection, once it says anything."""
    name = f"{LOOPBACK}:{link.getsockname()[1]}"

    def find() -> list[str]:
        return [line for line in member.log.read_text().splitlines() if name in line]

    ensemble.until(f"a line about {name}", find, 5)
    return find()


def refused(ensemble: Ensemble, member: Member, link: socket.socket, why: str) -> None:
    """The server closes, and says why in one line."""
    heard(link)
    (line,) = lines_about(ensemble, member, link)
    assert " WARNING " in line
    assert why in line, line


GARBAGE = random.Random(1).randbytes(300)


@pytest.mark.parametrize("mode", [LEADER, FOLLOWER])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: zoo\r\n\r\n", "(server 5135603447292250196): a frame of 1414541105 bytes"),
        (b"\xff" + GARBAGE, "no election connection"),
        (struct.pack(">qqi", -65536, STRANGER, 1 << 30) + b"x" * 100, "addresses of 1073741824 bytes"),
        (struct.pack(">qqi", -65536, STRANGER, -5), "addresses of -5 bytes"),
        (struct.pack(">qqi", -65536, STRANGER, 9) + b"nonsense!", "not an address: 'nonsense!'"),
        (introduction(STRANGER, 1)[:-2], "it did not introduce itself within 2 s"),
        (b"", "it did not introduce itself within 2 s"),
        (introduction(STRANGER, 1) + struct.pack(">i", 1 << 30) + b"x" * 100, "a frame of 1073741824 bytes"),
        (introduction(STRANGER, 1) + struct.pack(">i", -1), "a frame of -1 bytes"),
        (introduction(-5, 1), "no membership has its id -5"),
    ],
    ids=[
        "http",
        "garbage",
        "oversize",
        "negative",
        "no address",
        "half",
        "nothing",
        "big frame",
        "bad frame",
        "bad id",
    ],
)
def test_nonsense_on_an_election_port(ensemble: Ensemble, mode: str, data: bytes, why: str) -> None:
    member = next(ensemble[sid] for sid, shown in ensemble.modes().items() if shown == mode)
    with unharmed(ensemble), dial(member.election_port, data) as link:
        refused(ensemble, member, link, why)


def test_a_message_that_ends_in_the_middle(ensemble: Ensemble) -> None:
    member = ensemble.leader()
    with unharmed(ensemble), dial(member.election_port, introduction(STRANGER, 1), b"\0\0\0\x64half") as link:
        link.shutdown(socket.SHUT_WR)
        refused(ensemble, member, link, "it ended after 8 bytes of an unfinished message")


def test_votes_that_are_no_votes(ensemble: Ensemble) -> None:
    """They are dropped one by one, as in Apache; the connection stays, for the next one may be good."""
    rng = random.Random(2)
    member = ensemble.leader()
    with unharmed(ensemble), dial(member.election_port, introduction(STRANGER, 1)) as link:
        for _ in range(50):
            link.sendall(jute.frame(rng.randbytes(rng.randrange(1, 28))))
        link.sendall(jute.frame(struct.pack(">iqqqqii", 9, 1, 1, 1, 1, 2, 0)))
        link.sendall(vote(LOOKING, STRANGER, 1 << 60, 1 << 20))
        assert link.recv(4096), "a good one is answered"


@pytest.mark.parametrize("sid", [STRANGER, 3, 2])
def test_who_claims_an_id_and_the_best_of_all_votes(ensemble: Ensemble, sid: int) -> None:
    """Those who follow a leader are not moved by votes; the server of that id connects anew when it has to."""
    with unharmed(ensemble):
        links = [
            dial(member.election_port, introduction(sid, 1), vote(state, sid, 1 << 60, 1 << 20, 1 << 40))
            for member in ensemble.members.values()
            for state in (LOOKING, LEADING)
        ]
        time.sleep(0.5)
        for link in links:
            link.close()
    # After all that they elect as ever.
    leader = ensemble.leader()
    ensemble.restart(leader.sid)
    ensemble.wait_serving()


def test_who_claims_the_id_of_the_server_itself(ensemble: Ensemble) -> None:
    member = ensemble.leader()
    with unharmed(ensemble), dial(member.election_port, introduction(member.sid, 1)) as link:
        refused(ensemble, member, link, f"it has our own id {member.sid}: two servers are configured as the same one")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: zoo\r\n\r\n", "unknown packet type 1195725856"),
        (b"\xff" * 300, "unknown packet type -1"),
        (struct.pack(">iqi", REQUEST, -1, 1 << 30), "REQUEST with 1073741824 bytes of data, the limit is "),
        (struct.pack(">iqi", REQUEST, -1, -7), "REQUEST with -7 bytes of data, the limit is "),
        (packet(ACK, 1), "first packet is ACK, not FOLLOWERINFO or OBSERVERINFO"),
        (packet(SNAP, 1), "first packet is SNAP, not FOLLOWERINFO or OBSERVERINFO"),
        (hello(2)[:-3], "is silent in stage hello"),
        (b"", "is silent in stage hello"),
        (hello(STRANGER, version=1 << 60), "server 77 has a later configuration"),
    ],
    ids=[
        *("http", "garbage", "oversize", "negative", "ack first", "snap first", "half", "nothing"),
        "newer configuration",
    ],
)
def test_nonsense_on_the_quorum_port(ensemble: Ensemble, data: bytes, why: str) -> None:
    member = ensemble.leader()
    with unharmed(ensemble), dial(member.quorum_port, data) as link:
        refused(ensemble, member, link, why)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "server {sid} is silent in stage ackepoch"),
        (packet(UPTODATE), "UPTODATE from server {sid} in stage ackepoch"),
        (packet(ACKEPOCH, 5, b"\x00"), "ACKEPOCH with 1 bytes of data"),
    ],
    ids=["nothing", "out of turn", "short"],
)
def test_nonsense_behind_the_hello_of_a_known_server(ensemble: Ensemble, data: bytes, why: str) -> None:
    member = ensemble.leader()
    sid = min(sid for sid in ensemble.members if sid != member.sid)
    with unharmed(ensemble), dial(member.quorum_port, hello(sid), data) as link:
        refused(ensemble, member, link, why.format(sid=sid))


def test_who_claims_the_id_of_the_leader(ensemble: Ensemble) -> None:
    member = ensemble.leader()
    with unharmed(ensemble), dial(member.quorum_port, hello(member.sid)) as link:
        refused(ensemble, member, link, f"it claims to be server {member.sid}, which this one is")


def test_garbage_from_many_at_once(ensemble: Ensemble) -> None:
    rng = random.Random(3)
    member = ensemble.leader()
    with unharmed(ensemble):
        before = member.resident_kb()
        links = [
            dial(port, rng.randbytes(rng.randrange(1, 3000)))
            for _ in range(100)
            for port in (member.quorum_port, member.election_port)
        ]
        for link in links:
            heard(link)
            link.close()
        assert member.resident_kb() - before < 32 << 10


def led_by(ensemble: Ensemble, sid: int) -> None:
    """Have this server lead, in an epoch with transactions: before its first one only the leader shows it."""
    ensemble.fill(ensemble.leader().sid, 10)
    ensemble.lead(sid)
    ensemble.fill(sid, 10)


def test_two_servers_with_one_id(ensemble: Ensemble, tmp_path: Path) -> None:
    """They take turns at following; the leader and the other one go on, and with one of them gone all is as it was."""
    led_by(ensemble, 2)
    twin = Member(3, tmp_path, Spec(ZABRA, config=CONFIG))
    twin.lines = [*(ensemble[sid].line() for sid in (1, 2)), twin.line()]
    with ensemble.client(1) as client, ensemble.client(2) as other:
        with twin.spawn():
            ensemble.until("it follows", lambda: "server 3 is connected anew" in ensemble[2].log_tail(200))
            time.sleep(2)
            assert twin.alive()
        for one in (client, other):
            assert one.call(jute.CREATE, jute.create(f"/twin-{one.session}", b"", jute.OPEN, 1))[0] == 0
    ensemble.wait_serving()
    assert ensemble.leader().sid == 2
    ensemble.check_digests()


def test_a_server_that_accepted_an_epoch_that_never_was(ensemble: Ensemble) -> None:
    """It promised to follow nobody of an older one: it stays out until the next election, which goes beyond."""
    led_by(ensemble, 2)
    odd = ensemble[1]
    assert odd.stop() == 0
    (odd.data / "version-2" / "acceptedEpoch").write_text("1000")
    with unharmed(ensemble, but=1):
        odd.spawn()
        what = "is less than the accepted epoch 0x3e8"
        ensemble.until("it refuses the leader", lambda: what in odd.log_tail())
    ensemble[2].kill()
    ensemble.wait_serving(1, 3)
    zxid = ensemble.leader().zxid()
    assert zxid is not None
    assert zxid >> 32 == 1001
    ensemble.start(2)
    ensemble.check_digests()


def test_a_follower_with_more_history_than_its_leader(ensemble: Ensemble) -> None:
    """What nobody else has is cut off."""
    led_by(ensemble, 2)
    odd = ensemble[1]
    with unharmed(ensemble, but=1):
        last = ensemble.quiet()
        assert odd.stop() == 0
        for number in (1, 2, 3):
            datafiles.append_set_data(odd.data, last + number, "/fill", b"only here")
        odd.spawn()
        ensemble.wait_serving()
        with ensemble.client(1) as client:
            assert client.call(jute.SYNC, jute.text("/"))[0] == 0
            data, _ = client.call(jute.GET_DATA, jute.path_watch("/fill", False))[1]
            assert data != b"only here"
    ensemble.check_digests()
    assert f"by TRUNC of zxid 0x{last:x}" in ensemble[2].log.read_text()
