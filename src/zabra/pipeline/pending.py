"""The tree as it will be once everything proposed so far commits.

Requests are validated against this view (``PrepRequestProcessor.outstandingChanges``). Each entry is the planned node,
or None for a removed one, with the zxid of the proposal that made it; commit drops the entries of its own zxid, so a
newer pending change of the same path stays.
"""

from __future__ import annotations

from zabra.pipeline.request import Plain
from zabra.tree.node import Node
from zabra.tree.tree import DataTree


class Pending:
    """Planned nodes by path, over a tree."""

    __slots__ = ("changes", "digest", "journal", "nodes", "tree")

    def __init__(self, tree: DataTree) -> None:
        self.tree = tree
        self.nodes = tree.nodes
        #: path -> (zxid, node as planned or None)
        self.changes: dict[bytes, tuple[int, Node | None] | Plain] = {}
        #: Tree digest after the last proposal.
        self.digest = tree.digest
        #: While a multi is validated: what its changes replaced, for a rollback.
        self.journal: list[tuple[bytes, tuple[int, Node | None] | Plain | None]] | None = None

    def get(self, path: bytes) -> Node | None:
        """The node at ``path`` as it will be."""
        change = self.changes.get(path)
        if change is not None:
            return change[1]
        return self.nodes.get(path)

    def settled(self, path: bytes) -> Node | None:
        """The node at ``path`` as clients see it; None also while a change of it is on its way."""
        return None if path in self.changes else self.nodes.get(path)

    def put(self, zxid: int, path: bytes, node: Node | None, difference: int) -> None:
        """Record a planned change; ``difference`` is what it adds to the tree digest."""
        if self.journal is not None:
            self.journal.append((path, self.changes.get(path)))
        self.changes[path] = (zxid, node)
        self.digest = self.digest + difference & 0xFFFFFFFFFFFFFFFF

    def begin(self) -> int:
        """Start recording for a rollback; returns what :meth:`rollback` needs."""
        self.journal = []
        return self.digest

    def rollback(self, digest: int) -> None:
        """Undo every change since :meth:`begin`."""
        journal = self.journal
        assert journal is not None
        for path, before in reversed(journal):
            if before is None:
                del self.changes[path]
            else:
                self.changes[path] = before
        self.journal = None
        self.digest = digest

    def keep(self) -> None:
        """End recording; the changes stay."""
        self.journal = None

    def committed(self, zxid: int, path: bytes) -> None:
        """Forget the change of ``path`` by proposal ``zxid``; a newer one stays."""
        change = self.changes.get(path)
        if change is not None and change[0] == zxid:
            del self.changes[path]

    def reset(self) -> None:
        """Nothing is pending: the view is the tree again."""
        self.nodes = self.tree.nodes
        self.changes.clear()
        self.journal = None
        self.digest = self.tree.digest

    def ephemerals(self, session_id: int) -> list[bytes]:
        """Paths of the session's ephemerals as they will be, in order of creation."""
        own = dict.fromkeys(self.tree.ephemerals.get(session_id, ()))
        for path, change in self.changes.items():
            node = change[1]
            if node is None:
                own.pop(path, None)
            elif node.owner == session_id:
                own[path] = None
            else:
                own.pop(path, None)
        return list(own)
