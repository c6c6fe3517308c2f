"""The frame splitter gives the same frames however the bytes are cut into chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.wire.frames import FrameBuffer, FrameLengthError, split

few = settings(max_examples=300, deadline=None, database=None)

LIMIT = 40
FRAMES = st.binary(max_size=LIMIT).map(lambda body: len(body).to_bytes(4, "big") + body)
#: Good frames, mostly; now and then garbage, which is a bad length or an endless frame.
STREAMS = st.lists(FRAMES | FRAMES | FRAMES | st.binary(max_size=9), max_size=8).map(b"".join)


def plainly(stream: bytes) -> tuple[list[bytes], bool]:
    """The frames up to the end or the first bad length, and whether there is one."""
    frames = []
    while len(stream) >= 4:
        length = int.from_bytes(stream[:4], "big", signed=True)
        if length < 0 or length > LIMIT:
            return frames, True
        if len(stream) < 4 + length:
            break
        frames.append(stream[4 : 4 + length])
        stream = stream[4 + length :]
    return frames, False


def fed(stream: bytes, cuts: list[int]) -> tuple[list[bytes], bool]:
    """The same through a FrameBuffer, in chunks that end at ``cuts``."""
    buffer = FrameBuffer(LIMIT)
    frames: list[bytes] = []
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(edges):
        try:
            frames += buffer.feed(stream[start:end])
        except FrameLengthError as error:
            return frames + error.frames, True
    return frames, False


@few
@given(STREAMS)
def test_whole_and_byte_by_byte_agree(stream: bytes) -> None:
    expected = plainly(stream)
    assert fed(stream, []) == expected
    assert fed(stream, list(range(len(stream)))) == expected


@few
@given(STREAMS, st.lists(st.integers(0, 1000), max_size=6))
def test_any_chunks_agree(stream: bytes, cuts: list[int]) -> None:
    assert fed(stream, cuts) == plainly(stream)


@few
@given(STREAMS)
def test_what_split_leaves_is_less_than_a_frame(stream: bytes) -> None:
    frames, bad = plainly(stream)
    if bad:
        with pytest.raises(FrameLengthError) as caught:
            split(stream, LIMIT)
        assert caught.value.frames == frames
        return
    found, used = split(stream, LIMIT)
    assert found == frames
    assert used == sum(len(frame) + 4 for frame in frames)
