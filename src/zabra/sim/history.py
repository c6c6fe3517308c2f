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

    def __init__(
        self, keys: tuple[bytes, ...], clock: Callable[[], float], sole_epoch: Callable[[], int | None]
    ) -> None:
        """``clock`` gives the virtual second. ``sole_epoch``: the epoch of the only server that leads now, or None.

        With two of them about the older one may answer a sync and know nothing of the other's writes. Who was the only
        one when a sync was sent, and has no successor when it is answered, knows all there was.
        """
        self.keys = keys
        self.operations: dict[bytes, list[Operation]] = {key: [] for key in keys}
        #: Searches that were given up.
        self.undecided = 0
        self._clock = clock
        self._sole_epoch = sole_epoch
        self._open: dict[Call, Operation] = {}
        #: Clients -> when they sent the last sync that was answered on their present connection.
        self._synced: dict[str, float] = {}
        #: Syncs on their way, and who led when they were sent.
        self._syncs: dict[Call, int | None] = {}

    def asked(self, client: str, call: Call) -> None:
        """A request leaves."""
        if call.op == Op.SYNC:
            self._syncs[call] = self._sole_epoch()
        if call.path not in self.operations or call.op == Op.SYNC:
            return
        operation = Operation(client, _KINDS[call.op], self._clock(), call.data or b"", call.version)
        self.operations[call.path].append(operation)
        self._open[call] = operation

    def lost(self, client: str) -> None:
        """The connection is gone; another server may be behind."""
        self._synced.pop(client, None)

    def answered(self, client: str, call: Call, err: int, body: bytes) -> None:
        """An answer has come. Whatever is answered behind a sync shows at least what was true when that was sent."""
        if call.op == Op.SYNC:
            epoch = self._syncs.pop(call)
            if epoch is not None and epoch == self._sole_epoch():
                self._synced[client] = call.sent_at
            return
        operation = self._open.pop(call, None)
        if operation is None:
            return
        if err in _NOT_DONE:
            self.operations[call.path].remove(operation)
            return
        if operation.kind is Kind.READ and client in self._synced:
            operation.kind = Kind.SYNCED_READ
            operation.invoked = self._synced[client]
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
