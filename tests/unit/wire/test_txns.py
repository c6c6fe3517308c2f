"""Log payloads: each type's body, and the shorter forms of older logs."""

from __future__ import annotations

import pytest
from wire_samples import GOLDEN, RECORDS

from zabra.consts import Op
from zabra.errors import MarshallingError
from zabra.wire.primitives import Reader, TruncatedError, pack_text, pack_vector
from zabra.wire.records_txn import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SubTxn,
    TxnDigest,
    TxnHeader,
)
from zabra.wire.txns import check_txn, decode_body, decode_sub_txn, decode_txn, encode_txn

HEADER = TxnHeader(-7, 3, 1 << 33, 1700000000000, Op.CREATE)
DIGEST = TxnDigest(2, (1 << 64) - 3)
#: Transaction type -> sample of its body.
BODIES = {
    Op.CREATE: "create txn",
    Op.CREATE2: "create txn",
    Op.DELETE: "delete txn",
    Op.SET_DATA: "set data txn",
    Op.SET_ACL: "set acl txn",
    Op.MULTI: "multi txn",
    Op.RECONFIG: "set data txn",
    Op.CREATE_CONTAINER: "create container txn",
    Op.DELETE_CONTAINER: "delete txn",
    Op.CREATE_TTL: "create ttl txn",
    Op.CREATE_SESSION: "create session txn",
    Op.CLOSE_SESSION: "close session txn",
    Op.ERROR: "error txn",
}


def header(type_: int) -> bytes:
    return HEADER._replace(type=type_).encode()


@pytest.mark.parametrize("digest", [None, DIGEST])
@pytest.mark.parametrize("type_", BODIES)
def test_a_payload_is_header_body_and_perhaps_digest(type_: int, digest: TxnDigest | None) -> None:
    tail = GOLDEN["txn digest"] if digest else b""
    payload = header(type_) + GOLDEN[BODIES[type_]] + tail
    parts = HEADER._replace(type=type_), RECORDS[BODIES[type_]], digest
    assert decode_txn(payload) == parts
    assert encode_txn(*parts) == payload


@pytest.mark.parametrize("type_", [Op.NOTIFICATION, Op.GET_DATA, Op.CHECK, Op.MULTI_READ, 12345])
def test_a_type_that_stands_in_no_log_is_refused(type_: int) -> None:
    with pytest.raises(MarshallingError, match=f"type {type_}"):
        decode_txn(header(type_) + GOLDEN["check txn"])


@pytest.mark.parametrize("size", [0, 31])
def test_a_cut_header_is_refused(size: int) -> None:
    with pytest.raises(TruncatedError):
        decode_txn(header(Op.ERROR)[:size])


@pytest.mark.parametrize("type_", [type_ for type_ in BODIES if type_ not in (Op.CREATE, Op.CLOSE_SESSION)])
def test_a_cut_body_is_refused(type_: int) -> None:
    with pytest.raises(TruncatedError):
        decode_txn(header(type_) + GOLDEN[BODIES[type_]][:-1])


def test_a_create_of_the_oldest_logs_leaves_the_counter_to_the_parent() -> None:
    old = RECORDS["create txn v0"]
    _, body, digest = decode_txn(header(Op.CREATE) + GOLDEN["create txn v0"])
    assert body == CreateTxn(old.path, old.data, old.acl, old.ephemeral, -1)
    assert digest is None


def test_only_creates_have_the_old_form() -> None:
    with pytest.raises(TruncatedError):
        decode_body(Op.CREATE2, Reader(GOLDEN["create txn v0"]))
    with pytest.raises(TruncatedError):
        decode_body(Op.CREATE, Reader(GOLDEN["create txn v0"][:-1]))


def test_a_buffer_over_jute_maxbuffer_is_read_from_a_log() -> None:
    body = RECORDS["set data txn"]._replace(data=bytes(3 << 20))
    assert decode_txn(header(Op.SET_DATA) + body.encode())[1] == body


@pytest.mark.parametrize("digest", [None, DIGEST, TxnDigest(2, 5), TxnDigest(1, 0)])
def test_a_close_session_may_have_no_body(digest: TxnDigest | None) -> None:
    payload = header(Op.CLOSE_SESSION) + (digest.encode() if digest else b"")
    assert decode_txn(payload)[1:] == (None, digest)


@pytest.mark.parametrize(
    "paths",
    [
        pytest.param((b"/abc",), id="12 bytes, as many as a digest"),
        pytest.param((), id="no paths"),
        pytest.param(None, id="null list"),
        pytest.param((b"/a", b"/b"), id="two paths"),
    ],
)
@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_close_session_lists_its_paths(paths: tuple[bytes, ...] | None, digest: TxnDigest | None) -> None:
    body = CloseSessionTxn(paths)
    payload = header(Op.CLOSE_SESSION) + body.encode() + (digest.encode() if digest else b"")
    assert decode_txn(payload)[1:] == (body, digest)


def test_a_cut_list_of_a_close_session_counts_as_none() -> None:
    cut = CloseSessionTxn((b"/a", b"/b")).encode()[:-1]
    assert decode_txn(header(Op.CLOSE_SESSION) + cut)[1:] == (None, None)


def test_a_broken_list_of_a_close_session_is_refused() -> None:
    broken = pack_vector([-2], lambda length: length.to_bytes(4, "big", signed=True))
    with pytest.raises(MarshallingError, match="negative"):
        decode_txn(header(Op.CLOSE_SESSION) + broken)


def test_the_parts_of_a_multi_decode_one_by_one() -> None:
    _, body, _ = decode_txn(header(Op.MULTI) + GOLDEN["multi txn"])
    assert isinstance(body, MultiTxn)
    assert body.txns is not None
    assert [decode_sub_txn(sub) for sub in body.txns] == [DeleteTxn(b"/a"), ErrorTxn(-2)]


def test_a_check_stands_only_in_a_multi() -> None:
    assert decode_sub_txn(SubTxn(Op.CHECK, GOLDEN["check txn"])) == RECORDS["check txn"]


@pytest.mark.parametrize("type_", [Op.MULTI, Op.SET_ACL, Op.RECONFIG, Op.CREATE_SESSION, Op.CLOSE_SESSION, 99])
def test_what_may_not_stand_in_a_multi_is_refused(type_: int) -> None:
    with pytest.raises(MarshallingError, match=f"type {type_} in a multi"):
        decode_sub_txn(SubTxn(type_, GOLDEN["multi txn null"]))


def test_a_part_without_data_is_refused() -> None:
    with pytest.raises(MarshallingError):
        decode_sub_txn(SubTxn(Op.DELETE, None))


def test_a_path_that_is_no_utf8_stays_as_it_is() -> None:
    assert decode_sub_txn(SubTxn(Op.DELETE, pack_text("/ä")[:-1] + b"\xff")) == DeleteTxn(b"/\xc3\xff")


@pytest.mark.parametrize("path", [None, b"", b"/", b"a", b"a/b", b"/a/"])
def test_what_no_tree_can_make_or_remove_is_refused(path: bytes | None) -> None:
    bodies = {
        Op.CREATE: CreateTxn(path, b"", None, False, -1),
        Op.CREATE_CONTAINER: CreateContainerTxn(path, b"", None, -1),
        Op.CREATE_TTL: CreateTtlTxn(path, b"", None, -1, 1),
        Op.DELETE: DeleteTxn(path),
    }
    for type_, body in bodies.items():
        with pytest.raises(MarshallingError, match="the path"):
            decode_txn(header(type_) + body.encode())
        with pytest.raises(MarshallingError, match="the path"):
            decode_sub_txn(SubTxn(type_, body.encode()))
    with pytest.raises(MarshallingError, match="the path"):
        decode_txn(header(Op.CREATE) + CreateTxn(path, b"", None, False, -1).encode()[:-4])


@pytest.mark.parametrize("ttl", [-1, 0, 1 << 40])
def test_a_ttl_that_no_owner_can_hold_is_refused(ttl: int) -> None:
    with pytest.raises(MarshallingError, match=f"ttl of {ttl} ms"):
        decode_txn(header(Op.CREATE_TTL) + CreateTtlTxn(b"/a", b"", None, -1, ttl).encode())


def test_a_close_session_that_removes_the_root_is_refused() -> None:
    with pytest.raises(MarshallingError, match="the root"):
        decode_txn(header(Op.CLOSE_SESSION) + CloseSessionTxn((b"/a", b"/")).encode())


def test_a_check_looks_into_a_multi() -> None:
    good = SubTxn(Op.DELETE, DeleteTxn(b"/a").encode())
    for part in (SubTxn(Op.DELETE, b""), SubTxn(Op.MULTI, b""), SubTxn(Op.SET_DATA, None)):
        payload = header(Op.MULTI) + MultiTxn((good, part)).encode()
        assert decode_txn(payload)[1] == MultiTxn((good, part))
        with pytest.raises(MarshallingError):
            check_txn(payload)
    payload = header(Op.MULTI) + MultiTxn((good, good)).encode()
    assert check_txn(payload) == decode_txn(payload)
