"""The clock and randomness ports of one simulated machine."""

from __future__ import annotations

import random

from zabra.sim.loop import SimLoop

#: The wall clock when a run begins, ms.
EPOCH_MS = 1_800_000_000_000


class SimClock:
    """Uptime of a machine, and a wall clock that may jump."""

    def __init__(self, loop: SimLoop, rate: float = 1.0) -> None:
        """``rate``: seconds that pass on this machine in one second."""
        self._loop = loop
        self.rate = rate
        #: Virtual second at which the machine was switched on.
        self.booted_at = -3600.0
        #: How wrong the wall clock is, ms, beside what ``rate`` makes of it.
        self.wall_offset_ms = 0

    def monotonic(self) -> float:
        """Seconds since the machine was switched on."""
        return (self._loop.now - self.booted_at) * self.rate

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return EPOCH_MS + int(self._loop.now * self.rate * 1000) + self.wall_offset_ms


class SimRandom:
    """A seeded stream."""

    def __init__(self, seed: str) -> None:
        self._source = random.Random(seed)

    def random(self) -> float:
        """A float in [0, 1)."""
        return self._source.random()

    def randrange(self, stop: int) -> int:
        """An int in [0, stop)."""
        return self._source.randrange(stop)
