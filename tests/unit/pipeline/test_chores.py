"""Timed work: expiry of sessions, and the sweep of containers and TTL nodes."""

from __future__ import annotations

import pytest
from rig import Rig, create_body, delete_body, path, set_body, ttl_body

from zabra.consts import Op
from zabra.wire.txns import decode_txn


def types(rig: Rig) -> list[int]:
    return [decode_txn(payload)[0].type for payload in rig.log.durable]


@pytest.fixture
def sweeper() -> Rig:
    """Containers and TTL nodes are looked at every 60 s, as by default."""
    return Rig(extended_types_enabled=True, max_session_timeout_ms=10**7)


def test_sessions_of_one_bucket_expire_together() -> None:
    """At a whole tick at or after their timeout, and each with one transaction."""
    rig = Rig()
    first = rig.client(timeout_ms=10000)
    rig.advance(1)
    second = rig.client(timeout_ms=10500)
    late = rig.client(timeout_ms=20000)
    for client in (first, second):
        client.call(Op.CREATE, create_body(f"/{client.session_id}", b"", 1))
    rig.start_chores()
    rig.advance(12.9)
    assert len(rig.sessions.sessions) == 3
    rig.advance(0.2)
    assert list(rig.sessions.sessions) == [late.session_id]
    assert types(rig)[-2:] == [Op.CLOSE_SESSION, Op.CLOSE_SESSION]
    assert not rig.tree.ephemerals
    assert first.transport.closed
    assert second.transport.closed
    assert rig.stats.metrics.stale_sessions_expired.value == 2


def test_a_wall_clock_jump_expires_nothing() -> None:
    """ZOOKEEPER-1366: sessions live by the monotonic clock."""
    rig = Rig()
    client = rig.client()
    rig.start_chores()
    rig.clock.wall += 10**9
    rig.advance(3)
    rig.clock.wall -= 2 * 10**9
    rig.advance(3)
    assert rig.sessions.get(client.session_id) is not None
    client.request(Op.PING)
    assert len(client.take()) == 1


def test_no_session_no_expiry_but_new_ones_are_seen_in_time() -> None:
    rig = Rig(min_session_timeout_ms=100)
    rig.start_chores()
    rig.advance(100)
    client = rig.client(timeout_ms=100)
    rig.advance(6)
    assert client.transport.closed
    assert not rig.sessions.sessions


def test_empty_containers_go_at_the_next_sweep(sweeper: Rig) -> None:
    client = sweeper.client(timeout_ms=10**6)
    for name in ("/used", "/full", "/unused"):
        client.call(Op.CREATE_CONTAINER, create_body(name, b"", 4))
    client.call(Op.CREATE, create_body("/used/child"))
    client.call(Op.DELETE, delete_body("/used/child"))
    client.call(Op.CREATE, create_body("/full/child"))
    sweeper.start_chores()
    sweeper.advance(59)
    assert len(sweeper.tree.containers) == 3
    sweeper.advance(2)
    assert list(sweeper.tree.containers) == [b"/full", b"/unused"]
    assert types(sweeper)[-1] == Op.DELETE_CONTAINER
    client.call(Op.DELETE, delete_body("/full/child"))
    sweeper.advance(60)
    assert list(sweeper.tree.containers) == [b"/unused"]


def test_containers_that_were_never_used(sweeper: Rig) -> None:
    """container.maxNeverUsedIntervalMs; off by default."""
    rig = Rig(container_max_never_used_interval_ms=100_000, max_session_timeout_ms=10**7)
    client = rig.client(timeout_ms=10**6)
    client.call(Op.CREATE_CONTAINER, create_body("/box", b"", 4))
    rig.start_chores()
    rig.advance(61)
    assert len(rig.tree.containers) == 1
    rig.advance(60)
    assert len(rig.tree.containers) == 0


def test_ttl_nodes_go_when_their_time_is_over(sweeper: Rig) -> None:
    """Counted from the last setData, and only without children."""
    client = sweeper.client(timeout_ms=10**6)
    client.call(Op.CREATE_TTL, ttl_body("/short", 1000))
    client.call(Op.CREATE_TTL, ttl_body("/long", 100_000))
    client.call(Op.CREATE_TTL, ttl_body("/parent", 1000))
    client.call(Op.CREATE, create_body("/parent/child"))
    client.call(Op.CREATE_TTL, ttl_body("/renewed", 30_000))
    sweeper.start_chores()
    sweeper.advance(45)
    client.call(Op.SET_DATA, set_body("/renewed"))
    sweeper.advance(16)
    assert list(sweeper.tree.ttls) == [b"/long", b"/parent", b"/renewed"]
    sweeper.advance(60)
    assert list(sweeper.tree.ttls) == [b"/parent"]


def test_a_mass_deletion_is_spread(sweeper: Rig) -> None:
    """container.maxPerMinute: one after another, each looked at again at its turn."""
    rig = Rig(extended_types_enabled=True, container_max_per_minute=60, max_session_timeout_ms=10**7)
    client = rig.client(timeout_ms=10**6)
    for number in range(5):
        client.call(Op.CREATE_TTL, ttl_body(f"/{number}", 5000))
    rig.start_chores()
    rig.advance(60.5)
    assert list(rig.tree.ttls) == [b"/1", b"/2", b"/3", b"/4"]
    client.call(Op.SET_DATA, set_body("/2"))
    client.call(Op.DELETE, delete_body("/3"))
    client.call(Op.CREATE, create_body("/3"))
    rig.advance(1)
    assert list(rig.tree.ttls) == [b"/2", b"/4"]
    rig.advance(1)
    assert list(rig.tree.ttls) == [b"/2"]
    assert b"/3" in rig.tree.nodes


def test_stop_ends_everything(sweeper: Rig) -> None:
    client = sweeper.client(timeout_ms=10000)
    client.call(Op.CREATE_TTL, ttl_body("/t", 1))
    chores = sweeper.start_chores()
    chores.stop()
    sweeper.advance(1000)
    assert sweeper.sessions.get(client.session_id) is not None
    assert b"/t" in sweeper.tree.nodes
    assert client.ask(Op.SYNC, path("/")).err == 0
