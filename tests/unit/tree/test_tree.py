"""Applying transactions: stats, counters, side tables, digests, and what a replay may meet twice."""

from __future__ import annotations

import pytest

from zabra.consts import CONTAINER_OWNER, EventType, Op
from zabra.errors import Code
from zabra.tree.node import OPEN_ACL, STAT, digest_of
from zabra.tree.owner import OwnerRules, ttl_owner
from zabra.tree.tree import DataTree
from zabra.tree.watches import ONE_SHOT
from zabra.wire.records_txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
)
from zabra.wire.txns import TxnHeader

SESSION = 0x1000000000000AB
MINE = ((31, "digest", "me:hash"),)


def header(zxid: int, type_: int, time_ms: int = 1000, session: int = SESSION) -> TxnHeader:
    return TxnHeader(session, 7, zxid, time_ms, type_)


def create(tree: DataTree, zxid: int, path: bytes, data: bytes | None = b"", cversion: int = -1, **more: object):
    ephemeral = bool(more.get("ephemeral", False))
    acl = more.get("acl", OPEN_ACL)
    return tree.apply(header(zxid, Op.CREATE), CreateTxn(path, data, acl, ephemeral, cversion))  # type: ignore[arg-type]


def full_digest(tree: DataTree) -> int:
    return sum(digest_of(path, node) for path, node in tree.nodes.items()) & (1 << 64) - 1


@pytest.fixture
def tree() -> DataTree:
    return DataTree(OwnerRules(extended=True))


def test_a_fresh_tree_has_the_reserved_nodes_and_counts_the_root_twice(tree: DataTree) -> None:
    assert sorted(tree.nodes) == [b"/", b"/zookeeper", b"/zookeeper/config", b"/zookeeper/quota"]
    assert tree.node_count == 5
    root = STAT.unpack(tree.nodes[b"/"].stat)
    assert root == (0, 0, 0, 0, 0, -1, 0, 0, 0, 1, 0)
    assert tree.nodes[b"/zookeeper/config"].acl == ((1, "world", "anyone"),)
    assert tree.digest == full_digest(tree)


def test_create_fills_the_stat_of_the_node_and_moves_the_counters_of_its_parent(tree: DataTree) -> None:
    result = create(tree, 5, b"/a", b"xyz", 1)
    assert result.err == 0
    assert result.stat == STAT.pack(5, 5, 1000, 1000, 0, 0, 0, 0, 3, 0, 5)
    root = tree.nodes[b"/"]
    assert (root.cversion, root.child_count, root.pzxid) == (1, 2, 5)
    assert STAT.unpack(root.stat)[5] == 0
    assert tree.last_zxid == 5
    assert tree.digest == full_digest(tree)


def test_set_data_keeps_what_it_must_and_null_data_counts_as_empty(tree: DataTree) -> None:
    create(tree, 1, b"/a", b"old")
    result = tree.apply(header(2, Op.SET_DATA, 2000), SetDataTxn(b"/a", None, 4))
    assert result.stat == STAT.pack(1, 2, 1000, 2000, 4, 0, 0, 0, 0, 0, 1)
    assert tree.nodes[b"/a"].data is None
    assert tree.digest == full_digest(tree)


def test_set_acl_moves_only_the_acl_version_and_counts_uses(tree: DataTree) -> None:
    create(tree, 1, b"/a")
    create(tree, 2, b"/b", acl=MINE)
    assert len(tree.acls) == 2  # READ on the config node, and MINE
    result = tree.apply(header(3, Op.SET_ACL), SetAclTxn(b"/a", MINE, 1))
    assert STAT.unpack(result.stat or b"")[6] == 1
    assert tree.nodes[b"/a"].acl is tree.nodes[b"/b"].acl
    tree.apply(header(4, Op.DELETE), DeleteTxn(b"/a"))
    tree.apply(header(5, Op.DELETE), DeleteTxn(b"/b"))
    assert len(tree.acls) == 1
    assert tree.digest == full_digest(tree)


def test_owners_are_kept_in_their_own_tables_and_shown_as_zero_unless_a_session(tree: DataTree) -> None:
    create(tree, 1, b"/e", ephemeral=True)
    tree.apply(header(2, Op.CREATE_CONTAINER), CreateContainerTxn(b"/c", b"", OPEN_ACL, -1))
    tree.apply(header(3, Op.CREATE_TTL), CreateTtlTxn(b"/t", b"", OPEN_ACL, -1, 500))
    assert (tree.ephemerals, tree.containers, tree.ttls) == ({SESSION: {b"/e": None}}, {b"/c": None}, {b"/t": None})
    assert [STAT.unpack(tree.nodes[path].stat)[7] for path in (b"/e", b"/c", b"/t")] == [SESSION, 0, 0]
    assert [tree.nodes[path].owner for path in (b"/c", b"/t")] == [CONTAINER_OWNER, ttl_owner(500)]
    for zxid, path in enumerate((b"/e", b"/c", b"/t"), 4):
        tree.apply(header(zxid, Op.DELETE_CONTAINER), DeleteTxn(path))
    assert (tree.ephemerals, tree.containers, tree.ttls) == ({}, {}, {})
    assert tree.digest == full_digest(tree)


def test_close_session_deletes_the_listed_paths_and_any_it_forgot(tree: DataTree) -> None:
    create(tree, 1, b"/one", ephemeral=True)
    create(tree, 2, b"/two", ephemeral=True)
    tree.apply(header(3, Op.CLOSE_SESSION), CloseSessionTxn((b"/one", b"/never-there")))
    assert tree.ephemerals == {}
    assert sorted(tree.nodes[b"/"].children or ()) == [b"zookeeper"]
    assert tree.digest == full_digest(tree)


def test_a_close_session_of_an_old_log_without_a_body_still_deletes(tree: DataTree) -> None:
    create(tree, 1, b"/one", ephemeral=True)
    tree.apply(header(2, Op.CLOSE_SESSION), None)
    assert b"/one" not in tree.nodes


def test_replaying_a_create_repairs_acl_and_parent_counters(tree: DataTree) -> None:
    """ZOOKEEPER-3125, 3249: counters of the parent never go back."""
    create(tree, 5, b"/a", acl=MINE, cversion=9)
    result = create(tree, 3, b"/a", acl=OPEN_ACL, cversion=4)
    assert result.err == Code.NODE_EXISTS
    assert tree.nodes[b"/a"].acl is OPEN_ACL
    assert (tree.nodes[b"/"].cversion, tree.nodes[b"/"].pzxid) == (9, 5)
    create(tree, 7, b"/a", cversion=12)
    assert (tree.nodes[b"/"].cversion, tree.nodes[b"/"].pzxid) == (12, 7)
    assert tree.digest == full_digest(tree)


def test_replaying_a_delete_of_a_missing_node_still_raises_pzxid(tree: DataTree) -> None:
    """ZOOKEEPER-3145."""
    result = tree.apply(header(8, Op.DELETE), DeleteTxn(b"/gone"))
    assert result.err == Code.NO_NODE
    assert tree.nodes[b"/"].pzxid == 8
    assert tree.digest == full_digest(tree)


def test_replay_onto_a_missing_parent_changes_nothing(tree: DataTree) -> None:
    """ZOOKEEPER-1573."""
    before = dict(tree.nodes)
    assert create(tree, 3, b"/no/child").err == Code.NO_NODE
    assert tree.apply(header(4, Op.DELETE), DeleteTxn(b"/no/child")).err == Code.NO_NODE
    assert tree.nodes == before
    assert tree.last_zxid == 4


def test_a_multi_applies_in_order_and_moves_the_zxid_once(tree: DataTree) -> None:
    subs = (
        SubTxn(Op.CREATE, CreateTxn(b"/m", b"1", OPEN_ACL, False, 1).encode()),
        SubTxn(Op.CHECK, CheckVersionTxn(b"/m", 1).encode()),
        SubTxn(Op.SET_DATA, SetDataTxn(b"/m", b"22", 1).encode()),
        SubTxn(Op.CREATE2, CreateTxn(b"/m/x", b"", OPEN_ACL, False, 1).encode()),
        SubTxn(Op.DELETE, DeleteTxn(b"/m/x").encode()),
    )
    result = tree.apply(header(6, Op.MULTI), MultiTxn(subs))
    assert [(part.type, part.err) for part in result.parts] == [(1, 0), (13, 0), (5, 0), (15, 0), (2, 0)]
    node = tree.nodes[b"/m"]
    assert (node.data, node.version, node.cversion, node.child_count) == (b"22", 1, 1, 0)
    assert tree.digest == full_digest(tree)


def test_a_failed_multi_changes_nothing_and_tells_each_part_its_code(tree: DataTree) -> None:
    subs = (
        SubTxn(Op.CREATE, CreateTxn(b"/m", b"1", OPEN_ACL, False, 1).encode()),
        SubTxn(Op.ERROR, ErrorTxn(Code.NO_NODE).encode()),
        SubTxn(Op.DELETE, DeleteTxn(b"/m").encode()),
    )
    result = tree.apply(header(6, Op.MULTI), MultiTxn(subs))
    assert [part.err for part in result.parts] == [0, Code.NO_NODE, Code.RUNTIME_INCONSISTENCY]
    assert result.err == Code.NO_NODE
    assert b"/m" not in tree.nodes


def test_events_come_in_stock_order_and_carry_zxid_and_acl(tree: DataTree) -> None:
    seen: list[tuple[int, bytes, int]] = []
    tree.deliver = lambda watchers, type_, path, zxid, acl: seen.append((type_, path, zxid))
    tree.watches.data.add(b"/a", "w", ONE_SHOT)
    tree.watches.child.add(b"/", "w", ONE_SHOT)
    create(tree, 1, b"/a")
    tree.watches.data.add(b"/a", "w", ONE_SHOT)
    tree.apply(header(2, Op.SET_DATA), SetDataTxn(b"/a", b"", 1))
    tree.watches.data.add(b"/a", "w", ONE_SHOT)
    tree.watches.child.add(b"/a", "other", ONE_SHOT)
    tree.watches.child.add(b"/", "w", ONE_SHOT)
    tree.apply(header(3, Op.DELETE), DeleteTxn(b"/a"))
    assert seen == [
        (EventType.CREATED, b"/a", 1),
        (EventType.CHILDREN_CHANGED, b"/", 1),
        (EventType.DATA_CHANGED, b"/a", 2),
        (EventType.DELETED, b"/a", 3),
        (EventType.DELETED, b"/a", 3),
        (EventType.CHILDREN_CHANGED, b"/", 3),
    ]


def test_counters_wrap_as_java_ints(tree: DataTree) -> None:
    create(tree, 1, b"/a", cversion=0x7FFFFFFF)
    assert tree.nodes[b"/"].cversion == 0x7FFFFFFF
    assert STAT.unpack(tree.nodes[b"/"].stat)[5] == -4  # 2 * (2^31 - 1) - 2, wrapped


def test_get_all_children_number_counts_descendants(tree: DataTree) -> None:
    for zxid, path in enumerate((b"/a", b"/a/b", b"/a/b/c", b"/ab"), 1):
        create(tree, zxid, path)
    assert tree.descendant_count(b"/a") == 2
    assert tree.descendant_count(b"/ab") == 0
    assert tree.descendant_count(b"/") == tree.node_count - 2
    assert tree.descendant_count(b"") == tree.node_count - 1


def test_the_digest_history_has_a_point_each_128_zxids_and_keeps_1024(tree: DataTree) -> None:
    for zxid in range(1, 128 * 1030, 64):
        tree.apply(header(zxid // 64 * 64 + 64, Op.ERROR), ErrorTxn(-101))
    assert len(tree.digest_log) == 1024
    assert all(zxid % 128 == 0 for zxid in tree.digest_log)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_digest_history_without_digests_is_all_zero(enabled: bool) -> None:
    tree = DataTree(OwnerRules(extended=True), digest_enabled=enabled)
    create(tree, 128, b"/a")
    assert tree.digest_log == {128: tree.digest if enabled else 0}
    assert tree.digest
