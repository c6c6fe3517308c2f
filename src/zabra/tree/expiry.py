"""Which containers and TTL nodes have served their time.

A container that had children and has none left goes; one that never had any goes only after
``container_max_never_used_interval_ms``, if that is set. A TTL node without children goes when its ttl has passed since
its last setData. These are candidates: the pipeline checks each again before it deletes. Source: ``ContainerManager``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

_MINUTE_MS: Final = 60_000


class _Node(Protocol):
    owner: int
    cversion: int

    @property
    def children(self) -> Mapping[bytes, object] | None: ...

    @property
    def mtime(self) -> int: ...


class ExpiryTree(Protocol):
    """What the sweep needs of the tree."""

    @property
    def nodes(self) -> Mapping[bytes, _Node]:
        """Every node by its path."""

    @property
    def containers(self) -> Iterable[bytes]:
        """Paths of container nodes."""

    @property
    def ttls(self) -> Iterable[bytes]:
        """Paths of TTL nodes."""


def is_expired_container(node: _Node, wall_ms: int, max_never_used_ms: int) -> bool:
    """Whether a container may go; ``max_never_used_ms`` 0 keeps those that never had a child."""
    if node.children:
        return False
    if node.cversion > 0:
        return True
    return max_never_used_ms != 0 and wall_ms - node.mtime > max_never_used_ms


def is_expired_ttl(node: _Node, wall_ms: int, ttl_ms: int) -> bool:
    """Whether a TTL node may go; a ttl of 0 never passes."""
    return not node.children and ttl_ms != 0 and wall_ms - node.mtime > ttl_ms


def candidates(tree: ExpiryTree, wall_ms: int, max_never_used_ms: int, ttl_ms_of: Callable[[int], int]) -> list[bytes]:
    """Paths to ask a deletion for, containers first, each in order of creation.

    ``wall_ms`` is wall-clock time, as mtime is; ``ttl_ms_of`` reads the ttl out of a stored owner.
    """
    nodes = tree.nodes
    due = [path for path in tree.containers if is_expired_container(nodes[path], wall_ms, max_never_used_ms)]
    for path in tree.ttls:
        node = nodes[path]
        if is_expired_ttl(node, wall_ms, ttl_ms_of(node.owner)):
            due.append(path)
    return due


def min_interval_ms(max_per_minute: int) -> int:
    """Wait at least so long between two deletions of a sweep."""
    return _MINUTE_MS // max_per_minute if max_per_minute > 0 else 0
