"""The short ways of a write against the long ones: same transactions, same nodes, same replies and events."""

from __future__ import annotations

import random
from collections.abc import Callable
from struct import pack

import pytest
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


def _refuse(*_: object) -> bool:
    return False


def long_rig(monkeypatch: pytest.MonkeyPatch, **more: object) -> Rig:
    """A server that validates by the records and installs by the tree's own methods."""
    monkeypatch.setattr(DataTree, "is_plain", False)
    rig = Rig(running=False, **more)
    rig.pipeline.set_data = _refuse  # type: ignore[method-assign]
    rig.pipeline.create = _refuse  # type: ignore[method-assign]
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


def _drive(rig: Rig, seed: int) -> tuple[list[list[bytes]], list[bytes]]:
    """The same clients with the same requests, some of them many at once; all they were sent, and the log."""
    rng = random.Random(seed)
    clients: list[Client] = [rig.client() for _ in range(3)]
    clients[0].call(Op.CREATE, create_body("/q"))
    clients[0].call(Op.CREATE, create_body(QUOTA))
    received: list[list[bytes]] = [[] for _ in clients]
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
            for _ in range(rng.randrange(1, 6)):
                client.request(*_request(rng), run=False)
        rig.work()
        if dump is not None and not dump.next_chunk(3):
            dump = None
        for client, frames in zip(clients, received, strict=True):
            frames += client.take()
    assert not rig.fatal
    return received, rig.log.durable


def test_what_one_write_of_a_batch_sets_up_counts_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota and a recursive watch that come between writes of the same batch."""
    outcomes = []
    for make in (Rig, lambda: long_rig(monkeypatch)):
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
def test_the_short_ways_do_what_the_long_ones_do(
    monkeypatch: pytest.MonkeyPatch, seed: int, more: dict[str, bool]
) -> None:
    more = {"extended_types_enabled": True, **more}
    quick = Rig(**more)
    quick_received, quick_log = _drive(quick, seed)
    slow = long_rig(monkeypatch, **more)
    slow_received, slow_log = _drive(slow, seed)
    assert quick_log == slow_log
    assert quick_received == slow_received
    assert _shape(quick.tree) == _shape(slow.tree)
    for field in ("digest", "data_size", "last_zxid", "ephemerals", "ttls", "digest_log"):
        assert getattr(quick.tree, field) == getattr(slow.tree, field), field
    assert not quick.prep.pending.changes
    assert quick.prep.pending.digest == quick.tree.digest
    for name, node in quick.tree.nodes.items():
        assert node.digest == digest_of(name, node)


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
    rig.prep.propose = lambda payload, write: (proposed.append(write), propose(payload, write))[1]
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
    rig.prep.propose = lambda payload, write: (proposed.append(write), propose(payload, write))[1]
    client.ask(op, body)
    assert [type(write) for write in proposed] == [Write]
