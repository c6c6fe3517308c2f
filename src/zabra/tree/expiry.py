"""Which containers and TTL nodes have served their time.

A container that had children and has none left goes; one that never had any goes only after
``container_max_never_used_interval_ms``, if that is set. A TTL node without children goes when its ttl has passed since
its last setData. Source: ``ContainerManager`` (3.9.5).

Deletions are spread over time, so by its turn a candidate can be in use again, or another node. Apache deletes it all
the same, even an ordinary node that took its place; so ask :func:`is_due` again at its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    def containers(self) -> Mapping[bytes, object]:
        """Paths of container nodes, in order of creation."""

    @property
    def ttls(self) -> Mapping[bytes, object]:
        """Paths of TTL nodes, in order of creation."""


#: Reads the ttl in ms out of a stored owner.
TtlOf = Callable[[int], int]


def is_due(tree: ExpiryTree, path: bytes, wall_ms: int, max_never_used_ms: int, ttl_ms_of: TtlOf) -> bool:
    """Whether ``path`` is a container or TTL node that may go now.

    ``wall_ms`` is wall-clock time, as mtime is; ``max_never_used_ms`` 0 keeps containers that never had a child.
    """
    node = tree.nodes.get(path)
    if node is None or node.children:
        return False
    idle_ms = wall_ms - node.mtime
    if path in tree.containers:
        return node.cversion > 0 or 0 < max_never_used_ms < idle_ms
    return path in tree.ttls and 0 < ttl_ms_of(node.owner) < idle_ms


def candidates(tree: ExpiryTree, wall_ms: int, max_never_used_ms: int, ttl_ms_of: TtlOf) -> list[bytes]:
    """Every path that is due, containers first, each in order of creation."""
    return [
        path for path in (*tree.containers, *tree.ttls) if is_due(tree, path, wall_ms, max_never_used_ms, ttl_ms_of)
    ]


def min_interval_ms(max_per_minute: int) -> int:
    """Wait at least so long between two deletions of a sweep."""
    return _MINUTE_MS // max_per_minute if max_per_minute > 0 else 0
