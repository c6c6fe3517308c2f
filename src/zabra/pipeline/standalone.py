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
        #: The frequent writes; after :meth:`stamp`. False, and nothing done, when one has to go through :meth:`submit`.
        self.set_data = prep.set_data
        self.create = prep.create
        #: Renew a session; False when it is closing and its requests must be dropped.
        self.touch = sessions.touch

    @property
    def outstanding(self) -> int:
        """Writes that are not committed yet."""
        return self.persist.outstanding

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Validate and propose a client's write. Raises MarshallingError; nothing was proposed then."""
        self.stamp()
        if op == Op.MULTI:
            self.prep.multi(conn, session, xid, frame)
        else:
            self.prep.single(conn, session, xid, op, frame)

    def stamp(self) -> None:
        """Before a validation: read the clock for the transactions that follow.

        A zxid that no proposal carries means that an earlier validation broke off half-way. What is pending cannot be
        trusted then, and the log would have a gap: the server ends.
        """
        if self.prep.zxid - self.prep.tree.last_zxid != self.persist.outstanding:
            error = AssertionError(f"zxid 0x{self.prep.zxid:x} was given out, but not proposed")
            self.persist.fail("a request could not be validated", error)
            raise error
        self.prep.now_ms = self._wall_ms()

    def create_session(self, conn: Requester, timeout_ms: int, now_ms: int) -> Session:
        """Begin a session; the connection hears of it when its createSession has committed."""
        session = self.sessions.create(timeout_ms, now_ms)
        self.stamp()
        self.prep.create_session(conn, session)
        return session

    def close_session(self, conn: Requester | None, session: Session, xid: int) -> None:
        """End a session: its client asked (``conn``), or it expired (None)."""
        self.sessions.close(session)
        self.stamp()
        self.prep.close_session(conn, session, xid)

    def delete_container(self, path: bytes) -> None:
        """Remove an empty container or expired TTL node, if it still is one."""
        self.stamp()
        self.prep.delete_container(path)

    def commit(self, writes: list[Proposal], now_ms: int) -> None:
        """Commit a durable batch, in zxid order."""
        self._commit.now_ms = now_ms
        self._commit.batch(writes)
