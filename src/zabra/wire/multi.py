"""Multi and multiRead: their operations and results (``MultiOperationRecord``, ``MultiResponse``, 3.9.5).

::

    request  = (MultiHeader{type, false, -1} request)* MultiHeader{-1, true, -1}
    response = (MultiHeader{type, false, err} result)* MultiHeader{-1, true, -1}
    header   = int type, bool done, int err

The result of a create that answers a stat has type 15 whatever its request had; an error has type -1, and its code
both in the header and as the result.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from zabra.consts import Mode, Op
from zabra.errors import MarshallingError
from zabra.wire.primitives import Reader
from zabra.wire.records_proto import (
    CheckVersionRequest,
    CreateRequest,
    CreateTtlRequest,
    DeleteRequest,
    GetChildrenRequest,
    GetDataRequest,
    SetDataRequest,
)

WriteRequest = CreateRequest | CreateTtlRequest | DeleteRequest | SetDataRequest | CheckVersionRequest
ReadRequest = GetDataRequest | GetChildrenRequest

_HEADER: Final = Struct(">i?i")
_ERROR: Final = Struct(">i?ii")
_END: Final = _HEADER.pack(-1, True, -1)


def decode_multi(r: Reader) -> list[tuple[int, WriteRequest]]:
    """The operations of a multi as (type, request). Raises MarshallingError, also for an operation not allowed in it.

    As in Apache a create's mode decides its type here: one with flags 4 becomes 19, a createTTL without a TTL mode
    becomes a plain create; unknown flags and a TTL mode without a ttl do not parse, nor does a null ACL.
    """
    operations: list[tuple[int, WriteRequest]] = []
    while (type_ := _next_type(r)) is not None:
        if type_ == Op.SET_DATA:
            operations.append((type_, SetDataRequest.decode(r)))
        elif type_ in (Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER):
            operations.append(_create(type_, CreateRequest.decode(r)))
        elif type_ == Op.DELETE:
            operations.append((type_, DeleteRequest.decode(r)))
        elif type_ == Op.CHECK:
            operations.append((type_, CheckVersionRequest.decode(r)))
        elif type_ == Op.CREATE_TTL:
            operations.append(_create_ttl(CreateTtlRequest.decode(r)))
        else:
            raise MarshallingError(f"operation {type_} in a multi")
    return operations


def decode_multi_read(r: Reader) -> list[tuple[int, ReadRequest]]:
    """The operations of a multiRead as (type, request). Raises MarshallingError.

    Watch flags are dropped, as Apache does while decoding.
    """
    operations: list[tuple[int, ReadRequest]] = []
    while (type_ := _next_type(r)) is not None:
        if type_ == Op.GET_DATA:
            operations.append((type_, GetDataRequest(GetDataRequest.decode(r).path, False)))
        elif type_ == Op.GET_CHILDREN:
            operations.append((type_, GetChildrenRequest(GetChildrenRequest.decode(r).path, False)))
        else:
            raise MarshallingError(f"operation {type_} in a multiRead")
    return operations


def _next_type(r: Reader) -> int | None:
    type_, done, _ = r.unpack(_HEADER)
    return None if done else int(type_)


def _create(type_: int, request: CreateRequest) -> tuple[int, WriteRequest]:
    flags = request.flags
    if not Mode.PERSISTENT <= flags <= Mode.CONTAINER or request.acl is None:
        raise MarshallingError(f"create with flags {flags} and ACL {request.acl} in a multi")
    return (Op.CREATE_CONTAINER if flags == Mode.CONTAINER else type_), request


def _create_ttl(request: CreateTtlRequest) -> tuple[int, WriteRequest]:
    flags = request.flags
    if flags in (Mode.TTL, Mode.TTL_SEQUENTIAL):
        return Op.CREATE_TTL, request
    type_ = Op.CREATE_CONTAINER if flags == Mode.CONTAINER else Op.CREATE
    return type_, CreateRequest(request.path, request.data, request.acl, flags)


def encode_operation(type_: int, request: WriteRequest | ReadRequest) -> bytes:
    """One operation, as clients write it."""
    return _HEADER.pack(type_, False, -1) + request.encode()


def encode_result(type_: int, body: bytes) -> bytes:
    """The result of an operation that did what it should."""
    return _HEADER.pack(type_, False, 0) + body


def encode_error_result(code: int) -> bytes:
    """The result of an operation that failed, or that did not happen because another failed."""
    return _ERROR.pack(Op.ERROR, False, code, code)


def encode_multi_end() -> bytes:
    """What ends a request or a response."""
    return _END
