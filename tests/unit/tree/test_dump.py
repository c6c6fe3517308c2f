"""Dumps show the tree of the moment they began, whatever is written meanwhile."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.consts import Op
from zabra.tree.dump import Dump, can_begin
from zabra.tree.node import OPEN_ACL
from zabra.tree.tree import DataTree
from zabra.wire.primitives import Reader
from zabra.wire.records_data import decode_acl
from zabra.wire.records_txn import CreateTxn, DeleteTxn, SetAclTxn, SetDataTxn
from zabra.wire.txns import TxnHeader

ACLS = (OPEN_ACL, ((1, "world", "anyone"),), ((31, "digest", "a:b"), (1, "ip", "10.0.0.1")))


def load(data: bytes) -> tuple[DataTree, dict[int, int]]:
    tree = DataTree()
    tree.clear()
    reader = Reader(data, 0, limit=1 << 30)
    sessions = {}
    for _ in range(reader.read_int()):
        session = reader.read_long()
        sessions[session] = reader.read_int()
    for _ in range(reader.read_int()):
        key = reader.read_long()
        acl = decode_acl(reader)
        assert acl is not None
        tree.load_acl(key, acl)
    while True:
        path = reader.read_path()
        if path == b"/":
            break
        content = reader.read_buffer()
        key = reader.read_long()
        tree.load_node(path or b"", content, key, data[reader.pos : reader.pos + 60])
        reader.pos += 60
    assert reader.pos == len(data)
    tree.loaded()
    return tree, sessions


def state(tree: DataTree) -> dict[bytes, tuple[object, ...]]:
    return {
        path: (node.data, node.stat, node.acl, node.owner, node.cversion, sorted(node.children or ()))
        for path, node in tree.nodes.items()
    }


def apply(tree: DataTree, zxid: int, action: tuple[int, int, int]) -> None:
    kind, where, what = action
    path = b"/" + b"/".join(b"n%d" % (where >> shift & 3) for shift in range(0, 2 + 2 * (where & 1), 2))
    head = TxnHeader(5, 1, zxid, zxid * 10, (Op.CREATE, Op.DELETE, Op.SET_DATA, Op.SET_ACL)[kind])
    if kind == 0:
        tree.apply(head, CreateTxn(path, b"%d" % what, ACLS[what % 3], what % 5 == 0, -1))
    elif kind == 1:
        node = tree.nodes.get(path)
        if node is None or not node.children:
            tree.apply(head, DeleteTxn(path))
    elif kind == 2:
        tree.apply(head, SetDataTxn(path, None if what == 0 else b"x" * what, what))
    elif path in tree.nodes:
        tree.apply(head, SetAclTxn(path, ACLS[what % 3], what))


actions = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 255), st.integers(0, 20)), max_size=60)


@settings(max_examples=150, deadline=None)
@given(before=actions, during=actions, step=st.integers(1, 7))
def test_a_dump_is_the_tree_as_it_was_when_it_began(
    before: list[tuple[int, int, int]], during: list[tuple[int, int, int]], step: int
) -> None:
    """ZOOKEEPER-3127, 3144, 3306: nothing half done, no ACL without its entry, nothing newer than the zxid."""
    tree = DataTree()
    zxid = 0
    for action in before:
        zxid += 1
        apply(tree, zxid, action)
    expected = state(tree)
    digest = tree.digest
    dump = Dump(tree, {77: 4000})
    parts = []
    pending = iter(during)
    while chunk := dump.next_chunk(step):
        parts.append(chunk)
        for action, _ in zip(pending, range(3), strict=False):
            zxid += 1
            apply(tree, zxid, action)
    loaded, sessions = load(b"".join(parts))
    assert state(loaded) == expected
    assert loaded.digest == digest == dump.digest
    assert sessions == {77: 4000}
    assert tree.dump is None


def test_a_closed_dump_leaves_the_tree_free_for_the_next() -> None:
    tree = DataTree()
    dump = Dump(tree, {})
    dump.next_chunk(1)
    dump.close()
    assert dump.next_chunk(1) == b""
    loaded, _ = load(b"".join(iter(partial(Dump(tree, {}).next_chunk, 2), b"")))
    assert state(loaded) == state(tree)


class Shown:
    """A dump under way, and what it has to show."""

    def __init__(self, tree: DataTree, step: int) -> None:
        self.expected = state(tree)
        self.digest = tree.digest
        self.dump = Dump(tree, {})
        self.step = step
        self.parts: list[bytes] = []

    def go_on(self) -> bool:
        """Whether it is over."""
        chunk = self.dump.next_chunk(self.step)
        self.parts.append(chunk)
        return not chunk

    def check(self) -> None:
        loaded, _ = load(b"".join(self.parts))
        assert state(loaded) == self.expected
        assert loaded.digest == self.digest == self.dump.digest


@settings(max_examples=300, deadline=None)
@given(before=actions, script=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=80), during=actions)
def test_each_of_several_dumps_shows_its_own_moment(
    before: list[tuple[int, int, int]], script: list[tuple[int, int]], during: list[tuple[int, int, int]]
) -> None:
    """They begin, go on, end and are given up in any order, between writes."""
    tree = DataTree()
    zxid = 0
    running: list[Shown] = []
    for action in before:
        zxid += 1
        apply(tree, zxid, action)
    pending = iter(during)
    for what, which in script:
        if what <= 1 and can_begin(tree):
            running.append(Shown(tree, 1 + which))
        elif what == 2 and running:
            running.pop(which % len(running)).dump.close()
        elif what <= 6 and running:
            shown = running[which % len(running)]
            if shown.go_on():
                shown.check()
                running.remove(shown)
        else:
            for action, _ in zip(pending, range(2), strict=False):
                zxid += 1
                apply(tree, zxid, action)
    for shown in running:
        while not shown.go_on():
            pass
        shown.check()
    assert tree.dump is None
    assert all(not node.mark or node.mark <= tree.dump_number for node in tree.nodes.values())


def test_some_hundreds_may_begin_before_all_have_to_end() -> None:
    tree = DataTree()
    slow = Shown(tree, 1)
    slow.go_on()
    for number in range(255):
        apply(tree, number + 1, (0, number & 63, 1))
        quick = Shown(tree, 100)
        while not quick.go_on():
            pass
        quick.check()
    assert not can_begin(tree)
    while not slow.go_on():
        pass
    slow.check()
    assert can_begin(tree)
    last = Shown(tree, 100)
    while not last.go_on():
        pass
    last.check()
