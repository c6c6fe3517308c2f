"""[hot] Validation: a request against the tree as it will be, made into a transaction.

Each write is checked once, here, in the stock order of errors, and becomes a log payload and planned nodes; from then
on it can only be applied. A refused request still takes a zxid and becomes an error transaction, as in Apache. Requests
that do not even parse are the exception: Apache logs those under a zxid that is already taken, we answer them without
one.

Source: ``PrepRequestProcessor`` (3.9.5). Where we differ on purpose: see the refusals in
:mod:`zabra.pipeline.prep_create`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from zabra import paths
from zabra.auth.rights import Rights
from zabra.config.model import Settings
from zabra.consts import Op, Perm
from zabra.errors import Code, RequestError
from zabra.pipeline import prep_frequent
from zabra.pipeline.pending import Pending
from zabra.pipeline.prep_create import AclCache, plan_create
from zabra.pipeline.prep_multi import plan_multi
from zabra.pipeline.prep_reconfig import Reconfiguration, plan_reconfig
from zabra.pipeline.request import Change, Proposal, Requester, Write
from zabra.sessions.tracker import Session
from zabra.tree.node import DIGEST_VERSION, Node, after_child_change, after_set_acl, after_set_data, wrap32
from zabra.tree.owner import OwnerKind
from zabra.tree.tree import DataTree
from zabra.wire.primitives import Reader
from zabra.wire.records_data import Identity
from zabra.wire.records_proto import (
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    ReconfigRequest,
    SetAclRequest,
    SetDataRequest,
)
from zabra.wire.records_txn import CheckVersionTxn, CloseSessionTxn, DeleteTxn, SetAclTxn, SetDataTxn

#: session, cxid, zxid, time, type
HEADER: Final = Struct(">qiqqi")
#: digest version, tree digest
DIGEST: Final = Struct(">iQ")
_pack_header = HEADER.pack
_pack_digest = DIGEST.pack
_pack_int = Struct(">i").pack
_unpack_int = Struct(">i").unpack_from

#: The decoder of each write that may stand alone.
DECODERS: Final[dict[int, Callable[[Reader], object]]] = {
    Op.CREATE: CreateRequest.decode,
    Op.CREATE2: CreateRequest.decode,
    Op.CREATE_CONTAINER: CreateRequest.decode,
    Op.CREATE_TTL: CreateTtlRequest.decode,
    Op.DELETE: DeleteRequest.decode,
    Op.SET_DATA: SetDataRequest.decode,
    Op.SET_ACL: SetAclRequest.decode,
    Op.RECONFIG: ReconfigRequest.decode,
}
SPECIAL_PATHS: Final = frozenset({paths.ROOT, paths.ZOOKEEPER, paths.QUOTA, paths.CONFIG})

#: Where transactions go once they are made: ``propose(payloads, writes)``, in zxid order.
Propose = Callable[[Sequence[bytes], Sequence[Proposal]], None]


class Prep:
    """Validates writes one after another and hands each on as a proposal.

    ``zxid`` is the last one given out. The caller sets ``now_ms`` (wall clock) once per turn; it becomes the
    transactions' time.
    """

    def __init__(
        self,
        settings: Settings,
        tree: DataTree,
        access: Rights,
        propose: Propose,
        *,
        reconfiguration: Reconfiguration | None = None,
        limit: int = 1 << 20,
    ) -> None:
        """``reconfiguration`` is the leader's; a standalone server has no membership to change."""
        self.tree = tree
        self.access = access
        self.pending = Pending(tree)
        self.propose = propose
        self.zxid = tree.last_zxid
        self.now_ms = 0
        self.enforce_quota = settings.enforce_quota
        self.digest_enabled = tree.digest_enabled
        self._close_session_paths = settings.close_session_txn_enabled
        self.reconfig_enabled = settings.reconfig_enabled
        self.reconfiguration = reconfiguration
        self._limit = limit
        self.acl_cache = AclCache()

    #: The frequent ones, by hand, as many as stand in a row; what these leave has to go through :meth:`single`.
    set_data_run = prep_frequent.set_data_run
    create_run = prep_frequent.create_run

    # -- the common frame of every other write

    def single(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Prepare any other write that stands alone. Raises MarshallingError when it does not parse."""
        record = DECODERS[op](Reader(frame, 8, limit=self._limit))
        if op in (Op.CREATE, Op.CREATE2):
            self.acl_cache.learn(frame, self.access, self._limit)
        write = self.begin(conn, xid, op)
        try:
            body = self.plan(write, session, op, record, conn.identities)
        except RequestError as error:
            self.refuse(write, session.id, error.code)
            return
        self.finish(write, session.id, op, body)

    def begin(self, conn: Requester | None, xid: int, op: int) -> Write:
        """Take the next zxid for a write."""
        self.zxid += 1
        return Write(conn, xid, op, self.zxid)

    def finish(self, write: Write, session_id: int, type_: int, body: bytes) -> None:
        """Propose a planned write."""
        self.propose((self.payload(session_id, write.xid, write.zxid, type_, body),), (write,))

    def payload(self, session_id: int, xid: int, zxid: int, type_: int, body: bytes) -> bytes:
        """The bytes of a transaction that leaves the tree as it is pending now."""
        payload = _pack_header(session_id, xid, zxid, self.now_ms, type_) + body
        return payload + _pack_digest(DIGEST_VERSION, self.pending.digest) if self.digest_enabled else payload

    def refuse(self, write: Write, session_id: int, code: int) -> None:
        """Propose a refused write: an error transaction, which carries no digest."""
        write.err = code
        payload = _pack_header(session_id, write.xid, write.zxid, self.now_ms, Op.ERROR) + _pack_int(code)
        self.propose((payload,), (write,))

    def plan(self, write: Write, session: Session, op: int, record: object, identities: Sequence[Identity]) -> bytes:
        """Validate one operation and record its change; returns the transaction's body. Raises RequestError."""
        if isinstance(record, SetDataRequest):
            self.check_session(session)
            return self._set_data(write, record, identities)
        if isinstance(record, DeleteRequest):
            self.check_session(session)
            return self._delete(write, record, identities)
        if isinstance(record, SetAclRequest):
            self.check_session(session)
            return self._set_acl(write, record, identities)
        if isinstance(record, CheckVersionRequest):
            self.check_session(session)
            return self._check(write, record, identities)
        if isinstance(record, ReconfigRequest):
            return plan_reconfig(self, write, session, record, identities)
        return plan_create(self, write, session, op, record, identities)

    def check_session(self, session: Session) -> None:
        """Refuse the requests of a session that ends."""
        if session.closing:
            raise RequestError(Code.SESSION_EXPIRED)

    def _set_data(self, write: Write, request: SetDataRequest, identities: Sequence[Identity]) -> bytes:
        path = request.path
        if path is None:
            raise RequestError(Code.BAD_ARGUMENTS)
        node = self.pending.get(path)
        if node is None:
            raise RequestError(Code.NO_NODE if paths.is_valid(path) else Code.BAD_ARGUMENTS)
        if not self.access.permits(node.acl, Perm.WRITE, identities, path):
            raise RequestError(Code.NO_AUTH)
        if self.enforce_quota:
            self.tree.quotas.check_set(self.tree, path, node.data, request.data)
        version = _next_version(node.version, request.version)
        new = after_set_data(node, path, request.data, version, self.zxid, self.now_ms)
        self.record(write, Change(Op.SET_DATA, path, new), new.digest - node.digest)
        return SetDataTxn(path, request.data, version).encode()

    def _set_acl(self, write: Write, request: SetAclRequest, identities: Sequence[Identity]) -> bytes:
        path = request.path
        if path is None or not paths.is_valid(path):
            raise RequestError(Code.BAD_ARGUMENTS)
        acl = self.access.canonical(request.acl, identities)
        node = self._existing(path)
        if not self.access.permits(node.acl, Perm.ADMIN, identities, path, acl):
            raise RequestError(Code.NO_AUTH)
        aversion = _next_version(node.aversion, request.version)
        new = after_set_acl(node, path, acl, aversion)
        self.record(write, Change(Op.SET_ACL, path, new), new.digest - node.digest)
        return SetAclTxn(path, acl, aversion).encode()

    def _check(self, write: Write, request: CheckVersionRequest, identities: Sequence[Identity]) -> bytes:
        path = request.path
        if path is None or not paths.is_valid(path):
            raise RequestError(Code.BAD_ARGUMENTS)
        node = self._existing(path)
        if not self.access.permits(node.acl, Perm.READ, identities, path):
            raise RequestError(Code.NO_AUTH)
        version = _next_version(node.version, request.version)
        write.changes = (*write.changes, Change(Op.CHECK, path))
        return CheckVersionTxn(path, version).encode()

    def _delete(self, write: Write, request: DeleteRequest, identities: Sequence[Identity]) -> bytes:
        path = request.path
        if path is None:
            raise RequestError(Code.MARSHALLING_ERROR, "null path")
        parent_path = _deletable(path)
        parent = self._existing(parent_path)
        if not self.access.permits(parent.acl, Perm.DELETE, identities, path):
            raise RequestError(Code.NO_AUTH)
        node = self._existing(path)
        _next_version(node.version, request.version)
        if node.child_count:
            raise RequestError(Code.NOT_EMPTY)
        self._remove(write, Op.DELETE, path, node, parent_path, parent)
        return DeleteTxn(path).encode()

    def delete_container(self, path: bytes) -> None:
        """The sweeper's delete of an empty container or expired TTL node (opcode 20, session 0).

        The final check happens here, against pending state: a node that was used again is left alone.
        """
        write = self.begin(None, 0, Op.DELETE_CONTAINER)
        try:
            parent_path = _deletable(path)
            node = self._existing(path)
            if node.child_count:
                raise RequestError(Code.NOT_EMPTY)
            if self.tree.owners.kind(node.owner) not in (OwnerKind.CONTAINER, OwnerKind.TTL):
                raise RequestError(Code.BAD_VERSION)
            if path in self.pending.changes:
                # Made anew or written, and so its time begins again: the next sweep will see.
                raise RequestError(Code.BAD_VERSION)
            self._remove(write, Op.DELETE_CONTAINER, path, node, parent_path, self._existing(parent_path))
        except RequestError as error:
            self.refuse(write, 0, error.code)
            return
        self.finish(write, 0, Op.DELETE_CONTAINER, DeleteTxn(path).encode())

    def _remove(self, write: Write, type_: int, path: bytes, node: Node, parent_path: bytes, parent: Node) -> None:
        changed = after_child_change(parent, parent_path, 0, write.zxid, -1)
        pending = self.pending
        pending.put(write.zxid, parent_path, changed, changed.digest - parent.digest)
        pending.put(write.zxid, path, None, -node.digest)
        write.changes = (*write.changes, Change(type_, path, None, parent_path, changed))

    def _existing(self, path: bytes) -> Node:
        node = self.pending.get(path)
        if node is None:
            raise RequestError(Code.NO_NODE)
        return node

    def record(self, write: Write, change: Change, difference: int) -> None:
        """Note a change of one existing node."""
        self.pending.put(write.zxid, change.path, change.node, difference)
        write.changes = (*write.changes, change)

    # -- sessions

    def create_session(self, conn: Requester | None, session: Session, xid: int = 0) -> None:
        """Propose the createSession of a session that the tracker already knows."""
        write = self.begin(conn, xid, Op.CREATE_SESSION)
        write.session = session
        self.finish(write, session.id, Op.CREATE_SESSION, _pack_int(session.timeout_ms))

    def close_session(self, conn: Requester | None, session: Session, xid: int) -> None:
        """Propose the closeSession of a session that the tracker has marked closing.

        It lists every ephemeral the session has or is about to have (ZOOKEEPER-2355, 3145).
        """
        assert session.closing
        write = self.begin(conn, xid, Op.CLOSE_SESSION)
        write.session = session
        own = self.pending.ephemerals(session.id)
        for path in own:
            node = self._existing(path)
            parent_path = paths.parent_of(path)
            self._remove(write, Op.DELETE, path, node, parent_path, self._existing(parent_path))
        body = CloseSessionTxn(tuple(own)).encode() if self._close_session_paths else b""
        self.finish(write, session.id, Op.CLOSE_SESSION, body)

    # -- multi

    def multi(self, conn: Requester, session: Session, xid: int, frame: bytes) -> None:
        """Prepare a multi: all of it or none. One that does not parse takes a zxid and fails as a whole."""
        plan_multi(self, conn, session, xid, frame, self._limit)


def _deletable(path: bytes) -> bytes:
    """The parent of a path that may be deleted (``getParentPathAndValidate``)."""
    slash = path.rfind(b"/")
    if slash < 0 or b"\0" in path or path in SPECIAL_PATHS:
        raise RequestError(Code.BAD_ARGUMENTS)
    return path[:slash] or paths.ROOT


def _next_version(current: int, expected: int) -> int:
    if expected not in (-1, current):
        raise RequestError(Code.BAD_VERSION)
    return wrap32(current + 1)
