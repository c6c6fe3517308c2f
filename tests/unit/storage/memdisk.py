"""A disk in memory for storage tests: lists calls, fails on demand, and crashes with unsynced bytes lost or torn."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

SECTOR = 512


class Inode:
    def __init__(self) -> None:
        self.data = bytearray()
        #: What a crash brings back at the least.
        self.durable = b""


class MemoryFile:
    def __init__(self, disk: MemoryDisk, path: str, inode: Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self.closed = False

    def _call(self, name: str) -> None:
        assert not self.closed, f"{name} on a closed file"
        self._disk.called(name, self._path)

    def pread(self, size: int, offset: int) -> bytes:
        self._call("pread")
        return bytes(self._inode.data[offset : offset + size])

    def pwrite(self, data: bytes, offset: int) -> None:
        self._call("pwrite")
        content = self._inode.data
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    def sync(self) -> None:
        self._call("sync")
        self._inode.durable = bytes(self._inode.data)

    def size(self) -> int:
        return len(self._inode.data)

    def truncate(self, size: int) -> None:
        self._call("truncate")
        content = self._inode.data
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))

    def close(self) -> None:
        self.closed = True


class MemoryDisk:
    """Files and folders by path. ``on_call(name, path)`` may raise to fail a call; ``calls`` lists what was asked."""

    def __init__(self) -> None:
        self.inodes: dict[str, Inode] = {}
        self.folders: dict[str, None] = {"/": None}
        self.calls: list[tuple[str, str]] = []
        self.locked: dict[str, None] = {}
        self.on_call: Callable[[str, str], None] = lambda name, path: None

    def called(self, name: str, path: str) -> None:
        self.calls.append((name, path))
        self.on_call(name, path)

    def fail(self, name: str, code: int = errno.EIO) -> None:
        """Every later ``name`` raises."""

        def on_call(called: str, path: str) -> None:
            if called == name:
                raise OSError(code, name, path)

        self.on_call = on_call

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, write: bool = False) -> MemoryFile:
        self.called("create" if create else "open", path)
        inode = self.inodes.get(path)
        if inode is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            inode = self.inodes[path] = Inode()
        elif exclusive:
            raise FileExistsError(errno.EEXIST, "exists", path)
        return MemoryFile(self, path, inode)

    def read(self, path: str) -> bytes:
        if path not in self.inodes:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return bytes(self.inodes[path].data)

    def put(self, path: str, data: bytes) -> None:
        """A durable file."""
        inode = self.inodes[path] = Inode()
        inode.data += data
        inode.durable = data
        self.makedirs(path.rpartition("/")[0])

    def write_atomic(self, path: str, data: bytes) -> None:
        self.called("write_atomic", path)
        self.put(path, data)

    def listdir(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        entries = [*self.inodes, *self.folders]
        names = {name[len(prefix) :].partition("/")[0] for name in entries if name.startswith(prefix)}
        return sorted(name for name in names if name)

    def exists(self, path: str) -> bool:
        return path in self.inodes or path in self.folders

    def is_dir(self, path: str) -> bool:
        return path in self.folders

    def size(self, path: str) -> int:
        return len(self.inodes[path].data)

    def makedirs(self, path: str) -> None:
        if path in self.folders:
            return
        self.called("makedirs", path)
        while path and path not in self.folders:
            self.folders[path] = None
            path = path.rpartition("/")[0]

    def rename(self, old: str, new: str) -> None:
        self.called("rename", old)
        self.inodes[new] = self.inodes.pop(old)

    def unlink(self, path: str) -> None:
        self.called("unlink", path)
        if path not in self.inodes:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        del self.inodes[path]

    def sync_dir(self, path: str) -> None:
        self.called("sync_dir", path)

    def lock(self, path: str) -> Callable[[], None]:
        if path in self.locked:
            raise BlockingIOError(errno.EAGAIN, "folder is taken", path)
        self.locked[path] = None
        return lambda: self.locked.pop(path)

    def crash(self, rng: random.Random) -> None:
        """Lose power: each sector that differs from what was synced survives or not; or a write is cut at a byte."""
        for inode in self.inodes.values():
            old, new = inode.durable, bytes(inode.data)
            size = rng.choice((len(old), len(new))) if len(new) > len(old) else len(new)
            old = old.ljust(size, b"\0")[:size]
            new = new.ljust(size, b"\0")[:size]
            if rng.random() < 0.3:
                cut = rng.randrange(size + 1)
                result = bytearray(new[:cut] + old[cut:])
            else:
                chance = rng.random()
                result = bytearray(old)
                for at in range(0, size, SECTOR):
                    if rng.random() < chance:
                        result[at : at + SECTOR] = new[at : at + SECTOR]
            inode.data = result
            inode.durable = bytes(result)
