"""The checker of one server: reads its log as bytes on the disk, and holds every reply against it.

Nothing of the server's own pipeline is used. The log is followed entry by entry; each must be what some request asked
for, given the tree it meets, or a transaction of the server's own that was due. A reply must say what the log says at
its zxid; a read must show the tree of the zxid it names. After a crash the log may have lost entries that nobody was
told about, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple
from zlib import adler32

from zabra.consts import CONTAINER_OWNER, TTL_MS_MAX, Op
from zabra.errors import Code
from zabra.sim.calls import CREATES, Call
from zabra.sim.disk import MachineDisk
from zabra.sim.expect import Refused, View, multi_reply, plan, plan_multi, read_reply, sorted_children, write_reply
from zabra.sim.model import Model, ModelError
from zabra.sim.violation import Violation, difference
from zabra.wire.records_txn import CreateSessionTxn, DeleteTxn, ErrorTxn, MultiTxn
from zabra.wire.txns import TxnBody, TxnHeader, decode_sub_txn, decode_txn

_ENTRY: Final = Struct(">qi")
_FILE_HEADER: Final = 16
_STATS: Final = b"/zookeeper_stats"


class Logged(NamedTuple):
    """One entry of the log, and what the reply to its request must be."""

    payload: bytes
    header: TxnHeader
    err: int
    reply: bytes


class LogTap:
    """Follows the log files of a folder by their bytes."""

    def __init__(self, disk: MachineDisk, folder: str) -> None:
        self._disk = disk
        self._folder = folder
        self._path = ""
        self._offset = 0

    def files(self) -> list[str]:
        """Paths of the logs, oldest first."""
        prefix = f"{self._folder}/log."
        return sorted(
            (path for path in self._disk.names if path.startswith(prefix)),
            key=lambda path: int(path[len(prefix) :], 16),
        )

    def restart(self) -> None:
        """Begin with the first file again."""
        self._path = ""
        self._offset = 0

    def new_entries(self) -> list[bytes]:
        """The payloads that were added since the last call."""
        found: list[bytes] = []
        files = self.files()
        if self._path in files:
            files = files[files.index(self._path) :]
        for path in files:
            if path != self._path:
                self._path = path
                self._offset = _FILE_HEADER
            data = self._disk.names[path].data
            while (payload := _entry_at(data, self._offset)) is not None:
                found.append(payload)
                self._offset += _ENTRY.size + len(payload) + 1
        return found

    def check_tails(self) -> None:
        """Behind the last entry of each file is nothing: what a crash left there was cut off, Apache can read on."""
        for path in self.files():
            data = self._disk.names[path].data
            at = _FILE_HEADER
            while (payload := _entry_at(data, at)) is not None:
                at += _ENTRY.size + len(payload) + 1
            if data.count(0, at) != len(data) - at:
                raise Violation(f"{path} has the remains of a write at {at}")


def _entry_at(data: bytearray, at: int) -> bytes | None:
    """The payload of a whole entry, or None."""
    if at + _ENTRY.size > len(data):
        return None
    checksum, length = _ENTRY.unpack_from(data, at)
    start = at + _ENTRY.size
    payload = bytes(data[start : start + length])
    if (
        length <= 0
        or len(payload) < length
        or adler32(payload) != checksum
        or data[start + length : start + length + 1] != b"B"
    ):
        return None
    return payload


class Oracle:
    """Knows every request sent and every entry logged. Raises Violation."""

    def __init__(self, tap: LogTap, clock: Callable[[], float], *, enforce_quota: bool = False) -> None:
        """``clock`` gives the virtual second."""
        self._clock = clock
        self.model = Model()
        self.tap = tap
        self.logged: dict[int, Logged] = {}
        #: The newest zxid that a client was told as the outcome of its write.
        self.acked = 0
        #: Requests by (session, xid) that may still show up in the log.
        self.calls: dict[tuple[int, int], Call] = {}
        self._enforce_quota = enforce_quota
        #: (session, xid) of every logged request -> its zxid.
        self._seen: dict[tuple[int, int], int] = {}
        #: Session -> zxid of its creation, those that have ended included.
        self._created: dict[int, int] = {}
        #: Sessions that clients were told of -> when the last request that was answered had been sent, and timeout ms.
        self.touched: dict[int, tuple[float, int]] = {}
        #: Sessions whose client has asked for their end.
        self.closing: set[int] = set()
        self.acked_writes = 0
        self.reads = 0

    # -- the log

    def catch_up(self) -> None:
        """Read what is new in the log."""
        for payload in self.tap.new_entries():
            self._entry(payload)

    def _entry(self, payload: bytes) -> None:
        header, body, digest = decode_txn(payload)
        zxid = header.zxid
        if zxid <= self.model.zxid:
            known = self.logged.get(zxid)
            if known is not None and known.payload != payload:
                raise Violation(f"log entry 0x{zxid:x} has changed")
            return
        if zxid != self.model.zxid + 1:
            raise Violation(f"log entry 0x{zxid:x} follows 0x{self.model.zxid:x}")
        err, reply = self._judge(header, body)
        if digest is not None and digest.digest != self.model.digest:
            raise Violation(f"digest of 0x{zxid:x} is {digest.digest:x}, the tree has {self.model.digest:x}")
        self.logged[zxid] = Logged(payload, header, err, reply)

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
        if call.op == Op.MULTI:
            return self._judge_multi(call, header, body)
        if call.op == Op.CLOSE_SESSION:
            _same(header, "type", header.type, Op.CLOSE_SESSION)
            return self._applied(header, body), b""
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
        self.acked = max(self.acked, zxid)
        self.acked_writes += 1

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
        if call.path.endswith(_STATS) and err == 0 and wanted[0] == 0:
            return  # every server keeps their data by itself
        if found != wanted:
            raise Violation(f"{call} at 0x{zxid:x}: {difference(found, wanted)}")

    # -- crashes

    def restarted(self, zxid: int) -> None:
        """A server has recovered up to ``zxid``: whatever was acknowledged is there, the rest is whole or absent."""
        if zxid < self.acked:
            raise Violation(f"0x{self.acked:x} was acknowledged, after the restart the server is at 0x{zxid:x}")
        if zxid > self.model.zxid:
            raise Violation(f"after the restart the server is at 0x{zxid:x}, the log was at 0x{self.model.zxid:x}")
        for lost in range(zxid + 1, self.model.zxid + 1):
            entry = self.logged.pop(lost)
            self._seen.pop((entry.header.session_id, entry.header.cxid), None)
            if entry.header.type == Op.CREATE_SESSION:
                del self._created[entry.header.session_id]
        self.model.rollback(zxid)
        self.tap.check_tails()
        self.tap.restart()
        self.catch_up()
        if self.model.zxid != zxid:
            raise Violation(f"after the restart the server is at 0x{zxid:x}, its log at 0x{self.model.zxid:x}")


def _same(header: TxnHeader, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Violation(f"0x{header.zxid:x}: {what}: {difference(found, wanted)}")
