"""[hot] Validation of the frequent writes by hand: setData, create and create2 that meet no obstacle.

Everything here is said a second time elsewhere, and once for all cases: in :mod:`zabra.pipeline.prep` and
:mod:`zabra.pipeline.prep_create` what may stand in the way, in :mod:`zabra.tree.node` what the nodes become. A request
that is not as simple as these functions want it is left, untouched, to those. Written out in one piece, without calls
and with one look at each stat, a setData takes 0.8 and a create 0.75 of the time; ``test_prep_frequent.py`` holds both
ways against each other.

Nothing goes through the records: a transaction's body is the request's own bytes with the new version behind them.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

from zabra import paths
from zabra.consts import Mode, Perm
from zabra.pipeline.request import Requester
from zabra.sessions.tracker import Session
from zabra.tree.node import DIGEST_INPUT, DIGEST_VERSION, OPEN_ACL, STAT, Node

if TYPE_CHECKING:
    from zabra.pipeline.prep import Prep

_MASK64: Final = (1 << 64) - 1
#: What a setData without a condition has for the version.
_ANY_VERSION: Final = b"\xff\xff\xff\xff"
#: The modes of a create without a ttl and without the container flag; bit 0 is ephemeral, bit 1 sequential.
_PLAIN: Final = frozenset(
    {Mode.PERSISTENT, Mode.EPHEMERAL, Mode.PERSISTENT_SEQUENTIAL, Mode.EPHEMERAL_SEQUENTIAL},
)
#: Children ever created below one node, from which on the arithmetic of the counters has to think of wrapping.
_CVERSION_MAX: Final = 0x3FFFFFFF

_unpack_int = Struct(">i").unpack_from
_pack_int = Struct(">i").pack
#: session, cxid, zxid, time, type
_pack_header = Struct(">qiqqi").pack
#: Behind a setData: version; digest version, tree digest.
_pack_set_tail = Struct(">iiQ").pack
#: Behind a create: ephemeral, the parent's cversion; digest version, tree digest.
_pack_create_tail = Struct(">?iiQ").pack
_pack_create_tail_alone = Struct(">?i").pack
_unpack_stat = STAT.unpack
_pack_stat = STAT.pack
_pack_digest = DIGEST_INPUT.pack


def set_data(
    prep: Prep, conn: Requester, session: Session, xid: int, chunk: bytes, start: int, stop: int, end: int
) -> bool:
    """Prepare a setData; False, and nothing done, when it has to go the long way.

    ``chunk[start:stop]`` is its path, which has bytes, and its frame ends at ``end``.
    """
    if end - stop < 8:
        return False
    size = _unpack_int(chunk, stop)[0]
    tail = stop + 4 + size
    if tail + 4 != end or size < 0:
        return False
    path = chunk[start:stop]
    pending = prep.pending
    changes = pending.changes
    change = changes.get(path)
    old = pending.nodes.get(path) if change is None else change[1]
    if old is None or prep.enforce_quota:
        return False
    acl = old.acl
    if acl is not OPEN_ACL and not prep.access.permits(acl, Perm.WRITE, conn.identities, path):
        return False
    czxid, _, ctime, _, version, cversion, aversion, shown, _, count, pzxid = _unpack_stat(old.stat)
    if chunk[tail:end] != _ANY_VERSION and _unpack_int(chunk, tail)[0] != version:
        return False
    version = version + 1 if version != 0x7FFFFFFF else -0x80000000
    zxid = prep.zxid = prep.zxid + 1
    now_ms = prep.now_ms
    data = chunk[stop + 4 : tail]
    before = old.digest
    after = 0
    new = Node()
    new.data = data
    new.stat = _pack_stat(czxid, zxid, ctime, now_ms, version, cversion, aversion, shown, size, count, pzxid)
    new.acl = acl
    owner = new.owner = old.owner
    stored = new.cversion = old.cversion
    new.children = None
    new.mark = 0
    # A zero digest nearly always means "below /zookeeper"; testing it first spares the prefix test.
    if before or not path.startswith(b"/zookeeper/"):
        text = _pack_digest(czxid, zxid, pzxid, ctime, now_ms, version, stored, aversion, owner)
        # One checksum of a copy takes two thirds of the time of three.
        after = crc32(path + data + text if path != b"/" else data + text)
    new.digest = after
    # As Pending.put, without the call; no multi is being validated here.
    changes[path] = (zxid, new)
    digest = pending.digest = pending.digest + after - before & _MASK64
    prep.propose(
        _pack_header(session.id, xid, zxid, now_ms, 5)
        + chunk[start - 4 : tail]
        + (_pack_set_tail(version, DIGEST_VERSION, digest) if prep.digest_enabled else _pack_int(version)),
        (5, conn, xid, zxid, path, new, b"", None),
    )
    return True


def create(
    prep: Prep, conn: Requester, session: Session, xid: int, op: int, chunk: bytes, start: int, stop: int, end: int
) -> bool:
    """The same for a create or create2 in a mode without a ttl, with an ACL list that came before."""
    if end - stop < 12:
        return False
    size = _unpack_int(chunk, stop)[0]
    tail = stop + 4 + size
    if size < 0 or tail + 8 > end:
        return False
    known = prep.acl_cache.known.get(chunk[tail : end - 4])
    flags = _unpack_int(chunk, end - 4)[0]
    if known is None or flags not in _PLAIN or prep.enforce_quota:
        return False
    acl, raw_acl = known
    path = chunk[start:stop]
    slash = path.rfind(b"/")
    if slash < 0 or path.startswith(b"/zookeeper"):
        return False
    text_of_parent = path[:slash]
    parent_path = text_of_parent or b"/"
    pending = prep.pending
    changes = pending.changes
    nodes = pending.nodes
    change = changes.get(parent_path)
    old = nodes.get(parent_path) if change is None else change[1]
    if old is None or old.owner:
        return False
    stored = old.cversion
    if not 0 <= stored < _CVERSION_MAX or (
        old.acl is not OPEN_ACL and not prep.access.permits(old.acl, Perm.CREATE, conn.identities, path, acl)
    ):
        return False
    if flags & 2:
        path = path + b"%010d" % stored
    # The parent exists, so its path is sound: a plain last component is all that is left to see.
    if (slash == 1 or not path[slash + 1 :].isalnum()) and not paths.is_valid(path):
        return False
    change = changes.get(path)
    if (nodes.get(path) if change is None else change[1]) is not None:
        return False
    stored += 1
    zxid = prep.zxid = prep.zxid + 1
    now_ms = prep.now_ms
    session_id = session.id
    owner = session_id if flags & 1 else 0

    data = chunk[stop + 4 : tail]
    node = Node()
    node.data = data
    node.stat = _pack_stat(zxid, zxid, now_ms, now_ms, 0, 0, 0, owner, size, 0, zxid)
    node.acl = acl
    node.owner = owner
    node.cversion = 0
    added = node.digest = crc32(path + data + _pack_digest(zxid, zxid, zxid, now_ms, now_ms, 0, 0, 0, owner))
    node.children = None
    node.mark = 0

    czxid, mzxid, ctime, mtime, version, _, aversion, shown, length, count, _ = _unpack_stat(old.stat)
    count += 1
    parent = Node()
    kept = parent.data = old.data
    parent.stat = _pack_stat(
        czxid, mzxid, ctime, mtime, version, 2 * stored - count, aversion, shown, length, count, zxid
    )
    parent.acl = old.acl
    parent.owner = 0
    parent.cversion = stored
    text = _pack_digest(czxid, mzxid, zxid, ctime, mtime, version, stored, aversion, 0)
    after = parent.digest = crc32(text_of_parent + kept + text if kept else text_of_parent + text)
    parent.children = None
    parent.mark = 0

    changes[parent_path] = (zxid, parent)
    changes[path] = (zxid, node)
    digest = pending.digest = pending.digest + added + after - old.digest & _MASK64
    prep.propose(
        _pack_header(session_id, xid, zxid, now_ms, op)
        + (chunk[start - 4 : tail] if flags < 2 else _pack_int(len(path)) + path + chunk[stop:tail])
        + raw_acl
        + (
            _pack_create_tail(flags & 1, stored, DIGEST_VERSION, digest)
            if prep.digest_enabled
            else _pack_create_tail_alone(flags & 1, stored)
        ),
        (op, conn, xid, zxid, path, node, parent_path, parent),
    )
    return True
