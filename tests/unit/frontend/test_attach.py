"""Sessions meet connections: new ones, renewals, moves, refusals, and the bytes of the handshake."""

from __future__ import annotations

from struct import pack, unpack_from

import pytest
from rig import Client, Rig, create_body, path, set_body, watch_body

from zabra.consts import Op
from zabra.sessions.password import password_of
from zabra.wire.txns import decode_txn

REFUSED = pack(">iiqi", 0, 0, 0, 16) + bytes(16)


def connect(
    rig: Rig,
    timeout_ms: int = 10000,
    session_id: int = 0,
    password: bytes = bytes(16),
    last_zxid: int = 0,
    tail: bytes = b"",
) -> tuple[Client, list[bytes]]:
    """A connect request as it is on the wire; ``tail`` is the readOnly byte. What came back."""
    client = Client(rig)
    body = pack(">iqiqi", 0, last_zxid, timeout_ms, session_id, len(password)) + password + tail
    client.send(pack(">i", len(body)) + body)
    rig.work()
    return client, client.take()


def test_a_new_session_is_a_transaction_and_a_reply(server: Rig) -> None:
    """The reply goes out when the createSession has committed; a fresh server gives it zxid 1."""
    client, (reply,) = connect(server, tail=b"\0")
    (session,) = server.sessions.sessions.values()
    assert reply == pack(">iiqi", 0, 10000, session.id, 16) + password_of(session.id) + b"\0"
    header, body, digest = decode_txn(server.log.durable[0])
    assert header == (session.id, 0, 1, server.clock.wall, Op.CREATE_SESSION)
    assert body == (10000,)
    assert digest is not None
    assert server.sessions.logged()[session.id] == 10000
    assert session.owner is client.connection


def test_no_reply_before_the_create_session_is_durable() -> None:
    rig = Rig(sync_seconds=0.1)
    rig.client()
    client = Client(rig)
    client.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    assert client.take() == []
    assert rig.sessions.logged().keys() == {rig.clients[0].session_id}
    rig.work()
    assert len(client.take()) == 1
    assert len(rig.sessions.logged()) == 2


@pytest.mark.parametrize("tail", [b"", b"\0", b"\1"])
def test_the_read_only_byte_comes_back_only_when_it_was_sent(server: Rig, tail: bytes) -> None:
    """Clients before 3.4 do not know it (ZOOKEEPER-4814); this server is never read-only."""
    _, (reply,) = connect(server, tail=tail)
    assert reply[36:] == (b"\0" if tail else b"")
    _, (refusal,) = connect(server, session_id=99, tail=tail)
    assert refusal == REFUSED + (b"\0" if tail else b"")


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 6000), (-5, 6000), (5999, 6000), (6001, 6001), (60000, 60000), (1 << 30, 60000)]
)
def test_timeouts_are_clamped_to_two_and_twenty_ticks(server: Rig, asked: int, given: int) -> None:
    _, (reply,) = connect(server, timeout_ms=asked)
    assert unpack_from(">i", reply, 4) == (given,)
    assert decode_txn(server.log.durable[-1])[1] == (given,)


def test_own_limits_of_the_timeout() -> None:
    rig = Rig(min_session_timeout_ms=100, max_session_timeout_ms=200)
    assert rig.client(timeout_ms=1).rig.sessions.sessions.popitem()[1].timeout_ms == 100
    assert rig.client(timeout_ms=10**6).rig.sessions.sessions.popitem()[1].timeout_ms == 200


def test_ids_count_up_and_are_never_repeated(server: Rig) -> None:
    ids = [server.client().session_id for _ in range(5)]
    assert ids == list(range(ids[0], ids[0] + 5))
    assert ids[0] >> 56 == 1


def test_renewal_keeps_the_session_and_writes_nothing(server: Rig) -> None:
    """A renewal with another timeout changes what touches give, not what is logged."""
    client = server.client()
    client.call(Op.CREATE, create_body("/e", b"", 1))
    client.cut()
    before = list(server.log.durable)
    again, (reply,) = connect(server, 20000, client.session_id, client.password, tail=b"\0")
    assert reply == pack(">iiqi", 0, 20000, client.session_id, 16) + client.password + b"\0"
    assert server.log.durable == before
    session = server.sessions.get(client.session_id)
    assert session is not None
    assert (session.timeout_ms, server.sessions.logged()[session.id]) == (20000, 10000)
    assert session.owner is again.connection
    assert again.ask(Op.GET_EPHEMERALS, path("/")).body == pack(">i", 1) + path("/e")


def test_a_session_moves_and_its_old_connection_is_closed(server: Rig) -> None:
    client = server.client()
    client.call(Op.EXISTS, watch_body("/a", True))
    moved, (reply,) = connect(server, 10000, client.session_id, client.password)
    assert unpack_from(">iq", reply, 4) == (10000, client.session_id)
    assert client.transport.closed
    assert client.take() == []
    assert server.tree.watches.count == 0
    client.cut()
    session = server.sessions.get(client.session_id)
    assert session is not None
    assert session.owner is moved.connection
    assert moved.error(Op.CREATE, create_body("/a")) == 0


def test_writes_of_the_old_connection_still_commit() -> None:
    """They were proposed; their replies go nowhere."""
    rig = Rig(sync_seconds=0.1)
    rig.client()
    client = rig.client()
    client.request(Op.CREATE, create_body("/a"))
    moved = Client(rig)
    body = pack(">iqiqi", 0, 0, 10000, client.session_id, 16) + client.password
    moved.send(pack(">i", len(body)) + body)
    moved.take()
    moved.request(Op.SET_DATA, set_body("/a", b"2", 0))
    rig.work()
    assert client.take() == []
    assert [reply.err for reply in moved.replies()] == [0]
    assert rig.tree.nodes[b"/a"].data == b"2"


@pytest.mark.parametrize("password", [b"", b"x" * 16, bytes(16), b"x" * 15])
def test_a_wrong_password_is_refused_and_closes_the_present_connection_too(server: Rig, password: bytes) -> None:
    """Apache closes the older connection before it looks at the password; the session itself lives on."""
    client = server.client()
    other, replies = connect(server, 10000, client.session_id, password)
    assert replies == [REFUSED]
    assert other.transport.closed
    assert client.transport.closed
    session = server.sessions.get(client.session_id)
    assert session is not None
    assert not session.closing
    assert server.client(session_id=client.session_id, password=client.password).session_id == client.session_id


def test_a_null_password_is_refused(server: Rig) -> None:
    client = server.client()
    other = Client(server)
    body = pack(">iqiqi", 0, 0, 10000, client.session_id, -1)
    other.send(pack(">i", len(body)) + body)
    assert other.take() == [REFUSED]


def test_unknown_and_ended_sessions_are_refused(server: Rig) -> None:
    client = server.client()
    ended = client.session_id
    client.request(Op.CLOSE_SESSION)
    for session_id in (ended, ended + 5, -1):
        other, replies = connect(server, 10000, session_id, password_of(session_id))
        assert replies == [REFUSED]
        assert other.transport.closed


def test_a_session_that_is_closing_is_refused() -> None:
    rig = Rig(sync_seconds=0.1)
    rig.client()
    client = rig.client()
    client.request(Op.CLOSE_SESSION)
    other = Client(rig)
    body = pack(">iqiqi", 0, 0, 10000, client.session_id, 16) + client.password
    other.send(pack(">i", len(body)) + body)
    assert other.take() == [REFUSED]
    rig.work()


def test_a_client_that_has_seen_more_is_closed_without_a_reply(server: Rig) -> None:
    """Time must not go back for it. What equals the last zxid is fine."""
    client = server.client()
    client.call(Op.CREATE, create_body("/a"))
    ahead, replies = connect(server, last_zxid=3)
    assert (replies, ahead.transport.closed) == ([], True)
    ahead, replies = connect(server, 10000, client.session_id, client.password, last_zxid=3)
    assert (replies, ahead.transport.closed) == ([], True)
    assert not client.transport.closed
    _, replies = connect(server, last_zxid=2)
    assert len(replies) == 1


def test_the_token_bucket_closes_without_a_reply() -> None:
    rig = Rig(connection_throttle_tokens=2, connection_throttle_fill_time_ms=1000)
    clients = [connect(rig) for _ in range(3)]
    assert [len(replies) for _, replies in clients] == [1, 1, 0]
    assert [client.transport.closed for client, _ in clients] == [False, False, True]
    assert rig.stats.metrics.connection_rejected.value == 1
    rig.clock.now += 1.1
    assert len(connect(rig)[1]) == 1


def test_the_bucket_comes_before_the_zxid(server: Rig) -> None:
    """A client that is too far ahead takes a token all the same."""
    rig = Rig(connection_throttle_tokens=1, connection_throttle_fill_time_ms=10**6)
    connect(rig, last_zxid=99)
    assert connect(rig)[1] == []


def test_a_connection_lost_while_its_session_is_made_leaves_a_session_that_expires() -> None:
    rig = Rig(sync_seconds=0.1)
    rig.client()
    client = Client(rig)
    client.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    client.cut()
    client.transport.close()
    rig.work()
    assert client.take() == []
    (session,) = [session for session in rig.sessions.sessions.values() if session.id != rig.clients[0].session_id]
    assert session.owner is None
    rig.start_chores()
    rig.advance(30)
    assert rig.sessions.get(session.id) is None


def test_an_ordinary_request_renews_the_session(server: Rig) -> None:
    """Pings too; without any it expires, its ephemerals go, its connection is cut without a word."""
    busy, idle, pinging = server.client(), server.client(), server.client()
    idle.call(Op.CREATE, create_body("/e", b"", 1))
    busy.call(Op.EXISTS, watch_body("/e", True))
    server.start_chores()
    for _ in range(5):
        server.advance(4)
        busy.call(Op.SYNC, path("/"))
        pinging.request(Op.PING)
    assert idle.transport.closed
    assert idle.take() == []
    assert not busy.transport.closed
    assert not pinging.transport.closed
    assert b"/e" not in server.tree.nodes
    assert sorted(server.sessions.sessions) == sorted((busy.session_id, pinging.session_id))
