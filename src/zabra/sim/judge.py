"""What must be true of a history of transactions, and of every answer that clients get.

Nothing of the server's own pipeline is used. The history is followed entry by entry; each must be what some request
asked for, given the tree it meets, or a transaction of the server's own that was due. A reply must say what the history
says at its zxid; a read must show the tree of the zxid it names.

Where the history comes from is the affair of what is built on this: :mod:`zabra.sim.oracle` for one server,
:mod:`zabra.sim.ensemble_oracle` for several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, NamedTuple

from zabra.consts import CONTAINER_OWNER, TTL_MS_MAX, Op
from zabra.errors import Code
from zabra.sim.calls import CREATES, Call
from zabra.sim.expect import (
    Refused,
    View,
    may_refuse_early,
    multi_reply,
    plan,
    plan_multi,
    read_reply,
    sorted_children,
    write_reply,
)
from zabra.sim.model import Model, ModelError
from zabra.sim.violation import Violation, difference
from zabra.sim.watchbook import CONFIG
from zabra.wire.primitives import pack_buffer
from zabra.wire.records_txn import CreateSessionTxn, DeleteTxn, ErrorTxn, MultiTxn, SetDataTxn
from zabra.wire.txns import TxnBody, TxnHeader, decode_sub_txn, decode_txn

_STATS: Final = b"/zookeeper_stats"
_NO_RECONFIG: Final = (Code.NEW_CONFIG_NO_QUORUM, Code.RECONFIG_IN_PROGRESS, Code.BAD_VERSION, Code.BAD_ARGUMENTS)


class Logged(NamedTuple):
    """One entry of the history, and what the reply to its request must be."""

    payload: bytes
    header: TxnHeader
    err: int
    reply: bytes


class Judge(ABC):
    """Knows every request sent and every entry of the history. Raises Violation."""

    def __init__(self, clock: Callable[[], float], *, enforce_quota: bool = False) -> None:
        """``clock`` gives the virtual second."""
        self._clock = clock
        self.model = Model()
        self.logged: dict[int, Logged] = {}
        #: The newest zxid that a client was told as the outcome of its write.
        self.acked = 0
        #: Requests by (session, xid) that may still show up in the history.
        self.calls: dict[tuple[int, int], Call] = {}
        self._enforce_quota = enforce_quota
        #: Whether servers refuse a write without the rights before it goes anywhere.
        self.checks_early = False
        #: (session, xid) of every logged request -> its zxid.
        self._seen: dict[tuple[int, int], int] = {}
        #: Session -> zxid of its creation, those that have ended included.
        self._created: dict[int, int] = {}
        #: Sessions that clients were told of -> when the last request that was answered had been sent, and timeout ms.
        self.touched: dict[int, tuple[float, int]] = {}
        #: Sessions whose client has asked for their end.
        self.closing: set[int] = set()
        #: Sessions -> when a client last took them to a server; what is still on the way over another one is void then.
        self.moved: dict[int, float] = {}
        self.acked_writes = 0
        self.reads = 0

    # -- the history

    @abstractmethod
    def catch_up(self) -> None:
        """See what is new in the history."""

    def append(self, payload: bytes) -> None:
        """The next entry; its zxid was found to be right."""
        header, body, digest = decode_txn(payload)
        err, reply = self._judge(header, body)
        if digest is not None and digest.digest != self.model.digest:
            raise Violation(f"digest of 0x{header.zxid:x} is {digest.digest:x}, the tree has {self.model.digest:x}")
        self.logged[header.zxid] = Logged(payload, header, err, reply)

    def forget(self, zxid: int) -> None:
        """What came after ``zxid`` never happened."""
        for lost in [one for one in self.logged if one > zxid]:
            entry = self.logged.pop(lost)
            self._seen.pop((entry.header.session_id, entry.header.cxid), None)
            if entry.header.type == Op.CREATE_SESSION:
                del self._created[entry.header.session_id]
        self.model.rollback(zxid)

    def _judge(self, header: TxnHeader, body: TxnBody | None) -> tuple[int, bytes]:
        """Compare an entry with its request, apply it; the error code and the reply's body."""
        key = (header.session_id, header.cxid)
        call = self.calls.get(key) if header.cxid > 0 else None
        if call is None:
            self._judge_own(header, body)
            return self._applied(header, body), b""
        if key in self._seen:
            raise Violation(
                f"{call} of session {header.session_id:x} is logged twice: 0x{self._seen[key]:x} and 0x{header.zxid:x}"
            )
        self._seen[key] = header.zxid
        if isinstance(body, ErrorTxn) and self._is_refused(call, body.err):
            return self._applied(header, body), b""
        if call.op == Op.MULTI:
            return self._judge_multi(call, header, body)
        if call.op == Op.CLOSE_SESSION:
            _same(header, "type", header.type, Op.CLOSE_SESSION)
            return self._applied(header, body), b""
        if call.op == Op.RECONFIG:
            return self._judge_reconfig(call, header, body)
        try:
            type_, wanted = plan(View(self.model), call)
        except Refused as refused:
            type_, wanted = Op.ERROR, ErrorTxn(refused.code)
        if body == ErrorTxn(Code.QUOTA_EXCEEDED) and self._may_exceed(call):
            type_, wanted = Op.ERROR, body
        _same(header, str(call), (header.type, body), (type_, wanted))
        err = self._applied(header, body)
        return err, b"" if err else write_reply(self.model, call.op, body)

    def _judge_multi(self, call: Call, header: TxnHeader, body: TxnBody | None) -> tuple[int, bytes]:
        wanted, codes = plan_multi(self.model, call)
        if not isinstance(body, MultiTxn):
            raise Violation(f"0x{header.zxid:x}: {call} became {body}")
        parts = [(sub.type, decode_sub_txn(sub)) for sub in body.txns or ()]
        failed = [part.err for _, part in parts if isinstance(part, ErrorTxn)]
        if Code.QUOTA_EXCEEDED in failed and any(map(self._may_exceed, call.subs)):
            codes = failed
        _same(header, str(call), parts, [(Op.ERROR, ErrorTxn(code)) for code in codes] if codes else wanted)
        ops = iter(call.subs)
        replies: list[tuple[int, bytes]] = []

        def on_part(part: TxnBody) -> None:
            op = next(ops).op
            replies.append((op, write_reply(self.model, op, part)))

        self._applied(header, body, on_part)
        return 0, multi_reply(replies, codes)

    def _judge_reconfig(self, call: Call, header: TxnHeader, body: TxnBody | None) -> tuple[int, bytes]:
        """The new membership as text; whether there may be one now, the leader knows."""
        if isinstance(body, ErrorTxn) and body.err in _NO_RECONFIG:
            return self._applied(header, body), b""
        assert call.config is not None
        text = call.config.with_version(header.zxid).text().encode()
        _same(header, str(call), (header.type, body), (Op.RECONFIG, SetDataTxn(CONFIG, text, -1)))
        self._applied(header, body)
        return 0, pack_buffer(text) + self.model.stat(CONFIG)

    def _is_refused(self, call: Call, code: int) -> bool:
        """Whether a request may have been refused with ``code``, whatever it asks for. May raise Violation."""
        return False

    def _may_exceed(self, call: Call) -> bool:
        """Quotas count what was committed when the request came, which the log does not tell."""
        return self._enforce_quota and (call.op in CREATES or call.op == Op.SET_DATA)

    def _applied(
        self, header: TxnHeader, body: TxnBody | None, on_part: Callable[[TxnBody], None] = lambda part: None
    ) -> int:
        try:
            self.model.apply(header, body, on_part)
        except ModelError as error:
            raise Violation(f"0x{header.zxid:x}: {error}") from error
        return body.err if isinstance(body, ErrorTxn) else 0

    def _judge_own(self, header: TxnHeader, body: TxnBody | None) -> None:
        """An entry that no client asked for must be one that the server makes by itself, when it is due."""
        model = self.model
        if isinstance(body, CreateSessionTxn):
            if header.session_id in model.sessions:
                raise Violation(f"session {header.session_id:x} is created again")
            self._created[header.session_id] = header.zxid
        elif isinstance(body, DeleteTxn) and header.type == Op.DELETE_CONTAINER:
            node = model.nodes.get(body.path or b"")
            if node is None:
                raise Violation(f"0x{header.zxid:x}: {body.path!r} is swept and does not exist")
            ttl = node.owner & TTL_MS_MAX
            if node.owner >= 0 or (node.owner != CONTAINER_OWNER and header.time_ms - node.mtime < ttl):
                raise Violation(f"0x{header.zxid:x}: {body.path!r} is swept before its time")
        elif header.type == Op.CLOSE_SESSION:
            self._check_silence(header.session_id, "expires")
        elif header.type != Op.ERROR:
            raise Violation(f"0x{header.zxid:x}: nobody asked for {header} {body}")

    # -- clients

    def attaching(self, session_id: int) -> None:
        """A client takes its session to a server; 0: it wants one."""
        self.moved[session_id] = self._clock()

    # -- replies

    def write_acked(self, call: Call, zxid: int, err: int, body: bytes) -> None:
        """The reply to a write has come."""
        self.catch_up()
        entry = self.logged.get(zxid)
        if entry is None:
            raise Violation(f"{call} was acknowledged at 0x{zxid:x}, which is not in the log")
        if (entry.header.session_id, entry.header.cxid) != (call.session_id, call.xid):
            raise Violation(f"{call} was acknowledged at 0x{zxid:x}, where the log has {entry.header}")
        _same(entry.header, f"reply to {call}", (err, body), (entry.err, entry.reply))
        if zxid <= call.acked_before:
            raise Violation(f"{call} is 0x{zxid:x}, 0x{call.acked_before:x} was acknowledged before it was sent")
        self.acked = max(self.acked, zxid)
        self.acked_writes += 1

    def refused_early(self, call: Call, err: int) -> None:
        """A write was refused without a transaction: it must have lacked a right in a tree its client may be shown."""
        if not self.checks_early:
            raise Violation(f"{call} was refused with {err}, and no transaction says so")
        self.catch_up()
        if not may_refuse_early(self.model, call, err):
            raise Violation(f"{call} was refused with {err} before it went anywhere, and it has the right")
        # It must not be done all the same.
        del self.calls[call.session_id, call.xid]

    def session_acked(self, session_id: int) -> None:
        """A client was told that it has a session."""
        self.catch_up()
        if session_id not in self._created:
            raise Violation(f"session {session_id:x} was given out and is not in the log")
        self.acked = max(self.acked, self._created[session_id])

    def session_refused(self, session_id: int) -> None:
        """A client was told that its session is gone: it is, or it was silent for too long and is about to be."""
        self.catch_up()
        if session_id in self.model.sessions:
            self._check_silence(session_id, "is refused")

    def _check_silence(self, session_id: int, what: str) -> None:
        """A session may end by itself only when its client has said nothing for its whole timeout."""
        if session_id in self.closing:
            return
        silence = self._clock() - self.touched.get(session_id, (-1e9, 0))[0]
        if silence < self.touched.get(session_id, (0.0, 0))[1] / 1000:
            raise Violation(f"session {session_id:x} {what} {silence:.3f} s after its last request")

    def seen(self, zxid: int) -> None:
        """A client was told that the server is at ``zxid``."""
        if zxid > self.model.zxid:
            self.catch_up()
            if zxid > self.model.zxid:
                raise Violation(f"the server says it is at 0x{zxid:x}, its log is at 0x{self.model.zxid:x}")
        self.acked = max(self.acked, zxid)

    def read_answered(self, call: Call, zxid: int, err: int, body: bytes) -> None:
        """The reply to a read has come."""
        self.reads += 1
        try:
            wanted = (0, read_reply(self.model, call, zxid))
        except Refused as refused:
            wanted = (refused.code, b"")
        found = (err, sorted_children(call.op, body) if err == 0 else body)
        if (call.path.endswith(_STATS) or call.path == CONFIG) and err == 0 and wanted[0] == 0:
            return  # every server keeps their data by itself
        if found != wanted:
            raise Violation(f"{call} at 0x{zxid:x}: {difference(found, wanted)}")


def _same(header: TxnHeader, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Violation(f"0x{header.zxid:x}: {what}: {difference(found, wanted)}")
