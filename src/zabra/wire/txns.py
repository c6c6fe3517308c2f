"""Transactions as the log and the quorum carry them: header, body by type, optional digest (``SerializeUtils``, 3.9.5).

  TxnHeader | body of the header's type | TxnDigest, absent from old logs and from error transactions

A closeSession of an old log has no body; a create of a very old one lacks its parentCVersion.
"""

from __future__ import annotations

from typing import Final

from zabra.consts import Op
from zabra.errors import MarshallingError
from zabra.wire.primitives import Reader
from zabra.wire.records_txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    CreateTxnV0,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    TxnDigest,
    TxnHeader,
)

__all__ = ["SubTxn", "TxnBody", "TxnDigest", "TxnHeader", "decode_body", "decode_sub_txn", "decode_txn", "encode_txn"]

TxnBody = (
    CheckVersionTxn
    | CloseSessionTxn
    | CreateContainerTxn
    | CreateSessionTxn
    | CreateTtlTxn
    | CreateTxn
    | DeleteTxn
    | ErrorTxn
    | MultiTxn
    | SetAclTxn
    | SetDataTxn
)

HEADER_SIZE: Final = 32
_DIGEST_SIZE: Final = 12

_BODIES: Final[dict[int, type[TxnBody]]] = {
    Op.CREATE: CreateTxn,
    Op.CREATE2: CreateTxn,
    Op.CREATE_CONTAINER: CreateContainerTxn,
    Op.CREATE_TTL: CreateTtlTxn,
    Op.DELETE: DeleteTxn,
    Op.DELETE_CONTAINER: DeleteTxn,
    Op.SET_DATA: SetDataTxn,
    Op.RECONFIG: SetDataTxn,
    Op.SET_ACL: SetAclTxn,
    Op.CHECK: CheckVersionTxn,
    Op.ERROR: ErrorTxn,
    Op.CREATE_SESSION: CreateSessionTxn,
    Op.CLOSE_SESSION: CloseSessionTxn,
    Op.MULTI: MultiTxn,
}


def decode_body(type_: int, r: Reader) -> TxnBody:
    """The body of a transaction of this type. Raises MarshallingError, also for an unknown type."""
    record = _BODIES.get(type_)
    if record is None:
        raise MarshallingError(f"transaction of unknown type {type_}")
    start = r.pos
    try:
        return record.decode(r)
    except MarshallingError:
        if type_ not in (Op.CREATE, Op.CREATE2):
            raise
    r.pos = start
    old = CreateTxnV0.decode(r)
    return CreateTxn(old.path, old.data, old.acl, old.ephemeral, -1)


def decode_txn(payload: bytes) -> tuple[TxnHeader, TxnBody | None, TxnDigest | None]:
    """Take a log entry or proposal apart. Raises MarshallingError."""
    # Whatever is in the log was accepted once: its own size is the only limit (ZOOKEEPER-3496).
    r = Reader(payload, limit=len(payload))
    header = TxnHeader.decode(r)
    body: TxnBody | None = None
    if header.type != Op.CLOSE_SESSION or len(payload) - r.pos not in (0, _DIGEST_SIZE):
        body = decode_body(header.type, r)
    elif _is_path_list(payload, r.pos):
        body = CloseSessionTxn.decode(r)
    digest = TxnDigest.decode(r) if len(payload) - r.pos >= _DIGEST_SIZE else None
    return header, body, digest


def _is_path_list(payload: bytes, pos: int) -> bool:
    """Whether the last 12 bytes of a closeSession are a list of one path rather than a digest: never.

    A list of one path holds "/x" at least: 4 + 4 + 2 bytes; 12 bytes may be a list of one 4-byte path without a digest.
    A digest begins with its version, 2; a list of two paths does too but needs 8 bytes of lengths and 4 of paths, the
    second length then being part of the first path's text. Read as a list only what parses as one to the last byte.
    """
    r = Reader(payload, pos, limit=len(payload))
    try:
        paths = CloseSessionTxn.decode(r).paths
    except MarshallingError:
        return False
    return r.pos == len(payload) and paths is not None and all(path is not None and path[:1] == b"/" for path in paths)


def decode_sub_txn(sub: SubTxn) -> TxnBody:
    """The body of one part of a multi."""
    data = sub.data or b""
    return decode_body(sub.type, Reader(data, limit=len(data)))


def encode_txn(header: TxnHeader, body: TxnBody | None, digest: TxnDigest | None) -> bytes:
    """Put a log entry or proposal together."""
    parts = header.encode()
    if body is not None:
        parts += body.encode()
    if digest is not None:
        parts += digest.encode()
    return parts
