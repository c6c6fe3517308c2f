"""The real file system behind the :class:`~zabra.runtime.ports.Disk` port (POSIX)."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

_log = logging.getLogger(__name__)

#: Data only; where the system has none (macOS) the full sync.
_datasync = getattr(os, "fdatasync", os.fsync)
_FLAGS: Final = getattr(os, "O_CLOEXEC", 0)
#: Suffix of the temporary file of an atomic replace, as ``AtomicFileOutputStream`` names it.
TMP_SUFFIX: Final = ".tmp"

#: A mutual exclusion for file work that a worker does beside the loop.
new_lock = threading.Lock


class RealFile:
    """A file descriptor. Errors name the path."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes at ``offset``; shorter only at end of file."""
        try:
            data = os.pread(self._fd, size, offset)
            if len(data) == size or not data:
                return data
            parts = [data]
            got = len(data)
            while got < size:
                data = os.pread(self._fd, size - got, offset + got)
                if not data:
                    break
                parts.append(data)
                got += len(data)
        except OSError as error:
            raise self._named(error) from error
        return b"".join(parts)

    def pwrite(self, data: bytes, offset: int) -> None:
        """All of ``data`` at ``offset``."""
        try:
            written = os.pwrite(self._fd, data, offset)
            if written == len(data):
                return
            # A full disk may take a part first; the rest then tells why.
            view = memoryview(data)
            while written < len(data):
                step = os.pwrite(self._fd, view[written:], offset + written)
                if step == 0:
                    raise OSError(errno.EIO, "short write")
                written += step
        except OSError as error:
            raise self._named(error) from error

    def sync(self) -> None:
        """``fdatasync``."""
        try:
            _datasync(self._fd)
        except OSError as error:
            raise self._named(error) from error

    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._named(error) from error

    def close(self) -> None:
        """Release the descriptor; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _named(self, error: OSError) -> OSError:
        """The error with the path, which calls on a descriptor do not know."""
        return OSError(error.errno, error.strerror, self._path)


class RealDisk:
    """``os`` calls; errors are what ``os`` raises, with the path."""

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, write: bool = False) -> RealFile:
        """Open for reading, or reading and writing; ``exclusive`` refuses an existing file."""
        flags = _FLAGS | (os.O_RDWR if write or create else os.O_RDONLY)
        if create:
            flags |= os.O_CREAT
        if exclusive:
            flags |= os.O_EXCL
        return RealFile(os.open(path, flags, 0o666), path)

    def read(self, path: str) -> bytes:
        """The whole file."""
        with open(path, "rb") as file:
            return file.read()

    def write_atomic(self, path: str, data: bytes) -> None:
        """Replace or create: temp file, fsync, rename, fsync of the folder."""
        temporary = path + TMP_SUFFIX
        file = RealFile(os.open(temporary, _FLAGS | os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), temporary)
        try:
            file.pwrite(data, 0)
            file.sync()
        finally:
            file.close()
        self.rename(temporary, path)
        self.sync_dir(os.path.dirname(path) or ".")

    def listdir(self, path: str) -> list[str]:
        """Names, sorted."""
        return sorted(os.listdir(path))

    def exists(self, path: str) -> bool:
        """File or folder."""
        return os.path.exists(path)

    def is_dir(self, path: str) -> bool:
        """Folder."""
        return os.path.isdir(path)

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return os.stat(path).st_size

    def makedirs(self, path: str) -> None:
        """Create with parents, each durable in its own parent; existing is fine."""
        path = os.path.abspath(path)
        missing = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for folder in reversed(missing):
            os.makedirs(folder, exist_ok=True)
            self.sync_dir(os.path.dirname(folder))

    def rename(self, old: str, new: str) -> None:
        """Atomic replace within one file system."""
        os.replace(old, new)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def sync_dir(self, path: str) -> None:
        """Make creations, renames and removals in this folder durable."""
        fd = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            os.fsync(fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        finally:
            os.close(fd)

    def lock(self, path: str) -> Callable[[], None]:
        """Take a folder until the returned call or the end of the process. Raises BlockingIOError while it is taken.

        Some network file systems know no locks: there nobody is kept out, as with Apache.
        """
        fd = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise
        except OSError as error:
            _log.warning("%s: cannot be locked (%s); two servers on it would not notice", path, error)
        return partial(os.close, fd)
