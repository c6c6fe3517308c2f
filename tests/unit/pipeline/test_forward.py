"""A learner's writes go to the leader and come back as transactions; the clients see no difference."""

from __future__ import annotations

import base64
import hashlib
from struct import pack

import pytest
from learner_rig import BEGIN, LeaderRig, LearnerRig
from rig import (
    Client,
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
from zabra.sessions.password import password_of
from zabra.wire.records_txn import ErrorTxn, MultiTxn, SetDataTxn, SubTxn
from zabra.wire.txns import TxnHeader, encode_txn
from zabra.zab.packets import ForwardedRequest, PacketStream, parse_request, request
from zabra.zab.syncplan import Entry

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
    assert learner.tree.last_zxid == leader.tree.last_zxid
    assert [entry.zxid - BEGIN for entry in learner.db.committed] == list(range(1, len(SCENARIO) + 2))
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


@pytest.mark.parametrize(
    "request_", [(Op.CREATE, create_body("/c")), (Op.SET_DATA, set_body("/a")), (Op.DELETE, delete_body("/a"))]
)
def test_identities_are_those_of_the_moment(learner: LearnerRig, request_: tuple[int, bytes]) -> None:
    client = learner.client()
    client.call(Op.CREATE, create_body("/a"))
    client.request(Op.CREATE, create_body("/b"), run=False)
    assert client.auth("digest", b"user:secret") == 0
    client.request(*request_, run=False)
    digest = ("digest", "user:" + base64.b64encode(hashlib.sha1(b"user:secret").digest()).decode())
    assert [request.identities for request in learner.requests()] == [(("ip", "127.0.0.1"), digest)]
    assert b"/b" in learner.tree.nodes


def test_a_long_acl_list_is_not_remembered(learner: LearnerRig) -> None:
    client = learner.client()
    acl = tuple((31, "ip", f"10.0.{number}.1") for number in range(100))
    for name in ("/a", "/b"):
        assert client.error(Op.CREATE, create_body(name, b"", 0, acl)) == 0
    assert learner.pipeline._acls == set()


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


# -- sessions


def test_a_session_begins_with_an_id_of_this_server(leader: LeaderRig, learner: LearnerRig) -> None:
    """It is forwarded as createSession under cxid 0, and opened when that commits."""
    client = Client(learner)  # type: ignore[arg-type]
    client.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    learner.run()
    (packet,) = [packet for data in learner.sent for packet in PacketStream().feed(data)]
    session_id, cxid, op, record, _ = parse_request(packet)
    assert (session_id >> 56, cxid, op, record) == (2, 0, Op.CREATE_SESSION, pack(">i", 10000))
    learner.deliver()
    assert client.take() == []
    assert learner.logged == leader.sessions.logged() == {}
    learner.work()
    (reply,) = client.take()
    assert reply == pack(">iiqi", 0, 10000, session_id, 16) + password_of(session_id)
    assert learner.logged == leader.sessions.logged() == {session_id: 10000}
    assert client.error(Op.CREATE, create_body("/a")) == 0


def test_ids_of_a_role_are_never_repeated(learner: LearnerRig) -> None:
    ids = [learner.client().session_id for _ in range(3)]
    assert ids == list(range(ids[0], ids[0] + 3))


def test_a_client_that_is_gone_before_its_session_begins(leader: LeaderRig, learner: LearnerRig) -> None:
    """The session begins; it will expire."""
    client = Client(learner)  # type: ignore[arg-type]
    client.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    client.cut()
    learner.work()
    assert len(leader.sessions.sessions) == 1
    assert client.take() == []
    assert not learner.pipeline.outstanding


def test_a_session_that_the_leader_refuses(leader: LeaderRig, learner: LearnerRig) -> None:
    """It is closing there already: nothing is opened."""
    client = Client(learner)  # type: ignore[arg-type]
    client.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    (session_id,) = learner.sessions.sessions
    leader.sessions.close(leader.sessions.begin(session_id, 10000, 0))
    learner.work()
    assert client.take() == []
    assert client.transport.closed


def test_close_session_answers_and_closes(leader: LeaderRig, learner: LearnerRig) -> None:
    client, other = learner.client(), learner.client()
    client.call(Op.CREATE, create_body("/e", b"", 1))
    other.call(Op.EXISTS, watch_body("/e", True))
    xid = client.request(Op.CLOSE_SESSION, run=False)
    client.request(Op.CREATE, create_body("/never"))
    (request,) = learner.requests()
    assert request == (client.session_id, xid, Op.CLOSE_SESSION, b"", (("ip", "127.0.0.1"),))
    leader.pipeline.forwarded(learner, iter([request]))
    assert client.take() == []
    learner.work()
    (reply,) = client.replies()
    assert (reply.xid, reply.err, reply.body) == (xid, 0, b"")
    assert client.transport.closed
    assert other.events() == [Event(2, b"/e", reply.zxid)]
    assert learner.logged.keys() == leader.sessions.logged().keys() == {other.session_id}
    assert learner.sessions.get(client.session_id) is None
    assert learner.tree.ephemerals == leader.tree.ephemerals == {}


def test_an_expired_session_is_cut_without_a_word(leader: LeaderRig, learner: LearnerRig) -> None:
    """Its requests that were on their way are refused, and nobody is there to hear it."""
    client, other = learner.client(), learner.client()
    client.call(Op.CREATE, create_body("/e", b"", 1))
    session = leader.sessions.get(client.session_id)
    assert session is not None
    leader.pipeline.close_session(None, session, 0)
    client.request(Op.CREATE, create_body("/late"))
    learner.work()
    assert client.take() == []
    assert client.transport.closed
    assert b"/e" not in learner.tree.nodes
    assert b"/late" not in learner.tree.nodes
    assert not learner.pipeline.outstanding
    assert other.error(Op.CREATE, create_body("/a")) == 0


def test_an_expired_session_does_not_answer_a_request_with_cxid_0(leader: LeaderRig, learner: LearnerRig) -> None:
    """The leader's own closeSession has cxid 0, as a client's request may."""
    client = learner.client()
    session = leader.sessions.get(client.session_id)
    assert session is not None
    leader.pipeline.close_session(None, session, 0)
    client.request(Op.CREATE, create_body("/late"), xid=0)
    learner.work()
    assert client.take() == []
    assert client.transport.closed


def test_a_close_from_elsewhere_cuts_the_connection_here(leader: LeaderRig, learner: LearnerRig) -> None:
    """Another server's client closes the session that has moved here: Apache asks not who owns it."""
    client = learner.client()
    other = LearnerRig(leader, server_id=3)
    leader.pipeline.forwarded(other, iter([ForwardedRequest(client.session_id, 9, Op.CLOSE_SESSION, b"", None)]))
    learner.work()
    assert client.take() == []
    assert client.transport.closed
    assert not learner.logged


def test_a_close_that_is_refused_ends_the_connection(learner: LearnerRig) -> None:
    """No leader does that; the client has been told that nothing more is served."""
    client = learner.client()
    client.request(Op.CLOSE_SESSION, b"", 7)
    zxid = learner.tree.last_zxid + 1
    header = TxnHeader(client.session_id, 7, zxid, 0, Op.ERROR)
    learner.apply([Entry(zxid, encode_txn(header, ErrorTxn(-1), None))])
    assert client.take() == []
    assert client.transport.closed


def test_touches_are_collected_for_the_ping(learner: LearnerRig) -> None:
    client, other = learner.client(timeout_ms=10000), learner.client(timeout_ms=20000)
    learner.pipeline.take_touched()
    for one in (client, client, other):
        one.request(Op.PING, xid=-2)
    assert learner.pipeline.take_touched() == [(client.session_id, 10000), (other.session_id, 20000)]
    assert learner.pipeline.take_touched() == []


# -- refusals


def test_what_does_not_parse_is_refused_here(learner: LearnerRig) -> None:
    """Apache's leader would log it under an old zxid, and it would never come back. In order, with nothing sent."""
    client = learner.client()
    client.call(Op.CREATE, create_body("/a"))
    assert client.error(Op.CREATE, path("/n") + path("") + b"\xff\xfe\0\0" + bytes(6)) == Code.INVALID_ACL
    client.request(Op.CREATE, create_body("/b"), 10, run=False)
    broken = [
        (Op.SET_DATA, path("/a") + pack(">i", 100) + b"short" + bytes(8)),
        (Op.SET_DATA, path("/a") + pack(">i", -2) + bytes(4)),
        (Op.SET_DATA, path("/a")),
        (Op.SET_DATA, path("/a") + bytes(2)),
        (Op.CREATE, path("/c") + pack(">i", 100) + b"short" + bytes(12)),
        (Op.CREATE, path("/c") + path("") + pack(">i", 7) + bytes(8)),
        (Op.CREATE2, path("/c")),
        (Op.CREATE2, path("/c") + bytes(2)),
        # The end of the data's length and what is behind it look like the ACL list of /n.
        (Op.CREATE2, path("/c") + pack(">i", -2) + bytes(8)),
        (Op.CREATE_TTL, create_body("/c")),
        (Op.DELETE, path("/a")),
        (Op.SET_ACL, path("/a")),
    ]
    for xid, (op, body) in enumerate(broken, 11):
        client.request(op, body, xid, run=False)
    assert [request.cxid for request in learner.requests()] == [10]
    assert client.take() == []
    client.request(Op.SYNC, b"\0\0\0\5/", 30, run=False)
    assert learner.requests() == []


def test_what_is_refused_here_keeps_its_place(learner: LearnerRig) -> None:
    client = learner.client()
    client.request(Op.CREATE, create_body("/b"), 10, run=False)
    client.request(Op.DELETE, b"", 11, run=False)
    client.request(Op.SYNC, b"\0\0\0\5/", 12, run=False)
    client.request(Op.CREATE, create_body("/c"), 13)
    learner.work()
    assert [(reply.xid, reply.err) for reply in client.replies()] == [
        (10, 0),
        (11, Code.MARSHALLING_ERROR),
        (12, Code.MARSHALLING_ERROR),
        (13, 0),
    ]


def test_surplus_bytes_are_forwarded_with_the_rest(learner: LearnerRig) -> None:
    """They are ignored; neither the fast way nor what is known of ACL lists falls for them."""
    client = learner.client()
    assert client.error(Op.CREATE, create_body("/a") + b"surplus") == 0
    assert client.error(Op.CREATE, create_body("/b") + b"surplus") == 0
    assert client.error(Op.SET_DATA, set_body("/a", b"1") + b"surplus") == 0
    assert client.ask(Op.GET_DATA, watch_body("/a")).body[4:5] == b"1"


def test_a_malformed_multi_is_the_leaders_to_refuse(learner: LearnerRig) -> None:
    client = learner.client()
    zxid = learner.tree.last_zxid
    reply = client.ask(Op.MULTI, b"\0")
    assert (reply.err, reply.body, reply.zxid) == (Code.MARSHALLING_ERROR, b"", zxid + 1)


@pytest.mark.parametrize(
    "request_",
    [
        (Op.CREATE, create_body("/b")),
        (Op.SET_DATA, set_body("/a")),
        (Op.DELETE, delete_body("/a")),
        (Op.MULTI, multi_body((Op.CREATE, create_body("/b")))),
    ],
)
def test_a_write_for_a_session_that_moved_ends_the_connection(
    leader: LeaderRig, learner: LearnerRig, request_: tuple[int, bytes]
) -> None:
    """The client is elsewhere: this connection is closed without a reply."""
    client = learner.client()
    client.call(Op.CREATE, create_body("/a"))
    other = LearnerRig(leader, server_id=3)
    assert leader.pipeline.revalidate(other, client.session_id, 10000)
    zxid = leader.tree.last_zxid
    client.request(*request_)
    learner.work()
    assert client.take() == []
    assert client.transport.closed
    assert leader.tree.last_zxid == zxid + 1
    assert leader.tree.nodes.keys() == learner.tree.nodes.keys() >= {b"/a"}
    assert not learner.pipeline.outstanding


def test_a_moved_session_inside_a_multi_ends_the_connection(learner: LearnerRig) -> None:
    """Apache's leader checks the session for each operation."""
    client = learner.client()
    client.request(Op.MULTI, multi_body((Op.DELETE, delete_body("/a")), (Op.DELETE, delete_body("/b"))), 7)
    subs = tuple(SubTxn(Op.ERROR, ErrorTxn(code).encode()) for code in (Code.SESSION_MOVED, -2))
    zxid = learner.tree.last_zxid + 1
    header = TxnHeader(client.session_id, 7, zxid, 0, Op.MULTI)
    learner.apply([Entry(zxid, encode_txn(header, MultiTxn(subs), None))])
    learner.run()
    assert client.take() == []
    assert client.transport.closed


def test_reads_of_a_moved_session_go_on(leader: LeaderRig, learner: LearnerRig) -> None:
    client = learner.client()
    leader.pipeline.revalidate(LearnerRig(leader, server_id=3), client.session_id, 10000)
    assert client.error(Op.EXISTS, watch_body("/")) == 0


def test_the_reply_of_a_reconfig_has_the_new_membership(learner: LearnerRig) -> None:
    client = learner.client()
    client.request(Op.RECONFIG, path("") * 3 + pack(">q", -1), 7)
    zxid = learner.tree.last_zxid + 1
    header = TxnHeader(client.session_id, 7, zxid, 0, Op.RECONFIG)
    learner.apply([Entry(zxid, encode_txn(header, SetDataTxn(b"/zookeeper/config", b"text", -1), None))])
    learner.run()
    (reply,) = client.replies()
    assert (reply.xid, reply.err) == (7, 0)
    assert reply.body == path("text") + learner.tree.nodes[b"/zookeeper/config"].stat


# -- the end, and how much is outstanding


def test_nothing_is_sent_after_the_end(learner: LearnerRig) -> None:
    client = learner.client()
    client.request(Op.CREATE, create_body("/a"), run=False)
    learner.sent.clear()
    learner.pipeline.stop()
    learner.hub.halt()
    learner.run()
    assert learner.sent == []
    assert client.transport.closed


def test_the_oldest_turn_that_is_not_answered(leader: LeaderRig, learner: LearnerRig) -> None:
    """Latency counts from when the first request of a turn came."""
    client = learner.client()
    pipeline = learner.pipeline
    assert pipeline.waiting_since == learner.clock.now
    began = []
    for number in range(3):
        learner.clock.now += 1
        began.append(learner.clock.now)
        for part in "ab":
            client.request(Op.CREATE, create_body(f"/{number}{part}"), run=False)
        learner.clock.now += 0.5
        learner.run()
    learner.deliver()
    for count, expected in ((1, 0), (1, 1), (3, 2)):
        leader.commit(count)
        assert pipeline.waiting_since == began[expected]
    leader.commit()
    assert pipeline.waiting_since == learner.clock.now
    assert client.connection.latency_max_ms == 3500


def test_a_client_with_too_many_requests_outstanding_is_not_read() -> None:
    leader = LeaderRig(global_outstanding_limit=3)
    learner = LearnerRig(leader)
    client = learner.client()
    for number in range(4):
        assert client.transport.reading
        client.request(Op.CREATE, create_body(f"/{number}"))
    assert learner.pipeline.outstanding == 4
    assert not client.transport.reading
    learner.work()
    assert client.transport.reading
    assert [reply.err for reply in client.replies()] == [0] * 4


def test_a_turn_that_answers_nobody_has_no_latency(leader: LeaderRig, learner: LearnerRig) -> None:
    """What others wrote is applied while a client here still waits."""
    elsewhere, client = leader.client(), learner.client()
    stats = learner.stats
    before = stats.latency_count, stats.max_latency_ms, stats.metrics.updatelatency.max
    client.request(Op.CREATE, create_body("/late"))
    learner.clock.now += 5
    elsewhere.request(Op.CREATE, create_body("/a"))
    leader.commit()
    assert b"/a" in learner.tree.nodes
    assert (stats.latency_count, stats.max_latency_ms, stats.metrics.updatelatency.max) == before
    learner.work()
    assert stats.max_latency_ms == 5000
