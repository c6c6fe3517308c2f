"""One server as a whole on a disk in memory: the order of start and stop, restarts, and ends it did not ask for."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from struct import pack, unpack_from
from typing import TypeVar

import pytest
from memdisk import MemoryDisk
from rig import FakeClock, ZeroRandom, create_body, path, set_body, watch_body

from zabra import node, node_member, node_standalone
from zabra.config.dynamic import EnsembleConfig, ServerLine
from zabra.config.model import Settings
from zabra.consts import Op
from zabra.errors import ConfigError, DataError
from zabra.frontend.hub import Hub
from zabra.frontend.listener import Listener
from zabra.node import Server, State
from zabra.runtime.ports import Runtime, Worker
from zabra.storage.database import Database

T = TypeVar("T")
ALL_WORDS = frozenset(("conf", "cons", "crst", "dirs", "dump", "mntr", "ruok", "srvr", "stat", "wchc", "wchp", "wchs"))


class LoopWorker:
    """Runs each job in a turn of the loop of its own."""

    open: list[LoopWorker] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, name: str) -> None:
        self.name = name
        self._jobs: list[tuple[Callable[[], object], Callable[[object, BaseException | None], None]]] = []
        LoopWorker.open.append(self)

    def submit(self, job: Callable[[], object], done: Callable[[object, BaseException | None], None]) -> None:
        self._jobs.append((job, done))
        asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        if self._jobs:
            job, done = self._jobs.pop(0)
            try:
                result = job()
            except Exception as error:
                done(None, error)
            else:
                done(result, None)

    def close(self) -> None:
        while self._jobs:
            self._step()
        LoopWorker.open.remove(self)


class Machine:
    """A disk, and servers on it one after another."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.clock = FakeClock()
        self.peers: list[Peer] = []
        LoopWorker.open.clear()

    def server(self, **more: object) -> Server:
        values: dict[str, object] = {"client_port": 0, "client_port_address": "127.0.0.1", "prealloc_kb": 64, **more}
        settings = Settings(data_dir="/data", **values)  # type: ignore[arg-type]
        runtime = Runtime(clock=self.clock, random=ZeroRandom(), disk=self.disk, new_worker=LoopWorker)  # type: ignore[arg-type]
        return Server(settings, runtime)

    def run(self, main: Callable[[Server], Awaitable[None]], **more: object) -> Server:
        """Start a server, do something, stop it."""

        async def life() -> Server:
            server = self.server(**more)
            await server.start()
            await main(server)
            await server.stop()
            return server

        return self.play(life)

    def play(self, life: Callable[[], Awaitable[T]]) -> T:
        """Run to the end and close the clients."""

        async def whole() -> T:
            try:
                return await life()
            finally:
                for peer in self.peers:
                    peer.writer.close()
                    with suppress(ConnectionError):
                        await peer.writer.wait_closed()
                self.peers.clear()

        return asyncio.run(whole())

    async def peer(self, server: Server, session_id: int = 0, password: bytes = bytes(16)) -> Peer:
        """A client of the server."""
        peer = Peer(*await asyncio.open_connection("127.0.0.1", server.client_port))
        self.peers.append(peer)
        return await peer.connect(session_id, password)

    def files(self) -> list[str]:
        return self.disk.listdir("/data/version-2")


@pytest.fixture
def machine() -> Machine:
    return Machine()


class Peer:
    """A client on a real socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.xid = 0
        self.session_id = 0
        self.password = bytes(16)

    async def connect(self, session_id: int = 0, password: bytes = bytes(16)) -> Peer:
        self.writer.write(pack(">iiqiqi", 44, 0, 0, 10000, session_id, 16) + password)
        reply = await self.frame()
        self.session_id = unpack_from(">q", reply, 8)[0]
        self.password = reply[20:36]
        return self

    async def frame(self) -> bytes:
        (size,) = unpack_from(">i", await self.reader.readexactly(4))
        return await self.reader.readexactly(size)

    async def call(self, op: int, body: bytes = b"") -> tuple[int, bytes]:
        self.xid += 1
        self.writer.write(pack(">iii", 8 + len(body), self.xid, op) + body)
        reply = await self.frame()
        return unpack_from(">i", reply, 12)[0], reply[16:]


async def nothing(server: Server) -> None:
    pass


def test_a_fresh_folder(machine: Machine) -> None:
    """An empty first snapshot, then serve from zxid 1."""

    async def main(server: Server) -> None:
        assert server.serving
        peer = await machine.peer(server)
        assert await peer.call(Op.CREATE, create_body("/a", b"1")) == (0, path("/a"))
        assert server.tree.last_zxid == 2

    server = machine.run(main)
    assert machine.files() == ["log.1", "snapshot.0"]
    assert server.stopped.result() == 0
    assert server.state is State.SHUTDOWN


def test_the_port_answers_while_the_data_is_loaded_and_requests_wait_for_running(machine: Machine) -> None:
    """Bind before recovery, serve after it: the steps of the start, seen from outside."""

    async def life() -> None:
        server = machine.server()
        seen: list[tuple[int, State]] = []
        early: list[asyncio.Task[Peer]] = []

        def on_call(name: str, where: str) -> None:
            if "snapshot.0" in where and not seen:
                seen.append((server.client_port, server.state))
                early.append(asyncio.get_running_loop().create_task(machine.peer(server)))

        machine.disk.on_call = on_call
        await server.start()
        assert seen[0][0] > 0
        assert seen[0][1] is State.INITIAL
        peer = await early[0]
        assert (await peer.call(Op.EXISTS, watch_body("/")))[0] == 0
        await server.stop()

    machine.play(life)


@pytest.mark.parametrize("distributed", [False, True], ids=["standalone", "member"])
def test_the_steps_of_a_start_come_in_order(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, distributed: bool
) -> None:
    """Each step is seen by what it makes, not by its name in the code."""
    steps: list[str] = []
    more: dict[str, object] = {"autopurge_purge_interval_hours": 1}
    if distributed:
        members = {sid: ServerLine(sid, (("127.0.0.1", 0, 0),)) for sid in (1, 2, 3)}
        more["ensemble"] = EnsembleConfig(members)

    def note(target: object, name: str, step: str) -> None:
        original = getattr(target, name)

        def noted(*args: object, **named: object) -> object:
            steps.append(step)
            return original(*args, **named)

        monkeypatch.setattr(target, name, noted)

    new_worker = Server.new_worker

    def worker(server: Server, what: str) -> Worker:
        if what == "purge":
            steps.append("purge")
        return new_worker(server, what)

    monkeypatch.setattr(Server, "new_worker", worker)
    for target, name, step in (
        (node.Standalone, "__init__", "standalone"),
        (node.MemberHost, "__init__", "member"),
        (node.ServerStats, "__init__", "statistics"),
        (node, "open_folders", "storage"),
        (Listener, "bind", "bind"),
        (Database, "load", "recover"),
        (node_standalone.SessionTracker, "__init__", "session tracker"),
        (node_standalone.LocalPipeline, "__init__", "stages"),
        (node_member.Member, "__init__", "stages"),
        (node, "register_gauges", "metrics"),
        (Hub, "run", "serve"),
        (node_member.Member, "start", "look for a leader"),
    ):
        note(target, name, step)

    async def life() -> None:
        server = machine.server(**more)
        await server.start()
        assert server.state is State.RUNNING
        await server.stop()

    machine.play(life)
    then = (
        ["member", "statistics", "storage", "bind", "recover", "stages", "metrics", "look for a leader"]
        if distributed
        else ["standalone", "statistics", "storage", "bind", "recover", "session tracker", "stages", "metrics", "serve"]
    )
    assert steps == ["purge", *then]


def test_a_restart_brings_back_nodes_sessions_and_ephemerals(machine: Machine) -> None:
    """A stop closes no session: who returns in time still owns what was theirs."""
    kept: list[tuple[int, bytes]] = []

    async def first(server: Server) -> None:
        peer = await machine.peer(server)
        await peer.call(Op.CREATE, create_body("/a", b"1"))
        await peer.call(Op.CREATE, create_body("/e", b"", 1))
        kept.append((peer.session_id, peer.password))

    async def second(server: Server) -> None:
        assert server.tree.last_zxid == 3
        assert server.tree.nodes[b"/e"].owner == kept[0][0]
        peer = await machine.peer(server, *kept[0])
        assert peer.session_id == kept[0][0]
        assert await peer.call(Op.GET_EPHEMERALS, path("/")) == (0, pack(">i", 1) + path("/e"))
        assert (await peer.call(Op.SET_DATA, set_body("/a", b"2")))[0] == 0
        assert server.tree.last_zxid == 4

    before = machine.run(first)
    after = machine.run(second)
    assert after.tree.digest != before.tree.digest
    assert machine.files() == ["log.1", "log.4", "snapshot.0", "snapshot.3"]


def test_sessions_get_their_full_timeout_after_a_restart(machine: Machine) -> None:
    async def first(server: Server) -> None:
        await machine.peer(server)

    async def second(server: Server) -> None:
        (session,) = server.pipeline.sessions.sessions.values()
        assert session.timeout_ms == 10000
        assert session.deadline_ms >= machine.clock.monotonic() * 1000 + 10000

    machine.run(first)
    machine.clock.now += 10**6
    machine.run(second)


def test_ephemerals_of_unknown_sessions_are_removed_at_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def first(server: Server) -> None:
        peer = await machine.peer(server)
        await peer.call(Op.CREATE, create_body("/e", b"", 1))
        server.pipeline.sessions.remove(server.pipeline.sessions.sessions.popitem()[0])
        server.serving_parts.snapshotter.take_nowait()
        while server.serving_parts.snapshotter.running:
            await asyncio.sleep(0)

    machine.run(first)
    machine.disk.unlink("/data/version-2/log.1")
    server = machine.run(nothing)
    assert b"/e" not in server.tree.nodes
    assert "sessions that no longer exist" in caplog.text


def test_a_snapshot_after_so_many_writes_rolls_the_log(machine: Machine) -> None:
    """snapCount; the start after it replays only what came later."""

    async def main(server: Server) -> None:
        peer = await machine.peer(server)
        for number in range(7):
            await peer.call(Op.CREATE, create_body(f"/{number}"))
        while server.serving_parts.snapshotter.running:
            await asyncio.sleep(0)

    machine.run(main, snap_count=10)
    assert machine.files() == ["log.1", "log.7", "snapshot.0", "snapshot.6"]
    server = machine.run(nothing)
    assert len(server.tree.nodes) == 4 + 7


def test_stop_releases_everything_and_may_come_twice(machine: Machine) -> None:
    async def life() -> None:
        server = machine.server()
        await server.start()
        peer = await machine.peer(server)
        await server.stop()
        assert await peer.reader.read() == b""
        with pytest.raises(ConnectionRefusedError):
            await machine.peer(server)
        await server.stop()
        assert server.stopped.result() == 0
        assert LoopWorker.open == []
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    machine.play(life)


def test_stop_answers_what_it_can_still_make_durable(machine: Machine) -> None:
    async def life() -> None:
        server = machine.server()
        await server.start()
        peer = await machine.peer(server)
        (connection,) = server.hub.connections
        body = create_body("/a")
        connection.data_received(pack(">iii", 8 + len(body), 1, Op.CREATE) + body)
        await server.stop()
        assert unpack_from(">i", await peer.frame()) == (1,)

    machine.play(life)
    assert b"/a" in machine.run(nothing).tree.nodes


def test_stop_serves_what_the_throttle_holds_back(machine: Machine) -> None:
    """In its order, the second write behind the sync of the first."""

    async def life() -> None:
        server = machine.server(request_throttle_max_requests=1)
        await server.start()
        peer = await machine.peer(server)
        (connection,) = server.hub.connections
        chunk = b""
        for xid, name in ((1, "/a"), (2, "/b")):
            body = create_body(name)
            chunk += pack(">iii", 8 + len(body), xid, Op.CREATE) + body
        connection.data_received(chunk)
        assert server.pipeline.outstanding == 1
        await server.stop()
        assert [unpack_from(">i", await peer.frame())[0] for _ in range(2)] == [1, 2]

    machine.play(life)
    assert {b"/a", b"/b"} <= set(machine.run(nothing).tree.nodes)


def test_a_log_that_cannot_be_written_ends_the_server_with_code_1(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is answered; what was acknowledged before is there after the restart, what was not is not."""

    async def life() -> None:
        server = machine.server()
        await server.start()
        peer = await machine.peer(server)
        await peer.call(Op.CREATE, create_body("/kept"))
        machine.disk.fail("sync", errno.EIO)
        with pytest.raises(asyncio.IncompleteReadError):
            await peer.call(Op.CREATE, create_body("/lost"))
        assert await server.stopped == 1
        assert server.state is State.ERROR
        assert not server.serving
        assert LoopWorker.open == []
        assert server.stats.metrics.unrecoverable_error_count.value == 1
        await server.stop()
        assert server.stopped.result() == 1

    machine.play(life)
    assert "the transaction log could not be written" in caplog.text
    machine.disk.on_call = lambda name, where: None
    nodes = machine.run(nothing).tree.nodes
    assert b"/kept" in nodes


def test_a_log_that_fails_in_the_last_write_of_a_stop_is_no_clean_stop(machine: Machine) -> None:
    async def life() -> int:
        server = machine.server()
        await server.start()
        await machine.peer(server)
        (connection,) = server.hub.connections
        body = create_body("/a")
        connection.data_received(pack(">iii", 8 + len(body), 1, Op.CREATE) + body)
        machine.disk.fail("sync", errno.EIO)
        await server.stop()
        return await server.stopped

    assert machine.play(life) == 1


def test_a_start_that_fails_leaves_nothing_running(machine: Machine) -> None:
    """A damaged log: the port is free again, and so is every worker."""
    machine.disk.put("/data/version-2/log.1", b"this is no log at all, and longer than a header")

    async def life() -> None:
        server = machine.server(client_port=0)
        with pytest.raises(DataError, match="No snapshot found"):
            await server.start()
        assert LoopWorker.open == []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", server.client_port))
        await server.stop()

    machine.play(life)
    assert machine.files() == ["log.1"]


def test_a_port_in_use_is_an_error_before_anything_is_loaded(machine: Machine) -> None:
    async def life() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(OSError, match="in use"):
                await machine.server(client_port=taken.getsockname()[1]).start()
        assert LoopWorker.open == []

    machine.play(life)
    assert not any(name.startswith("snapshot") for name in machine.files())


@pytest.mark.parametrize(
    "more",
    [
        {"ensemble": EnsembleConfig({})},
        {"extended_types_enabled": True, "server_id": 255},
    ],
)
def test_what_cannot_be_run_is_refused_before_the_disk_is_touched(machine: Machine, more: dict[str, object]) -> None:
    """An ensemble; and a server id that TTL nodes would collide with."""

    async def life() -> None:
        with pytest.raises(ConfigError):
            await machine.server(**more).start()

    machine.play(life)
    assert machine.disk.calls == []


async def ask(server: Server, word: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.client_port)
    writer.write(word.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode()


def test_operators_are_told_the_truth(machine: Machine) -> None:
    """The four-letter words over a server with one session, a few nodes and watches."""

    async def main(server: Server) -> None:
        peer = await machine.peer(server)
        await peer.call(Op.CREATE, create_body("/a", b"12345"))
        await peer.call(Op.CREATE, create_body("/e", b"", 1))
        await peer.call(Op.GET_DATA, watch_body("/a", True))
        await peer.call(Op.GET_CHILDREN, watch_body("/", True))
        for name in ("/zookeeper/quota/a", "/zookeeper/quota/a/zookeeper_stats"):
            await peer.call(Op.CREATE, create_body(name))
        limits = b"count=7,bytes=8=;countHardLimit=9"
        await peer.call(Op.CREATE, create_body("/zookeeper/quota/a/zookeeper_limits", limits))
        machine.clock.now += 2.5
        session = f"0x{peer.session_id:x}"
        mntr = dict(line.split("\t") for line in (await ask(server, "mntr")).splitlines() if "{" not in line)
        assert mntr["zk_cnt_propagation_latency"] == "6", "of a session, and five nodes"
        told = {
            name: mntr[f"zk_{name}"]
            for name in (
                "server_state", "znode_count", "ephemerals_count", "watch_count", "approximate_data_size",
                "outstanding_requests", "global_sessions", "num_alive_connections", "uptime",
            )
        }  # fmt: skip
        assert told == {
            "server_state": "standalone",
            "znode_count": str(len(server.tree.nodes) + 1),
            "ephemerals_count": "1",
            "watch_count": "2",
            "approximate_data_size": str(sum(len(k) + len(v.data or b"") for k, v in server.tree.nodes.items())),
            "outstanding_requests": "0",
            "global_sessions": "1",
            "num_alive_connections": "2",
            "uptime": "2500",
        }
        quota = [line for line in (await ask(server, "mntr")).splitlines() if "count_limit_per_namespace" in line]
        assert quota == ["zk_a_quota_count_limit_per_namespace\t9"]
        assert "Zxid: 0x6\n" in await ask(server, "srvr")
        assert "Node count: 10\n" in await ask(server, "stat")
        assert f"sid={session}" in await ask(server, "cons")
        dump = await ask(server, "dump")
        assert f"{session}:\n\t/e" in dump
        assert session in dump.split("Sessions with Ephemerals")[0]
        assert "1 connections watching 1 paths\nTotal watches:1" in await ask(server, "wchs")
        assert (await ask(server, "wchc")).strip() == f"{session}\n\t/a"
        assert (await ask(server, "wchp")).strip() == f"/a\n\t{session}"
        dirs = dict(line.split(": ") for line in (await ask(server, "dirs")).splitlines())
        assert int(dirs["datadir_size"]) > 0
        assert int(dirs["logdir_size"]) > 0
        assert f"clientPort={server.client_port}\n" in await ask(server, "conf")
        assert await ask(server, "crst") == "Connection stats reset.\n"
        assert await ask(server, "ruok") == "imok"

    machine.run(main, four_letter_whitelist=ALL_WORDS)


def test_without_a_port_it_serves_nobody_but_runs(machine: Machine) -> None:
    async def main(server: Server) -> None:
        assert server.serving
        assert server.client_port == 0

    machine.run(main, client_port=None)


def test_old_snapshots_are_purged_at_the_start(machine: Machine) -> None:
    """autopurge; at least three stay whatever the setting says."""
    for _ in range(5):

        async def main(server: Server) -> None:
            peer = await machine.peer(server)
            await peer.call(Op.CREATE, create_body("/n", b"", 2))

        machine.run(main)

    async def wait(server: Server) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    machine.run(wait, autopurge_purge_interval_hours=1, autopurge_snap_retain_count=1)
    assert len([name for name in machine.files() if name.startswith("snapshot.")]) == 4
    assert len(machine.run(nothing).tree.nodes) == 4 + 5


@pytest.mark.parametrize("hours", [0, 5])
def test_purges_come_again_and_again(machine: Machine, hours: int) -> None:
    """autopurge.purgeInterval; 0 is never. The next one is due so long after the last one was done."""

    async def main(server: Server) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        due = [timer.when() - server.loop.time() for timer in server._timers]
        assert due == pytest.approx([hours * 3600] if hours else [], abs=60)

    machine.run(main, autopurge_purge_interval_hours=hours)


def test_the_fresh_start_can_be_refused(machine: Machine) -> None:
    """zookeeper.db.autocreate=false: an empty server may not vote, and its zxid says so; standalone it serves."""
    server = machine.run(nothing, db_autocreate=False)
    assert server.stopped.result() == 0
    assert not any(name == "snapshot.0" for name in machine.files())
