"""Options of members that both kinds obey alike, above all observers that learn from followers of the other kind.

Needs Java and ZABRA_ZOOKEEPER_CLASSPATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from compat import jute
from compat.ensembles import FOLLOWER, Ensemble, Spec
from compat.rawclient import Client
from compat.servers import APACHE, ZABRA, free_port, missing_java, require

pytestmark = pytest.mark.java

#: Server 3 leads; 1 and 2 take observers, of which 4 is one.
MIXES: Final = {
    "apache-observes": (ZABRA, ZABRA, APACHE, APACHE),
    "zabra-observes": (APACHE, APACHE, ZABRA, ZABRA),
}
LEADER, OBSERVER = 3, 4
COUNT: Final = 1200


@pytest.fixture(params=MIXES, scope="module")
def mix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    require(missing_java())
    config = {"observerMasterPort": str(free_port())}
    properties = {"zookeeper.enableEagerACLCheck": "true", "zookeeper.leader.ackLoggingFrequency": "1"}
    specs = {
        sid: Spec(kind, observer=sid == OBSERVER, properties=properties, host=f"127.0.0.{sid}")
        for sid, kind in enumerate(MIXES[request.param], 1)
    }
    with Ensemble(tmp_path_factory.mktemp(request.param), specs, config=config) as ensemble:
        ensemble.start_led_by(LEADER)
        yield ensemble


def master_of(ensemble: Ensemble) -> int:
    """The follower that the observer learns from, which both must know of."""
    master = int(ensemble[OBSERVER].metrics()["observer_master_id"])
    assert ensemble[master].mode() == FOLLOWER
    assert ensemble[master].metrics()["synced_observers"] == "1"
    assert ensemble[LEADER].metrics()["synced_observers"] == "0"
    return master


def data_of(client: Client, path: str) -> bytes:
    answer = client.call(jute.GET_DATA, jute.path_watch(path, False))
    assert answer[0] == 0, answer
    data: bytes = answer[1][0]
    return data


def test_an_observer_learns_from_a_follower_of_the_other_kind(mix: Ensemble) -> None:
    master = master_of(mix)
    # Writes, syncs and a session that moves back and forth.
    with ExitStack() as stack:
        client = stack.enter_context(mix.client(OBSERVER))
        other = stack.enter_context(mix.client(LEADER))
        assert client.call(jute.CREATE, jute.create("/mine", b"", jute.OPEN, 1))[0] == 0
        assert other.call(jute.CREATE, jute.create("/a", b"1", jute.OPEN, 0))[0] == 0
        assert client.call(jute.SYNC, jute.text("/a"))[0] == 0
        assert data_of(client, "/a") == b"1"
        for number, sid in enumerate((master, OBSERVER, LEADER, OBSERVER, 3 - master, OBSERVER)):
            client = stack.enter_context(mix.client(sid, session=client.session, password=client.password))
            assert client.call(jute.SET_DATA, jute.set_data("/a", b"%d" % number, -1))[0] == 0
            assert data_of(client, "/a") == b"%d" % number
        assert other.call(jute.EXISTS, jute.path_watch("/mine", False))[0] == 0
        client.close_session()
        assert other.call(jute.SYNC, jute.text("/"))[0] == 0
        assert other.call(jute.EXISTS, jute.path_watch("/mine", False))[0] == -101
        other.close_session()
    # Sessions of its clients live as long as they are used.
    with mix.client(OBSERVER, timeout_ms=2000) as used, mix.client(OBSERVER, timeout_ms=2000) as unused:
        for client, path in ((used, "/used"), (unused, "/unused")):
            assert client.call(jute.CREATE, jute.create(path, b"", jute.OPEN, 1))[0] == 0
        mix.until("one expires", lambda: used.call(jute.EXISTS, jute.path_watch("/unused", False))[0] == -101)
        assert used.call(jute.EXISTS, jute.path_watch("/used", False))[0] == 0
        used.close_session()
    # It comes back and is brought up to date: from the log or by a snapshot, then from memory.
    for count in (COUNT, 10):
        mix[OBSERVER].stop()
        mix.fill(LEADER, count, f"/fill{count}")
        mix.start(OBSERVER)
    master = master_of(mix)
    # Its master goes, and the other one takes it.
    mix[master].kill()
    mix.until(
        "the other follower takes it", lambda: mix[OBSERVER].metrics().get("observer_master_id") == str(3 - master)
    )
    mix.fill(OBSERVER, 10, "/last")
    assert master_of(mix) == 3 - master
    mix.start(master)
    mix.check_trees()


#: Opcode, body, and how each server answers: NO_AUTH and INVALID_ACL at once, with zxid 0.
CHECKED: Final = (
    (jute.CREATE, jute.create("/read/a", b"", jute.OPEN, 0), (0, -102)),
    (jute.CREATE2, jute.create("/read/a", b"", jute.OPEN, 0), (0, -102)),
    (jute.DELETE, jute.path_version("/read/a", -1), (0, -102)),
    (jute.SET_DATA, jute.set_data("/read", b"", -1), (0, -102)),
    (jute.SET_ACL, jute.set_acl("/read", jute.OPEN, -1), (0, -102)),
    (jute.CREATE, jute.create("/none", b"", [], 0), (0, -114)),
    (jute.SET_ACL, jute.set_acl("/none", [], -1), (0, -114)),
    (jute.CREATE, jute.create("/none/a", b"", jute.OPEN, 0), (1, -101)),
    (jute.DELETE, jute.path_version("/none/a", -1), (1, -101)),
    (jute.SET_DATA, jute.set_data("/none", b"", -1), (1, -101)),
    (jute.SET_DATA, jute.set_data("/zookeeper/config", b"", -1), (0, -102)),
    (jute.DELETE, jute.path_version("/zookeeper", -1), (1, -8)),
)


def test_writes_that_are_forbidden_are_refused_by_every_server_without_a_zxid(mix: Ensemble) -> None:
    with mix.client(LEADER) as client:
        assert client.call(jute.CREATE, jute.create("/read", b"", [(1, "world", "anyone")], 0))[0] == 0
        client.close_session()
    mix.quiet()
    for sid in mix.members:
        with mix.client(sid) as client:
            for opcode, body, (taken, code) in CHECKED:
                before = mix.quiet()
                client.post(opcode, body)
                answer = client.reply(opcode)
                assert answer is not None
                assert (answer[1], answer[2]) == ((before + 1) * taken, code), (sid, opcode, body)
                assert mix.quiet() == before + taken
            client.close_session()


def test_a_leader_tells_the_ack_latency_of_every_voter(mix: Ensemble) -> None:
    names = {f"{figure}_{sid}_ack_latency" for figure in ("avg", "min", "max", "cnt", "sum") for sid in (1, 2, 3)}
    metrics = mix[LEADER].metrics()
    assert names <= metrics.keys()
    assert not [name for name in metrics if name.endswith("_4_ack_latency")]
