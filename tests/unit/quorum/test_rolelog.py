"""The log of one role: what is on disk is told, what waits is called, and failures end the role."""

import asyncio

import pytest
from rig import FakeClock, FakeLog, FakeScheduler, FakeWorker

from zabra.config.model import Settings
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats
from zabra.quorum.rolelog import RoleLog
from zabra.zab.syncplan import Entry


class World:
    """A context with no more than the log needs. With ``seconds`` a sync is slow: the second one is the worker's."""

    def __init__(self, seconds=0.0, **settings):
        self.settings = Settings(data_dir="/d", **settings)
        self.clock = FakeClock()
        self.loop = FakeScheduler(self.clock)
        self.writer = FakeLog(self.clock, seconds)
        self.log_worker = self.fill_worker = FakeWorker()
        self.stats = ServerStats(Metrics())
        self.db = self.runtime = self.host = self
        self.told = []
        self.counted = []
        self.fatals = []
        self.ends = []
        self.log = RoleLog(self, self.told.append, self.ended)

    def logged(self, entries, size):
        self.counted.append((entries, size))

    def fatal(self, what, error):
        self.fatals.append(f"{what}: {error}")

    def ended(self, why):
        self.ends.append(why)

    def append(self, *zxids):
        self.log.append([Entry(zxid, b"%d" % zxid) for zxid in zxids])


@pytest.fixture
def world():
    return World()


@pytest.fixture
def slow():
    made = World(seconds=0.5)
    made.append(1)
    assert made.told == [1]
    return made


def test_entries_are_on_disk_before_append_returns(world):
    world.append(1, 2)
    assert world.writer.durable == [b"1", b"2"]
    assert world.told == [2]
    assert world.counted == [(2, 2)]
    assert world.log.outstanding == 0


def test_on_a_slow_disk_they_are_told_when_they_are_there(slow):
    slow.append(2)
    slow.append(3, 4)
    assert (slow.told, slow.log.outstanding) == ([1], 3)
    slow.log_worker.step()
    assert (slow.told, slow.log.outstanding) == ([1, 2], 2)
    slow.log_worker.step()
    assert (slow.told, slow.log.outstanding) == ([1, 2, 4], 0)


def test_with_a_flush_delay_they_are_gathered():
    world = World(flush_delay_ms=20)
    world.append(1)
    world.append(2)
    assert world.told == []
    world.loop.advance(0.021)
    assert (world.told, world.writer.writes) == ([2], 1)


def test_who_waits_for_an_idle_log_is_called_at_once_or_later(slow):
    calls = []
    slow.log.on_idle(lambda: calls.append("at once"))
    assert calls == ["at once"]
    slow.append(2)
    slow.append(3)
    slow.log.on_idle(lambda: calls.append("later"))
    slow.log_worker.step()
    assert calls == ["at once"]
    slow.log_worker.step()
    assert calls == ["at once", "later"]


def test_who_waits_need_not_wait_for_a_flush_delay():
    world = World(flush_delay_ms=10_000)
    calls = []
    world.append(1)
    world.log.on_idle(lambda: calls.append(1))
    assert (calls, world.told) == ([1], [1])


def test_an_idle_log_before_the_first_entry(world):
    calls = []
    world.log.on_idle(lambda: calls.append(1))
    assert calls == [1]
    assert world.log.outstanding == 0


def test_a_failure_ends_server_and_role_and_nobody_waits_for_ever(slow):
    calls = []
    slow.append(2)
    slow.log.on_idle(lambda: calls.append(list(slow.ends)))
    slow.writer.broken = True
    slow.log_worker.step()
    why = "the transaction log could not be written"
    assert slow.fatals == [f"{why}: [Errno 28] no space left"]
    assert slow.ends == [why]
    assert calls == [[why]], "whoever waited finds the role over"
    assert slow.told == [1]


def finish(world):
    """What finish gives, with the worker at work."""

    async def main():
        world.loop.create_future = asyncio.get_running_loop().create_future
        ending = asyncio.get_running_loop().create_task(world.log.finish())
        await asyncio.sleep(0)
        while world.log_worker.jobs:
            world.log_worker.step()
        return await ending

    return asyncio.run(main())


def test_the_end_brings_everything_to_the_disk(slow):
    slow.append(2)
    slow.append(3)
    assert finish(slow)
    assert slow.writer.durable == [b"1", b"2", b"3"]
    assert slow.told == [1, 2, 3]
    slow.append(4)
    while slow.log_worker.jobs:
        slow.log_worker.step()
    assert slow.writer.durable == [b"1", b"2", b"3"], "nothing behind the end"


def test_the_end_of_a_log_that_was_never_used(world):
    assert finish(world)


def test_the_end_of_a_log_that_fails_then_or_has_failed(slow):
    slow.append(2)
    slow.writer.broken = True
    assert not finish(slow)
    assert not finish(slow)
    assert len(slow.fatals) == 1
