"""[hot] Reading transaction logs: one file, a folder of them from a zxid on, and cutting them back.

Rules of ``FileTxnLog.FileTxnIterator``: of the files that start at or below the wanted zxid the last one is read and
all after it; a file ends at a zero length or at its end; an empty last file was being created and is dropped, an empty
one before others is an error. Where an entry does not verify, :mod:`zabra.storage.torn` decides between an end and an
error. Unlike Apache no length is refused for being over ``jute.maxbuffer`` (ZOOKEEPER-3496): what is in the log was
accepted, and its checksum says whether it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple, Protocol
from zlib import adler32

from zabra.errors import DataError
from zabra.runtime.ports import Disk
from zabra.storage.logformat import (
    END_OF_ENTRY,
    ENTRY_HEAD,
    ENTRY_HEAD_SIZE,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    PAYLOAD_MIN,
    ZXID_AT,
    zxid_of_log,
)
from zabra.storage.torn import WRITE_MAX, is_torn

#: Bytes read at once.
CHUNK: Final = 4 << 20
#: Magic and version: the part of the header that is not zero.
_HEADER_TEXT: Final = 8

_head_at = ENTRY_HEAD.unpack_from
_zxid_at = Struct(">q").unpack_from


class TornTail(NamedTuple):
    """Bytes of a write that a crash interrupted and nobody was told about."""

    path: str
    #: Where the last good entry ends.
    offset: int
    #: Behind the last byte that is not zero.
    end: int


class _Readable(Protocol):
    """What is needed of a file."""

    def pread(self, size: int, offset: int, /) -> bytes:
        """Up to ``size`` bytes at ``offset``."""

    def size(self) -> int:
        """Bytes."""

    def close(self) -> None:
        """Release."""


class _Beginning:
    """The first bytes of a file, as if it ended there."""

    def __init__(self, file: _Readable, size: int) -> None:
        self._file = file
        self._size = size

    def pread(self, size: int, offset: int, /) -> bytes:
        return self._file.pread(max(min(size, self._size - offset), 0), offset)

    def size(self) -> int:
        return min(self._size, self._file.size())

    def close(self) -> None:
        self._file.close()


class LogFile:
    """One log, read front to back once.

    While :meth:`entries` runs, ``offset`` is where the current entry begins and ``end`` where it ends; afterwards
    ``end`` is the end of the last good entry and ``torn`` says what was found behind it.
    """

    def __init__(self, disk: Disk, path: str, *, chunk_size: int = CHUNK) -> None:
        self.path = path
        self.offset = self.end = HEADER_SIZE
        self.torn: TornTail | None = None
        self._chunk_size = chunk_size
        self._file: _Readable = disk.open(path)
        self.size = self._file.size()

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def is_unstarted(self) -> bool:
        """Whether a crash came before the header was durable: empty, all zeros, or a piece of a header, nothing else.

        The writer syncs the header before the first entry, so nothing can have been acknowledged in such a file.
        """
        text = self._file.pread(HEADER_SIZE, 0).rstrip(b"\0")
        if not HEADER.startswith(text) or (len(text) == _HEADER_TEXT and self.size >= HEADER_SIZE):
            return False
        return self._data_end(0) == len(text)

    def is_blank(self) -> bool:
        """Whether no entry, nor the remains of one, is in the file."""
        return self._data_end(min(HEADER_SIZE, self.size)) <= HEADER_SIZE

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield (zxid, payload) of each entry. Raises :class:`DataError` for a wrong header or a damaged entry."""
        header = self._file.pread(HEADER_SIZE, 0)
        if len(header) < HEADER_SIZE:
            raise DataError(f"{self.path}: offset {len(header)}: the header of a transaction log ends here")
        if header[:4] != MAGIC:
            raise DataError(f"{self.path}: offset 0: not a transaction log (magic {header[:4]!r}, expected {MAGIC!r})")
        base = HEADER_SIZE  # file offset of buffer[0]
        position = 0
        buffer = b""
        wanted = 0
        while True:
            more = self._file.pread(max(self._chunk_size, wanted), base + len(buffer))
            buffer = buffer[position:] + more if position < len(buffer) else more
            base += position
            position = 0
            limit = len(buffer)
            wanted = 0
            while True:
                body = position + ENTRY_HEAD_SIZE
                if body > limit:
                    break
                checksum, length = _head_at(buffer, position)
                stop = body + length
                if stop >= limit:
                    # Reaching beyond the file it is no entry, and there may be nothing to wait for.
                    wanted = stop + 1 - limit
                    break
                if length < PAYLOAD_MIN or buffer[stop] != END_OF_ENTRY:
                    self._finish()
                    return
                payload = buffer[body:stop]
                if adler32(payload) != checksum:
                    self._finish()
                    return
                self.offset = base + position
                position = stop + 1
                self.end = base + position
                yield _zxid_at(payload, ZXID_AT)[0], payload
            if base + limit + wanted > self.size or not more:
                self._finish()
                return

    def _finish(self) -> None:
        """Judge what is behind the last good entry."""
        start = self.end
        data_end = self._data_end(start)
        if data_end <= start:
            return
        tail = self._file.pread(min(data_end - start, WRITE_MAX + 1), start)
        if not is_torn(tail, start):
            raise DataError(
                f"{self.path}: offset {start}: damaged entry; {data_end - start} bytes from here on do not verify, "
                "and they are not the remains of an interrupted write"
            )
        self.torn = TornTail(self.path, start, data_end)

    def _data_end(self, start: int) -> int:
        """Offset behind the last byte at or after ``start`` that is not zero; ``start`` when all are."""
        end = at = start
        zeros = bytes(self._chunk_size)
        while chunk := self._file.pread(self._chunk_size, at):
            # The comparison runs at memory speed; stripping looks at every byte.
            if chunk != zeros[: len(chunk)]:
                end = at + len(chunk.rstrip(b"\0"))
            at += len(chunk)
        return end


class _LiveLog(LogFile):
    """A log of a running server, read up to ``written`` bytes (None: all of it).

    A start has cut off what crashes left, so what does not verify is damage, and the zeros at the end are not read.
    """

    def __init__(self, disk: Disk, path: str, written: int | None, chunk_size: int) -> None:
        super().__init__(disk, path, chunk_size=chunk_size)
        if written is not None and written < self.size:
            self._file = _Beginning(self._file, written)
            self.size = written

    def _finish(self) -> None:
        if self._file.pread(ENTRY_HEAD_SIZE, self.end).strip(b"\0"):
            raise DataError(f"{self.path}: offset {self.end}: an entry that does not verify")


class LogScan:
    """Entries from a zxid on, across files. Iterate once; the attributes tell where it stands.

    ``path`` and ``offset`` name the current entry, for messages. At the end ``torn`` is the torn tail of the last file,
    if any, and ``unstarted`` the path of a last file that holds nothing.
    """

    def __init__(self, disk: Disk, paths: list[str], zxid: int, *, chunk_size: int = CHUNK) -> None:
        self.torn: TornTail | None = None
        self.unstarted: str | None = None
        self._disk = disk
        self._paths = paths
        self._zxid = zxid
        self._chunk_size = chunk_size
        self._current: LogFile | None = None

    @property
    def path(self) -> str:
        """File of the current entry."""
        return self._current.path if self._current is not None else ""

    @property
    def offset(self) -> int:
        """Where the current entry begins in its file."""
        return self._current.offset if self._current is not None else 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield (zxid, payload) in file order. Raises :class:`DataError`."""
        zxid = self._zxid
        last = len(self._paths) - 1
        for index, path in enumerate(self._paths):
            file = self._current = LogFile(self._disk, path, chunk_size=self._chunk_size)
            try:
                if (file.size < HEADER_SIZE or index == last) and file.is_unstarted():
                    if index < last:
                        raise DataError(f"{path}: offset {file.size}: an empty transaction log before others")
                    self.unstarted = path
                    return
                entries = file.entries()
                for entry in entries:
                    if entry[0] >= zxid:
                        yield entry
                        break
                yield from entries
                self.torn = file.torn
            finally:
                file.close()


class LogFolder:
    """The transaction logs of one folder (``.../version-2``)."""

    def __init__(self, disk: Disk, path: str, *, chunk_size: int = CHUNK) -> None:
        self.path = path
        self._disk = disk
        self._chunk_size = chunk_size

    def files(self) -> list[tuple[int, str]]:
        """(zxid, path) of each log, lowest zxid first."""
        names = self._disk.listdir(self.path)
        return sorted((zxid, f"{self.path}/{name}") for name in names if (zxid := zxid_of_log(name)) >= 0)

    def files_from(self, zxid: int) -> list[str]:
        """Paths of the logs that may hold ``zxid`` or later: all that start after it, and the last that does not."""
        files = self.files()
        first = max((index for index, (start, _) in enumerate(files) if start <= zxid), default=0)
        return [path for _, path in files[first:]]

    def scan(self, zxid: int) -> LogScan:
        """Entries whose zxid is at least ``zxid``."""
        return LogScan(self._disk, self.files_from(zxid), zxid, chunk_size=self._chunk_size)

    def last_zxid(self) -> int:
        """Zxid of the last entry; -1 when there is none. Reads the newest log, and older ones while that is empty."""
        for start, path in reversed(self.files()):
            last = -1
            for zxid, _ in LogScan(self._disk, [path], start, chunk_size=self._chunk_size):
                last = zxid
            if last >= 0:
                return last
        return -1

    def files_below(self, zxid: int) -> list[tuple[int, str]]:
        """(zxid, path) of the newest log that has an entry below ``zxid``, and of all after it; without one, of all."""
        files = self.files()
        for index in range(len(files) - 1, -1, -1):
            if files[index][0] < zxid and not self._is_blank(files[index][1]):
                return files[index:]
        return files

    def _is_blank(self, path: str) -> bool:
        """Whether a crash came before the first entry."""
        file = self._disk.open(path)
        try:
            return not file.pread(ENTRY_HEAD_SIZE, HEADER_SIZE).strip(b"\0")
        finally:
            file.close()

    def read(self, zxid: int, upto: int, written: tuple[str, int]) -> Iterator[tuple[int, bytes]]:
        """Entries up to ``upto`` of a log that is being written, of ``files_below(zxid)``.

        Everything up to ``upto`` is written; ``written`` is :attr:`LogWriter.written` of later. Raises
        :class:`DataError` or ``OSError`` where a file was damaged or removed meanwhile.
        """
        for start, path in self.files_below(zxid):
            if start > upto:
                return
            file = _LiveLog(self._disk, path, written[1] if path == written[0] else None, self._chunk_size)
            try:
                for entry in file.entries():
                    if entry[0] > upto:
                        return
                    yield entry
            finally:
                file.close()

    def truncate(self, zxid: int) -> None:
        """Remove every entry after ``zxid``, durably. No writer may have a log of this folder open (ZOOKEEPER-1489).

        Later files go first, newest first, so that an interruption leaves a shorter history and never one with a hole;
        calling again finishes it. Any failure is an ``OSError`` or :class:`DataError` for the caller, which must then
        stop (ZOOKEEPER-3701). Raises :class:`DataError` when there are no logs.
        """
        files = self.files()
        if not files:
            raise DataError(f"{self.path}: no transaction log to truncate to zxid 0x{zxid:x}")
        keep = len(self._paths_up_to(files, zxid))
        for _, path in reversed(files[keep:]):
            self._disk.unlink(path)
            self._disk.sync_dir(self.path)
        if keep:
            self._cut(files[keep - 1][1], zxid)

    @staticmethod
    def _paths_up_to(files: list[tuple[int, str]], zxid: int) -> list[str]:
        return [path for start, path in files if start <= zxid]

    def _cut(self, path: str, zxid: int) -> None:
        """Cut one log behind the last entry at or below ``zxid``. An entry beyond it may be damaged: it goes anyway."""
        reader = LogFile(self._disk, path, chunk_size=self._chunk_size)
        end = HEADER_SIZE
        try:
            if reader.is_unstarted():
                return
            for entry_zxid, _ in reader.entries():
                if entry_zxid > zxid:
                    break
                end = reader.end
        finally:
            reader.close()
        cut(self._disk, path, end)


def cut(disk: Disk, path: str, size: int) -> None:
    """Shorten a log to ``size`` bytes, durably."""
    file = disk.open(path, write=True)
    try:
        file.truncate(size)
        file.sync()
    finally:
        file.close()
