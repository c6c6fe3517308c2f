"""The simulated disk: what survives what."""

import errno
import random

import pytest

from zabra.sim.disk import SECTOR, MachineDisk, ProcessDisk
from zabra.sim.loop import Process, SimulatedCrash, new_loop
from zabra.sim.trace import Trace


class Machine:
    def __init__(self, seed=1):
        self.loop = new_loop(Trace())
        self.machine = MachineDisk(self.loop, random.Random(seed))
        self.process = Process("server")
        self.disk = ProcessDisk(self.machine, self.process)
        self.disk.makedirs("/data")

    def file(self, path="/data/f", data=b""):
        """A durable file, open for writing."""
        file = self.disk.open(path, create=True, write=True)
        if data:
            file.pwrite(data, 0)
        file.sync()
        self.disk.sync_dir("/data")
        return file


SEEDS = range(40)


def test_what_was_synced_survives_a_power_cut():
    for seed in SEEDS:
        machine = Machine(seed)
        file = machine.file(data=b"a" * 3000)
        file.pwrite(b"b" * 1000, 2500)
        file.sync()
        machine.machine.lose_power()
        assert machine.disk.read("/data/f") == b"a" * 2500 + b"b" * 1000


def test_what_was_not_synced_survives_in_any_part_and_everything_happens():
    found = set()
    for seed in SEEDS:
        machine = Machine(seed)
        machine.file(data=bytes(4 * SECTOR)).pwrite(b"x" * 4 * SECTOR, 0)
        machine.machine.lose_power()
        data = machine.disk.read("/data/f")
        assert len(data) == 4 * SECTOR
        found.add("".join("x" if part == b"x" * SECTOR else "-" if part == bytes(SECTOR) else "?" for part in (
            data[at : at + SECTOR] for at in range(0, 4 * SECTOR, SECTOR))))  # fmt: skip
    assert {"xxxx", "----"} <= found
    # Sectors lost in the middle, and a write cut within a sector.
    assert any("-x" in pattern for pattern in found)
    assert any("?" in pattern for pattern in found)


def test_a_power_cut_touches_only_what_was_written_since_the_sync():
    for seed in SEEDS:
        machine = Machine(seed)
        file = machine.file(data=b"a" * 2000)
        file.pwrite(b"b" * 100, 2000)
        machine.machine.lose_power()
        assert machine.disk.read("/data/f")[:2000] == b"a" * 2000


def test_a_dead_process_leaves_all_it_had_written():
    machine = Machine()
    file = machine.file(data=b"a")
    file.pwrite(b"b", 1)
    machine.process.alive = False
    with pytest.raises(SimulatedCrash):
        file.pwrite(b"c", 2)
    with pytest.raises(SimulatedCrash):
        file.sync()
    assert ProcessDisk(machine.machine, Process("next")).read("/data/f") == b"ab"


def test_a_cut_file_that_grows_again_shows_zeros():
    machine = Machine()
    file = machine.file(data=b"a" * 100)
    file.truncate(50)
    file.truncate(100)
    assert machine.disk.read("/data/f") == b"a" * 50 + bytes(50)
    file.sync()
    machine.machine.lose_power()
    assert machine.disk.read("/data/f") == b"a" * 50 + bytes(50)


def test_a_name_is_durable_with_the_sync_of_its_folder_only():
    survived = []
    for seed in SEEDS:
        machine = Machine(seed)
        machine.disk.open("/data/f", create=True, write=True).sync()
        machine.machine.lose_power()
        survived.append(machine.disk.exists("/data/f"))
    assert set(survived) == {True, False}


def test_a_rename_is_whole_or_did_not_happen():
    found = set()
    for seed in SEEDS:
        machine = Machine(seed)
        machine.file("/data/new", b"new")
        machine.file("/data/old", b"old")
        machine.disk.rename("/data/new", "/data/old")
        assert machine.disk.listdir("/data") == ["old"]
        machine.machine.lose_power()
        names = machine.disk.listdir("/data")
        found.add((tuple(names), machine.disk.read("/data/old")))
    assert found == {(("old",), b"new"), (("new", "old"), b"old")}


def test_a_removed_file_may_come_back():
    found = set()
    for seed in SEEDS:
        machine = Machine(seed)
        machine.file(data=b"a")
        machine.disk.unlink("/data/f")
        machine.machine.lose_power()
        found.add(machine.disk.exists("/data/f"))
    assert found == {True, False}


def test_a_failed_sync_loses_what_it_took_for_good():
    lost = 0
    for seed in SEEDS:
        machine = Machine(seed)
        file = machine.file(data=bytes(SECTOR))
        file.pwrite(b"x" * SECTOR, 0)

        def fail(name, path, size):
            if name == "sync":
                raise OSError(errno.EIO, name, path)

        machine.machine.plan = fail
        with pytest.raises(OSError, match="sync"):
            file.sync()
        machine.machine.plan = lambda name, path, size: None
        seen = machine.disk.read("/data/f")
        file.sync()
        machine.machine.lose_power()
        assert machine.disk.read("/data/f") == seen
        lost += seen != b"x" * SECTOR
    assert 0 < lost < len(SEEDS)


def test_a_full_disk_takes_a_part():
    machine = Machine()
    file = machine.file()

    def full(name, path, size):
        if name == "pwrite":
            raise OSError(errno.ENOSPC, name, path)

    machine.machine.plan = full
    with pytest.raises(OSError, match="pwrite"):
        file.pwrite(b"x" * 1000, 0)
    assert 0 < file.size() < 1000


def test_a_sync_takes_virtual_time():
    machine = Machine()
    machine.machine.sync_seconds = lambda: 0.25
    before = machine.loop.time()
    machine.file().sync()
    assert machine.loop.time() - before == pytest.approx(0.75)


def test_errors_are_those_of_the_system():
    machine = Machine()
    machine.file()
    with pytest.raises(FileNotFoundError):
        machine.disk.open("/data/none")
    with pytest.raises(FileNotFoundError):
        machine.disk.open("/nowhere/f", create=True)
    with pytest.raises(FileExistsError):
        machine.disk.open("/data/f", create=True, exclusive=True)
    with pytest.raises(FileNotFoundError):
        machine.disk.unlink("/data/none")
    with pytest.raises(FileNotFoundError):
        machine.disk.listdir("/none")


def test_write_atomic_is_durable():
    for seed in SEEDS:
        machine = Machine(seed)
        machine.disk.write_atomic("/data/f", b"one")
        machine.disk.write_atomic("/data/f", b"two")
        machine.machine.lose_power()
        assert machine.disk.read("/data/f") == b"two"
        assert machine.disk.listdir("/data") == ["f"]
