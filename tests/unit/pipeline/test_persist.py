"""One write and one sync for everything of a turn; where it runs; and what a failure does."""

from __future__ import annotations

import pytest
from rig import (
    Client,
    FakeClock,
    FakeLog,
    FakeScheduler,
    FakeWorker,
    Rig,
    create_body,
    delete_body,
    multi_body,
    set_body,
    watch_body,
)

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats
from zabra.pipeline.persist import INLINE_SYNC_MAX, Persist
from zabra.pipeline.request import Write


class Bench:
    """A log stage with fakes around it."""

    def __init__(self, seconds: float = 0.0, **more: int) -> None:
        self.clock = FakeClock()
        self.scheduler = FakeScheduler(self.clock)
        self.log = FakeLog(self.clock, seconds)
        self.worker, self.filler = FakeWorker(), FakeWorker()
        self.committed: list[tuple[list[int], float]] = []
        self.fatal: list[BaseException] = []
        self.stats = ServerStats(Metrics())
        self.persist = Persist(
            Settings(data_dir="/data", **more),
            self.log,  # type: ignore[arg-type]
            self.worker,
            self.filler,
            self.clock,
            self.scheduler,
            lambda writes, started: self.committed.append(([write.zxid for write in writes], started)),  # type: ignore[union-attr]
            lambda what, error: self.fatal.append(error),
            self.stats,
        )

    def propose(self, *zxids: int) -> None:
        for zxid in zxids:
            self.persist.propose([b"%d" % zxid], [Write(None, 0, 1, zxid)])

    def write_all(self, *zxids: int) -> None:
        self.persist.write_all([b"%d" % zxid for zxid in zxids], [Write(None, 0, 1, zxid) for zxid in zxids])


def test_a_turn_is_one_write() -> None:
    bench = Bench()
    bench.propose(1, 2, 3)
    assert bench.log.durable == []
    assert bench.persist.outstanding == 3
    bench.clock.now += 1
    bench.scheduler.run()
    bench.propose(4)
    bench.scheduler.run()
    assert bench.log.durable == [b"1", b"2", b"3", b"4"]
    assert bench.committed == [([1, 2, 3], 1000.0), ([4], 1001.0)]
    assert bench.log.writes == 2
    assert bench.persist.outstanding == 0


def test_several_may_be_written_before_the_turn_ends() -> None:
    bench = Bench()
    bench.write_all(1, 2)
    assert bench.log.durable == [b"1", b"2"]
    bench.clock.now += 1
    bench.write_all(3)
    assert bench.committed == [([1, 2], 1000.0), ([3], 1001.0)]
    assert not bench.scheduler.ready


def test_several_wait_for_the_batch_on_its_way() -> None:
    bench = Bench(0.1)
    bench.write_all(1)
    bench.write_all(2)
    bench.write_all(3, 4)
    assert bench.persist.outstanding == 3
    bench.worker.step()
    bench.worker.step()
    assert [zxids for zxids, _ in bench.committed] == [[1], [2], [3, 4]]


def test_several_wait_for_the_flush_delay() -> None:
    bench = Bench(flush_delay_ms=20, max_write_queue_poll_ms=0, max_batch_size=3)
    bench.write_all(1, 2)
    assert bench.log.durable == []
    bench.write_all(3, 4)
    bench.scheduler.run()
    assert [zxids for zxids, _ in bench.committed] == [[1, 2, 3, 4]]
    bench.write_all(5, 6, 7)
    bench.scheduler.run()
    assert [zxids for zxids, _ in bench.committed] == [[1, 2, 3, 4], [5, 6, 7]]


def test_a_fast_disk_is_written_in_the_loop() -> None:
    bench = Bench(INLINE_SYNC_MAX / 2)
    for zxid in range(50):
        bench.propose(zxid)
        bench.scheduler.run()
    assert not bench.worker.jobs
    assert len(bench.committed) == 50


def test_a_slow_disk_goes_to_the_worker_and_comes_back() -> None:
    """Above 2 ms on average; back below half of that."""
    bench = Bench(0.1)
    bench.propose(1)
    bench.scheduler.run()
    assert len(bench.committed) == 1
    zxid = 2
    bench.log.seconds = INLINE_SYNC_MAX * 0.7
    for _ in range(100):
        bench.propose(zxid)
        bench.scheduler.run()
        assert len(bench.worker.jobs) == 1
        bench.worker.step()
        zxid += 1
    bench.log.seconds = 0.0
    turns = 0
    while True:
        bench.propose(zxid)
        bench.scheduler.run()
        zxid += 1
        turns += 1
        if not bench.worker.jobs:
            break
        bench.worker.step()
    assert 1 < turns < 10
    assert [zxids for zxids, _ in bench.committed] == [[number] for number in range(1, zxid)]


def test_what_arrives_while_the_disk_is_busy_is_the_next_batch() -> None:
    bench = Bench(0.1)
    bench.propose(1)
    bench.scheduler.run()
    bench.propose(2)
    bench.scheduler.run()
    for zxid in (3, 4):
        bench.propose(zxid)
        bench.scheduler.run()
    assert len(bench.worker.jobs) == 1
    assert bench.persist.outstanding == 3
    bench.worker.step()
    assert [zxids for zxids, _ in bench.committed] == [[1], [2]]
    bench.worker.step()
    assert [zxids for zxids, _ in bench.committed] == [[1], [2], [3, 4]]
    assert not bench.worker.jobs


def batches(bench: Bench) -> list[list[int]]:
    """The zxids of each batch that was committed."""
    return [zxids for zxids, _ in bench.committed]


def test_flush_delay_gathers_writes() -> None:
    """So long after the last flush, whatever still comes; cut short by maxBatchSize."""
    bench = Bench(flush_delay_ms=20, max_write_queue_poll_ms=15, max_batch_size=3)
    bench.propose(1)
    bench.scheduler.advance(0.014)
    bench.propose(2)
    bench.scheduler.advance(0.005)
    assert batches(bench) == []
    bench.scheduler.advance(0.002)
    assert batches(bench) == [[1, 2]]
    bench.propose(3, 4, 5)
    bench.scheduler.run()
    assert batches(bench) == [[1, 2], [3, 4, 5]]


def test_a_batch_without_limit_waits_for_its_time_alone() -> None:
    """maxBatchSize=0."""
    bench = Bench(flush_delay_ms=20, max_write_queue_poll_ms=20, max_batch_size=0)
    bench.propose(*range(1, 2001))
    bench.scheduler.run()
    assert batches(bench) == []
    bench.scheduler.advance(0.021)
    assert batches(bench) == [list(range(1, 2001))]


def test_a_batch_that_nothing_is_added_to_need_not_wait() -> None:
    """maxWriteQueuePollTime, which each write that comes begins anew."""
    bench = Bench(flush_delay_ms=100, max_write_queue_poll_ms=10)
    for zxid in (1, 2, 3):
        bench.propose(zxid)
        bench.scheduler.advance(0.009)
    assert batches(bench) == []
    bench.scheduler.advance(0.002)
    assert batches(bench) == [[1, 2, 3]]


def test_a_write_after_a_rest_does_not_wait() -> None:
    """The delay is one between two flushes: it is over already; what came in the same turn goes along."""
    bench = Bench(flush_delay_ms=100, max_write_queue_poll_ms=50)
    bench.scheduler.advance(0.101)
    bench.propose(1, 2)
    bench.scheduler.run()
    assert batches(bench) == [[1, 2]]
    bench.propose(3)
    bench.scheduler.run()
    assert batches(bench) == [[1, 2]]
    bench.scheduler.advance(0.051)
    assert batches(bench) == [[1, 2], [3]]


def test_batches_that_are_full_leave_one_timer() -> None:
    """However many there are while it runs."""
    bench = Bench(flush_delay_ms=100, max_write_queue_poll_ms=50, max_batch_size=2)
    for zxid in range(1, 101):
        bench.propose(zxid)
        bench.scheduler.run()
    assert len(bench.committed) == 50
    assert len(bench.scheduler.timers) == 1


def test_what_came_while_the_disk_was_busy_waits_for_its_flush_too() -> None:
    bench = Bench(0.1, flush_delay_ms=50, max_write_queue_poll_ms=20, max_batch_size=3)
    bench.scheduler.advance(0.051)
    bench.propose(1)
    bench.scheduler.run()
    bench.scheduler.advance(0.051)
    bench.propose(2)
    bench.scheduler.advance(0.021)
    assert len(bench.worker.jobs) == 1
    bench.propose(3)
    bench.worker.step()
    assert batches(bench) == [[1], [2]]
    assert not bench.worker.jobs
    bench.scheduler.advance(0.021)
    bench.worker.step()
    assert batches(bench) == [[1], [2], [3]]
    bench.scheduler.advance(0.051)
    bench.propose(4)
    bench.scheduler.run()
    bench.propose(5, 6, 7)
    bench.worker.step()
    assert len(bench.worker.jobs) == 1, "a full batch waits for the disk alone"


@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_a_failed_write_answers_nothing_any_more(seconds: float) -> None:
    """Inline and in the worker: memory and disk may disagree."""
    bench = Bench(seconds)
    bench.propose(1)
    bench.scheduler.run()
    bench.log.broken = True
    bench.propose(2)
    bench.scheduler.run()
    if seconds:
        bench.propose(3)
        bench.worker.step()
    bench.log.broken = False
    bench.propose(4)
    bench.scheduler.run()
    assert [zxids for zxids, _ in bench.committed] == [[1]]
    assert len(bench.fatal) == 1
    assert not bench.worker.jobs
    assert bench.log.durable == [b"1"]


def test_a_batch_that_ends_after_the_stop_is_not_committed() -> None:
    bench = Bench(0.1)
    bench.propose(1)
    bench.scheduler.run()
    bench.propose(2)
    bench.scheduler.run()
    bench.persist.stop()
    bench.worker.step()
    assert [zxids for zxids, _ in bench.committed] == [[1]]
    assert bench.fatal == []


def test_space_is_made_ready_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.log.needs_fill = True
    for zxid in (1, 2):
        bench.propose(zxid)
        bench.scheduler.run()
    assert len(bench.filler.jobs) == 1
    bench.filler.step()
    bench.propose(3)
    bench.scheduler.run()
    assert len(bench.filler.jobs) == 1

    def full() -> bool:
        raise OSError(28, "no space left")

    monkeypatch.setattr(bench.log, "fill_ahead", full)
    bench.filler.jobs.clear()
    bench.persist._filling = False
    bench.propose(4)
    bench.scheduler.run()
    bench.filler.step()
    assert len(bench.fatal) == 1


def test_slow_syncs_are_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """fsync.warningthresholdms."""
    bench = Bench(0.5, fsync_warning_threshold_ms=400)
    bench.propose(1)
    bench.scheduler.run()
    assert bench.stats.fsync_threshold_exceed_count == 1
    assert "the disk is slow" in caplog.text
    assert bench.stats.metrics.fsynctime.count == 1


def test_a_transaction_that_cannot_be_applied_ends_the_server(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours: the log has it, the tree does not. A process that lived on would serve another history."""

    def broken(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(client.rig.tree, "install_create", broken)
    client.request(Op.CREATE, create_body("/a"))
    assert client.rig.fatal == ["a committed transaction could not be applied"]
    assert client.take() == []


@pytest.mark.parametrize("op", [Op.CREATE, Op.MULTI, Op.DELETE])
def test_a_validation_that_breaks_off_ends_the_server(client: Client, monkeypatch: pytest.MonkeyPatch, op: int) -> None:
    """Before the next write: its zxid would leave a gap in the log, and nobody could start on that."""
    bodies = {
        Op.CREATE: create_body("/a"),
        Op.MULTI: multi_body((Op.DELETE, delete_body("/a"))),
        Op.DELETE: delete_body("/a"),
    }

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    with monkeypatch.context() as patched:
        patched.setattr(client.rig.prep, "plan", broken)
        patched.setattr(client.rig.hub, "create_run", lambda _conn, _session, _chunk, pos, *_: (pos, 0, 0))
        with pytest.raises(RuntimeError):
            client.request(op, bodies[op])
    assert client.rig.fatal == []
    with pytest.raises(AssertionError, match="not proposed"):
        client.rig.client()
    assert client.rig.fatal == ["a request could not be validated"]
    assert len(client.rig.log.durable) == 1


def test_no_write_is_acknowledged_that_is_not_on_disk(client: Client) -> None:
    """ZOOKEEPER-2247: the client hears nothing, and the tree does not change."""
    client.rig.log.broken = True
    client.request(Op.CREATE, create_body("/a"))
    client.request(Op.SET_DATA, set_body("/", b"x"))
    assert client.take() == []
    assert client.rig.fatal == ["the transaction log could not be written"]
    assert b"/a" not in client.rig.tree.nodes
    assert client.rig.tree.nodes[b"/"].data == b""


def test_reads_go_on_while_the_disk_is_slow() -> None:
    rig = Rig(sync_seconds=0.1)
    rig.client()
    writer, reader = rig.client(), rig.client()
    writer.request(Op.CREATE, create_body("/a"))
    for _ in range(3):
        reader.request(Op.GET_DATA, watch_body("/"))
    assert len(reader.take()) == 3
    rig.work()
    assert len(writer.take()) == 1
