"""[hot] What a learner applies: committed transactions, with the reply of whichever client here waits for one.

A learner computes nothing: the transaction says what to do, and applying it gives what the reply needs. Its header
names session and cxid, and that finds the client. A session's requests are answered in the order they were forwarded,
so only the oldest of them can be meant; two things blur that:

- *Left behind*: requests of a connection that is gone. They are still answered, to nobody, and before those of a newer
  connection; so they stay in the queue until then.
- *Elsewhere*: a client that lost its connection to another server and came here may reuse a cxid that is on its way
  there. All transactions of then were proposed before the leader agreed to the move; so up to the newest zxid that was
  known then, none is the new connection's.

Syncs stand in the same queues, as a session's replies keep the order of its requests. When a later write of the session
is committed they are done, answered by the leader or not: what was proposed before them is applied by then.

Source: ``CommitProcessor``, ``FinalRequestProcessor`` (3.9.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, cast

from zabra.consts import Op
from zabra.errors import Code
from zabra.pipeline.commit import CREATES
from zabra.pipeline.ports import LearnerData
from zabra.pipeline.request import Requester, Write
from zabra.sessions.learner import LearnerSessions
from zabra.tree.replay import PATH_SIZE_AT
from zabra.tree.tree import Applied
from zabra.wire.multi import encode_error_result, encode_multi_end, encode_result
from zabra.wire.primitives import pack_buffer
from zabra.wire.records_data import Identity
from zabra.wire.txns import TxnHeader
from zabra.zab.syncplan import Entry

_pack_int: Final = Struct(">i").pack
#: session, cxid
_unpack_ids: Final = Struct(">qi").unpack_from
#: type, path length
_unpack_type: Final = Struct(">ii").unpack_from
_TYPE_AT: Final = PATH_SIZE_AT - 4
_PATH_AT: Final = PATH_SIZE_AT + 4

#: One forwarded request: cxid, who waits for its reply, opcode; and for a sync, whose cxid stands in no transaction,
#: more of it.
Waiting = tuple[int, Requester, int, "Sync | None"]
#: Of a sync; no client can send it.
NO_CXID: Final = 1 << 32


class Sync:
    """A sync that is on its way."""

    __slots__ = ("body", "conn", "passed", "session_id", "xid")

    def __init__(self, conn: Requester, session_id: int, xid: int, body: bytes) -> None:
        self.conn = conn
        self.session_id = session_id
        self.xid = xid
        #: Of the reply.
        self.body = body
        #: It has left the queue: a later write of its session is committed, or the session is gone.
        self.passed = False


class SessionQueue(deque[Waiting]):
    """The forwarded requests of a session that are not answered yet, oldest first."""

    __slots__ = ("auth_info", "identities")

    #: What its client has proven, and the same as the packets have it.
    identities: tuple[Identity, ...]
    auth_info: bytes


class Learned:
    """Applies committed transactions to the tree and the sessions of a learner, and answers its clients."""

    def __init__(self, db: LearnerData, sessions: LearnerSessions) -> None:
        self.sessions = sessions
        self._tree = db.tree
        self._apply = db.apply
        #: By session id, of sessions that a client has used here.
        self.queues: dict[int, SessionQueue] = {}
        #: Requests that have left the queues.
        self.answered = 0
        #: Those that the leader has not answered, and what to call for those of other servers among them.
        self.syncs: deque[Sync | Callable[[], None]] = deque()
        #: Session id -> the zxid up to which no transaction is its present connection's.
        self._floors: dict[int, int] = {}

    def not_before(self, session_id: int, zxid: int) -> None:
        """A connection took the session over when the transactions up to ``zxid`` had been proposed."""
        if zxid > self._tree.last_zxid:
            self._floors[session_id] = zxid

    def batch(self, entries: Sequence[Entry]) -> int:
        """Apply transactions in zxid order; how many clients here were answered.

        Raises MarshallingError for one that cannot be read.
        """
        nodes = self._tree.nodes
        apply = self._apply
        queue_of = self.queues.get
        floors = self._floors
        syncs = self.syncs
        unpack_ids = _unpack_ids
        unpack_type = _unpack_type
        answered = self.answered
        quick = 0
        for entry in entries:
            zxid, payload = entry
            if syncs:
                self._pass_syncs(zxid, payload)
            other = apply(entry)
            if other is not None:
                self._other(*other)
                continue
            session_id, cxid = unpack_ids(payload)
            queue = queue_of(session_id)
            if not queue:
                continue
            if floors or queue[0][0] != cxid:
                waiting = self._take(queue, session_id, cxid, zxid)
                if waiting is None:
                    continue
                conn = waiting[1]
            else:
                conn = queue.popleft()[1]
                quick += 1
            type_, size = unpack_type(payload, _TYPE_AT)
            stop = _PATH_AT + size
            if type_ == 5:
                body = nodes[payload[_PATH_AT:stop]].stat
            else:
                body = payload[PATH_SIZE_AT:stop]
                if type_ == 15:
                    body += nodes[payload[_PATH_AT:stop]].stat
            conn.answer_write(cxid, zxid, body, 0)
        self.answered += quick
        if floors:
            last = self._tree.last_zxid
            for session_id in [session_id for session_id, floor in floors.items() if floor <= last]:
                del floors[session_id]
        return self.answered - answered

    def _take(self, queue: SessionQueue, session_id: int, cxid: int, zxid: int) -> Waiting | None:
        """Take the request that a transaction answers out of the queue; None: the client asked another server."""
        place = self._find(queue, session_id, cxid, zxid)
        if place < 0:
            return None
        self._pass(queue, place)
        self.answered += 1
        return queue.popleft()

    def _find(self, queue: SessionQueue, session_id: int, cxid: int, zxid: int) -> int:
        """The place in the queue of the request that a transaction answers; -1: none."""
        session = self.sessions.sessions.get(session_id)
        owner = session.owner if session is not None else None
        for place, waiting in enumerate(queue):
            if waiting[3] is not None:
                continue
            present = waiting[1] is owner
            if waiting[0] == cxid and not (present and zxid <= self._floors.get(session_id, -1)):
                return place
            if present:
                break
        return -1

    def _pass(self, queue: SessionQueue, count: int) -> None:
        """The oldest requests are passed: syncs, and what was left behind and never answered."""
        self.answered += count
        for _ in range(count):
            _, conn, _, sync = queue.popleft()
            if sync is not None:
                sync.passed = True
                conn.answer_sync(sync.xid, sync.body)

    def _pass_syncs(self, zxid: int, payload: bytes) -> None:
        """Before a transaction is applied: answer the syncs before its request, and the reads behind those."""
        session_id, cxid = _unpack_ids(payload)
        queue = self.queues.get(session_id)
        if queue:
            self._pass(queue, max(self._find(queue, session_id, cxid, zxid), 0))

    def synced(self) -> bool:
        """The leader has answered the oldest sync; False: there is none."""
        if not self.syncs:
            return False
        sync = self.syncs.popleft()
        if not isinstance(sync, Sync):
            sync()
        elif not sync.passed:
            self.queues[sync.session_id].remove((NO_CXID, sync.conn, Op.SYNC, sync))
            self.answered += 1
            sync.conn.answer_sync(sync.xid, sync.body)
        return True

    def _other(self, header: TxnHeader, result: Applied) -> None:
        """Answer a transaction that is no plain setData or create."""
        session_id = header.session_id
        queue = self.queues.get(session_id)
        waiting = self._take(queue, session_id, header.cxid, header.zxid) if queue else None
        if header.type == Op.CLOSE_SESSION:
            self._close_session(header, waiting)
        elif waiting is not None:
            self._answer(waiting, header, result)

    def _close_session(self, header: TxnHeader, waiting: Waiting | None) -> None:
        session = self.sessions.remove(header.session_id)
        rest = self.queues.pop(header.session_id, None)
        if rest is not None:
            self.answered += len(rest)
            for _, _, _, sync in rest:
                if sync is not None:
                    sync.passed = True
        if waiting is not None and waiting[2] == Op.CLOSE_SESSION:
            write = Write(waiting[1], header.cxid, Op.CLOSE_SESSION, header.zxid)
            write.session = session
            waiting[1].session_closed(write)
        if session is not None and session.owner is not None:
            # Expired, or closed elsewhere: whoever uses it is cut without a word.
            cast(Requester, session.owner).close()

    def _answer(self, waiting: Waiting, header: TxnHeader, result: Applied) -> None:
        _, conn, op, _ = waiting
        err = result.err
        if op == Op.CREATE_SESSION:
            session = self.sessions.get(header.session_id)
            if err or session is None:
                conn.close()
            else:
                conn.session_opened(session)
        elif op == Op.CLOSE_SESSION or Code.SESSION_MOVED in {err, *[part.err for part in result.parts]}:
            conn.close()
        elif header.type == Op.MULTI:
            conn.answer_write(header.cxid, header.zxid, _multi_body(result), 0)
        elif err:
            conn.answer_write(header.cxid, header.zxid, b"", err)
        else:
            body = _body(header.type, result)
            if header.type == Op.RECONFIG:
                assert result.path is not None
                body = pack_buffer(self._tree.nodes[result.path].data) + body
            conn.answer_write(header.cxid, header.zxid, body, 0)


def _body(type_: int, result: Applied) -> bytes:
    """The record of the reply to a request that did what it should."""
    stat = result.stat or b""
    if type_ in CREATES:
        assert result.path is not None
        path = _pack_int(len(result.path)) + result.path
        return path if type_ == Op.CREATE else path + stat
    return stat


def _multi_body(result: Applied) -> bytes:
    parts: list[bytes] = []
    for part in result.parts:
        type_ = part.type
        if type_ == Op.ERROR:
            parts.append(encode_error_result(part.err))
        else:
            result_type = Op.CREATE2 if type_ in CREATES and type_ != Op.CREATE else type_
            parts.append(encode_result(result_type, _body(type_, part)))
    parts.append(encode_multi_end())
    return b"".join(parts)
