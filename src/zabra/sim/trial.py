"""What a run of one server and a run of an ensemble have in common: how it lives, ends and fails."""

from __future__ import annotations

import gc
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from zabra.pipeline import snapshots
from zabra.sim.loop import new_loop
from zabra.sim.trace import Trace
from zabra.sim.violation import Violation
from zabra.sim.workload import Workload

W = TypeVar("W", bound=Workload)


@dataclass(slots=True)
class Outcome:
    """What a run has shown."""

    seed: int
    #: Why it failed; None when it is clean.
    failure: str | None = None
    trace: Trace = field(default_factory=Trace)
    seconds: float = 0.0
    writes: int = 0
    reads: int = 0
    boots: int = 0
    #: Epochs that were established.
    elections: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class _Counting(Protocol):
    """The oracle, which counts."""

    acked_writes: int
    reads: int


class _Breaking(Protocol):
    """The faults, which are counted."""

    counts: Counter[str]


class Trial(ABC, Generic[W]):
    """One run, of one seed. ``execute`` is all that is asked of it, once."""

    #: Nodes that a snapshot takes in a turn of the loop, besides the production server's number: so few that writes go
    #: on meanwhile.
    few_nodes_per_turn: ClassVar[tuple[int, ...]]
    oracle: _Counting
    faults: _Breaking

    def __init__(self, seed: int, rng: random.Random, *, turn_cost: float) -> None:
        self.outcome = Outcome(seed)
        self.rng = rng
        self.loop = new_loop(self.outcome.trace, turn_cost=turn_cost)
        self.workloads: list[W] = []
        self._clients = 0

    @abstractmethod
    def _live(self) -> None:
        """Trouble, then peace."""

    @abstractmethod
    def _power_off(self) -> None:
        """Every machine goes."""

    @property
    @abstractmethod
    def _boots(self) -> int:
        """Starts of servers."""

    @property
    def _epochs(self) -> int:
        """Epochs that were established."""
        return 0

    def execute(self) -> Outcome:
        """Run it."""
        loop = self.loop
        outcome = self.outcome
        gc_was_on = gc.isenabled()
        gc.disable()
        nodes_per_turn = snapshots.NODES_PER_TURN
        try:
            vars(snapshots)["NODES_PER_TURN"] = self.rng.choice((*self.few_nodes_per_turn, nodes_per_turn))
            self._live()
        finally:
            self._power_off()
            loop.world.die()
            loop.close()
            vars(snapshots)["NODES_PER_TURN"] = nodes_per_turn
            if gc_was_on:
                gc.enable()
            # Servers freeze what they have loaded; here it must go with the run.
            gc.unfreeze()
        if outcome.failure is None and loop.errors:
            outcome.failure = loop.errors[0]
        outcome.seconds = loop.now
        outcome.writes = self.oracle.acked_writes
        outcome.reads = self.oracle.reads
        outcome.boots = self._boots
        outcome.elections = self._epochs
        outcome.faults = self.faults.counts
        return outcome

    # -- how it fails

    def fail(self, why: str) -> None:
        """The run has failed; the first reason counts."""
        if self.outcome.failure is None:
            self.outcome.failure = why
            self.loop.trace.add("FAILURE", why)

    def _failed(self) -> bool:
        return self.outcome.failure is not None or bool(self.loop.errors)

    def _checked(self, check: Callable[[], object]) -> None:
        try:
            check()
        except Violation as violation:
            self.fail(str(violation))

    # -- the clients

    @abstractmethod
    def _new_workload(self, number: int, rng: random.Random) -> W:
        """What another client asks for."""

    def _add_client(self) -> None:
        self._clients += 1
        number = self._clients
        workload = self._new_workload(number, random.Random(f"client {self.outcome.seed} {number}"))
        self.workloads.append(workload)
        workload.start()

    def _replace_client(self) -> None:
        """One falls silent for good, another comes."""
        alive = [workload for workload in self.workloads if not workload.client.stopped]
        workload = self.rng.choice(alive)
        workload.finish()
        workload.client.stop()
        self._add_client()
