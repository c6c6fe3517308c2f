"""The only doors to the outside: clock, randomness, disk, and one worker for blocking file work.

The network port is the event loop itself (``create_server``, ``create_connection``, ``call_at``). Each port has a real
side (:mod:`zabra.runtime.real`, :mod:`zabra.runtime.disk`) and a simulated one in :mod:`zabra.sim`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Time. Monotonic for every timeout and id, wall clock only for ctime, mtime, TTL and log text."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, may jump."""


class Random(Protocol):
    """Randomness that only spreads load or timing; nothing secret depends on it."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def randrange(self, stop: int) -> int:
        """An int in [0, stop)."""


class File(Protocol):
    """One open file, addressed by offset. Every method may block and may raise ``OSError``."""

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes at ``offset``; shorter only at end of file."""

    def pwrite(self, data: bytes, offset: int) -> None:
        """All of ``data`` at ``offset``; a short write is an ``OSError``."""

    def sync(self) -> None:
        """``fdatasync``: data, and the size where it changed, are on disk when this returns."""

    def size(self) -> int:
        """Bytes."""

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros."""

    def close(self) -> None:
        """Release; not a sync."""


class Disk(Protocol):
    """A file system. Paths are plain ``str``. Errors are ``OSError`` and its subclasses, as ``os`` raises them."""

    def open(self, path: str, *, create: bool = False, exclusive: bool = False, write: bool = False) -> File:
        """Open for reading, or reading and writing; ``exclusive`` refuses an existing file."""

    def read(self, path: str) -> bytes:
        """The whole file."""

    def write_atomic(self, path: str, data: bytes) -> None:
        """Replace or create: temp file, fsync, rename, fsync of the folder."""

    def listdir(self, path: str) -> list[str]:
        """Names, sorted."""

    def exists(self, path: str) -> bool:
        """File or folder."""

    def is_dir(self, path: str) -> bool:
        """Folder."""

    def size(self, path: str) -> int:
        """Bytes of a file."""

    def makedirs(self, path: str) -> None:
        """Create with parents; existing is fine."""

    def rename(self, old: str, new: str) -> None:
        """Atomic replace within one file system."""

    def unlink(self, path: str) -> None:
        """Remove a file."""

    def sync_dir(self, path: str) -> None:
        """Make creations, renames and removals in this folder durable."""

    def lock(self, path: str) -> Callable[[], None]:
        """Take a folder until the returned call or the end of the process. Raises BlockingIOError while it is taken."""


class Worker(Protocol):
    """One helper that runs blocking file work in submission order, one job at a time."""

    def submit(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run ``job`` off the loop, then call ``done(result, error)`` on the loop. ``done`` must not raise."""

    def close(self) -> None:
        """Finish what was submitted, then stop; ``done`` of unfinished jobs may never be called."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The ports that one server gets."""

    clock: Clock
    random: Random
    disk: Disk
    #: Makes a worker; the log and the snapshots each have their own, so that a snapshot never delays a sync.
    new_worker: Callable[[str], Worker]
