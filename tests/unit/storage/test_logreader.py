"""Reading logs: which files, where they end, what is torn, what is damaged, and cutting them back."""

from __future__ import annotations

import contextlib
import struct

import pytest
from memdisk import MemoryDisk
from test_logwriter import FOLDER, new_disk, payload, write, zxids_on

from zabra.errors import DataError
from zabra.storage.logformat import HEADER, HEADER_SIZE, frame
from zabra.storage.logreader import LogFile, LogFolder
from zabra.storage.logwriter import LogWriter
from zabra.storage.recovery import cut_torn_tail
from zabra.storage.torn import SECTOR, WRITE_MAX

ZXIDS = list(range(1, 21))
WHOLE = HEADER + b"".join(frame(payload(zxid)) for zxid in ZXIDS)
ENTRY = len(frame(payload(1)))


def put_log(disk: MemoryDisk, content: bytes, zxid: int = 1, padding: int = 4096) -> None:
    disk.put(f"{FOLDER}/log.{zxid:x}", content + bytes(padding))


def read(content: bytes, padding: int = 4096, chunk_size: int = 1 << 16) -> tuple[list[int], bool]:
    """Zxids in a single log, and whether its tail is torn."""
    disk = new_disk()
    put_log(disk, content, padding=padding)
    scan = LogFolder(disk, FOLDER, chunk_size=chunk_size).scan(0)
    found = [zxid for zxid, _ in scan]
    return found, scan.torn is not None


@pytest.mark.parametrize("padding", [0, 1, 11, 12, 13, 4096])
@pytest.mark.parametrize("chunk_size", [1, 13, 512, 1 << 20])
def test_reads_all_entries_whatever_the_padding_and_the_chunks(padding: int, chunk_size: int) -> None:
    assert read(WHOLE, padding, chunk_size) == (ZXIDS, False)


@pytest.mark.parametrize(("zxid", "expected"), [(0, [1, 2, 5, 6, 9]), (5, [5, 6, 9]), (6, [6, 9]), (7, [9]), (10, [])])
def test_reads_from_a_zxid_across_files(zxid: int, expected: list[int]) -> None:
    disk = new_disk()
    for start, zxids in ((1, (1, 2)), (5, (5, 6)), (9, (9,))):
        put_log(disk, HEADER + b"".join(frame(payload(z)) for z in zxids), start)
    assert [found for found, _ in LogFolder(disk, FOLDER).scan(zxid)] == expected


def test_reads_only_files_that_may_hold_the_zxid() -> None:
    disk = new_disk()
    put_log(disk, b"rubbish", 1)
    put_log(disk, HEADER + frame(payload(5)), 5)
    put_log(disk, HEADER + frame(payload(6)), 6)
    assert [zxid for zxid, _ in LogFolder(disk, FOLDER).scan(5)] == [5, 6]
    with pytest.raises(DataError, match=r"log\.1: offset 0: not a transaction log"):
        list(LogFolder(disk, FOLDER).scan(4))


def test_other_files_are_not_logs() -> None:
    disk = new_disk()
    put_log(disk, HEADER + frame(payload(1)), 1)
    for name in ("log.2.bak", "log.zz", "torn.log.1.10", "snapshot.3", "currentEpoch"):
        disk.put(f"{FOLDER}/{name}", b"rubbish")
    assert zxids_on(disk) == [1]


def test_position_names_file_and_offset_of_the_current_entry() -> None:
    disk = new_disk()
    put_log(disk, WHOLE)
    scan = LogFolder(disk, FOLDER).scan(0)
    assert scan.path == ""
    offsets = [scan.offset for _ in scan]
    assert offsets == [HEADER_SIZE + ENTRY * index for index in range(20)]
    assert scan.path == f"{FOLDER}/log.1"


@pytest.mark.parametrize("size", range(len(WHOLE) - 2 * ENTRY, len(WHOLE)))
@pytest.mark.parametrize("padding", [0, 4096])
def test_a_cut_anywhere_in_an_entry_ends_the_log_before_it(size: int, padding: int) -> None:
    expected = ZXIDS[: (size - HEADER_SIZE) // ENTRY]
    found, torn = read(WHOLE[:size], padding)
    assert found == expected
    assert torn == bool(WHOLE[HEADER_SIZE + ENTRY * len(expected) : size].strip(b"\0"))


@pytest.mark.parametrize("entry", [0, 9, 18, 19])
def test_every_flipped_bit_of_an_entry_is_an_error_that_names_file_and_offset(entry: int) -> None:
    start = HEADER_SIZE + ENTRY * entry
    for at in range(start, start + ENTRY):
        for bit in range(8):
            content = bytearray(WHOLE)
            content[at] ^= 1 << bit
            with pytest.raises(DataError, match=rf"/log\.1: offset {start}: damaged entry"):
                read(bytes(content))


def test_a_flipped_length_is_found_behind_data_full_of_zeros() -> None:
    """Where the wrong length ends on a zero Apache sees the end of the log, and drops what follows."""
    log = HEADER + b"".join(frame(payload(zxid) + bytes(300)) for zxid in ZXIDS)
    size = len(frame(payload(1) + bytes(300)))
    for entry in (0, 10, 19):
        for bit in range(1, 16):
            content = bytearray(log)
            at = HEADER_SIZE + size * entry + 12 - 1 - bit // 8
            content[at] ^= 1 << (bit % 8)
            with pytest.raises(DataError, match="damaged entry"):
                read(bytes(content))


def test_flipped_bits_of_the_header() -> None:
    for at in range(HEADER_SIZE):
        content = bytearray(WHOLE)
        content[at] ^= 1
        if at < 4:
            with pytest.raises(DataError, match="offset 0: not a transaction log"):
                read(bytes(content))
        else:
            # Like Apache: version and dbid decide nothing, the entries have checksums of their own.
            assert read(bytes(content))[0] == ZXIDS


def test_a_flipped_bit_of_the_padding_hides_no_entry() -> None:
    for at in (0, 3, 7, 8, 11, 12, 13, 100, 4000):
        padding = bytearray(4096)
        padding[at] ^= 4
        assert read(WHOLE + bytes(padding))[0] == ZXIDS


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_sector_in_the_last_write_ends_the_log_though_entries_follow(lost: int) -> None:
    content = bytearray(WHOLE)
    content[lost * SECTOR : (lost + 1) * SECTOR] = bytes(len(content[lost * SECTOR : (lost + 1) * SECTOR]))
    found, torn = read(bytes(content))
    assert torn
    assert found == ZXIDS[: (lost * SECTOR - HEADER_SIZE) // ENTRY]


def test_a_hole_with_more_behind_it_than_one_write_holds_is_damage() -> None:
    head = HEADER + frame(payload(1))
    hole = bytes(SECTOR * 2)
    big = b"".join(frame(payload(zxid, WRITE_MAX // 2)) for zxid in (3, 4, 5))
    with pytest.raises(DataError, match=rf"offset {len(head)}: damaged entry"):
        read(head + hole + big)
    assert read(head + hole + big[: WRITE_MAX // 2]) == ([1], True)


def test_lengths_that_no_entry_has() -> None:
    head = HEADER + frame(payload(1))
    for length in (1, 31, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF):
        bad = struct.pack(">QI", 12345, length) + b"x" * 40 + b"B" * 40
        if length > 40:
            # Reaches beyond what is there: as a cut entry it was never acknowledged.
            assert read(head + bad) == ([1], True)
        else:
            with pytest.raises(DataError, match="damaged entry"):
                read(head + bad)


def test_large_entries_are_read_whatever_the_client_limit() -> None:
    """ZOOKEEPER-3496, 4843: an entry over jute.maxbuffer must not poison the log."""
    disk = new_disk()
    write(LogWriter(disk, FOLDER), 1, 2, size=5 << 20)
    write(LogWriter(disk, FOLDER, last_zxid=2), 3)
    assert zxids_on(disk) == [1, 2, 3]


@pytest.mark.parametrize("content", [b"", bytes(4096), HEADER[:7], HEADER[:7] + bytes(500)])
def test_an_empty_last_log_holds_nothing_and_is_removed_when_the_server_starts(content: bytes) -> None:
    """ZOOKEEPER-2332."""
    disk = new_disk()
    put_log(disk, WHOLE, 1)
    disk.put(f"{FOLDER}/log.15", content)
    scan = LogFolder(disk, FOLDER).scan(0)
    assert [zxid for zxid, _ in scan] == ZXIDS
    assert disk.exists(f"{FOLDER}/log.15")
    assert len(cut_torn_tail(disk, scan)) == 1
    assert not disk.exists(f"{FOLDER}/log.15")


@pytest.mark.parametrize("content", [b"", HEADER[:9], bytes(4096), b"ZK"])
def test_an_empty_log_before_others_is_an_error(content: bytes) -> None:
    disk = new_disk()
    disk.put(f"{FOLDER}/log.1", content)
    put_log(disk, HEADER + frame(payload(2)), 2)
    with pytest.raises(DataError, match=r"log\.1: offset "):
        zxids_on(disk)


def test_a_log_with_a_header_only_is_fine_anywhere() -> None:
    disk = new_disk()
    put_log(disk, HEADER, 1)
    put_log(disk, HEADER + frame(payload(2)), 2)
    put_log(disk, HEADER, 3, padding=0)
    assert zxids_on(disk) == [2]


def test_a_torn_tail_is_put_aside_and_cut_off() -> None:
    disk = new_disk()
    torn = WHOLE[:-30]
    put_log(disk, torn)
    scan = LogFolder(disk, FOLDER).scan(0)
    assert [zxid for zxid, _ in scan] == ZXIDS[:-1]
    end = len(WHOLE) - ENTRY
    (message,) = cut_torn_tail(disk, scan)
    assert f"{FOLDER}/log.1: offset {end}" in message
    assert disk.read(f"{FOLDER}/log.1") == WHOLE[:end]
    assert disk.read(f"{FOLDER}/torn.log.1.{end:x}") == torn[end:].rstrip(b"\0")
    again = LogFolder(disk, FOLDER).scan(0)
    assert [zxid for zxid, _ in again] == ZXIDS[:-1]
    assert cut_torn_tail(disk, again) == []


def test_last_zxid_is_the_last_entry_not_the_last_name() -> None:
    disk = new_disk()
    folder = LogFolder(disk, FOLDER)
    assert folder.last_zxid() == -1
    put_log(disk, WHOLE)
    assert folder.last_zxid() == 20
    put_log(disk, HEADER, 0x15)
    assert folder.last_zxid() == 20
    disk.put(f"{FOLDER}/log.16", b"")
    assert folder.last_zxid() == 20


@pytest.mark.parametrize("zxid", range(12))
def test_truncation_leaves_exactly_what_is_not_after_the_zxid(zxid: int) -> None:
    """ZOOKEEPER-1154: also for a zxid between two entries, and before the first."""
    disk = new_disk()
    for start, zxids in ((2, (2, 3)), (5, (5, 6)), (9, (9,))):
        put_log(disk, HEADER + b"".join(frame(payload(z)) for z in zxids), start)
    folder = LogFolder(disk, FOLDER)
    folder.truncate(zxid)
    assert zxids_on(disk) == [z for z in (2, 3, 5, 6, 9) if z <= zxid]
    folder = LogFolder(disk, FOLDER)
    if folder.files():
        folder.truncate(zxid)
        assert zxids_on(disk) == [z for z in (2, 3, 5, 6, 9) if z <= zxid]


def test_an_interrupted_truncation_leaves_no_hole_and_can_be_repeated() -> None:
    for stop_at in range(1, 8):
        disk = new_disk()
        for start in (1, 3, 5):
            put_log(disk, HEADER + b"".join(frame(payload(z)) for z in (start, start + 1)), start)
        left = stop_at

        def interrupt(name: str, path: str) -> None:
            nonlocal left
            if name in ("unlink", "truncate", "sync_dir", "sync"):
                left -= 1
                if left == 0:
                    raise OSError(5, "interrupted", path)

        disk.on_call = interrupt
        with contextlib.suppress(OSError):
            LogFolder(disk, FOLDER).truncate(1)
        disk.on_call = lambda name, path: None
        found = zxids_on(disk)
        assert found == list(range(1, len(found) + 1))
        LogFolder(disk, FOLDER).truncate(1)
        assert zxids_on(disk) == [1]


def test_truncation_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no transaction log"):
        LogFolder(new_disk(), FOLDER).truncate(5)


def test_after_truncation_a_new_writer_goes_on() -> None:
    disk = new_disk()
    writer = LogWriter(disk, FOLDER)
    write(writer, *range(1, 11))
    writer.close()
    LogFolder(disk, FOLDER).truncate(4)
    write(LogWriter(disk, FOLDER, last_zxid=4), 5, 6)
    assert zxids_on(disk) == [1, 2, 3, 4, 5, 6]


def test_files_are_closed_however_reading_ends() -> None:
    disk = new_disk()
    put_log(disk, WHOLE)
    files: list[object] = []
    opened = disk.open

    def remember(path: str, **how: bool) -> object:
        files.append(opened(path, **how))
        return files[-1]

    disk.open = remember  # type: ignore[method-assign,assignment]
    entries = iter(LogFolder(disk, FOLDER).scan(0))
    next(entries)
    entries.close()  # type: ignore[attr-defined]
    LogFile(disk, f"{FOLDER}/log.1").close()
    assert len(files) == 2
    assert all(file.closed for file in files)  # type: ignore[attr-defined]
