"""[hot] The stages of a server that gives out the zxids itself, wired: validate, propose, commit.

What a request meets on its way: :class:`LocalPipeline` here, then :mod:`prep`, the outbox, :mod:`commit`. The outbox of
a standalone server is its log (:mod:`persist`), that of a leader the broadcast. A leader also takes the requests that
learners forward: each of them takes a zxid and becomes a transaction of its own session and cxid, refused or not, as a
learner answers its clients with what is committed and nothing else.
Source: ``LeaderZooKeeperServer.submitLearnerRequest``, ``PrepRequestProcessor``, ``Leader.revalidateSession`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from struct import Struct
from typing import Final, cast

from zabra.consts import Op
from zabra.errors import Code, MarshallingError
from zabra.pipeline.commit import Commit
from zabra.pipeline.ports import Outbox
from zabra.pipeline.prep import Prep
from zabra.pipeline.request import CLIENT_WRITES, Proposal, Requester, Write
from zabra.runtime.ports import Clock
from zabra.sessions.tracker import Session, SessionTracker
from zabra.wire.records_data import Identity
from zabra.zab.packets import ForwardedRequest

_unpack_int = Struct(">i").unpack_from
#: length, xid, type
_pack_frame = Struct(">iii").pack
#: setData, create, create2.
_FREQUENT: Final = frozenset({5, 1, 15})
#: What a client's frame has before the record.
_HEADER: Final = bytes(8)


class _Remote:
    """The clients of one learner, as the owner of their sessions; their replies are the learner's business."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.identities: tuple[Identity, ...] = ()
        #: Replies that were not sent from here.
        self.replies = 0

    def answer_write(self, xid: int, zxid: int, body: bytes, err: int) -> None:
        self.replies += 1

    def answer_writes(self, replies: list[bytes], zxid: int) -> None:
        self.replies += len(replies)

    def answer_sync(self, xid: int, body: bytes) -> None:
        raise AssertionError("a learner's sync does not come here")

    def session_opened(self, session: Session) -> None:
        self.replies += 1

    def session_closed(self, write: Write) -> None:
        self.replies += 1

    def close(self) -> None:
        """Its session expired, or moved: the learner sees the one from the closeSession, the other from an error."""


class LocalPipeline:
    """What connections, chores and, on a leader, learners submit writes to."""

    def __init__(
        self,
        prep: Prep,
        outbox: Outbox,
        commit: Commit,
        sessions: SessionTracker,
        clock: Clock,
        *,
        local_sessions_of: int | None = None,
    ) -> None:
        """``local_sessions_of``: the own server id where other servers may have sessions that only they know."""
        self._local_sessions_of = local_sessions_of
        self.prep = prep
        self.outbox = outbox
        self.sessions = sessions
        self._commit = commit
        self._wall_ms = clock.wall_ms
        self._monotonic = clock.monotonic
        #: Learners by the caller's key.
        self._remotes: dict[object, _Remote] = {}
        #: The frequent writes; after :meth:`stamp`. What they leave has to go through :meth:`submit`.
        self.set_data_run = prep.set_data_run
        self.create_run = prep.create_run
        #: Renew a session; False when it is closing and its requests must be dropped.
        self.touch = sessions.touch

    @property
    def outstanding(self) -> int:
        """Writes that are not committed yet."""
        return self.outbox.outstanding

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Validate and propose a client's write. Raises MarshallingError; nothing was proposed then."""
        self.stamp()
        if op == Op.MULTI:
            self.prep.multi(conn, session, xid, frame)
        else:
            self.prep.single(conn, session, xid, op, frame)

    def stamp(self) -> int:
        """Before a validation: read the clock for the transactions that follow; the writes outstanding so far.

        A zxid that no proposal carries means that an earlier validation broke off half-way. What is pending cannot be
        trusted then, and the log would have a gap: the server ends.
        """
        prep = self.prep
        outstanding = self.outbox.outstanding
        if prep.zxid - prep.tree.last_zxid != outstanding:
            error = AssertionError(f"zxid 0x{prep.zxid:x} was given out, but not proposed")
            self.outbox.fail("a request could not be validated", error)
            raise error
        prep.now_ms = self._wall_ms()
        return outstanding

    def sync(self, conn: Requester, session: Session, xid: int, frame: bytes) -> bool:
        """Nothing that is committed anywhere is missing here: a sync is a read."""
        return False

    # -- sessions

    def create_session(self, conn: Requester, timeout_ms: int, now_ms: int) -> Session:
        """Begin a session; the connection hears of it when its createSession has committed."""
        session = self.sessions.create(timeout_ms, now_ms)
        self.stamp()
        self.prep.create_session(conn, session)
        return session

    def renew_session(
        self, conn: Requester, session_id: int, timeout_ms: int, now_ms: int, done: Callable[[Session | None], None]
    ) -> None:
        """A client comes back, maybe from a learner."""
        session = self.sessions.get(session_id)
        done(session if session is not None and self.sessions.renew(session, timeout_ms, now_ms) else None)

    def close_session(self, conn: Requester | None, session: Session, xid: int) -> bool:
        """End a session: its client asked (``conn``), or it expired (None)."""
        self.sessions.close(session)
        self.stamp()
        self.prep.close_session(conn, session, xid)
        return True

    # -- the server's own writes

    def delete_container(self, path: bytes) -> None:
        """Remove an empty container or expired TTL node, if it still is one."""
        self.stamp()
        self.prep.delete_container(path)

    def commit(self, writes: Sequence[Proposal], now_ms: int) -> int:
        """Commit a durable batch, in zxid order; the number of replies to clients of this server."""
        self._commit.now_ms = now_ms
        self._commit.batch(writes)
        count = len(writes)
        for remote in self._remotes.values():
            count -= remote.replies
            remote.replies = 0
        return count

    # -- learners

    def forwarded(self, learner: object, requests: Iterator[ForwardedRequest]) -> bool:
        """Validate and propose writes of a learner's clients. ``learner`` is any key, the same for all of one.

        Whatever is wrong with one becomes an error transaction: a session that is gone or has moved, a record that does
        not parse (MARSHALLING_ERROR), a type that no client may ask for (UNIMPLEMENTED). A sync is the caller's: True,
        when one was met; the ``requests`` behind it are left.
        """
        self.stamp()
        remote = self._remotes.get(learner) or self._remote(learner)
        # Frequent writes of one client that follow one another.
        run: list[ForwardedRequest] = []
        run_session = run_op = 0
        run_identities: tuple[Identity, ...] | None = None
        for request in requests:
            session_id, _, op, _, identities = request
            if run:
                if session_id == run_session and op == run_op and identities == run_identities:
                    run.append(request)
                    continue
                self._forwarded_run(remote, run)
                run = []
            if op in _FREQUENT:
                run.append(request)
                run_session, run_op, run_identities = session_id, op, identities
                continue
            if op == 9:
                return True
            remote.identities = identities or ()
            self._forwarded_one(remote, request)
        if run:
            self._forwarded_run(remote, run)
        return False

    def _forwarded_run(self, remote: _Remote, run: list[ForwardedRequest]) -> None:
        """Prepare frequent writes of one kind and client; those that fit on the short way, in their client's bytes."""
        session_id, _, op, _, identities = run[0]
        remote.identities = identities or ()
        prepare = self.set_data_run if op == 5 else self.create_run
        chunk = b"".join(
            [_pack_frame(len(record) + 8, xid, op) + record for _, xid, _, record, _ in run],
        )
        pos = done = 0
        while done < len(run):
            session = self.sessions.sessions.get(session_id)
            if session is not None and session.owner is remote and not session.closing and not session.local:
                pos, taken, _ = prepare(remote, session, chunk, pos, len(chunk) - 16, len(chunk))
                done += taken
            if done < len(run):
                self._forwarded_one(remote, run[done])
                pos += 12 + len(run[done].record)
                done += 1

    def _forwarded_one(self, remote: _Remote, request: ForwardedRequest) -> None:
        session_id, xid, op, record, _ = request
        session = self.sessions.sessions.get(session_id)
        if op not in CLIENT_WRITES:
            self._unusual(remote, session, request)
            return
        if session is None or session.closing or session.owner is not remote:
            code = self.sessions.check(session_id, remote)
            if code == Code.UNKNOWN_SESSION and self._may_be_local(session_id):
                session = Session(session_id, 0)
                session.local = True
            elif code != Code.OK:
                self._refuse(remote, request, code if code != Code.UNKNOWN_SESSION else Code.SESSION_EXPIRED)
                return
        assert session is not None
        try:
            if op == Op.MULTI:
                self.prep.multi(remote, session, xid, _HEADER + record)
            else:
                self.prep.single(remote, session, xid, op, _HEADER + record)
        except MarshallingError:
            self._refuse(remote, request, Code.MARSHALLING_ERROR)

    def _may_be_local(self, session_id: int) -> bool:
        """Whether it can be a local session of another server (``LeaderSessionTracker.checkSession``)."""
        own = self._local_sessions_of
        return own is not None and session_id >> 56 & 0xFF != own & 0xFF

    def upgrade_session(self, conn: Requester, session: Session, now_ms: int) -> None:
        """Propose the createSession of a local session, which is one of ours from here on."""
        self.sessions.adopt(session, now_ms)
        self.stamp()
        self.prep.create_session(None, session)

    def _unusual(self, remote: _Remote, session: Session | None, request: ForwardedRequest) -> None:
        """A request that begins or ends a session, or that no client may send."""
        session_id, xid, op, record, _ = request
        if op == Op.CREATE_SESSION:
            if len(record) < 4:
                self._refuse(remote, request, Code.MARSHALLING_ERROR)
                return
            timeout_ms = _unpack_int(record)[0]
            now_ms = self._now_ms()
            session = self.sessions.begin(session_id, timeout_ms, now_ms)
            if not self.sessions.renew(session, timeout_ms, now_ms):
                self._refuse(remote, request, Code.SESSION_EXPIRED)
                return
            session.owner = remote
            self.prep.create_session(remote, session, xid)
        elif op == Op.CLOSE_SESSION:
            # Asked of an unknown session, or once more of one that is closing, it still has to be answered.
            session = session or Session(session_id, 0)
            self.sessions.close(session)
            self.prep.close_session(remote, session, xid)
        else:
            self._refuse(remote, request, Code.UNIMPLEMENTED)

    def _refuse(self, remote: _Remote, request: ForwardedRequest, code: int) -> None:
        self.prep.refuse(self.prep.begin(remote, request.cxid, request.type), request.session, code)

    def revalidate(self, learner: object, session_id: int, timeout_ms: int) -> bool:
        """A client came to a learner with this session: whether it lives. Then it moves there.

        What was proposed before must reach the learner before the answer: it tells by that which transactions stem from
        the client's earlier connections (:meth:`ForwardingPipeline.revalidated`).
        """
        if not self.touch_remote(session_id, timeout_ms):
            return False
        session = self.sessions.sessions[session_id]
        owner = session.owner
        session.owner = self._remote(learner)
        if owner is not None:
            cast(Requester, owner).close()
        return True

    def touch_remote(self, session_id: int, timeout_ms: int) -> bool:
        """A learner's client used its session: whether it lives."""
        session = self.sessions.sessions.get(session_id)
        return session is not None and self.sessions.renew(session, timeout_ms, self._now_ms())

    def learner_gone(self, learner: object) -> None:
        """Nothing more comes from this one; its sessions keep their owner until they come back elsewhere."""
        self._remotes.pop(learner, None)

    def _remote(self, learner: object) -> _Remote:
        return self._remotes.setdefault(learner, _Remote())

    def _now_ms(self) -> int:
        return int(self._monotonic() * 1000)
