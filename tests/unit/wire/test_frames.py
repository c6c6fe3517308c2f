"""Frames out of chunks, and the words that look like a length."""

from __future__ import annotations

import pytest

from zabra.wire.frames import FrameBuffer, FrameLengthError, four_letter_word, split


def framed(*bodies: bytes) -> bytes:
    return b"".join(len(body).to_bytes(4, "big") + body for body in bodies)


def test_all_whole_frames_are_cut_and_the_rest_is_left() -> None:
    chunk = framed(b"one", b"", b"three")
    assert split(chunk, 5) == ([b"one", b"", b"three"], len(chunk))
    assert split(chunk[:-1], 5) == ([b"one", b""], 11)
    assert split(chunk + b"\0\0\0", 5) == ([b"one", b"", b"three"], len(chunk))


@pytest.mark.parametrize("chunk", [b"", b"\0", b"\0\0\0", b"\0\0\0\1"])
def test_less_than_a_frame_is_no_frame(chunk: bytes) -> None:
    assert split(chunk, 5) == ([], 0)


@pytest.mark.parametrize("length", [-1, -(1 << 31), 6, (1 << 31) - 1])
def test_a_bad_length_is_refused_at_once_and_keeps_what_came_before(length: int) -> None:
    chunk = framed(b"good") + length.to_bytes(4, "big", signed=True)
    with pytest.raises(FrameLengthError, match=f"frame of {length} bytes, allowed are 0 to 5") as caught:
        split(chunk, 5)
    assert caught.value.frames == [b"good"]
    assert caught.value.length == length


def test_a_whole_frame_over_the_limit_is_refused() -> None:
    with pytest.raises(FrameLengthError):
        split(framed(b"123456"), 5)


def test_a_buffer_gives_frames_as_they_become_whole() -> None:
    buffer = FrameBuffer(100)
    chunk = framed(b"abc", b"d" * 50)
    assert buffer.feed(chunk[:2]) == []
    assert buffer.feed(chunk[2:6]) == []
    assert buffer.feed(chunk[6:20]) == [b"abc"]
    assert buffer.feed(b"") == []
    assert buffer.feed(chunk[20:-1]) == []
    assert buffer.feed(chunk[-1:] + framed(b"e")) == [b"d" * 50, b"e"]


def test_a_buffer_refuses_a_bad_length_that_comes_in_pieces() -> None:
    buffer = FrameBuffer(5)
    assert buffer.feed(b"\0\0\0") == []
    with pytest.raises(FrameLengthError):
        buffer.feed(b"\6")


def test_a_big_frame_in_small_chunks_is_not_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []

    def counting_split(chunk: bytes, limit: int) -> tuple[list[bytes], int]:
        looked_at.append(len(chunk))
        return split(chunk, limit)

    monkeypatch.setattr("zabra.wire.frames.split", counting_split)
    buffer = FrameBuffer(1 << 20)
    whole = framed(bytes(1 << 20))
    frames = [frame for i in range(0, len(whole), 1000) for frame in buffer.feed(whole[i : i + 1000])]
    assert frames == [bytes(1 << 20)]
    assert sum(looked_at) <= len(whole) + 2000


@pytest.mark.parametrize("word", ["conf", "ruok", "wchs", "stmk"])
def test_known_words_are_found(word: str) -> None:
    assert four_letter_word(word.encode()) == word


def test_the_telnet_interrupt_is_a_word() -> None:
    assert four_letter_word(b"\xff\xf4\xff\xfd") == "telnet close"


@pytest.mark.parametrize("first", [b"\0\0\0\x2d", b"RUOK", b"abcd", b"GET "])
def test_anything_else_is_a_length(first: bytes) -> None:
    assert four_letter_word(first) is None
