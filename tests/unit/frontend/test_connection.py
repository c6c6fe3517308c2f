"""One connection: frames in any pieces, replies in order, events before what shows them, bounded memory."""

from __future__ import annotations

from struct import pack

import pytest
from rig import Client, Event, FakeTransport, Rig, create_body, event_of, path, reply_of, set_body, watch_body

from zabra.consts import Op
from zabra.errors import Code
from zabra.frontend.connection_out import CLOSED
from zabra.frontend.replies import encode_event

UNKNOWN = [0, -1, -10, 13, 20, 10, 23, 99, 108, 2_000_000, -2_000_000]


@pytest.fixture
def slow() -> Rig:
    """The log is written by the worker, and only when the test says so."""
    rig = Rig(sync_seconds=0.1)
    rig.client()
    return rig


def request(xid: int, op: int, body: bytes = b"") -> bytes:
    return pack(">iii", 8 + len(body), xid, op) + body


def xids(client: Client) -> list[int]:
    return [reply.xid for reply in client.replies()]


# -- frames


def test_requests_in_pieces_get_the_same_replies(server: Rig) -> None:
    """Whole, byte by byte, and cut in the middle of a length."""
    stream = (
        request(1, Op.CREATE, create_body("/a", b"x" * 300))
        + request(2, Op.GET_DATA, watch_body("/a"))
        + request(-2, Op.PING)
        + request(3, Op.GET_CHILDREN, watch_body("/"))
        + request(4, Op.SET_DATA, set_body("/a", b"y"))
        + request(5, Op.GET_DATA, watch_body("/a"))
    )
    answers = []
    for size in (len(stream), 1, 3, 7, 100):
        client = Rig().client()
        for at in range(0, len(stream), size):
            client.send(stream[at : at + size], run=False)
        client.rig.run()
        answers.append([reply._replace(body=reply.body[:4]) for reply in client.replies()])
    assert [reply.xid for reply in answers[0]] == [1, 2, -2, 3, 4, 5]
    assert all(answer == answers[0] for answer in answers)


def test_a_frame_as_long_as_the_limit_passes() -> None:
    """jute.maxbuffer is the longest frame; records inside may have as much again."""
    client = Rig(jute_max_buffer=1000).client()
    body = create_body("/a", b"x" * (1000 - 8 - len(create_body("/a"))))
    assert len(body) == 992
    assert client.error(Op.CREATE, body) == 0
    client.request(Op.CREATE, body + b"x")
    assert client.transport.closed
    assert client.take() == []


@pytest.mark.parametrize("length", [-1, -(1 << 31), 1048576, 0x7FFFFFFF])
def test_a_bad_length_closes_at_once(client: Client, length: int) -> None:
    """Nothing is waited for; what came before is answered, other clients are unharmed."""
    other = client.rig.client()
    client.send(request(1, Op.EXISTS, watch_body("/")) + pack(">i", length))
    assert xids(client) == [1]
    assert client.transport.closed
    assert other.error(Op.EXISTS, watch_body("/")) == 0


@pytest.mark.parametrize("length", [12, 8, 7, 0, -4, -9, -100, 1 << 20])
@pytest.mark.parametrize("behind_a_write", [False, True])
def test_a_get_data_whose_lengths_agree_in_nonsense(client: Client, length: int, behind_a_write: bool) -> None:
    """Its path would have none or less than no bytes, or more than there are allowed."""
    other = client.rig.client()
    writes = request(1, Op.CREATE, create_body("/a")) if behind_a_write else b""
    client.send(writes + pack(">iiii", length, 2, Op.GET_DATA, length - 13) + bytes(100))
    assert client.transport.closed
    assert all(reply.xid == 1 or reply.err == Code.MARSHALLING_ERROR for reply in client.replies())
    assert other.error(Op.EXISTS, watch_body("/")) == 0


@pytest.mark.parametrize("length", [-1, 1048576])
def test_a_bad_length_in_the_first_frame(server: Rig, length: int) -> None:
    client = Client(server)
    client.send(pack(">i", length))
    assert client.transport.closed
    assert client.take() == []


@pytest.mark.parametrize("size", [0, 4, 7])
def test_a_frame_without_a_whole_header_closes(client: Client, size: int) -> None:
    client.send(pack(">i", size) + bytes(size))
    assert client.transport.closed
    assert client.take() == []


def test_half_a_request_then_silence_keeps_no_more_than_that(client: Client) -> None:
    client.send(request(1, Op.CREATE, create_body("/a", b"x" * 1000))[:500])
    assert client.take() == []
    assert not client.transport.closed
    client.cut()
    assert client.connection not in client.rig.hub.connections


@pytest.mark.parametrize("op", UNKNOWN)
def test_an_unknown_opcode_is_answered_then_the_connection_ends(client: Client, op: int) -> None:
    """Also check outside a multi, the sweeper's delete and the quorum's own opcodes: they are not for clients."""
    client.call(Op.CREATE, create_body("/a"))
    last = client.rig.tree.last_zxid
    durable = list(client.rig.log.durable)
    client.send(request(1, op, path("/a") + pack(">i", -1)) + request(2, Op.DELETE, path("/a") + pack(">i", -1)))
    assert client.replies() == [(1, -1, Code.UNIMPLEMENTED, b"")]
    assert client.transport.closed
    assert client.rig.log.durable == durable
    assert client.rig.tree.last_zxid == last
    assert client.rig.sessions.get(client.session_id) is not None


# -- order


def test_replies_come_in_the_order_of_requests(slow: Rig) -> None:
    """Reads, pings, auth, bad requests and unknown ones all wait behind a write that is on its way."""
    client = slow.client()
    auth = pack(">i", 0) + path("digest") + path("me:secret")
    client.send(
        request(1, Op.EXISTS, watch_body("/"))
        + request(2, Op.CREATE, create_body("/a", b"1"))
        + request(3, Op.GET_DATA, watch_body("/a"))
        + request(-2, Op.PING)
        + request(-4, Op.AUTH, auth)
        + request(4, Op.SASL, path(""))
        + request(5, Op.SET_ACL, b"")
        + request(6, Op.SET_DATA, set_body("/a", b"2"))
        + request(7, Op.GET_DATA, watch_body("/a"))
        + request(8, 99)
        + request(9, Op.EXISTS, watch_body("/"))
    )
    assert xids(client) == [1]
    slow.work()
    replies = client.replies()
    assert [reply.xid for reply in replies] == [2, 3, -2, -4, 4, 5, 6, 7, 8]
    assert [reply.body[:5] for reply in replies if reply.xid in (3, 7)] == [b"\0\0\0\0011", b"\0\0\0\0012"]
    assert client.transport.closed


def test_each_session_waits_for_its_own_writes_only(slow: Rig) -> None:
    writer, reader = slow.client(), slow.client()
    writer.request(Op.CREATE, create_body("/a"))
    reader.request(Op.EXISTS, watch_body("/a", True))
    assert [reply.err for reply in reader.replies()] == [Code.NO_NODE]
    assert writer.take() == []
    slow.work()
    assert xids(writer) == [1]
    assert [event[:2] for event in reader.events()] == [(1, b"/a")]


def test_events_come_before_the_reply_of_their_write(client: Client) -> None:
    """And carry its zxid (3.9)."""
    client.call(Op.GET_CHILDREN, watch_body("/", True))
    client.call(Op.EXISTS, watch_body("/a", True))
    xid = client.request(Op.CREATE, create_body("/a"))
    first, second, reply = client.replies()
    assert [event_of(first), event_of(second)] == [Event(1, b"/a", 2), Event(4, b"/", 2)]
    assert (reply.xid, reply.zxid) == (xid, 2)


def test_an_event_comes_before_a_read_that_shows_its_change(slow: Rig) -> None:
    """Rule 7: replies and events share one queue, in a batch of many writes as well."""
    watcher, writer = slow.client(), slow.client()
    watcher.call(Op.EXISTS, watch_body("/a", True))
    watcher.request(Op.CREATE, create_body("/own"), run=False)
    watcher.request(Op.GET_CHILDREN, watch_body("/"), run=False)
    writer.request(Op.CREATE, create_body("/a"), run=False)
    watcher.request(Op.CREATE, create_body("/own2"), run=False)
    watcher.request(Op.EXISTS, watch_body("/a"))
    slow.work()
    replies = watcher.replies()
    assert [reply.xid for reply in replies] == [2, 3, -1, 4, 5]
    assert b"own" in replies[1].body
    assert b"\0\0\0\1a" not in replies[1].body
    assert replies[-1].err == 0


def test_the_reply_zxid_is_the_last_one_applied(client: Client) -> None:
    """A reply of a read tells what it saw; a client behind it may be refused by a server that has less."""
    other = client.rig.client()
    assert client.ask(Op.EXISTS, watch_body("/")).zxid == 2
    other.call(Op.CREATE, create_body("/a"))
    assert client.ask(Op.EXISTS, watch_body("/")).zxid == 3
    client.request(Op.PING)
    assert client.replies()[0].zxid == 3


def test_a_chunk_makes_one_write(client: Client) -> None:
    """All replies of a chunk leave together."""
    sizes = []
    client.transport.write = lambda data: sizes.append(len(data))  # type: ignore[assignment, method-assign]
    client.send(b"".join(request(xid, Op.GET_DATA, watch_body("/")) for xid in range(50)))
    assert sizes == [50 * (20 + 4 + 68)]


# -- closing


def test_close_session_answers_then_closes(client: Client) -> None:
    """What the client sent behind it is not served."""
    client.send(
        request(1, Op.CREATE, create_body("/e", b"", 1))
        + request(2, Op.CLOSE_SESSION)
        + request(3, Op.CREATE, create_body("/a"))
    )
    assert client.replies() == [(1, 2, 0, path("/e")), (2, 3, 0, b"")]
    assert client.transport.closed
    assert client.rig.sessions.get(client.session_id) is None
    assert b"/e" not in client.rig.tree.nodes
    assert b"/a" not in client.rig.tree.nodes


@pytest.mark.parametrize("size", [8, 44, 1048576])
@pytest.mark.parametrize("whole", [True, False], ids=["same chunk", "next chunk"])
def test_what_comes_while_a_close_session_is_on_its_way_is_ignored(slow: Rig, size: int, whole: bool) -> None:
    """Be it a ping, what looks like a connect request, or too long a frame: the reply still comes."""
    client = slow.client()
    more = pack(">i", size) + bytes(min(size, 44))
    if whole:
        client.send(request(1, Op.CLOSE_SESSION) + more)
    else:
        client.send(request(1, Op.CLOSE_SESSION))
        client.send(more)
    client.send(b"ruok")
    slow.work()
    assert xids(client) == [1]
    assert client.transport.closed
    assert len(slow.sessions.sessions) == 1


def test_a_connection_that_is_lost_takes_nothing_down(slow: Rig) -> None:
    """Its writes are committed all the same, its replies go nowhere, its session stays until it expires."""
    client, other = slow.client(), slow.client()
    client.request(Op.CREATE, create_body("/a"))
    client.cut()
    client.transport.close()
    other.request(Op.CREATE, create_body("/b"))
    slow.work()
    assert xids(other) == [1]
    assert b"/a" in slow.tree.nodes
    assert slow.sessions.get(client.session_id) is not None
    assert client.connection.state == CLOSED
    assert client.connection not in slow.hub.connections


def test_a_transport_that_is_closing_is_not_written_to(client: Client) -> None:
    """uvloop raises on such a write, and one dead client must not abort a batch."""
    other = client.rig.client()
    for one in (client, other):
        one.call(Op.GET_CHILDREN, watch_body("/", True))
    client.transport.close()
    other.request(Op.CREATE, create_body("/a"))
    assert [reply.xid for reply in other.replies()] == [-1, 2]


def test_a_request_of_a_session_that_is_closing_is_dropped(client: Client) -> None:
    """As when touching fails in Apache: no reply at all."""
    session = client.rig.sessions.get(client.session_id)
    assert session is not None
    client.rig.pipeline.close_session(None, session, 0)
    client.request(Op.EXISTS, watch_body("/"))
    assert client.take() == []
    assert client.transport.closed


# -- bounds


def test_a_client_that_does_not_read_is_not_read_from(client: Client) -> None:
    client.connection.pause_writing()
    assert not client.transport.reading
    client.connection.resume_writing()
    assert client.transport.reading


def test_a_chunk_of_big_replies_waits_for_the_socket(client: Client) -> None:
    """Two MiB of replies at a time; the rest of the chunk is served when the socket took them."""
    client.call(Op.CREATE, create_body("/a", b"x" * 1_000_000))
    client.send(b"".join(request(xid, Op.GET_DATA, watch_body("/a")) for xid in range(20)), run=False)
    first = len(client.take())
    assert first == 3
    assert not client.transport.reading
    client.connection.pause_writing()
    client.rig.run()
    assert client.take() == []
    client.connection.resume_writing()
    client.rig.run()
    assert len(client.take()) == 20 - first
    assert client.transport.reading


def test_a_client_that_lets_events_pile_up_is_cut(client: Client) -> None:
    """Events cannot be held back, so a limit has to end it."""
    other = client.rig.client()
    client.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    client.connection.pause_writing()
    client.transport.unsent = 1 << 26
    other.call(Op.CREATE, create_body("/a"))
    assert not client.transport.closed
    client.transport.unsent += 1
    other.call(Op.CREATE, create_body("/b"))
    assert client.transport.closed
    client.cut()
    assert client.rig.tree.watches.count == 0
    assert other.error(Op.CREATE, create_body("/c")) == 0


def test_too_many_outstanding_writes_hold_back_those_who_have_some() -> None:
    """globalOutstandingLimit: they are read again when the writes are done; clients without writes never notice."""
    rig = Rig(sync_seconds=0.1, global_outstanding_limit=3)
    idle = rig.client()
    client = rig.client()
    client.send(b"".join(request(xid, Op.SET_DATA, set_body("/")) for xid in range(1, 5)))
    assert not client.transport.reading
    assert idle.transport.reading
    idle.request(Op.EXISTS, watch_body("/"))
    assert xids(idle) == [1]
    assert idle.transport.reading
    rig.work()
    assert xids(client) == [1, 2, 3, 4]
    assert client.transport.reading


def test_whoever_waits_for_a_write_of_its_own_is_held_back_too() -> None:
    rig = Rig(sync_seconds=0.1, global_outstanding_limit=2)
    rig.client()
    patient, client = rig.client(), rig.client()
    patient.request(Op.SET_DATA, set_body("/"), xid=1)
    client.send(b"".join(request(xid, Op.SET_DATA, set_body("/")) for xid in range(1, 3)))
    assert patient.transport.reading
    patient.request(Op.EXISTS, watch_body("/"), xid=2)
    assert not patient.transport.reading
    rig.work()
    assert xids(patient) == [1, 2]
    assert patient.transport.reading


def test_writes_up_to_the_limit_hold_nobody_back() -> None:
    rig = Rig(sync_seconds=0.1, global_outstanding_limit=4)
    rig.client()
    client = rig.client()
    client.send(b"".join(request(xid, Op.SET_DATA, set_body("/")) for xid in range(1, 5)))
    assert client.transport.reading
    rig.work()


# -- before the session


def test_nothing_is_read_until_the_session_is_set_up(slow: Rig) -> None:
    """Requests sent right behind the connect request are served after its reply."""
    client = Client(slow)
    connect = pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16)
    client.send(connect + request(1, Op.EXISTS, watch_body("/")))
    client.send(request(2, Op.PING)[:5])
    client.send(request(2, Op.PING)[5:])
    assert not client.transport.reading
    assert client.take() == []
    slow.work()
    frames = client.take()
    assert len(frames[0]) == 36
    assert [reply_of(frame).xid for frame in frames[1:]] == [1, -2]
    assert client.transport.reading


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 30, 47])
def test_a_connect_request_in_pieces(server: Rig, piece: int) -> None:
    client = Client(server)
    connect = pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16)
    for at in range(0, len(connect), piece):
        assert client.take() == []
        client.send(connect[at : at + piece])
    assert len(client.take()) == 1


def test_what_arrives_while_the_session_is_set_up_is_kept(slow: Rig) -> None:
    """Also when it comes in pieces, the first of which finds nothing kept yet."""
    client = Client(slow)
    client.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    stream = request(1, Op.EXISTS, watch_body("/")) + request(2, Op.PING)
    for at in range(0, len(stream), 5):
        client.send(stream[at : at + 5])
    slow.work()
    frames = client.take()
    assert [reply_of(frame).xid for frame in frames[1:]] == [1, -2]


def test_reads_behind_a_write_see_null_and_missing_and_closed_nodes(slow: Rig) -> None:
    """Frequent reads take a short way behind a write as well; it has the same answers."""
    client = slow.client()
    other = ((31, "ip", "10.0.0.1"),)
    for body in (create_body("/null", None), create_body("/data", b"1"), create_body("/closed", b"1", 0, other)):
        assert client.error(Op.CREATE, body) == 0
    reads = [watch_body(name, True) for name in ("/null", "/data", "/closed", "/none", "")]
    plain = [client.ask(Op.GET_DATA, body) for body in reads]
    client.send(
        request(100, Op.SET_DATA, set_body("/data", b"1"))
        + b"".join(request(101 + number, Op.GET_DATA, body) for number, body in enumerate(reads))
    )
    slow.work()
    behind = [reply for reply in client.replies() if reply.xid > 100]
    assert [reply.err for reply in behind] == [reply.err for reply in plain] == [0, 0, -102, -101, 0]
    assert [reply.body[:5] for reply in behind] == [reply.body[:5] for reply in plain]
    slow.client().call(Op.SET_DATA, set_body("/null", b""))
    assert [event[:2] for event in client.events()] == [(3, b"/null")]


def test_a_connection_made_before_the_server_runs_waits() -> None:
    rig = Rig(running=False)
    client = Client(rig)
    connect = pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16)
    client.send(connect[:30])
    client.send(connect[30:])
    word = Client(rig)
    word.send(b"ruok")
    assert client.transport.written == b""
    assert word.transport.written == b"ruok!"
    rig.start()
    assert len(client.take()[0]) == 36


@pytest.mark.parametrize("pieces", [(b"ruok",), (b"r", b"uo", b"k"), (b"ruok\r\n",)])
def test_a_four_letter_word_is_answered_and_the_connection_closed(server: Rig, pieces: tuple[bytes, ...]) -> None:
    client = Client(server)
    for piece in pieces:
        client.send(piece)
    assert client.transport.written == b"ruok!"
    assert client.transport.closed


def test_a_word_after_the_session_is_a_length(client: Client) -> None:
    client.send(b"ruok")
    assert client.take() == []
    assert client.transport.closed


@pytest.mark.parametrize("frame", [b"", b"\0" * 10, pack(">iqiqi", 0, 0, 1, 0, 99) + b"short"])
def test_a_connect_request_that_does_not_parse_closes(server: Rig, frame: bytes) -> None:
    client = Client(server)
    client.send(pack(">i", len(frame)) + frame)
    assert client.transport.closed
    assert client.take() == []
    assert not server.log.durable


# -- what cons shows


def test_counters(client: Client) -> None:
    client.connection.reset_stats()
    client.send(request(7, Op.EXISTS, watch_body("/")) + request(8, Op.GET_DATA, watch_body("/")))
    conn = client.connection
    assert (conn.received, conn.sent, conn.last_op, conn.last_xid, conn.last_zxid) == (2, 2, 4, 8, 1)
    assert conn.interest == 1
    client.request(Op.CREATE, create_body("/a"), run=False)
    assert conn.waiting == 1
    client.rig.clock.now += 0.25
    client.rig.run()
    assert (conn.waiting, conn.latency_last_ms, conn.latency_max_ms, conn.latency_total_ms) == (0, 250, 250, 250)
    conn.pause_writing()
    assert conn.interest == 4
    conn.close()
    assert conn.interest == 0


def test_an_event_has_the_bytes_of_apache() -> None:
    body = pack(">iqi", -1, 7, 0) + pack(">iii", 3, 3, 2) + b"/a"
    assert encode_event(3, b"/a", 7) == pack(">i", len(body)) + body


def test_a_connection_without_a_peer_name(server: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is gone before it was looked at has no address; nothing breaks."""
    monkeypatch.setattr(FakeTransport, "get_extra_info", lambda self, name: None)
    client = Client(server)
    assert client.connection.peer == ("", 0)
    client.cut()
    assert not server.hub.connections
