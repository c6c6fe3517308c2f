"""The sessions of a learner: ids of its own, and what it tells the leader with each ping."""

from __future__ import annotations

from zabra.consts import CONTAINER_OWNER
from zabra.sessions.learner import LearnerSessions
from zabra.zxid import first_session_id


def test_ids_count_up_from_server_and_clock() -> None:
    sessions = LearnerSessions(3, 123_456, {})
    first = first_session_id(3, 123_456)
    assert first >> 56 == 3
    assert [sessions.create(1000).id for _ in range(3)] == [first, first + 1, first + 2]


def test_an_id_that_is_in_use_is_not_given_out_again() -> None:
    first = first_session_id(3, 0)
    assert LearnerSessions(3, 0, {first: 1000, first + 1: 1000}).create(1000).id == first + 2


def test_ids_wrap_and_pass_over_the_container_marker() -> None:
    sessions = LearnerSessions(128, 0, {})
    assert sessions.create(1000).id == CONTAINER_OWNER + 1
    sessions._next_id = (1 << 63) - 1
    assert [sessions.create(1000).id for _ in range(2)] == [(1 << 63) - 1, CONTAINER_OWNER + 2]


def test_a_session_is_known_here_once_a_client_has_it() -> None:
    logged = {7: 1000}
    sessions = LearnerSessions(3, 0, logged)
    assert sessions.get(7) is None
    session = sessions.attach(7, 2000)
    assert sessions.get(7) is session
    assert (session.id, session.timeout_ms, session.closing, session.owner) == (7, 2000, False, None)
    assert sessions.attach(7, 3000) is session
    assert session.timeout_ms == 3000
    assert sessions.logged() == {7: 1000}
    assert sessions.buckets() == []
    assert sessions.remove(7) is session
    assert sessions.get(7) is None
    assert sessions.remove(7) is None


def test_touches_since_the_last_ping() -> None:
    """Once each, with the newest timeout; not those that are gone."""
    sessions = LearnerSessions(3, 0, {})
    one, two, gone = (sessions.attach(id_, 1000) for id_ in (1, 2, 3))
    for session in (two, one, gone, two):
        assert sessions.touch(session, 5)
    sessions.attach(2, 5000)
    assert sessions.touch(two, 6)
    sessions.remove(3)
    assert sessions.take_touched() == [(2, 5000), (1, 1000)]
    assert sessions.take_touched() == []
    sessions.touch(one, 7)
    assert sessions.take_touched() == [(1, 1000)]


def test_what_is_logged_is_a_copy() -> None:
    logged = {7: 1000}
    sessions = LearnerSessions(3, 0, logged)
    copy = sessions.logged()
    logged[8] = 2000
    assert copy == {7: 1000}
    assert sessions.logged() == {7: 1000, 8: 2000}
