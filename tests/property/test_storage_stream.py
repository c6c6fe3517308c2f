"""A snapshot on its way: pieces of any size give what the whole gives; garbage is refused, or is a sound tree."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_storage_snap import DATA, EDITS, INTS, LONGS, NAMES, mutate, string

from zabra.errors import ProtocolError
from zabra.storage.snapformat import END_STRING
from zabra.storage.snapstream import SIGNATURE, SnapStreamLoader
from zabra.tree.dump import Dump
from zabra.tree.node import digest_of
from zabra.tree.tree import DataTree

few = settings(max_examples=200, deadline=None, database=None)
LIMIT = 4096

#: Everything a client could see of a tree, and its sessions.
Image = tuple[dict[bytes, tuple[object, ...]], dict[int, int], int]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """The body of a small snapshot and its signature, by the schema."""
    sessions = draw(st.dictionaries(LONGS, INTS, max_size=3))
    acls = draw(st.dictionaries(st.integers(1, 9), st.lists(st.tuples(INTS, NAMES, NAMES), max_size=3), max_size=3))
    out = struct.pack(">i", len(sessions)) + b"".join(struct.pack(">qi", *item) for item in sessions.items())
    out += struct.pack(">i", len(acls))
    for key, acl in acls.items():
        out += struct.pack(">qi", key, len(acl))
        out += b"".join(struct.pack(">i", perms) + string(s.encode()) + string(i.encode()) for perms, s, i in acl)
    keys = st.sampled_from((-1, *acls))
    paths = [b""]
    for name in draw(st.lists(st.sampled_from((b"a", b"b", b"c", b"zookeeper")), max_size=6)):
        path = draw(st.sampled_from(paths)) + b"/" + name
        if path not in paths:
            paths.append(path)
    for path in paths:
        stat = draw(st.binary(min_size=60, max_size=60) | st.just(bytes(60)))
        out += string(path) + string(draw(DATA)) + struct.pack(">q", draw(keys)) + stat
    return out + END_STRING + SIGNATURE


def image(tree: DataTree, sessions: dict[int, int]) -> Image:
    """Checks that the tree is sound on the way."""
    total = 0
    for path, node in tree.nodes.items():
        assert node.digest == digest_of(path, node)
        total += node.digest
        for name in node.children or ():
            assert path.rstrip(b"/") + b"/" + name in tree.nodes
        assert path == b"/" or path.rpartition(b"/")[2] in (tree.nodes[path.rpartition(b"/")[0] or b"/"].children or ())
    assert total & (1 << 64) - 1 == tree.digest
    nodes = {path: (node.data, node.stat, node.acl, node.owner, node.cversion) for path, node in tree.nodes.items()}
    return nodes, dict(sessions), tree.data_size


def receive(data: bytes, size: int) -> tuple[Image, bytes] | str | None:
    """What came in pieces of ``size`` bytes: what is there and what is left, why it is refused, or None: not all."""
    tree = DataTree()
    sessions: dict[int, int] = {}
    loader = SnapStreamLoader(tree, sessions, LIMIT)
    try:
        for at in range(0, len(data), size):
            rest = loader.feed(data[at : at + size])
            if rest is not None:
                return image(tree, sessions), rest + data[at + size :]
    except ProtocolError as error:
        return str(error)
    return None


@few
@given(streams(), st.binary(max_size=30), st.sampled_from((1, 2, 7, 50)))
def test_pieces_of_any_size_give_what_the_whole_gives(data: bytes, behind: bytes, size: int) -> None:
    whole = receive(data + behind, 1 << 20)
    assert isinstance(whole, tuple)
    assert whole[1] == behind
    assert receive(data + behind, size) == whole
    assert receive(data[:-1], size) is None


@few
@given(streams())
def test_what_was_received_is_sent_on_the_same(data: bytes) -> None:
    tree = DataTree()
    sessions: dict[int, int] = {}
    assert SnapStreamLoader(tree, sessions).feed(data) == b""
    dump = Dump(tree, sessions)
    again = b""
    while chunk := dump.next_chunk(2):
        again += chunk
    assert receive(again + SIGNATURE, 11) == (image(tree, sessions), b"")


@few
@given(streams(), EDITS)
def test_a_mutated_stream_is_refused_or_a_sound_tree(data: bytes, edits: list[tuple[str, int, int, bytes]]) -> None:
    mutated = mutate(data, edits)
    assert receive(mutated, 3) == receive(mutated, 1 << 20)


@few
@given(st.binary(max_size=200))
def test_rubbish_is_refused_or_goes_on(data: bytes) -> None:
    found = receive(data, 1 << 20)
    assert receive(data, 1) == found
    assert not isinstance(found, tuple)


@pytest.mark.parametrize(
    "claim",
    [
        struct.pack(">iiqi", 0, 1, 1, (1 << 31) - 1),
        struct.pack(">iiqiii", 0, 1, 1, 1, 31, (1 << 31) - 1),
        struct.pack(">iiix", 0, 0, (1 << 31) - 1),
        struct.pack(">iiii", 0, 0, 0, (1 << 31) - 1),
        struct.pack(">iiii", 0, 0, 0, LIMIT + 1),
        struct.pack(">iiix", 0, 0, LIMIT + 1),
    ],
    ids=["entries", "scheme", "path", "data", "data by one", "path by one"],
)
def test_nothing_over_the_limit_is_waited_for(claim: bytes) -> None:
    found = receive(claim, 1 << 20)
    assert isinstance(found, str)
    assert "more than the 4096 of jute.maxbuffer" in found
    assert receive(claim + bytes(LIMIT * 3), 1000) == found


@pytest.mark.parametrize("claim", [struct.pack(">i", (1 << 31) - 1), struct.pack(">ii", 0, (1 << 31) - 1)])
def test_huge_counts_take_no_memory(claim: bytes) -> None:
    tracemalloc.start()
    try:
        assert receive(claim + bytes(100), 1 << 20) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_long_node_in_small_pieces_is_put_together_once() -> None:
    """A megabyte byte by byte would take minutes if each piece were joined to what is there."""
    tree = DataTree()
    loader = SnapStreamLoader(tree, {})
    head = struct.pack(">ii", 0, 0)
    data = head + string(b"") + string(bytes(1 << 20)) + struct.pack(">q", -1) + bytes(60) + END_STRING + SIGNATURE
    joins = 0
    for at in range(0, len(data), 16):
        before = loader._parser.buffer
        loader.feed(data[at : at + 16])
        joins += loader._parser.buffer is not before
    assert joins < 20
    assert tree.nodes[b"/"].data == bytes(1 << 20)


@pytest.mark.parametrize("length", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_the_limit_is_that_of_data_and_of_paths(length: int) -> None:
    head = struct.pack(">ii", 0, 0)
    node = string(b"") + string(bytes(length)) + struct.pack(">q", -1) + bytes(60)
    data = head + node + END_STRING + SIGNATURE
    fits = length <= LIMIT
    for size in (1, 100, 1 << 20):
        assert isinstance(receive(data, size), tuple if fits else str)
    root = string(b"") + string(b"") + struct.pack(">q", -1) + bytes(60)
    child = string(b"/" + b"x" * (length - 1)) + string(b"") + struct.pack(">q", -1) + bytes(60)
    for size in (1, 100, 1 << 20):
        assert isinstance(receive(head + root + child + END_STRING + SIGNATURE, size), tuple if fits else str)


@pytest.mark.parametrize(
    "paths",
    [[], [b"/a"], [b"", b""], [b"", b"a"], [b"", b"/a", b"/a"], [b"", b"/a/b"], [b"", b"/a/"], [b"", b"//"]],
    ids=["nothing", "no root", "two roots", "no slash", "twice", "no parent", "no name", "only slashes"],
)
def test_nodes_that_are_no_tree_are_refused(paths: list[bytes]) -> None:
    nodes = b"".join(string(path) + string(b"") + struct.pack(">q", -1) + bytes(60) for path in paths)
    assert isinstance(receive(struct.pack(">ii", 0, 0) + nodes + END_STRING + SIGNATURE, 1 << 20), str)


def test_another_signature_is_refused() -> None:
    head = struct.pack(">ii", 0, 0) + string(b"") + string(b"") + struct.pack(">q", -1) + bytes(60) + END_STRING
    assert isinstance(receive(head + SIGNATURE, 1), tuple)
    assert receive(head + SIGNATURE[:-1], 1) is None
    for other in (b"\0\0\0\x0bBenWasHere!", b"\0\0\0\x0aBenWasThere", b"\xff"):
        for size in (1, 1 << 20):
            assert receive(head + other, size) == "a snapshot that does not end with its signature"
