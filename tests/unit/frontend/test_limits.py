"""Connection counts and the token bucket."""

from __future__ import annotations

import random
from dataclasses import dataclass

from zabra.frontend.limits import ConnectionLimits, ConnectionThrottle


def test_connections_per_address() -> None:
    """Each address has its own count; a closed connection makes room."""
    counter = ConnectionLimits(0, 2)
    assert [counter.admit("a"), counter.admit("a"), counter.admit("a"), counter.admit("b")] == [True, True, False, True]
    counter.release("a")
    assert counter.admit("a")
    assert (counter.total, counter.of("a"), counter.of("b"), counter.rejected) == (3, 2, 1, 1)


def test_connections_in_total() -> None:
    """The total counts whatever the address."""
    counter = ConnectionLimits(2, 0)
    assert [counter.admit("a"), counter.admit("b"), counter.admit("c")] == [True, True, False]
    counter.release("a")
    counter.release("b")
    assert (counter.total, counter.of("a")) == (0, 0)


def test_no_limits() -> None:
    """Zero and negative limits are none."""
    for none in (0, -1):
        counter = ConnectionLimits(none, none)
        assert all(counter.admit("a") for _ in range(1000))


@dataclass(frozen=True)
class Settings:
    """The token bucket's settings."""

    connection_throttle_tokens: int = 10
    connection_throttle_fill_time_ms: int = 10
    connection_throttle_fill_count: int = 1
    connection_throttle_freeze_time_ms: int = -1
    connection_throttle_drop_increase: float = 0.02
    connection_throttle_drop_decrease: float = 0.002
    connection_throttle_decrease_ratio: float = 0.0
    connection_throttle_weight_enabled: bool = False
    connection_throttle_global_session_weight: int = 3
    connection_throttle_renew_session_weight: int = 2
    connection_throttle_local_session_weight: int = 1


def throttle(**changes: object) -> ConnectionThrottle:
    return ConnectionThrottle(Settings(**changes), random.Random(1), 0)  # type: ignore[arg-type]


def admitted(bucket: ConnectionThrottle, now_ms: int, tries: int) -> int:
    return sum(bucket.admit(renewal=False, now_ms=now_ms) for _ in range(tries))


def test_no_tokens_no_throttle() -> None:
    """Zero tokens switch it off."""
    assert admitted(throttle(connection_throttle_tokens=0), 0, 1000) == 1000


def test_bucket_empties_and_fills() -> None:
    """A burst passes up to the bucket's size; then tokens come back at their rate, never above the size."""
    bucket = throttle()
    assert admitted(bucket, 0, 20) == 10
    assert bucket.deficit == 10
    assert admitted(bucket, 10, 20) == 0
    assert admitted(bucket, 55, 20) == 5
    assert admitted(bucket, 10**9, 20) == 10


def test_zero_fill_time_is_one() -> None:
    """A fill time of zero cannot divide."""
    bucket = throttle(connection_throttle_fill_time_ms=0)
    assert admitted(bucket, 0, 20) == 10
    assert admitted(bucket, 5, 20) == 5


def test_weights() -> None:
    """With weights the bucket counts in global sessions; renewals and local sessions are cheaper."""
    for renewal, local, count in ((False, False, 10), (True, False, 15), (False, True, 30)):
        bucket = throttle(connection_throttle_weight_enabled=True)
        assert sum(bucket.admit(renewal=renewal, local=local, now_ms=0) for _ in range(100)) == count
    plain = throttle()
    assert sum(plain.admit(renewal=True, now_ms=0) for _ in range(100)) == 10


def test_odd_weights() -> None:
    """Weights below one take their defaults, and none is below the local one."""
    bucket = throttle(
        connection_throttle_weight_enabled=True,
        connection_throttle_global_session_weight=2,
        connection_throttle_renew_session_weight=0,
        connection_throttle_local_session_weight=5,
    )
    assert sum(bucket.admit(renewal=False, now_ms=0) for _ in range(100)) == 10
    bucket = throttle(connection_throttle_weight_enabled=True, connection_throttle_local_session_weight=-1)
    assert sum(bucket.admit(renewal=False, local=True, now_ms=0) for _ in range(100)) == 30


def test_blue_drops_more_while_empty() -> None:
    """Each freeze time that finds the bucket empty raises the chance of a random drop, at most to certainty."""
    bucket = throttle(
        connection_throttle_tokens=1,
        connection_throttle_fill_time_ms=10**6,
        connection_throttle_freeze_time_ms=10,
        connection_throttle_drop_increase=0.4,
    )
    assert bucket.admit(renewal=False, now_ms=0)
    chances = []
    for now_ms in (5, 11, 20, 22, 33, 44):
        bucket.admit(renewal=False, now_ms=now_ms)
        chances.append(bucket.drop_chance)
    assert chances == [0.0, 0.4, 0.4, 0.8, 1.0, 1.0]
    assert not bucket.admit(renewal=False, now_ms=45)


def test_blue_relents_when_the_bucket_is_full() -> None:
    """A hardly used bucket lowers the chance again, never below zero."""
    bucket = throttle(
        connection_throttle_tokens=4,
        connection_throttle_fill_time_ms=1,
        connection_throttle_freeze_time_ms=10,
        connection_throttle_drop_decrease=0.3,
        connection_throttle_decrease_ratio=0.5,
    )
    bucket.drop_chance = 0.5
    chances = []
    for now_ms in (11, 22, 33):
        bucket.admit(renewal=False, now_ms=now_ms)
        chances.append(round(bucket.drop_chance, 6))
    assert chances == [0.2, 0.0, 0.0]
