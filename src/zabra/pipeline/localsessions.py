"""Sessions that only this server knows, in front of a pipeline (``localSessionsEnabled``).

A local session costs no transaction, and is gone with its server or when its client goes elsewhere. Only ephemerals
need more: with ``localSessionsUpgradingEnabled`` the first one makes it a session like all others, else it is refused::

    LOCAL --first ephemeral: its createSession goes first--> global, in the hands of the pipeline behind
      `--closed, expired--> gone

Source: ``UpgradeableSessionTracker``, ``LocalSessionTracker``, ``QuorumZooKeeperServer.checkUpgradeSession`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final, Protocol

from zabra.consts import Op
from zabra.errors import Code, MarshallingError, RequestError
from zabra.pipeline.ports import Pipeline, Scheduler, Sessions
from zabra.pipeline.request import Requester
from zabra.sessions.tracker import Session, SessionTracker
from zabra.wire.multi import decode_multi
from zabra.wire.primitives import Reader
from zabra.wire.records_proto import CreateRequest

_unpack_int: Final = Struct(">i").unpack_from
#: Flags of the modes that make ephemerals have this bit, and those of others below 4 have not.
_EPHEMERAL: Final = 1
_EPHEMERAL_MODES: Final = (1, 3)
_CREATES: Final = (Op.CREATE, Op.CREATE2)


class Upgradable(Protocol):
    """A pipeline that takes a session over."""

    def upgrade_session(self, conn: Requester, session: Session, now_ms: int) -> None:
        """Make a session known to all: its createSession goes before whatever is submitted next.

        Should that be refused, ``conn`` is closed.
        """


class LocalSessions:
    """A pipeline whose new sessions are local. What it does not know goes to the one behind."""

    def __init__(
        self,
        inner: Pipeline,
        tracker: SessionTracker,
        scheduler: Scheduler,
        monotonic: Callable[[], float],
        *,
        upgrade: Upgradable | None,
        refuse_ephemerals: bool = True,
    ) -> None:
        """``upgrade``: who takes sessions over; None: local ones cannot have ephemerals.

        ``refuse_ephemerals`` False leaves them to ``inner``, which refuses every write.
        """
        #: The pipeline of all other sessions.
        self.behind = inner
        #: Those that are local.
        self.tracker = tracker
        self._call_soon = scheduler.call_soon
        self._monotonic = monotonic
        self._upgrade = upgrade
        self._refuse = refuse_ephemerals
        self.sessions: Sessions = self
        self.stamp = inner.stamp
        self.set_data_run = inner.set_data_run
        self._touch_inner = inner.touch

    @property
    def outstanding(self) -> int:
        """Requests submitted and not answered yet."""
        return self.behind.outstanding

    @property
    def count(self) -> int:
        """Local sessions."""
        return len(self.tracker.sessions)

    def get(self, session_id: int) -> Session | None:
        """The session, local or not."""
        session = self.tracker.get(session_id)
        return session if session is not None else self.behind.sessions.get(session_id)

    def touch(self, session: Session, now_ms: int) -> bool:
        """Give a session its full timeout again; nobody else hears of a local one."""
        return self.tracker.touch(session, now_ms) if session.local else self._touch_inner(session, now_ms)

    # -- requests

    def create_run(
        self, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
    ) -> tuple[int, int, int]:
        """As the pipeline behind, but for ephemerals of local sessions, whose creates are looked at one by one."""
        if session.local:
            # The flags stand at the end of the frame.
            last = pos + 3 + _unpack_int(chunk, pos)[0]
            if not pos < last < len(chunk) or chunk[last] & _EPHEMERAL:
                return pos, 0, 0
            until = pos + 1
        return self.behind.create_run(conn, session, chunk, pos, until, limit)

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Raises MarshallingError; RequestError for an ephemeral that a local session cannot have."""
        if session.local and self._refuse and _makes_ephemeral(op, frame):
            if self._upgrade is None:
                raise RequestError(Code.EPHEMERAL_ON_LOCAL_SESSION)
            self.tracker.release(session)
            session.local = False
            self._upgrade.upgrade_session(conn, session, int(self._monotonic() * 1000))
        self.behind.submit(conn, session, xid, op, frame)

    def sync(self, conn: Requester, session: Session, xid: int, frame: bytes) -> bool:
        """As the pipeline behind."""
        return self.behind.sync(conn, session, xid, frame)

    def commit(self, writes: Sequence[Any], now_ms: int) -> int:
        """As the pipeline behind."""
        return self.behind.commit(writes, now_ms)

    # -- sessions

    def create_session(self, conn: Requester, timeout_ms: int, now_ms: int) -> Session:
        """A local session; its connection hears of it in the next turn."""
        session = self.tracker.create(timeout_ms, now_ms)
        session.local = True
        self._call_soon(conn.session_opened, session)
        return session

    def renew_session(
        self, conn: Requester, session_id: int, timeout_ms: int, now_ms: int, done: Callable[[Session | None], None]
    ) -> None:
        """A client comes back to a local session, or to one that the pipeline behind may know."""
        session = self.tracker.get(session_id)
        if session is None:
            self.behind.renew_session(conn, session_id, timeout_ms, now_ms, done)
        else:
            done(session if self.tracker.renew(session, timeout_ms, now_ms) else None)

    def close_session(self, conn: Requester, session: Session, xid: int) -> bool:
        """A local session needs no transaction to end."""
        if not session.local:
            return self.behind.close_session(conn, session, xid)
        self.tracker.remove(session.id)
        return False

    def expire(self, now_ms: int) -> list[Session]:
        """End the local sessions whose time is over, and cut their connections; which they were."""
        gone = self.tracker.expired(now_ms)
        for session in gone:
            self.tracker.remove(session.id)
            owner: Any = session.owner
            if owner is not None:
                owner.close()
        return gone


def _makes_ephemeral(op: int, frame: bytes) -> bool:
    """Whether a request would make an ephemeral node. One that does not parse makes none."""
    try:
        if op in _CREATES:
            return CreateRequest.decode(Reader(frame, 8, limit=len(frame))).flags in _EPHEMERAL_MODES
        if op == Op.MULTI:
            operations = decode_multi(Reader(frame, 8, limit=len(frame)))
            return any(
                isinstance(record, CreateRequest) and record.flags in _EPHEMERAL_MODES for _, record in operations
            )
    except MarshallingError:
        pass
    return False
