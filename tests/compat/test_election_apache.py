"""Elections between servers of Apache and ours: ours has only the election and its connections, no data.

Needs Java and ZABRA_ZOOKEEPER_CLASSPATH (the jars of Apache ZooKeeper 3.9.5).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from compat.servers import APACHE, LOOPBACK, ServerProcess, free_port, missing_java, require
from zabra.config.dynamic import EnsembleConfig, make_config
from zabra.config.model import ServerLine
from zabra.quorum.elector import Elector
from zabra.quorum.mesh import Mesh
from zabra.zab.election import Election
from zabra.zab.notification import parse_notification
from zabra.zab.quorums import make_verifier
from zabra.zab.types import Elected, Notification, ServerState, Vote

pytestmark = pytest.mark.java

LIMIT_S = 25


@pytest.fixture(autouse=True)
def _apache() -> None:
    require(missing_java())


def servers(*sids: int, observers: tuple[int, ...] = ()) -> EnsembleConfig:
    addresses = {sid: (LOOPBACK, free_port(), free_port()) for sid in (*sids, *observers)}
    return make_config({sid: ServerLine(sid, (address,), sid in observers) for sid, address in addresses.items()})


def apache(folder: Path, sid: int, config: EnsembleConfig) -> ServerProcess:
    """A server of Apache that gives a role up after two seconds without a quorum."""
    data = folder / str(sid) / "data"
    data.mkdir(parents=True)
    (data / "myid").write_text(f"{sid}\n")
    lines = dict(line.split("=", 1) for line in config.lines())
    limits = {"tickTime": "500", "initLimit": "4", "syncLimit": "4"}
    return ServerProcess(APACHE, folder / str(sid), config={**lines, **limits}).spawn()


class Zabra:
    """Our election of one server, what it heard and what came of it."""

    def __init__(self, sid: int, config: EnsembleConfig) -> None:
        self.heard: list[tuple[int, Notification]] = []
        self.elected: list[Elected] = []
        self.core = Election(sid, make_verifier(config), make_verifier=make_verifier, last_zxid=0, current_epoch=0)
        self.elector = Elector(self.core, self.elected.append, lambda _: None, lambda _: None)
        self.mesh = self.elector.mesh = Mesh(sid, config, self._received)

    def _received(self, sender: int, message: bytes) -> None:
        self.heard.append((sender, parse_notification(message)))
        self.elector.received(sender, message)

    async def elect(self, zxid: int, epoch: int) -> Elected:
        """Look, and wait for the end of the election."""
        self.elected.clear()
        self.elector.look(zxid, epoch)
        await until(lambda: bool(self.elected))
        return self.elected[0]

    async def hear(self, sender: int, state: ServerState, leader: int) -> Notification:
        """Wait until ``sender`` has told us, from now on, that it is in ``state`` under ``leader``; what it told."""
        del self.heard[:]
        await until(lambda: any((n.state, n.leader) == (state, leader) for who, n in self.heard if who == sender))
        return next(n for who, n in self.heard if who == sender and (n.state, n.leader) == (state, leader))


@asynccontextmanager
async def zabra(sid: int, config: EnsembleConfig) -> AsyncIterator[Zabra]:
    server = Zabra(sid, config)
    await server.mesh.listen()
    try:
        yield server
    finally:
        server.elector.close()
        server.mesh.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def serves(server: ServerProcess) -> bool:
    with suppress(OSError):
        return "Mode: " in server.word("srvr")
    return False


def run(main: Callable[[], object], *apaches: ServerProcess) -> None:
    """Run ``main`` within the limit; the logs of Apache are part of a failure."""
    try:
        with asyncio.Runner() as runner:
            runner.run(asyncio.wait_for(main(), LIMIT_S))  # type: ignore[arg-type]
    except TimeoutError:
        logs = "\n".join(f"--- {server.folder.name}\n{server.log_tail(15)}" for server in apaches)
        pytest.fail(f"no agreement within {LIMIT_S} s\n{logs}")


def test_our_server_joins_loses_and_wins(tmp_path: Path) -> None:
    config = servers(1, 2, 3)
    with apache(tmp_path, 1, config) as one, apache(tmp_path, 2, config) as two:

        async def main() -> None:
            await until(lambda: serves(one) and serves(two))
            async with zabra(3, config) as three:
                # It comes late: the others have a leader, whatever id and history it has.
                joined = await three.elect(0x7_00000000, 6)
                assert joined.vote.leader == 2
                assert joined.vote.epoch == 1, "the epoch that was established, not the one of the vote"
                assert joined.state is ServerState.FOLLOWING
                assert joined.supporters == {1, 2}
                assert three.mesh.connected() == [1, 2]
                for _, notification in three.heard:
                    assert notification.config is not None
                    assert notification.config.text() == config.text()
                    assert notification.version == 2

                # The leader dies: now two of three vote. The larger id does not help against a better history.
                two.kill()
                three.elector.look(0, 0)
                await three.hear(1, ServerState.LOOKING, 1)
                lost = await three.elect(0, 0)
                assert lost.vote.leader == 1
                assert lost.vote.epoch == 1
                assert lost.state is ServerState.FOLLOWING
                three.elector.look(0, 0)
                assert (await three.hear(1, ServerState.LEADING, 1)).round == lost.vote.round

                # It gives up, as nobody follows it in truth; a better history wins against it.
                while True:
                    won = await three.elect(0x9_00000000, 9)
                    if won.vote.leader == 3:
                        break
                assert won.state is ServerState.LEADING
                assert won.supporters == {1, 3}
                three.elector.look(0x9_00000000, 9)
                following = await three.hear(1, ServerState.FOLLOWING, 3)
                assert Vote(3, 0x9_00000000, following.round, 9).rank == (following.epoch, following.zxid, 3)

        run(main, one, two)


def test_servers_that_start_together_agree(tmp_path: Path) -> None:
    config = servers(1, 2, 3)

    async def main() -> None:
        async with zabra(1, config) as ours:
            ours.elector.look(0, 0)
            with apache(tmp_path, 2, config) as two:
                # Only two are there: theirs has the larger id and dials us back.
                await until(lambda: bool(ours.elected))
                assert ours.elected[0].vote.leader == 2
                assert ours.elected[0].state is ServerState.FOLLOWING
                assert ours.mesh.connected() == [2]
                with apache(tmp_path, 3, config) as three:
                    # Two of theirs serve in the end; ours finds the same leader.
                    await until(lambda: serves(two) and serves(three))
                    joined = await ours.elect(0, 0)
                    mode = "leader" if joined.vote.leader == 3 else "follower"
                    assert f"Mode: {mode}" in three.word("srvr")
                    assert joined.supporters == {2, 3}
                    assert ours.mesh.connected() == [2, 3]

    run(main)


def test_servers_without_a_vote_find_the_leader(tmp_path: Path) -> None:
    config = servers(1, 2, observers=(3,))
    with apache(tmp_path, 1, config) as one, apache(tmp_path, 2, config) as two:

        async def main() -> None:
            await until(lambda: serves(one) and serves(two))
            async with zabra(3, config) as observer:
                found = await observer.elect(0x7_00000000, 7)
                assert found.vote.leader == 2
                assert found.state is ServerState.OBSERVING
            # Those who join are in no membership but their own. The smaller id can only be dialled back where it says.
            for sid in (0, 9):
                own = ServerLine(sid, ((LOOPBACK, free_port(), free_port()),))
                async with zabra(sid, make_config({**config.members, sid: own})) as joining:
                    found = await joining.elect(0x7_00000000, 7)
                    assert found.vote.leader == 2
                    assert found.state is ServerState.FOLLOWING
                    assert joining.mesh.connected() == [1, 2]
                    assert all(sid not in notification.config.members for _, notification in joining.heard)

        run(main, one, two)
