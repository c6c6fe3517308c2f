"""A learner's writes go to the leader and come back as transactions; the clients see no difference."""

from __future__ import annotations

from struct import pack

import pytest
from learner_rig import BEGIN, LeaderRig, LearnerRig
from rig import (
    Event,
    Rig,
    create_body,
    delete_body,
    multi_body,
    path,
    set_acl_body,
    set_body,
    stat_of,
    ttl_body,
    watch_body,
)

from zabra.consts import Op
from zabra.errors import Code
from zabra.zab.packets import ForwardedRequest, request


@pytest.fixture
def leader() -> LeaderRig:
    return LeaderRig(extended_types_enabled=True)


@pytest.fixture
def learner(leader: LeaderRig) -> LearnerRig:
    return LearnerRig(leader)


#: Requests in an order, each with what it needs before it; every kind of reply that a write has.
SCENARIO = [
    (Op.CREATE, create_body("/a", b"1")),
    (Op.CREATE2, create_body("/a/b", b"22")),
    (Op.CREATE, create_body("/a/c")),
    (Op.CREATE2, create_body("/a/e", b"x", 1)),
    (Op.CREATE, create_body("/a/s-", b"x", 2)),
    (Op.CREATE2, create_body("/a/s-", None, 3)),
    (Op.CREATE, create_body("/a/closed", b"x", 0, ((1, "world", "anyone"),))),
    (Op.CREATE_CONTAINER, create_body("/box", b"", 4)),
    (Op.CREATE_TTL, ttl_body("/ttl", 1000)),
    (Op.SET_DATA, set_body("/a", b"new")),
    (Op.SET_DATA, set_body("/a", None)),
    (Op.SET_DATA, set_body("/a", b"new", 2)),
    (Op.SET_DATA, set_body("/a", b"new", 2)),
    (Op.SET_DATA, set_body("/none")),
    (Op.SET_ACL, set_acl_body("/a/b", ((31, "world", "anyone"), (1, "ip", "127.0.0.1")))),
    (Op.DELETE, delete_body("/a/c")),
    (Op.DELETE, delete_body("/a")),
    (Op.CREATE, create_body("/a")),
    (Op.CREATE, create_body("/a/e/child")),
    (Op.RECONFIG, path("") * 3 + pack(">q", -1)),
    (Op.MULTI, multi_body()),
    (
        Op.MULTI,
        multi_body(
            (Op.CREATE, create_body("/m", b"1")),
            (Op.CREATE2, create_body("/m/s-", b"1", 2)),
            (Op.CREATE, create_body("/m/s-", b"1", 2)),
            (Op.SET_DATA, set_body("/m", b"22")),
            (Op.CHECK, path("/m") + pack(">i", 1)),
            (Op.SET_DATA, set_body("/m", b"333")),
            (Op.DELETE, delete_body("/m/s-0000000001")),
            (Op.CREATE_CONTAINER, create_body("/m/box", b"", 4)),
            (Op.CREATE_TTL, ttl_body("/m/ttl", 1000)),
        ),
    ),
    (
        Op.MULTI,
        multi_body(
            (Op.SET_DATA, set_body("/m", b"4")),
            (Op.DELETE, delete_body("/none")),
            (Op.CREATE, create_body("/never")),
        ),
    ),
    (Op.MULTI, multi_body((Op.GET_ACL, b""))),
    (Op.CREATE, create_body("/a/last")),
]


def play(rig: Rig | LearnerRig) -> list[tuple[int, int, bytes]]:
    client = rig.client()
    out = []
    for op, body in SCENARIO:
        reply = client.ask(op, body)
        out.append((reply.err, reply.zxid - BEGIN, reply.body))
    return out


def test_replies_are_those_of_a_server_of_its_own(leader: LeaderRig, learner: LearnerRig) -> None:
    """Every kind of write, done or refused: the same header and body, byte for byte, as the leader's own client."""
    other = LeaderRig(extended_types_enabled=True)
    expected = play(other)
    assert {err for err, _, _ in expected} > {0, Code.NO_NODE, Code.BAD_VERSION, Code.NODE_EXISTS, Code.NOT_EMPTY}
    session = other.clients[0].session_id.to_bytes(8, "big")
    own = learner.server_id.to_bytes(1, "big") + session[1:]
    assert play(learner) == [(err, zxid, body.replace(session, own)) for err, zxid, body in expected]
    assert learner.tree.digest == leader.tree.digest
    assert learner.tree.digest_mismatches == 0
    assert learner.tree.last_zxid == leader.tree.last_zxid
    assert [entry.zxid - BEGIN for entry in learner.committed] == list(range(1, len(SCENARIO) + 2))
    assert not learner.pipeline.outstanding


def test_packets_are_those_of_the_plain_encoder(learner: LearnerRig) -> None:
    """The frequent requests are packed by hand."""
    client = learner.client()
    client.call(Op.CREATE, create_body("/a"))
    session = client.session_id
    asked = [
        (Op.SET_DATA, set_body("/a", b"x" * 100, 3)),
        (Op.CREATE, create_body("/b", b"y")),
        (Op.CREATE2, create_body("/b/c", b"", 3)),
        (Op.DELETE, delete_body("/b")),
        (Op.SYNC, path("/")),
        (Op.MULTI, multi_body((Op.DELETE, delete_body("/x")))),
        (Op.CLOSE_SESSION, b""),
    ]
    for xid, (op, body) in enumerate(asked, 10):
        client.request(op, body, xid, run=False)
    assert learner.sent == []
    learner.run()
    identities = (("ip", "127.0.0.1"),)
    assert learner.sent == [
        b"".join(
            request(ForwardedRequest(session, xid, op, body, identities)) for xid, (op, body) in enumerate(asked, 10)
        )
    ]


def test_what_a_turn_forwards_is_one_write(learner: LearnerRig) -> None:
    one, two = learner.client(), learner.client("10.0.0.2")
    for client in (one, two, one):
        client.request(Op.CREATE, create_body("/a"), run=False)
    assert learner.sent == []
    assert [(r.session, r.cxid, r.identities) for r in learner.requests()] == [
        (one.session_id, 1, (("ip", "127.0.0.1"),)),
        (two.session_id, 1, (("ip", "10.0.0.2"),)),
        (one.session_id, 2, (("ip", "127.0.0.1"),)),
    ]


def test_stat_and_event(learner: LearnerRig) -> None:
    """Watches of every connection fire before the reply."""
    client, other = learner.client(), learner.client()
    client.call(Op.CREATE, create_body("/a"))
    for one in (client, other):
        one.call(Op.GET_DATA, watch_body("/a", True))
    client.request(Op.SET_DATA, set_body("/a", b"12"))
    learner.work()
    event, reply = client.replies()
    assert event.xid == -1
    assert stat_of(reply.body).version == 1
    assert other.events() == [Event(3, b"/a", reply.zxid)]
