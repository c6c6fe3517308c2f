"""What goes wrong in a run of one server, drawn from its seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from zabra.sim.host import Host
from zabra.sim.loop import SimLoop
from zabra.sim.network import Network
from zabra.sim.noise import make_noise
from zabra.sim.trouble import DiskTrouble


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
        self.disk = DiskTrouble(loop, host, rng, self.counts)
        #: A client is to fall silent for good.
        self.on_client_death: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to strike."""
        if self._active:
            self._loop.call_later(self._rng.expovariate(1) * self._interval, self._next)

    def heal(self) -> None:
        """No fault from now on, and those that last are over."""
        self._active = False
        self.disk.heal()
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
        if kind in ("kill", "power"):
            self._host.kill(power=kind == "kill")
        elif kind == "crash":
            self.disk.crash_soon()
        elif kind == "cut":
            ends = list(self._network.ends)
            if ends:
                self._network.cut(rng.choice(ends), rng.choice(("reset", "half", "silent")))
        elif kind == "stall":
            self._network.stalled_until = self._loop.now + rng.random() * rng.choice((0.1, 2.0))
        elif kind == "slow":
            self.disk.slow()
        elif kind == "fail":
            self.disk.fail_soon()
        elif kind == "full":
            self.disk.fill(rng.random() * 2)
        elif kind == "readonly":
            self.disk.write_protect(rng.random())
        elif kind == "stop":
            if self._host.serving:
                self._host.stop()
        elif kind == "deaf":
            make_deaf(self._loop, self._network, rng)
        elif kind == "noise":
            make_noise(self._loop, rng, self._host.address)
        elif kind == "jump":
            self._host.clock.wall_offset_ms += rng.randrange(-5000, 5000)
        else:
            self.on_client_death()


def make_deaf(loop: SimLoop, network: Network, rng: random.Random) -> None:
    """A client reads nothing for some seconds."""
    ends = [end for end in network.ends if end.process is loop.world]
    if ends:
        end = rng.choice(ends)
        end.pause_reading()
        loop.call_later(rng.random() * 3, end.resume_reading)
