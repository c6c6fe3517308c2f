"""A mutated log is read or refused: no entry that was not written, whole and piecewise alike, no memory for lengths."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.errors import DataError
from zabra.storage.logformat import ENTRY_HEAD, HEADER, frame
from zabra.storage.logreader import LogFolder
from zabra.storage.torn import WRITE_MAX

few = settings(max_examples=300, deadline=None, database=None)

FOLDER = "/logs"


class BytesFile:
    """A file in memory, read-only."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def pread(self, size: int, offset: int) -> bytes:
        return self._content[offset : offset + size]

    def size(self) -> int:
        return len(self._content)

    def close(self) -> None:
        pass


class BytesDisk:
    """Read-only files of one folder."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def open(self, path: str) -> BytesFile:
        return BytesFile(self._files[path.removeprefix(f"{FOLDER}/")])

    def listdir(self, _: str) -> list[str]:
        return sorted(self._files)


def entry(zxid: int, data: bytes) -> bytes:
    """A payload: header of a transaction that writes ``data``."""
    return b"session!" + b"cxid" + zxid.to_bytes(8, "big") + b"time" * 2 + b"type" + data


class Log(NamedTuple):
    payloads: list[bytes]
    content: bytes


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """A valid log with padding."""
    # Zeros and the end byte in the data are what a reader may stumble over.
    data = st.binary(max_size=40) | st.integers(0, 1500).map(bytes) | st.integers(0, 600).map(lambda n: b"B" * n)
    payloads = [entry(zxid, body) for zxid, body in enumerate(draw(st.lists(data, max_size=8)), 1)]
    padding = bytes(draw(st.sampled_from((0, 1, 12, 13, 600, 5000))))
    return Log(payloads, HEADER + b"".join(map(frame, payloads)) + padding)


Mutation = Callable[[bytearray], None]


def flip(at: int, bit: int) -> Mutation:
    def apply(content: bytearray) -> None:
        if content:
            content[at % len(content)] ^= 1 << bit

    return apply


def overwrite(at: int, data: bytes) -> Mutation:
    def apply(content: bytearray) -> None:
        start = at % (len(content) + 1)
        content[start : start + len(data)] = data

    return apply


def cut(at: int) -> Mutation:
    def apply(content: bytearray) -> None:
        del content[at % (len(content) + 1) :]

    return apply


def remove(at: int, size: int) -> Mutation:
    def apply(content: bytearray) -> None:
        start = at % (len(content) + 1)
        del content[start : start + size]

    return apply


PLACES = st.integers(0, 20000)
MUTATIONS = st.lists(
    st.builds(flip, PLACES, st.integers(0, 7))
    | st.builds(overwrite, PLACES, st.binary(min_size=1, max_size=30) | st.integers(1, 600).map(bytes))
    | st.builds(cut, PLACES)
    | st.builds(remove, PLACES, st.integers(1, 700)),
    min_size=1,
    max_size=3,
)


def read(content: bytes, chunk_size: int = 1 << 20) -> tuple[list[bytes], str]:
    """Payloads of a log, and how it ended: the torn tail or the error, which names file and offset."""
    scan = LogFolder(BytesDisk({"log.1": content}), FOLDER, chunk_size=chunk_size).scan(0)  # type: ignore[arg-type]
    found = []
    try:
        for zxid, payload in scan:
            assert zxid == int.from_bytes(payload[12:20], "big")
            found.append(payload)
    except DataError as error:
        end = str(error)
    else:
        return found, repr((scan.torn, scan.unstarted))
    assert end.startswith(f"{FOLDER}/log.1: offset ")
    return found, end


@few
@given(logs())
def test_what_was_written_is_read(log: Log) -> None:
    assert read(log.content) == (log.payloads, repr((None, None)))


@few
@given(logs(), MUTATIONS, st.sampled_from((1, 7, 512, 4096)))
def test_a_mutated_log_gives_a_beginning_of_what_was_written_or_an_error(
    log: Log, mutations: list[Mutation], chunk_size: int
) -> None:
    content = bytearray(log.content)
    for mutation in mutations:
        mutation(content)
    found, end = read(bytes(content))
    # Whole entries may be missing from the middle where a mutation removed or moved exactly them.
    position = 0
    for payload in found:
        assert payload in log.payloads[position:]
        position = log.payloads.index(payload, position) + 1
    assert read(bytes(content), chunk_size) == (found, end)


@few
@given(logs(), PLACES, st.integers(0, 7))
def test_a_flipped_bit_in_an_entry_is_never_passed_over(log: Log, at: int, bit: int) -> None:
    """An acknowledged entry that has rotted stops the start, whatever is behind it; it is not taken for a torn end.

    The exception that the format leaves: rot in an entry of the last write that holds a sector of zeros as data.
    """
    entries = b"".join(map(frame, log.payloads))
    if not entries or bytes(512) in entries:
        return
    at = len(HEADER) + at % len(entries)
    content = bytearray(log.content)
    content[at] ^= 1 << bit
    found, end = read(bytes(content))
    before = 0
    while len(HEADER) + len(b"".join(map(frame, log.payloads[: before + 1]))) <= at:
        before += 1
    assert found == log.payloads[:before]
    assert "damaged entry" in end


@few
@given(st.binary(max_size=100) | st.binary(max_size=60).map(lambda rest: HEADER + rest))
def test_rubbish_is_no_entry(content: bytes) -> None:
    found, end = read(content)
    assert found == []
    assert read(content, 1) == (found, end)


@pytest.mark.parametrize("length", [1 << 20, (1 << 31) - 1, (1 << 32) - 1])
def test_a_huge_length_takes_no_memory(length: int) -> None:
    content = HEADER + ENTRY_HEAD.pack(1, length) + b"x" * 100
    tracemalloc.start()
    try:
        assert read(content)[0] == []
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_the_longest_tail_is_judged_without_reading_more_than_a_write() -> None:
    content = HEADER + ENTRY_HEAD.pack(1, 40) + b"x" * (WRITE_MAX * 3)
    tracemalloc.start()
    try:
        assert "damaged entry" in read(content)[1]
        assert tracemalloc.get_traced_memory()[1] < 2 * WRITE_MAX + (8 << 20)
    finally:
        tracemalloc.stop()
