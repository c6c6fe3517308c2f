"""A tree as snapshot bytes, taken piece by piece while writes go on.

Apache's snapshots are fuzzy: nodes are written as they are when the walk reaches them, so a replay has to repair what
changed meanwhile (ZOOKEEPER-3144, 3145, 3306, 3642 and their kin). This dump is point in time: it shows the tree
exactly as it was when the dump was made, at one zxid and one digest.

How: every install calls :meth:`Dump.before_change` with the node it is about to replace or remove. If the dump has not
written that node yet it keeps the reference, which costs nothing since installed nodes never change. New nodes carry
the dump's number as their mark, so the walk passes them by. Where the walk meets a path with a kept node it writes that
one; kept nodes that are gone from the tree come last.

Memory: one reference for each node changed while the dump runs.
"""

from __future__ import annotations

from collections.abc import Generator
from struct import Struct
from typing import TYPE_CHECKING, Final

from zabra.tree.acl_table import OPEN_KEY
from zabra.tree.node import OPEN_ACL, Node
from zabra.wire.records_data import encode_acl

if TYPE_CHECKING:
    from zabra.tree.tree import DataTree

_INT: Final = Struct(">i")
_SESSION: Final = Struct(">qi")
_LONG: Final = Struct(">q")
_pack_int = _INT.pack
_OPEN: Final = _LONG.pack(OPEN_KEY)


class Dump:
    """One running dump. At most one at a time; :meth:`close` or the last chunk detaches it from the tree."""

    def __init__(self, tree: DataTree, sessions: dict[int, int]) -> None:
        """``sessions`` maps session id to timeout in ms, as of now."""
        assert tree.dump is None, "one dump at a time"
        self._tree = tree
        tree.dump_number += 1
        self._number = tree.dump_number
        tree.dump = self
        #: State the dump shows.
        self.zxid = tree.last_zxid
        self.digest = tree.digest
        self.node_count = tree.node_count
        self._acl_keys = tree.acls.keys()
        self._kept: dict[bytes, Node] = {}
        self._head: bytes | None = self._encode_head(sessions)
        self._walk: Generator[bytes, int, None] | None = self._walk_nodes()

    def _encode_head(self, sessions: dict[int, int]) -> bytes:
        parts = [_INT.pack(len(sessions))]
        parts += [_SESSION.pack(id_, timeout) for id_, timeout in sessions.items()]
        parts.append(_INT.pack(len(self._acl_keys)))
        for acl, key in self._acl_keys.items():
            parts += (_LONG.pack(key), encode_acl(acl))
        return b"".join(parts)

    def before_change(self, path: bytes, node: Node) -> None:
        """Keep ``node`` if the walk has not written it yet."""
        if node.mark != self._number:
            node.mark = self._number
            self._kept[path] = node

    def next_chunk(self, max_nodes: int) -> bytes:
        """The next bytes, of at most ``max_nodes`` nodes; empty once everything was given."""
        walk = self._walk
        if walk is None:
            return b""
        head = b""
        if self._head is not None:
            head, self._head = self._head, None
            next(walk)
        return head + walk.send(max_nodes)

    def close(self) -> None:
        """Detach from the tree; the rest is not written."""
        if self._tree.dump is self:
            self._tree.dump = None
        self._walk = None
        self._kept = {}

    def _walk_nodes(self) -> Generator[bytes, int, None]:
        """Every node of the moment the dump was made, each once, parents before children.

        Takes a number of nodes, gives their bytes. One flat loop, since a million nodes pass through it.
        """
        nodes = self._tree.nodes
        kept = self._kept
        number = self._number
        parts: list[bytes] = []
        left = yield b""
        root = nodes[b"/"]
        if root.mark == number:
            root = kept.pop(b"/")
        root.mark = number
        self._encode(parts, b"", root)
        stack = [b"/"]
        while stack:
            base = stack.pop()
            directory = nodes.get(base)
            if directory is None or not directory.children:
                continue  # what it held when the dump began was removed since, and kept
            prefix = base if base == b"/" else base + b"/"
            for name in list(directory.children):
                path = prefix + name
                node = nodes.get(path)
                if node is None:
                    continue
                if node.children:
                    stack.append(path)
                if node.mark == number:
                    if path not in kept:
                        continue
                    self._encode(parts, path, kept.pop(path))
                elif node.children or node.cversion or node.owner or node.data is None or node.acl is not OPEN_ACL:
                    node.mark = number
                    self._encode(parts, path, node)
                else:
                    node.mark = number
                    data = node.data
                    stat = node.stat
                    # Nothing shown differs from what is stored: the fields stand as they do in the client's stat.
                    parts += (_pack_int(len(path)), path, _pack_int(len(data)), data, _OPEN, stat[:52], stat[60:])
                left -= 1
                if left <= 0:
                    left = yield b"".join(parts)
                    parts.clear()
        # Only removed nodes are left. A parent's path is a prefix of its children's, so it sorts before them.
        for path in sorted(kept):
            self._encode(parts, path, kept.pop(path))
            left -= 1
            if left <= 0:
                left = yield b"".join(parts)
                parts.clear()
        parts.append(b"\x00\x00\x00\x01/")
        self.close()
        yield b"".join(parts)

    def _encode(self, parts: list[bytes], path: bytes, node: Node) -> None:
        data = node.data
        key = _LONG.pack(self._acl_keys.get(node.acl, OPEN_KEY))
        parts += (_pack_int(len(path)), path)
        parts += (b"\xff\xff\xff\xff",) if data is None else (_pack_int(len(data)), data)
        parts += (key, node.persisted())
