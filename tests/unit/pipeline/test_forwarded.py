"""What a leader makes of the requests that learners forward: one transaction each, whatever is wrong with it."""

from __future__ import annotations

import random
from struct import pack

import pytest
from learner_rig import LeaderRig
from rig import create_body, delete_body, multi_body, path, set_body, ttl_body

from zabra.consts import Op
from zabra.errors import Code
from zabra.wire.records_data import Identity
from zabra.wire.records_txn import CloseSessionTxn, CreateSessionTxn, ErrorTxn
from zabra.wire.txns import TxnBody, TxnHeader, decode_txn
from zabra.zab.packets import ForwardedRequest

#: A session, and the learner it uses.
SESSION = 0x200000000000001
LEARNER = "learner"


def ask(
    leader: LeaderRig,
    op: int,
    record: bytes,
    cxid: int = 5,
    session_id: int = SESSION,
    learner: object = LEARNER,
    identities: tuple[Identity, ...] | None = (("ip", "10.0.0.1"),),
) -> tuple[TxnHeader, TxnBody | None]:
    """Forward a request: its transaction, which is committed."""
    leader.pipeline.forwarded(learner, iter([ForwardedRequest(session_id, cxid, op, record, identities)]))
    ((payload, _),) = leader.outbox.proposed
    leader.commit()
    header, body, _ = decode_txn(payload)
    assert (header.session_id, header.cxid, header.zxid) == (session_id, cxid, leader.tree.last_zxid)
    return header, body


def begin(leader: LeaderRig, session_id: int = SESSION, timeout_ms: int = 10000, learner: object = LEARNER) -> None:
    header, body = ask(leader, Op.CREATE_SESSION, pack(">i", timeout_ms), 0, session_id, learner, None)
    assert (header.type, body) == (Op.CREATE_SESSION, CreateSessionTxn(timeout_ms))


def test_a_session_begins_and_ends(leader: LeaderRig) -> None:
    begin(leader)
    session = leader.sessions.get(SESSION)
    assert session is not None
    assert session.timeout_ms == 10000
    assert leader.sessions.logged() == {SESSION: 10000}
    assert ask(leader, Op.CREATE, create_body("/e", b"", 1))[0].type == Op.CREATE
    assert leader.tree.ephemerals == {SESSION: {b"/e": None}}
    header, body = ask(leader, Op.CLOSE_SESSION, b"", 9)
    assert (header.type, body) == (Op.CLOSE_SESSION, CloseSessionTxn((b"/e",)))
    assert leader.sessions.logged() == {}
    assert leader.sessions.get(SESSION) is None
    assert leader.tree.ephemerals == {}


def test_a_session_is_tracked_before_it_is_committed(leader: LeaderRig) -> None:
    """Its client's next requests come before that; a snapshot must not have it yet."""
    leader.pipeline.forwarded(LEARNER, iter([ForwardedRequest(SESSION, 0, Op.CREATE_SESSION, pack(">i", 10000), None)]))
    leader.pipeline.forwarded(LEARNER, iter([ForwardedRequest(SESSION, 1, Op.CREATE, create_body("/a"), ())]))
    assert leader.sessions.logged() == {}
    types = [decode_txn(payload)[0].type for payload, _ in leader.outbox.proposed]
    assert types == [Op.CREATE_SESSION, Op.CREATE]


def test_an_expired_session_of_a_learner(leader: LeaderRig) -> None:
    begin(leader)
    session = leader.sessions.get(SESSION)
    assert session is not None
    leader.pipeline.close_session(None, session, 0)
    leader.commit()
    assert leader.sessions.logged() == {}


@pytest.mark.parametrize(
    ("op", "record"),
    [
        (Op.CREATE, create_body("/a")),
        (Op.SET_DATA, set_body("/")),
        (Op.DELETE, delete_body("/a")),
        (Op.MULTI, multi_body((Op.DELETE, delete_body("/a")))),
        (Op.CREATE, b""),
    ],
)
@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("unknown", Code.SESSION_EXPIRED),
        ("closing", Code.SESSION_EXPIRED),
        ("local", Code.SESSION_MOVED),
        ("elsewhere", Code.SESSION_MOVED),
    ],
)
def test_a_session_that_may_not_write(leader: LeaderRig, state: str, code: int, op: int, record: bytes) -> None:
    session_id = SESSION
    if state == "local":
        session_id = leader.client().session_id
    elif state != "unknown":
        begin(leader, learner="another" if state == "elsewhere" else LEARNER)
        if state == "closing":
            session = leader.sessions.get(session_id)
            assert session is not None
            leader.sessions.close(session)
    before = leader.tree.digest
    header, body = ask(leader, op, record, session_id=session_id)
    assert (header.type, body) == (Op.ERROR, ErrorTxn(code))
    assert leader.tree.digest == before


def test_the_first_to_use_a_session_owns_it(leader: LeaderRig) -> None:
    """After a new leader was elected nobody owns any."""
    leader.sessions.track(SESSION, 10000, 0)
    assert ask(leader, Op.CREATE, create_body("/a"))[0].type == Op.CREATE
    assert ask(leader, Op.CREATE, create_body("/b"), learner="another")[1] == ErrorTxn(Code.SESSION_MOVED)
    assert ask(leader, Op.CREATE, create_body("/b"))[0].type == Op.CREATE


@pytest.mark.parametrize(
    ("op", "record", "code"),
    [
        (Op.CREATE, b"", Code.MARSHALLING_ERROR),
        (Op.CREATE, path("/a") + bytes(3), Code.MARSHALLING_ERROR),
        (Op.CREATE, pack(">i", -1), Code.MARSHALLING_ERROR),
        (Op.SET_DATA, b"\0\0\0", Code.MARSHALLING_ERROR),
        # Counted from the end of the record it would be a setData of the root.
        (Op.SET_DATA, pack(">i", -100) + b"/" + pack(">i", 189) + bytes(88) + pack(">i", -1), Code.MARSHALLING_ERROR),
        (Op.SET_DATA, pack(">i", 1 << 30) + bytes(20), Code.MARSHALLING_ERROR),
        (Op.CREATE_TTL, create_body("/a"), Code.MARSHALLING_ERROR),
        (Op.MULTI, b"\0", Code.MARSHALLING_ERROR),
        (Op.CREATE_SESSION, b"\0\0\0", Code.MARSHALLING_ERROR),
        (Op.DELETE_CONTAINER, path("/a"), Code.UNIMPLEMENTED),
        (Op.CHECK, path("/a") + bytes(4), Code.UNIMPLEMENTED),
        (Op.GET_DATA, path("/a") + bytes(1), Code.UNIMPLEMENTED),
        (Op.NOTIFICATION, b"", Code.UNIMPLEMENTED),
        (999, b"", Code.UNIMPLEMENTED),
        (Op.DELETE, delete_body("/none"), Code.NO_NODE),
        (Op.CREATE, create_body("a"), Code.BAD_ARGUMENTS),
    ],
)
def test_every_refusal_takes_a_zxid(leader: LeaderRig, op: int, record: bytes, code: int) -> None:
    """A learner gives its client no other answer."""
    begin(leader)
    header, body = ask(leader, op, record)
    assert (header.type, body) == (Op.ERROR, ErrorTxn(code))
    assert ask(leader, Op.CREATE, create_body("/next"))[0].type == Op.CREATE
    assert not leader.outbox.failed


@pytest.mark.parametrize("frequent", [False, True])
def test_rights_are_those_of_the_client(leader: LeaderRig, frequent: bool) -> None:
    """Its identities come with each request; a learner that sends none has a client without any."""
    begin(leader)
    mine = ((31, "ip", "10.0.0.1"),)
    for name in ("/a", "/b"):
        ask(leader, Op.CREATE, create_body(name, b"", 0, mine))
    version = -1 if frequent else 0
    for identities in ((("ip", "10.0.0.2"),), None):
        refused = ask(leader, Op.SET_DATA, set_body("/a", b"", version), identities=identities)[1]
        assert refused == ErrorTxn(Code.NO_AUTH)
    assert ask(leader, Op.SET_DATA, set_body("/a", b"", version))[0].type == Op.SET_DATA
    assert ask(leader, Op.CREATE, create_body("/a/c"), identities=None)[1] == ErrorTxn(Code.NO_AUTH)


def test_transactions_are_those_of_the_leaders_own_client(leader: LeaderRig) -> None:
    """Whichever way a request takes through the validation."""
    begin(leader)
    local = LeaderRig(extended_types_enabled=True)
    client = local.client()
    requests = [
        (Op.CREATE, create_body("/a", b"1")),
        (Op.CREATE, create_body("/a/s-", b"1", 3)),
        (Op.CREATE2, create_body("/a/b", b"2")),
        (Op.SET_DATA, set_body("/a", b"22")),
        (Op.SET_DATA, set_body("/a", None)),
        (Op.CREATE_TTL, ttl_body("/t", 10)),
        (Op.MULTI, multi_body((Op.CREATE, create_body("/m")), (Op.DELETE, delete_body("/m")))),
        (Op.DELETE, delete_body("/a/b")),
    ]
    for cxid, (op, record) in enumerate(requests, 1):
        header, body = ask(leader, op, record, cxid)
        client.request(op, record, cxid)
        ((payload, _),) = local.outbox.proposed
        local.commit()
        own, own_body, _ = decode_txn(payload)
        assert header == own._replace(session_id=SESSION)
        assert body == own_body
    assert leader.tree.nodes.keys() == local.tree.nodes.keys()


def test_a_session_that_begins_twice(leader: LeaderRig) -> None:
    """The last timeout counts."""
    begin(leader)
    begin(leader, timeout_ms=20000)
    session = leader.sessions.get(SESSION)
    assert session is not None
    assert session.timeout_ms == 20000
    assert leader.sessions.logged() == {SESSION: 20000}
    leader.sessions.close(session)
    header, body = ask(leader, Op.CREATE_SESSION, pack(">i", 10000), 0)
    assert (header.type, body) == (Op.ERROR, ErrorTxn(Code.SESSION_EXPIRED))


def test_a_close_is_answered_also_for_a_session_that_is_gone(leader: LeaderRig) -> None:
    header, body = ask(leader, Op.CLOSE_SESSION, b"")
    assert (header.type, body) == (Op.CLOSE_SESSION, CloseSessionTxn(()))
    assert leader.sessions.get(SESSION) is None


def test_a_close_is_answered_also_once_more(leader: LeaderRig) -> None:
    begin(leader)
    for cxid in (1, 2):
        leader.pipeline.forwarded(LEARNER, iter([ForwardedRequest(SESSION, cxid, Op.CLOSE_SESSION, b"", None)]))
    assert [decode_txn(payload)[0].cxid for payload, _ in leader.outbox.proposed] == [1, 2]
    leader.commit()
    assert leader.sessions.logged() == {}


def test_a_learners_close_cuts_the_leaders_own_connection(leader: LeaderRig) -> None:
    """Nobody asks who owns a session that is closed."""
    client = leader.client()
    ask(leader, Op.CLOSE_SESSION, b"", session_id=client.session_id)
    assert client.take() == []
    assert client.transport.closed


def test_a_session_moves_to_the_learner_that_asks_for_it(leader: LeaderRig) -> None:
    client = leader.client()
    session = leader.sessions.get(client.session_id)
    assert session is not None
    assert leader.pipeline.revalidate(LEARNER, session.id, 20000)
    assert client.transport.closed
    assert session.timeout_ms == 20000
    assert ask(leader, Op.CREATE, create_body("/a"), session_id=session.id)[0].type == Op.CREATE
    assert leader.pipeline.revalidate("another", session.id, 20000)
    assert ask(leader, Op.CREATE, create_body("/b"), session_id=session.id)[1] == ErrorTxn(Code.SESSION_MOVED)


def test_a_session_stays_with_the_learner_that_has_it(leader: LeaderRig) -> None:
    begin(leader)
    assert leader.pipeline.revalidate(LEARNER, SESSION, 10000)
    assert ask(leader, Op.CREATE, create_body("/a"))[0].type == Op.CREATE


def test_only_a_live_session_can_move_or_be_touched(leader: LeaderRig) -> None:
    for known in (False, True):
        if known:
            begin(leader)
            session = leader.sessions.get(SESSION)
            assert session is not None
            leader.sessions.close(session)
        assert not leader.pipeline.revalidate("another", SESSION, 10000)
        assert not leader.pipeline.touch_remote(SESSION, 10000)


def test_touches_of_learners_keep_sessions_alive(leader: LeaderRig) -> None:
    """Each with the timeout that the client has there."""
    begin(leader)
    session = leader.sessions.get(SESSION)
    assert session is not None
    leader.clock.now += 5
    now_ms = int(leader.clock.now * 1000)
    assert leader.pipeline.touch_remote(SESSION, 30000)
    assert now_ms + 30000 <= session.deadline_ms <= now_ms + 33000
    assert leader.sessions.expired(now_ms + 29000) == []


def test_replies_to_learners_are_not_counted_as_sent(leader: LeaderRig) -> None:
    client = leader.client()
    begin(leader)
    before = leader.stats.packets_sent
    leader.pipeline.forwarded(LEARNER, iter([ForwardedRequest(SESSION, 1, Op.CREATE, create_body("/a"), ())]))
    client.request(Op.CREATE, create_body("/b"))
    leader.pipeline.forwarded(LEARNER, iter([ForwardedRequest(SESSION, 2, Op.CLOSE_SESSION, b"", ())]))
    leader.commit()
    assert leader.stats.packets_sent == before + 1
    assert [reply.err for reply in client.replies()] == [0]


def test_a_learner_that_is_gone(leader: LeaderRig) -> None:
    """Its sessions are nobody else's until they come back; what it had asked for commits."""
    begin(leader)
    leader.pipeline.forwarded(LEARNER, iter([ForwardedRequest(SESSION, 1, Op.CREATE, create_body("/a"), ())]))
    leader.pipeline.learner_gone(LEARNER)
    leader.commit()
    assert b"/a" in leader.tree.nodes
    assert ask(leader, Op.CREATE, create_body("/b"))[1] == ErrorTxn(Code.SESSION_MOVED)
    assert leader.pipeline.revalidate(LEARNER, SESSION, 10000)
    assert ask(leader, Op.CREATE, create_body("/b"))[0].type == Op.CREATE
    leader.pipeline.learner_gone("nobody")


def test_the_time_is_that_of_the_request(leader: LeaderRig) -> None:
    begin(leader)
    leader.clock.wall += 1000
    assert ask(leader, Op.CREATE, create_body("/a"))[0].time_ms == leader.clock.wall


def test_many_requests_are_proposed_in_order_up_to_a_sync(leader: LeaderRig) -> None:
    begin(leader)
    ask(leader, Op.CREATE, create_body("/a"))
    set_a = set_body("/a", b"x")
    asked = [(6, Op.SET_DATA, set_a), (7, Op.CREATE, create_body("/b")), (8, Op.SYNC, b""), (9, Op.SET_DATA, set_a)]
    left = iter([ForwardedRequest(SESSION, cxid, op, record, ()) for cxid, op, record in asked])
    assert leader.pipeline.forwarded(LEARNER, left)
    assert [decode_txn(payload)[0].cxid for payload, _ in leader.outbox.proposed] == [6, 7]
    assert not leader.pipeline.forwarded(LEARNER, left)
    headers = [decode_txn(payload)[0] for payload, _ in leader.outbox.proposed]
    assert [(header.cxid, header.type) for header in headers] == [(6, 5), (7, 1), (9, 5)]


@pytest.mark.parametrize("record", [b"", b"\0\0\0\0", b"\0\0\0\2/", b"\xff\xff\xff\xff", b"\0\0\0\2/a\0\0\0\1x"])
def test_half_a_set_data_among_others_is_refused_alone(leader: LeaderRig, record: bytes) -> None:
    begin(leader)
    ask(leader, Op.CREATE, create_body("/a"))
    records = [set_body("/a", b"x"), record, set_body("/a", b"y")]
    assert not leader.pipeline.forwarded(
        LEARNER, iter([ForwardedRequest(SESSION, 6, Op.SET_DATA, each, ()) for each in records])
    )
    assert [decode_txn(payload)[0].type for payload, _ in leader.outbox.proposed] == [Op.SET_DATA, -1, Op.SET_DATA]


@pytest.mark.parametrize("seed", range(8))
def test_requests_that_come_together_are_what_they_are_one_by_one(seed: int) -> None:
    """Good ones, refused ones, halves; of two clients, of sessions that the leader does not know, with other rights."""
    rng = random.Random(seed)
    bodies = [
        *[(Op.SET_DATA, set_body(name, b"x", version)) for name in ("/a", "/c", "/none") for version in (-1, -1, 0)],
        *[(Op.CREATE, create_body(f"/a/n{number}", b"", flags)) for number in range(6) for flags in (0, 0, 1, 2)],
        *[(Op.CREATE2, create_body(f"/d/n{number}")) for number in range(3)],
        *[(op, record) for op in (Op.SET_DATA, Op.CREATE) for record in (b"", b"\0\0\0\2/a", b"\0\0\0\2/")],
        (Op.DELETE, delete_body("/a/n1")),
    ]
    requests = []
    while len(requests) < 60:
        session_id = rng.choice((SESSION, SESSION, SESSION, SESSION + 1, SESSION + 2))
        identities = rng.choice(((("ip", "10.0.0.1"),), (("ip", "10.0.0.1"),), (("ip", "10.0.0.2"),)))
        kind = rng.choice((Op.SET_DATA, Op.CREATE, Op.CREATE2, None))
        for _ in range(rng.randrange(1, 7)):
            op, record = rng.choice([body for body in bodies if kind in (None, body[0])])
            requests.append(ForwardedRequest(session_id, len(requests), op, record, identities))
    outcomes = []
    for together in (True, False):
        leader = LeaderRig()
        begin(leader)
        begin(leader, SESSION + 1)
        ask(leader, Op.CREATE, create_body("/a"))
        ask(leader, Op.CREATE, create_body("/d"))
        ask(leader, Op.CREATE, create_body("/c", b"", 0, ((31, "ip", "10.0.0.2"),)))
        if together:
            leader.pipeline.forwarded(LEARNER, iter(requests))
        else:
            for request in requests:
                leader.pipeline.forwarded(LEARNER, iter([request]))
        payloads = [payload for payload, _ in leader.outbox.proposed]
        # Those that went the short way.
        plain = [type(write) is tuple for _, write in leader.outbox.proposed]
        leader.commit()
        assert not leader.prep.pending.changes
        outcomes.append((payloads, plain, leader.tree.digest))
    assert outcomes[0] == outcomes[1]
    assert [decode_txn(payload)[0].cxid for payload in outcomes[0][0]] == list(range(len(requests)))
