"""What goes wrong on one machine's disk: slow, full, read-only, a failing call, death in the middle of a call."""

from __future__ import annotations

import errno
import random
from collections import Counter
from typing import Final

from zabra.sim.host import Host
from zabra.sim.loop import SimLoop

#: Calls that change the disk, and so can be the one at which a process dies or fails.
_CHANGING: Final = frozenset({"pwrite", "sync", "sync_dir", "create", "rewrite", "rename", "unlink", "truncate"})


class DiskTrouble:
    """Decides about every call of one machine's disk, as it was told to."""

    def __init__(self, loop: SimLoop, host: Host, rng: random.Random, counts: Counter[str]) -> None:
        #: Whether the disk made something fail since the last start.
        self.failed = False
        self._loop = loop
        self._host = host
        self._rng = rng
        self._counts = counts
        self._sync_seconds = 1e-4
        self._slow_until = 0.0
        self._slow_seconds = 0.0
        self._crash_in = -1
        self._crash_power = False
        self._fail_in = -1
        self._fail_errno = errno.EIO
        self._failing: frozenset[str] = _CHANGING
        self._full_until = 0.0
        self._read_only_until = 0.0
        self._active = True
        host.disk.plan = self._plan
        host.disk.sync_seconds = self._sync_time

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self._active = False
        self._crash_in = self._fail_in = -1
        self._slow_until = self._full_until = self._read_only_until = 0.0

    def crash_soon(self) -> None:
        """The process dies in one of the next calls, often with the machine."""
        self._crash_in = self._rng.randrange(1, 60)
        self._crash_power = self._rng.random() < 0.7

    def slow(self) -> None:
        """Syncs take long for some seconds."""
        self._slow_until = self._loop.now + self._rng.random() * 5
        self._slow_seconds = self._rng.choice((0.003, 0.02, 0.3))

    def fail_soon(self) -> None:
        """One of the next calls fails."""
        self._fail_in = self._rng.randrange(1, 60)
        self._fail_errno = self._rng.choice((errno.EIO, errno.EIO, errno.ENOSPC))
        self._failing = self._rng.choice((frozenset({"sync"}), frozenset({"pwrite"}), _CHANGING))

    def fill(self, seconds: float) -> None:
        """The disk is full for so long."""
        self._full_until = self._loop.now + seconds

    def write_protect(self, seconds: float) -> None:
        """The disk is read-only for so long."""
        self._read_only_until = self._loop.now + seconds

    def _cut_power(self) -> None:
        if self._active:
            self._counts["power after a kill"] += 1
            self._host.kill(power=False)

    def _sync_time(self) -> float:
        usual = self._slow_seconds if self._loop.now < self._slow_until else self._sync_seconds
        return usual * (0.5 + self._rng.random())

    def _plan(self, name: str, path: str, size: int) -> None:
        """The disk asks before each call."""
        if name not in _CHANGING:
            return
        now = self._loop.now
        if self._crash_in > 0:
            self._crash_in -= 1
            if self._crash_in == 0:
                self._counts["crash within a disk call"] += 1
                self._host.kill(power=not self._crash_power)
                if not self._crash_power:
                    # What the dead server had not synced is in the system's cache; now that goes too.
                    self._loop.world_at(now + self._rng.random() * 2, self._cut_power)
                return
        if self._fail_in > 0 and name in self._failing:
            self._fail_in -= 1
            if self._fail_in == 0:
                self._raise(self._fail_errno, name, path)
        if now < self._full_until and (name == "create" or (name == "pwrite" and self._rng.random() < 0.5)):
            self._raise(errno.ENOSPC, name, path)
        if now < self._read_only_until and name != "sync":
            self._raise(errno.EROFS, name, path)

    def _raise(self, code: int, name: str, path: str) -> None:
        self.failed = True
        self._counts["failed disk calls"] += 1
        self._loop.trace.add("failing", errno.errorcode[code], name, path)
        raise OSError(code, name, path)
