"""A standalone server without sockets, disk or clock: connections get bytes by hand and give bytes back.

Everything between ``data_received`` and ``transport.write`` is the production code; the log is a list.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from struct import pack, unpack_from
from typing import NamedTuple
from unittest.mock import patch

from zabra.auth.access import Enforcement
from zabra.auth.registry import build_registry
from zabra.auth.rights import Rights
from zabra.config.model import Settings
from zabra.consts import Op
from zabra.frontend.attach import Attach
from zabra.frontend.connection import Connection
from zabra.frontend.gate import Gate
from zabra.frontend.guarded import new_connection
from zabra.frontend.hub import Hub
from zabra.frontend.limits import ConnectionLimits, ConnectionThrottle
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats
from zabra.pipeline.chores import Chores
from zabra.pipeline.commit import Commit
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.persist import Persist
from zabra.pipeline.prep import Prep
from zabra.pipeline.reads import Reads
from zabra.sessions.tracker import SessionTracker
from zabra.tree.owner import OwnerRules
from zabra.tree.tree import DataTree
from zabra.wire.handshake import ConnectRequest, encode_connect
from zabra.wire.primitives import pack_buffer

OPEN = ((31, "world", "anyone"),)


class FakeClock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = 1_700_000_000_000

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return self.wall


class FakeTimer:
    """What ``call_later`` returns."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeScheduler:
    """The loop: runs what is ready when asked to, and timers when time is moved."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ready: deque[Callable[[], object]] = deque()
        self.timers: list[tuple[float, int, FakeTimer, Callable[[], object]]] = []
        self._order = count()

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        self.ready.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> FakeTimer:
        timer = FakeTimer()
        when = self.clock.now + delay
        heapq.heappush(self.timers, (when, next(self._order), timer, lambda: callback(*args)))
        return timer

    def run(self) -> None:
        while self.ready:
            self.ready.popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks move, timers run when they are due."""
        end = self.clock.now + seconds
        wall = self.clock.wall - int(self.clock.now * 1000)
        self.run()
        while self.timers and self.timers[0][0] <= end:
            when, _, timer, callback = heapq.heappop(self.timers)
            self.clock.now = max(when, self.clock.now)
            self.clock.wall = wall + int(self.clock.now * 1000)
            if not timer.cancelled:
                callback()
                self.run()
        self.clock.now = end
        self.clock.wall = wall + int(end * 1000)


class FakeBatch:
    """Entries of one write."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.size = sum(map(len, entries))


class FakeLog:
    """A log writer that keeps payloads; ``broken`` makes writes fail, each takes ``seconds``."""

    def __init__(self, clock: FakeClock, seconds: float = 0.0) -> None:
        self.clock = clock
        self.seconds = seconds
        self.writes = 0
        self.appended: list[bytes] = []
        self.durable: list[bytes] = []
        self.broken = False
        self.needs_fill = False

    def append(self, payload: bytes) -> None:
        self.appended.append(payload)

    def extend(self, payloads: Iterable[bytes]) -> None:
        self.appended.extend(payloads)

    def take(self) -> FakeBatch:
        taken, self.appended = self.appended, []
        return FakeBatch(taken)

    def write(self, batch: FakeBatch) -> None:
        if self.broken:
            raise OSError(28, "no space left")
        self.clock.now += self.seconds
        self.writes += 1
        self.durable += batch.entries

    def fill_ahead(self) -> bool:
        return False


class FakeWorker:
    """Runs a job when the test says so."""

    def __init__(self) -> None:
        self.jobs: deque[tuple[Callable[[], object], Callable[[object, BaseException | None], None]]] = deque()

    def submit(self, job: Callable[[], object], done: Callable[[object, BaseException | None], None]) -> None:
        self.jobs.append((job, done))

    def step(self) -> None:
        job, done = self.jobs.popleft()
        try:
            result = job()
        except OSError as error:
            done(None, error)
        else:
            done(result, None)

    def close(self) -> None:
        pass


class FakeTransport(asyncio.Transport):
    """Keeps what is written. As in asyncio the end is told in the next turn, and a close waits for unsent bytes."""

    def __init__(self, rig: Rig, address: tuple[str, int] = ("127.0.0.1", 4000)) -> None:
        super().__init__({"peername": address})
        self.rig = rig
        self.protocol: Connection
        self.written = bytearray()
        self.closed = False
        self.reading = True
        self.unsent = 0
        self._lost = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.closed, "a write after close"
        self.written += data

    def close(self) -> None:
        self.closed = True
        if not self.unsent:
            self.lose()

    def abort(self) -> None:
        self.closed = True
        self.lose()

    def lose(self) -> None:
        """The connection is gone: by itself, or the other side cut it."""
        self.closed = True
        if not self._lost:
            self._lost = True
            self.rig.scheduler.call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class ZeroRandom:
    """Always the lowest."""

    def random(self) -> float:
        return 0.0

    def randrange(self, stop: int) -> int:
        return 0


class Reply(NamedTuple):
    """A frame with a reply header."""

    xid: int
    zxid: int
    err: int
    body: bytes


class Event(NamedTuple):
    """A watch event."""

    type: int
    path: bytes
    zxid: int


def reply_of(frame: bytes) -> Reply:
    return Reply(*unpack_from(">iqi", frame), frame[16:])


def event_of(reply: Reply) -> Event:
    """Take an event apart; its fixed fields must be right."""
    type_, state, size = unpack_from(">iii", reply.body)
    assert (reply.xid, reply.err, state, size) == (-1, 0, 3, len(reply.body) - 12)
    return Event(type_, reply.body[12:], reply.zxid)


class Client:
    """The far end of one connection."""

    def __init__(self, rig: Rig, address: str = "127.0.0.1") -> None:
        self.rig = rig
        self.transport = FakeTransport(rig, (address, 4000 + len(rig.clients)))
        self.connection = self.transport.protocol = new_connection(rig.hub)
        self.connection.connection_made(self.transport)
        self.xid = 0
        self.session_id = 0
        self.password = b""
        rig.clients.append(self)

    def cut(self) -> None:
        """The client vanishes."""
        self.transport.lose()
        self.rig.run()

    def send(self, data: bytes, run: bool = True) -> None:
        self.connection.data_received(data)
        if run:
            self.rig.run()

    def connect(
        self, timeout_ms: int = 10000, session_id: int = 0, password: bytes = bytes(16), last_zxid: int = 0
    ) -> tuple[int, int]:
        """Timeout and id of the session; both 0 when it was refused."""
        self.send(encode_connect(ConnectRequest(0, last_zxid, timeout_ms, session_id, password, False, True)))
        self.rig.work()
        reply = self.take()[0]
        _, timeout, self.session_id, size = unpack_from(">iiqi", reply)
        self.password = reply[20 : 20 + size]
        return timeout, self.session_id

    def request(self, op: int, body: bytes = b"", xid: int | None = None, run: bool = True) -> int:
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send(pack(">iii", 8 + len(body), xid, op) + body, run)
        return xid

    def request_together(self, requests: Iterable[tuple[int, bytes]]) -> None:
        """Several requests in one chunk."""
        first = self.xid + 1
        frames = [pack(">iii", 8 + len(body), xid, op) + body for xid, (op, body) in enumerate(requests, first)]
        self.xid += len(frames)
        self.send(b"".join(frames), run=False)

    def take(self) -> list[bytes]:
        """Whole frames received since the last call, without their length."""
        frames = []
        data = bytes(self.transport.written)
        self.transport.written.clear()
        while data:
            (size,) = unpack_from(">i", data)
            frames.append(data[4 : 4 + size])
            data = data[4 + size :]
        return frames

    def replies(self) -> list[Reply]:
        """Replies and events received since the last call."""
        return [reply_of(frame) for frame in self.take()]

    def events(self) -> list[Event]:
        """Events received since the last call; there must be nothing else."""
        return [event_of(reply) for reply in self.replies()]

    def call(self, op: int, body: bytes = b"") -> tuple[int, bytes]:
        """One request: its error code and body. Events before the reply are dropped."""
        reply = self.ask(op, body)
        return reply.err, reply.body

    def ask(self, op: int, body: bytes = b"") -> Reply:
        """One request and its reply. Events before the reply are dropped."""
        xid = self.request(op, body)
        self.rig.work()
        return next(reply for reply in self.replies() if reply.xid == xid)

    def error(self, op: int, body: bytes = b"") -> int:
        """The error code of one request; a refusal has no body."""
        reply = self.ask(op, body)
        assert reply.err == 0 or not reply.body
        return reply.err

    def auth(self, scheme: str, data: bytes) -> int:
        """Send an auth packet; its error code."""
        self.request(Op.AUTH, pack(">i", 0) + path(scheme) + pack_buffer(data), xid=-4)
        self.rig.work()
        reply = next(reply for reply in self.replies() if reply.xid == -4)
        assert reply.zxid == 0
        return reply.err


class Rig:
    """The server around a tree of its own. With ``sync_seconds`` the log soon goes to the worker.

    ``running`` False leaves the start to :meth:`Rig.start`. Everything else is a setting.
    """

    def __init__(self, sync_seconds: float = 0.0, running: bool = True, **more: object) -> None:
        settings = Settings(data_dir="/nowhere", **more)  # type: ignore[arg-type]
        self.settings = settings
        self.clock = FakeClock()
        self.scheduler = FakeScheduler(self.clock)
        self.log = FakeLog(self.clock, sync_seconds)
        self.worker = FakeWorker()
        self.clients: list[Client] = []
        self.fatal: list[str] = []
        self.tree = DataTree(
            OwnerRules(extended=settings.extended_types_enabled), digest_enabled=settings.digest_enabled
        )
        self.sessions = SessionTracker(1, settings.tick_time_ms, 1_000_000, {})
        stats = self.stats = ServerStats(Metrics())
        registry = build_registry(settings)
        rights = self.rights = Rights(registry, skip_acl=settings.skip_acl)
        gate = Gate(registry, Enforcement(settings, registry))
        gate.tree = self.tree
        self.hub = Hub(
            settings,
            self.clock,
            stats,
            ConnectionLimits(settings.max_cnxns, settings.max_client_cnxns),
            gate,
            rights,
            lambda word, extra: word.encode() + b"!",
            self.scheduler,
        )
        self.persist = Persist(
            settings,
            self.log,  # type: ignore[arg-type]
            self.worker,
            self.worker,
            self.clock,
            self.scheduler,
            self.hub.commit_turn,
            lambda what, error: self.fatal.append(what),
            stats,
        )
        self.prep = Prep(settings, self.tree, rights, self.persist.propose, limit=settings.jute_max_buffer * 2)
        commit = Commit(self.tree, self.prep.pending, self.sessions)
        self.pipeline = LocalPipeline(self.prep, self.persist, commit, self.sessions, self.clock)
        attach = Attach(self.hub, ConnectionThrottle(settings, ZeroRandom(), 0))
        self.tree.deliver = self.hub.deliver
        self._parts = (self.pipeline, Reads(self.tree, rights, settings.jute_max_buffer * 2), attach, self.tree)
        if running:
            self.start()

    def start(self) -> None:
        """RUNNING: what waited is served."""
        self.hub.prepare(*self._parts)
        self.hub.run()
        self.run()

    def start_chores(self) -> Chores:
        """Begin expiry and sweeps; :meth:`advance` runs them."""
        with patch("asyncio.get_running_loop", return_value=self.scheduler):
            chores = Chores(self.settings, self.pipeline, self.tree, self.clock, self.stats.metrics)
        chores.start()
        return chores

    def run(self) -> None:
        self.scheduler.run()

    def advance(self, seconds: float) -> None:
        """Let time pass, with the worker keeping up."""
        self.scheduler.advance(seconds)
        self.work()

    def work(self) -> None:
        """Finish what the worker has, and all that follows from it."""
        self.run()
        while self.worker.jobs:
            self.worker.step()
            self.run()

    def client(self, address: str = "127.0.0.1", **more: object) -> Client:
        """A client with a session of its own."""
        client = Client(self, address)
        client.connect(**more)  # type: ignore[arg-type]
        return client


def path(text: str) -> bytes:
    return pack_buffer(text.encode())


def paths_body(*names: str) -> bytes:
    """A vector of texts."""
    return pack(">i", len(names)) + b"".join(map(path, names))


def acl_body(acl: tuple[tuple[int, str, str], ...] | None) -> bytes:
    if acl is None:
        return pack(">i", -1)
    return pack(">i", len(acl)) + b"".join(pack(">i", perms) + path(scheme) + path(id_) for perms, scheme, id_ in acl)


def create_body(
    name: str, data: bytes | None = b"", flags: int = 0, acl: tuple[tuple[int, str, str], ...] | None = OPEN
) -> bytes:
    return path(name) + pack_buffer(data) + acl_body(acl) + pack(">i", flags)


def ttl_body(name: str, ttl_ms: int, flags: int = 5, data: bytes | None = b"") -> bytes:
    return create_body(name, data, flags) + pack(">q", ttl_ms)


def set_body(name: str, data: bytes | None = b"", version: int = -1) -> bytes:
    return path(name) + pack_buffer(data) + pack(">i", version)


def delete_body(name: str, version: int = -1) -> bytes:
    return path(name) + pack(">i", version)


def set_acl_body(name: str, acl: tuple[tuple[int, str, str], ...] | None = OPEN, version: int = -1) -> bytes:
    return path(name) + acl_body(acl) + pack(">i", version)


def watch_body(name: str, watch: bool = False) -> bytes:
    """exists, getData, getChildren, getChildren2."""
    return path(name) + pack(">?", watch)


def multi_body(*operations: tuple[int, bytes]) -> bytes:
    return b"".join(pack(">i?i", op, False, -1) + body for op, body in operations) + pack(">i?i", -1, True, -1)


class Stat(NamedTuple):
    """The client stat."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int
    length: int
    children: int
    pzxid: int


def stat_of(body: bytes) -> Stat:
    """The stat at the end of a body."""
    return Stat(*unpack_from(">qqqqiiiqiiq", body, len(body) - 68))
