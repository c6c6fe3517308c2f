"""The log writer: bytes on disk, files and their names, space ahead of need, and what happens after a failure."""

from __future__ import annotations

import errno
import random
import struct

import pytest
from memdisk import MemoryDisk

from zabra.storage.logformat import HEADER, HEADER_SIZE, frame, frame_all, log_name, zxid_of_log
from zabra.storage.logreader import LogFile, LogFolder
from zabra.storage.logwriter import FILL_PIECE, LogWriter
from zabra.storage.recovery import cut_torn_tail
from zabra.storage.torn import WRITE_MAX

FOLDER = "/data/version-2"


class PowerCutError(Exception):
    """Ends the process under test; no ``OSError``, which the code under test may handle."""


def payload(zxid: int, size: int = 60) -> bytes:
    """A transaction header with ``zxid`` and some bytes that are never zero."""
    return struct.pack(">qiqqi", 0x1234, 7, zxid, 1000, 5) + bytes([zxid % 255 + 1]) * (size - 32)


def new_disk() -> MemoryDisk:
    disk = MemoryDisk()
    disk.makedirs(FOLDER)
    return disk


def write(writer: LogWriter, *zxids: int, size: int = 60) -> None:
    for zxid in zxids:
        writer.append(payload(zxid, size))
    batch = writer.take()
    assert batch is not None
    writer.write(batch)


def zxids_on(disk: MemoryDisk) -> list[int]:
    return [zxid for zxid, _ in LogFolder(disk, FOLDER).scan(0)]


def test_file_is_header_entries_and_zeros_to_a_whole_block() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER, prealloc_bytes=65536)
    write(writer, 0x1F, 0x20)
    data = disk.read(f"{FOLDER}/log.1f")
    entries = HEADER + frame(payload(0x1F)) + frame(payload(0x20))
    assert data == entries.ljust(65536, b"\0")
    assert writer.file_bytes == len(entries)
    assert writer.file_size == 65536


def test_without_preallocation_the_file_ends_with_its_entries() -> None:
    disk = new_disk()
    write(LogWriter(disk, FOLDER, prealloc_bytes=0), 1)
    assert disk.read(f"{FOLDER}/log.1") == HEADER + frame(payload(1))


def test_frame_all_gives_the_bytes_of_each_frame() -> None:
    payloads = [payload(zxid, size) for zxid, size in ((1, 32), (2, 33), (3, 5000))]
    assert frame_all(payloads) == b"".join(map(frame, payloads))


def test_file_grows_by_a_block_when_entries_come_near_its_end() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER, prealloc_bytes=8192)
    write(writer, 1, size=8192 - 4096 - HEADER_SIZE - 13 - 1)
    assert writer.file_size == 8192
    write(writer, 2)
    assert writer.file_size == 2 * 8192
    write(writer, 3, size=50_000)
    assert writer.file_size == disk.size(f"{FOLDER}/log.1")
    assert writer.file_size % 8192 == 0
    assert zxids_on(disk) == [1, 2, 3]


def test_one_write_and_one_sync_for_a_batch() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER, prealloc_bytes=1 << 20)
    write(writer, 1)
    disk.calls.clear()
    write(writer, *range(2, 500))
    assert [name for name, _ in disk.calls] == ["pwrite", "sync"]


def test_new_file_is_durable_with_its_name_before_its_first_entry() -> None:
    disk = new_disk()
    write(LogWriter(disk, FOLDER), 1)
    assert [name for name, _ in disk.calls[-7:]] == [
        "create", "truncate", "pwrite", "sync", "sync_dir", "pwrite", "sync",
    ]  # fmt: skip


def test_without_force_sync_nothing_is_synced_nor_filled() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER, force_sync=False)
    write(writer, 1)
    assert not writer.needs_fill
    assert "sync" not in [name for name, _ in disk.calls]
    assert zxids_on(disk) == [1]


def test_take_gives_count_size_and_last_zxid_and_nothing_twice() -> None:
    writer = LogWriter(new_disk(), FOLDER)
    assert writer.take() is None
    writer.append(payload(5))
    writer.append(payload(6, 100))
    batch = writer.take()
    assert batch is not None
    assert (batch.count, batch.size, batch.last_zxid) == (2, 60 + 100 + 26, 6)
    assert writer.take() is None


def test_roll_begins_a_file_at_the_next_entry_even_inside_a_batch() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    writer.roll()
    writer.append(payload(1))
    writer.append(payload(2))
    writer.roll()
    writer.roll()
    writer.append(payload(3))
    batch = writer.take()
    assert batch is not None
    assert batch.count == 3
    writer.write(batch)
    write(writer, 4)
    assert [path for _, path in LogFolder(disk, FOLDER).files()] == [f"{FOLDER}/log.1", f"{FOLDER}/log.3"]
    assert zxids_on(disk) == [1, 2, 3, 4]


def test_size_limit_rolls_by_entries_not_by_padding() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER, prealloc_bytes=1 << 20, size_limit_bytes=1000)
    for zxid in range(1, 31):
        write(writer, zxid)
    assert [zxid for zxid, _ in LogFolder(disk, FOLDER).files()] == [1, 15, 29]


def test_a_write_larger_than_the_limit_is_synced_in_parts() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    size = WRITE_MAX // 3
    write(writer, 1)
    disk.calls.clear()
    write(writer, 2, 3, 4, 5, 6, size=size)
    assert [name for name, _ in disk.calls if name != "truncate"] == ["pwrite", "sync"] * 3
    assert zxids_on(disk) == [1, 2, 3, 4, 5, 6]


def test_entries_must_ascend_and_hold_something() -> None:
    writer = LogWriter(new_disk(), FOLDER, last_zxid=7)
    writer.append(payload(7))
    with pytest.raises(AssertionError, match="only grows"):
        writer.take()
    writer.append(payload(9))
    writer.append(payload(9))
    with pytest.raises(AssertionError, match="one zxid each"):
        writer.take()
    writer.append(b"")
    with pytest.raises(struct.error):
        writer.take()


@pytest.mark.parametrize("call", ["create", "truncate", "pwrite", "sync", "sync_dir"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_after_a_failed_call_everything_is_refused(call: str, code: int) -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    disk.fail(call, code)
    writer.append(payload(1))
    batch = writer.take()
    assert batch is not None
    with pytest.raises(OSError, match=call) as caught:
        writer.write(batch)
    assert caught.value.errno == code
    disk.on_call = lambda name, path: None
    writer.append(payload(2))
    again = writer.take()
    assert again is not None
    with pytest.raises(OSError, match="earlier failure"):
        writer.write(again)
    with pytest.raises(OSError, match="earlier failure"):
        writer.write(batch)
    assert zxids_on(disk) in ([], [1])


def test_failed_second_sync_keeps_what_was_acknowledged() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    write(writer, 1)
    disk.fail("sync")
    with pytest.raises(OSError, match="sync"):
        write(writer, 2)
    assert zxids_on(disk)[0] == 1


def test_closed_writer_refuses() -> None:
    writer = LogWriter(new_disk(), FOLDER)
    write(writer, 1)
    writer.close()
    writer.append(payload(2))
    with pytest.raises(OSError, match="earlier failure"):
        write(writer, 3)


def test_a_log_with_entries_is_never_overwritten() -> None:
    disk = new_disk()
    write(LogWriter(disk, FOLDER), 1, 2)
    with pytest.raises(FileExistsError, match="already holds entries"):
        write(LogWriter(disk, FOLDER), 1)
    assert zxids_on(disk) == [1, 2]


@pytest.mark.parametrize("content", [b"", HEADER, HEADER + bytes(5000), bytes(100)])
def test_a_log_without_entries_is_used_again(content: bytes) -> None:
    disk = new_disk()
    disk.put(f"{FOLDER}/log.1", content)
    write(LogWriter(disk, FOLDER, prealloc_bytes=8192), 1)
    assert disk.read(f"{FOLDER}/log.1") == (HEADER + frame(payload(1))).ljust(8192, b"\0")


def test_filling_goes_ahead_of_the_entries_and_stops_when_enough_is_ready() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    assert not writer.needs_fill
    assert not writer.fill_ahead()
    write(writer, 1)
    rounds = 0
    while writer.fill_ahead():
        rounds += 1
    assert not writer.needs_fill
    assert 2 <= rounds <= 10
    synced = [name for name, _ in disk.calls].count("sync")
    assert synced >= 8 * (1 << 20) // FILL_PIECE
    assert zxids_on(disk) == [1]


def test_filling_never_touches_an_entry_however_calls_interleave() -> None:
    """A fill runs between every two steps of a write, as a thread beside it may."""
    disk = new_disk()
    writer = LogWriter(disk, FOLDER, prealloc_bytes=1 << 20)
    write(writer, 1)
    busy = False

    def fill_meanwhile(name: str, path: str) -> None:
        nonlocal busy
        if name == "sync" and not busy:
            busy = True
            writer.fill_ahead()
            busy = False

    disk.on_call = fill_meanwhile
    for zxid in range(2, 60):
        write(writer, zxid, size=40_000)
    assert zxids_on(disk) == list(range(1, 60))


def test_filling_leaves_a_full_disk_alone_and_entries_still_go_in() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    write(writer, 1)
    disk.fail("pwrite", errno.ENOSPC)
    assert writer.needs_fill
    assert not writer.fill_ahead()
    assert not writer.needs_fill
    disk.on_call = lambda name, path: None
    write(writer, 2)
    assert zxids_on(disk) == [1, 2]


def test_failed_sync_of_a_fill_stops_the_writer() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    write(writer, 1)
    disk.fail("sync")
    with pytest.raises(OSError, match="sync"):
        writer.fill_ahead()
    disk.on_call = lambda name, path: None
    with pytest.raises(OSError, match="earlier failure"):
        write(writer, 2)


def test_names() -> None:
    assert log_name(0x1F00000001) == "log.1f00000001"
    assert zxid_of_log("log.1f00000001") == 0x1F00000001
    assert zxid_of_log("log.0A") == 10
    for name in (
        "log",
        "log.",
        "log.x",
        "log.5.bak",
        "snapshot.5",
        "log.-1",
        "log.ffffffffffffffff",
        "logs.5",
        "log.1_0",
    ):
        assert zxid_of_log(name) == -1, name


@pytest.mark.parametrize("seed", range(150))
def test_crash_anywhere_keeps_every_acknowledged_entry(seed: int) -> None:
    """Write, lose power at a random call with unsynced sectors lost or cut, recover, go on; several lives."""
    rng = random.Random(seed)
    disk = new_disk()
    acknowledged = 0
    zxid = 0
    for _ in range(4):
        folder = LogFolder(disk, FOLDER)
        scan = folder.scan(0)
        found = [entry for entry, _ in scan]
        assert found[:acknowledged] == list(range(1, acknowledged + 1))
        assert found == list(range(1, len(found) + 1))
        cut_torn_tail(disk, scan)
        acknowledged = zxid = len(found)
        writer = LogWriter(disk, FOLDER, prealloc_bytes=rng.choice((0, 16384, 1 << 20)), last_zxid=zxid)
        left = rng.randrange(1, 60)

        def power_cut(name: str, path: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerCutError

        disk.on_call = power_cut
        try:
            while True:
                count = rng.randrange(1, 12)
                if rng.random() < 0.2:
                    writer.roll()
                write(writer, *range(zxid + 1, zxid + count + 1), size=rng.choice((40, 90, 500, 4000)))
                zxid += count
                acknowledged = zxid
                if writer.needs_fill and rng.random() < 0.5:
                    writer.fill_ahead()
        except PowerCutError:
            pass
        disk.on_call = lambda name, path: None
        disk.crash(rng)


def test_blank_and_unstarted_tell_apart_what_holds_nothing() -> None:
    disk = new_disk()
    for content, unstarted, blank in (
        (b"", True, True),
        (b"ZK", True, True),
        (bytes(70_000), True, True),
        (HEADER[:6] + bytes(1000), True, True),
        (HEADER[:15], True, True),
        (HEADER, False, True),
        (HEADER + bytes(1000), False, True),
        (bytes(1000) + b"x", False, False),
        (HEADER + frame(payload(1)), False, False),
    ):
        disk.put("/f", content)
        file = LogFile(disk, "/f", chunk_size=512)
        assert (file.is_unstarted(), file.is_blank()) == (unstarted, blank), content[:20]
