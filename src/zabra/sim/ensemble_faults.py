"""What goes wrong in a run of an ensemble, drawn from its seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from zabra.sim.cluster import CLIENT_PORT, ELECTION_PORT, QUORUM_PORT, Cluster, Machine
from zabra.sim.faults import make_deaf
from zabra.sim.loop import SimLoop
from zabra.sim.network import Network
from zabra.sim.noise import make_noise
from zabra.sim.trouble import DiskTrouble

#: Faults and how often each comes, beside the others.
_KINDS: Final = {
    "kill": 3,
    "power": 3,
    "crash": 6,
    "kill many": 2,
    "power many": 3,
    "power all": 2,
    "kill leader": 3,
    "strand leader": 8,
    "stop": 2,
    "rolling restart": 1,
    "cut": 6,
    "isolate": 4,
    "split": 3,
    "one way": 4,
    "bridge": 2,
    "torn links": 3,
    "lag": 3,
    "refuse": 1,
    "stall": 1,
    "slow": 3,
    "fail": 2,
    "full": 2,
    "readonly": 1,
    "jump": 2,
    "client": 2,
    "client cut off": 3,
    "deaf": 1,
    "noise": 2,
    "unnamed": 1,
    "move": 1,
    "wipe": 1,
    "reconfig": 6,
}
#: Seconds for which a server tries to listen.
_BINDING: Final = 5.0


class EnsembleFaults:
    """Strikes now and then until :meth:`heal`."""

    def __init__(
        self, loop: SimLoop, network: Network, cluster: Cluster, rng: random.Random, *, interval: float, patience: float
    ) -> None:
        """``interval``: usual seconds between two faults; ``patience``: after so many of silence a server gives up."""
        self._loop = loop
        self._network = network
        self._cluster = cluster
        self._rng = rng
        self._interval = interval
        self._patience = patience
        self._active = True
        #: How often each fault struck.
        self.counts: Counter[str] = Counter()
        self.disks: dict[int, DiskTrouble] = {}
        #: Addresses of the clients there are.
        self.clients: Callable[[], list[str]] = list
        self.on_client_death: Callable[[], None] = lambda: None
        self.on_reconfig: Callable[[], None] = lambda: None
        #: A leader is cut off from the others: whoever is connected there is to ask for something.
        self.on_strand: Callable[[Machine], None] = lambda machine: None
        #: Virtual second at which the last of what was begun is over.
        self.disturbed_until = 0.0
        self._named_at: dict[int, float] = {}
        self._kinds = dict(_KINDS)

    def watch(self, machine: Machine) -> None:
        """A machine that things may go wrong on."""
        self.disks[machine.sid] = DiskTrouble(self._loop, machine, self._rng, self.counts)

    def leave_out(self, *kinds: str) -> None:
        """These do not strike."""
        for kind in kinds:
            self._kinds.pop(kind, None)

    def start(self) -> None:
        """Begin to strike."""
        self._loop.call_later(self._rng.expovariate(1) * self._interval, self._next)

    def heal(self) -> None:
        """No fault from now on, and those that last are over."""
        self._active = False
        self.disturbed_until = self._loop.now
        for disk in self.disks.values():
            disk.heal()
        self._network.heal()
        for machine in self._machines:
            self._name(machine)

    def _next(self) -> None:
        if self._active:
            kinds = list(self._kinds)
            kind = self._rng.choices(kinds, [self._kinds[name] for name in kinds])[0]
            self.counts[kind] += 1
            self._loop.trace.add("fault", kind)
            self.disturbed_until = max(self.disturbed_until, self._loop.now + self._patience * 8)
            self.strike(kind)
            self._loop.call_later(self._rng.expovariate(1) * self._interval, self._next)

    # -- what strikes

    def strike(self, kind: str) -> None:
        """Let something go wrong."""
        rng = self._rng
        machine = rng.choice(self._machines)
        leader = self._cluster.leader
        if leader is not None and rng.random() < 0.4:
            machine = leader
        match kind:
            case "kill" | "power":
                machine.kill(power=kind == "kill")
            case "kill leader":
                if leader is not None:
                    leader.kill(power=rng.random() < 0.5)
            case "strand leader":
                if leader is not None:
                    self._strand(leader)
            case "kill many" | "power many" | "power all":
                count = len(self._machines) if kind == "power all" else rng.randrange(1, len(self._machines) + 1)
                for victim in rng.sample(self._machines, count):
                    victim.kill(power=kind == "kill many")
            case "stop":
                if machine.running and machine.server is not None:
                    machine.stop()
            case "rolling restart":
                self._rolling_restart()
            case "client":
                self.on_client_death()
            case "reconfig":
                self.on_reconfig()
            case "jump":
                machine.clock.wall_offset_ms += rng.randrange(-5000, 5000)
            case "wipe":
                self._wipe()
            case "crash" | "slow" | "fail" | "full" | "readonly":
                self._hurt_disk(kind, self.disks[machine.sid])
            case _:
                self._hurt_network(kind, machine)

    @property
    def _machines(self) -> list[Machine]:
        return list(self._cluster.machines.values())

    def _hurt_disk(self, kind: str, disk: DiskTrouble) -> None:
        if kind == "crash":
            disk.crash_soon()
        elif kind == "slow":
            disk.slow()
        elif kind == "fail":
            disk.fail_soon()
        elif kind == "full":
            disk.fill(self._rng.random() * 2)
        else:
            disk.write_protect(self._rng.random())

    def _strand(self, leader: Machine) -> None:
        """It proposes what nobody gets, until it notices or dies; it comes back soon after the others have a leader."""
        rng = self._rng
        others = [one.address for one in self._machines if one is not leader]
        pairs = [(leader.address, one) for one in others]
        self._loop.trace.add("stranded", leader.name)
        for pair in pairs:
            self._network.block(*pair)
        self.on_strand(leader)
        deadline = self._loop.now + 10 * self._patience
        if rng.random() < 0.5:
            self._loop.world_at(self._loop.now + self._patience * rng.random(), self._kill, leader, rng.random() < 0.5)

        def look() -> None:
            other = self._cluster.leader
            if (other is None or other is leader) and self._loop.now < deadline and self._active:
                self._loop.world_at(self._loop.now + self._patience / 20, look)
                return
            for pair in pairs:
                self._network.unblock(*pair)

        look()

    def _kill(self, machine: Machine, power: bool) -> None:
        if self._active:
            machine.kill(power=power)

    def _rolling_restart(self) -> None:
        """Each is stopped some time after the one before."""
        delay = 0.0
        for machine in self._machines:

            def stop(machine: Machine = machine) -> None:
                if machine.serving and self._active:
                    machine.stop()

            self._loop.world_at(self._loop.now + delay, stop)
            delay += self._rng.random() * self._patience

    def _wipe(self) -> None:
        """An observer loses its files, which is legal: nobody has counted on its having anything."""
        observers = [machine for machine in self._machines if machine.mode == "observer"]
        if observers:
            machine = self._rng.choice(observers)
            machine.kill(power=False)
            machine.wipe()

    # -- the network

    def _hurt_network(self, kind: str, machine: Machine) -> None:
        rng = self._rng
        network = self._network
        here = machine.address
        others = [one.address for one in self._machines if one is not machine]
        match kind:
            case "cut":
                ends = list(network.ends)
                if ends:
                    network.cut(rng.choice(ends), rng.choice(("reset", "half", "silent")))
            case "isolate":
                self._block([(here, other) for other in others] + [(other, here) for other in others])
            case "split":
                side = [one for one in (here, *others) if rng.random() < 0.5]
                rest = [one for one in (here, *others) if one not in side]
                self._block([pair for a in side for b in rest for pair in ((a, b), (b, a))])
            case "one way":
                if rng.random() < 0.5:
                    self._block([(here, other) for other in others])
                else:
                    self._block([(other, here) for other in others])
            case "bridge":
                # Only ``here`` can talk to both sides.
                side = [one for one in others if rng.random() < 0.5]
                rest = [one for one in others if one not in side]
                self._block([pair for a in side for b in rest for pair in ((a, b), (b, a))])
            case "torn links":
                everybody = (here, *others)
                self._block([(a, b) for a in everybody for b in everybody if a != b and rng.random() < 0.3])
            case "client cut off":
                clients = self.clients()
                if clients:
                    client = rng.choice(clients)
                    servers = [one for one in (here, *others) if one == here or rng.random() < 0.5]
                    self._block([pair for one in servers for pair in ((client, one), (one, client))])
            case "stall":
                network.stalled_until = self._loop.now + rng.random() * rng.choice((0.1, 2.0))
            case "lag" | "refuse":
                self._disturb(kind, here, others)
            case "deaf":
                make_deaf(self._loop, network, rng)
            case "noise":
                make_noise(self._loop, rng, here, rng.choice((CLIENT_PORT, QUORUM_PORT, ELECTION_PORT)))
            case "unnamed":
                network.names[machine.name] = None
                self._loop.world_at(self._loop.now + self._some_time(), self._name, machine)
            case "move":
                machine.kill(power=False)
                machine.move(f"10.0.{rng.randrange(3, 200)}.{machine.sid}")
                # The name may lead to the old address for some time.
                self._loop.world_at(self._loop.now + self._some_time() * rng.choice((0, 1)), self._name, machine)
            case _:
                raise AssertionError(kind)

    def _name(self, machine: Machine) -> None:
        """Its name leads to it."""
        if self._network.names[machine.name] != machine.address:
            self._network.names[machine.name] = machine.address
            self._named_at[machine.sid] = self._loop.now

    def may_bind(self, machine: Machine) -> bool:
        """Whether its name has led to it for so long that it must have been able to listen there."""
        known = self._network.names[machine.name] == machine.address
        return known and self._loop.now - self._named_at.get(machine.sid, -_BINDING) > _BINDING

    def _some_time(self) -> float:
        return self._patience * self._rng.choice((0.1, 0.5, 1.0, 2.0, 5.0)) * (0.5 + self._rng.random())

    def _block(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Nothing gets from the first to the second of each pair, for some time."""
        pairs = list(pairs)
        self._loop.trace.add("blocked", *(f"{source}>{target}" for source, target in pairs))
        for pair in pairs:
            self._network.block(*pair)

        def unblock() -> None:
            for pair in pairs:
                self._network.unblock(*pair)

        self._loop.world_at(self._loop.now + self._some_time(), unblock)

    def _disturb(self, kind: str, here: str, others: list[str]) -> None:
        """Some links are slow, or a firewall refuses connects, for some time."""
        links = [self._network.link(here, other) for other in others if self._rng.random() < 0.7]
        lag = self._patience * self._rng.choice((0.05, 0.2, 0.6))
        for link in links:
            if kind == "lag":
                link.lag = lag
            else:
                link.refuses = True

        def end() -> None:
            for link in links:
                link.lag = 0.0
                link.refuses = False

        self._loop.world_at(self._loop.now + self._some_time(), end)
