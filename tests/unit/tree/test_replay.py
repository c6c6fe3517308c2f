"""The short way of frequent transactions ends in the same tree as the long one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.consts import Op
from zabra.tree.dump import Dump
from zabra.tree.node import OPEN_ACL
from zabra.tree.owner import OwnerRules
from zabra.tree.replay import FrequentTxns
from zabra.tree.tree import DataTree
from zabra.tree.watches import ONE_SHOT
from zabra.wire.records_txn import CreateTxn, DeleteTxn, SetDataTxn
from zabra.wire.txns import TxnBody, TxnDigest, TxnHeader, decode_txn, encode_txn

DIGEST = TxnDigest(2, 7)
OTHER_ACL = ((1, "ip", "10.0.0.1"), (31, "digest", "a:b"))


def entry(zxid: int, type_: int, body: TxnBody, digest: TxnDigest | None = DIGEST) -> bytes:
    return encode_txn(TxnHeader(0x5000, 1, zxid, 1000 + zxid, type_), body, digest)


def create(path: bytes, *, ephemeral: bool = False, acl=OPEN_ACL, cversion: int = 1, data: bytes | None = b"x"):
    return CreateTxn(path, data, acl, ephemeral, cversion)


def state(tree: DataTree) -> object:
    nodes = {
        path: (node.data, node.stat, node.acl, node.owner, node.cversion, node.digest, list(node.children or ()))
        for path, node in tree.nodes.items()
    }
    return nodes, tree.digest, tree.last_zxid, tree.ephemerals, tree.data_size, tree.acls.keys()


def new_tree() -> DataTree:
    return DataTree(OwnerRules(extended=True))


def replay(payloads: list[bytes]) -> tuple[DataTree, int]:
    """The tree after the entries, each the short way if it goes, and how many went."""
    tree = new_tree()
    frequent = FrequentTxns(tree)
    short = 0
    for payload in payloads:
        if frequent.apply(payload) >= 0:
            short += 1
        else:
            header, body, digest = decode_txn(payload)
            tree.apply(header, body)
            frequent.learn(header, body, digest)
    return tree, short


def long_way(payloads: list[bytes]) -> DataTree:
    tree = new_tree()
    for payload in payloads:
        header, body, _ = decode_txn(payload)
        tree.apply(header, body)
    return tree


@pytest.mark.parametrize("digest", [DIGEST, None])
def test_plain_writes_go_the_short_way_once_their_acl_is_known(digest: TxnDigest | None) -> None:
    payloads = [
        entry(1, Op.CREATE, create(b"/a"), digest),
        entry(2, Op.CREATE2, create(b"/b", cversion=2), digest),
        entry(3, Op.CREATE, create(b"/a/e", ephemeral=True), digest),
        entry(4, Op.SET_DATA, SetDataTxn(b"/a/e", b"new", 1), digest),
        entry(5, Op.CREATE, create(b"/a/f", acl=OTHER_ACL, cversion=2), digest),
        entry(6, Op.CREATE, create(b"/a/g", acl=OTHER_ACL, cversion=3), digest),
    ]
    tree, short = replay(payloads)
    assert short == 4, "the first of each ACL list is taken apart"
    assert state(tree) == state(long_way(payloads))


def test_the_place_of_the_digest_is_told() -> None:
    tree = new_tree()
    frequent = FrequentTxns(tree)
    first = entry(1, Op.CREATE, create(b"/a"))
    assert frequent.apply(first) == -1
    header, body, digest = decode_txn(first)
    tree.apply(header, body)
    frequent.learn(header, body, digest)
    for payload in (entry(2, Op.CREATE, create(b"/b")), entry(3, Op.SET_DATA, SetDataTxn(b"/b", b"", 1))):
        assert payload[frequent.apply(payload) :] == DIGEST.encode()
    bare = entry(4, Op.SET_DATA, SetDataTxn(b"/b", b"", 2), None)
    assert frequent.apply(bare) == len(bare)


def test_a_watched_node_tells_its_watchers() -> None:
    tree, _ = replay([entry(1, Op.CREATE, create(b"/a"))])
    told: list[object] = []
    tree.deliver = lambda watchers, event_type, path, zxid, acl: told.append((list(watchers), event_type, path, zxid))
    tree.watches.data.add(b"/a", "watcher", ONE_SHOT)
    assert FrequentTxns(tree).apply(entry(2, Op.SET_DATA, SetDataTxn(b"/a", b"y", 1))) > 0
    assert FrequentTxns(tree).apply(entry(3, Op.SET_DATA, SetDataTxn(b"/a", b"z", 2))) > 0
    assert told == [(["watcher"], 3, b"/a", 2)]


def test_who_watches_a_new_node_or_its_parent_is_told_of_a_create() -> None:
    tree, _ = replay([entry(1, Op.CREATE, create(b"/a"))])
    told: list[object] = []
    tree.deliver = lambda watchers, event_type, path, zxid, acl: told.append((list(watchers), event_type, path, zxid))
    frequent = FrequentTxns(tree)
    frequent.learn(*decode_txn(entry(1, Op.CREATE, create(b"/a"))))
    tree.watches.data.add(b"/a/new", "of the node", ONE_SHOT)
    assert frequent.apply(entry(2, Op.CREATE, create(b"/a/new", cversion=1))) > 0
    tree.watches.child.add(b"/a", "of the list", ONE_SHOT)
    assert frequent.apply(entry(3, Op.CREATE, create(b"/a/other", cversion=2))) > 0
    assert frequent.apply(entry(4, Op.CREATE, create(b"/a/last", cversion=3))) > 0
    assert told == [(["of the node"], 1, b"/a/new", 2), (["of the list"], 4, b"/a", 3)]


def test_a_dump_does_not_have_what_was_created_since() -> None:
    first = entry(1, Op.CREATE, create(b"/a"))
    tree, _ = replay([first])
    frequent = FrequentTxns(tree)
    frequent.learn(*decode_txn(first))
    before = tree.nodes[b"/a"]
    stat = before.stat
    dump = Dump(tree, {})
    assert frequent.apply(entry(2, Op.CREATE, create(b"/a/after", cversion=1))) > 0
    pieces = []
    while piece := dump.next_chunk(10):
        pieces.append(piece)
    assert b"/after" not in b"".join(pieces)
    assert before.stat == stat, "the dump's"
    assert tree.nodes[b"/a"].child_count == 1


def test_a_quota_counts_what_is_created(monkeypatch: pytest.MonkeyPatch) -> None:
    first = entry(1, Op.CREATE, create(b"/a"))
    tree, _ = replay([first])
    frequent = FrequentTxns(tree)
    frequent.learn(*decode_txn(first))
    counted: list[tuple[bytes, int]] = []
    monkeypatch.setattr(type(tree.quotas), "on_create", lambda self, tree, path, length: counted.append((path, length)))
    tree.quotas.active = True
    assert frequent.apply(entry(2, Op.CREATE, create(b"/a/b", cversion=1))) > 0
    assert counted == [(b"/a/b", 1)]


def test_a_dump_has_what_was_there_when_it_began() -> None:
    payloads = [entry(1, Op.CREATE, create(b"/a")), entry(2, Op.SET_DATA, SetDataTxn(b"/a", b"before", 1))]
    tree, _ = replay(payloads)
    dump = Dump(tree, {})
    assert FrequentTxns(tree).apply(entry(3, Op.SET_DATA, SetDataTxn(b"/a", b"after!", 2))) > 0
    pieces = []
    while piece := dump.next_chunk(10):
        pieces.append(piece)
    assert b"before" in b"".join(pieces)
    assert b"after!" not in b"".join(pieces)
    assert tree.nodes[b"/a"].data == b"after!"


def test_a_quota_counts_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [entry(1, Op.CREATE, create(b"/a")), entry(2, Op.SET_DATA, SetDataTxn(b"/a", b"12345", 1))]
    tree, _ = replay(payloads)
    counted: list[int] = []
    monkeypatch.setattr(type(tree.quotas), "on_set", lambda self, tree, path, difference: counted.append(difference))
    tree.quotas.active = True
    assert FrequentTxns(tree).apply(entry(3, Op.SET_DATA, SetDataTxn(b"/a", b"1", 2))) > 0
    assert counted == [-4]


PATHS = st.sampled_from([b"/a", b"/b", b"/a/c", b"/a/c/d", b"/missing/x", b"/zookeeper/q"])
DATA = st.sampled_from([None, b"", b"some data"])
BODIES = st.one_of(
    st.builds(
        lambda path, data, acl, ephemeral, cversion: (Op.CREATE, CreateTxn(path, data, acl, ephemeral, cversion)),
        PATHS,
        DATA,
        st.sampled_from([OPEN_ACL, OTHER_ACL]),
        st.booleans(),
        st.integers(-1, 5),
    ),
    st.builds(
        lambda path, data, version: (Op.SET_DATA, SetDataTxn(path, data, version)), PATHS, DATA, st.integers(0, 9)
    ),
    st.builds(lambda path: (Op.DELETE, DeleteTxn(path)), PATHS),
)


@given(st.lists(st.tuples(BODIES, st.sampled_from([DIGEST, None])), max_size=40))
def test_both_ways_end_in_one_tree(steps: list[tuple[tuple[int, TxnBody], TxnDigest | None]]) -> None:
    payloads = [entry(zxid, type_, body, digest) for zxid, ((type_, body), digest) in enumerate(steps, 1)]
    assert state(replay(payloads)[0]) == state(long_way(payloads))


@given(st.binary(max_size=120))
def test_bytes_that_are_no_transaction_change_nothing(payload: bytes) -> None:
    tree = new_tree()
    before = state(tree)
    assert FrequentTxns(tree).apply(payload) == -1
    assert state(tree) == before
