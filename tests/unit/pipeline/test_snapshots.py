"""When a snapshot is due, and taking one while writes go on."""

from __future__ import annotations

import errno

import pytest
from memdisk import MemoryDisk
from rig import Client, Rig, create_body, delete_body, set_body

from zabra.consts import Op
from zabra.pipeline import snapshots
from zabra.pipeline.snapshots import NODES_PER_TURN, SnapshotPolicy, Snapshotter
from zabra.storage.snapstore import SnapshotStore
from zabra.tree.tree import DataTree


class Dice:
    """Gives the same part of every range."""

    def __init__(self, part: float) -> None:
        self.part = part

    def random(self) -> float:
        return self.part

    def randrange(self, stop: int) -> int:
        return min(int(stop * self.part), stop - 1)


@pytest.mark.parametrize(("part", "entries"), [(0.0, 51), (0.5, 76), (1.0, 100)])
def test_due_after_half_of_snap_count_and_a_random_part(part: float, entries: int) -> None:
    policy = SnapshotPolicy(Dice(part), 100, 0)
    assert [policy.due(1, 100) for _ in range(entries)] == [False] * (entries - 1) + [True]
    policy.reset()
    assert not policy.due(1, 100)


def test_due_by_size() -> None:
    """snapSizeLimitInKb, by the same rule; 0 or less switches it off."""
    policy = SnapshotPolicy(Dice(0.0), 10**6, 1000)
    assert [policy.due(1, 250) for _ in range(3)] == [False, False, True]
    for off in (0, -1):
        assert not SnapshotPolicy(Dice(0.0), 10**6, off).due(1, 10**12)


@pytest.mark.parametrize("snap_count", [-5, 0, 1, 2])
def test_the_smallest_snap_count_is_two(snap_count: int) -> None:
    policy = SnapshotPolicy(Dice(0.0), snap_count, 0)
    assert [policy.due(1, 0), policy.due(1, 0)] == [False, True]


class Bench:
    """A rig with a snapshotter on a disk in memory."""

    def __init__(self, nodes: int) -> None:
        self.rig = Rig()
        self.client: Client = self.rig.client()
        for number in range(nodes):
            self.client.request(Op.CREATE, create_body(f"/{number}", b"data"), run=False)
        self.rig.run()
        self.disk = MemoryDisk()
        self.disk.makedirs("/snap")
        self.store = SnapshotStore(self.disk, "/snap")
        rig = self.rig
        self.snapshotter = Snapshotter(
            rig.tree,
            rig.sessions.logged,
            self.store,
            rig.worker,
            rig.clock,
            rig.scheduler,
            rig.stats.metrics,
        )

    def load(self) -> tuple[DataTree, dict[int, int], int]:
        tree, sessions = DataTree(), dict[int, int]()
        loaded = self.store.load_newest(tree, sessions)
        assert loaded is not None
        return tree, sessions, loaded.zxid


def test_a_snapshot_shows_the_moment_it_was_begun() -> None:
    """Whatever is written, deleted and closed meanwhile (ZOOKEEPER-3144: sessions too)."""
    bench = Bench(3 * NODES_PER_TURN)
    rig, client = bench.rig, bench.client
    before = {name: (node.data, node.stat) for name, node in rig.tree.nodes.items()}
    zxid, digest, sessions = rig.tree.last_zxid, rig.tree.digest, rig.sessions.logged()
    assert bench.snapshotter.take_nowait()
    assert bench.snapshotter.running
    rig.scheduler.ready.popleft()()
    rig.client()
    for number in range(3 * NODES_PER_TURN):
        op, body = (Op.DELETE, delete_body(f"/{number}")) if number % 2 else (Op.SET_DATA, set_body(f"/{number}", b"!"))
        client.request(op, body, run=False)
    client.request(Op.CREATE, create_body("/new"), run=False)
    client.request(Op.CLOSE_SESSION)
    rig.work()
    assert not bench.snapshotter.running
    tree, loaded_sessions, loaded_zxid = bench.load()
    assert (loaded_zxid, tree.digest, loaded_sessions) == (zxid, digest, sessions)
    assert {name: (node.data, node.stat) for name, node in tree.nodes.items()} == before
    assert rig.tree.digest != digest


def test_one_at_a_time() -> None:
    bench = Bench(5)
    assert bench.snapshotter.take_nowait()
    assert not bench.snapshotter.take_nowait()
    bench.rig.work()
    assert bench.snapshotter.take_nowait()
    bench.rig.work()
    assert bench.rig.stats.metrics.snapshottime.count == 2


def test_each_turn_dumps_a_few_nodes() -> None:
    """Requests are served in between."""
    bench = Bench(5 * NODES_PER_TURN)
    bench.snapshotter.take_nowait()
    turns = 0
    while bench.rig.scheduler.ready:
        bench.rig.scheduler.ready.popleft()()
        turns += 1
    assert turns >= 5


@pytest.mark.parametrize("call", ["create", "pwrite", "sync", "rename"])
def test_a_snapshot_that_cannot_be_written_is_given_up(call: str, caplog: pytest.LogCaptureFixture) -> None:
    """ZOOKEEPER-3082: nothing of it stays, the server goes on, the next one works."""
    bench = Bench(NODES_PER_TURN)
    bench.disk.fail(call, errno.ENOSPC)
    assert bench.snapshotter.take_nowait()
    bench.rig.work()
    assert "snapshot given up" in caplog.text
    assert bench.disk.listdir("/snap") == []
    assert not bench.snapshotter.running
    assert bench.rig.tree.dump is None
    assert bench.client.call(Op.CREATE, create_body("/after"))[0] == 0
    bench.disk.on_call = lambda name, path: None
    assert bench.snapshotter.take_nowait()
    bench.rig.work()
    assert b"/after" in bench.load()[0].nodes


def test_a_snapshot_that_lacks_a_piece_is_never_shown() -> None:
    """The disk is full for one write only: those behind it are on their way already, and so is the end."""
    bench = Bench(0)
    for number in range(3):
        bench.client.call(Op.CREATE, create_body(f"/{number}", bytes(300_000)))
    failed = []

    def full_once(name: str, path: str) -> None:
        if name == "pwrite" and not failed:
            failed.append(path)
            raise OSError(errno.ENOSPC, "full", path)

    bench.disk.on_call = full_once
    bench.snapshotter.take_nowait()
    bench.rig.run()
    assert len(bench.rig.worker.jobs) > 1
    bench.rig.work()
    assert failed
    assert bench.disk.listdir("/snap") == []
    assert not bench.snapshotter.running


def test_stop_gives_up_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(3 * NODES_PER_TURN)
    monkeypatch.setattr(snapshots, "_CHUNK", 1)
    bench.snapshotter.take_nowait()
    bench.rig.scheduler.ready.popleft()()
    bench.rig.worker.step()
    assert len(bench.disk.listdir("/snap")) == 1, "it is being written"
    bench.snapshotter.stop()
    bench.rig.work()
    assert bench.rig.tree.dump is None
    assert not bench.snapshotter.take_nowait()
    assert bench.disk.listdir("/snap") == []


def test_a_snapshot_that_is_with_the_worker_is_finished_behind_a_stop() -> None:
    bench = Bench(3)
    bench.snapshotter.take_nowait()
    for _ in range(2):
        bench.rig.scheduler.ready.popleft()()
    bench.snapshotter.stop()
    bench.rig.work()
    assert bench.load()[2] == bench.rig.tree.last_zxid


def test_the_dump_waits_for_a_slow_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 8 MiB wait at the worker; then the dump pauses until some are written."""
    bench = Bench(0)
    for number in range(40):
        bench.client.request(Op.CREATE, create_body(f"/{number}", bytes(1_000_000)), run=False)
    bench.rig.run()
    bench.snapshotter.take_nowait()
    monkeypatch.setattr("zabra.pipeline.snapshots.NODES_PER_TURN", 1)
    bench.rig.run()
    assert 8 <= len(bench.rig.worker.jobs) < 20
    while bench.rig.worker.jobs:
        bench.rig.worker.step()
        bench.rig.run()
    assert len(bench.load()[0].nodes) == 44
