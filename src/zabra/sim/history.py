"""What clients asked of a few znodes and what they were told, with the times: for the search for an order."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from zabra.consts import Op
from zabra.errors import Code
from zabra.sim.calls import Call
from zabra.sim.linearizability import Answer, Kind, Operation, Value, Verdict, check
from zabra.sim.violation import Violation

_INT: Final = Struct(">i")
_STAT_SIZE: Final = 68
_VERSION_AT: Final = 32
#: The request was not looked at.
_NOT_DONE: Final = (Code.SESSION_EXPIRED, Code.SESSION_MOVED)
_KINDS: Final = {
    Op.CREATE2: Kind.CREATE,
    Op.SET_DATA: Kind.SET,
    Op.DELETE: Kind.DELETE,
    Op.GET_DATA: Kind.READ,
}


class History:
    """Keeps every operation on the znodes ``keys``; nobody may ask anything else of them than those four."""

    def __init__(self, keys: tuple[bytes, ...], clock: Callable[[], float]) -> None:
        """``clock`` gives the virtual second."""
        self.keys = keys
        self.operations: dict[bytes, list[Operation]] = {key: [] for key in keys}
        #: Searches that were given up.
        self.undecided = 0
        self._clock = clock
        self._open: dict[Call, Operation] = {}
        #: Clients whose sync was answered with nothing asked since -> when they sent it.
        self._synced: dict[str, float] = {}

    def asked(self, client: str, call: Call, *, calm: bool) -> None:
        """A request leaves. ``calm``: a sync before it is to be relied on; with two leaders about it is not."""
        if call.path not in self.operations:
            return
        kind = _KINDS[call.op]
        invoked = self._clock()
        if kind is Kind.READ and calm and client in self._synced:
            kind = Kind.SYNCED_READ
            invoked = self._synced[client]
        operation = Operation(client, kind, invoked, call.data or b"", call.version)
        self.operations[call.path].append(operation)
        self._open[call] = operation

    def synced(self, client: str, sent_at: float) -> None:
        """A sync was answered: reads from now on show at least what was true when it was sent."""
        self._synced[client] = sent_at

    def lost(self, client: str) -> None:
        """The connection is gone; another server may be behind."""
        self._synced.pop(client, None)

    def answered(self, call: Call, err: int, body: bytes) -> None:
        """An answer has come."""
        operation = self._open.pop(call, None)
        if operation is None:
            return
        if err in _NOT_DONE:
            self.operations[call.path].remove(operation)
            return
        operation.answered = self._clock()
        operation.answer = Answer(err, _value(call, body)) if err == 0 else Answer(err)

    def check(self) -> None:
        """Raise a Violation when the answers about some znode have no order."""
        for key, operations in self.operations.items():
            verdict = check(operations)
            if verdict is Verdict.BROKEN:
                shown = "\n    ".join(map(str, operations))
                raise Violation(f"no order explains what clients saw of {key!r}:\n    {shown}")
            self.undecided += verdict is Verdict.UNDECIDED


def _value(call: Call, body: bytes) -> Value | None:
    """The znode that an answer shows."""
    if call.op == Op.DELETE:
        return None
    stat = body[-_STAT_SIZE:]
    (version,) = _INT.unpack_from(stat, _VERSION_AT)
    if call.op != Op.GET_DATA:
        return Value(call.data or b"", version)
    (size,) = _INT.unpack_from(body)
    return Value(body[4 : 4 + max(size, 0)], version)
