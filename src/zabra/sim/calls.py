"""What a simulated client asks: a request as data, and its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from zabra.config.dynamic import EnsembleConfig
from zabra.consts import Op
from zabra.sim.model import OPEN
from zabra.wire.multi import encode_multi_end, encode_operation
from zabra.wire.records_data import Acl, Identity
from zabra.wire.records_proto import (
    AddWatchRequest,
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    ExistsRequest,
    GetAclRequest,
    GetAllChildrenNumberRequest,
    GetChildrenRequest,
    GetDataRequest,
    GetEphemeralsRequest,
    RemoveWatchesRequest,
    SetAclRequest,
    SetDataRequest,
    SyncRequest,
)

_HEAD: Final = Struct(">iii")

CREATES: Final = frozenset({Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL})
WRITES: Final = CREATES | {Op.DELETE, Op.SET_DATA, Op.SET_ACL, Op.MULTI, Op.CLOSE_SESSION, Op.RECONFIG}
_ENCODED_ELSEWHERE: Final = (Op.MULTI, Op.CLOSE_SESSION, Op.SET_ACL, Op.RECONFIG)


@dataclass(slots=True, eq=False)
class Call:
    """One request, and later what is known of its outcome."""

    op: int
    path: bytes = b""
    data: bytes | None = b""
    acl: Acl = OPEN
    flags: int = 0
    version: int = -1
    ttl: int = -1
    watch: bool = False
    #: addWatch mode, or removeWatches type.
    mode: int = 0
    subs: tuple[Call, ...] = ()
    #: The body of a request that is none of the above.
    raw: bytes = b""
    #: The membership that a reconfig shall lead to, of whatever version.
    config: EnsembleConfig | None = None

    # Filled in when it is sent.
    xid: int = 0
    session_id: int = 0
    identities: tuple[Identity, ...] = ()
    sent_at: float = 0.0
    #: The newest zxid that any client had been told of.
    acked_before: int = -1
    #: The newest zxid that its client had been told of.
    seen_before: int = 0
    # Filled in by the reply, None while there is none; for good if the connection is lost first.
    err: int | None = None
    zxid: int = -1
    body: bytes = b""
    #: Events with zxid -1 that came while a setWatches was on its way.
    missed: list[tuple[int, bytes]] = field(default_factory=list)

    def encode(self) -> bytes:
        """The frame."""
        body = self._body()
        return _HEAD.pack(8 + len(body), self.xid, self.op) + body

    def _body(self) -> bytes:
        op = self.op
        if op in WRITES and op not in _ENCODED_ELSEWHERE:
            return self._record().encode()
        if op == Op.MULTI:
            return b"".join(encode_operation(sub.op, sub._record()) for sub in self.subs) + encode_multi_end()
        if op == Op.SET_ACL:
            return SetAclRequest(self.path, self.acl, self.version).encode()
        if op == Op.GET_DATA:
            return GetDataRequest(self.path, self.watch).encode()
        if op == Op.EXISTS:
            return ExistsRequest(self.path, self.watch).encode()
        if op in (Op.GET_CHILDREN, Op.GET_CHILDREN2):
            return GetChildrenRequest(self.path, self.watch).encode()
        if op == Op.GET_ACL:
            return GetAclRequest(self.path).encode()
        if op == Op.GET_EPHEMERALS:
            return GetEphemeralsRequest(self.path).encode()
        if op == Op.GET_ALL_CHILDREN_NUMBER:
            return GetAllChildrenNumberRequest(self.path).encode()
        if op == Op.MULTI_READ:
            return b"".join(encode_operation(sub.op, sub._read()) for sub in self.subs) + encode_multi_end()
        if op == Op.SYNC:
            return SyncRequest(self.path).encode()
        if op == Op.ADD_WATCH:
            return AddWatchRequest(self.path, self.mode).encode()
        if op == Op.REMOVE_WATCHES:
            return RemoveWatchesRequest(self.path, self.mode).encode()
        return self.raw

    def _record(self) -> CreateRequest | CreateTtlRequest | DeleteRequest | SetDataRequest | CheckVersionRequest:
        op = self.op
        if op == Op.CREATE_TTL:
            return CreateTtlRequest(self.path, self.data, self.acl, self.flags, self.ttl)
        if op in CREATES:
            return CreateRequest(self.path, self.data, self.acl, self.flags)
        if op == Op.DELETE:
            return DeleteRequest(self.path, self.version)
        if op == Op.SET_DATA:
            return SetDataRequest(self.path, self.data, self.version)
        return CheckVersionRequest(self.path, self.version)

    def _read(self) -> GetDataRequest | GetChildrenRequest:
        if self.op == Op.GET_DATA:
            return GetDataRequest(self.path, self.watch)
        return GetChildrenRequest(self.path, self.watch)

    def __str__(self) -> str:
        path = self.path.decode("utf-8", "backslashreplace")
        if self.subs:
            return f"{self.xid}:multi{self.op}({', '.join(map(str, self.subs))})"
        return f"{self.xid}:op{self.op} {path} v{self.version} f{self.flags}{' watch' if self.watch else ''}"
