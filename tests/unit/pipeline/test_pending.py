"""The tree as it will be."""

from __future__ import annotations

from rig import OPEN

from zabra.pipeline.pending import Pending
from zabra.tree.node import Node, new_node
from zabra.tree.tree import DataTree


def node(name: bytes, owner: int = 0) -> Node:
    return new_node(name, b"", OPEN, owner, owner, 1, 1)


def test_pending_hides_the_tree_and_gives_way_to_it() -> None:
    tree = DataTree()
    pending = Pending(tree)
    assert pending.get(b"/") is tree.nodes[b"/"]
    assert pending.get(b"/a") is None
    new = node(b"/a")
    pending.put(5, b"/a", new, new.digest)
    assert pending.get(b"/a") is new
    assert pending.digest == tree.digest + new.digest & (1 << 64) - 1
    pending.put(6, b"/", None, -1)
    assert pending.get(b"/") is None
    pending.committed(5, b"/a")
    pending.committed(5, b"/")
    pending.committed(5, b"/none")
    assert list(pending.changes) == [b"/"]


def test_rollback_restores_what_was_there() -> None:
    pending = Pending(DataTree())
    first, second = node(b"/a"), node(b"/a")
    pending.put(5, b"/a", first, 10)
    before = pending.begin()
    pending.put(6, b"/a", second, 20)
    pending.put(6, b"/b", second, 30)
    pending.put(6, b"/a", None, 40)
    pending.rollback(before)
    assert pending.changes == {b"/a": (5, first)}
    assert pending.digest == before
    assert pending.journal is None


def test_keep_leaves_the_changes() -> None:
    pending = Pending(DataTree())
    pending.begin()
    new = node(b"/a")
    pending.put(6, b"/a", new, 20)
    pending.keep()
    assert pending.changes == {b"/a": (6, new)}
    assert pending.journal is None


def test_reset() -> None:
    tree = DataTree()
    pending = Pending(tree)
    pending.begin()
    pending.put(6, b"/a", node(b"/a"), 20)
    pending.reset()
    assert not pending.changes
    assert pending.journal is None
    assert pending.digest == tree.digest


def test_ephemerals_as_they_will_be() -> None:
    """Pending creates and deletes count; a node that changed hands belongs to its new owner only."""
    tree = DataTree()
    tree.ephemerals[7] = {b"/a": None, b"/b": None, b"/c": None}
    pending = Pending(tree)
    pending.put(5, b"/b", None, 0)
    pending.put(5, b"/c", node(b"/c", 8), 0)
    pending.put(6, b"/d", node(b"/d", 7), 0)
    assert pending.ephemerals(7) == [b"/a", b"/d"]
    assert pending.ephemerals(8) == [b"/c"]
    assert pending.ephemerals(9) == []
