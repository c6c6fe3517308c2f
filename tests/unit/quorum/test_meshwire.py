"""The bytes of election connections."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.errors import ProtocolError
from zabra.quorum.meshwire import (
    FRAME_MAX,
    Introduction,
    encode_frame,
    encode_introduction,
    take_frames,
    take_introduction,
)

ADDRESSES = (("zoo1", 3888), ("::1", 3889))


def introduce(text, sid=3, first=-65536, length=None):
    data = text if isinstance(text, bytes) else text.encode()
    return bytearray(struct.pack(">qqi", first, sid, len(data) if length is None else length) + data)


def test_one_address_is_told():
    data = encode_introduction(7, ADDRESSES, multi_address=False)
    assert data == struct.pack(">qqi", -65536, 7, 9) + b"zoo1:3888"


def test_several_addresses_are_told_with_the_switch():
    text = b"zoo1:3888|[0:0:0:0:0:0:0:1]:3889"
    data = encode_introduction(7, ADDRESSES, multi_address=True)
    assert data == struct.pack(">qqi", -65535, 7, len(text)) + text


@pytest.mark.parametrize("first", [-65536, -65535])
def test_addresses_are_read_without_wildcards(first):
    data = introduce("zoo1:3888|[::1]:3889|0.0.0.0:1|[::]:2|[0:0:0:0:0:0:0:0]:3|10.0.0.1:4", first=first)
    assert take_introduction(data) == Introduction(3, (("zoo1", 3888), ("::1", 3889), ("10.0.0.1", 4)))
    assert data == b""


def test_old_servers_tell_only_their_id():
    data = bytearray(struct.pack(">q", 5) + b"rest")
    assert take_introduction(data) == Introduction(5, ())
    assert data == b"rest"


def test_an_introduction_is_read_byte_by_byte():
    whole = encode_introduction(7, ADDRESSES, multi_address=True)
    buffer = bytearray()
    for byte in whole[:-1]:
        buffer.append(byte)
        assert take_introduction(buffer) is None
    buffer += whole[-1:] + b"frame"
    assert take_introduction(buffer) == Introduction(7, (("zoo1", 3888), ("0:0:0:0:0:0:0:1", 3889)))
    assert buffer == b"frame"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (introduce("a:1", first=-65534), "no election connection"),
        (introduce("a:1", first=-1), "no election connection"),
        (introduce(""), "addresses of 0 bytes"),
        (introduce("", length=-1), "addresses of -1 bytes"),
        (introduce("", length=2049), "addresses of 2049 bytes"),
        (introduce("a"), "not an address: 'a'"),
        (introduce("a:65536"), "not an address"),
        (introduce("a:x"), "not an address"),
        (introduce("a:1|"), "not an address: ''"),
        (introduce("::1:1"), "not an address"),
        (introduce("[::1:1"), "not an address"),
        (introduce(b"\xff\xfe"), "not an address"),
    ],
)
def test_what_is_no_introduction_is_refused(data, why):
    with pytest.raises(ProtocolError, match=why):
        take_introduction(data)


def test_an_address_may_fill_its_2048_bytes():
    host = "h" * 2046
    assert take_introduction(introduce(f"{host}:1")).addresses == ((host, 1),)


def test_frames_are_cut_off_and_the_rest_stays():
    buffer = bytearray(encode_frame(b"one") + encode_frame(b"two") + b"\0\0\0\5abc")
    assert take_frames(buffer) == [b"one", b"two"]
    assert buffer == b"\0\0\0\5abc"
    buffer += b"de"
    assert take_frames(buffer) == [b"abcde"]
    assert buffer == b""


def test_a_frame_may_have_half_a_mebibyte():
    payload = bytes(FRAME_MAX)
    assert take_frames(bytearray(encode_frame(payload))) == [payload]


@pytest.mark.parametrize("length", [0, -1, FRAME_MAX + 1, 0x47455420])
def test_other_lengths_are_refused(length):
    with pytest.raises(ProtocolError, match=f"a frame of {length} bytes"):
        take_frames(bytearray(struct.pack(">i", length)))


@given(st.lists(st.binary(min_size=1, max_size=9)), st.integers(1, 7))
def test_frames_are_the_same_in_pieces_of_every_size(payloads, size):
    whole = b"".join(map(encode_frame, payloads))
    buffer, found = bytearray(), []
    for start in range(0, len(whole), size):
        buffer += whole[start : start + size]
        found += take_frames(buffer)
    assert found == payloads


@given(st.binary(max_size=40))
def test_garbage_is_read_waited_for_or_refused(data):
    buffer = bytearray(data)
    try:
        introduction = take_introduction(buffer)
        if introduction is not None:
            take_frames(buffer)
    except ProtocolError:
        return
    assert len(buffer) <= len(data)
