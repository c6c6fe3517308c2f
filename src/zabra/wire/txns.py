"""[hot] Transactions as logs and proposals carry them.

::

    payload = TxnHeader body [TxnDigest]

The header's type says what the body is. Logs of older versions are shorter: a create before 3.4 lacks its last field, a
closeSession before 3.6, or with ``closeSessionTxn.enabled`` off, has no body, and there is no digest before 3.6.

Source: ``SerializeUtils.deserializeTxn``, ``DataTree.processTxn`` (3.9.5).
"""

from __future__ import annotations

from typing import Final

from zabra.consts import TTL_MS_MAX, Op
from zabra.errors import MarshallingError
from zabra.wire.primitives import Reader, TruncatedError
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

__all__ = [
    "SubTxn",
    "TxnBody",
    "TxnDigest",
    "TxnHeader",
    "check_txn",
    "decode_body",
    "decode_sub_txn",
    "decode_txn",
    "encode_txn",
]

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

_DIGEST_SIZE: Final = 12
_SLASH: Final = 0x2F

#: What may stand in a multi. Multis do not nest.
_SUB_BODIES: Final[dict[int, type[TxnBody]]] = {
    Op.SET_DATA: SetDataTxn,
    Op.CREATE: CreateTxn,
    Op.CREATE2: CreateTxn,
    Op.DELETE: DeleteTxn,
    Op.CREATE_CONTAINER: CreateContainerTxn,
    Op.CREATE_TTL: CreateTtlTxn,
    Op.DELETE_CONTAINER: DeleteTxn,
    Op.CHECK: CheckVersionTxn,
    Op.ERROR: ErrorTxn,
}
_BODIES: Final[dict[int, type[TxnBody]]] = {
    **{type_: record for type_, record in _SUB_BODIES.items() if type_ != Op.CHECK},
    Op.RECONFIG: SetDataTxn,
    Op.SET_ACL: SetAclTxn,
    Op.CREATE_SESSION: CreateSessionTxn,
    Op.CLOSE_SESSION: CloseSessionTxn,
    Op.MULTI: MultiTxn,
}


def decode_txn(payload: bytes) -> tuple[TxnHeader, TxnBody | None, TxnDigest | None]:
    """Take a log entry or proposal apart; only a closeSession can be without body. Raises MarshallingError.

    No length is over the limit here: what was logged had been accepted (ZOOKEEPER-3496).
    """
    size = len(payload)
    r = Reader(payload, 0, size, size)
    header = TxnHeader.decode(r)
    body = _decode_close(r) if header.type == Op.CLOSE_SESSION else decode_body(header.type, r)
    digest = TxnDigest.decode(r) if size - r.pos >= _DIGEST_SIZE else None
    return header, body, digest


def decode_body(type_: int, r: Reader) -> TxnBody:
    """The body of a transaction of this type, which a tree can apply.

    Raises MarshallingError, also for types that stand in no log, and for what nobody could have been allowed to ask.
    """
    record = _BODIES.get(type_)
    if record is None:
        raise MarshallingError(f"transaction of type {type_}")
    start = r.pos
    try:
        return _sound(record.decode(r))
    except TruncatedError:
        if type_ != Op.CREATE:
            raise
    r.pos = start
    return _sound(CreateTxn(*CreateTxnV0.decode(r), -1))


def _sound(body: TxnBody) -> TxnBody:
    """The body, if it can be applied: what is made or removed needs a parent and a name, a ttl has its bounds."""
    if isinstance(body, CreateTxn | CreateContainerTxn | CreateTtlTxn | DeleteTxn):
        if not _is_of_a_node(body.path):
            raise MarshallingError(f"{type(body).__name__} of the path {body.path!r}")
        if isinstance(body, CreateTtlTxn) and not 0 < body.ttl <= TTL_MS_MAX:
            raise MarshallingError(f"a ttl of {body.ttl} ms")
    return body


def _is_of_a_node(path: bytes | None) -> bool:
    """Whether a path has a name at its end and something before it: not the root's, which stays."""
    return path is not None and len(path) > 1 and path[0] == _SLASH and path[-1] != _SLASH


def _decode_close(r: Reader) -> CloseSessionTxn | None:
    """The body of a closeSession, if it has one.

    Twelve bytes are a digest without a body, unless they are a list of paths to the last byte. Apache takes them for a
    list in any case and may then refuse to start. A list that is cut counts as none, as in Apache.
    """
    start = r.pos
    may_be_digest = r.end - start == _DIGEST_SIZE
    try:
        body = CloseSessionTxn.decode(r)
        if not may_be_digest or (r.pos == r.end and all(path and path[0] == _SLASH for path in body.paths or ())):
            if b"/" in (body.paths or ()):
                raise MarshallingError("CloseSessionTxn that removes the root")
            return body
    except MarshallingError as error:
        if not may_be_digest and not isinstance(error, TruncatedError):
            raise
    r.pos = start if may_be_digest else r.end
    return None


def decode_sub_txn(sub: SubTxn) -> TxnBody:
    """The body of one part of a multi. Raises MarshallingError."""
    record = _SUB_BODIES.get(sub.type)
    if record is None or sub.data is None:
        raise MarshallingError(f"transaction of type {sub.type} in a multi")
    return _sound(record.decode(Reader(sub.data, limit=len(sub.data))))


def check_txn(payload: bytes) -> tuple[TxnHeader, TxnBody | None, TxnDigest | None]:
    """:func:`decode_txn`, the parts of a multi included: what passes can be applied. Raises MarshallingError."""
    decoded = decode_txn(payload)
    body = decoded[1]
    if isinstance(body, MultiTxn):
        for sub in body.txns or ():
            decode_sub_txn(sub)
    return decoded


def encode_txn(header: TxnHeader, body: TxnBody | None, digest: TxnDigest | None) -> bytes:
    """Put a log entry or proposal together."""
    payload = header.encode()
    if body is not None:
        payload += body.encode()
    if digest is not None:
        payload += digest.encode()
    return payload
