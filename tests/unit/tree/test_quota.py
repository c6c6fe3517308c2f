"""Quota text, counting and limits, on a tree of nothing but data and children."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.errors import Code, RequestError
from zabra.paths import name_of, parent_of
from zabra.tree.quota import Quotas, parse_stats, usage_of

QUOTA = b"/zookeeper/quota"


class Node:
    """Data and children."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.children: dict[bytes, None] = {}


class Tree:
    """The least tree that quotas can work on; calls the hooks as the real one does."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, Node] = {b"/": Node(b"")}
        self.quotas = Quotas()
        for path in (b"/zookeeper", QUOTA):
            self.create(path)

    def replace_data(self, path: bytes, data: bytes) -> None:
        self.nodes[path].data = data

    def create(self, path: bytes, data: bytes | None = b"") -> None:
        self.nodes[path] = Node(data)
        self.nodes[parent_of(path)].children[name_of(path)] = None
        self.quotas.on_create(self, path, len(data or b""))

    def delete(self, path: bytes) -> None:
        node = self.nodes.pop(path)
        del self.nodes[parent_of(path)].children[name_of(path)]
        if self.quotas.active:
            self.quotas.on_delete(self, path, len(node.data or b""))

    def set(self, path: bytes, data: bytes | None) -> None:
        node = self.nodes[path]
        difference = len(data or b"") - len(node.data or b"")
        node.data = data
        if self.quotas.active:
            self.quotas.on_set(self, path, difference)

    def quota(self, prefix: bytes, limits: bytes) -> None:
        """Make a quota in the order of the command-line tools: path, limits, stats."""
        path = QUOTA
        for name in prefix.split(b"/")[1:]:
            path += b"/" + name
            if path not in self.nodes:
                self.create(path)
        self.create(path + b"/zookeeper_limits", limits)
        self.create(path + b"/zookeeper_stats", b"count=0,bytes=0")

    def stats(self, prefix: bytes) -> bytes | None:
        return self.nodes[QUOTA + prefix + b"/zookeeper_stats"].data


#: Text and what StatsTrack of Apache ZooKeeper 3.9.5 makes of it; None where it throws.
TEXTS = [
    ("", "count=-1,bytes=-1"),
    ("count=5,bytes=100", "count=5,bytes=100"),
    (
        "count=5,bytes=100=;byteHardLimit=200;countHardLimit=9",
        "count=5,bytes=100=;byteHardLimit=200;countHardLimit=9",
    ),
    ("count=-1,bytes=-1", "count=-1,bytes=-1"),
    ("bytes=7", "count=-1,bytes=7"),
    ("count==,bytes=1", None),
    ("count==5", "count=-1,bytes=-1"),
    ("count=+5", "count=5,bytes=-1"),
    ("count=5,,;bytes=6", "count=5,bytes=6"),
    (",count=5", None),
    ("count=5,", "count=5,bytes=-1"),
    (",", "count=-1,bytes=-1"),
    (";;", "count=-1,bytes=-1"),
    ("count", None),
    ("count=", None),
    ("=5", "count=-1,bytes=-1=;=5"),
    ("a=b", None),
    ("x=3,count=1", "count=1,bytes=-1=;x=3"),
    ("count=1=2=3", "count=1,bytes=-1"),
    ("hello", None),
    ("count=9223372036854775807", "count=9223372036854775807,bytes=-1"),
    ("count=9223372036854775808", None),
    ("count=5,count=6", "count=6,bytes=-1"),
    ("count= 5", None),
    ("count=5\n", None),
    ("é=4", "count=-1,bytes=-1=;é=4"),
    ("=", None),
    ("count=0x5", None),
    ("b=2;a=1", "count=-1,bytes=-1=;a=1;b=2"),
    ("count=--5", None),
    ("count=٥", "count=5,bytes=-1"),
]


@pytest.mark.parametrize(("text", "written"), TEXTS)
def test_text_as_apache_reads_it(text: str, written: str | None) -> None:
    """Text parses to what Apache reads, and where Apache would stop it is no quota."""
    stats = parse_stats(text.encode())
    assert (stats.encode().decode() if stats is not None else None) == written


@pytest.mark.parametrize("data", [None, b"\xff\xfe", b"x=1," * 2000])
def test_data_that_is_no_text(data: bytes | None) -> None:
    """Null, binary and oversize data are no quota."""
    assert parse_stats(data) is None


def test_hard_limits_are_read() -> None:
    """Soft and hard limits by name; what is missing is -1."""
    stats = parse_stats(b"count=5,bytes=100=;byteHardLimit=200")
    assert stats is not None
    assert (stats.count, stats.size, stats.count_hard, stats.size_hard) == (5, 100, -1, 200)


@given(st.binary(max_size=60) | st.text("count=bytesHardLimit,;-0123456789", max_size=60).map(str.encode))
def test_any_text_is_read_or_refused(data: bytes) -> None:
    """Nothing that a client writes raises, and what was read is read back the same."""
    stats = parse_stats(data)
    if stats is not None and not any("=" in key for key in stats.values):
        again = parse_stats(stats.encode())
        assert again is not None
        assert (again.count, again.size) == (stats.count, stats.size)


def test_creating_stats_counts_afresh() -> None:
    """Whatever the client writes into a new zookeeper_stats, it holds what the subtree holds, P included."""
    tree = Tree()
    tree.create(b"/a", b"12345")
    tree.create(b"/a/b", b"123")
    tree.create(b"/ab", b"1")
    tree.quota(b"/a", b"count=9,bytes=-1")
    assert tree.stats(b"/a") == b"count=2,bytes=8"


def test_changes_are_counted() -> None:
    """Creates, sets and deletes below P and on P move the numbers; others do not."""
    tree = Tree()
    tree.create(b"/a", b"12")
    tree.quota(b"/a", b"count=9,bytes=-1")
    tree.create(b"/a/b", b"123")
    tree.create(b"/a/n", None)
    tree.create(b"/ab", b"123")
    assert tree.stats(b"/a") == b"count=3,bytes=5"
    tree.set(b"/a/b", b"1")
    tree.set(b"/a", None)
    assert tree.stats(b"/a") == b"count=3,bytes=1"
    tree.delete(b"/a/b")
    tree.delete(b"/ab")
    assert tree.stats(b"/a") == b"count=2,bytes=0"


def test_deepest_quota_counts() -> None:
    """An inner quota takes over what lies below it; counting afresh sees everything."""
    tree = Tree()
    tree.create(b"/a")
    tree.create(b"/a/b")
    tree.quota(b"/a/b", b"count=9,bytes=-1")
    tree.quota(b"/a", b"count=9,bytes=-1")
    tree.create(b"/a/b/c", b"1")
    tree.create(b"/a/d", b"22")
    assert (tree.stats(b"/a/b"), tree.stats(b"/a")) == (b"count=2,bytes=1", b"count=3,bytes=2")
    tree.quotas.rebuild(tree)
    assert (tree.stats(b"/a/b"), tree.stats(b"/a")) == (b"count=2,bytes=1", b"count=4,bytes=3")


def test_deleting_limits_ends_the_quota() -> None:
    """Without zookeeper_limits nothing is counted, and the tree pays nothing any more."""
    tree = Tree()
    tree.create(b"/a")
    tree.quota(b"/a", b"count=9,bytes=-1")
    tree.delete(QUOTA + b"/a/zookeeper_limits")
    assert not tree.quotas.active
    tree.create(b"/a/b")
    assert tree.stats(b"/a") == b"count=1,bytes=0"


def test_missing_stats_node() -> None:
    """A quota without a stats node counts nothing and limits nothing."""
    tree = Tree()
    tree.create(b"/a")
    tree.quota(b"/a", b"count=0,bytes=0=;countHardLimit=0")
    tree.delete(QUOTA + b"/a/zookeeper_stats")
    tree.create(b"/a/b")
    tree.quotas.check_create(tree, b"/a/c", b"1")


def test_subtree_that_does_not_exist_yet() -> None:
    """A quota may come before its subtree."""
    tree = Tree()
    tree.quota(b"/a", b"count=9,bytes=-1")
    assert tree.stats(b"/a") == b"count=0,bytes=0"
    tree.create(b"/a", b"1")
    assert tree.stats(b"/a") == b"count=1,bytes=1"
    assert usage_of(tree, b"/nowhere") == (0, 0)


def test_limits_at_the_top_are_no_quota() -> None:
    """Limits of the root would stop Apache; here they are ordinary nodes, though stats are counted once."""
    tree = Tree()
    tree.create(QUOTA + b"/zookeeper_limits", b"count=0,bytes=0=;countHardLimit=0")
    tree.create(QUOTA + b"/zookeeper_stats", b"")
    assert not tree.quotas.active
    tree.quotas.rebuild(tree)
    assert not tree.quotas.active
    assert tree.stats(b"") == b"count=5,bytes=33"


@pytest.mark.parametrize("garbage", [b"hello", None, b"\xff", b"count="])
def test_garbage_never_stops_the_server(garbage: bytes | None) -> None:
    """Text that is no quota, in either node, limits nothing and stays as it is (bug 63 of the table)."""
    tree = Tree()
    tree.create(b"/a")
    tree.quota(b"/a", b"count=0,bytes=0=;countHardLimit=0")
    tree.set(QUOTA + b"/a/zookeeper_stats", garbage)
    tree.create(b"/a/b")
    tree.quotas.check_create(tree, b"/a/c", b"1")
    assert tree.stats(b"/a") == garbage
    tree.set(QUOTA + b"/a/zookeeper_limits", garbage)
    tree.set(QUOTA + b"/a/zookeeper_stats", b"count=1,bytes=0")
    tree.quotas.check_create(tree, b"/a/c", b"1")
    tree.quotas.rebuild(tree)
    assert tree.stats(b"/a") == b"count=2,bytes=0"


def refused(tree: Tree, path: bytes, data: bytes) -> bool:
    try:
        tree.quotas.check_create(tree, path, data)
    except RequestError as error:
        return error.code == Code.QUOTA_EXCEEDED
    return False


def test_hard_count_limit() -> None:
    """A create that would go over the hard count is refused; a set never changes the count."""
    tree = Tree()
    tree.create(b"/a")
    tree.quota(b"/a", b"count=-1,bytes=-1=;countHardLimit=2")
    told: list[str] = []
    tree.quotas.on_exceeded = told.append
    assert not refused(tree, b"/a/b", b"")
    tree.create(b"/a/b")
    assert refused(tree, b"/a/c", b"")
    assert not refused(tree, b"/other", b"")
    tree.quotas.check_set(tree, b"/a/b", b"", b"12345")
    assert told == ["a"]


def test_hard_bytes_limit() -> None:
    """What would be held after the write counts: shrinking is refused too while it leaves too much, as in Apache."""
    tree = Tree()
    tree.create(b"/a", b"123")
    tree.quota(b"/a", b"count=-1,bytes=-1=;byteHardLimit=5")
    assert not refused(tree, b"/a/b", b"12")
    assert refused(tree, b"/a/b", b"123")
    assert not refused(tree, b"/a/b", b"")
    tree.quotas.check_set(tree, b"/a", b"123", b"12345")
    tree.quotas.check_set(tree, b"/a", None, b"12")
    with pytest.raises(RequestError):
        tree.quotas.check_set(tree, b"/a", b"123", b"123456")
    tree.create(b"/a/big", b"1234567")
    tree.quotas.check_set(tree, b"/a/big", b"1234567", b"1")
    with pytest.raises(RequestError):
        tree.quotas.check_set(tree, b"/a/big", b"1234567", b"123456")


def test_soft_limits_only_log(caplog: pytest.LogCaptureFixture) -> None:
    """A soft limit refuses nothing; going over is logged once until it is under again."""
    tree = Tree()
    tree.create(b"/a")
    tree.quota(b"/a", b"count=1,bytes=3")
    told: list[str] = []
    tree.quotas.on_exceeded = told.append
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert not refused(tree, b"/a/b", b"")
        assert len(caplog.records) == 1
        assert not refused(tree, b"/a/b", b"1234")
        assert len(caplog.records) == 2
        assert not refused(tree, b"/a/b", b"1")
        assert not refused(tree, b"/a/b", b"1234")
        assert len(caplog.records) == 3
    assert told == []


def test_hard_limit_stands_instead_of_the_soft_one() -> None:
    """With both set, only the hard one is looked at."""
    tree = Tree()
    tree.create(b"/a")
    tree.quota(b"/a", b"count=1,bytes=-1=;countHardLimit=3")
    assert not refused(tree, b"/a/b", b"")


def test_limits_of_the_node_itself() -> None:
    """The quota's own node counts and is checked."""
    tree = Tree()
    tree.quota(b"/a", b"count=-1,bytes=-1=;countHardLimit=0")
    assert refused(tree, b"/a", b"")


def test_prefix_of() -> None:
    """The deepest quota at or above a path; a name that only starts alike is another node."""
    quotas = Quotas()
    quotas.prefixes = {b"/a": None, b"/a/b/c": None}
    found = [quotas.prefix_of(path) for path in (b"/a", b"/a/b", b"/a/b/c", b"/a/b/c/d", b"/ab", b"/", b"")]
    assert found == [b"/a", b"/a", b"/a/b/c", b"/a/b/c", None, None, None]


paths = st.sampled_from([b"/a", b"/a/b", b"/a/b/c", b"/a/d", b"/e"])
data = st.sampled_from([None, b"", b"1", b"22", b"4444"])
steps = st.tuples(st.sampled_from(["create", "delete", "set"]), paths, data)


@settings(deadline=None)
@given(st.lists(steps, max_size=30), st.integers(0, 30))
def test_counting_along_equals_counting_afresh(script: list[tuple[str, bytes, bytes | None]], at: int) -> None:
    """However a subtree changes, and whenever its quota was made, the running numbers equal a fresh count."""
    tree = Tree()
    for index, (name, path, value) in enumerate(script):
        if index == at:
            tree.quota(b"/a", b"count=1,bytes=1")
        exists = path in tree.nodes
        if name == "create" and not exists and parent_of(path) in tree.nodes:
            tree.create(path, value)
        elif name == "delete" and exists and not tree.nodes[path].children:
            tree.delete(path)
        elif name == "set" and exists:
            tree.set(path, value)
    if tree.quotas.active:
        usage = usage_of(tree, b"/a")
        assert tree.stats(b"/a") == b"count=%d,bytes=%d" % usage
