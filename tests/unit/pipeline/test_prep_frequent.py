"""The short ways of a write against the long ones: same transactions, same nodes, same replies and events."""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import pack

import pytest
from learner_rig import LeaderRig
from rig import (
    OPEN,
    Client,
    Rig,
    create_body,
    delete_body,
    multi_body,
    path,
    set_acl_body,
    set_body,
    ttl_body,
    watch_body,
)

from zabra.consts import Op
from zabra.pipeline.request import Write
from zabra.tree.dump import Dump
from zabra.tree.node import Node, digest_of
from zabra.tree.tree import DataTree
from zabra.wire.txns import decode_txn

READ_ONLY = ((1, "world", "anyone"),)
NO_CHILDREN = ((31 - 4, "world", "anyone"),)
QUOTA = "/zookeeper/quota/q"
NAMES = (
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/d",
    "/q",
    "/q/x",
    "/zookeeper/config",
    "/zookeeper/quota",
    "/zookeeper2",
    "/none/x",
    "//a",
    "/a/\u00e4",
)


def _leave(_conn: object, _session: object, _chunk: bytes, pos: int, *_: object) -> tuple[int, int, int]:
    return pos, 0, 0


def long_rig(**more: object) -> Rig:
    """A server that validates by the records and installs by the tree's own methods."""
    rig = Rig(running=False, **more)
    rig.pipeline.set_data_run = _leave  # type: ignore[method-assign]
    rig.pipeline.create_run = _leave  # type: ignore[method-assign]
    rig.start()
    return rig


def _request(rng: random.Random) -> tuple[int, bytes]:
    name = rng.choice(NAMES)
    data = rng.choice((b"", b"x", b"y" * 100, None))
    acl = rng.choice((OPEN, OPEN, OPEN, READ_ONLY, NO_CHILDREN))
    draw = rng.random()
    if draw < 0.35:
        return Op.SET_DATA, set_body(name, data, rng.choice((-1, -1, 0, 1, 2, -5)))
    if draw < 0.7:
        return rng.choice((Op.CREATE, Op.CREATE2)), create_body(name, data, rng.choice((0, 0, 1, 2, 3, 4, 5, 9)), acl)
    if draw < 0.78:
        return Op.DELETE, delete_body(name, rng.choice((-1, -1, 0)))
    if draw < 0.84:
        return Op.SET_ACL, set_acl_body(name, acl)
    if draw < 0.88:
        return Op.MULTI, multi_body((Op.SET_DATA, set_body(name, data)), (Op.CREATE, create_body("/a/m", data)))
    if draw < 0.9:
        return Op.CREATE_TTL, ttl_body(name, 5000)
    if draw < 0.92:
        return Op.ADD_WATCH, path(name) + pack(">i", rng.randrange(2))
    op = rng.choice((Op.GET_DATA, Op.EXISTS, Op.GET_CHILDREN2))
    return op, watch_body(name, watch=True)


def _burst(rng: random.Random, turn: int) -> list[tuple[int, bytes]]:
    """Requests most of which go the short way, as they come from a client with many on their way."""
    requests = []
    one_kind = rng.random() if rng.random() < 0.6 else None
    parents = rng.choice((("/a",), ("/a", "/a", "/d")))
    for number in range(rng.randrange(2, 9)):
        parent = rng.choice(parents)
        name = f"{parent}/{rng.choice('nm')}{turn}x{number}"
        draw = one_kind or rng.random()
        if draw < 0.4:
            requests.append((Op.CREATE, create_body(name, b"c", rng.choice((0, 0, 0, 1, 2)))))
        elif draw < 0.6:
            requests.append((Op.CREATE2, create_body(name, b"", 0)))
        elif draw < 0.9:
            requests.append((Op.SET_DATA, set_body(rng.choice(("/", "/a", "/d", "/a/b")), b"%d" % number)))
        else:
            requests.append((rng.choice((Op.GET_DATA, Op.GET_CHILDREN2)), watch_body(parent, watch=rng.random() < 0.5)))
    return requests


def _drive(rig: Rig, seed: int) -> tuple[list[list[bytes]], list[bytes], list[bytes]]:
    """The same clients with the same requests, some of them many at once; all they were sent, the log, and a dump."""
    rng = random.Random(seed)
    clients: list[Client] = [rig.client() for _ in range(3)]
    clients[0].call(Op.CREATE, create_body("/q"))
    clients[0].call(Op.CREATE, create_body(QUOTA))
    received: list[list[bytes]] = [[] for _ in clients]
    dumped: list[bytes] = []
    quota_at, dump_at = rng.randrange(60), rng.randrange(60)
    dump: Dump | None = None
    for turn in range(60):
        if turn == quota_at:
            limits = b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=-1"
            clients[0].request(Op.CREATE, create_body(QUOTA + "/zookeeper_limits", limits), run=False)
            clients[0].request(Op.CREATE, create_body(QUOTA + "/zookeeper_stats", b""), run=False)
        if turn == dump_at:
            dump = Dump(rig.tree, {})
        for client in rng.sample(clients, 2):
            requests = _burst(rng, turn) if rng.random() < 0.5 else [_request(rng) for _ in range(rng.randrange(1, 6))]
            if rng.random() < 0.7:
                client.request_together(requests)
            else:
                for request in requests:
                    client.request(*request, run=False)
        rig.work()
        if dump is not None:
            dumped.append(dump.next_chunk(3))
            if not dumped[-1]:
                dump = None
        for client, frames in zip(clients, received, strict=True):
            frames += client.take()
    assert not rig.fatal
    return received, rig.log.durable, dumped


def test_what_one_write_of_a_batch_sets_up_counts_for_the_next() -> None:
    """A quota and a recursive watch that come between writes of the same batch."""
    outcomes = []
    for make in (Rig, long_rig):
        rig = make()
        client, other = rig.client(), rig.client()
        for name in ("/q", "/w", "/q/x", QUOTA):
            client.call(Op.CREATE, create_body(name))
        limits = (create_body(QUOTA + "/zookeeper_limits", b"count=9,bytes=9"), create_body(QUOTA + "/zookeeper_stats"))
        client.request(Op.SET_DATA, set_body("/q/x", b"1"), run=False)
        client.request(Op.MULTI, multi_body(*[(Op.CREATE, body) for body in limits]), run=False)
        client.request(Op.SET_DATA, set_body("/q/x", b"123"), run=False)
        other.request(Op.SET_DATA, set_body("/w", b"1"), run=False)
        other.request(Op.ADD_WATCH, path("/w") + pack(">i", 1), run=False)
        client.request(Op.SET_DATA, set_body("/w", b"2"), run=False)
        rig.work()
        outcomes.append((client.take(), other.take(), _shape(rig.tree)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2][f"{QUOTA}/zookeeper_stats".encode()][0].startswith(b"count=2,bytes=3")
    assert len(outcomes[0][1]) == 3


def _shape(tree: DataTree) -> dict[bytes, tuple[object, ...]]:
    def fields(node: Node) -> tuple[object, ...]:
        children = sorted(node.children) if node.children else []
        return node.data, node.stat, node.acl, node.owner, node.cversion, node.digest, children

    return {name: fields(node) for name, node in tree.nodes.items()}


@pytest.mark.parametrize("more", [{}, {"digest_enabled": False}, {"enforce_quota": True}], ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_the_short_ways_do_what_the_long_ones_do(seed: int, more: dict[str, bool]) -> None:
    more = {"extended_types_enabled": True, **more}
    quick = Rig(**more)
    quick_received, quick_log, quick_dump = _drive(quick, seed)
    slow = long_rig(**more)
    slow_received, slow_log, slow_dump = _drive(slow, seed)
    assert quick_log == slow_log
    assert quick_received == slow_received
    assert quick_dump == slow_dump
    assert _shape(quick.tree) == _shape(slow.tree)
    for field in ("digest", "data_size", "last_zxid", "ephemerals", "ttls", "digest_log"):
        assert getattr(quick.tree, field) == getattr(slow.tree, field), field
    assert not quick.prep.pending.changes
    assert quick.prep.pending.digest == quick.tree.digest
    for name, node in quick.tree.nodes.items():
        assert node.digest == digest_of(name, node)


@pytest.mark.parametrize("seed", range(12))
def test_a_commit_may_end_anywhere_in_a_run(seed: int) -> None:
    """As a quorum commits: the tree is then what a replay of as many transactions makes."""
    rng = random.Random(seed)
    rig = LeaderRig()
    client, watcher = rig.client(), rig.client()
    for name in ("/a", "/d", "/a/b"):
        client.call(Op.CREATE, create_body(name))
    replayed = DataTree()
    for turn in range(20):
        client.request_together(_burst(rng, turn))
        if rng.random() < 0.3:
            watcher.call(Op.GET_CHILDREN2, watch_body(rng.choice(("/a", "/d")), watch=True))
        while rig.outbox.proposed:
            rig.commit(rng.randrange(1, 1 + len(rig.outbox.proposed)))
            for entry in rig.history:
                if entry.zxid > replayed.last_zxid:
                    replayed.apply(*decode_txn(entry.data)[:2])
            assert _shape(rig.tree) == _shape(replayed)
            for field in ("digest", "data_size", "last_zxid", "ephemerals"):
                assert getattr(rig.tree, field) == getattr(replayed, field), field
    assert not rig.prep.pending.changes
    received = client.replies()
    zxids = [reply.zxid for reply in received]
    assert zxids == sorted(zxids)
    assert [reply.xid for reply in received if reply.xid > 0] == list(range(4, client.xid + 1))


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.SET_DATA, set_body("/a", b"new")),
        (Op.SET_DATA, set_body("/", b"new", 0)),
        (Op.CREATE, create_body("/a/b", b"x")),
        (Op.CREATE, create_body("/b", b"", 3)),
        (Op.CREATE2, create_body("/a/b", b"x", 1)),
    ],
)
def test_what_is_frequent_goes_the_short_way(op: int, body: bytes) -> None:
    rig = Rig()
    client = rig.client()
    client.call(Op.CREATE, create_body("/a"))
    proposed: list[object] = []
    propose: Callable[..., None] = rig.prep.propose
    rig.prep.propose = lambda payloads, writes: (proposed.extend(writes), propose(payloads, writes))[1]
    assert client.error(op, body) == 0
    assert [type(write) for write in proposed] == [tuple]


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.SET_DATA, set_body("/none")),
        (Op.SET_DATA, set_body("/a", b"", 7)),
        (Op.SET_DATA, set_body("/a", None)),
        (Op.SET_DATA, set_body("/a") + b"surplus"),
        (Op.CREATE, create_body("/a")),
        (Op.CREATE, create_body("/none/a")),
        (Op.CREATE, create_body("/a/..")),
        (Op.CREATE, create_body("a")),
        (Op.CREATE, create_body("/zookeeper/quota/x")),
    ],
)
def test_whatever_else_goes_the_long_way(op: int, body: bytes) -> None:
    rig = Rig()
    client = rig.client()
    client.call(Op.CREATE, create_body("/a"))
    proposed: list[object] = []
    propose: Callable[..., None] = rig.prep.propose
    rig.prep.propose = lambda payloads, writes: (proposed.extend(writes), propose(payloads, writes))[1]
    client.ask(op, body)
    assert [type(write) for write in proposed] == [Write]
