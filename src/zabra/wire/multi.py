"""The bodies of multi and multiRead (``MultiOperationRecord``, ``MultiResponse``, 3.9.5).

  request   repeated: MultiHeader{int type, bool done=false, int err=-1}, request record;  end: MultiHeader{-1, true, -1}
  response  repeated: MultiHeader{int type, bool done=false, int err}, result;             end: MultiHeader{-1, true, -1}

A failed operation's type is -1, its header's err is the code and its result that code once more.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, Protocol, Self

from zabra.consts import Op
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

_HEADER: Final = Struct(">i?i")
_ERROR: Final = Struct(">i?ii")
_END: Final = _HEADER.pack(-1, True, -1)


class _Record(Protocol):
    @classmethod
    def decode(cls, r: Reader) -> Self: ...


_WRITES: Final[dict[int, type[_Record]]] = {
    Op.CREATE: CreateRequest,
    Op.CREATE2: CreateRequest,
    Op.CREATE_CONTAINER: CreateRequest,
    Op.CREATE_TTL: CreateTtlRequest,
    Op.DELETE: DeleteRequest,
    Op.SET_DATA: SetDataRequest,
    Op.CHECK: CheckVersionRequest,
}
_READS: Final[dict[int, type[_Record]]] = {Op.GET_DATA: GetDataRequest, Op.GET_CHILDREN: GetChildrenRequest}


def decode_multi(r: Reader) -> list[tuple[int, object]]:
    """The operations of a multi as (type, request record). Raises MarshallingError, also for an op that may not be in it."""
    return _decode(r, _WRITES)


def decode_multi_read(r: Reader) -> list[tuple[int, object]]:
    """The operations of a multiRead as (type, request record). Raises MarshallingError."""
    return _decode(r, _READS)


def _decode(r: Reader, records: dict[int, type[_Record]]) -> list[tuple[int, object]]:
    operations: list[tuple[int, object]] = []
    while True:
        type_, done, _ = r.read_struct(_HEADER)
        if done:
            return operations
        record = records.get(type_)
        if record is None:
            raise MarshallingError(f"operation {type_} inside a multi")
        operations.append((type_, record.decode(r)))


def encode_result(type_: int, body: bytes) -> bytes:
    """One successful operation's result."""
    return _HEADER.pack(type_, False, 0) + body


def encode_error_result(code: int) -> bytes:
    """One failed operation's result."""
    return _ERROR.pack(Op.ERROR, False, code, code)


def encode_multi_end() -> bytes:
    """What ends a response, and a request too."""
    return _END
