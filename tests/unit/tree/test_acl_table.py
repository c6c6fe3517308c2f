"""The interned ACL lists of a tree."""

from __future__ import annotations

from zabra.tree.acl_table import OPEN_KEY, AclTable
from zabra.tree.node import OPEN_ACL, READ_ACL

MINE = ((31, "digest", "me:hash"),)


def copy_of(acl: tuple[tuple[int, str, str], ...]) -> tuple[tuple[int, str, str], ...]:
    return (*acl,)


def test_equal_lists_share_one_object() -> None:
    table = AclTable()
    assert table.acquire(copy_of(OPEN_ACL)) is OPEN_ACL
    assert len(table) == 0
    first = table.acquire(copy_of(MINE))
    assert table.acquire(copy_of(MINE)) is first
    assert len(table) == 1


def test_an_entry_lives_as_long_as_a_node_uses_it() -> None:
    table = AclTable()
    table.acquire(MINE)
    table.acquire(MINE)
    table.release(MINE)
    assert table.keys() == {MINE: 1}
    table.release(copy_of(MINE))
    assert table.keys() == {}
    table.release(OPEN_ACL)


def test_keys_count_up_and_are_not_reused() -> None:
    """A key that was in a snapshot must not come to mean another list (ZOOKEEPER-3306)."""
    table = AclTable()
    table.acquire(MINE)
    table.release(MINE)
    table.acquire(READ_ACL)
    table.acquire(MINE)
    assert table.keys() == {READ_ACL: 2, MINE: 3}


def test_loading_keeps_the_snapshots_keys_and_drops_unused_entries() -> None:
    table = AclTable()
    table.load(7, MINE)
    table.load(3, READ_ACL)
    assert table.loaded(7) == MINE
    assert table.loaded(3) == READ_ACL
    assert table.loaded(OPEN_KEY) is OPEN_ACL
    assert table.loaded(4) is None
    assert table.acquire(copy_of(MINE)) is table.loaded(7)
    table.finish_loading()
    assert table.keys() == {MINE: 7}
    assert table.loaded(7) is None
    table.acquire(READ_ACL)
    assert table.keys() == {MINE: 7, READ_ACL: 8}


def test_one_list_under_two_keys_and_the_open_list_under_a_key() -> None:
    """Seen in snapshots of damaged tables (ZOOKEEPER-4846): both names lead to one list."""
    table = AclTable()
    table.load(1, MINE)
    table.load(2, copy_of(MINE))
    table.load(5, copy_of(OPEN_ACL))
    assert table.loaded(1) is table.loaded(2)
    assert table.loaded(5) is OPEN_ACL
    table.acquire(MINE)
    table.finish_loading()
    assert table.keys() == {MINE: 1}
    assert table.acquire(READ_ACL) == READ_ACL
    assert table.keys()[READ_ACL] == 6
