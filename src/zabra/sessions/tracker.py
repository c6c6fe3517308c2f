"""[hot] The sessions of a server and when they expire.

Life of a session::

    create, or track (from a snapshot or log)
        |
        v        touch (any request)
      alive  <----------------------.
        |  \\________________________/
        |  close (client asks), expired (deadline passed)
        v
     closing     touches and checks fail; its closeSession is on the way
        |  remove (closeSession applied)
        v
      gone

Deadlines are rounded up to whole ticks, so that sessions share a few buckets and a touch within the same tick changes
nothing. Time is monotonic milliseconds and always passed in. Source: ``SessionTrackerImpl``, ``ExpiryQueue`` (3.9.5).
"""

from __future__ import annotations

from typing import Final

from zabra.consts import CONTAINER_OWNER
from zabra.errors import Code
from zabra.zxid import first_session_id, to_signed64

#: Deadline of a session that waits for nothing any more.
_NEVER: Final = -1


class Session:
    """One session. Fields are for reading; the tracker and the pipeline change them."""

    __slots__ = ("closing", "deadline_ms", "fresh_until", "id", "local", "owner", "timeout_ms")

    def __init__(self, session_id: int, timeout_ms: int) -> None:
        self.id = session_id
        #: The timeout its present connection negotiated; touches count from it.
        self.timeout_ms = timeout_ms
        #: The bucket it expires with.
        self.deadline_ms = _NEVER
        #: Monotonic seconds until which one more touch would change nothing, so that no chunk need make one.
        self.fresh_until = 0.0
        #: A closeSession is on the way; never goes back to False.
        self.closing = False
        #: The connection (or learner handler) it is used through; None until the first use.
        self.owner: object | None = None
        #: Only the server it was made on knows it.
        self.local = False

    def __repr__(self) -> str:
        return f"<Session 0x{self.id & (1 << 64) - 1:x} {self.timeout_ms} ms{' closing' if self.closing else ''}>"


class SessionTracker:
    """All sessions by id, and by the moment they expire.

    ``server_id`` and ``now_ms`` seed the ids, ``tick_ms`` is the width of a bucket. ``logged`` holds the timeout of
    every session whose createSession is applied, by id, and is kept up to date; those in it get their full timeout.
    """

    def __init__(self, server_id: int, tick_ms: int, now_ms: int, logged: dict[int, int] | None = None) -> None:
        assert tick_ms > 0
        self._logged = {} if logged is None else logged
        #: For lookups on the hot path; do not change.
        self.sessions: dict[int, Session] = {}
        self.tick_ms = tick_ms
        self._next_id = first_session_id(server_id, now_ms)
        #: deadline -> sessions by id; never holds an empty bucket.
        self._buckets: dict[int, dict[int, Session]] = {}
        for session_id, timeout_ms in self._logged.items():
            self._add(session_id, timeout_ms, now_ms)

    def create(self, timeout_ms: int, now_ms: int) -> Session:
        """A new session with the next id, not yet logged."""
        session_id = self._next_id
        # The clock that seeds the ids is the machine's uptime: after a power cut it may give ids that are still in use.
        while session_id in self.sessions or session_id == CONTAINER_OWNER:
            session_id = to_signed64(session_id + 1)
        self._next_id = to_signed64(session_id + 1)
        return self._add(session_id, timeout_ms, now_ms)

    def track(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Take a session from a snapshot or an applied createSession; of a known one note the logged timeout."""
        self._logged[session_id] = timeout_ms
        return self.begin(session_id, timeout_ms, now_ms)

    def begin(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        """Take a session whose id another server gave out and whose createSession is on its way; or the known one."""
        session = self.sessions.get(session_id)
        return session if session is not None else self._add(session_id, timeout_ms, now_ms)

    def adopt(self, session: Session, now_ms: int) -> None:
        """Take over a session that was tracked elsewhere; its createSession is on its way."""
        assert session.id not in self.sessions
        self.sessions[session.id] = session
        self.touch(session, now_ms)

    def release(self, session: Session) -> None:
        """Forget a session that goes on elsewhere."""
        del self.sessions[session.id]
        self._leave_bucket(session)

    def _add(self, session_id: int, timeout_ms: int, now_ms: int) -> Session:
        session = self.sessions[session_id] = Session(session_id, timeout_ms)
        self.touch(session, now_ms)
        return session

    def get(self, session_id: int) -> Session | None:
        """The session, closing or not."""
        return self.sessions.get(session_id)

    def touch(self, session: Session, now_ms: int) -> bool:
        """Give a session its full timeout again; False when it is closing, then its request must be dropped."""
        tick = self.tick_ms
        deadline = ((now_ms + session.timeout_ms) // tick + 1) * tick
        if session.closing:
            return False
        if deadline != session.deadline_ms:
            self._move(session, deadline)
        session.fresh_until = (deadline - session.timeout_ms) / 1000
        return True

    def _move(self, session: Session, deadline: int) -> None:
        self._leave_bucket(session)
        session.deadline_ms = deadline
        bucket = self._buckets.get(deadline)
        if bucket is None:
            bucket = self._buckets[deadline] = {}
        bucket[session.id] = session

    def renew(self, session: Session, timeout_ms: int, now_ms: int) -> bool:
        """A connection took the session over with a newly negotiated timeout; False when it is closing.

        The new timeout counts from here on but is not logged: after a restart the logged one counts again.
        """
        if session.closing:
            return False
        session.timeout_ms = timeout_ms
        return self.touch(session, now_ms)

    def check(self, session_id: int, owner: object) -> int:
        """Whether ``owner`` may write for the session: 0 or an error code (``SessionTrackerImpl.checkSession``).

        The first owner to ask gets a session that has none.
        """
        session = self.sessions.get(session_id)
        if session is None:
            return Code.UNKNOWN_SESSION
        if session.closing:
            return Code.SESSION_EXPIRED
        if session.owner is None:
            session.owner = owner
        elif session.owner is not owner:
            return Code.SESSION_MOVED
        return Code.OK

    def close(self, session: Session) -> None:
        """Mark closing: no later request of it is served. It stays known until :meth:`remove`."""
        session.closing = True
        self._leave_bucket(session)

    def remove(self, session_id: int) -> Session | None:
        """Forget a session, as its applied closeSession does; unknown ids are fine."""
        self._logged.pop(session_id, None)
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self.close(session)
        return session

    def expired(self, now_ms: int) -> list[Session]:
        """Take the sessions whose deadline has come, oldest bucket first, and mark them closing."""
        due = sorted(deadline for deadline in self._buckets if deadline <= now_ms)
        out: list[Session] = []
        for deadline in due:
            out += self._buckets.pop(deadline).values()
        for session in out:
            session.closing = True
            session.deadline_ms = _NEVER
            session.fresh_until = 0.0
        return out

    def next_deadline_ms(self) -> int | None:
        """When to call :meth:`expired` next; None while no session is alive."""
        return min(self._buckets, default=None)

    def buckets(self) -> list[tuple[int, list[Session]]]:
        """(deadline, sessions), soonest first, as ``dump`` prints them."""
        return [(deadline, list(self._buckets[deadline].values())) for deadline in sorted(self._buckets)]

    def logged(self) -> dict[int, int]:
        """Session id -> timeout of every session whose createSession is applied: what a snapshot holds."""
        return dict(self._logged)

    def _leave_bucket(self, session: Session) -> None:
        deadline = session.deadline_ms
        if deadline == _NEVER:
            return
        bucket = self._buckets[deadline]
        del bucket[session.id]
        if not bucket:
            del self._buckets[deadline]
        session.deadline_ms = _NEVER
        session.fresh_until = 0.0
