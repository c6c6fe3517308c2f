"""[hot] Validation of the frequent writes by hand: runs of setData, create and create2 that meet no obstacle.

A client with many requests on their way sends them in one chunk. What stands in a row there is validated in one loop,
with one look at each stat and nothing done twice. Everything here is said a second time elsewhere, and once for all
cases: in :mod:`zabra.pipeline.prep` and :mod:`zabra.pipeline.prep_create` what may stand in the way, in
:mod:`zabra.tree.node` what the nodes become. A request that is not as simple as these functions want it ends the run
and is left, untouched, to those; ``test_prep_frequent.py`` holds both ways against each other.

Nothing goes through the records: a transaction's body is the request's own bytes with the new version behind them, and
of a stat the parts that stay the same are copied as bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final
from zlib import crc32

from zabra import paths
from zabra.consts import Mode, Perm
from zabra.pipeline.request import Family, Plain, Proposal, Requester
from zabra.sessions.tracker import Session
from zabra.tree.node import (
    CVERSION_MAX,
    DIGEST_VERSION,
    NEW_DIGEST_INPUT,
    NEW_STAT,
    OPEN_ACL,
    PARENT,
    PARENT_DIGEST_INPUT,
    PARENT_KEPT,
    Node,
)

if TYPE_CHECKING:
    from zabra.pipeline.prep import Prep

_MASK64: Final = (1 << 64) - 1
#: What a setData without a condition has for the version.
_ANY_VERSION: Final = b"\xff\xff\xff\xff"
#: The modes of a create without a ttl and without the container flag; bit 0 is ephemeral, bit 1 sequential.
_PLAIN: Final = frozenset(
    {Mode.PERSISTENT, Mode.EPHEMERAL, Mode.PERSISTENT_SEQUENTIAL, Mode.EPHEMERAL_SEQUENTIAL},
)

_unpack_int = Struct(">i").unpack_from
_pack_int = Struct(">i").pack
_pack_long = Struct(">q").pack
#: length, xid, type, path length
_unpack_head = Struct(">iiii").unpack_from
#: session, cxid, zxid, time, type
_pack_header = Struct(">qiqqi").pack
#: Behind a setData: version; digest version, tree digest.
_pack_set_tail = Struct(">iiQ").pack
#: Behind a create: ephemeral, the parent's cversion; digest version, tree digest.
_pack_create_tail = Struct(">?iiQ").pack
_pack_create_tail_alone = Struct(">?i").pack
#: The reply of a create up to its path: length, xid, zxid, err, path length.
_pack_create_reply = Struct(">iiqii").pack

# A setData leaves of a stat (see zabra.tree.node): czxid; ctime; [version]; cversion, aversion, ephemeralOwner; number
# of children; pzxid.
_unpack_set = Struct(">8s8x8s8xi16s4x4s8s").unpack
#: The whole reply, whose last 68 bytes are the stat: length, xid, zxid, err; then czxid, mzxid, ctime, mtime, version,
#: 16 bytes as they were, length of the data, number of children, pzxid.
_pack_set_reply = Struct(">iiqi8sq8sqi16si4s8s").pack
_NO_CHILDREN: Final = bytes(4)
#: Digest input: czxid, mzxid, pzxid, ctime, mtime, version; cversion, aversion, ephemeralOwner.
_pack_set_digest = Struct(">8sq8s8sqi16s").pack

_pack_new_stat = NEW_STAT.pack
_pack_new_digest = NEW_DIGEST_INPUT.pack
_unpack_parent = PARENT_KEPT.unpack
_pack_parent = PARENT.pack
_pack_parent_digest = PARENT_DIGEST_INPUT.pack


def set_data_run(
    prep: Prep, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
) -> tuple[int, int, int]:
    """Prepare the setDatas that stand in a row from ``pos`` on, each a whole frame of at most ``limit`` bytes.

    They begin before ``until``, from where to the end of the chunk are 16 bytes at least. Returns where the first one
    stands that was left, how many were prepared, and the xid of the last one looked at.
    """
    pending = prep.pending
    changes = pending.changes
    nodes = pending.nodes
    digest = pending.digest
    digest_enabled = prep.digest_enabled
    session_id = session.id
    now_ms = prep.now_ms
    zxid = prep.zxid
    size_of_chunk = len(chunk) if not prep.enforce_quota else 0
    payloads: list[bytes] = []
    writes: list[Proposal] = []
    xid = 0
    joins = False
    try:
        while pos < until:
            length, xid, op, path_length = _unpack_head(chunk, pos)
            start = pos + 16
            stop = start + path_length
            end = pos + 4 + length
            if op != 5 or path_length < 1 or path_length > length - 20 or end > size_of_chunk or length > limit:
                break
            size = _unpack_int(chunk, stop)[0]
            tail = stop + 4 + size
            if tail + 4 != end or size < 0:
                break
            path = chunk[start:stop]
            change = changes.get(path)
            old = nodes.get(path) if change is None else change[1]
            if old is None:
                break
            acl = old.acl
            if acl is not OPEN_ACL and not prep.access.permits(acl, Perm.WRITE, conn.identities, path):
                break
            czxid, ctime, version, kept, count, pzxid = _unpack_set(old.stat)
            if chunk[tail:end] != _ANY_VERSION and _unpack_int(chunk, tail)[0] != version:
                break
            version = version + 1 if version != 0x7FFFFFFF else -0x80000000
            zxid += 1
            data = chunk[stop + 4 : tail]
            reply = _pack_set_reply(84, xid, zxid, 0, czxid, zxid, ctime, now_ms, version, kept, size, count, pzxid)
            before = old.digest
            new = Node()
            new.data = data
            new.stat = reply[20:]
            new.acl = acl
            owner = new.owner = old.owner
            stored = new.cversion = old.cversion
            new.children = None
            new.mark = 0
            # A zero digest nearly always means "below /zookeeper"; testing it first spares the prefix test.
            if before or not path.startswith(b"/zookeeper/"):
                # One checksum of a copy takes two thirds of the time of three.
                text = path + data
                if stored or owner or count != _NO_CHILDREN:
                    # What is shown of cversion and owner differs from what is stored; and the root has no path here.
                    kept = _pack_int(stored) + kept[4:8] + _pack_long(owner)
                    if path == b"/":
                        text = data
                after = new.digest = crc32(text + _pack_set_digest(czxid, zxid, pzxid, ctime, now_ms, version, kept))
                difference = after - before
                digest = digest + difference & _MASK64
            else:
                new.digest = difference = 0
            payloads.append(
                _pack_header(session_id, xid, zxid, now_ms, 5)
                + chunk[start - 4 : tail]
                + (_pack_set_tail(version, DIGEST_VERSION, digest) if digest_enabled else _pack_int(version))
            )
            # As Pending.put, without the call; no multi is being validated here. The write serves as the entry.
            write = changes[path] = (zxid, new, path, conn, reply, joins, difference, None)
            writes.append(write)
            joins = True
            pos = end
    finally:
        if joins:
            prep.zxid = zxid
            pending.digest = digest
            prep.propose(payloads, writes)
    return pos, len(writes), xid


def create_run(
    prep: Prep, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
) -> tuple[int, int, int]:
    """The same for the creates, or the create2s, in a mode without a ttl, with an ACL list that came before.

    Of a parent only the state after the last of its creates in a row is planned, see
    :class:`~zabra.pipeline.request.Family`.
    """
    pending = prep.pending
    changes = pending.changes
    nodes = pending.nodes
    digest = pending.digest
    known_acls = prep.acl_cache.known
    kind = _unpack_int(chunk, pos + 8)[0]
    digest_enabled = prep.digest_enabled
    session_id = session.id
    now_ms = prep.now_ms
    zxid = prep.zxid
    size_of_chunk = len(chunk) if not prep.enforce_quota else 0
    payloads: list[bytes] = []
    writes: list[Proposal] = []
    xid = 0
    joins = False
    # The parent: as it was before, its path without a last slash; what changes of it, and what stays of its stat and of
    # its checksum.
    old: Node | None = None
    family: Family | None = None
    text_of_parent: bytes | None = None
    stored = count = before = crc_of_parent = 0
    ids = times = rest = length_of_kept = b""
    try:
        while pos < until:
            length, xid, op, path_length = _unpack_head(chunk, pos)
            start = pos + 16
            stop = start + path_length
            end = pos + 4 + length
            if op != kind or path_length < 1 or path_length > length - 24 or end > size_of_chunk or length > limit:
                break
            size = _unpack_int(chunk, stop)[0]
            tail = stop + 4 + size
            if size < 0 or tail + 8 > end:
                break
            known = known_acls.get(chunk[tail : end - 4])
            flags = _unpack_int(chunk, end - 4)[0]
            if known is None or flags not in _PLAIN:
                break
            acl, raw_acl = known
            path = chunk[start:stop]
            slash = path.rfind(b"/")
            if slash < 0 or path.startswith(b"/zookeeper"):
                break
            text = path[:slash]
            if text != text_of_parent:
                if family is not None:
                    assert old is not None
                    stat = _pack_parent(ids, times, 2 * stored - count, rest, length_of_kept, count, zxid)
                    _plan_parent(changes, family, old, stat, stored, before, zxid)
                    family = None
                text_of_parent = text
                change = changes.get(text or b"/")
                old = nodes.get(text or b"/") if change is None else change[1]
                if old is None or old.owner:
                    break
                acl_of_parent = old.acl
                ids, times, rest, length_of_kept, count = _unpack_parent(old.stat)
                stored = old.cversion
                before = old.digest
                crc_of_parent = crc32(text + (old.data or b"") + ids)
            if not 0 <= stored < CVERSION_MAX or (
                acl_of_parent is not OPEN_ACL
                and not prep.access.permits(acl_of_parent, Perm.CREATE, conn.identities, path, acl)
            ):
                break
            if flags & 2:
                path = path + b"%010d" % stored
            # The parent exists, so its path is sound: a plain last component is all that is left to see.
            if (slash == 1 or not path[slash + 1 :].isalnum()) and not paths.is_valid(path):
                break
            change = changes.get(path)
            if (nodes.get(path) if change is None else change[1]) is not None:
                break
            stored += 1
            count += 1
            zxid += 1
            owner = session_id if flags & 1 else 0
            data = chunk[stop + 4 : tail]
            node = Node()
            node.data = data
            node.stat = _pack_new_stat(zxid, zxid, now_ms, now_ms, owner, size, zxid)
            node.acl = acl
            node.owner = owner
            node.cversion = 0
            node.children = None
            node.mark = 0
            added = node.digest = crc32(path + data + _pack_new_digest(zxid, zxid, zxid, now_ms, now_ms, owner))
            after = crc32(_pack_parent_digest(zxid, times, stored, rest), crc_of_parent)
            difference = added + after - before
            before = after
            digest = digest + difference & _MASK64
            length = len(path)
            payloads.append(
                _pack_header(session_id, xid, zxid, now_ms, kind)
                + (chunk[start - 4 : tail] if flags < 2 else _pack_int(length) + path + chunk[stop:tail])
                + raw_acl
                + (
                    _pack_create_tail(flags & 1, stored, DIGEST_VERSION, digest)
                    if digest_enabled
                    else _pack_create_tail_alone(flags & 1, stored)
                )
            )
            reply = (
                _pack_create_reply(20 + length, xid, zxid, 0, length) + path
                if kind == 1
                else _pack_create_reply(88 + length, xid, zxid, 0, length) + path + node.stat
            )
            if family is None:
                family = Family(text or b"/")
            write = changes[path] = (zxid, node, path, conn, reply, joins, difference, family)
            writes.append(write)
            joins = True
            pos = end
    finally:
        if joins:
            if family is not None:
                assert old is not None
                stat = _pack_parent(ids, times, 2 * stored - count, rest, length_of_kept, count, zxid)
                _plan_parent(changes, family, old, stat, stored, before, zxid)
            prep.zxid = zxid
            pending.digest = digest
            prep.propose(payloads, writes)
    return pos, len(writes), xid


def _plan_parent(
    changes: dict[bytes, tuple[int, Node | None] | Plain],
    family: Family,
    old: Node,
    stat: bytes,
    cversion: int,
    digest: int,
    zxid: int,
) -> None:
    """Record as pending what the last create of a family makes of its parent, which was ``old`` before the first."""
    parent = family.parent = Node()
    family.last_zxid = zxid
    parent.data = old.data
    parent.stat = stat
    parent.acl = old.acl
    parent.owner = 0
    parent.cversion = cversion
    parent.digest = digest
    parent.children = None
    parent.mark = 0
    changes[family.path] = (zxid, parent)
