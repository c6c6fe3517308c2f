"""Limits on requests: how many are in process, how long one may be held back, how many bytes the large ones have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from struct import pack
from unittest.mock import patch

import pytest
from rig import Client, Reply, Rig, create_body, set_body, watch_body

from zabra.consts import Op
from zabra.errors import Code
from zabra.frontend.connection import Connection
from zabra.frontend.guarded import GuardedConnection, new_connection
from zabra.frontend.throttle import RequestThrottle


def request(xid: int, op: int, body: bytes = b"") -> bytes:
    return pack(">iii", 8 + len(body), xid, op) + body


def codes(client: Client) -> list[tuple[int, int]]:
    return [(reply.xid, reply.err) for reply in client.replies()]


def metric(rig: Rig, name: str) -> float:
    return rig.stats.metrics.dump()[name]


def busy(**more: object) -> Rig:
    """A server that has one request in process at most, and whose log is slow: it works when told."""
    return Rig(sync_seconds=0.1, request_throttle_max_requests=1, **more)


def two(rig: Rig) -> tuple[Client, Client]:
    rig.client()
    return rig.client(), rig.client()


def held(rig: Rig) -> int:
    throttle = rig.hub.throttle
    assert throttle is not None
    return len(throttle)


def test_nothing_is_looked_at_by_default() -> None:
    assert type(new_connection(Rig().hub)) is Connection
    for more in (
        {"request_throttle_max_requests": 1},
        {"large_request_threshold": 1},
        {"enforce_auth_enabled": True, "enforce_auth_schemes": ("ip",)},
    ):
        assert type(new_connection(Rig(**more).hub)) is GuardedConnection
    assert type(new_connection(Rig(large_request_threshold=0).hub)) is Connection


# -- how many at once


def test_requests_beyond_the_limit_wait_in_order_of_arrival() -> None:
    """Of all connections, reads and pings too."""
    rig = busy()
    one, other = two(rig)
    one.request(Op.CREATE, create_body("/a"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    one.request(Op.EXISTS, watch_body("/a"), xid=2)
    other.request(Op.PING, xid=-2)
    assert (rig.pipeline.outstanding, held(rig)) == (1, 3)
    rig.worker.step()
    rig.run()
    assert (rig.pipeline.outstanding, held(rig)) == (1, 2)
    assert codes(one) == [(1, 0)]
    assert codes(other) == []
    rig.work()
    assert codes(other) == [(1, Code.NODE_EXISTS), (-2, 0)]
    assert codes(one) == [(2, 0)]
    assert held(rig) == 0


def test_a_new_session_waits_too() -> None:
    rig = busy()
    one, _ = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    late = Client(rig)
    sessions = len(rig.sessions.sessions)
    late.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    assert len(rig.sessions.sessions) == sessions
    rig.work()
    assert len(rig.sessions.sessions) == sessions + 1
    assert late.take()


def test_a_new_session_of_a_client_that_left_meanwhile_is_not_made() -> None:
    rig = busy(request_throttle_drop_stale=False)
    one, _ = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    late = Client(rig)
    sessions = len(rig.sessions.sessions)
    late.send(pack(">iiqiqi", 44, 0, 0, 10000, 0, 16) + bytes(16))
    late.cut()
    rig.work()
    assert len(rig.sessions.sessions) == sessions


def test_auth_packets_pass_and_count_for_what_comes_behind_them() -> None:
    rig = busy()
    one, other = two(rig)
    acl = ((31, "auth", ""),)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/before", b"", 0, acl), xid=1)
    assert other.auth("digest", b"me:secret") == 0
    other.request(Op.CREATE, create_body("/after", b"", 0, acl), xid=2)
    rig.work()
    assert b"/before" not in rig.tree.nodes
    assert rig.tree.nodes[b"/after"].acl[0][1] == "digest"


def test_connections_with_something_held_are_not_read_beyond_the_outstanding_limit() -> None:
    rig = busy(global_outstanding_limit=3)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.send(b"".join(request(xid, Op.SET_DATA, set_body("/")) for xid in range(1, 4)))
    assert other.transport.reading
    other.send(b"".join(request(xid, Op.SET_DATA, set_body("/")) for xid in range(4, 6)))
    assert not other.transport.reading
    rig.worker.step()
    rig.run()
    assert (rig.pipeline.outstanding, held(rig)) == (1, 4)
    assert not other.transport.reading
    rig.worker.step()
    rig.run()
    assert (rig.pipeline.outstanding, held(rig)) == (1, 3)
    assert other.transport.reading
    rig.work()
    assert codes(other) == [(xid, 0) for xid in range(1, 6)]


def test_it_is_looked_again_after_the_stall_time() -> None:
    rig = busy(request_throttle_stall_time_ms=200)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.EXISTS, watch_body("/"), xid=1)
    other.request(Op.EXISTS, watch_body("/"), xid=2)
    assert metric(rig, "request_throttle_wait_count") == 1
    rig.hub.end_turn()
    stalls = 2
    assert metric(rig, "request_throttle_wait_count") == stalls
    rig.scheduler.advance(0.19)
    for _ in range(3):
        assert metric(rig, "request_throttle_wait_count") == stalls
        rig.scheduler.advance(0.2)
        stalls += 1
    assert metric(rig, "request_throttle_wait_count") == stalls
    assert held(rig) == 2
    rig.work()
    assert metric(rig, "max_request_throttle_queue_time_ms") == 890


# -- waited too long


def test_what_waited_too_long_is_refused_in_its_place_and_not_executed() -> None:
    """Only a ping, and the end of a session, are served however late."""
    rig = busy(throttled_op_wait_time_ms=250)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/late"), xid=1)
    other.request(Op.EXISTS, watch_body("/"), xid=2)
    other.request(Op.PING, xid=-2)
    rig.scheduler.advance(0.1)
    other.request(Op.CREATE, create_body("/early"), xid=3)
    rig.scheduler.advance(0.06)
    last = rig.tree.last_zxid
    rig.work()
    replies = other.replies()
    assert replies[:2] == [Reply(xid, last + 1, Code.THROTTLED_OP, b"") for xid in (1, 2)]
    assert [(reply.xid, reply.err) for reply in replies[2:]] == [(-2, 0), (3, 0)]
    assert b"/late" not in rig.tree.nodes
    assert b"/early" in rig.tree.nodes
    assert metric(rig, "throttled_ops") == 2


def test_a_session_ends_however_late() -> None:
    rig = busy(throttled_op_wait_time_ms=10)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CLOSE_SESSION, xid=1)
    rig.scheduler.advance(1)
    rig.work()
    assert codes(other) == [(1, 0)]
    assert other.transport.closed


# -- stale requests


def test_requests_of_a_closed_connection_are_dropped() -> None:
    rig = busy()
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    other.request(Op.CREATE, create_body("/b"), xid=2)
    other.cut()
    rig.work()
    assert not {b"/a", b"/b"} & set(rig.tree.nodes)
    assert metric(rig, "stale_requests_dropped") == 1  # the second one goes with its connection
    assert metric(rig, "stale_requests") == 0
    assert not rig.fatal


def test_or_executed_where_that_is_wished() -> None:
    """Writes: a read has nobody to tell."""
    rig = busy(request_throttle_drop_stale=False)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    other.request(Op.EXISTS, watch_body("/never", True), xid=2)
    other.request(Op.CREATE, create_body("/b"), xid=3)
    other.request(Op.CLOSE_SESSION, xid=4)
    session = other.session_id
    other.cut()
    sent = other.connection.sent
    rig.work()
    assert (other.connection.sent, other.connection.waiting) == (sent, 0)
    assert {b"/a", b"/b"} <= set(rig.tree.nodes)
    assert rig.sessions.get(session) is None
    assert rig.tree.watches.count == 0
    assert metric(rig, "stale_requests") == 3
    assert other.transport.written == b""
    assert not rig.fatal
    assert rig.client().error(Op.SET_DATA, set_body("/a")) == 0


def test_a_closed_connection_whose_session_moved_on_writes_nothing_more() -> None:
    rig = busy(request_throttle_drop_stale=False)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    again = Client(rig)
    again.send(pack(">iiqiqi", 44, 0, 0, 10000, other.session_id, 16) + other.password)
    assert other.transport.closed
    rig.work()
    assert b"/a" not in rig.tree.nodes


def test_a_closed_connection_is_not_stale_where_that_is_not_checked() -> None:
    rig = busy(request_stale_connection_check=False)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    other.cut()
    rig.work()
    assert b"/a" in rig.tree.nodes


def test_a_request_older_than_its_session_would_be_is_stale_if_that_is_checked() -> None:
    for check, made in ((False, True), (True, False)):
        rig = busy(request_stale_latency_check=check)
        rig.client()
        one, other = rig.client(), rig.client(timeout_ms=6000)
        one.request(Op.SET_DATA, set_body("/"), xid=1)
        other.request(Op.CREATE, create_body("/a"), xid=1)
        rig.scheduler.advance(6.001)
        rig.work()
        assert (b"/a" in rig.tree.nodes, other.transport.closed) == (made, not made)


def test_nobody_is_told_who_is_gone_that_it_waited_too_long() -> None:
    rig = busy(request_throttle_drop_stale=False, throttled_op_wait_time_ms=10)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    other.cut()
    sent = other.connection.sent
    rig.work()
    assert metric(rig, "throttled_ops") == 1
    assert (other.connection.sent, b"/a" in rig.tree.nodes) == (sent, False)


def test_held_requests_of_a_session_that_ends_are_not_served() -> None:
    rig = busy(request_throttle_drop_stale=False)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    session = rig.sessions.get(other.session_id)
    assert session is not None
    rig.pipeline.close_session(None, session, 0)
    last = rig.prep.zxid
    rig.work()
    assert (held(rig), rig.prep.zxid) == (0, last)
    assert b"/a" not in rig.tree.nodes
    assert not rig.fatal


def test_nothing_is_served_behind_an_unknown_request() -> None:
    rig = Rig(sync_seconds=0.1, request_throttle_max_requests=2)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(99, xid=2)
    other.request(Op.CREATE, create_body("/a"), xid=3)
    assert held(rig) == 2
    rig.worker.step()
    rig.run()
    assert (held(rig), rig.pipeline.outstanding) == (0, 1)
    rig.work()
    assert codes(other) == [(1, 0), (2, Code.UNIMPLEMENTED)]
    assert b"/a" not in rig.tree.nodes


@pytest.mark.parametrize(("check", "count"), [(True, 2), (False, 0)])
def test_replies_that_find_nobody_are_counted(check: bool, count: int) -> None:
    rig = Rig(sync_seconds=0.1, request_stale_connection_check=check)
    _, client = two(rig)
    client.request(Op.CREATE, create_body("/a"), xid=1)
    client.request(Op.EXISTS, watch_body("/a"), xid=2)
    client.request(Op.CLOSE_SESSION, xid=3)
    client.cut()
    rig.work()
    assert metric(rig, "stale_replies") == count


# -- the end of a server


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def _drain(rig: Rig, loop: asyncio.AbstractEventLoop, timeout_ms: int, meanwhile: Callable[[], None]) -> None:
    throttle = rig.hub.throttle
    assert isinstance(throttle, RequestThrottle)

    async def stop() -> None:
        draining = loop.create_task(throttle.drain(timeout_ms))
        await asyncio.sleep(0)
        meanwhile()
        await draining

    loop.run_until_complete(stop())


def test_a_stop_waits_for_what_is_held_and_takes_nothing_new(loop: asyncio.AbstractEventLoop) -> None:
    rig = busy()
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)

    def meanwhile() -> None:
        one.request(Op.CREATE, create_body("/new"), xid=2)
        rig.work()

    with patch.object(asyncio, "wait", side_effect=asyncio.wait) as wait:
        _drain(rig, loop, 7000, meanwhile)
    assert wait.call_args.kwargs == {"timeout": 7.0}
    assert b"/a" in rig.tree.nodes
    assert b"/new" not in rig.tree.nodes
    assert one.transport.closed
    assert codes(other) == [(1, 0)]


def test_a_stop_without_anything_held_waits_for_nothing(loop: asyncio.AbstractEventLoop) -> None:
    waited_for = []

    async def wait(futures: tuple[asyncio.Future[None]], timeout: float) -> None:
        waited_for.extend(future.done() for future in futures)

    with patch.object(asyncio, "wait", wait):
        _drain(busy(), loop, 7000, lambda: None)
    assert waited_for == [True]


def test_what_is_held_longer_is_dropped(loop: asyncio.AbstractEventLoop) -> None:
    rig = busy()
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    _drain(rig, loop, 0, lambda: None)
    assert other.transport.closed
    rig.work()
    assert b"/a" not in rig.tree.nodes
    assert not rig.fatal


def test_the_end_of_a_role_forgets_what_is_held() -> None:
    rig = busy()
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.CREATE, create_body("/a"), xid=1)
    rig.hub.halt()
    assert held(rig) == 0


# -- large requests


def large(bytes_max: int = 250, sync_seconds: float = 0.1) -> Rig:
    return Rig(sync_seconds=sync_seconds, large_request_threshold=100, large_request_max_bytes=bytes_max)


def of_size(size: int) -> bytes:
    """The body of a setData that has ``size`` bytes behind its header."""
    return set_body("/", bytes(size - len(set_body("/"))))


def counted(rig: Rig) -> int:
    assert rig.hub.large is not None
    return rig.hub.large.bytes


def test_large_requests_count_until_they_are_answered() -> None:
    rig = large()
    one, other = two(rig)
    one.request(Op.SET_DATA, of_size(100), xid=1)
    assert counted(rig) == 0
    one.request(Op.SET_DATA, of_size(101), xid=2)
    other.request(Op.SET_DATA, of_size(141), xid=1)
    assert counted(rig) == 242
    assert not other.transport.closed
    one.request(Op.EXISTS, watch_body("/"), xid=3)
    rig.work()
    assert counted(rig) == 0
    assert codes(one) == [(1, 0), (2, 0), (3, 0)]
    assert codes(other) == [(1, 0)]


def test_one_beyond_the_limit_closes_its_connection() -> None:
    rig = large()
    one, other = two(rig)
    one.request(Op.SET_DATA, of_size(150), xid=1)
    other.request(Op.SET_DATA, of_size(101), xid=1)
    assert other.transport.closed
    assert metric(rig, "large_requests_rejected") == 1
    rig.work()
    assert codes(one) == [(1, 0)]
    assert other.transport.written == b""
    assert counted(rig) == 0


def test_a_frame_that_would_be_beyond_it_is_not_read() -> None:
    """Its length stands in front, header included."""
    rig = large()
    one, other = two(rig)
    whole = request(1, Op.SET_DATA, of_size(242))
    one.send(whole[:20])
    assert not one.transport.closed
    one.send(whole[20:])
    rig.work()
    other.send(request(1, Op.SET_DATA, of_size(243))[:20])
    assert other.transport.closed
    third = rig.client()
    third.send(request(1, Op.SET_DATA, of_size(243)))
    assert third.transport.closed
    rig.work()
    assert codes(one) == [(1, 0)]


def test_a_large_read_counts_while_it_waits_and_a_large_refusal_too() -> None:
    rig = large(1000)
    one, _ = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    one.request(Op.EXISTS, watch_body("/" + "x" * 200), xid=2)
    one.request(Op.CREATE, of_size(120), xid=3)
    assert counted(rig) > 300
    rig.work()
    assert codes(one) == [(1, 0), (2, Code.NO_NODE), (3, Code.MARSHALLING_ERROR)]
    assert counted(rig) == 0
    one.request(Op.EXISTS, watch_body("/" + "x" * 200), xid=4)
    assert counted(rig) == 0


def test_a_connection_that_ends_gives_its_bytes_back() -> None:
    rig = large()
    one, other = two(rig)
    one.request(Op.SET_DATA, of_size(150), xid=1)
    one.cut()
    assert counted(rig) == 0
    assert other.error(Op.EXISTS, watch_body("/")) == 0
    rig.work()
    assert counted(rig) == 0


def test_large_requests_that_are_held_count() -> None:
    rig = busy(large_request_threshold=100, large_request_max_bytes=250)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    other.request(Op.SET_DATA, of_size(150), xid=1)
    assert counted(rig) == 150
    one.request(Op.SET_DATA, of_size(150), xid=2)
    assert one.transport.closed
    rig.work()
    assert codes(other) == [(1, 0)]
    assert counted(rig) == 0


def test_large_requests_that_are_dropped_count_no_longer() -> None:
    rig = busy(large_request_threshold=100, large_request_max_bytes=1000)
    one, other = two(rig)
    one.request(Op.SET_DATA, set_body("/"), xid=1)
    for xid in (1, 2):
        other.request(Op.SET_DATA, of_size(150), xid=xid)
    other.cut()
    rig.work()
    assert counted(rig) == 0
