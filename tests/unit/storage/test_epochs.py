"""The epoch files and the initialize marker."""

from __future__ import annotations

import errno
import random

import pytest
from memdisk import MemoryDisk

from zabra.errors import DataError
from zabra.sim.disk import MachineDisk, ProcessDisk
from zabra.sim.loop import Process, new_loop
from zabra.sim.trace import Trace
from zabra.storage.epochs import (
    ACCEPTED_EPOCH,
    CURRENT_EPOCH,
    Epochs,
    load_epochs,
    read_epoch,
    take_initialize_marker,
    write_epoch,
)

FOLDER = "/data/version-2"


def disk_with(**files: bytes) -> MemoryDisk:
    disk = MemoryDisk()
    for name, content in files.items():
        disk.put(f"{FOLDER}/{name}", content)
    return disk


@pytest.mark.parametrize(("content", "number"), [(b"7", 7), (b"12\n", 12), (b"3\r\nrest\n", 3), (b"-1", -1)])
def test_an_epoch_is_the_number_on_the_first_line(content: bytes, number: int) -> None:
    assert read_epoch(disk_with(currentEpoch=content), FOLDER, CURRENT_EPOCH) == number


@pytest.mark.parametrize("content", [b"", b"x", b"1 2", b"\n5", b"1.0", b"99999999999999999999", b"--1"])
def test_no_number_names_the_file(content: bytes) -> None:
    with pytest.raises(DataError, match=r"/data/version-2/currentEpoch: expected a number"):
        read_epoch(disk_with(currentEpoch=content), FOLDER, CURRENT_EPOCH)


def test_epochs_are_written_as_decimal_text() -> None:
    disk = disk_with()
    write_epoch(disk, FOLDER, CURRENT_EPOCH, 12)
    assert disk.read(f"{FOLDER}/currentEpoch") == b"12"
    assert read_epoch(disk, FOLDER, CURRENT_EPOCH) == 12
    assert read_epoch(disk, FOLDER, ACCEPTED_EPOCH) is None


def test_missing_epochs_are_taken_from_the_zxid_and_written() -> None:
    disk = disk_with()
    assert load_epochs(disk, FOLDER, (3 << 32) + 5) == Epochs(3, 3)
    assert disk.read(f"{FOLDER}/acceptedEpoch") == disk.read(f"{FOLDER}/currentEpoch") == b"3"


def test_present_epochs() -> None:
    assert load_epochs(disk_with(acceptedEpoch=b"5", currentEpoch=b"4"), FOLDER, 3 << 32) == Epochs(5, 4)


def test_history_beyond_the_current_epoch_stops_the_start() -> None:
    with pytest.raises(DataError, match=r"currentEpoch: the current epoch 0x2 is older"):
        load_epochs(disk_with(acceptedEpoch=b"5", currentEpoch=b"2"), FOLDER, 3 << 32)


def test_an_interrupted_change_of_epoch_is_finished() -> None:
    """ZOOKEEPER-2307, 4269."""
    disk = disk_with(acceptedEpoch=b"3", currentEpoch=b"2", **{"currentEpoch.tmp": b"3"})
    assert load_epochs(disk, FOLDER, (3 << 32) + 1) == Epochs(3, 3)
    assert disk.read(f"{FOLDER}/currentEpoch") == b"3"


def stopped_at(number: int, seed: int, *, power: bool) -> Epochs | None:
    """What a start finds when the one before, which finished a change of epoch, came to its ``number``-th call only.

    None: it has not so many.
    """
    machine = MachineDisk(new_loop(Trace()), random.Random(seed))
    disk = ProcessDisk(machine, Process("server"))
    disk.makedirs(FOLDER)
    for name, epoch in ((ACCEPTED_EPOCH, b"3"), (CURRENT_EPOCH, b"2"), (CURRENT_EPOCH + ".tmp", b"3")):
        disk.write_atomic(f"{FOLDER}/{name}", epoch)
    left = [number]

    def plan(name: str, path: str, size: int) -> None:
        if not left[0]:
            raise OSError(errno.EIO, "stopped", path)
        left[0] -= 1

    machine.plan = plan
    try:
        load_epochs(disk, FOLDER, (3 << 32) + 1)
    except OSError:
        machine.plan = lambda name, path, size: None
        if power:
            machine.lose_power()
        return load_epochs(disk, FOLDER, (3 << 32) + 1)
    return None


@pytest.mark.parametrize("power", [False, True])
def test_an_interrupted_change_of_epoch_can_be_interrupted_again(power: bool) -> None:
    """Apache's start would find an empty file."""
    calls = 0
    while stopped_at(calls, 0, power=False) is not None:
        calls += 1
    assert calls > 8
    for number in range(calls):
        assert {stopped_at(number, seed, power=power) for seed in range(20)} == {Epochs(3, 3)}


def test_less_accepted_than_current_stops_the_start() -> None:
    with pytest.raises(DataError, match=r"acceptedEpoch: the accepted epoch 0x1 is less"):
        load_epochs(disk_with(acceptedEpoch=b"1", currentEpoch=b"2"), FOLDER, 2 << 32)


def test_marker_is_found_once_in_either_folder() -> None:
    for folder in ("/logs", "/data"):
        disk = MemoryDisk()
        disk.put(f"{folder}/initialize", b"")
        assert take_initialize_marker(disk, "/logs", "/data")
        assert not take_initialize_marker(disk, "/logs", "/data")
