"""What a purge removes, and what it must keep."""

from __future__ import annotations

import errno

import pytest
from memdisk import MemoryDisk
from test_snapstore import whole

from zabra.storage.purge import files_to_purge, purge

FOLDER = "/data/version-2"


def folder(snapshots: list[int], logs: list[int], extra: dict[str, bytes] | None = None) -> MemoryDisk:
    disk = MemoryDisk()
    for zxid in snapshots:
        disk.put(f"{FOLDER}/snapshot.{zxid:x}", whole(zxid=zxid))
    for zxid in logs:
        disk.put(f"{FOLDER}/log.{zxid:x}", b"")
    for name, content in (extra or {}).items():
        disk.put(f"{FOLDER}/{name}", content)
    return disk


def purged(disk: MemoryDisk, keep: int = 3) -> list[str]:
    return [path.removeprefix(f"{FOLDER}/") for path in files_to_purge(disk, FOLDER, FOLDER, keep)]


def test_keeps_the_newest_snapshots_and_the_logs_they_need() -> None:
    disk = folder([10, 20, 30, 40, 50], [1, 12, 25, 31, 55])
    # The log that starts at 25 may reach beyond snapshot 30, the one at 12 may not.
    assert purged(disk) == ["log.1", "log.c", "snapshot.a", "snapshot.14"]
    assert purged(disk, 4) == ["log.1", "snapshot.a"]
    assert purged(disk, 5) == []


def test_a_log_that_starts_at_the_snapshot_does_not_make_the_one_before_needed() -> None:
    assert purged(folder([10, 20, 30, 40], [5, 20, 25])) == ["log.5", "snapshot.a"]


def test_logs_that_all_start_later_are_all_kept() -> None:
    assert purged(folder([10, 20, 30, 40], [22, 35])) == ["snapshot.a"]


def test_snapshots_that_are_not_whole_do_not_count() -> None:
    """ZOOKEEPER-3231, 1797: half-written new ones must not push out the last good ones."""
    bad = {f"snapshot.{zxid:x}": b"half" for zxid in (60, 70, 80)}
    disk = folder([10, 20, 30, 40], [1, 15, 45], bad)
    assert purged(disk) == ["log.1", "snapshot.a"]
    assert purged(folder([], [1, 15], bad)) == []


def test_logs_of_the_oldest_kept_snapshot_stay_though_they_are_older() -> None:
    """ZOOKEEPER-2574."""
    assert purged(folder([100, 200, 300], [1, 50])) == ["log.1"]


def test_other_files_are_never_touched() -> None:
    extra = dict.fromkeys(("acceptedEpoch", "currentEpoch", "torn.log.1.10", "log.1.bak", "tmp.snapshot.1", "x"), b"")
    assert purged(folder([10, 20, 30, 40], [1, 2, 15], extra)) == ["log.1", "log.2", "snapshot.a"]


def test_log_folder_of_its_own() -> None:
    disk = folder([10, 20, 30, 40], [])
    for zxid in (1, 15, 45):
        disk.put(f"/logs/version-2/log.{zxid:x}", b"")
    paths = files_to_purge(disk, "/logs/version-2", FOLDER, 3)
    assert paths == ["/logs/version-2/log.1", f"{FOLDER}/snapshot.a"]


def test_fewer_than_three_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 3"):
        files_to_purge(folder([1], []), FOLDER, FOLDER, 2)


def test_purge_removes_tells_and_passes_over_what_is_gone() -> None:
    disk = folder([10, 20, 30, 40], [1, 12, 25])
    paths = files_to_purge(disk, FOLDER, FOLDER, 3)
    disk.unlink(paths[0])
    told: list[str] = []
    purge(disk, paths, told.append)
    assert told == paths[1:]
    assert purged(disk) == []
    disk.fail("unlink", errno.EACCES)
    with pytest.raises(PermissionError):
        purge(disk, [f"{FOLDER}/snapshot.14"])
