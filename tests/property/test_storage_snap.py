"""A mutated snapshot is refused or read as it was written, in any compression, whole and piecewise alike."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.errors import DataError
from zabra.storage.codecs import GZIP, METHODS, SNAPPY, new_compressor, plain_chunks
from zabra.storage.snapformat import (
    END_STRING,
    HEADER,
    SnapshotReader,
    Trailer,
    ZxidDigest,
    digest_section,
    last_zxid_section,
    seal,
)
from zabra.wire.records_data import Acl

few = settings(max_examples=200, deadline=None, database=None)

#: What a snapshot holds: sessions, ACL table, nodes, and the sections at its end.
Contents = tuple[dict[int, int], dict[int, Acl], list[tuple[bytes, bytes | None, int, bytes]], Trailer]
Source = Callable[[], bytes]


class ListTree:
    """Remembers what is loaded; like the tree it refuses a node whose ACL it does not know."""

    def __init__(self) -> None:
        self.acls: dict[int, Acl] = {}
        self.nodes: list[tuple[bytes, bytes | None, int, bytes]] = []

    def load_acl(self, key: int, acl: Acl) -> None:
        self.acls[key] = acl

    def load_node(self, path: bytes, data: bytes | None, acl_key: int, persisted: bytes, /) -> None:
        if acl_key not in self.acls and acl_key != -1:
            raise ValueError(f"no ACL {acl_key}")
        self.nodes.append((path, data, acl_key, persisted))


def string(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else struct.pack(">i", len(value)) + value


def encode(contents: Contents) -> bytes:
    """A plain snapshot, by the schema and not by our writer."""
    sessions, acls, nodes, trailer = contents
    out = HEADER + struct.pack(">i", len(sessions))
    out += b"".join(struct.pack(">qi", *item) for item in sessions.items())
    out += struct.pack(">i", len(acls))
    for key, acl in acls.items():
        out += struct.pack(">qi", key, len(acl))
        out += b"".join(struct.pack(">i", perms) + string(s.encode()) + string(i.encode()) for perms, s, i in acl)
    for path, data, key, stat in nodes:
        out += string(path) + string(data) + struct.pack(">q", key) + stat
    out += END_STRING
    out += seal(zlib.adler32(out))
    if trailer.digest is not None:
        out += digest_section(trailer.digest)
        out += seal(zlib.adler32(out))
    if trailer.last_zxid is not None:
        out += last_zxid_section(trailer.last_zxid)
        out += seal(zlib.adler32(out))
    return out


LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
INTS = st.integers(-(1 << 31), (1 << 31) - 1)
NAMES = st.text(st.characters(codec="utf-8"), max_size=10)
DATA = st.none() | st.binary(max_size=50) | st.integers(0, 3000).map(bytes)


@st.composite
def contents_of_snapshots(draw: st.DrawFn) -> Contents:
    acls = draw(st.dictionaries(st.integers(1, 9), st.lists(st.tuples(INTS, NAMES, NAMES), max_size=3), max_size=3))
    keys = st.sampled_from((-1, *acls))
    names = draw(st.lists(NAMES, max_size=5))
    paths = [b"", *(f"/{name}".encode() for name in names if name)]
    nodes = [(path, draw(DATA), draw(keys), draw(st.binary(min_size=60, max_size=60))) for path in paths]
    digest = draw(st.none() | st.builds(ZxidDigest, LONGS, st.just(2), st.integers(0, (1 << 64) - 1)))
    trailer = Trailer(digest, draw(st.none() | LONGS))
    sessions = draw(st.dictionaries(LONGS, INTS, max_size=3))
    return sessions, {key: tuple(acl) for key, acl in acls.items()}, nodes, trailer


def compressed(plain: bytes, method: str) -> bytes:
    compressor = new_compressor(method)
    return compressor.compress(plain) + compressor.flush()


def source_of(content: bytes, chunk_size: int) -> Source:
    chunks = iter([content[at : at + chunk_size] for at in range(0, len(content), chunk_size)])
    return lambda: next(chunks, b"")


def load(content: bytes, method: str = "", chunk_size: int = 1 << 20) -> Contents | str:
    """What a file holds, or why it is refused."""
    tree = ListTree()
    sessions: dict[int, int] = {}
    try:
        chunks = plain_chunks("/snapshot.1", method, source_of(content, chunk_size))
        trailer = SnapshotReader("/snapshot.1", chunks, tree, sessions).load()
    except DataError as error:
        why = str(error)
    else:
        return sessions, tree.acls, tree.nodes, trailer
    assert why.startswith("/snapshot.1: offset ")
    return why


def mutate(content: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    """Apply edits (what, where, how much, new bytes)."""
    out = bytearray(content)
    for what, where, size, data in edits:
        at = where % (len(out) + 1)
        if what == "flip" and at < len(out):
            out[at] ^= 1 << size % 8
        elif what == "put":
            out[at : at + len(data)] = data
        elif what == "cut":
            del out[at:]
        elif what == "remove":
            del out[at : at + size]
    return bytes(out)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(("flip", "put", "cut", "remove")),
        st.integers(0, 20000),
        st.integers(1, 100),
        st.binary(min_size=1, max_size=20) | INTS.map(struct.Struct(">i").pack),
    ),
    min_size=1,
    max_size=3,
)


@few
@given(contents_of_snapshots(), st.sampled_from(METHODS), st.sampled_from((1, 5, 100, 1 << 20)))
def test_what_was_written_is_read_in_chunks_of_any_size(contents: Contents, method: str, chunk_size: int) -> None:
    assert load(compressed(encode(contents), method), method, chunk_size) == contents


@few
@given(contents_of_snapshots(), EDITS)
def test_a_mutated_snapshot_is_refused_or_says_what_was_written(
    contents: Contents, edits: list[tuple[str, int, int, bytes]]
) -> None:
    """Checksums cover the body; only whole sections behind it may be missing."""
    mutated = mutate(encode(contents), edits)
    found = load(mutated)
    assert load(mutated, chunk_size=3) == found
    if not isinstance(found, str):
        assert found[:3] == contents[:3]
        assert found[3].digest in (None, contents[3].digest)
        assert found[3].last_zxid in (None, contents[3].last_zxid)


@few
@given(contents_of_snapshots(), st.sampled_from((GZIP, SNAPPY)), EDITS)
def test_a_mutated_compressed_snapshot_is_refused_or_says_what_was_written(
    contents: Contents, method: str, edits: list[tuple[str, int, int, bytes]]
) -> None:
    mutated = mutate(compressed(encode(contents), method), edits)
    found = load(mutated, method)
    pieces = load(mutated, method, 3)
    assert isinstance(found, str) == isinstance(pieces, str)
    if not isinstance(found, str):
        assert found == pieces
        assert found[:3] == contents[:3]


@few
@given(st.binary(max_size=200), st.sampled_from(METHODS))
def test_rubbish_is_refused(rest: bytes, method: str) -> None:
    assert isinstance(load(rest, method), str)
    assert isinstance(load(compressed(HEADER + rest, method), method), str)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "claim",
    [
        struct.pack(">i", (1 << 31) - 1),
        struct.pack(">ii", 0, (1 << 31) - 1),
        struct.pack(">iiqi", 0, 1, 1, (1 << 31) - 1),
        struct.pack(">iiqiii", 0, 1, 1, 1, 31, (1 << 31) - 1),
        struct.pack(">iii", 0, 0, (1 << 31) - 1),
        struct.pack(">iiii", 0, 0, 0, (1 << 31) - 1),
    ],
    ids=["sessions", "ACLs", "entries", "scheme", "path", "data"],
)
def test_huge_counts_and_lengths_take_no_memory(claim: bytes, method: str) -> None:
    content = compressed(HEADER + claim + bytes(100), method)
    tracemalloc.start()
    try:
        assert isinstance(load(content, method), str)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_huge_snappy_chunk_takes_no_memory() -> None:
    content = compressed(HEADER, SNAPPY)[:16] + struct.pack(">i", 1 << 25) + bytes(100)
    tracemalloc.start()
    try:
        assert isinstance(load(content, SNAPPY), str)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
