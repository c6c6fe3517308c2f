"""Session ids, ownership and the expiry buckets, alone and against a plain model."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.consts import CONTAINER_OWNER
from zabra.errors import Code
from zabra.sessions.tracker import SessionTracker
from zabra.zxid import first_session_id

TICK = 100


def tracker(now_ms: int = 0) -> SessionTracker:
    return SessionTracker(1, TICK, now_ms)


def test_ids_count_up_from_the_clock() -> None:
    """Ids start at the seed of server id and clock and count up by one."""
    sessions = tracker(now_ms=123_456)
    first = first_session_id(1, 123_456)
    assert [sessions.create(1000, 123_456).id for _ in range(3)] == [first, first + 1, first + 2]


def test_container_owner_is_no_session_id() -> None:
    """The id that marks container nodes is skipped."""
    sessions = SessionTracker(128, TICK, 0)
    assert first_session_id(128, 0) == CONTAINER_OWNER
    assert sessions.create(1000, 0).id == CONTAINER_OWNER + 1


def test_an_id_that_is_in_use_is_not_given_out_again():
    """A server that starts at the same uptime as before would otherwise hand out the sessions it recovered."""
    sessions = tracker(now_ms=123_456)
    first = first_session_id(1, 123_456)
    sessions.track(first, 10_000, 123_456)
    sessions.track(first + 1, 10_000, 123_456)
    assert sessions.create(10_000, 123_456).id == first + 2
    assert sessions.logged()[first] == 10_000


def test_sessions_that_are_logged_get_their_full_timeout():
    logged = {7: 3000, 8: 5000}
    sessions = SessionTracker(1, TICK, 1000, logged)
    assert [(one.id, one.timeout_ms, one.deadline_ms) for one in sessions.sessions.values()] == [
        (7, 3000, 4100),
        (8, 5000, 6100),
    ]
    assert sessions.logged() == logged


def test_ids_wrap_as_a_java_long() -> None:
    """After the largest id comes the smallest but one, as that is the container marker."""
    sessions = tracker()
    sessions._next_id = (1 << 63) - 1
    assert [sessions.create(1000, 0).id for _ in range(2)] == [(1 << 63) - 1, CONTAINER_OWNER + 1]


def test_deadline_is_rounded_up_to_the_next_tick() -> None:
    """A deadline on a tick still waits for the next one."""
    sessions = tracker()
    assert sessions.create(1000, 0).deadline_ms == 1100
    assert sessions.create(999, 0).deadline_ms == 1000
    assert sessions.create(1000, 99).deadline_ms == 1100


def test_expiry_takes_whole_buckets_in_order() -> None:
    """Due sessions come out once, oldest bucket first, marked closing; others stay."""
    sessions = tracker()
    late, early, other = sessions.create(500, 0), sessions.create(100, 0), sessions.create(500, 0)
    far = sessions.create(10_000, 0)
    assert sessions.next_deadline_ms() == 200
    assert sessions.expired(199) == []
    assert sessions.expired(600) == [early, late, other]
    assert early.closing
    assert late.closing
    assert not far.closing
    assert sessions.expired(600) == []
    assert sessions.next_deadline_ms() == far.deadline_ms


def test_touch_moves_the_deadline() -> None:
    """A touched session lives a full timeout longer."""
    sessions = tracker()
    session = sessions.create(1000, 0)
    assert sessions.touch(session, 900)
    assert sessions.expired(1100) == []
    assert sessions.buckets() == [(2000, [session])]


def test_a_touch_is_due_again_when_it_would_move_the_deadline() -> None:
    """Not before, at no timeout; and at once when the session moves, ends, or another server is to hear of it."""
    tracker = SessionTracker(1, 2000, 0)
    session = tracker.create(5000, 0)
    for now_ms in (0, 1, 999, 1000, 2999, 3000, 12345):
        assert tracker.touch(session, now_ms)
        deadline = session.deadline_ms
        last_ms = int(session.fresh_until * 1000) - 1
        assert now_ms <= last_ms
        assert tracker.touch(session, last_ms)
        assert session.deadline_ms == deadline
        assert tracker.touch(session, last_ms + 1)
        assert session.deadline_ms > deadline
    before = session.fresh_until
    assert tracker.renew(session, 5001, 14000)
    assert session.fresh_until < before
    for end in (tracker.close, tracker.release, lambda _: tracker.expired(1 << 40)):
        session = tracker.create(5000, 0)
        assert session.fresh_until > 0
        end(session)
        assert session.fresh_until == 0


def test_closing_sessions_cannot_be_touched() -> None:
    """Nothing brings a closing session back, whether it was closed or expired."""
    sessions = tracker()
    closed, dead = sessions.create(1000, 0), sessions.create(100, 0)
    sessions.close(closed)
    sessions.expired(500)
    for session in (closed, dead):
        for now in (0, 500, 5000):
            assert not sessions.touch(session, now)
        assert not sessions.renew(session, 4000, 500)
    assert sessions.next_deadline_ms() is None
    assert sessions.get(closed.id) is closed


def test_remove_forgets() -> None:
    """An applied closeSession leaves nothing behind; unknown ids are fine."""
    sessions = tracker()
    session = sessions.create(1000, 0)
    assert sessions.remove(session.id) is session
    assert session.closing
    assert sessions.remove(session.id) is None
    assert sessions.sessions == {}
    assert sessions.buckets() == []


def test_renewal_changes_the_touch_interval_only() -> None:
    """A renewal with another timeout counts at once, yet snapshots keep the logged timeout."""
    sessions = tracker()
    session = sessions.track(7, 1000, 0)
    assert sessions.renew(session, 5000, 0)
    assert session.deadline_ms == 5100
    assert sessions.logged() == {7: 1000}


def test_only_logged_sessions_are_in_snapshots() -> None:
    """A session counts as logged once its createSession is applied, and keeps its deadline then."""
    sessions = tracker()
    session = sessions.create(1000, 0)
    assert sessions.logged() == {}
    assert sessions.track(session.id, 1000, 900) is session
    assert session.deadline_ms == 1100
    assert sessions.logged() == {session.id: 1000}


def test_check_owner() -> None:
    """The first owner takes a session; strangers are told it moved; closing and unknown ones have their own codes."""
    sessions = tracker()
    session = sessions.create(1000, 0)
    mine, other = object(), object()
    assert sessions.check(session.id, mine) == Code.OK
    assert sessions.check(session.id, mine) == Code.OK
    assert sessions.check(session.id, other) == Code.SESSION_MOVED
    session.owner = other
    assert sessions.check(session.id, other) == Code.OK
    sessions.close(session)
    assert sessions.check(session.id, other) == Code.SESSION_EXPIRED
    assert sessions.check(session.id + 1, other) == Code.UNKNOWN_SESSION


def test_repr_names_the_session() -> None:
    """Logs show the id as ZooKeeper prints it."""
    session = tracker().track(-1, 1000, 0)
    assert repr(session) == "<Session 0xffffffffffffffff 1000 ms>"


steps = st.one_of(
    st.tuples(st.just("create"), st.integers(1, 700)),
    st.tuples(st.sampled_from(["touch", "close", "remove"]), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(0, 400)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_against_the_model(script: list[tuple[str, int]]) -> None:
    """Whatever happens, exactly those sessions expire whose rounded deadline has passed, each once."""
    sessions = tracker()
    now = 0
    model: dict[int, int] = {}  # id -> deadline of sessions that are alive
    timeouts: dict[int, int] = {}
    known: list[int] = []
    for name, value in script:
        if name == "create":
            session = sessions.create(value, now)
            known.append(session.id)
            timeouts[session.id] = value
            model[session.id] = ((now + value) // TICK + 1) * TICK
        elif name == "wait":
            now += value
            due = {session_id for session_id, deadline in model.items() if deadline <= now}
            assert {session.id for session in sessions.expired(now)} == due
            for session_id in due:
                del model[session_id]
        elif value < len(known):
            session_id = known[value]
            found = sessions.get(session_id)
            if name == "touch" and found is not None:
                assert sessions.touch(found, now) == (session_id in model)
                if session_id in model:
                    model[session_id] = ((now + timeouts[session_id]) // TICK + 1) * TICK
            elif name == "close" and found is not None:
                sessions.close(found)
                model.pop(session_id, None)
            elif name == "remove":
                sessions.remove(session_id)
                model.pop(session_id, None)
        assert sessions.next_deadline_ms() == min(model.values(), default=None)
        assert {s.id: deadline for deadline, bucket in sessions.buckets() for s in bucket} == model
