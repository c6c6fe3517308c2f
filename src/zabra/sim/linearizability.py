"""Is there one order of all operations on a znode that explains every answer? The search of Wing and Gong.

Nothing but what clients saw is used: when each request left, when its answer came, and what it said. The order must
keep to real time for writes (one that was answered before another one was sent comes before it), and to each client's
own order for everything; that is what ZooKeeper promises. A plain read may be stale, so real time only says that it saw
nothing from after its answer. A read behind a ``sync`` is held to real time too.

What was not answered may have happened at any time after it was sent, or never.

A configuration is the set of operations placed so far and the znode they make; one that led nowhere is not tried
again (Lowe, "Testing for linearizability"). Whatever leaves the znode as it is is placed as soon as it fits, for that
never spoils anything. Each znode is looked at by itself: an order exists for all when one exists for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from zabra.errors import Code

#: Configurations to look at before the search is given up.
BUDGET: Final = 200_000


class Kind(Enum):
    """What is asked of a znode without children."""

    CREATE = "create"
    SET = "set"
    DELETE = "delete"
    READ = "read"
    #: A read that is preceded by a sync.
    SYNCED_READ = "synced read"


class Value(NamedTuple):
    """A znode that exists."""

    data: bytes
    version: int


class Answer(NamedTuple):
    """What a client was told; ``value`` is the znode read or written, None where the answer has none."""

    err: int
    value: Value | None = None


@dataclass(slots=True, eq=False)
class Operation:
    """One request of one client."""

    client: str
    kind: Kind
    invoked: float
    data: bytes = b""
    #: The version that the znode must have; -1: any.
    version: int = -1
    #: When the answer came; infinite when none did.
    answered: float = inf
    answer: Answer | None = None

    def __str__(self) -> str:
        when = f"{self.invoked:.6f}..{self.answered:.6f}"
        return f"{when} {self.client} {self.kind.value} {self.data!r} v{self.version} -> {self.answer}"


class Verdict(Enum):
    """What the search found."""

    FINE = "there is an order"
    BROKEN = "there is no order"
    UNDECIDED = "the search was given up"


def outcome(state: Value | None, operation: Operation) -> tuple[Value | None, Answer]:
    """The znode after ``operation``, and its answer."""
    kind = operation.kind
    if kind is Kind.CREATE:
        if state is not None:
            return state, Answer(Code.NODE_EXISTS)
        made = Value(operation.data, 0)
        return made, Answer(0, made)
    if state is None:
        return None, Answer(Code.NO_NODE)
    if kind is Kind.READ or kind is Kind.SYNCED_READ:
        return state, Answer(0, state)
    if operation.version not in (-1, state.version):
        return state, Answer(Code.BAD_VERSION)
    if kind is Kind.DELETE:
        return None, Answer(0)
    made = Value(operation.data, state.version + 1)
    return made, Answer(0, made)


def check(operations: Sequence[Operation], *, budget: int = BUDGET) -> Verdict:
    """Look for an order of the operations on one znode, which does not exist at first.

    Operations of one client are given in the order in which it sent them.
    """
    asked = [operation for operation in operations if operation.answer is not None or operation.kind in _WRITES]
    return _Search(asked, budget).run()


_WRITES: Final = (Kind.CREATE, Kind.SET, Kind.DELETE)


class _Search:
    """Depth first, with a memory."""

    def __init__(self, operations: Sequence[Operation], budget: int) -> None:
        self._operations = operations
        self._budget = budget
        self._before = [_mask(self._must_precede(at)) for at in range(len(operations))]
        self._answered = _mask(at for at, one in enumerate(operations) if one.answer is not None)

    def _must_precede(self, at: int) -> Iterable[int]:
        """Those that come before this one in every order."""
        later = self._operations[at]
        plain_read = later.kind is Kind.READ
        for index, earlier in enumerate(self._operations):
            if earlier.answer is None or index == at:
                continue
            if earlier.client == later.client:
                # One without an answer may have been overtaken over another connection.
                if index < at and (later.answer is not None or earlier.answered < later.invoked):
                    yield index
            elif earlier.answered < later.invoked and not plain_read:
                yield index

    def run(self) -> Verdict:
        """Search."""
        seen: set[tuple[int, Value | None]] = set()
        start = self._settle(0, None), None
        stack: list[tuple[int, Value | None]] = [start]
        while stack:
            configuration = stack.pop()
            if configuration in seen:
                continue
            seen.add(configuration)
            placed, state = configuration
            if placed & self._answered == self._answered:
                return Verdict.FINE
            if len(seen) > self._budget:
                return Verdict.UNDECIDED
            stack += self._next(placed, state)
        return Verdict.BROKEN

    def _next(self, placed: int, state: Value | None) -> list[tuple[int, Value | None]]:
        """Every write that may come next and changes the znode; those without an answer are tried last."""
        found: list[tuple[int, Value | None]] = []
        for at, operation in enumerate(self._operations):
            bit = 1 << at
            if placed & bit or self._before[at] & ~placed or operation.kind not in _WRITES:
                continue
            after, answer = outcome(state, operation)
            if after == state:
                continue
            if operation.answer is None:
                found.insert(0, (self._settle(placed | bit, after), after))
            elif operation.answer == answer:
                found.append((self._settle(placed | bit, after), after))
        return found

    def _settle(self, placed: int, state: Value | None) -> int:
        """Place whatever fits and changes nothing."""
        again = True
        while again:
            again = False
            for at, operation in enumerate(self._operations):
                bit = 1 << at
                if placed & bit or operation.answer is None or self._before[at] & ~placed:
                    continue
                if outcome(state, operation) == (state, operation.answer):
                    placed |= bit
                    again = True
        return placed


def _mask(indexes: Iterable[int]) -> int:
    mask = 0
    for index in indexes:
        mask |= 1 << index
    return mask
