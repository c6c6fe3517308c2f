"""The stages of a standalone server, wired: validate, log, commit.

What a request meets on its way: :class:`Pipeline` here, then :mod:`prep`, :mod:`persist`, :mod:`commit`. A server of an
ensemble wires the same stages differently.
"""

from __future__ import annotations

from zabra.consts import Op
from zabra.pipeline.commit import Commit
from zabra.pipeline.persist import Persist
from zabra.pipeline.prep import Prep
from zabra.pipeline.request import Proposal, Requester
from zabra.runtime.ports import Clock
from zabra.sessions.tracker import Session, SessionTracker


class Pipeline:
    """What connections and chores submit writes to."""

    def __init__(self, prep: Prep, persist: Persist, commit: Commit, sessions: SessionTracker, clock: Clock) -> None:
        self.prep = prep
        self.persist = persist
        self.sessions = sessions
        self._commit = commit
        self._wall_ms = clock.wall_ms
        self._set_data = prep.set_data
        #: Renew a session; False when it is closing and its requests must be dropped.
        self.touch = sessions.touch

    @property
    def outstanding(self) -> int:
        """Writes that are not committed yet."""
        return self.persist.outstanding

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Validate and propose a client's write. Raises MarshallingError; nothing was proposed then."""
        prep = self.prep
        prep.now_ms = self._wall_ms()
        if op == Op.SET_DATA:
            self._set_data(conn, session, xid, frame)
        elif op in (Op.CREATE, Op.CREATE2):
            prep.create(conn, session, xid, op, frame)
        elif op == Op.MULTI:
            prep.multi(conn, session, xid, frame)
        else:
            prep.single(conn, session, xid, op, frame)

    def create_session(self, conn: Requester, timeout_ms: int, now_ms: int) -> Session:
        """Begin a session; the connection hears of it when its createSession has committed."""
        session = self.sessions.create(timeout_ms, now_ms)
        self.prep.now_ms = self._wall_ms()
        self.prep.create_session(conn, session)
        return session

    def close_session(self, conn: Requester | None, session: Session, xid: int) -> None:
        """End a session: its client asked (``conn``), or it expired (None)."""
        self.sessions.close(session)
        self.prep.now_ms = self._wall_ms()
        self.prep.close_session(conn, session, xid)

    def delete_container(self, path: bytes) -> None:
        """Remove an empty container or expired TTL node, if it still is one."""
        self.prep.now_ms = self._wall_ms()
        self.prep.delete_container(path)

    def commit(self, writes: list[Proposal], now_ms: int) -> None:
        """Commit a durable batch, in zxid order."""
        self._commit.now_ms = now_ms
        self._commit.batch(writes)
