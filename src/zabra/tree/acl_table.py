"""The interned ACL lists of a tree and their snapshot keys (``ReferenceCountedACLCache``).

Keys are private to one server and live only in its snapshots: -1 is the open ACL and never stored, others count up from
1. Nodes hold the list itself; the table keeps one object per distinct list and drops it with its last node.
"""

from __future__ import annotations

from zabra.tree.node import OPEN_ACL
from zabra.wire.records_data import Acl

OPEN_KEY = -1


class AclTable:
    """Distinct ACL lists, counted by use."""

    def __init__(self) -> None:
        #: list -> [the one shared object, its key, nodes that use it]
        self._entries: dict[Acl, tuple[Acl, int, list[int]]] = {}
        self._last_key = 0
        self._loading: dict[int, Acl] = {OPEN_KEY: OPEN_ACL}

    def acquire(self, acl: Acl) -> Acl:
        """Count one more node with this list; returns the shared object."""
        if acl is OPEN_ACL or acl == OPEN_ACL:
            return OPEN_ACL
        entry = self._entries.get(acl)
        if entry is None:
            self._last_key += 1
            entry = self._entries[acl] = (acl, self._last_key, [0])
        entry[2][0] += 1
        return entry[0]

    def release(self, acl: Acl) -> None:
        """Count one node less; the last one removes the entry."""
        if acl is OPEN_ACL:
            return
        uses = self._entries[acl][2]
        uses[0] -= 1
        if uses[0] <= 0:
            del self._entries[acl]

    def load(self, key: int, acl: Acl) -> None:
        """Take over an entry of a snapshot's table, unused so far."""
        if acl != OPEN_ACL:
            known = self._entries.setdefault(acl, (acl, key, [0]))
            acl = known[0]
        else:
            acl = OPEN_ACL
        self._loading[key] = acl
        self._last_key = max(self._last_key, key)

    def loaded(self, key: int) -> Acl | None:
        """The list that a loading snapshot names by ``key``; None when its table lacks it."""
        return self._loading.get(key)

    def finish_loading(self) -> None:
        """Drop entries that no node uses and forget the snapshot's keys."""
        for acl in [acl for acl, entry in self._entries.items() if entry[2][0] == 0]:
            del self._entries[acl]
        self._loading = {OPEN_KEY: OPEN_ACL}

    def keys(self) -> dict[Acl, int]:
        """The table as a snapshot writes it: list -> key, without the open ACL."""
        return {acl: entry[1] for acl, entry in self._entries.items()}

    def __len__(self) -> int:
        return len(self._entries)
