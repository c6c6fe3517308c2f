"""A tree filled from a snapshot."""

from __future__ import annotations

import pytest

from zabra.tree.node import OPEN_ACL, PERSISTED
from zabra.tree.tree import DataTree

STAT = PERSISTED.pack(1, 2, 3, 4, 5, 6, 7, 0, 9)


@pytest.fixture
def tree() -> DataTree:
    tree = DataTree()
    tree.clear()
    tree.load_acl(1, ((31, "ip", "10.0.0.1"),))
    tree.load_node(b"", b"root", -1, STAT)
    return tree


def test_a_node_whose_acl_is_missing_is_refused(tree: DataTree) -> None:
    """ZOOKEEPER-4846: such a database does not load there; here the next older snapshot is taken."""
    with pytest.raises(ValueError, match="names ACL 7"):
        tree.load_node(b"/a", b"", 7, STAT)


def test_a_node_whose_parent_is_missing_is_refused(tree: DataTree) -> None:
    with pytest.raises(ValueError, match="no parent"):
        tree.load_node(b"/a/b", b"", -1, STAT)


def test_children_and_what_clients_see_follow_from_the_nodes(tree: DataTree) -> None:
    """Neither is in a snapshot."""
    tree.load_node(b"/a", b"1", 1, STAT)
    tree.load_node(b"/b", None, -1, STAT)
    tree.loaded()
    root = tree.nodes[b"/"]
    assert list(root.children or ()) == [b"a", b"b"]
    assert (root.child_count, int.from_bytes(root.stat[36:40], "big")) == (2, 2 * 6 - 2)
    assert tree.nodes[b"/b"].acl is OPEN_ACL
    assert tree.acls.keys() == {((31, "ip", "10.0.0.1"),): 1}
    assert tree.data_size == len(b"/root/a1/b")
    assert tree.digest == sum(node.digest for node in tree.nodes.values())
