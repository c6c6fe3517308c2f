"""Multi: what may stand in it, and results in Apache's shape."""

from __future__ import annotations

import pytest
from wire_samples import DATA, GOLDEN, OPEN, PATHS, STAT

from zabra.consts import Op
from zabra.errors import MarshallingError
from zabra.wire.multi import (
    WriteRequest,
    decode_multi,
    decode_multi_read,
    encode_error_result,
    encode_multi_end,
    encode_operation,
    encode_result,
)
from zabra.wire.primitives import Reader
from zabra.wire.records_proto import (
    CheckVersionRequest,
    Create2Response,
    CreateRequest,
    CreateResponse,
    CreateTtlRequest,
    DeleteRequest,
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    MultiHeader,
    SetAclRequest,
    SetDataRequest,
    SetDataResponse,
)


def decode_one(type_: int, request: WriteRequest) -> tuple[int, WriteRequest]:
    (operation,) = decode_multi(Reader(encode_operation(type_, request) + encode_multi_end()))
    return operation


def test_a_multi_of_apaches_client_is_read() -> None:
    r = Reader(GOLDEN["multi"])
    operations = decode_multi(r)
    assert operations == [
        (Op.CREATE, CreateRequest(b"/a", DATA, OPEN, 0)),
        (Op.CREATE_CONTAINER, CreateRequest(b"/b", DATA, OPEN, 4)),
        (Op.CREATE_TTL, CreateTtlRequest(b"/c", DATA, OPEN, 5, 5)),
        (Op.SET_DATA, SetDataRequest(b"/a", None, 0)),
        (Op.CHECK, CheckVersionRequest(b"/a", 1)),
        (Op.DELETE, DeleteRequest(b"/a", -1)),
    ]
    assert r.pos == len(GOLDEN["multi"])
    written = b"".join(encode_operation(*operation) for operation in operations) + encode_multi_end()
    assert written == GOLDEN["multi"]


def test_a_multi_read_of_apaches_client_is_read() -> None:
    expected = [(Op.GET_DATA, GetDataRequest(b"/a", False)), (Op.GET_CHILDREN, GetChildrenRequest(b"/b", False))]
    assert decode_multi_read(Reader(GOLDEN["multi read"])) == expected


def test_an_empty_multi_is_legal() -> None:
    assert decode_multi(Reader(GOLDEN["multi empty"])) == []
    assert decode_multi_read(Reader(GOLDEN["multi empty"])) == []


def test_a_multi_read_drops_watches() -> None:
    raw = encode_operation(Op.GET_DATA, GetDataRequest(b"/a", True)) + encode_multi_end()
    assert decode_multi_read(Reader(raw)) == [(Op.GET_DATA, GetDataRequest(b"/a", False))]


@pytest.mark.parametrize("type_", [Op.GET_DATA, Op.GET_CHILDREN])
def test_reads_are_refused_in_a_multi(type_: int) -> None:
    raw = encode_operation(type_, GetDataRequest(b"/a", False)) + encode_multi_end()
    with pytest.raises(MarshallingError, match=f"operation {type_}"):
        decode_multi(Reader(raw))


def test_writes_are_refused_in_a_multi_read() -> None:
    read = encode_operation(Op.GET_DATA, GetDataRequest(b"/a", False))
    raw = read + encode_operation(Op.DELETE, DeleteRequest(b"/a", -1)) + encode_multi_end()
    with pytest.raises(MarshallingError, match="operation 2"):
        decode_multi_read(Reader(raw))


@pytest.mark.parametrize("type_", [Op.SET_ACL, Op.DELETE_CONTAINER, Op.MULTI, Op.RECONFIG, Op.ERROR, 0, 77])
def test_other_operations_are_refused(type_: int) -> None:
    raw = MultiHeader(type_, False, -1).encode() + SetAclRequest(b"/a", OPEN, 0).encode() + encode_multi_end()
    for decode in (decode_multi, decode_multi_read):
        with pytest.raises(MarshallingError, match="operation"):
            decode(Reader(raw))


@pytest.mark.parametrize("type_", [Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER])
@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_a_create_keeps_its_type(type_: int, flags: int) -> None:
    request = CreateRequest(b"/a", DATA, OPEN, flags)
    assert decode_one(type_, request) == (type_, request)


@pytest.mark.parametrize("type_", [Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER])
def test_a_create_of_a_container_becomes_type_19(type_: int) -> None:
    request = CreateRequest(b"/a", DATA, OPEN, 4)
    assert decode_one(type_, request) == (Op.CREATE_CONTAINER, request)


@pytest.mark.parametrize("flags", [-1, 5, 6, 7])
def test_a_create_with_flags_of_no_use_does_not_parse(flags: int) -> None:
    with pytest.raises(MarshallingError, match=f"flags {flags}"):
        decode_one(Op.CREATE2, CreateRequest(b"/a", DATA, OPEN, flags))


def test_a_create_with_a_null_acl_does_not_parse_but_an_empty_one_does() -> None:
    with pytest.raises(MarshallingError, match="ACL None"):
        decode_one(Op.CREATE, CreateRequest(b"/a", DATA, None, 0))
    assert decode_one(Op.CREATE, CreateRequest(b"/a", DATA, (), 0))[1].acl == ()


@pytest.mark.parametrize(("flags", "type_"), [(0, Op.CREATE), (3, Op.CREATE), (4, Op.CREATE_CONTAINER), (9, Op.CREATE)])
def test_a_create_ttl_of_another_mode_is_a_plain_create(flags: int, type_: int) -> None:
    operation = decode_one(Op.CREATE_TTL, CreateTtlRequest(b"/a", DATA, None, flags, 8))
    assert operation == (type_, CreateRequest(b"/a", DATA, None, flags))


@pytest.mark.parametrize("name", ["multi", "multi read"])
def test_a_cut_multi_is_refused(name: str) -> None:
    for size in range(len(GOLDEN[name])):
        for decode in (decode_multi, decode_multi_read):
            with pytest.raises(MarshallingError):
                decode(Reader(GOLDEN[name], 0, size))


def test_results_have_apaches_shape() -> None:
    reply = [
        encode_result(Op.CREATE, CreateResponse(b"/a").encode()),
        encode_result(Op.CREATE2, Create2Response(b"/b", STAT).encode()),
        encode_result(Op.SET_DATA, SetDataResponse(STAT).encode()),
        encode_result(Op.CHECK, b""),
        encode_result(Op.DELETE, b""),
        encode_result(Op.GET_DATA, GetDataResponse(DATA, STAT).encode()),
        encode_result(Op.GET_CHILDREN, GetChildrenResponse(PATHS).encode()),
        encode_multi_end(),
    ]
    assert b"".join(reply) == GOLDEN["multi reply"]


def test_error_results_have_apaches_shape() -> None:
    reply = b"".join(map(encode_error_result, (0, -101, -2))) + encode_multi_end()
    assert reply == GOLDEN["multi reply errors"]


def test_an_empty_result_is_only_an_end() -> None:
    assert encode_multi_end() == GOLDEN["multi reply empty"]
