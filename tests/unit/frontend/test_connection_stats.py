"""What ``cons`` and the server's counters say of one connection, as Apache's do (``ServerCnxn``, ``NIOServerCnxn``)."""

from __future__ import annotations

from struct import pack

import pytest
from rig import Client, Rig, create_body, set_body, watch_body

from zabra.consts import Op


def test_a_new_session_has_the_connect_as_its_last_request(client: Client) -> None:
    conn = client.connection
    assert (conn.last_op, conn.last_xid, conn.last_zxid) == (Op.CREATE_SESSION, 0, 1)


def test_a_renewed_session_has_no_request_yet(server: Rig) -> None:
    first = server.client()
    second = Client(server)
    assert second.connect(session_id=first.session_id, password=first.password)[1] == first.session_id
    assert (second.connection.last_op, second.connection.last_xid) == (0, -1)


def test_a_connect_is_a_packet_each_way(server: Rig) -> None:
    """Of a new session, a renewed and a refused one."""
    stats = server.stats
    first = server.client()
    assert (stats.packets_received, stats.packets_sent, stats.latency_count) == (1, 1, 1)
    assert stats.metrics.bytes_received_count.value == 49
    Client(server).connect(session_id=first.session_id, password=first.password)
    assert (stats.packets_received, stats.packets_sent) == (2, 2)
    assert Client(server).connect(session_id=first.session_id, password=b"wrong") == (0, 0)
    assert (stats.packets_received, stats.packets_sent, stats.latency_count) == (3, 3, 1)


def test_every_request_is_a_packet_whatever_it_came_with(client: Client) -> None:
    """Reads that are answered at once, writes, and both in one chunk."""
    stats = client.rig.stats
    before, conn_before = stats.packets_received, client.connection.received
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.GET_DATA, watch_body("/a"))
    client.request(Op.GET_DATA, watch_body("/a"), run=False)
    client.request(Op.SET_DATA, set_body("/a"), run=False)
    client.request(Op.PING, xid=-2, run=False)
    client.rig.work()
    stats.settle()
    assert (stats.packets_received - before, client.connection.received - conn_before) == (5, 5)


def test_pings_do_not_become_the_last_xid(client: Client) -> None:
    client.request(Op.EXISTS, watch_body("/"), xid=5)
    client.request(Op.PING, xid=-2)
    assert (client.connection.last_op, client.connection.last_xid) == (Op.PING, 5)


def test_a_write_leaves_its_own_zxid(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.SET_DATA, set_body("/a", b"x"))
    assert client.connection.last_zxid == client.rig.tree.last_zxid == 3


def test_events_are_packets_but_no_replies(client: Client) -> None:
    """They go with what was sent and not into the average."""
    stats = client.rig.stats
    client.call(Op.EXISTS, watch_body("/a", True))
    stats.settle()
    before = (client.connection.sent, stats.packets_sent)
    client.call(Op.CREATE, create_body("/a"))
    assert (client.connection.sent, client.connection.events) == (before[0] + 1, 1)
    assert stats.packets_sent == before[1] + 2
    assert stats.metrics.watch_bytes.value == 30


def test_latencies_after_a_reset(client: Client) -> None:
    """A fast reply makes 0 the minimum; what was sent before the reset is not counted again."""
    client.call(Op.CREATE, create_body("/a"))
    conn = client.connection
    conn.reset_stats()
    for seconds in (0.25, 0.125):
        client.request(Op.SET_DATA, set_body("/a", b"x"), run=False)
        client.rig.clock.now += seconds
        client.rig.run()
    assert (conn.latency_min_ms, conn.latency_total_ms, conn.latency_max_ms) == (125, 375, 250)
    client.call(Op.GET_DATA, watch_body("/a"))
    assert conn.latency_min_ms == 0
    conn.reset_stats()
    assert (conn.latency_min_ms, conn.latency_max_ms) == (0, 0)


def test_every_read_counts_as_a_read(client: Client) -> None:
    metrics = client.rig.stats.metrics
    for op in (Op.GET_DATA, Op.EXISTS, Op.GET_CHILDREN):
        client.call(op, watch_body("/"))
    client.request(Op.PING, xid=-2)
    client.rig.stats.settle()
    assert metrics.readlatency.count == 4
    behind_a_write = pack(">iii", 8 + len(watch_body("/")), 9, Op.GET_DATA) + watch_body("/")
    client.request(Op.CREATE, create_body("/a"), run=False)
    client.send(behind_a_write)
    assert metrics.readlatency.count == 5


def test_a_word_is_a_packet_each_way(server: Rig) -> None:
    word = Client(server)
    word.send(b"ruok")
    stats = server.stats
    assert (stats.packets_received, stats.packets_sent) == (1, 1)
    assert stats.metrics.bytes_received_count.value == 4
    assert word.connection.received == 1


def test_the_asking_connection_reads_no_more() -> None:
    """Its interest set is empty while the answer is made."""
    rig = Rig()
    word = Client(rig)
    shown: list[int] = []
    rig.hub.four_letter = lambda name, extra: shown.append(word.connection.interest) or b"answer"
    word.send(b"cons")
    assert shown == [0]
    assert word.transport.written == b"answer"


@pytest.mark.parametrize("enabled", [False, True])
def test_only_an_enabled_stmk_is_waited_for(enabled: bool) -> None:
    """Eight bytes follow it; a refusal needs none."""
    rig = Rig(four_letter_whitelist=frozenset({"stmk"} if enabled else ()))
    word = Client(rig)
    word.send(b"stmk")
    assert word.transport.closed is not enabled
    word.send(bytes(8))
    assert word.transport.written == b"stmk!"
