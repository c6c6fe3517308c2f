"""The epoch files and the initialize marker."""

from __future__ import annotations

import pytest
from memdisk import MemoryDisk

from zabra.errors import DataError
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


def test_less_accepted_than_current_stops_the_start() -> None:
    with pytest.raises(DataError, match=r"acceptedEpoch: the accepted epoch 0x1 is less"):
        load_epochs(disk_with(acceptedEpoch=b"1", currentEpoch=b"2"), FOLDER, 2 << 32)


def test_marker_is_found_once_in_either_folder() -> None:
    for folder in ("/logs", "/data"):
        disk = MemoryDisk()
        disk.put(f"{folder}/initialize", b"")
        assert take_initialize_marker(disk, "/logs", "/data")
        assert not take_initialize_marker(disk, "/logs", "/data")
