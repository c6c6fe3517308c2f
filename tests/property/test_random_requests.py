"""Random requests of several sessions: the way they arrive and the speed of the disk change no answer, and the log
replays to the tree that answered.

One session is active at a time, but sends many requests at once, so what it hears does not depend on how writes are
gathered into batches; the other sessions hear the events.
"""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from rig import (
    OPEN,
    Client,
    Rig,
    create_body,
    delete_body,
    multi_body,
    path,
    paths_body,
    set_acl_body,
    set_body,
    ttl_body,
    watch_body,
)

from zabra.consts import Op
from zabra.tree.node import digest_of
from zabra.tree.owner import OwnerRules
from zabra.tree.replay import FrequentTxns
from zabra.tree.tree import DataTree
from zabra.wire.txns import decode_txn

SESSIONS = 3
MASK = (1 << 64) - 1

NAMES = st.sampled_from(
    ["/", "/a", "/a/b", "/a/b/c", "/d", "/d/e", "/a/s", "/e", "/box", "/box/x", "/none/x", "/a/.", "no", "",
     "/zookeeper/quota/a", "/zookeeper/quota/a/zookeeper_limits", "/zookeeper/quota/a/zookeeper_stats",
     "/zookeeper/config"]
)  # fmt: skip
DATA = st.sampled_from(
    [None, b"", b"1", b"some data", b"count=3,bytes=9=;byteHardLimit=20;countHardLimit=4", b"x" * 40]
)
VERSIONS = st.sampled_from([-1, -1, 0, 1, 2])
ACLS = st.sampled_from(
    [
        OPEN,
        OPEN,
        OPEN,
        ((1, "world", "anyone"),),
        ((31, "auth", ""),),
        ((31 - 1, "world", "anyone"), (31, "digest", "me:hash")),
        ((31, "ip", "127.0.0.1"), (31, "ip", "127.0.0.1")),
        (),
    ]
)


class Request(NamedTuple):
    """One request of a session."""

    op: int
    body: bytes


CREATES = st.one_of(
    st.builds(
        lambda op, name, data, flags, acl: Request(op, create_body(name, data, flags, acl)),
        st.sampled_from([Op.CREATE, Op.CREATE2]),
        NAMES,
        DATA,
        st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
        ACLS,
    ),
    st.builds(lambda name, data: Request(Op.CREATE_CONTAINER, create_body(name, data, 4)), NAMES, DATA),
    st.builds(lambda name, flags: Request(Op.CREATE_TTL, ttl_body(name, 5000, flags)), NAMES, st.sampled_from([5, 6])),
)
DELETES = st.builds(lambda name, version: Request(Op.DELETE, delete_body(name, version)), NAMES, VERSIONS)
SETS = st.builds(lambda name, data, version: Request(Op.SET_DATA, set_body(name, data, version)), NAMES, DATA, VERSIONS)
CHECKS = st.builds(lambda name, version: Request(Op.CHECK, path(name) + pack(">i", version)), NAMES, VERSIONS)
SET_ACLS = st.builds(
    lambda name, acl, version: Request(Op.SET_ACL, set_acl_body(name, acl, version)), NAMES, ACLS, VERSIONS
)
MULTIS = st.builds(
    lambda parts: Request(Op.MULTI, multi_body(*parts)), st.lists(st.one_of(CREATES, DELETES, SETS, CHECKS), max_size=4)
)
READS = st.one_of(
    st.builds(
        lambda op, name, watch: Request(op, watch_body(name, watch)),
        st.sampled_from([Op.EXISTS, Op.GET_DATA, Op.GET_CHILDREN, Op.GET_CHILDREN2]),
        NAMES,
        st.booleans(),
    ),
    st.builds(
        lambda op, name: Request(op, path(name)),
        st.sampled_from([Op.SYNC, Op.GET_ACL, Op.GET_EPHEMERALS, Op.GET_ALL_CHILDREN_NUMBER]),
        NAMES,
    ),
    st.builds(lambda name, mode: Request(Op.ADD_WATCH, path(name) + pack(">i", mode)), NAMES, st.integers(0, 2)),
    st.builds(
        lambda op, name, kind: Request(op, path(name) + pack(">i", kind)),
        st.sampled_from([Op.REMOVE_WATCHES, Op.CHECK_WATCHES]),
        NAMES,
        st.integers(0, 5),
    ),
    st.builds(
        lambda names: Request(Op.SET_WATCHES, pack(">q", 3) + paths_body(*names) * 3), st.lists(NAMES, max_size=3)
    ),
    st.builds(
        lambda names: Request(Op.MULTI_READ, multi_body(*((Op.GET_DATA, watch_body(name)) for name in names))),
        st.lists(NAMES, max_size=3),
    ),
    st.sampled_from([Request(Op.WHO_AM_I, b""), Request(Op.PING, b"")]),
)
OTHERS = st.one_of(
    st.builds(
        lambda op, body: Request(op, body),
        st.sampled_from([Op.CREATE, Op.SET_DATA, Op.DELETE, Op.MULTI, Op.GET_DATA, Op.SET_ACL]),
        st.binary(max_size=12),
    ),
    st.just(Request(Op.AUTH, pack(">i", 0) + path("digest") + path("me:secret"))),
    st.just(Request(Op.CLOSE_SESSION, b"")),
    st.just(Request(99, b"")),
)
REQUESTS = st.one_of(CREATES, CREATES, SETS, SETS, DELETES, MULTIS, SET_ACLS, READS, READS, OTHERS)
#: (session, requests it sends at once)
SCRIPTS = st.lists(
    st.tuples(st.integers(0, SESSIONS - 1), st.lists(REQUESTS, min_size=1, max_size=6)), min_size=1, max_size=12
)


def bytes_of(requests: list[Request], xid: int) -> bytes:
    return b"".join(
        pack(">iii", 8 + len(request.body), xid + number, request.op) + request.body
        for number, request in enumerate(requests)
    )


def connect(rig: Rig, old: Client | None = None) -> Client:
    """A session; the one of ``old`` is renewed if it is still there."""
    if old is not None and rig.sessions.get(old.session_id) is not None:
        return rig.client(session_id=old.session_id, password=old.password)
    return rig.client()


def play(
    script: list[tuple[int, list[Request]]], piece: int, sync_seconds: float, eager: bool
) -> tuple[Rig, list[object]]:
    """Everything that every session heard, group by group.

    ``piece`` is how many bytes arrive at once, 0 for all; ``eager`` lets the loop turn after each piece.
    """
    rig = Rig(sync_seconds, extended_types_enabled=True, enforce_quota=True)
    clients = [connect(rig) for _ in range(SESSIONS)]
    heard: list[object] = []
    xid = 1
    for index, requests in script:
        for at, client in enumerate(clients):
            if client.transport.closed:
                clients[at] = connect(rig, client)
        stream = bytes_of(requests, xid)
        xid += len(requests)
        size = piece or len(stream)
        for start in range(0, len(stream), size):
            clients[index].connection.data_received(stream[start : start + size])
            if eager:
                rig.work()
        rig.work()
        rig.clock.wall += 7
        heard += [(client.take(), client.transport.closed) for client in clients]
    return rig, heard


@settings(max_examples=60, deadline=None, database=None)
@given(SCRIPTS, st.integers(1, 40))
def test_neither_pieces_nor_the_disk_change_an_answer(script: list[tuple[int, list[Request]]], piece: int) -> None:
    """A log in the loop and one at the worker, whole chunks and pieces: the same replies, events and transactions."""
    rig, heard = play(script, 0, 0.0, False)
    for other in ((0, 0.1, False), (1, 0.0, False), (piece, 0.0, True), (piece, 0.1, False), (piece, 0.1, True)):
        other_rig, other_heard = play(script, *other)
        assert other_heard == heard
        assert other_rig.log.durable == rig.log.durable
        assert state_of(other_rig.tree) == state_of(rig.tree)


def state_of(tree: DataTree) -> dict[str, object]:
    """All that a tree holds."""
    return {
        "nodes": {
            name: (node.data, node.stat, node.acl, node.owner, node.cversion, node.digest, list(node.children or ()))
            for name, node in sorted(tree.nodes.items())
        },
        "zxid": tree.last_zxid,
        "digest": tree.digest,
        "history": tree.digest_log,
        "ephemerals": tree.ephemerals,
        "containers": tree.containers,
        "ttls": tree.ttls,
        "quotas": tree.quotas.prefixes,
        "acls": tree.acls.keys().keys(),
        "size": tree.data_size,
    }


@settings(max_examples=150, deadline=None, database=None)
@given(SCRIPTS)
def test_the_log_replays_to_the_tree_that_answered(script: list[tuple[int, list[Request]]]) -> None:
    """And to the digest that each transaction carries, step by step; taken apart, and from its bytes."""
    rig, _ = play(script, 0, 0.0, False)
    tree, quick = DataTree(OwnerRules(extended=True)), DataTree(OwnerRules(extended=True))
    frequent = FrequentTxns(quick)
    zxid = 0
    for payload in rig.log.durable:
        header, body, digest = decode_txn(payload)
        assert header.zxid == zxid + 1
        zxid = header.zxid
        tree.apply(header, body)
        if frequent.apply(payload) < 0:
            quick.apply(header, body)
            frequent.learn(header, body, digest)
        if digest is None:
            assert header.type == Op.ERROR
        else:
            assert tree.digest == digest.digest & MASK
    assert state_of(quick) == state_of(tree) == state_of(rig.tree)
    assert not rig.prep.pending.changes
    assert rig.prep.pending.digest == tree.digest


@settings(max_examples=150, deadline=None, database=None)
@given(SCRIPTS, st.integers(0, 60))
def test_replaying_the_end_of_the_log_again_changes_nothing(
    script: list[tuple[int, list[Request]]], first: int
) -> None:
    """Apache's snapshots are fuzzy: they hold what later transactions did, and the log is replayed from before that.

    ZOOKEEPER-1573, 3125, 3145, 3306 and more: counters, ACLs, ephemerals and quotas come out the same.
    """
    tree = DataTree(OwnerRules(extended=True))
    payloads = play(script, 0, 0.0, False)[0].log.durable
    for payload in payloads + payloads[first:]:
        tree.apply(*decode_txn(payload)[:2])
    once = DataTree(OwnerRules(extended=True))
    for payload in payloads:
        once.apply(*decode_txn(payload)[:2])
    assert sets_of(state_of(tree)) == sets_of(state_of(once))


def sets_of(state: dict[str, object]) -> dict[str, object]:
    """A state without the order of what was made again."""
    nodes = {name: (*fields[:-1], sorted(fields[-1])) for name, fields in state["nodes"].items()}  # type: ignore[attr-defined]
    return {**state, "nodes": nodes, "acls": sorted(state["acls"])}  # type: ignore[call-overload]


@settings(max_examples=80, deadline=None, database=None)
@given(SCRIPTS)
def test_the_digest_is_the_sum_over_all_nodes(script: list[tuple[int, list[Request]]]) -> None:
    """However it was kept along the way; and so are the data size, the tables of owners and the children."""
    tree = play(script, 0, 0.0, False)[0].tree
    assert tree.digest == sum(digest_of(name, node) for name, node in tree.nodes.items()) & MASK
    assert tree.data_size == sum(len(name) + len(node.data or b"") for name, node in tree.nodes.items())
    kinds: dict[str, list[bytes]] = {}
    for name, node in tree.nodes.items():
        kinds.setdefault(tree.owners.kind(node.owner).value, []).append(name)
        children = list(node.children or ())
        assert node.child_count == len(children)
        assert all((name if name != b"/" else b"") + b"/" + child in tree.nodes for child in children)
    assert sorted(kinds.get("container", [])) == sorted(tree.containers)
    assert sorted(kinds.get("ttl", [])) == sorted(tree.ttls)
    assert sorted(kinds.get("session", [])) == sorted(name for own in tree.ephemerals.values() for name in own)
