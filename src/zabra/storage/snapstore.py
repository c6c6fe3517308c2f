"""The snapshots of one folder: write one, and load the newest that is whole (``FileSnap``, ``SnapStream``).

A snapshot is written under another name, synced, and renamed, so a crash or a full disk never leaves half of one to be
found (ZOOKEEPER-3082). The other name begins with ``tmp.``, which neither Apache nor its purge takes for a snapshot.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, Protocol
from zlib import adler32

from zabra.errors import DataError
from zabra.runtime.ports import Disk, File
from zabra.storage.codecs import GZIP, GZIP_MAGIC, SNAPPY, SNAPPY_MAGIC, new_compressor, plain_chunks
from zabra.storage.logformat import hex_zxid
from zabra.storage.snapformat import (
    END_STRING,
    HEADER,
    SnapshotReader,
    Trailer,
    TreeLoader,
    ZxidDigest,
    digest_section,
    last_zxid_section,
    seal,
)

_log = logging.getLogger(__name__)

SNAPSHOT_PREFIX: Final = "snapshot"
TMP_PREFIX: Final = "tmp."
#: Version of the tree digest we compute (``DigestCalculator.DIGEST_VERSION``).
DIGEST_VERSION: Final = 2
#: Snapshots tried before giving up (``FileSnap.deserialize``).
CANDIDATES_MAX: Final = 100
#: Shortest plain snapshot that passes the look at its end.
_SIZE_MIN: Final = 10
#: Bytes written between two syncs, so that no sync of the log on the same disk waits for a whole snapshot.
_SYNC_EVERY: Final = 4 << 20
_CHUNK: Final = 4 << 20
_MASK64: Final = (1 << 64) - 1

#: Called with bytes read and bytes to read.
Progress = Callable[[int, int], None]


class ClearableTree(TreeLoader, Protocol):
    """A tree that snapshots can be tried on."""

    def clear(self) -> None:
        """Forget every node."""

    def loaded(self) -> None:
        """A whole snapshot is in."""


def snapshot_name(zxid: int, compression: str = "") -> str:
    """File name of the snapshot taken at ``zxid``; that of nothing (-1) is Apache's, and no start reads it."""
    return f"{SNAPSHOT_PREFIX}.{zxid & _MASK64:x}" + (f".{compression}" if compression else "")


def zxid_of_snapshot(name: str) -> int:
    """The zxid in a snapshot's file name; -1 for anything that is none (``Util.getZxidFromName``)."""
    parts = name.split(".")
    return hex_zxid(parts[1]) if len(parts) >= 2 and parts[0] == SNAPSHOT_PREFIX else -1


def compression_of(name: str) -> str:
    """The compression that a file name tells of (``SnapStream.getStreamMode``)."""
    extension = name.rpartition(".")[2].lower()
    return extension if extension in (GZIP, SNAPPY) else ""


class Loaded(NamedTuple):
    """A snapshot that was loaded."""

    zxid: int
    path: str
    trailer: Trailer


class SnapshotWriter:
    """One snapshot being written, in a worker: ``write`` what a dump gives, then ``finish`` (or ``seal``, later
    ``show``) or ``abort``.

    Every method may block and may raise ``OSError``; after that call ``abort``. What is called meanwhile does nothing
    but raise: a snapshot that lacks a piece must never be shown.
    """

    def __init__(
        self, disk: Disk, folder: str, zxid: int, digest: int | None, *, compression: str, last_zxid: bool
    ) -> None:
        """``digest`` of the tree at ``zxid``, None to leave the section out."""
        self.name = snapshot_name(zxid, compression)
        self._disk = disk
        self._folder = folder
        self._temporary = f"{folder}/{TMP_PREFIX}{self.name}"
        self._zxid = zxid
        self._digest = digest
        self._last_zxid = last_zxid
        self._compressor = new_compressor(compression)
        self._file: File | None = None
        self._size = 0
        self._synced = 0
        self._checksum = 1
        self._broken = False

    def write(self, chunk: bytes) -> None:
        """Add bytes of the body: session count to end string."""
        self._begin_step()
        if self._file is None:
            self._file = self._disk.open(self._temporary, create=True, write=True)
            self._file.truncate(0)
            self._put(HEADER)
        self._put(chunk)
        self._broken = False

    def _begin_step(self) -> None:
        """Broken until the step has succeeded."""
        if self._broken:
            raise OSError(errno.EIO, "an earlier write failed", self._temporary)
        self._broken = True

    def finish(self) -> str:
        """Seal, sync and show the snapshot; its file name."""
        self.seal()
        self.show()
        return self.name

    def seal(self) -> None:
        """Write the end and sync: the snapshot is whole, durably, under its temporary name."""
        self._begin_step()
        file = self._file
        assert file is not None, "a snapshot has a body"
        self._put(seal(self._checksum))
        if self._digest is not None:
            # Apache leaves the digest empty until a transaction was applied; a fresh tree's snapshot is then the same.
            digest = self._digest if self._zxid > 0 else 0
            self._put(digest_section(ZxidDigest(self._zxid, DIGEST_VERSION, digest)))
            self._put(seal(self._checksum))
        if self._last_zxid:
            self._put(last_zxid_section(self._zxid))
            self._put(seal(self._checksum))
        self._put_raw(self._compressor.flush())
        file.sync()
        file.close()
        self._file = None

    def show(self) -> None:
        """Give a sealed snapshot its name."""
        self._disk.rename(self._temporary, f"{self._folder}/{self.name}")
        self._disk.sync_dir(self._folder)

    def abort(self) -> None:
        """Remove what was written."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
        if self._disk.exists(self._temporary):
            self._disk.unlink(self._temporary)

    def _put(self, data: bytes) -> None:
        self._checksum = adler32(data, self._checksum)
        self._put_raw(self._compressor.compress(data))

    def _put_raw(self, data: bytes) -> None:
        file = self._file
        assert file is not None
        if not data:
            return
        file.pwrite(data, self._size)
        self._size += len(data)
        if self._size - self._synced >= _SYNC_EVERY:
            file.sync()
            self._synced = self._size


class SnapshotStore:
    """The snapshots of one folder (``.../version-2``)."""

    def __init__(self, disk: Disk, path: str, *, compression: str = "", last_zxid_section: bool = True) -> None:
        """``compression`` of new snapshots, see :data:`zabra.storage.codecs.METHODS`; all are read."""
        self.path = path
        self._disk = disk
        self._compression = compression
        self._last_zxid = last_zxid_section

    def writer(self, zxid: int, digest: int | None) -> SnapshotWriter:
        """Begin the snapshot of ``zxid``; nothing is on disk before its first ``write``."""
        return SnapshotWriter(
            self._disk, self.path, zxid, digest, compression=self._compression, last_zxid=self._last_zxid
        )

    def files(self) -> list[tuple[int, str]]:
        """(zxid, name) of each file named as a snapshot, newest first."""
        names = self._disk.listdir(self.path)
        return sorted(((zxid, name) for name in names if (zxid := zxid_of_snapshot(name)) >= 0), reverse=True)

    def valid_files(self, count: int, *, oldest: int = 0, newest: int | None = None) -> list[tuple[int, str]]:
        """The newest ``count`` that look whole: the quick look at the ends of a file that Apache takes."""
        found = []
        for zxid, name in self.files():
            if zxid >= oldest and (newest is None or zxid <= newest) and self.looks_whole(name):
                found.append((zxid, name))
                if len(found) == count:
                    break
        return found

    def looks_whole(self, name: str) -> bool:
        """Whether the ends of a file are those of a snapshot."""
        try:
            file = self._disk.open(f"{self.path}/{name}")
        except OSError:
            _log.warning("%s/%s cannot be opened", self.path, name, exc_info=True)
            return False
        try:
            compression = compression_of(name)
            if compression:
                magic = GZIP_MAGIC if compression == GZIP else SNAPPY_MAGIC
                return file.pread(len(magic), 0) == magic
            size = file.size()
            return size >= _SIZE_MIN and file.pread(5, size - 5) == END_STRING
        except OSError:
            _log.warning("%s/%s cannot be read", self.path, name, exc_info=True)
            return False
        finally:
            file.close()

    def load_newest(
        self,
        tree: ClearableTree,
        sessions: dict[int, int],
        progress: Progress | None = None,
        *,
        oldest: int = 0,
        newest: int | None = None,
    ) -> Loaded | None:
        """Load the newest snapshot from ``oldest`` to ``newest`` that is whole; None when no file even looks like one.

        A damaged one is named in the log and the next older is taken, as Apache does; nothing is removed. Raises
        :class:`DataError` when there are snapshots and none can be loaded.
        """
        candidates = self.valid_files(CANDIDATES_MAX, oldest=oldest, newest=newest)
        for zxid, name in candidates:
            try:
                trailer = self.load(name, tree, sessions, progress)
            except (DataError, OSError) as error:
                _log.warning("snapshot not usable, trying an older one: %s", error)
                continue
            return Loaded(zxid, f"{self.path}/{name}", trailer)
        if candidates:
            raise DataError(
                f"{self.path}: none of {len(candidates)} snapshots can be loaded; the log tells why for each"
            )
        return None

    def load(
        self, name: str, tree: ClearableTree, sessions: dict[int, int], progress: Progress | None = None
    ) -> Trailer:
        """Load one snapshot into a tree and sessions that are cleared first. Raises :class:`DataError`, ``OSError``."""
        tree.clear()
        sessions.clear()
        path = f"{self.path}/{name}"
        file = self._disk.open(path)
        try:
            size = file.size()
            used = 0

            def next_chunk() -> bytes:
                nonlocal used
                chunk = file.pread(_CHUNK, used)
                used += len(chunk)
                if progress is not None:
                    progress(used, size)
                return chunk

            chunks = plain_chunks(path, compression_of(name), next_chunk)
            trailer = SnapshotReader(path, chunks, tree, sessions).load()
        finally:
            file.close()
        tree.loaded()
        return trailer

    def remove_temporaries(self) -> None:
        """Remove what a crash left of snapshots being written."""
        for name in self._disk.listdir(self.path):
            if name.startswith(f"{TMP_PREFIX}{SNAPSHOT_PREFIX}."):
                # One may be given up by its writer just now.
                with suppress(FileNotFoundError):
                    self._disk.unlink(f"{self.path}/{name}")

    def discard_after(self, zxid: int) -> None:
        """Remove snapshots newer than ``zxid``, newest first, durably.

        Before the log is truncated to ``zxid``: a snapshot from beyond the cut would bring back what was taken away
        (ZOOKEEPER-4837).
        """
        self.discard([name for found, name in self.files() if found > zxid])

    def discard(self, names: list[str]) -> None:
        """Remove these, one after the other, durably."""
        for name in names:
            self._disk.unlink(f"{self.path}/{name}")
            self._disk.sync_dir(self.path)
