"""One znode: its packed stat, its digest, and what each write makes of it."""

from __future__ import annotations

from binascii import crc32
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.tree.node import (
    OPEN_ACL,
    PERSISTED,
    READ_ACL,
    STAT,
    Node,
    after_child_change,
    after_set_acl,
    after_set_data,
    digest_of,
    make_node,
    new_node,
    wrap32,
)

LONG = st.integers(-(1 << 63), (1 << 63) - 1)
INT = st.integers(-(1 << 31), (1 << 31) - 1)
NAMES = st.sampled_from([b"/", b"/a", b"/a/b", b"/zookeeper", b"/zookeeper/", b"/zookeeper/x", b"/zookeeperx"])


def plain_digest(path: bytes, node: Node) -> int:
    """The digest from its definition, field by field."""
    if path.startswith(b"/zookeeper/"):
        return 0
    czxid, mzxid, ctime, mtime, version, _, aversion, _, _, _, pzxid = STAT.unpack(node.stat)
    text = b"" if path == b"/" else path
    tail = pack(">qqqqq", czxid, mzxid, pzxid, ctime, mtime) + pack(
        ">iiiq", version, node.cversion, aversion, node.owner
    )
    return crc32(text + (node.data or b"") + tail)


@given(
    NAMES.filter(b"/".__ne__), st.none() | st.binary(max_size=9), LONG, st.integers(0, 1 << 62), st.integers(0, 1 << 62)
)
def test_a_new_node(path: bytes, data: bytes | None, owner: int, zxid: int, now: int) -> None:
    node = new_node(path, data, READ_ACL, owner, 7, zxid, now)
    assert STAT.unpack(node.stat) == (zxid, zxid, now, now, 0, 0, 0, 7, len(data or b""), 0, zxid)
    assert (node.data, node.acl, node.owner, node.cversion, node.children, node.mark) == (
        data,
        READ_ACL,
        owner,
        0,
        None,
        0,
    )
    assert node.digest == digest_of(path, node) == plain_digest(path, node)


@given(NAMES, st.none() | st.binary(max_size=9), INT, st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_set_data(path: bytes, data: bytes | None, version: int, zxid: int, now: int) -> None:
    old = new_node(path, b"old", OPEN_ACL, 5, 5, 1, 2)
    old = after_child_change(old, path, 3, 4, 1)
    new = after_set_data(old, path, data, version, zxid, now)
    assert STAT.unpack(new.stat) == (1, zxid, 2, now, version, 5, 0, 5, len(data or b""), 1, 4)
    assert (new.data, new.owner, new.cversion, new.acl) == (data, 5, 3, OPEN_ACL)
    assert new.digest == plain_digest(path, new)
    assert old.data == b"old"
    assert (new.mzxid, new.mtime, new.version) == (zxid, now, version)


@given(NAMES, INT)
def test_set_acl(path: bytes, aversion: int) -> None:
    old = new_node(path, b"data", OPEN_ACL, 0, 0, 1, 2)
    new = after_set_acl(old, path, READ_ACL, aversion)
    assert STAT.unpack(new.stat) == (1, 1, 2, 2, 0, 0, aversion, 0, 4, 0, 1)
    assert (new.acl, new.data, new.aversion) == (READ_ACL, b"data", aversion)
    assert new.digest == plain_digest(path, new)


def parent(path: bytes = b"/p", cversion: int = 5, pzxid: int = 10, count: int = 3) -> Node:
    stat = STAT.pack(1, 2, 3, 4, 6, wrap32(2 * cversion - count), 7, 0, 4, count, pzxid)
    node = make_node(b"data", stat, OPEN_ACL, 0, cversion, 0)
    node.digest = digest_of(path, node)
    return node


@pytest.mark.parametrize("path", [b"/", b"/p", b"/zookeeper", b"/zookeeper/quota"])
def test_a_create_below(path: bytes) -> None:
    new = after_child_change(parent(path), path, 6, 20, 1)
    assert STAT.unpack(new.stat) == (1, 2, 3, 4, 6, 2 * 6 - 4, 7, 0, 4, 4, 20)
    assert (new.cversion, new.child_count, new.pzxid, new.data) == (6, 4, 20, b"data")
    assert new.digest == plain_digest(path, new)


@pytest.mark.parametrize("path", [b"/", b"/p", b"/zookeeper", b"/zookeeper/quota"])
def test_a_delete_below(path: bytes) -> None:
    """The stored counter stays; what clients see rises because a child went."""
    new = after_child_change(parent(path), path, 0, 20, -1)
    assert STAT.unpack(new.stat) == (1, 2, 3, 4, 6, 2 * 5 - 2, 7, 0, 4, 2, 20)
    assert new.cversion == 5
    assert new.digest == plain_digest(path, new)


def test_replay_never_goes_back() -> None:
    """ZOOKEEPER-3125, 3249: neither the counter nor pzxid falls."""
    old = parent()
    same = after_child_change(old, b"/p", 5, 9, 1)
    assert (same.cversion, same.pzxid) == (5, 10)
    newer = after_child_change(old, b"/p", 5, 99, 1)
    assert (newer.cversion, newer.pzxid) == (5, 10)
    deleted = after_child_change(old, b"/p", 0, 9, -1)
    assert (deleted.cversion, deleted.pzxid) == (5, 10)
    repaired = after_child_change(old, b"/p", 8, 9, 0)
    assert (repaired.cversion, repaired.pzxid, repaired.child_count) == (8, 9, 3)


@pytest.mark.parametrize(("cversion", "count", "shown"), [(0x7FFFFFFF, 1, -3), (0x40000000, 0, -0x80000000)])
def test_what_clients_see_wraps(cversion: int, count: int, shown: int) -> None:
    new = after_child_change(parent(cversion=cversion - 1, count=count - 1), b"/p", cversion, 20, 1)
    assert STAT.unpack(new.stat)[5] == shown


def test_persisted_has_the_stored_counter_and_owner() -> None:
    node = parent()
    node.owner = -1 << 63
    assert PERSISTED.unpack(node.persisted()) == (1, 2, 3, 4, 6, 5, 7, -1 << 63, 10)


def test_czxid() -> None:
    assert parent().czxid == 1


@pytest.mark.parametrize(
    ("value", "wrapped"), [(0, 0), (0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, -0x80000000), (-0x80000001, 0x7FFFFFFF)]
)
def test_wrap32(value: int, wrapped: int) -> None:
    assert wrap32(value) == wrapped
