"""Every record decoder: what was encoded comes back, and garbage is read or refused, never anything else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.errors import MarshallingError
from zabra.wire import records_data, records_proto, records_quorum, records_txn
from zabra.wire.handshake import ConnectRequest, encode_connect, encode_connect_response, parse_connect
from zabra.wire.multi import decode_multi, decode_multi_read, encode_multi_end, encode_operation
from zabra.wire.primitives import Reader, pack_text
from zabra.wire.records_proto import ConnectResponse, CreateRequest
from zabra.wire.txns import SubTxn, decode_body, decode_sub_txn, decode_txn, encode_txn

_GENERATOR = Path(__file__).parents[2] / "dev" / "gen_records.py"


def _load_generator() -> Any:
    spec = importlib.util.spec_from_file_location("gen_records", _GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gen_records"] = module
    spec.loader.exec_module(module)
    return module


_gen = _load_generator()
_CLASSES: dict[str, Any] = {}
for _module in (records_data, records_proto, records_quorum, records_txn):
    _CLASSES.update(vars(_module))
SCHEMA = {
    record.name: record
    for module in _gen.parse((_gen.WIRE / "schema.jute").read_text(encoding="utf-8"))
    for record in module.records
}

few = settings(max_examples=300, deadline=None, database=None)

INTS = st.integers(-(1 << 31), (1 << 31) - 1)
LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
BUFFERS = st.none() | st.binary(max_size=30)
TEXTS = st.none() | st.text(max_size=20)
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "int": INTS,
    "long": LONGS,
    "ulong": st.integers(0, (1 << 64) - 1),
    "boolean": st.booleans(),
    "path": BUFFERS,
    "buffer": BUFFERS,
    "ustring": TEXTS,
    "identity": st.tuples(st.text(max_size=20), st.text(max_size=20)),
    "acl": st.none() | st.lists(st.tuples(INTS, st.text(max_size=9), st.text(max_size=9)), max_size=3).map(tuple),
    "raw_acl": st.none() | st.lists(st.tuples(INTS, TEXTS, TEXTS), max_size=3).map(tuple),
}


def values(type_: str) -> st.SearchStrategy[Any]:
    """Values of a schema type."""
    if type_ in SIMPLE:
        return SIMPLE[type_]
    if type_.startswith("vector<"):
        return st.none() | st.lists(values(type_[7:-1]), max_size=3).map(tuple)
    return st.builds(_CLASSES[type_], *(values(field.type) for field in SCHEMA[type_].fields))


RECORDS = st.sampled_from(sorted(SCHEMA)).flatmap(values)
CLASSES = st.sampled_from([_CLASSES[name] for name in sorted(SCHEMA)])


def plainly(type_: str, value: Any) -> bytes:
    """The bytes of a value, encoded field by field straight from the schema."""
    if type_ == "boolean":
        return b"\1" if value else b"\0"
    if type_ in ("int", "long", "ulong"):
        return value.to_bytes(4 if type_ == "int" else 8, "big", signed=type_ != "ulong")
    if type_ in SCHEMA:
        fields = zip(SCHEMA[type_].fields, value, strict=True)
        return b"".join(plainly(field.type, part) for field, part in fields)
    if type_ == "identity":
        return plainly("ustring", value[0]) + plainly("ustring", value[1])
    if value is None:
        return b"\xff\xff\xff\xff"
    if type_ in ("acl", "raw_acl"):
        parts = [plainly("int", entry[0]) + plainly("identity", entry[1:]) for entry in value]
    elif type_.startswith("vector<"):
        parts = [plainly(type_[7:-1], item) for item in value]
    else:
        raw = value.encode() if isinstance(value, str) else value
        return len(raw).to_bytes(4, "big") + raw
    return len(parts).to_bytes(4, "big") + b"".join(parts)


def refuses_or(decode: Callable[[], Any]) -> Any:
    """What ``decode`` gives, None when it refuses; any other error goes through and fails the test."""
    try:
        return decode()
    except MarshallingError:
        return None


BAD_LENGTHS = [b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe", b"\x7f\xff\xff\xff", bytes(4)]


@st.composite
def damaged(draw: st.DrawFn, intact: st.SearchStrategy[bytes]) -> bytes:
    """Bytes that were good once: cut, overwritten, or with something in between."""
    raw = bytearray(draw(intact))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            del raw[at:]
        elif kind == 1:
            raw[at : at + 4] = draw(
                st.sampled_from([b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe", b"\x7f\xff\xff\xff", bytes(4)])
            )
        else:
            raw[at:at] = draw(st.binary(max_size=6))
    return bytes(raw)


@few
@given(RECORDS)
def test_a_record_comes_back(record: Any) -> None:
    raw = record.encode()
    r = Reader(b"in front" + raw + b"behind", 8)
    assert type(record).decode(r) == record
    assert r.pos == 8 + len(raw)


@few
@given(RECORDS)
def test_a_record_has_the_bytes_of_its_schema(record: Any) -> None:
    assert record.encode() == plainly(type(record).__name__, record)


@few
@given(CLASSES, st.binary(max_size=120) | damaged(RECORDS.map(lambda record: record.encode())))
def test_garbage_is_a_record_or_refused(record: Any, raw: bytes) -> None:
    r = Reader(raw)
    read = refuses_or(lambda: record.decode(r))
    if read is not None:
        assert r.pos <= len(raw)
        assert record.decode(Reader(read.encode())) == read


TXN_TYPES = st.sampled_from([1, 2, 5, 7, 13, 14, 15, 16, 19, 20, 21, -1, -10, -11, 0, 99])


@few
@given(TXN_TYPES, st.binary(max_size=120) | damaged(RECORDS.map(lambda record: record.encode())))
def test_a_log_payload_is_read_or_refused(type_: int, rest: bytes) -> None:
    payload = bytes(28) + type_.to_bytes(4, "big", signed=True) + rest
    read = refuses_or(lambda: decode_txn(payload))
    if read is not None:
        assert decode_txn(encode_txn(*read)) == read
    refuses_or(lambda: decode_body(type_, Reader(rest)))
    refuses_or(lambda: decode_sub_txn(SubTxn(type_, rest)))


@few
@given(st.binary(max_size=40))
def test_a_short_log_payload_is_read_or_refused(payload: bytes) -> None:
    refuses_or(lambda: decode_txn(payload))


def operation(pair: tuple[int, str]) -> st.SearchStrategy[bytes]:
    """An operation of a multi."""
    return values(pair[1]).map(lambda request: encode_operation(pair[0], request))


OPERATIONS = st.sampled_from(
    [
        (1, "CreateRequest"),
        (15, "CreateRequest"),
        (19, "CreateRequest"),
        (21, "CreateTtlRequest"),
        (2, "DeleteRequest"),
        (5, "SetDataRequest"),
        (13, "CheckVersionRequest"),
        (4, "GetDataRequest"),
        (8, "GetChildrenRequest"),
    ]
).flatmap(operation)
MULTIS = st.lists(OPERATIONS, max_size=4).map(lambda parts: b"".join(parts) + encode_multi_end())


def refused_as_create(request: Any) -> bool:
    """Whether this came from a createTTL that became a plain create, which as such would not have been read."""
    return isinstance(request, CreateRequest) and (request.acl is None or not 0 <= request.flags <= 4)


@few
@given(MULTIS | damaged(MULTIS) | st.binary(max_size=80))
def test_a_multi_is_read_or_refused(raw: bytes) -> None:
    for decode in (decode_multi, decode_multi_read):
        read = refuses_or(lambda decode=decode: decode(Reader(raw)))
        if read is not None and not any(refused_as_create(request) for _, request in read):
            again = b"".join(encode_operation(type_, request) for type_, request in read) + encode_multi_end()
            assert decode(Reader(again)) == read


@few
@given(st.binary(max_size=60))
def test_a_connect_request_is_read_or_refused(frame: bytes) -> None:
    request = refuses_or(lambda: parse_connect(frame))
    if request is not None:
        assert parse_connect(encode_connect(request)[4:]) == request


@few
@given(INTS, LONGS, INTS, LONGS, BUFFERS, st.booleans(), st.booleans())
def test_a_connect_request_comes_back(
    version: int, zxid: int, timeout: int, session: int, password: bytes | None, flag: bool, has_flag: bool
) -> None:
    request = ConnectRequest(version, zxid, timeout, session, password, flag and has_flag, has_flag)
    raw = encode_connect(request)
    assert int.from_bytes(raw[:4], "big") == len(raw) - 4
    assert parse_connect(raw[4:]) == request


@few
@given(INTS, LONGS, st.binary(max_size=20), st.none() | st.booleans())
def test_a_connect_reply_is_its_record(timeout: int, session: int, password: bytes, flag: bool | None) -> None:
    raw = encode_connect_response(timeout, session, password, read_only=flag)
    body = ConnectResponse(0, timeout, session, password, bool(flag)).encode()
    if flag is None:
        body = body[:-1]
    assert raw == len(body).to_bytes(4, "big") + body


@few
@given(st.text())
def test_a_text_comes_back_even_when_java_wrote_it(text: str) -> None:
    assert Reader(pack_text(text)).read_text() == text
    units = text.encode("utf-16-be")
    halves = "".join(chr(int.from_bytes(units[i : i + 2], "big")) for i in range(0, len(units), 2))
    java = halves.encode("utf-8", "surrogatepass")
    assert Reader(len(java).to_bytes(4, "big") + java).read_text() == text


@few
@given(st.binary() | st.lists(st.sampled_from([b"\xed", b"\xa0\x80", b"\xb0", b"\xe2\x82", b"a"])).map(b"".join))
def test_any_bytes_are_some_text(raw: bytes) -> None:
    text = Reader(len(raw).to_bytes(4, "big") + raw).read_text()
    assert text is not None
    assert Reader(pack_text(text)).read_text() == text
