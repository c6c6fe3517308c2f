"""Simple types: limits, nulls, and texts that are no UTF-8."""

from __future__ import annotations

from struct import Struct

import pytest
from wire_samples import GOLDEN, TEXTS

from zabra.consts import JUTE_MAX_BUFFER
from zabra.errors import MarshallingError
from zabra.wire.primitives import Reader, TruncatedError, pack_buffer, pack_path, pack_text, pack_vector


def length(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)


def test_numbers_are_signed_and_big_endian() -> None:
    r = Reader(b"\xff\xff\xff\xfe" + b"\x80" + bytes(7) + b"\0\0\0\1\0\2")
    assert r.read_int() == -2
    assert r.read_long() == -(1 << 63)
    assert r.unpack(Struct(">ih")) == (1, 2)
    assert r.pos == r.end == 18


def test_any_byte_but_zero_is_true() -> None:
    r = Reader(b"\0\1\2\xff")
    assert [r.read_bool() for _ in range(4)] == [False, True, True, True]
    assert Reader(b"\2").unpack(Struct(">?")) == (True,)


def test_a_buffer_is_null_empty_or_bytes() -> None:
    r = Reader(length(-1) + length(0) + length(2) + b"ab")
    assert [r.read_buffer(), r.read_path(), r.read_buffer()] == [None, b"", b"ab"]
    assert [pack_buffer(None), pack_path(b""), pack_buffer(b"ab")] == [length(-1), length(0), length(2) + b"ab"]


@pytest.mark.parametrize("bad", [-2, -(1 << 31)])
def test_other_negative_lengths_are_refused(bad: int) -> None:
    with pytest.raises(MarshallingError, match="negative length"):
        Reader(length(bad) + b"abcdef").read_buffer()


def test_a_buffer_over_the_limit_is_refused_before_it_is_looked_for() -> None:
    assert Reader(length(3) + b"abc", limit=3).read_buffer() == b"abc"
    with pytest.raises(MarshallingError, match="over the limit of 3") as caught:
        Reader(length(4), limit=3).read_buffer()
    assert not isinstance(caught.value, TruncatedError)


def test_the_default_limit_is_max_buffer_and_as_much_again() -> None:
    assert Reader(b"").limit == 2 * JUTE_MAX_BUFFER


@pytest.mark.parametrize("raw", [b"", b"\0\0\0", length(1), length(5) + b"abcd"])
def test_a_buffer_cut_short_is_truncated(raw: bytes) -> None:
    with pytest.raises(TruncatedError):
        Reader(raw).read_buffer()


@pytest.mark.parametrize("read", ["read_int", "read_long", "read_bool"])
def test_nothing_is_read_behind_the_end(read: str) -> None:
    with pytest.raises(TruncatedError):
        getattr(Reader(bytes(20), 5, 5), read)()


def test_vectors_are_null_empty_or_elements() -> None:
    r = Reader(length(-1) + length(-7) + length(0) + length(2) + length(1) + length(5))
    assert [r.read_vector(Reader.read_int) for _ in range(4)] == [None, (), (), (1, 5)]
    assert pack_vector(None, pack_text) == length(-1)
    assert pack_vector(["a"], pack_text) == length(1) + length(1) + b"a"


def test_a_vector_that_promises_too_much_is_truncated() -> None:
    with pytest.raises(TruncatedError):
        Reader(length(0x7FFFFFFF) + length(1)).read_vector(Reader.read_int)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_read_as_in_java(name: str) -> None:
    raw, text = TEXTS[name]
    assert Reader(raw).read_text() == text


def test_javas_surrogate_pairs_are_joined() -> None:
    assert GOLDEN["surrogates"] == b"\0\0\0\6\xed\xa0\xbd\xed\xb8\x80"
    assert Reader(GOLDEN["surrogates"]).read_text() == "\U0001f600"


@pytest.mark.parametrize("text", ["\U00010000", "\U0010ffff", "\U0001f600x"])
def test_every_surrogate_pair_finds_its_character(text: str) -> None:
    raw = text.encode("utf-16-be")
    pair = "".join(chr(int.from_bytes(raw[i : i + 2], "big")) for i in range(0, len(raw), 2))
    java = pair.encode("utf-8", "surrogatepass")
    assert Reader(length(len(java)) + java).read_text() == text


def test_characters_beyond_the_basic_plane_are_written_as_four_bytes() -> None:
    assert pack_text("\U0001f600") == length(4) + b"\xf0\x9f\x98\x80"


def test_half_a_pair_is_written_like_java_and_reads_as_replacement() -> None:
    raw = pack_text("a\ud83d")
    assert raw == length(4) + b"a\xed\xa0\xbd"
    assert Reader(raw).read_text() == "a\ufffd"


def test_null_and_empty_texts_differ() -> None:
    assert pack_text(None) == length(-1)
    assert Reader(pack_text(None)).read_text() is None
    assert Reader(pack_text("")).read_text() == ""
