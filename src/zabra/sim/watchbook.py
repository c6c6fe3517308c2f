"""Which events a connection must get, and when: its watches, moved along the list of changes.

Replies and events of one connection come in the order of the server's zxids. So whatever a connection receives tells
how far the server was, and every event of a change up to there must have come before.
"""

from __future__ import annotations

from typing import Final

from zabra.consts import EventType, Op, Perm
from zabra.sim.calls import Call
from zabra.sim.expect import may
from zabra.sim.model import Change, Model
from zabra.sim.violation import Violation
from zabra.wire.records_data import Identity

#: Each server writes it for itself when it learns of a membership: whoever watches all there is hears of it then.
CONFIG: Final = b"/zookeeper/config"
ONE_SHOT: Final = 1
PERSISTENT: Final = 2
RECURSIVE: Final = 4


class WatchBook:
    """The watches of one client session, as registered through its present connection."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.data: dict[bytes, int] = {}
        self.child: dict[bytes, int] = {}
        #: Changes up to here were looked at.
        self._position = 0
        #: Events the server owes, in order.
        self.owed: list[tuple[int, int, bytes]] = []

    def begin(self, zxid: int) -> None:
        """A new connection whose first reply is of ``zxid``: nothing is registered there yet."""
        self._position = self._model.position(zxid)
        self.owed.clear()
        self.data.clear()
        self.child.clear()

    def advance(self, zxid: int, identities: tuple[Identity, ...]) -> None:
        """The server is at ``zxid``: note the events of every change up to there."""
        changes = self._model.changes
        while self._position < len(changes) and changes[self._position].zxid <= zxid:
            change = changes[self._position]
            self._position += 1
            if change.path != CONFIG and self._fires(change) and may(change.acl, Perm.READ, identities):
                self.owed.append((change.zxid, change.type, change.path))

    def _fires(self, change: Change) -> bool:
        path = change.path
        if change.type == EventType.CHILDREN_CHANGED:
            return _take(self.child, path)
        told = _take(self.data, path)
        above = path
        while not told and len(above) > 1:
            above = above[: above.rfind(b"/")] or b"/"
            told = bool(self.data.get(above, 0) & RECURSIVE)
        if change.type == EventType.DELETED and _take(self.child, path):
            told = True
        return told

    def received(self, zxid: int, event_type: int, path: bytes) -> None:
        """An event has come: it must be the next one owed. Those of one closeSession may come in any order."""
        event = (zxid, event_type, path)
        next_ones = [owed for owed in self.owed if owed[0] == self.owed[0][0]]
        if event not in next_ones:
            raise Violation(f"event {event}, expected {self.owed[:3]}")
        self.owed.remove(event)

    def register(self, call: Call) -> None:
        """A reply has come: what its request registered counts from its zxid on."""
        op = call.op
        if op == Op.ADD_WATCH:
            mode = RECURSIVE if call.mode else PERSISTENT
            self.data[call.path] = self.data.get(call.path, 0) | mode
            if mode == PERSISTENT:
                self.child[call.path] = self.child.get(call.path, 0) | mode
        elif op == Op.REMOVE_WATCHES:
            for table in (self.data, self.child):
                table.pop(call.path, None)
        elif op in (Op.EXISTS, Op.GET_DATA):
            self.data[call.path] = self.data.get(call.path, 0) | ONE_SHOT
        else:
            self.child[call.path] = self.child.get(call.path, 0) | ONE_SHOT

    def has(self, path: bytes) -> bool:
        """Whether anything watches exactly this path."""
        return path in self.data or path in self.child


def _take(table: dict[bytes, int], path: bytes) -> bool:
    """Whether a watch of the table fires; its one-shot bit is used up."""
    bits = table.get(path, 0)
    if bits & ONE_SHOT:
        if bits == ONE_SHOT:
            del table[path]
        else:
            table[path] = bits & ~ONE_SHOT
    return bits != 0
