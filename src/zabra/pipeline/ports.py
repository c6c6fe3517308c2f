"""What the stages ask of each other, and the frontend of them: the same on every server, whatever its role.

A standalone server and a leader serve their clients by :class:`zabra.pipeline.local.LocalPipeline`, followers and
observers by :class:`zabra.pipeline.forward.ForwardingPipeline`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from zabra.pipeline.request import Requester
from zabra.sessions.tracker import Session
from zabra.tree.tree import Applied, DataTree
from zabra.wire.txns import TxnHeader
from zabra.zab.syncplan import Entry


class Scheduler(Protocol):
    """The loop calls that the pipeline uses; an asyncio loop has them."""

    def call_soon(self, callback: Callable[..., object], *args: object) -> object:
        """Run after this turn's reads."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> object:
        """Run in ``delay`` seconds."""


class Outbox(Protocol):
    """Where proposals wait until they may commit: the log of a standalone server, the broadcast of a leader."""

    @property
    def outstanding(self) -> int:
        """Proposals that are not committed yet."""

    def fail(self, what: str, error: BaseException) -> None:
        """Memory cannot be trusted any more: end the server."""


class Sessions(Protocol):
    """The sessions as connections see them."""

    def get(self, session_id: int) -> Session | None:
        """The session, closing or not; a learner may not know one that has no connection here."""


class LearnerData(Protocol):
    """What a learner applies to: its database."""

    @property
    def tree(self) -> DataTree:
        """The tree; the same one for as long as a role serves."""

    def apply(self, entry: Entry) -> tuple[TxnHeader, Applied] | None:
        """Apply a committed entry. None for a plain setData or create; of any other what it was and did."""


#: ``run(conn, session, chunk, pos, until, limit)`` submits the requests of a kind that stand in a row in ``chunk``,
#: from ``pos`` on, which is before ``until``. They begin before ``until``, from where to the end of the chunk are 16
#: bytes at least; each is a whole frame of at most ``limit`` bytes. Returns where it ends, how many requests it took,
#: and the xid of the last one looked at. The one it ends at, if it is of the kind, has to go through
#: :meth:`Pipeline.submit`.
Run = Callable[[Requester, Session, bytes, int, int, int], tuple[int, int, int]]


class Pipeline(Protocol):
    """What connections submit their requests to. Zxids and replies come back through :class:`Requester`."""

    @property
    def sessions(self) -> Sessions:
        """The sessions of this server."""

    @property
    def outstanding(self) -> int:
        """Requests submitted and not answered yet."""

    @property
    def touch(self) -> Callable[[Session, int], bool]:
        """``touch(session, now_ms)`` gives it its full timeout again; False when its requests must be dropped."""

    def stamp(self) -> int:
        """Before the first run of a chunk; what is outstanding before it."""

    @property
    def set_data_run(self) -> Run:
        """Submit the setDatas that stand in a row, as far as they are plain ones; see :data:`Run`."""

    @property
    def create_run(self) -> Run:
        """The same for creates, or for create2s, whichever stands first."""

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Submit any other write; ``frame`` is header and record.

        Raises MarshallingError: it does not parse, nothing was submitted.
        """

    def sync(self, conn: Requester, session: Session, xid: int, frame: bytes) -> bool:
        """Submit a sync; False when it is to be served as a read. Raises MarshallingError."""

    def create_session(self, conn: Requester, timeout_ms: int, now_ms: int) -> Session:
        """Begin a session; the connection hears of it when its createSession is committed."""

    def renew_session(
        self, conn: Requester, session_id: int, timeout_ms: int, now_ms: int, done: Callable[[Session | None], None]
    ) -> None:
        """A client whose password was right comes back; ``done`` is called at once or later, None: refused."""

    def close_session(self, conn: Requester, session: Session, xid: int) -> bool:
        """End a session: its client asked. False: it has ended, and is to be told so behind what it asked before."""

    def commit(self, writes: Sequence[Any], now_ms: int) -> int:
        """Apply what is committed, in zxid order; the number of replies queued."""
