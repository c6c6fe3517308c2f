"""[hot] Appending to the transaction log: one write and one sync for a batch, space made ready ahead of need.

Life of an entry: ``append`` keeps the payload in memory; ``take`` gives everything kept so far to whoever does the disk
work; ``write`` puts it behind the last entry and syncs. Only after ``write`` has returned is it on disk. ``append``,
``take``, ``roll`` belong to the loop's thread; ``write`` and ``fill_ahead`` may each run in another one, one ``write``
at a time and one ``fill_ahead`` at a time, also both at once.

A file (see :mod:`zabra.storage.logformat`)::

    0        end             filled                size
    |entries |zeros, on disk |zeros, not allocated |
              ^ write         ^ fill_ahead

* ``size`` grows by whole blocks of preAllocSize when the entries come within 4096 bytes of it (``FilePadding``).
* ``fill_ahead`` writes zeros from ``filled`` on, so that a sync of entries needs no new blocks and no new metadata. It
  holds the lock while it writes and starts at or behind ``end``; ``write`` moves ``end`` past its bytes under the same
  lock, in the same step in which it writes them. So zeros go only where no entry is, and an entry written later goes
  over them. Syncs happen outside the lock: they change no byte.
* A fill has a file handle of its own: nobody closes it under a sync, and the system reports a page that could not be
  written to each handle, so that a fill's sync cannot swallow what the sync of the entries must see.

Order that recovery relies on (:mod:`zabra.storage.torn`): a new file's header is durable, and its name in the folder,
before its first entry is written; a write begins after the sync of the one before; one write is at most ``WRITE_MAX``
bytes and an entry.

After any failure nothing is written any more: what the disk holds is then unknown (a failed sync may have dropped the
pages, and a second one would report success).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Final

from zabra.runtime.disk import new_lock
from zabra.runtime.ports import Disk, File
from zabra.storage.logformat import ENTRY_OVERHEAD, HEADER, HEADER_SIZE, frame_all, log_name, zxid_of
from zabra.storage.logreader import LogFile
from zabra.storage.torn import WRITE_MAX

#: Default of preAllocSize.
PREALLOC: Final = 64 << 20
#: The file grows when the entries come this close to its end (``FilePadding``).
_NEAR_END: Final = 4096
#: Zeros written and synced in one go: 0.3 ms here. A sync of entries may have to wait for one such piece.
FILL_PIECE: Final = 512 << 10
#: Pieces of one ``fill_ahead``.
_FILL_PIECES: Final = 4
#: Filling is wanted when less than the first is ready, and goes on up to the second.
_FILL_LOW: Final = 4 << 20
_FILL_HIGH: Final = 8 << 20
#: Made ready when a file is created, before its first entry.
_FIRST_FILL: Final = 64 << 10

_ZEROS: Final = bytes(FILL_PIECE)

#: Payloads for one file: whether they begin a new file, the first one's zxid, the payloads.
_Segment = tuple[bool, int, list[bytes]]


class Batch:
    """Entries on their way to the disk."""

    __slots__ = ("count", "last_zxid", "segments", "size")

    def __init__(self, segments: list[_Segment], count: int, size: int, last_zxid: int) -> None:
        self.segments = segments
        #: Entries.
        self.count = count
        #: Bytes they take in the log.
        self.size = size
        self.last_zxid = last_zxid


class LogWriter:
    """The one writer of a log folder. The first entry after construction, and after ``roll``, begins a new file."""

    def __init__(
        self,
        disk: Disk,
        folder: str,
        *,
        prealloc_bytes: int = PREALLOC,
        force_sync: bool = True,
        size_limit_bytes: int | None = None,
        last_zxid: int = -1,
    ) -> None:
        """``prealloc_bytes`` 0 switches preallocation off. ``size_limit_bytes``: a file beyond it is the last batch's.

        ``last_zxid`` is the newest entry already in the folder.
        """
        self._disk = disk
        self._folder = folder
        self._prealloc = prealloc_bytes
        self._force_sync = force_sync
        self._size_limit = size_limit_bytes
        #: Newest entry appended.
        self.last_zxid = last_zxid
        # Appended and not taken.
        self._payloads: list[bytes] = []
        self._payload_bytes = 0
        self._sealed: list[_Segment] = []
        self._sealed_count = 0
        self._new_file = True
        # The file, and who may touch it: see the module's text.
        self._lock = new_lock()
        self._file: File | None = None
        self._end = 0
        self._filled = 0
        self._size = 0
        self._fill_refused = False
        #: A write or sync failed; nothing is accepted any more.
        self.failed = False
        #: Path of the file being written; empty before the first.
        self.path = ""

    # -- in memory

    @property
    def append(self) -> Callable[[bytes], None]:
        """What keeps an entry, the payload of a transaction, for the next ``take``. It stays the same for good.

        The method of a list, which costs a tenth of one of ours; zxids are checked when a batch is taken.
        """
        return self._payloads.append

    @property
    def extend(self) -> Callable[[Iterable[bytes]], None]:
        """The same for several."""
        return self._payloads.extend

    def roll(self) -> None:
        """The next entry appended begins a new file."""
        self._seal()
        self._new_file = True

    def take(self) -> Batch | None:
        """Everything appended since the last call, or None."""
        self._seal()
        segments = self._sealed
        if not segments:
            return None
        count = self._sealed_count
        batch = Batch(segments, count, self._payload_bytes + count * ENTRY_OVERHEAD, self.last_zxid)
        self._sealed = []
        self._sealed_count = 0
        self._payload_bytes = 0
        return batch

    def _seal(self) -> None:
        payloads = self._payloads[:]
        if not payloads:
            return
        self._payloads.clear()
        first = zxid_of(payloads[0])
        last = zxid_of(payloads[-1])
        assert first > self.last_zxid, "the log only grows"
        assert last - first >= len(payloads) - 1, "one zxid each, in order"
        self.last_zxid = last
        self._sealed.append((self._new_file, first, payloads))
        self._sealed_count += len(payloads)
        self._payload_bytes += sum(map(len, payloads))
        self._new_file = False

    # -- on disk

    @property
    def file_bytes(self) -> int:
        """Bytes of header and entries in the current file."""
        return self._end

    @property
    def written(self) -> tuple[str, int]:
        """Path of the current file and how many bytes from its start are written, of entries that are whole."""
        with self._lock:
            return self.path, self._end

    @property
    def file_size(self) -> int:
        """Size of the current file with its padding."""
        return max(self._size, self._end)

    def write(self, batch: Batch) -> None:
        """Write and sync a batch. Raises ``OSError``; the writer then refuses everything and the server must stop."""
        if self.failed:
            raise OSError(errno.EIO, "the log is not written after an earlier failure", self.path)
        try:
            for new_file, first_zxid, payloads in batch.segments:
                if new_file or self._file is None or self._is_over_limit():
                    self._begin_file(first_zxid)
                if batch.size <= WRITE_MAX:
                    self._write_entries(frame_all(payloads))
                else:
                    for part in _slices(payloads):
                        self._write_entries(frame_all(part))
        except BaseException:
            self.failed = True
            raise

    def _is_over_limit(self) -> bool:
        # Apache counts the padding too and so rolls at every flush when the limit is below preAllocSize.
        return self._size_limit is not None and self._end > self._size_limit > 0

    def _write_entries(self, data: bytes) -> None:
        file = self._file
        assert file is not None
        with self._lock:
            end = self._end + len(data)
            self._grow(file, end)
            file.pwrite(data, self._end)
            self._end = end
            if self._filled < end:
                self._filled = end
        if self._force_sync:
            file.sync()

    def _grow(self, file: File, end: int) -> None:
        """Extend the file by whole blocks where ``end`` comes near to its end."""
        prealloc = self._prealloc
        if prealloc > 0 and end + _NEAR_END >= self._size:
            self._size = (end + _NEAR_END) // prealloc * prealloc + prealloc
            file.truncate(self._size)

    def _begin_file(self, zxid: int) -> None:
        """Create the log that starts with ``zxid``, durably and without entries."""
        self._release_file()
        path = f"{self._folder}/{log_name(zxid)}"
        exists = self._disk.exists(path)
        if exists:
            self._refuse_entries(path)
        file = self._disk.open(path, create=True, exclusive=not exists, write=True)
        if exists:
            file.truncate(0)
        self._size = 0
        self._grow(file, HEADER_SIZE)
        filled = min(_FIRST_FILL, self._size) if self._force_sync else HEADER_SIZE
        file.pwrite(HEADER.ljust(filled, b"\0"), 0)
        with self._lock:
            self.path = path
            self._file = file
            self._end = HEADER_SIZE
            self._filled = max(filled, HEADER_SIZE)
            self._fill_refused = False
        if self._force_sync:
            file.sync()
            self._disk.sync_dir(self._folder)

    def _refuse_entries(self, path: str) -> None:
        """A crash may leave a log without entries under the wanted name; one with entries must not be overwritten."""
        reader = LogFile(self._disk, path)
        try:
            if not reader.is_blank():
                raise FileExistsError(errno.EEXIST, "a log of this name already holds entries", path)
        finally:
            reader.close()

    def close(self) -> None:
        """Release the file. The padding stays, as in Apache; what was appended and not written is dropped."""
        self.failed = True
        self._release_file()

    def _release_file(self) -> None:
        with self._lock:
            file, self._file = self._file, None
        if file is not None:
            file.close()

    # -- space ahead

    @property
    def needs_fill(self) -> bool:
        """Whether ``fill_ahead`` should be run soon."""
        return self._wants_fill(_FILL_LOW)

    def _wants_fill(self, ready: int) -> bool:
        filled = self._filled
        return (
            self._force_sync
            and filled - self._end < ready
            and filled < self._size
            and not self._fill_refused
            and not self.failed
            and self._file is not None
        )

    def fill_ahead(self) -> bool:
        """Write and sync some zeros ahead of the entries, up to 2 MiB; whether more is wanted.

        A disk that has no room for zeros is left alone: entries may still fit. Raises ``OSError`` when a sync fails;
        the server must stop then.
        """
        path = self.path
        if not self._wants_fill(_FILL_HIGH):
            return False
        file = self._disk.open(path, write=True)
        try:
            for _ in range(_FILL_PIECES):
                if not self._fill_piece(file, path):
                    return False
                file.sync()
        except BaseException:
            self.failed = True
            raise
        finally:
            file.close()
        return self._wants_fill(_FILL_HIGH)

    def _fill_piece(self, file: File, path: str) -> bool:
        with self._lock:
            if path != self.path or not self._wants_fill(_FILL_HIGH):
                return False
            start = self._filled
            assert start >= self._end, "zeros go behind the entries"
            stop = min(start + FILL_PIECE, self._size)
            try:
                file.pwrite(_ZEROS[: stop - start], start)
            except OSError:
                self._fill_refused = True
                return False
            self._filled = stop
        return True


def _slices(payloads: list[bytes]) -> list[list[bytes]]:
    """``payloads`` in pieces of at most ``WRITE_MAX`` bytes, or of one payload."""
    pieces: list[list[bytes]] = []
    room = 0
    for payload in payloads:
        size = len(payload) + ENTRY_OVERHEAD
        if size > room:
            pieces.append([])
            room = WRITE_MAX
        pieces[-1].append(payload)
        room -= size
    return pieces
