"""Rights checked where a client is connected, before its write goes to the leader (``enableEagerACLCheck``).

A write that the tree of this server forbids is refused here, and costs the leader nothing. Where that tree cannot tell,
the leader decides, as it does about everything else. Unlike in Apache the refusal keeps its place among the replies of
the connection, and a write that stands behind one of its own that may change who may do what is left to the leader.

Source: ``ZooKeeperServer.authWriteRequest``, ``effectiveACLPath``, ``effectiveACLPerms`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from zabra import paths
from zabra.auth.rights import Rights
from zabra.consts import Op, Perm
from zabra.errors import Code, EarlyRefusalError, RequestError
from zabra.pipeline.ports import Pipeline
from zabra.pipeline.prep import DECODERS, SPECIAL_PATHS
from zabra.pipeline.request import Requester
from zabra.sessions.tracker import Session
from zabra.tree.node import OPEN_ACL, Node
from zabra.wire.primitives import Reader
from zabra.wire.records_data import encode_acl
from zabra.wire.records_proto import CreateRequest, DeleteRequest, SetAclRequest, SetDataRequest

_unpack_int: Final = Struct(">i").unpack_from
#: What is checked, and the right it takes.
_RIGHTS: Final = {
    Op.CREATE: Perm.CREATE,
    Op.CREATE2: Perm.CREATE,
    Op.DELETE: Perm.DELETE,
    Op.SET_DATA: Perm.WRITE,
    Op.SET_ACL: Perm.ADMIN,
}
#: An ACL list that is valid whoever sends it, as requests have it.
_RAW_OPEN: Final = encode_acl(OPEN_ACL)


class EagerChecks:
    """In front of a pipeline."""

    def __init__(
        self,
        inner: Pipeline,
        rights: Rights,
        node_of: Callable[[bytes], Node | None],
        is_settled: Callable[[int], bool],
        limit: int,
    ) -> None:
        """``node_of(path)`` is what this server knows; ``is_settled(session_id)``: no write of that session is on its
        way that may change it. ``limit``: the longest buffer in a record."""
        self._inner = inner
        self._rights = rights
        self._node_of = node_of
        self._is_settled = is_settled
        self._limit = limit
        self.sessions = inner.sessions
        self.touch = inner.touch
        self.stamp = inner.stamp
        self.sync = inner.sync
        self.create_session = inner.create_session
        self.renew_session = inner.renew_session
        self.close_session = inner.close_session
        self.commit = inner.commit

    @property
    def outstanding(self) -> int:
        """Requests submitted and not answered yet."""
        return self._inner.outstanding

    def set_data_run(
        self, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
    ) -> tuple[int, int, int]:
        """As the pipeline behind, one at a time, for a node that is open to all."""
        start = pos + 16
        node = self._node_of(chunk[start : start + _unpack_int(chunk, pos + 12)[0]])
        if node is not None and node.acl is not OPEN_ACL:
            return pos, 0, 0
        return self._inner.set_data_run(conn, session, chunk, pos, pos + 1, limit)

    def create_run(
        self, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
    ) -> tuple[int, int, int]:
        """The same, for a parent that is open to all and a node that will be."""
        start = pos + 16
        stop = start + _unpack_int(chunk, pos + 12)[0]
        end = pos + 4 + _unpack_int(chunk, pos)[0]
        if not start < stop <= end - 12 or end > len(chunk):
            return pos, 0, 0
        if chunk[stop + 4 + _unpack_int(chunk, stop)[0] : end - 4] != _RAW_OPEN:
            return pos, 0, 0
        parent = self._node_of(paths.parent_of(chunk[start:stop]))
        if parent is not None and parent.acl is not OPEN_ACL:
            return pos, 0, 0
        return self._inner.create_run(conn, session, chunk, pos, pos + 1, limit)

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Raises EarlyRefusalError, with NO_AUTH or INVALID_ACL; MarshallingError."""
        right = _RIGHTS.get(op)
        if right is not None and self._is_settled(session.id):
            self._check(conn, right, DECODERS[op](Reader(frame, 8, limit=self._limit)))
        self._inner.submit(conn, session, xid, op, frame)

    def _check(self, conn: Requester, right: int, record: object) -> None:
        if isinstance(record, CreateRequest | DeleteRequest):
            path = record.path
            if path is None or b"/" not in path or b"\0" in path or path in SPECIAL_PATHS:
                return
            path = paths.parent_of(path)
        else:
            assert isinstance(record, SetDataRequest | SetAclRequest)
            path = record.path
        if isinstance(record, CreateRequest | SetAclRequest):
            try:
                self._rights.canonical(record.acl, conn.identities)
            except RequestError as error:
                raise EarlyRefusalError(error.code) from None
        node = self._node_of(path) if path is not None else None
        if node is not None and path is not None and not self._rights.permits(node.acl, right, conn.identities, path):
            raise EarlyRefusalError(Code.NO_AUTH)
