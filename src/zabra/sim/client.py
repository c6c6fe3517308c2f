"""A ZooKeeper client: one session at a time, the real wire protocol, and a check of everything that comes back."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, cast

from zabra.consts import Op, Xid
from zabra.errors import Code
from zabra.sim.calls import WRITES, Call
from zabra.sim.history import History
from zabra.sim.judge import Judge
from zabra.sim.loop import SimHandle, SimLoop
from zabra.sim.network import SimTransport
from zabra.sim.violation import Violation
from zabra.sim.watchbook import CONFIG, ONE_SHOT, PERSISTENT, RECURSIVE, WatchBook
from zabra.wire.frames import FrameBuffer
from zabra.wire.handshake import ConnectRequest, encode_connect
from zabra.wire.primitives import Reader
from zabra.wire.records_data import Identity
from zabra.wire.records_proto import AuthPacket, ConnectResponse, SetWatches2, WatcherEvent

_REPLY: Final = Struct(">iqi")
_READS: Final = (
    *(Op.GET_DATA, Op.EXISTS, Op.GET_CHILDREN, Op.GET_CHILDREN2, Op.GET_ACL),
    *(Op.GET_EPHEMERALS, Op.GET_ALL_CHILDREN_NUMBER, Op.MULTI_READ),
)

#: What a write may be refused with before it goes to the leader, with no zxid then.
_EARLY: Final = (Code.NO_AUTH, Code.INVALID_ACL)

DOWN: Final = "down"
DIALING: Final = "dialing"
GREETING: Final = "greeting"
UP: Final = "up"
ENDING: Final = "ending"


class SimClient(asyncio.Protocol):
    """Connects, keeps its session, asks what it is told to; a Violation goes to ``fail``."""

    def __init__(
        self,
        name: str,
        loop: SimLoop,
        rng: random.Random,
        oracle: Judge,
        fail: Callable[[str], None],
        *,
        timeout_ms: int,
        auth: tuple[bytes, Identity] | None = None,
        servers: Sequence[tuple[str, int]] = (("10.0.0.1", 2181),),
    ) -> None:
        """``name`` is the address of its machine; it tries one of the ``servers`` after the other."""
        self.name = name
        self.state = DOWN
        self.session_id = 0
        self.timeout_ms = timeout_ms
        #: Told after each reply, and when the client may ask again.
        self.on_reply: Callable[[Call], None] = lambda call: None
        self.on_up: Callable[[], None] = lambda: None
        #: Sessions that expired under this client.
        self.expired = 0
        #: Replies so far, and those of them to writes.
        self.answered = 0
        self.written = 0
        #: It has fallen silent for good.
        self.stopped = False
        self.book = WatchBook(oracle.model)
        #: Keeps what was asked and answered, with the times.
        self.history: History | None = None
        self.pending: deque[Call] = deque()
        self._loop = loop
        self._rng = rng
        self._oracle = oracle
        self._fail = fail
        self._wanted_timeout_ms = timeout_ms
        #: A client from before 3.4 sends no readOnly byte and is sent none.
        self._is_old = rng.random() < 0.2
        self._auth = auth
        self._servers = servers
        self._next_server = 0
        self._password = bytes(16)
        self._transport: SimTransport | None = None
        self._frames = FrameBuffer(1 << 24)
        self._xid = 0
        self._last_zxid = 0
        self._heard_at = 0.0
        self._sent_at = 0.0
        self._timer: SimHandle | None = None
        self._identities: tuple[Identity, ...] = (("ip", name),)
        self._missed: list[tuple[int, bytes]] = []
        #: Watches to arm again, as they were when the connection broke.
        self._old_watches: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})

    # -- the connection

    def start(self) -> None:
        """Connect, and again whenever the connection is lost."""
        self._dial()

    def stop(self) -> None:
        """Fall silent without a word, as a machine that lost its power."""
        self.stopped = True
        if self._transport is not None and self.state != DOWN:
            self._loop.network.cut(self._transport, "silent")
        self._drop()

    def _dial(self) -> None:
        if self.state == DOWN and not self.stopped:
            self.state = DIALING
            self._loop.create_task(self._connect(), name=self.name)

    async def _connect(self) -> None:
        server = self._servers[self._next_server % len(self._servers)]
        self._next_server += 1
        try:
            await self._loop.create_connection(lambda: self, *server, local_addr=(self.name, 0))
        except OSError as error:
            self._loop.trace.add("client", self.name, "no connection", type(error).__name__)
            self.state = DOWN
            self._later(self._rng.random() * self.timeout_ms / 4000, self._dial)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(SimTransport, transport)
        if self.stopped:
            self._transport.abort()
            return
        self.state = GREETING
        self._frames = FrameBuffer(1 << 24)
        self._heard_at = self._sent_at = self._loop.now
        request = ConnectRequest(
            0, self._last_zxid, self._wanted_timeout_ms, self.session_id, self._password, False, not self._is_old
        )
        self._oracle.attaching(self.session_id)
        self._transport.write(encode_connect(request))
        self._later(self.timeout_ms / 3000, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.state != DOWN:
            self._loop.trace.add("client", self.name, "lost", len(self.pending))
            self._drop()

    def _drop(self) -> None:
        """What was not answered has an unknown outcome."""
        transport, self._transport = self._transport, None
        self.state = DOWN
        if self.history is not None:
            self.history.lost(self.name)
        self.pending.clear()
        if self.book.data or self.book.child:
            self._old_watches = (dict(self.book.data), dict(self.book.child))
            self.book.begin(self._last_zxid)
        if transport is not None:
            transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        if not self.stopped:
            self._later(self._rng.random() * self.timeout_ms / 2000, self._dial)

    def _later(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback)

    def _tick(self) -> None:
        """Ping when idle, give up on a server that says nothing."""
        now = self._loop.now
        if now - self._heard_at > self.timeout_ms / 1500:
            self._loop.trace.add("client", self.name, "gives up")
            self._drop()
            return
        if self.state == UP and now - self._sent_at > self.timeout_ms / 4000:
            self._send(Call(Op.PING), Xid.PING)
        self._later(self.timeout_ms / 6000, self._tick)

    # -- asking

    @property
    def up(self) -> bool:
        """Whether :meth:`ask` may be called."""
        return self.state == UP

    def ask(self, call: Call) -> None:
        """Send a request."""
        self._xid += 1
        self._send(call, self._xid)
        if call.op == Op.CLOSE_SESSION:
            self.state = ENDING
            self._oracle.closing.add(self.session_id)

    def _send(self, call: Call, xid: int) -> None:
        call.xid = xid
        call.session_id = self.session_id
        call.identities = self._identities
        call.sent_at = self._sent_at = self._loop.now
        call.acked_before = self._oracle.acked
        call.seen_before = self._last_zxid
        if call.op in WRITES:
            self._oracle.calls[self.session_id, xid] = call
        if self.history is not None:
            self.history.asked(self.name, call)
        self.pending.append(call)
        self._loop.trace.add("ask", self.name, str(call))
        assert self._transport is not None
        self._transport.write(call.encode())

    # -- what comes back

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.now
        try:
            for frame in self._frames.feed(data):
                if self.state == DOWN:
                    return
                if self.state == GREETING:
                    self._greeted(frame)
                else:
                    self._reply(frame)
        except Violation as violation:
            self._fail(f"{self.name}: {violation}")

    def _greeted(self, frame: bytes) -> None:
        if len(frame) != (36 if self._is_old else 37):
            raise Violation(f"a connect response of {len(frame)} bytes")
        response = ConnectResponse.decode(Reader(frame + b"\0" if self._is_old else frame))
        self._loop.trace.add("client", self.name, "session", response.session_id, response.timeout_ms)
        oracle = self._oracle
        if response.session_id == 0:
            oracle.session_refused(self.session_id)
            self._session_over()
            self._drop()
            return
        if self.session_id not in (0, response.session_id):
            raise Violation(f"asked for session {self.session_id:x}, got {response.session_id:x}")
        oracle.session_acked(response.session_id)
        self.session_id = response.session_id
        self._password = response.password or b""
        self.timeout_ms = response.timeout_ms
        oracle.touched[self.session_id] = (self._sent_at, self.timeout_ms)
        self.state = UP
        self._identities = (("ip", self.name),)
        self.book.begin(self._last_zxid)
        if self._auth is not None:
            packet = AuthPacket(0, "digest", self._auth[0])
            self._identities = (("ip", self.name), self._auth[1])
            self._send(Call(Op.AUTH, raw=packet.encode()), Xid.AUTH)
        data, child = self._old_watches
        if data or child:
            self._rearm(data, child)
        self.on_up()

    def _rearm(self, data: dict[bytes, int], child: dict[bytes, int]) -> None:
        """setWatches2 with the lists that the Java client would send."""
        model = self._oracle.model
        one_shot = [path for path, bits in data.items() if bits & ONE_SHOT]
        exists = [path for path in one_shot if model.node_at(path, self._last_zxid) is None]
        request = SetWatches2(
            self._last_zxid,
            tuple(path for path in one_shot if path not in exists),
            tuple(exists),
            tuple(path for path, bits in child.items() if bits & ONE_SHOT),
            tuple(path for path, bits in child.items() if bits & PERSISTENT),
            tuple(path for path, bits in data.items() if bits & RECURSIVE),
        )
        self._missed = []
        self._send(Call(Op.SET_WATCHES2, raw=request.encode()), Xid.SET_WATCHES)
        self._rearming = request

    def _session_over(self) -> None:
        """The session is gone; the next connection begins a new one."""
        self.expired += 1
        self._oracle.touched.pop(self.session_id, None)
        self.session_id = 0
        self._password = bytes(16)
        self._old_watches = ({}, {})
        self.book.begin(self._last_zxid)

    def _reply(self, frame: bytes) -> None:
        xid, zxid, err = _REPLY.unpack_from(frame)
        body = frame[_REPLY.size :]
        if xid == Xid.NOTIFICATION:
            self._event(zxid, WatcherEvent.decode(Reader(body)))
            return
        self._loop.trace.add("reply", self.name, xid, zxid, err, len(body))
        if not self.pending or self.pending[0].xid != xid:
            raise Violation(f"reply to {xid}, expected that to {self.pending[0] if self.pending else None}")
        call = self.pending.popleft()
        oracle = self._oracle
        early = zxid == 0 and err in _EARLY and call.op in WRITES
        if zxid < self._last_zxid and call.op != Op.AUTH and not early:
            raise Violation(f"{call}: the zxid goes back from 0x{self._last_zxid:x} to 0x{zxid:x}")
        oracle.touched[self.session_id] = (call.sent_at, self.timeout_ms)
        self.answered += 1
        call.err = err
        call.zxid = zxid
        call.body = body
        if self.history is not None:
            self.history.answered(self.name, call, err, body)
        if call.op == Op.AUTH:
            if err:
                raise Violation(f"authentication failed with {err}")
            return
        if early:
            oracle.refused_early(call, err)
            self.on_reply(call)
            return
        oracle.seen(zxid)
        self._last_zxid = zxid
        self.book.advance(zxid, self._identities)
        if self.book.owed:
            raise Violation(f"{call} shows 0x{zxid:x} before the event {self.book.owed[0]}")
        if call.op in WRITES:
            self.written += 1
            oracle.write_acked(call, zxid, err, body)
        elif call.op in _READS:
            oracle.read_answered(call, zxid, err, body)
            if call.watch and (err == 0 or (call.op == Op.EXISTS and err == Code.NO_NODE)):
                self.book.register(call)
        elif call.op == Op.ADD_WATCH or (call.op == Op.REMOVE_WATCHES and err == 0):
            self.book.register(call)
        elif call.op == Op.REMOVE_WATCHES and self.book.has(call.path):
            raise Violation(f"{call}: answered {err}, there is a watch")
        elif call.op == Op.SET_WATCHES2:
            self._rearmed(zxid)
        if call.op == Op.CLOSE_SESSION:
            self._session_over()
            self._drop()
        self.on_reply(call)

    def _event(self, zxid: int, event: WatcherEvent) -> None:
        path = event.path or b""
        self._loop.trace.add("event", self.name, zxid, event.type, path)
        if zxid == -1:
            self._missed.append((event.type, path))
            return
        if path == CONFIG:
            return
        self._oracle.seen(zxid)
        self.book.advance(zxid, self._identities)
        self.book.received(zxid, event.type, path)
        self._last_zxid = zxid

    def _rearmed(self, zxid: int) -> None:
        """Every change since the last zxid seen must have been told, each other watch is armed again."""
        model = self._oracle.model
        request = self._rearming
        since = request.relative_zxid
        book = self.book
        missed: list[tuple[int, bytes]] = []
        for paths, table, is_child in (
            (request.data_watches, book.data, False),
            (request.exist_watches, book.data, False),
            (request.child_watches, book.child, True),
        ):
            for path in cast(tuple[bytes, ...], paths):
                node = model.node_at(path, zxid)
                exist = paths is request.exist_watches and paths is not request.data_watches
                if exist:
                    event = 1 if node is not None else 0
                elif node is None:
                    event = 2
                elif is_child:
                    event = 4 if node.pzxid > since else 0
                else:
                    event = 3 if node.mzxid > since else 0
                if event:
                    missed.append((event, path))
                else:
                    table[path] = table.get(path, 0) | ONE_SHOT
        for path in cast(tuple[bytes, ...], request.persistent_watches):
            book.data[path] = book.data.get(path, 0) | PERSISTENT
            book.child[path] = book.child.get(path, 0) | PERSISTENT
        for path in cast(tuple[bytes, ...], request.persistent_recursive_watches):
            book.data[path] = book.data.get(path, 0) | RECURSIVE
        if self._missed != missed:
            raise Violation(f"events missed since 0x{since:x}: told {self._missed}, expected {missed}")
        self._old_watches = ({}, {})
