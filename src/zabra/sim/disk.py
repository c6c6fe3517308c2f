"""The disk port: what a crash leaves is what was synced, and any part of the rest.

Each file has its content as the running system sees it, and the content that is durable. Writes in between are a list
of byte ranges. ``sync`` takes the ranges there are when it begins and makes them durable when it returns. A power cut
keeps, of each range that is not durable, any of its sectors, or everything up to some byte. Names are the same one
level up: creations, renames and removals become durable with ``sync_dir``; a power cut keeps the first few of the
others, or any. When only the process dies the system's view survives whole.

A failed sync resolves at once: of the ranges it took some sectors are on disk, the others have lost what was written,
and no later sync brings it back (what Linux does, the "fsyncgate" of 2018).

``plan`` decides about each call before it happens: it may raise OSError, or kill the process.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from typing import Final

from zabra.sim.loop import Process, SimLoop

SECTOR: Final = 512
TMP_SUFFIX: Final = ".tmp"

#: (offset, bytes): what one write put where.
_Range = tuple[int, int]


class Inode:
    """One file."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.durable = bytearray()
        #: Ranges written and not durable, those that a running sync has taken included.
        self.dirty: list[_Range] = []

    def write(self, data: bytes, offset: int) -> None:
        """Put bytes into the system's view."""
        content = self.data
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
        self.dirty.append((offset, len(data)))

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros; what was cut off reads as zeros if the file grows again."""
        length = len(self.data)
        if size < length:
            self.dirty.append((size, length - size))
        _resize(self.data, size)

    def settle(self, taken: list[_Range], images: list[bytes], size: int) -> None:
        """Make ``images`` of the ranges durable, and the size."""
        durable = self.durable
        _resize(durable, size)
        for (offset, _), image in zip(taken, images, strict=True):
            _put(durable, offset, image)
        self.dirty = self.dirty[len(taken) :]

    def resolve(self, rng: random.Random, taken: list[_Range]) -> None:
        """Some sectors of the ranges reach the disk, the others never will: both views agree on them then."""
        content = self.data
        old = bytes(self.durable[: len(content)]).ljust(len(content), b"\0")
        mixed = _mix(rng, old, bytes(content), taken)
        _resize(self.durable, len(content))
        for offset, size in taken:
            self.durable[offset : offset + size] = content[offset : offset + size] = mixed[offset : offset + size]
        self.dirty = self.dirty[len(taken) :]

    def lose_power(self, rng: random.Random) -> None:
        """Keep any part of what is not durable."""
        if self.dirty or len(self.data) != len(self.durable):
            size = rng.choice((len(self.durable), len(self.data)))
            old = bytes(self.durable[:size]).ljust(size, b"\0")
            new = bytes(self.data[:size]).ljust(size, b"\0")
            self.durable = bytearray(_mix(rng, old, new, self.dirty))
            self.dirty = []
        self.data = bytearray(self.durable)


def _mix(rng: random.Random, old: bytes, new: bytes, ranges: list[_Range]) -> bytes:
    """``old`` with some of the ``ranges`` of ``new``: any of their sectors, or all up to some byte."""
    result = bytearray(old)
    if rng.random() < 0.3:
        ends = [offset + size for offset, size in ranges]
        cut = rng.randrange(min(offset for offset, _ in ranges), max(ends) + 1) if ranges else 0
        for offset, size in ranges:
            end = min(offset + size, cut)
            result[offset:end] = new[offset:end]
        return bytes(result[: len(old)])
    chance = rng.choice((0.0, 0.2, 0.5, 0.9, 1.0))
    for offset, size in ranges:
        at = offset
        while at < offset + size:
            end = min(at // SECTOR * SECTOR + SECTOR, offset + size)
            if rng.random() < chance:
                result[at:end] = new[at:end]
            at = end
    return bytes(result[: len(old)])


def _resize(content: bytearray, size: int) -> None:
    if len(content) > size:
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _put(content: bytearray, offset: int, image: bytes) -> None:
    """Write what lies within the content."""
    end = min(offset + len(image), len(content))
    if end > offset:
        content[offset:end] = image[: end - offset]


class SimFile:
    """An open file of one process."""

    def __init__(self, disk: ProcessDisk, path: str, inode: Inode, *, writable: bool) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._writable = writable
        self._closed = False

    def _call(self, name: str, size: int = 0) -> None:
        self._disk.call(name, self._path, size)
        assert not self._closed, f"{name} on the closed file {self._path}"

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes at ``offset``."""
        self._call("pread", size)
        return bytes(self._inode.data[offset : offset + size])

    def pwrite(self, data: bytes, offset: int) -> None:
        """All of ``data`` at ``offset``; a disk that gets full has taken a part."""
        assert self._writable, f"{self._path} is open for reading"
        try:
            self._call("pwrite", len(data))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._inode.write(data[: self._disk.machine.rng.randrange(len(data))], offset)
            raise
        self._inode.write(data, offset)

    def sync(self) -> None:
        """Make durable what was written before."""
        inode = self._inode
        machine = self._disk.machine
        taken = inode.dirty[:]
        images = [bytes(inode.data[offset : offset + size]) for offset, size in taken]
        length = len(inode.data)
        try:
            self._call("sync")
        except OSError:
            machine.rewrites += 1
            inode.resolve(machine.rng, taken)
            raise
        self._disk.wait(machine.sync_seconds())
        # Two syncs of one file may overlap; ranges that the other settled are gone from the front.
        gone = len(taken) - sum(1 for a, b in zip(taken, inode.dirty, strict=False) if a is b)
        if gone:
            kept = [(a, i) for a, i in zip(taken, images, strict=True) if any(a is b for b in inode.dirty)]
            taken, images = [a for a, _ in kept], [i for _, i in kept]
        machine.rewrites += length < len(inode.durable)
        inode.settle(taken, images, max(length, len(inode.durable)) if gone else length)

    def size(self) -> int:
        """Bytes."""
        return len(self._inode.data)

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros."""
        assert self._writable, f"{self._path} is open for reading"
        self._call("truncate", size)
        self._disk.machine.rewrites += size < len(self._inode.data)
        self._inode.truncate(size)

    def close(self) -> None:
        """Release."""
        self._closed = True


class MachineDisk:
    """The disk of one machine; it survives its processes."""

    def __init__(self, loop: SimLoop, rng: random.Random) -> None:
        self.loop = loop
        self.rng = rng
        self.names: dict[str, Inode] = {}
        self.folders: dict[str, None] = {"/": None}
        #: The names that a power cut leaves for sure, and what was done to the names since, by folder, in order.
        self.durable_names: dict[str, Inode] = {}
        #: How often anything but an addition was made to files or names.
        self.rewrites = 0
        self._undone: dict[str, list[tuple[tuple[str, Inode | None], ...]]] = {}
        #: Asked before every call with its name, path and size; may raise OSError or kill.
        self.plan: Callable[[str, str, int], None] = lambda name, path, size: None
        #: Told of a file before its name goes.
        self.before_unlink: Callable[[str], None] = lambda path: None
        #: Told of a file after it got its final name.
        self.after_rename: Callable[[str], None] = lambda path: None
        self.sync_seconds: Callable[[], float] = lambda: 1e-4
        #: Folders that a process took, and has until it dies.
        self.locks: dict[str, Process] = {}

    def rebind(self, *changes: tuple[str, Inode | None]) -> None:
        """Bind names to files, or to nothing; atomic, and durable with the next ``sync_dir``."""
        for path, inode in changes:
            if inode is None:
                del self.names[path]
                self.rewrites += 1
            else:
                self.names[path] = inode
        self._undone.setdefault(_folder_of(changes[0][0]), []).append(changes)

    def settle_names(self, folder: str) -> None:
        """What was done to the names of a folder is durable."""
        for changes in self._undone.pop(folder, ()):
            self._keep(changes)

    def _keep(self, changes: tuple[tuple[str, Inode | None], ...]) -> None:
        for path, inode in changes:
            if inode is None:
                self.durable_names.pop(path, None)
                self.rewrites += 1
            else:
                self.durable_names[path] = inode

    def lose_power(self) -> None:
        """Names first, then each file that still has one."""
        self.rewrites += 1
        rng = self.rng
        for undone in self._undone.values():
            chance = rng.choice((0.0, 0.5, 1.0))
            any_of_them = rng.random() < 0.3
            for changes in undone:
                if rng.random() < chance:
                    self._keep(changes)
                elif not any_of_them:
                    break
        self._undone.clear()
        self.names = dict(sorted(self.durable_names.items()))
        for inode in self.names.values():
            inode.lose_power(rng)


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class ProcessDisk:
    """The Disk port of one process; after its death no call has an effect."""

    def __init__(self, machine: MachineDisk, process: Process) -> None:
        self.machine = machine
        self._process = process

    def call(self, name: str, path: str, size: int = 0) -> None:
        """Every call comes through here first."""
        self._process.check()
        machine = self.machine
        machine.plan(name, path, size)
        self._process.check()
        if name not in ("pread", "open"):
            machine.loop.trace.add("disk", name, path, size)

    def wait(self, seconds: float) -> None:
        """The call takes so long."""
        self.machine.loop.block(seconds)
        self._process.check()

    def _inode(self, path: str) -> Inode:
        inode = self.machine.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return inode

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, write: bool = False) -> SimFile:
        """Open for reading, or reading and writing; ``exclusive`` refuses an existing file."""
        machine = self.machine
        inode = machine.names.get(path)
        self.call("create" if create and inode is None else "rewrite" if write else "open", path)
        if inode is None:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            if _folder_of(path) not in machine.folders:
                raise FileNotFoundError(errno.ENOENT, "no such folder", path)
            inode = Inode()
            machine.rebind((path, inode))
        elif exclusive:
            raise FileExistsError(errno.EEXIST, "file exists", path)
        return SimFile(self, path, inode, writable=write or create)

    def read(self, path: str) -> bytes:
        """The whole file."""
        self.call("pread", path)
        return bytes(self._inode(path).data)

    def write_atomic(self, path: str, data: bytes) -> None:
        """Replace or create: temp file, sync, rename, sync of the folder."""
        temporary = path + TMP_SUFFIX
        file = self.open(temporary, create=True, write=True)
        file.truncate(0)
        file.pwrite(data, 0)
        file.sync()
        file.close()
        self.rename(temporary, path)
        self.sync_dir(_folder_of(path))

    def listdir(self, path: str) -> list[str]:
        """Names, sorted."""
        if path not in self.machine.folders:
            raise FileNotFoundError(errno.ENOENT, "no such folder", path)
        prefix = path.rstrip("/") + "/"
        entries = [*self.machine.names, *self.machine.folders]
        names = {name[len(prefix) :].partition("/")[0]: None for name in entries if name.startswith(prefix)}
        return sorted(name for name in names if name)

    def exists(self, path: str) -> bool:
        """File or folder."""
        return path in self.machine.names or path in self.machine.folders

    def is_dir(self, path: str) -> bool:
        """Folder."""
        return path in self.machine.folders

    def size(self, path: str) -> int:
        """Bytes of a file."""
        return len(self._inode(path).data)

    def makedirs(self, path: str) -> None:
        """Create with parents, durably, as the real disk does."""
        self.call("makedirs", path)
        while path not in self.machine.folders:
            self.machine.folders[path] = None
            path = _folder_of(path)

    def rename(self, old: str, new: str) -> None:
        """Atomic replace."""
        self.call("rename", old)
        inode = self._inode(old)
        self.machine.rebind((old, None), (new, inode))
        self.machine.after_rename(new)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        self.call("unlink", path)
        self._inode(path)
        self.machine.before_unlink(path)
        self.machine.rebind((path, None))

    def sync_dir(self, path: str) -> None:
        """Make creations, renames and removals in this folder durable."""
        self.call("sync_dir", path)
        self.wait(self.machine.sync_seconds())
        self.machine.settle_names(path)

    def lock(self, path: str) -> Callable[[], None]:
        """Take a folder until the returned call or the death of the process."""
        locks = self.machine.locks
        if path in locks and locks[path].alive:
            raise BlockingIOError(errno.EAGAIN, "folder is taken", path)
        locks[path] = self._process

        def unlock() -> None:
            del locks[path]

        return unlock
