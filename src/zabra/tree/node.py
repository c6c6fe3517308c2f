"""[hot] One znode, and the arithmetic of its stat and digest.

A node keeps the 68 bytes of its client ``Stat`` packed: a read only joins bytes, a write repacks them once, and a
million nodes need half the memory that ten boxed integers would take. Installed nodes are replaced by a write, never
changed in place; that makes a pending write, a rollback and a point-in-time dump the same thing: a reference.

Layouts (big-endian):
  client stat   czxid mzxid ctime mtime : 4 long, version cversion aversion : 3 int, ephemeralOwner : long,
                dataLength numChildren : 2 int, pzxid : long                                   = 68 bytes
  persisted     czxid mzxid ctime mtime : 4 long, version cversion aversion : 3 int,
                ephemeralOwner pzxid : 2 long                                                  = 60 bytes
  digest input  czxid mzxid pzxid ctime mtime : 5 long, version cversion aversion : 3 int,
                ephemeralOwner : long                                                          = 60 bytes
The stored cversion counts creates; clients see ``2 * cversion - numChildren`` (``DataNode.copyStat``). The stored
ephemeralOwner of containers and TTL nodes is a marker that clients see as 0.
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

from zabra.wire.records_data import Acl

STAT: Final = Struct(">qqqqiiiqiiq")
PERSISTED: Final = Struct(">qqqqiiiqq")
DIGEST_INPUT: Final = Struct(">qqqqqiiiq")
#: Of a new node without a ttl, stat and digest input without what is zero: czxid, mzxid, ctime, mtime, owner,
#: dataLength, pzxid; czxid, mzxid, pzxid, ctime, mtime, owner.
NEW_STAT: Final = Struct(">qqqq12xqi4xq")
NEW_DIGEST_INPUT: Final = Struct(">qqqqq12xq")
#: A parent's stat around what another child changes: czxid and mzxid; ctime, mtime and version; cversion; aversion and
#: owner; dataLength; numChildren; pzxid. To read it without cversion and pzxid; and the digest input behind czxid and
#: mzxid, if the owner is shown as it is stored.
PARENT: Final = Struct(">16s20si12s4siq")
PARENT_KEPT: Final = Struct(">16s20s4x12s4si8x")
PARENT_DIGEST_INPUT: Final = Struct(">q20si12s")
#: Children ever created below one node, from which on the arithmetic of the counters has to think of wrapping.
CVERSION_MAX: Final = 0x3FFFFFFF

OPEN_ACL: Final[Acl] = ((31, "world", "anyone"),)
READ_ACL: Final[Acl] = ((1, "world", "anyone"),)
#: Version of the digest algorithm (``DigestCalculator.DIGEST_VERSION``).
DIGEST_VERSION: Final = 2

_pack_stat = STAT.pack
_unpack_stat = STAT.unpack
_pack_digest = DIGEST_INPUT.pack
_pack_persisted = PERSISTED.pack


class Node:
    """A znode as installed in the tree, or as it will be once a pending write commits."""

    # No __init__: calling one costs 150 ns more than setting the attributes where the node is made.
    __slots__ = ("acl", "children", "cversion", "data", "digest", "mark", "owner", "stat")

    data: bytes | None
    #: The client ``Stat``, 68 bytes.
    stat: bytes
    #: Of an installed node, interned by the tree's ACL table: open ones share one tuple and ``is OPEN_ACL`` is the
    #: fast check. A planned node may hold an equal list that is not; installing makes up for it.
    acl: Acl
    #: Stored ephemeralOwner: 0, a session id, or a container or TTL marker.
    owner: int
    #: Stored cversion: creates below this node, ever.
    cversion: int
    #: Digest of path, data and stat; 0 for everything below /zookeeper.
    digest: int
    #: Names of the children; belongs to the installed node and moves to its successor.
    children: dict[bytes, None] | None
    #: Which dumps know this node, see :mod:`zabra.tree.dump`.
    mark: int

    @property
    def czxid(self) -> int:
        """Zxid of the creation."""
        return int.from_bytes(self.stat[0:8], "big", signed=True)

    @property
    def mzxid(self) -> int:
        """Zxid of the last setData."""
        return int.from_bytes(self.stat[8:16], "big", signed=True)

    @property
    def mtime(self) -> int:
        """Wall clock of the last setData in ms."""
        return int.from_bytes(self.stat[24:32], "big", signed=True)

    @property
    def version(self) -> int:
        """Data version."""
        return int.from_bytes(self.stat[32:36], "big", signed=True)

    @property
    def aversion(self) -> int:
        """ACL version."""
        return int.from_bytes(self.stat[40:44], "big", signed=True)

    @property
    def child_count(self) -> int:
        """Number of children; of a pending node, as it will be."""
        return int.from_bytes(self.stat[56:60], "big")

    @property
    def pzxid(self) -> int:
        """Zxid of the last create or delete of a direct child."""
        return int.from_bytes(self.stat[60:68], "big", signed=True)

    def persisted(self) -> bytes:
        """The 60 bytes of ``StatPersisted`` as snapshots hold them."""
        czxid, mzxid, ctime, mtime, version, _, aversion, _, _, _, pzxid = _unpack_stat(self.stat)
        return _pack_persisted(czxid, mzxid, ctime, mtime, version, self.cversion, aversion, self.owner, pzxid)


def make_node(data: bytes | None, stat: bytes, acl: Acl, owner: int, cversion: int, digest: int) -> Node:
    """A node without children that no dump knows."""
    node = Node()
    node.data = data
    node.stat = stat
    node.acl = acl
    node.owner = owner
    node.cversion = cversion
    node.digest = digest
    node.children = None
    node.mark = 0
    return node


def wrap32(value: int) -> int:
    """``value`` as a Java ``int``: versions and counters wrap around."""
    return (value + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def digest_of(path: bytes, node: Node) -> int:
    """A node's digest (``DigestCalculator``): CRC-32 of path, data and stat; the root's path is empty."""
    if path.startswith(b"/zookeeper/"):
        return 0
    czxid, mzxid, ctime, mtime, version, _, aversion, _, _, _, pzxid = _unpack_stat(node.stat)
    tail = _pack_digest(czxid, mzxid, pzxid, ctime, mtime, version, node.cversion, aversion, node.owner)
    return crc32(tail, crc32(node.data or b"", crc32(path if path != b"/" else b"")))


def digest_of_persisted(path: bytes, data: bytes | None, persisted: bytes) -> int:
    """The same from a snapshot's fields, which only stand in another order there; the root's path is empty."""
    if path.startswith(b"/zookeeper/"):
        return 0
    tail = persisted[:16] + persisted[52:] + persisted[16:52]
    return crc32(tail, crc32(data, crc32(path)) if data else crc32(path))


def after_set_data(node: Node, path: bytes, data: bytes | None, version: int, zxid: int, time_ms: int) -> Node:
    """The node as a setData leaves it."""
    czxid, _, ctime, _, _, cversion, aversion, shown, _, count, pzxid = _unpack_stat(node.stat)
    stat = _pack_stat(
        czxid, zxid, ctime, time_ms, version, cversion, aversion, shown, len(data) if data else 0, count, pzxid
    )
    stored = node.cversion
    owner = node.owner
    new = Node()
    new.data = data
    new.stat = stat
    new.acl = node.acl
    new.owner = owner
    new.cversion = stored
    new.digest = 0
    new.children = None
    new.mark = 0
    # A zero digest nearly always means "below /zookeeper"; testing it first spares the prefix test (60 ns of a write).
    if node.digest or not path.startswith(b"/zookeeper/"):
        if path == b"/":
            path = b""
        new.digest = crc32(
            _pack_digest(czxid, zxid, pzxid, ctime, time_ms, version, stored, aversion, owner),
            crc32(data, crc32(path)) if data else crc32(path),
        )
    return new


def after_set_acl(node: Node, path: bytes, acl: Acl, aversion: int) -> Node:
    """The node as a setACL leaves it; ``acl`` need not be interned yet."""
    fields = list(_unpack_stat(node.stat))
    fields[6] = aversion
    new = make_node(node.data, _pack_stat(*fields), acl, node.owner, node.cversion, 0)
    new.digest = digest_of(path, new)
    return new


def new_node(path: bytes, data: bytes | None, acl: Acl, owner: int, shown: int, zxid: int, time_ms: int) -> Node:
    """A node as a create leaves it; ``shown`` is the owner that clients see, see :mod:`zabra.tree.owner`."""
    stat = _pack_stat(zxid, zxid, time_ms, time_ms, 0, 0, 0, shown, len(data) if data else 0, 0, zxid)
    node = Node()
    node.data = data
    node.stat = stat
    node.acl = acl
    node.owner = owner
    node.cversion = 0
    node.digest = 0
    node.children = None
    node.mark = 0
    if not path.startswith(b"/zookeeper/"):
        node.digest = crc32(
            _pack_digest(zxid, zxid, zxid, time_ms, time_ms, 0, 0, 0, owner),
            crc32(data, crc32(path)) if data else crc32(path),
        )
    return node


def after_child_change(node: Node, path: bytes, cversion: int, pzxid: int, delta: int) -> Node:
    """The parent after a create (``delta`` 1), a delete (-1) or a repaired counter (0).

    The stored cversion never falls and pzxid never goes back, whatever a replay brings (ZOOKEEPER-3125, 3249).
    """
    czxid, mzxid, ctime, mtime, version, _, aversion, shown, length, count, old_pzxid = _unpack_stat(node.stat)
    stored = node.cversion
    if delta < 0:
        if pzxid < old_pzxid:
            pzxid = old_pzxid
    elif cversion > stored:
        stored = cversion
    else:
        pzxid = old_pzxid
    count += delta
    visible = 2 * stored - count
    if not -0x80000000 <= visible <= 0x7FFFFFFF:
        visible = wrap32(visible)
    stat = _pack_stat(czxid, mzxid, ctime, mtime, version, visible, aversion, shown, length, count, pzxid)
    owner = node.owner
    data = node.data
    new = Node()
    new.data = data
    new.stat = stat
    new.acl = node.acl
    new.owner = owner
    new.cversion = stored
    new.digest = 0
    new.children = None
    new.mark = 0
    if node.digest or not path.startswith(b"/zookeeper/"):
        if path == b"/":
            path = b""
        new.digest = crc32(
            _pack_digest(czxid, mzxid, pzxid, ctime, mtime, version, stored, aversion, owner),
            crc32(data, crc32(path)) if data else crc32(path),
        )
    return new
