"""The first frame and its reply, with and without the readOnly byte."""

from __future__ import annotations

import pytest
from wire_samples import DATA, GOLDEN, RECORDS

from zabra.errors import MarshallingError
from zabra.wire.handshake import ConnectRequest, encode_connect, encode_connect_response, parse_connect

REQUEST = ConnectRequest(0, 77, 30000, -5, bytes(16), True, True)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def test_a_request_of_apaches_client_is_read() -> None:
    assert parse_connect(GOLDEN["connect request"]) == REQUEST
    assert encode_connect(REQUEST) == framed(GOLDEN["connect request"])


def test_the_read_only_byte_may_be_missing() -> None:
    old = REQUEST._replace(read_only=False, has_read_only=False)
    assert parse_connect(GOLDEN["connect request"][:-1]) == old
    assert encode_connect(old) == framed(GOLDEN["connect request"][:-1])


def test_surplus_bytes_are_ignored() -> None:
    assert parse_connect(GOLDEN["connect request"] + b"more") == REQUEST


def test_a_null_password_is_read() -> None:
    request = REQUEST._replace(password=None)
    assert parse_connect(encode_connect(request)[4:]) == request


@pytest.mark.parametrize("size", [0, 23, 24, 27, 28, 43])
def test_a_cut_request_is_refused(size: int) -> None:
    with pytest.raises(MarshallingError):
        parse_connect(GOLDEN["connect request"][:size])


def test_the_reply_is_apaches() -> None:
    assert RECORDS["connect response"].encode() == GOLDEN["connect response"]
    assert encode_connect_response(30000, -5, DATA, read_only=False) == framed(GOLDEN["connect response"])
    assert encode_connect_response(30000, -5, DATA, read_only=True)[-1:] == b"\1"


def test_an_old_client_gets_no_read_only_byte() -> None:
    assert encode_connect_response(30000, -5, DATA, read_only=None) == framed(GOLDEN["connect response"][:-1])
