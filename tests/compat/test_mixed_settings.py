"""Mixed ensembles that are set up otherwise: quorums of groups with weights, an oracle, addresses, local sessions.

Needs Java and ZABRA_ZOOKEEPER_CLASSPATH (the jars of Apache ZooKeeper 3.9.5). ``ZABRA_MIXED_KINDS=aaaa`` has servers of
Apache alone, which proves the tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from compat import jute
from compat.ensembles import FOLLOWER, LEADER, Ensemble, Spec
from compat.load import Load
from compat.rawclient import Client
from compat.servers import APACHE, ZABRA, missing_java, require

pytestmark = pytest.mark.java

#: What the servers are, from 1 on.
KINDS: Final = [{"a": APACHE, "z": ZABRA}[letter] for letter in os.environ.get("ZABRA_MIXED_KINDS", "azaz")]
NO_NODE: Final = -101
EPHEMERAL: Final = 1


@pytest.fixture(autouse=True)
def _apache() -> None:
    require(missing_java())


# ---- groups


def test_quorums_of_groups_with_weights(tmp_path: Path) -> None:
    """Three groups, of which two are needed; server 2 follows, but its vote does not count."""
    quorums = ["group.1=1:2", "group.2=3", "group.3=4", "weight.1=1", "weight.2=0", "weight.3=1", "weight.4=1"]
    specs = {sid: Spec(kind) for sid, kind in enumerate(KINDS, 1)}
    with Ensemble(tmp_path, specs, quorums=quorums) as ensemble:
        ensemble.start_led_by(4)
        with ensemble.client(2) as client:
            err, body = client.call(jute.GET_DATA, jute.path_watch("/zookeeper/config", False))
            assert err == 0
            assert body[0].decode().split("\n")[4:-1] == quorums
            client.close_session()
        with Load(ensemble) as load:
            # Two groups are left, one of either kind of server; 2 cannot lead, whatever its id.
            ensemble[4].kill()
            ensemble.until("another leads", lambda: LEADER in ensemble.modes().values())
            assert ensemble.leader().sid in (1, 3)
            load.go_on()
            # The vote of 2 does not keep its group.
            ensemble[1].kill()
            ensemble.until("nobody serves", lambda: not any(ensemble.modes().values()))
            ensemble.start(4)
            ensemble.wait_serving(2, 3, 4)
            load.go_on()
            ensemble.start()
            load.go_on()
        ensemble.check_digests()


# ---- two servers and an oracle


@pytest.mark.parametrize("first", [0, 1])
def test_one_of_two_serves_alone_while_the_oracle_is_for_it(first: int, tmp_path: Path) -> None:
    """Server 2, first of one kind and then of the other, leads; whom the oracle favours outlives the other one."""
    files = {sid: tmp_path / f"oracle-{sid}" for sid in (1, 2)}

    def favour(*sids: int) -> None:
        for sid, file in files.items():
            file.write_text("1" if sid in sids else "0")

    favour(2)
    specs = {sid: Spec(KINDS[sid - 1 + first], config={"oraclePath": str(file)}) for sid, file in files.items()}
    with Ensemble(tmp_path, specs) as ensemble:
        ensemble.start_led_by(2)
        ensemble.fill(1, 20)
        pid = ensemble[2].pid
        ensemble[1].kill()
        # A leader asks at every tick: two rounds of them show that it stays.
        with ensemble.client(2) as client:
            assert client.call(jute.SET_DATA, jute.set_data("/fill", b"alone", -1))[0] == 0
            favour()
            assert client.link.receive() is None, "it leads on without the oracle"
        ensemble.wait_mode(2, None)
        favour(2)
        ensemble.wait_mode(2, LEADER)
        assert ensemble[2].pid == pid
        ensemble.start(1)
        # Now the other one is chosen, before its leader dies.
        ensemble.fill(1, 20)
        ensemble.quiet()
        favour(1)
        ensemble[2].kill()
        ensemble.wait_mode(1, LEADER)
        ensemble.fill(1, 20)
        ensemble.start(2)
        assert ensemble.modes() == {1: LEADER, 2: FOLLOWER}
        ensemble.check_digests()


# ---- several addresses a server


def test_servers_find_each_other_by_any_of_their_addresses(tmp_path: Path) -> None:
    """Nobody is at the first address of server 1, nor at the second one of server 2 and 3."""
    switch = {"zookeeper.multiAddress.enabled": "true"}
    nobody = "127.0.0.9"
    specs = {
        1: Spec(KINDS[0], host=nobody, more_hosts=["127.0.0.1"], properties=switch),
        2: Spec(KINDS[1], more_hosts=[nobody], properties=switch),
        3: Spec(KINDS[0], more_hosts=[nobody], properties=switch),
    }
    with Ensemble(tmp_path, specs) as ensemble:
        ensemble.start()
        # The addresses of a server are sorted.
        own = ensemble[1]
        listed = "|".join(
            f"{host}:{own.quorum_port}:{own.election_port}" for host in ("server.1=127.0.0.1", nobody)
        ).encode()
        for sid in specs:
            ensemble.fill(sid, 20)
            with ensemble.client(sid) as client:
                assert client.call(jute.GET_DATA, jute.path_watch("/zookeeper/config", False))[1][0].startswith(listed)
                client.close_session()
        for _ in range(2):
            leader = ensemble.leader().sid
            ensemble[leader].kill()
            ensemble.until("another leads", lambda: LEADER in ensemble.modes().values())
            ensemble.start(leader)
            ensemble.fill(leader, 20)
        ensemble.check_digests()


# ---- local sessions


@pytest.fixture(scope="module", params=[APACHE, ZABRA])
def local(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Local sessions, which become global by their first ephemeral node; the leader is of the kind in the parameter."""
    require(missing_java())
    kinds = [KINDS[0], KINDS[1], request.param]
    config = {"localSessionsEnabled": "true", "localSessionsUpgradingEnabled": "true"}
    specs = {sid: Spec(kind) for sid, kind in enumerate(kinds, 1)}
    with Ensemble(tmp_path_factory.mktemp("local"), specs, config=config) as ensemble:
        ensemble.start_led_by(3)
        yield ensemble


def create(client: Client, path: str, flags: int = 0) -> None:
    assert client.call(jute.CREATE, jute.create(path, b"", jute.OPEN, flags)) == (0, path)


def read(client: Client, path: str) -> Any:
    """What is there, after a sync; or the error."""
    assert client.call(jute.SYNC, jute.text(path))[0] == 0
    err, body = client.call(jute.EXISTS, jute.path_watch(path, False))
    return body if err == 0 else err


def known(ensemble: Ensemble, session: int) -> bool:
    """Whether the leader lists the session as a global one."""
    return f"\t0x{session:x}\n" in ensemble[3].word("dump").partition("ephemeral nodes dump")[0].partition("Global")[2]


@pytest.mark.parametrize(("home", "away"), [(1, 2), (2, 1), (3, 1), (3, 2), (1, 3), (2, 3)])
def test_a_local_session_writes_and_becomes_global_by_an_ephemeral_node(home: int, away: int, local: Ensemble) -> None:
    root = f"/local-{home}-{away}"
    with local.client(home) as client, local.client(away) as other:
        create(client, root)
        assert client.call(jute.SET_DATA, jute.set_data(root, b"local", -1))[0] == 0
        assert read(other, root).data_length == 5
        # It is known where it is, and nowhere else.
        with local.client(away, session=client.session, password=client.password) as stranger:
            assert stranger.session == 0
        with local.client(home, session=client.session, password=client.password) as again:
            assert again.session == client.session
            create(again, f"{root}/e", EPHEMERAL)
            assert read(other, f"{root}/e").owner == client.session
            assert known(local, client.session)
            again.link.close()
        with local.client(away, session=client.session, password=client.password) as moved:
            assert moved.session == client.session
            create(moved, f"{root}/e2", EPHEMERAL)
            moved.close_session()
        assert read(other, f"{root}/e") == NO_NODE
        assert read(other, f"{root}/e2") == NO_NODE
        other.close_session()


def test_a_local_session_ends_where_it_is(local: Ensemble) -> None:
    for sid in local.members:
        with local.client(sid, timeout_ms=1000) as silent, local.client(sid) as closing:
            create(silent, f"/silent-{sid}")
            zxid = local[sid].zxid()
            closing.close_session()
            assert silent.link.receive() is None, "it does not expire"
            assert local[sid].zxid() == zxid, "its end is a transaction"
            with local.client(sid, session=silent.session, password=silent.password) as late:
                assert late.session == 0
