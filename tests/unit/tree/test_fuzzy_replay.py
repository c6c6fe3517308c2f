"""A log replayed onto a tree that already holds part of it: Apache's snapshots are such trees.

A snapshot of Apache shows each node as it was when the walk came by, and the log is replayed from the zxid at which the
walk began. Whatever the node was then, the end must be the same.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from rig import OPEN, Rig, create_body, delete_body, multi_body, set_acl_body, set_body

from zabra.consts import Op
from zabra.tree.node import PERSISTED
from zabra.tree.tree import DataTree
from zabra.wire.txns import decode_txn

MINE = ((31, "world", "anyone"), (31, "digest", "me:hash"))
NAMES = st.sampled_from(["/a", "/a", "/a/b", "/a/b", "/a/b/c", "/e"])
WRITES = st.one_of(
    st.builds(
        lambda name, flags: (Op.CREATE, create_body(name, b"new", flags)), NAMES, st.sampled_from([0, 0, 0, 1, 2])
    ),
    st.builds(lambda name: (Op.CREATE, create_body(name, b"mine", 0, MINE)), NAMES),
    st.builds(lambda name: (Op.CREATE_CONTAINER, create_body(name, b"box", 4)), NAMES),
    st.builds(lambda name: (Op.DELETE, delete_body(name)), NAMES),
    st.builds(lambda name: (Op.DELETE, delete_body(name)), NAMES),
    st.builds(lambda name, data: (Op.SET_DATA, set_body(name, data)), NAMES, st.sampled_from([None, b"1", b"22"])),
    st.builds(lambda name, acl: (Op.SET_ACL, set_acl_body(name, acl)), NAMES, st.sampled_from([OPEN, MINE])),
    st.builds(
        lambda name: (Op.MULTI, multi_body((Op.DELETE, delete_body(name)), (Op.CREATE, create_body(name)))), NAMES
    ),
    st.just((Op.CLOSE_SESSION, b"")),
)


def log_of(writes: list[tuple[int, bytes]]) -> tuple[Rig, list[bytes]]:
    """The log of these writes; a session that closes is followed by another."""
    rig = Rig()
    client = rig.client()
    for op, body in writes:
        client.request(op, body)
        if op == Op.CLOSE_SESSION:
            client = rig.client()
    return rig, rig.log.durable


def apply(tree: DataTree, payloads: list[bytes]) -> None:
    for payload in payloads:
        tree.apply(*decode_txn(payload)[:2])


def fuzzy(before: DataTree, after: DataTree, late: frozenset[str]) -> DataTree:
    """A tree as such a snapshot holds it: paths in ``late`` as they are after, the others as before.

    As in Apache a node is there only if the walk found its parent there.
    """
    tree = DataTree()
    tree.clear()
    keys: dict[object, int] = {OPEN: -1}
    for name in dict.fromkeys([*before.nodes, *after.nodes]):
        source = after if name.decode() in late else before
        node = source.nodes.get(name)
        if node is None or (name != b"/" and name[: name.rfind(b"/")] not in (b"", *tree.nodes)):
            continue
        if node.acl not in keys:
            keys[node.acl] = len(keys)
            tree.load_acl(keys[node.acl], node.acl)
        tree.load_node(b"" if name == b"/" else name, node.data, keys[node.acl], node.persisted())
    tree.loaded()
    tree.last_zxid = before.last_zxid
    return tree


def shape(tree: DataTree) -> dict[str, object]:
    return {
        "nodes": {
            name: (node.data, node.stat, node.acl, PERSISTED.unpack(node.persisted()), sorted(node.children or ()))
            for name, node in tree.nodes.items()
        },
        "digest": tree.digest,
        "size": tree.data_size,
        "ephemerals": {owner: sorted(own) for owner, own in tree.ephemerals.items()},
        "containers": sorted(tree.containers),
        "acls": sorted(tree.acls.keys()),
        "zxid": tree.last_zxid,
    }


def check(payloads: list[bytes], first: int, late: frozenset[str]) -> None:
    before, after = DataTree(), DataTree()
    apply(before, payloads[:first])
    apply(after, payloads)
    tree = fuzzy(before, after, late)
    apply(tree, payloads[first:])
    assert shape(tree) == shape(after)


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(WRITES, min_size=3, max_size=12),
    st.integers(1, 10),
    st.sets(st.sampled_from(["/", "/a", "/a/b", "/a/b/c", "/e", "/a0000000001", "/a/b0000000000"])),
)
def test_any_mix_of_before_and_after_comes_out_the_same(
    writes: list[tuple[int, bytes]], first: int, late: set[str]
) -> None:
    check(log_of(writes)[1], first, frozenset(late))


def test_a_parent_that_was_made_again_with_children() -> None:
    """Its delete is replayed while the children that came later are there already; they come again."""
    _, payloads = log_of(
        [
            (Op.CREATE, create_body("/a")),
            (Op.DELETE, delete_body("/a")),
            (Op.CREATE, create_body("/a", b"", 0, MINE)),
            (Op.CREATE, create_body("/a/b", b"x", 1)),
            (Op.CREATE, create_body("/a/b2")),
            (Op.DELETE, delete_body("/a/b2")),
        ]
    )
    check(payloads, 2, frozenset(["/a", "/a/b"]))


def test_a_close_session_that_finds_its_ephemerals_gone() -> None:
    """ZOOKEEPER-3145: the parent's pzxid rises all the same."""
    _, payloads = log_of(
        [
            (Op.CREATE, create_body("/a")),
            (Op.CREATE, create_body("/a/b", b"", 1)),
            (Op.CLOSE_SESSION, b""),
        ]
    )
    check(payloads, 3, frozenset(["/a/b"]))
    tree = DataTree()
    apply(tree, payloads[:3])
    tree._delete(b"/a/b", 3)
    apply(tree, payloads[3:])
    assert tree.nodes[b"/a"].pzxid == 4


def test_writes_to_a_node_that_is_gone_change_nothing() -> None:
    """It was deleted before the walk came by, after they were made."""
    _, payloads = log_of(
        [
            (Op.CREATE, create_body("/a")),
            (Op.SET_DATA, set_body("/a", b"1")),
            (Op.SET_ACL, set_acl_body("/a", MINE)),
            (Op.DELETE, delete_body("/a")),
        ]
    )
    check(payloads, 2, frozenset(["/a", "/"]))
