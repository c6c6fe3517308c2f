"""What goes wrong in a run, drawn from its seed."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from zabra.sim.host import Host
from zabra.sim.loop import SimLoop
from zabra.sim.network import Network
from zabra.sim.noise import make_noise

#: Calls that change the disk, and so can be the one at which a process dies or fails.
_CHANGING: Final = frozenset({"pwrite", "sync", "sync_dir", "create", "rewrite", "rename", "unlink", "truncate"})


class Faults:
    """Strikes now and then until :meth:`heal`."""

    def __init__(
        self, loop: SimLoop, network: Network, host: Host, rng: random.Random, *, interval: float, clean: bool = False
    ) -> None:
        """``interval``: usual seconds between two faults. ``clean``: nothing goes wrong that nobody asked for."""
        self._loop = loop
        self._network = network
        self._host = host
        self._rng = rng
        self._interval = interval
        self._active = not clean
        #: How often each fault struck.
        self.counts: Counter[str] = Counter()
        #: A client is to fall silent for good.
        self.on_client_death: Callable[[], None] = lambda: None
        #: Whether the disk made something fail since the last start.
        self.disk_failed = False
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
        host.disk.plan = self._plan
        host.disk.sync_seconds = self._sync_time

    def start(self) -> None:
        """Begin to strike."""
        if self._active:
            self._loop.call_later(self._rng.expovariate(1) * self._interval, self._next)

    def heal(self) -> None:
        """No fault from now on, and those that last are over."""
        self._active = False
        self._crash_in = self._fail_in = -1
        self._slow_until = self._full_until = self._read_only_until = 0.0
        self._network.stalled_until = 0.0

    def _next(self) -> None:
        if self._active:
            self._strike()
            self._loop.call_later(self._rng.expovariate(1) * self._interval, self._next)

    def _strike(self) -> None:
        rng = self._rng
        names = ("kill", "power", "crash", "crash", "cut", "cut", "stall", "slow", "fail", "full", "readonly")
        kind = rng.choice((*names, "stop", "jump", "client", "deaf", "noise", "noise"))
        self.counts[kind] += 1
        self._loop.trace.add("fault", kind)
        now = self._loop.now
        if kind in ("kill", "power"):
            self._host.kill(power=kind == "kill")
        elif kind == "crash":
            self._crash_in = rng.randrange(1, 60)
            self._crash_power = rng.random() < 0.7
        elif kind == "cut":
            ends = list(self._network.ends)
            if ends:
                self._network.cut(rng.choice(ends), rng.choice(("reset", "half", "silent")))
        elif kind == "stall":
            self._network.stalled_until = now + rng.random() * rng.choice((0.1, 2.0))
        elif kind == "slow":
            self._slow_until = now + rng.random() * 5
            self._slow_seconds = rng.choice((0.003, 0.02, 0.3))
        elif kind == "fail":
            self._fail_in = rng.randrange(1, 60)
            self._fail_errno = rng.choice((errno.EIO, errno.EIO, errno.ENOSPC))
            self._failing = rng.choice((frozenset({"sync"}), frozenset({"pwrite"}), _CHANGING))
        elif kind == "full":
            self._full_until = now + rng.random() * 2
        elif kind == "readonly":
            self._read_only_until = now + rng.random()
        elif kind == "stop":
            if self._host.serving:
                self._host.stop()
        elif kind == "deaf":
            ends = [end for end in self._network.ends if end.process is self._loop.world]
            if ends:
                end = rng.choice(ends)
                end.pause_reading()
                self._loop.call_later(rng.random() * 3, end.resume_reading)
        elif kind == "noise":
            make_noise(self._loop, rng, self._host.name)
        elif kind == "jump":
            self._host.clock.wall_offset_ms += rng.randrange(-5000, 5000)
        else:
            self.on_client_death()

    def _cut_power(self) -> None:
        if self._active:
            self.counts["power after a kill"] += 1
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
                self.counts["crash within a disk call"] += 1
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
        self.disk_failed = True
        self.counts["failed disk calls"] += 1
        self._loop.trace.add("failing", errno.errorcode[code], name, path)
        raise OSError(code, name, path)
