"""[hot] The sessions of a follower or observer: those that its clients use, and which of them they used lately.

The leader keeps the sessions and ends them; it is told with each ping which ones were used. So none expires here, and
none is refused here: a session may be committed that has not come this far yet.
Source: ``LearnerSessionTracker`` (3.9.5); local sessions are in :mod:`zabra.pipeline.localsessions`.
"""

from __future__ import annotations

from zabra.consts import CONTAINER_OWNER
from zabra.sessions.tracker import Session
from zabra.zxid import first_session_id, to_signed64


class LearnerSessions:
    """Sessions by id.

    ``logged`` holds the timeout of every session whose createSession is applied, by id; whoever applies keeps it up to
    date. ``server_id`` and ``now_ms`` seed the ids of new ones.
    """

    def __init__(self, server_id: int, now_ms: int, logged: dict[int, int]) -> None:
        #: Those that a client has used here since the role began.
        self.sessions: dict[int, Session] = {}
        self._logged = logged
        self._next_id = first_session_id(server_id, now_ms)
        #: Session id -> timeout in ms of those used since the last ping.
        self._touched: dict[int, int] = {}

    def create(self, timeout_ms: int) -> Session:
        """A new session with the next id, which the leader does not know yet."""
        session_id = self._next_id
        while session_id in self._logged or session_id in self.sessions or session_id == CONTAINER_OWNER:
            session_id = to_signed64(session_id + 1)
        self._next_id = to_signed64(session_id + 1)
        return self.attach(session_id, timeout_ms)

    def attach(self, session_id: int, timeout_ms: int) -> Session:
        """A client has this session from here on, with a newly negotiated timeout."""
        session = self.sessions.get(session_id)
        if session is None:
            session = self.sessions[session_id] = Session(session_id, timeout_ms)
        session.timeout_ms = timeout_ms
        return session

    def adopt(self, session: Session) -> None:
        """Take over a session that was a local one; its createSession is on its way."""
        self.sessions[session.id] = session

    def get(self, session_id: int) -> Session | None:
        """The session, if a client has used it here."""
        return self.sessions.get(session_id)

    def touch(self, session: Session, now_ms: int) -> bool:
        """Note that a session is used; the leader judges."""
        self._touched[session.id] = session.timeout_ms
        return True

    def touch_remote(self, session_id: int, timeout_ms: int) -> None:
        """Note that a client of somebody who learns from this server has used its session."""
        self._touched[session_id] = timeout_ms

    def take_touched(self) -> list[tuple[int, int]]:
        """Id and timeout in ms of the sessions used since the last call."""
        touched = list(self._touched.items())
        self._touched.clear()
        return touched

    def remove(self, session_id: int) -> Session | None:
        """Forget a session, as its applied closeSession does; unknown ids are fine."""
        self._touched.pop(session_id, None)
        return self.sessions.pop(session_id, None)

    def buckets(self) -> list[tuple[int, list[Session]]]:
        """(deadline, sessions): none, they expire on the leader."""
        return []

    def logged(self) -> dict[int, int]:
        """Session id -> timeout of every session whose createSession is applied: what a snapshot holds."""
        return dict(self._logged)
