"""A tree as snapshot bytes, taken piece by piece while writes go on.

Apache's snapshots are fuzzy: nodes are written as they are when the walk reaches them, so a replay has to repair what
changed meanwhile (ZOOKEEPER-3144, 3145, 3306, 3642 and their kin). This dump is point in time: it shows the tree
exactly as it was when the dump was made, at one zxid and one digest.

How: every install calls :meth:`Dumps.before_change` with the node it is about to replace or remove. A dump that has not
written that node yet keeps the reference, which costs nothing since installed nodes never change. New nodes carry the
mark of everything that runs, so no walk takes them for its own. Where a walk meets a path with a kept node it writes
that one; kept nodes that are gone from the tree come last.

Several run at a time, each with a moment of its own, and with a bit in the marks of nodes: it knows the node::

    mark = base + bits        base: a multiple of 2^256, higher for each time that dumps begin when none runs

A mark below the base is of an earlier time and says nothing. A bit is given once in such a time, so that what a dump
has left behind when it ended means nothing to a later one. At most 256 begin before all have to end: enough for a busy
server's own snapshots while a slow learner takes one.

Memory: for each dump one reference for each node changed while it runs, and the nodes that it alone refers to.
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
#: Marks between one base and the next.
_MARKS: Final = 1 << 256
_pack_int = _INT.pack
_OPEN: Final = _LONG.pack(OPEN_KEY)


class Dumps:
    """The dumps that run, as the tree sees them."""

    def __init__(self, base: int) -> None:
        self.base = base
        #: The mark of what all of them know.
        self.mark = base
        self._running: list[Dump] = []
        #: Marks by their value, so that nodes share them.
        self._marks: dict[int, int] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more can begin."""
        return self.mark + 1 < self.base + _MARKS

    def begin(self, dump: Dump) -> int:
        """One more; its bit."""
        bit = self.mark + 1 - self.base
        self.mark += bit
        self._running.append(dump)
        return bit

    def end(self, dump: Dump) -> bool:
        """One less; whether none is left."""
        if dump in self._running:
            self._running.remove(dump)
        return not self._running

    def before_change(self, path: bytes, node: Node) -> None:
        """Have those keep ``node`` that have not written it yet."""
        mark = node.mark
        if mark != self.mark:
            node.mark = self.mark
            for dump in self._running:
                if mark < self.base or not mark & dump.bit:
                    dump.keep(path, node)

    def knows_too(self, mark: int, bit: int) -> int:
        """The mark of a node that had another, and that the dump of this bit knows as well."""
        mark |= bit
        return self._marks.setdefault(mark, mark)


def can_begin(tree: DataTree) -> bool:
    """Whether a dump of the tree can begin now."""
    return tree.dump is None or tree.dump.has_room


class Dump:
    """One running dump; :meth:`close` or the last chunk detaches it from the tree."""

    def __init__(self, tree: DataTree, sessions: dict[int, int]) -> None:
        """``sessions`` maps session id to timeout in ms, as of now. Only while :func:`can_begin`."""
        assert can_begin(tree), "too many dumps at a time"
        self._tree = tree
        if tree.dump is None:
            tree.dump = Dumps((tree.dump_number // _MARKS + 1) * _MARKS)
        self._dumps = tree.dump
        #: Set in the marks of nodes that this dump knows.
        self.bit = self._dumps.begin(self)
        tree.dump_number = self._dumps.mark
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

    def keep(self, path: bytes, node: Node) -> None:
        """This node is to be replaced or removed, and not written yet."""
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
        if self._dumps.end(self) and self._tree.dump is self._dumps:
            self._tree.dump = None
        self._walk = None
        self._kept = {}

    def _walk_nodes(self) -> Generator[bytes, int, None]:
        """Every node of the moment the dump was made, each once, parents before children.

        Takes a number of nodes, gives their bytes. One flat loop, since a million nodes pass through it.
        """
        nodes = self._tree.nodes
        kept = self._kept
        bit, lowest = self.bit, self._dumps.base
        own = lowest + bit
        knows_too = self._dumps.knows_too
        parts: list[bytes] = []
        left = yield b""
        root = nodes[b"/"]
        if root.mark >= lowest and root.mark & bit:
            root = kept.pop(b"/")
        else:
            root.mark = own if root.mark < lowest else knows_too(root.mark, bit)
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
                mark = node.mark
                if mark < lowest:
                    node.mark = own
                elif mark & bit:
                    if path not in kept:
                        continue
                    node = kept.pop(path)
                else:
                    node.mark = knows_too(mark, bit)
                if node.children or node.cversion or node.owner or node.data is None or node.acl is not OPEN_ACL:
                    self._encode(parts, path, node)
                else:
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
