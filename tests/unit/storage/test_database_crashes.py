"""TRUNC, SNAP and the start after them on a disk that loses what was not synced: cut short at every call they make."""

from __future__ import annotations

import errno
import random

import pytest
from dbkit import Story, new_database, snapshot, some_story, state, story_state, stream, take, z

from zabra.errors import DataError
from zabra.sim.disk import MachineDisk, ProcessDisk
from zabra.sim.loop import Process, new_loop
from zabra.sim.trace import Trace
from zabra.storage.snapstream import SIGNATURE, SnapStreamLoader

#: Calls that change nothing.
READS = ("open", "pread")


class Killed(BaseException):
    """The process died."""


class Machine:
    """A disk, and databases of one process after the other on it."""

    def __init__(self, seed=0, logs="/data"):
        self.logs = logs
        self.disk = MachineDisk(new_loop(Trace()), random.Random(seed))
        self.calls = []
        self.start()

    def start(self):
        """A new process."""
        self.disk.plan = lambda name, path, size: None
        self.disk.locks.clear()
        process = Process("server")
        self.database = new_database(ProcessDisk(self.disk, process), data_log_dir=self.logs)
        return self.database

    def load(self):
        """A start, whole."""
        self.start().load()
        return state(self.database)

    def stop_at(self, number, error=Killed):
        """Raise at the ``number``-th call that may change something; ``calls`` are those before."""
        self.calls = []

        def plan(name, path, size):
            if name not in READS:
                if len(self.calls) == number:
                    raise error
                self.calls.append(name)

        self.disk.plan = plan


def cut_machine(seed=0, logs="/data"):
    """Three snapshots and three log files, of two epochs."""
    machine = Machine(seed, logs)
    story = some_story()
    machine.database.load()
    take(machine.database, story.entries[:4])
    snapshot(machine.database)
    take(machine.database, story.entries[4:8])
    snapshot(machine.database)
    take(machine.database, story.entries[8:])
    return machine, story


class Truncating:
    """Cut back into the first log file."""

    zxid = z(1, 3)
    logs = "/data"

    def __init__(self, seed=0):
        self.machine, self.story = cut_machine(seed, self.logs)

    def run(self):
        self.machine.database.truncate(self.zxid)

    def after(self):
        return story_state(self.story, self.zxid)

    def check(self, found):
        """A history that has been, no shorter than it should be, all of it in the log."""
        last = found[0]
        assert last >= self.zxid
        assert found == story_state(self.story, last)
        read = [zxid for zxid, _ in self.machine.database._logs.scan(0)]
        assert read == [entry.zxid for entry in self.story.entries if entry.zxid <= last]


class Replacing:
    """Take over another history, which is newer than ours."""

    logs = "/data"

    def __init__(self, seed=0):
        self.machine, self.story = cut_machine(seed, self.logs)
        self.other = Story()
        for entry in self.story.entries[:6]:
            self.other.replay(entry)
        self.prepare()
        self.source = source = Machine().database
        source.load()
        for entry in self.other.entries:
            source.apply(entry)
        self.base = source.last_processed

    def prepare(self):
        self.other.epoch(3)
        self.other.many(3, b"/other")

    def run(self):
        database = self.machine.database
        assert database.receive_snapshot(self.base).feed(stream(self.source) + SIGNATURE) == b""
        for entry in self.other.entries[len(self.other.entries) - self.late() :]:
            database.apply(entry)
        database.save_snapshot(self.base)

    def late(self):
        """Entries that came behind the snapshot."""
        return 0

    def after(self):
        return story_state(self.other)

    def check(self, found):
        """Ours or the other, nothing between."""
        assert found in (story_state(self.story), self.after())


class ReplacingByLess(Replacing):
    """The other history ends before the only snapshots that we have, and the leader went on while it sent it."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.machine.database._disk.unlink("/data/version-2/snapshot.0")
        self.machine.database._disk.unlink("/data/version-2/snapshot.100000004")
        self.machine.database._disk.sync_dir("/data/version-2")
        self.other.many(2, b"/late")

    def prepare(self):
        pass

    def late(self):
        return 2


class TruncatingApart(Truncating):
    """The log has a folder of its own."""

    logs = "/logs"


class ReplacingApart(ReplacingByLess):
    """The log has a folder of its own."""

    logs = "/logs"


CHANGES = (Truncating, TruncatingApart, Replacing, ReplacingByLess, ReplacingApart)


@pytest.fixture(autouse=True)
def quiet(caplog):
    caplog.set_level("CRITICAL")


def steps_of(change):
    """The calls it makes."""
    whole = change()
    whole.machine.stop_at(-1)
    whole.run()
    return whole.machine.calls


def go_on(change):
    """Whatever is there, the log continues behind it and is found again."""
    machine = change.machine
    more = Story()
    SnapStreamLoader(more.tree, more.sessions).feed(stream(machine.database) + SIGNATURE)
    more.epoch(4)
    take(machine.database, more.many(2, b"/more"))
    now = state(machine.database)
    assert machine.load() == now
    assert now[0] == z(4, 2)


@pytest.mark.parametrize("change", CHANGES)
def test_whole_it_is_what_a_start_finds(change):
    change = change()
    change.run()
    assert state(change.machine.database) == change.after()
    change.machine.disk.lose_power()
    assert change.machine.load() == change.after()
    go_on(change)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("power", [False, True])
def test_killed_at_any_call_it_is_the_old_or_the_new(change, power):
    found = []
    for number, call in enumerate(steps_of(change)):
        # Names may be lost in any order before a folder is synced.
        for seed in range((30 if call == "sync_dir" else 3) if power else 1):
            here = change(seed)
            here.machine.stop_at(number)
            with pytest.raises(Killed):
                here.run()
            if power:
                here.machine.disk.lose_power()
            now = here.machine.load()
            here.check(now)
            found.append(now == here.after())
            # Doing it again ends it, and the log goes on.
            if seed % 2:
                here.run()
                assert state(here.machine.database) == here.after()
                assert here.machine.load() == here.after()
            go_on(here)
    assert {*found} == {False, True}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_call_is_told_and_leaves_the_old_or_the_new(change, code):
    """ZOOKEEPER-3701: a failed TRUNC was taken for done."""
    for number in range(len(steps_of(change))):
        here = change(number)
        here.machine.stop_at(number, OSError(code, "the disk"))
        with pytest.raises(OSError, match="the disk"):
            here.run()
        # The server stops; nothing more is written.
        here.machine.disk.plan = lambda name, path, size: None
        here.machine.database.close()
        here.machine.disk.lose_power()
        here.check(here.machine.load())
        go_on(here)


@pytest.mark.parametrize("change", CHANGES)
def test_killed_again_while_it_starts(change):
    for number in range(len(steps_of(change))):
        again = 0
        while True:
            here = change()
            here.machine.stop_at(number)
            with pytest.raises(Killed):
                here.run()
            database = here.machine.start()
            here.machine.stop_at(again)
            try:
                database.load()
            except Killed:
                here.machine.disk.lose_power()
                here.check(here.machine.load())
                again += 1
                continue
            break


def test_a_begun_change_whose_snapshot_is_missing_is_refused():
    here = Replacing()
    here.machine.disk.before_unlink = lambda path: None
    names = here.machine.disk.names
    stop = []

    def plan(name, path, size):
        if path.endswith("historyBase.tmp") and name == "rename":
            stop.append(name)
        elif stop:
            raise Killed

    here.machine.disk.plan = plan
    with pytest.raises(Killed):
        here.run()
    (temporary,) = [path for path in names if "/tmp.snapshot." in path]
    del names[temporary]
    with pytest.raises(DataError, match=r"historyBase: names snapshot\.300000003, which is missing"):
        here.machine.load()
