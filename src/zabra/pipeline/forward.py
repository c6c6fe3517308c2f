"""[hot] The pipeline of a follower or observer: writes go to the leader, what it commits comes back.

A request is sent as it came, at the end of the loop's turn, together with all others of that turn; its client waits in
:class:`~zabra.pipeline.learned.Learned` for the transaction with its session and cxid. The leader answers each in the
order they were sent, refused ones too, with one exception: a single write that does not parse would reuse an old zxid
there, and never come back. So those are refused here.

Source: ``FollowerRequestProcessor``, ``ObserverRequestProcessor``, ``Learner.request``, ``validateSession`` (3.9.5).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, cast

from zabra.consts import Op
from zabra.pipeline.learned import NO_CXID, Learned, SessionQueue, Sync
from zabra.pipeline.ports import LearnerData, Scheduler
from zabra.pipeline.prep import DECODERS
from zabra.pipeline.reads import sync_body
from zabra.pipeline.request import Requester, Write
from zabra.sessions.learner import LearnerSessions
from zabra.sessions.tracker import Session
from zabra.wire.primitives import Reader, pack_vector
from zabra.wire.records_data import encode_identity
from zabra.zab import packets
from zabra.zab.packets import ForwardedRequest, Packet
from zabra.zab.syncplan import Entry

_log = logging.getLogger(__name__)

#: REQUEST up to its record: packet type, zxid -1, length of the data, session, cxid, opcode. See packets.request.
_pack_request: Final = Struct(">iqiqii").pack
#: The same up to the session.
_pack_start: Final = Struct(">iqiq").pack
#: Bytes of data before the record.
_HEAD: Final = 16
_pack_int: Final = Struct(">i").pack
_unpack_int: Final = Struct(">i").unpack_from
#: Of a client's frame: length, xid, type, path length.
_unpack_head: Final = Struct(">iiii").unpack_from
_REQUEST: Final = Packet.REQUEST
#: What may leave a node with other rights than it has.
_RIGHTS_CHANGE: Final = frozenset({Op.DELETE, Op.SET_ACL, Op.MULTI})
#: How many raw ACL lists are remembered because they parse, and how long one may be.
_ACLS_MAX: Final = 1024
_ACL_SIZE_MAX: Final = 1024
#: SyncRequest of the root.
_SYNC_RECORD: Final = b"\x00\x00\x00\x01/"
_MASK64: Final = (1 << 64) - 1


class _Upgrade:
    """Waits for the createSession of a local session in place of its client, which need not hear of it."""

    def __init__(self, conn: Requester) -> None:
        self.session = conn.session
        self.identities = conn.identities
        self._conn = conn

    def answer_write(self, xid: int, zxid: int, body: bytes, err: int) -> None:
        """Not of a createSession."""

    def answer_writes(self, replies: list[bytes], zxid: int) -> None:
        """Not of a createSession."""

    def answer_sync(self, xid: int, body: bytes) -> None:
        """Not of a createSession."""

    def session_opened(self, session: Session) -> None:
        """It is known to all."""

    def session_closed(self, write: Write) -> None:
        """Not of a createSession."""

    def close(self) -> None:
        """It was refused: what its client asks next would be, too."""
        self._conn.close()


class ForwardingPipeline:
    """What the connections of a learner submit their requests to, for as long as the role lasts."""

    def __init__(
        self,
        db: LearnerData,
        sessions: LearnerSessions,
        send: Callable[[bytes], None],
        scheduler: Scheduler,
        monotonic: Callable[[], float],
        last_proposed: Callable[[], int],
        *,
        limit: int = 1 << 20,
        informed_only: bool = False,
    ) -> None:
        """``send(data)`` gives whole packets to the leader's connection, at most once a turn and in order.

        ``last_proposed()`` is the newest zxid that the leader has told of, ``limit`` the longest buffer in a record.
        ``informed_only``: an observer, which does not hear of proposals before they are committed.
        """
        self.sessions = sessions
        self.touch = sessions.touch
        #: Id and timeout (ms) of the sessions used since the last call, for the answer to a ping.
        self.take_touched = sessions.take_touched
        #: The same of an observer's clients; ``touch_remote(session_id, timeout_ms)``.
        self.touch_remote = sessions.touch_remote
        self._learned = Learned(db, sessions)
        self._queues = self._learned.queues
        self._send = send
        self._call_soon = scheduler.call_soon
        self._monotonic = monotonic
        self._last_proposed = last_proposed
        self._limit = limit
        self._informed_only = informed_only
        #: Called with the id of each session that a client comes back with, before the leader is asked.
        self.on_renewal: Callable[[int], None] = lambda session_id: None
        #: Packets of this turn.
        self._out: list[bytes] = []
        self._scheduled = False
        self._stopped = False
        #: Requests ever forwarded.
        self._forwarded = 0
        #: Of turns that are not wholly answered: when, and ``_forwarded`` at its end.
        self._turns: deque[tuple[float, int]] = deque()
        self._turn_started = 0.0
        #: Session id -> whom to tell whether it lives, in the order in which the leader was asked.
        self._renewals: dict[int, deque[Callable[[bool], None]]] = {}
        #: Raw ACL lists of creates that parsed.
        self._acls: set[bytes] = set()

    @property
    def outstanding(self) -> int:
        """Requests forwarded and not answered yet."""
        return self._forwarded - self._learned.answered

    @property
    def waiting_since(self) -> float:
        """Monotonic second at which the oldest unanswered request was forwarded; now, if there is none."""
        return self._turns[0][0] if self._turns else self._monotonic()

    def is_settled(self, session_id: int) -> bool:
        """Whether no request of a session is on its way that may change the rights on a node."""
        return all(waiting[2] not in _RIGHTS_CHANGE for waiting in self._queues.get(session_id, ()))

    # -- requests

    def stamp(self) -> int:
        """See to it that what is forwarded in this turn is sent at its end; the requests outstanding so far."""
        if not self._scheduled:
            self._scheduled = True
            self._turn_started = self._monotonic()
            self._call_soon(self._flush)
        return self.outstanding

    def _flush(self) -> None:
        self._scheduled = False
        out = self._out
        if not out or self._stopped:
            return
        data = b"".join(out)
        out.clear()
        self._turns.append((self._turn_started, self._forwarded))
        self._send(data)

    def frequent_run(
        self, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
    ) -> tuple[int, int, int]:
        """Forward the setDatas, or the creates or create2s with an ACL list that came before, that stand in a row."""
        session_id = session.id
        queue = self._queues.get(session_id)
        if queue is None or queue.identities is not conn.identities:
            queue = self._queue(conn, session_id)
        out = self._out
        auth_info = queue.auth_info
        known_acls = self._acls
        kind = _unpack_int(chunk, pos + 8)[0]
        # Behind path and data: a version; or at least an empty list and the flags.
        least = 8 if kind == 5 else 12
        size_of_chunk = len(chunk)
        count = xid = 0
        while pos < until:
            length, xid, op, path_length = _unpack_head(chunk, pos)
            start = pos + 16
            stop = start + path_length
            end = pos + 4 + length
            if op != kind or not start < stop <= end - least or end > size_of_chunk or length > limit:
                break
            size = _unpack_int(chunk, stop)[0]
            behind = stop + 4 + size
            if size < 0 or (behind + 4 > end if kind == 5 else chunk[behind : end - 4] not in known_acls):
                break
            # What a client sends behind the length is what a packet has behind the session.
            out.append(_pack_start(_REQUEST, -1, length + 8, session_id) + chunk[pos + 4 : end] + auth_info)
            queue.append((xid, conn, kind, None))
            count += 1
            pos = end
        self._forwarded += count
        return pos, count, xid

    set_data_run = create_run = frequent_run

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Forward any other write. Raises MarshallingError."""
        decode = DECODERS.get(op)
        if decode is not None:
            decode(Reader(frame, 8, limit=self._limit))
        if op in (Op.CREATE, Op.CREATE2):
            # What is between data and flags, and maybe surplus bytes; with the same behind it another one parses too.
            stop = 12 + max(_unpack_int(frame, 8)[0], 0)
            raw = frame[stop + 4 + max(_unpack_int(frame, stop)[0], 0) : -4]
            if len(raw) <= _ACL_SIZE_MAX and len(self._acls) < _ACLS_MAX:
                self._acls.add(raw)
        self._forward(conn, session, xid, op, frame[8:])

    def sync(self, conn: Requester, session: Session, xid: int, frame: bytes) -> bool:
        """Forward a sync: :meth:`synced` tells when it is done. Raises MarshallingError."""
        sync = Sync(conn, session.id, xid, sync_body(Reader(frame, 8, limit=self._limit)))
        self.stamp()
        queue = self._queue(conn, session.id)
        self._out.append(self._packet(queue, session.id, xid, Op.SYNC, frame[8:]))
        queue.append((NO_CXID, conn, Op.SYNC, sync))
        self._learned.syncs.append(sync)
        self._forwarded += 1
        return True

    def create_session(self, conn: Requester, timeout_ms: int, now_ms: int) -> Session:
        """Begin a session with an id of our own; the connection hears of it when its createSession is committed."""
        session = self.sessions.create(timeout_ms)
        self._forward(conn, session, 0, Op.CREATE_SESSION, _pack_int(timeout_ms))
        return session

    def upgrade_session(self, conn: Requester, session: Session, now_ms: int) -> None:
        """Forward the createSession of a local session, which is the leader's from here on."""
        self.sessions.adopt(session)
        self._forward(_Upgrade(conn), session, 0, Op.CREATE_SESSION, _pack_int(session.timeout_ms))

    def close_session(self, conn: Requester, session: Session, xid: int) -> bool:
        """Forward a client's closeSession."""
        self._forward(conn, session, xid, Op.CLOSE_SESSION, b"")
        return True

    def renew_session(
        self, conn: Requester, session_id: int, timeout_ms: int, now_ms: int, done: Callable[[Session | None], None]
    ) -> None:
        """Ask the leader whether a session lives; ``done`` never hears of it when the role ends first."""
        self.on_renewal(session_id)
        if not self._informed_only:
            self.revalidate(session_id, timeout_ms, lambda valid: self._renewed(session_id, timeout_ms, valid, done))
            return
        # What its client asked elsewhere may be proposed by now, and an observer would take it for what comes next:
        # the sync behind is answered when all that is committed.
        verdict: list[bool] = []
        self.revalidate(session_id, timeout_ms, verdict.append)
        self.relay_sync(
            ForwardedRequest(session_id, 0, Op.SYNC, _SYNC_RECORD, None),
            lambda: self._renewed(session_id, timeout_ms, verdict == [True], done),
        )

    # -- what others want of the leader: observers that learn from this server, or we on their behalf

    def revalidate(self, session_id: int, timeout_ms: int, done: Callable[[bool], None]) -> None:
        """Ask whether a session lives, and have it moved here: ``done(valid)``."""
        self._renewals.setdefault(session_id, deque()).append(done)
        self.stamp()
        self._out.append(packets.revalidate(session_id, timeout_ms))

    def relay(self, request: ForwardedRequest) -> None:
        """Forward a request that nobody here waits for."""
        self.stamp()
        self._out.append(packets.request(request))

    def relay_sync(self, request: ForwardedRequest, done: Callable[[], None]) -> None:
        """Forward a sync; ``done()`` when all that was proposed before it is committed, and applied here."""
        self.relay(request)
        self._learned.syncs.append(done)

    def release_session(self, session_id: int) -> None:
        """The client of a session is elsewhere now: hang up on it."""
        session = self.sessions.get(session_id)
        if session is not None and session.owner is not None:
            cast(Requester, session.owner).close()

    def _forward(self, conn: Requester, session: Session, xid: int, op: int, record: bytes) -> None:
        self.stamp()
        queue = self._queue(conn, session.id)
        self._out.append(self._packet(queue, session.id, xid, op, record))
        queue.append((xid, conn, op, None))
        self._forwarded += 1

    @staticmethod
    def _packet(queue: SessionQueue, session_id: int, xid: int, op: int, record: bytes) -> bytes:
        return _pack_request(_REQUEST, -1, len(record) + _HEAD, session_id, xid, op) + record + queue.auth_info

    def _queue(self, conn: Requester, session_id: int) -> SessionQueue:
        queue = self._queues.get(session_id)
        if queue is None:
            queue = self._queues[session_id] = SessionQueue()
        queue.identities = conn.identities
        queue.auth_info = pack_vector(conn.identities, encode_identity)
        return queue

    # -- what the leader says

    def commit(self, entries: Sequence[Entry], now_ms: int) -> int:
        """Apply committed transactions in zxid order; how many clients here were answered."""
        count = self._learned.batch(entries)
        self._forget_turns()
        return count

    def synced(self) -> None:
        """The oldest sync is done: all that was committed before is applied."""
        if not self._learned.synced():
            _log.warning("the leader answers a sync that nobody asked for")
        self._forget_turns()

    def revalidated(self, session_id: int, valid: bool) -> None:
        """The leader knows whether a session lives. If so it is ours now, and its owner before can write no more."""
        renewals = self._renewals.get(session_id)
        if not renewals:
            _log.warning("the leader answers about session 0x%x, of which nobody asked", session_id & _MASK64)
            return
        done = renewals.popleft()
        if not renewals:
            del self._renewals[session_id]
        done(valid)

    def _renewed(self, session_id: int, timeout_ms: int, valid: bool, done: Callable[[Session | None], None]) -> None:
        if not valid:
            done(None)
            return
        self._learned.not_before(session_id, self._last_proposed())
        done(self.sessions.attach(session_id, timeout_ms))

    def stop(self) -> None:
        """The role ends: nothing is sent any more."""
        self._stopped = True

    def _forget_turns(self) -> None:
        turns = self._turns
        answered = self._learned.answered
        while turns and turns[0][1] <= answered:
            turns.popleft()
