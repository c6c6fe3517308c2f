"""Which containers and TTL nodes are due."""

from __future__ import annotations

import pytest

from zabra.tree.expiry import candidates, is_due, min_interval_ms


class Node:
    """What the sweep looks at."""

    def __init__(
        self, *, owner: int = 0, cversion: int = 0, mtime: int = 0, children: dict[bytes, None] | None = None
    ) -> None:
        self.owner = owner
        self.cversion = cversion
        self.mtime = mtime
        self.children = children


class Tree:
    """Containers and TTL nodes by path."""

    def __init__(self, containers: dict[bytes, Node], ttls: dict[bytes, Node]) -> None:
        self.containers = containers
        self.ttls = ttls
        self.nodes = {**containers, **ttls}


def due(tree: Tree, wall_ms: int = 1000, max_never_used_ms: int = 0) -> list[bytes]:
    return candidates(tree, wall_ms, max_never_used_ms, lambda owner: owner)


def test_used_and_empty_containers_go() -> None:
    """A container goes once it had children and has none, not before it had any, not while it has some."""
    tree = Tree(
        {
            b"/used": Node(cversion=3),
            b"/emptied": Node(cversion=1, children={}),
            b"/fresh": Node(cversion=0),
            b"/full": Node(cversion=3, children={b"x": None}),
        },
        {},
    )
    assert due(tree) == [b"/used", b"/emptied"]


def test_containers_never_used() -> None:
    """With a limit set, a container that never had a child goes when it is older than that."""
    tree = Tree({b"/old": Node(mtime=100), b"/edge": Node(mtime=500), b"/kids": Node(children={b"x": None})}, {})
    assert due(tree, 1000, 500) == [b"/old"]
    assert due(tree, 1000, 0) == []


def test_ttl_nodes() -> None:
    """A TTL node goes when more than its ttl has passed since it was set and it has no children."""
    tree = Tree(
        {},
        {
            b"/over": Node(owner=499, mtime=500),
            b"/edge": Node(owner=500, mtime=500),
            b"/zero": Node(owner=0),
            b"/kids": Node(owner=1, children={b"x": None}),
        },
    )
    assert due(tree) == [b"/over"]


def test_wall_clock_may_jump_back() -> None:
    """Nodes from the future are not due."""
    tree = Tree({b"/c": Node(mtime=5000)}, {b"/t": Node(owner=1, mtime=5000)})
    assert due(tree, 1000, 10) == []


@pytest.mark.parametrize(("per_minute", "interval"), [(10000, 6), (1, 60000), (100000, 0), (0, 0)])
def test_rate(per_minute: int, interval: int) -> None:
    """Deletions are spread evenly over the minute."""
    assert min_interval_ms(per_minute) == interval


def test_a_candidate_is_looked_at_again_at_its_turn() -> None:
    """Used again, gone, or another node by now: it stays."""
    tree = Tree({b"/c": Node(cversion=1)}, {b"/t": Node(owner=10)})

    def still(path: bytes) -> bool:
        return is_due(tree, path, 1000, 0, lambda owner: owner)

    assert due(tree) == [b"/c", b"/t"]
    tree.nodes[b"/c"].children = {b"x": None}
    tree.nodes[b"/t"].mtime = 995
    tree.nodes[b"/plain"] = Node(cversion=1)
    assert not any(still(path) for path in (b"/c", b"/t", b"/plain", b"/gone"))
