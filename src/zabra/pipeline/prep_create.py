"""[hot] Validation of the creates: every mode, sequence numbers, containers and TTL.

Stock order of errors: mode, TTL rules, session, path shape, ACL, parent missing, CREATE right on the parent, [sequence
suffix], full path check, exists, ephemeral parent, quota.

Refused with BAD_ARGUMENTS where Apache 3.9.5 accepts and later breaks: the container flag on create and create2 (stored
as an ordinary node, digested as a container), another flag on createContainer (the reverse), a createTTL whose flag is
no TTL mode (passes with ttl -1, then fails while being applied, on every replay too), TTL flags on the ops without a
ttl.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

from zabra import paths
from zabra.consts import CONTAINER_OWNER, TTL_MS_MAX, Mode, Op, Perm
from zabra.errors import Code, RequestError
from zabra.pipeline.request import Change, Write
from zabra.sessions.tracker import Session
from zabra.tree.node import OPEN_ACL, Node, after_child_change, new_node, wrap32
from zabra.tree.owner import OwnerKind, ttl_owner
from zabra.wire.primitives import Reader
from zabra.wire.records_data import Acl, Identity, decode_raw_acl, encode_acl
from zabra.wire.records_proto import CreateRequest, CreateTtlRequest
from zabra.wire.records_txn import CreateContainerTxn, CreateTtlTxn, CreateTxn

if TYPE_CHECKING:
    from zabra.auth.rights import Rights
    from zabra.pipeline.prep import Prep

_EPHEMERAL: Final = frozenset({Mode.EPHEMERAL, Mode.EPHEMERAL_SEQUENTIAL})
_SEQUENTIAL: Final = frozenset({Mode.PERSISTENT_SEQUENTIAL, Mode.EPHEMERAL_SEQUENTIAL, Mode.TTL_SEQUENTIAL})
_TTL: Final = frozenset({Mode.TTL, Mode.TTL_SEQUENTIAL})
_unpack_int = Struct(">i").unpack_from

#: Raw ACL bytes as clients send them -> (list, its canonical bytes), for lists that do not depend on who asks.
_ACL_CACHE_SIZE: Final = 1024


class AclCache:
    """Parsed ACL lists by their raw bytes: clients send the same few lists over and over (1.5 us a create spared)."""

    def __init__(self) -> None:
        self.known: dict[bytes, tuple[Acl, bytes]] = {}

    def learn(self, frame: bytes, access: Rights, limit: int) -> None:
        """Remember the list of a create request that parsed, if it is valid whoever sends it."""
        start = 12 + max(_unpack_int(frame, 8)[0], 0)
        end = start + 4 + max(_unpack_int(frame, start)[0], 0)
        raw = frame[end:-4]
        if raw in self.known:
            return
        reader = Reader(frame, end, limit=limit)
        acl = decode_raw_acl(reader)
        if not acl or reader.pos != len(frame) - 4 or any(entry[1] == "auth" for entry in acl):
            return
        try:
            canonical = access.canonical(acl, ())
        except RequestError:
            return
        if len(self.known) >= _ACL_CACHE_SIZE:
            del self.known[next(iter(self.known))]
        self.known[raw] = (OPEN_ACL if canonical == OPEN_ACL else canonical, encode_acl(canonical))


def plan_create(
    prep: Prep, write: Write, session: Session, op: int, record: object, identities: Sequence[Identity]
) -> bytes:
    """Validate one create of any kind; returns the transaction's body. Raises RequestError."""
    assert isinstance(record, CreateRequest | CreateTtlRequest)
    flags = record.flags
    _check_mode(prep, op, flags, record.ttl if isinstance(record, CreateTtlRequest) else -1)
    if session.closing or (session.local and flags in _EPHEMERAL):
        raise RequestError(Code.SESSION_EXPIRED)
    if record.path is None:
        raise RequestError(Code.MARSHALLING_ERROR, "null path")
    path = record.path
    data = record.data
    if path.rfind(b"/") < 0 or b"\0" in path:
        raise RequestError(Code.BAD_ARGUMENTS)
    acl = prep.access.canonical(record.acl, identities)
    owner, shown = _owner_of(session, flags, record.ttl if isinstance(record, CreateTtlRequest) else -1)
    made, node, parent_path, parent = _plan(prep, write.zxid, path, data, acl, flags, owner, shown, identities)
    write.changes = (*write.changes, Change(op, made, node, parent_path, parent))
    cversion = parent.cversion
    if isinstance(record, CreateTtlRequest):
        return CreateTtlTxn(made, data, acl, cversion, record.ttl).encode()
    if op == Op.CREATE_CONTAINER:
        return CreateContainerTxn(made, data, acl, cversion).encode()
    return CreateTxn(made, data, acl, flags in _EPHEMERAL, cversion).encode()


def _check_mode(prep: Prep, op: int, flags: int, ttl: int) -> None:
    if not Mode.PERSISTENT <= flags <= Mode.TTL_SEQUENTIAL:
        raise RequestError(Code.BAD_ARGUMENTS, f"create flags {flags}")
    if flags in _TTL:
        if not prep.tree.owners.extended:
            raise RequestError(Code.UNIMPLEMENTED, "TTL nodes are switched off")
        if op != Op.CREATE_TTL or not 0 < ttl <= TTL_MS_MAX:
            raise RequestError(Code.BAD_ARGUMENTS, f"ttl {ttl}")
    elif op == Op.CREATE_TTL or (flags == Mode.CONTAINER) != (op == Op.CREATE_CONTAINER):
        raise RequestError(Code.BAD_ARGUMENTS, f"create flags {flags} on opcode {op}")


def _plan(
    prep: Prep,
    zxid: int,
    path: bytes,
    data: bytes | None,
    acl: Acl,
    flags: int,
    owner: int,
    shown: int,
    identities: Sequence[Identity],
) -> tuple[bytes, Node, bytes, Node]:
    """Plan a node and its parent, and record both as pending: the path with its suffix, the node, the parent's both."""
    slash = path.rfind(b"/")
    if slash < 0 or b"\0" in path:
        raise RequestError(Code.BAD_ARGUMENTS)
    parent_path = path[:slash] or b"/"
    pending = prep.pending
    change = pending.changes.get(parent_path)
    parent = pending.nodes.get(parent_path) if change is None else change[1]
    if parent is None:
        raise RequestError(Code.NO_NODE)
    if parent.acl is not OPEN_ACL and not prep.access.permits(parent.acl, Perm.CREATE, identities, path, acl):
        raise RequestError(Code.NO_AUTH)
    cversion = parent.cversion
    if flags in _SEQUENTIAL:
        path = path + b"%010d" % cversion
    # The parent exists, so its path is sound: a plain last component is all that is left to see.
    if (slash == 1 or not path[slash + 1 :].isalnum()) and not paths.is_valid(path):
        raise RequestError(Code.BAD_ARGUMENTS)
    change = pending.changes.get(path)
    if (change[1] if change is not None else pending.nodes.get(path)) is not None:
        raise RequestError(Code.NODE_EXISTS)
    if parent.owner and prep.tree.owners.kind(parent.owner) is OwnerKind.SESSION:
        raise RequestError(Code.NO_CHILDREN_FOR_EPHEMERALS)
    if prep.enforce_quota:
        prep.tree.quotas.check_create(prep.tree, path, data)
    cversion = cversion + 1 if cversion != 0x7FFFFFFF else wrap32(cversion + 1)
    node = new_node(path, data, acl, owner, shown, zxid, prep.now_ms)
    changed = after_child_change(parent, parent_path, cversion, zxid, 1)
    pending.put(zxid, parent_path, changed, changed.digest - parent.digest)
    pending.put(zxid, path, node, node.digest)
    return path, node, parent_path, changed


def _owner_of(session: Session, flags: int, ttl: int) -> tuple[int, int]:
    """The owner as stored and as shown."""
    if flags in _EPHEMERAL:
        return session.id, session.id
    if flags == Mode.CONTAINER:
        return CONTAINER_OWNER, 0
    return (ttl_owner(ttl), 0) if flags in _TTL else (0, 0)
