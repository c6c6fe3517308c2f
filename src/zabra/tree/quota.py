"""Quotas: how many znodes and bytes a subtree may hold, and the nodes that keep the count.

A quota on ``P`` lives in two nodes, both with text such as ``count=5,bytes=100`` or, with hard limits,
``count=5,bytes=100=;byteHardLimit=200;countHardLimit=9``; -1 or absence means no limit:

  /zookeeper/quota/P/zookeeper_limits   what P may hold; its existence makes the quota
  /zookeeper/quota/P/zookeeper_stats    what P holds, kept by every server by itself, without transactions

Only the deepest quota above a node counts that node, P itself included; computing afresh (when zookeeper_stats is
created, and at start) counts the whole subtree, inner quotas too. Source: ``StatsTrack``, ``Quotas``, ``PathTrie``, the
quota methods of ``DataTree`` and ``ZooKeeperServer.checkQuota`` (3.9.5).

Different on purpose: in Apache a client that writes other text into one of these nodes stops the server, for good. Here
such text is no quota: it limits nothing and is not counted in until someone writes a proper one. The same goes for
limits directly below /zookeeper/quota, which would be a quota on the root.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol

from zabra.errors import Code, RequestError
from zabra.paths import QUOTA, ROOT, name_of, parent_of, text_of
from zabra.zxid import to_signed64

_log = logging.getLogger(__name__)

LIMITS: Final = b"zookeeper_limits"
STATS: Final = b"zookeeper_stats"
_BELOW_QUOTA: Final = QUOTA + b"/"
#: Longer text is no quota; a proper one has some 150 characters.
_TEXT_SIZE_MAX: Final = 4096
_SEPARATORS: Final = re.compile(r"[,;]+")
_LONG: Final = re.compile(r"[+-]?\d+\Z").match
_LONG_LIMIT: Final = 1 << 63


class _Node(Protocol):
    data: bytes | None

    @property
    def children(self) -> Mapping[bytes, object] | None: ...


class QuotaTree(Protocol):
    """What quotas need of the tree."""

    @property
    def nodes(self) -> Mapping[bytes, _Node]:
        """Every node by its path."""

    def replace_data(self, path: bytes, data: bytes) -> None:
        """Put data into a node without a transaction."""


class StatsTrack:
    """The numbers in a limits or stats node; keys that nobody knows are kept."""

    __slots__ = ("values",)

    def __init__(self, values: dict[str, int] | None = None) -> None:
        self.values = values if values is not None else {}

    @property
    def count(self) -> int:
        """Nodes, or their soft limit; -1 when unset."""
        return self.values.get("count", -1)

    @property
    def size(self) -> int:
        """Bytes, or their soft limit; -1 when unset."""
        return self.values.get("bytes", -1)

    @property
    def count_hard(self) -> int:
        """Hard limit of nodes; -1 when unset."""
        return self.values.get("countHardLimit", -1)

    @property
    def size_hard(self) -> int:
        """Hard limit of bytes; -1 when unset."""
        return self.values.get("byteHardLimit", -1)

    def encode(self) -> bytes:
        """The text: count, bytes, then a spurious ``=`` that makes old readers stop, then the rest in order."""
        text = f"count={self.count},bytes={self.size}"
        rest = sorted(key for key in self.values if key not in {"count", "bytes"})
        if rest:
            text += "=" + "".join(f";{key}={self.values[key]}" for key in rest)
        return text.encode("utf-8")


def parse_stats(data: bytes | None) -> StatsTrack | None:
    """Read the data of a limits or stats node; None when it is no quota text. Empty text has no limits."""
    if data is None or len(data) > _TEXT_SIZE_MAX:
        return None
    values: dict[str, int] = {}
    for pair in _split(data.decode("utf-8", "replace")):
        parts = pair.rstrip("=").split("=")
        if len(parts) < 2:
            return None
        number = parts[1] or "-1"
        if not _LONG(number) or not -_LONG_LIMIT <= int(number) < _LONG_LIMIT:
            return None
        values[parts[0]] = int(number)
    return StatsTrack(values)


def _split(text: str) -> list[str]:
    """Pairs of a text; empty ones at the end do not count, as in Java."""
    pairs = _SEPARATORS.split(text)
    while pairs and not pairs[-1]:
        pairs.pop()
    return pairs


class Usage(NamedTuple):
    """Nodes of a subtree and the bytes of their data."""

    nodes: int
    size: int


class Quotas:
    """The quotas of one tree. The tree calls the ``on_`` methods after it changed; validation calls the checks.

    While :attr:`active` is False no hook but :meth:`on_create` below /zookeeper need be called.
    """

    __slots__ = ("_over", "active", "on_exceeded", "prefixes")

    def __init__(self) -> None:
        #: Paths that have a quota, in order of creation.
        self.prefixes: dict[bytes, None] = {}
        #: Whether there is any quota.
        self.active = False
        #: Told the first path component of each write that is refused.
        self.on_exceeded: Callable[[str], None] = lambda _: None
        #: (quota, "count" or "bytes") that is over its limit and was logged; a busy client would fill the log.
        self._over: dict[tuple[bytes, str], None] = {}

    # -- hooks of the tree

    def on_create(self, tree: QuotaTree, path: bytes, length: int) -> None:
        """A node with ``length`` bytes of data was added."""
        if path.startswith(_BELOW_QUOTA):
            parent, name = parent_of(path), name_of(path)
            if name == LIMITS and parent != QUOTA:
                self.prefixes[parent[len(QUOTA) :]] = None
                self.active = True
            elif name == STATS:
                self._count_afresh(tree, parent[len(QUOTA) :] or ROOT)
        if self.active:
            self._update(tree, path, length, 1)

    def on_delete(self, tree: QuotaTree, path: bytes, length: int) -> None:
        """A node with ``length`` bytes of data was removed."""
        if path.startswith(_BELOW_QUOTA) and name_of(path) == LIMITS:
            self._forget(parent_of(path)[len(QUOTA) :])
        self._update(tree, path, -length, -1)

    def on_set(self, tree: QuotaTree, path: bytes, difference: int) -> None:
        """Data grew by ``difference`` bytes."""
        self._update(tree, path, difference, 0)

    def rebuild(self, tree: QuotaTree) -> None:
        """Find the quotas of a tree that was loaded, and count each subtree afresh (``DataTree.setupQuota``)."""
        self.prefixes.clear()
        self._over.clear()
        for path in _leaves(tree, QUOTA):
            parent = parent_of(path)
            if name_of(path) == LIMITS and parent.startswith(_BELOW_QUOTA):
                prefix = parent[len(QUOTA) :]
                self.prefixes[prefix] = None
                self._count_afresh(tree, prefix)
        self.active = bool(self.prefixes)

    def _forget(self, prefix: bytes) -> None:
        self.prefixes.pop(prefix, None)
        self.active = bool(self.prefixes)
        for kind in ("count", "bytes"):
            self._over.pop((prefix, kind), None)

    def _update(self, tree: QuotaTree, path: bytes, bytes_diff: int, count_diff: int) -> None:
        prefix = self.prefix_of(path)
        if prefix is None:
            return
        stats_path = stats_path_of(prefix)
        node = tree.nodes.get(stats_path)
        stats = parse_stats(node.data) if node is not None else None
        if stats is None:
            return
        stats.values["count"] = to_signed64(stats.count + count_diff)
        stats.values["bytes"] = to_signed64(stats.size + bytes_diff)
        tree.replace_data(stats_path, stats.encode())

    def _count_afresh(self, tree: QuotaTree, prefix: bytes) -> None:
        stats_path = stats_path_of(prefix)
        if stats_path in tree.nodes:
            usage = usage_of(tree, prefix)
            tree.replace_data(stats_path, StatsTrack({"count": usage.nodes, "bytes": usage.size}).encode())

    # -- validation

    def prefix_of(self, path: bytes) -> bytes | None:
        """The deepest path with a quota at or above ``path``."""
        prefixes = self.prefixes
        while path and path != ROOT:
            if path in prefixes:
                return path
            path = path[: path.rfind(b"/")]
        return None

    def check_create(self, tree: QuotaTree, path: bytes, data: bytes | None) -> None:
        """Whether a create may add ``data`` at ``path``; raises ``RequestError(QUOTA_EXCEEDED)``.

        Call it only while quotas are enforced. Limits and use are the applied ones, whatever writes are pending.
        """
        if self.active:
            self._check(tree, path, len(data or b""), 1)

    def check_set(self, tree: QuotaTree, path: bytes, old: bytes | None, new: bytes | None) -> None:
        """Whether a setData may replace ``old`` by ``new``; as :meth:`check_create`.

        ``old`` is what earlier, still pending writes leave, also those of the same multi (ZOOKEEPER-4219). Shrinking is
        refused too while it leaves too much, as in Apache.
        """
        if self.active:
            self._check(tree, path, len(new or b"") - len(old or b""), 0)

    def _check(self, tree: QuotaTree, path: bytes, bytes_diff: int, count_diff: int) -> None:
        prefix = self.prefix_of(path)
        if prefix is None:
            return
        limits_node = tree.nodes.get(QUOTA + prefix + b"/" + LIMITS)
        stats_node = tree.nodes.get(stats_path_of(prefix))
        if limits_node is None or stats_node is None:
            return
        limits, stats = parse_stats(limits_node.data), parse_stats(stats_node.data)
        if limits is None or stats is None:
            return
        if count_diff:
            self._check_one(path, prefix, "count", stats.count + count_diff, limits.count, limits.count_hard)
        if bytes_diff:
            self._check_one(path, prefix, "bytes", stats.size + bytes_diff, limits.size, limits.size_hard)

    def _check_one(self, path: bytes, prefix: bytes, kind: str, wanted: int, soft: int, hard: int) -> None:
        """A hard limit, where there is one, stands instead of the soft one."""
        limit = hard if hard > -1 else soft
        if limit < 0 or wanted <= limit:
            self._over.pop((prefix, kind), None)
            return
        name = "hard" if hard > -1 else "soft"
        if (prefix, kind) not in self._over:
            self._over[prefix, kind] = None
            _log.warning("quota exceeded: %s would have %s=%d, %s limit %d", text_of(prefix), kind, wanted, name, limit)
        if hard > -1:
            self.on_exceeded(text_of(path.split(b"/", 2)[1]))
            raise RequestError(Code.QUOTA_EXCEEDED, text_of(prefix))


def stats_path_of(prefix: bytes) -> bytes:
    """Where the use of ``prefix`` is kept."""
    return QUOTA + (prefix if prefix != ROOT else b"") + b"/" + STATS


def usage_of(tree: QuotaTree, path: bytes) -> Usage:
    """Nodes and bytes of data of a subtree, its root included; (0, 0) when there is none."""
    count = size = 0
    nodes = tree.nodes
    stack = [path] if path in nodes else []
    while stack:
        at = stack.pop()
        node = nodes[at]
        count += 1
        size += len(node.data or b"")
        if node.children:
            base = at if at != ROOT else b""
            stack += [base + b"/" + name for name in node.children]
    return Usage(count, size)


def namespace_gauges(tree: QuotaTree, quotas: Quotas) -> dict[str, dict[str, int | None]]:
    """Limits and use by first path component, for the ``quota_*_per_namespace`` gauges (``QuotaMetricsUtils``).

    A hard limit counts before a soft one; several quotas below one component add up.
    """
    gauges: dict[str, dict[str, int | None]] = {
        f"quota_{kind}_per_namespace": {} for kind in ("count_limit", "bytes_limit", "count_usage", "bytes_usage")
    }
    for prefix in quotas.prefixes:
        namespace = text_of(prefix.split(b"/", 2)[1])
        for name, kind in ((LIMITS, "limit"), (STATS, "usage")):
            node = tree.nodes.get(QUOTA + prefix + b"/" + name)
            stats = parse_stats(node.data) if node is not None and node.data is not None else None
            if stats is None:
                continue
            limits = kind == "limit"
            count = stats.count_hard if limits and stats.count_hard > -1 else stats.count
            size = stats.size_hard if limits and stats.size_hard > -1 else stats.size
            for what, value in (("count", count), ("bytes", size)):
                gauge = gauges[f"quota_{what}_{kind}_per_namespace"]
                gauge[namespace] = (gauge.get(namespace) or 0) + value
    return gauges


def _leaves(tree: QuotaTree, path: bytes) -> list[bytes]:
    """Nodes without children below ``path``, which may be missing, in order of creation within a parent."""
    leaves: list[bytes] = []
    nodes = tree.nodes
    stack = [path] if path in nodes else []
    while stack:
        at = stack.pop()
        children = nodes[at].children
        if children:
            stack += [at + b"/" + name for name in reversed(list(children))]
        else:
            leaves.append(at)
    return leaves
