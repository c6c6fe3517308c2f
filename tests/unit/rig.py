"""A standalone server without sockets, disk or clock: connections get bytes by hand and give bytes back.

Everything between ``data_received`` and ``transport.write`` is the production code; the log is a list.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from struct import pack, unpack_from

from zabra.auth.access import Enforcement
from zabra.auth.registry import build_registry
from zabra.auth.rights import Rights
from zabra.config.model import Settings
from zabra.frontend.attach import Attach
from zabra.frontend.connection import Connection
from zabra.frontend.gate import Gate
from zabra.frontend.hub import Hub
from zabra.frontend.limits import ConnectionLimits, ConnectionThrottle
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats
from zabra.pipeline.commit import Commit
from zabra.pipeline.persist import Persist
from zabra.pipeline.prep import Prep
from zabra.pipeline.reads import Reads
from zabra.pipeline.standalone import Pipeline
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


class FakeScheduler:
    """Runs what was scheduled when asked to."""

    def __init__(self) -> None:
        self.ready: deque[Callable[[], object]] = deque()

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        self.ready.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        self.call_soon(callback, *args)

    def run(self) -> None:
        while self.ready:
            self.ready.popleft()()


class FakeBatch:
    """Entries of one write."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.size = sum(map(len, entries))


class FakeLog:
    """A log writer that keeps payloads; ``broken`` makes the next write fail."""

    def __init__(self) -> None:
        self.appended: list[bytes] = []
        self.durable: list[bytes] = []
        self.broken = False
        self.needs_fill = False

    def append(self, payload: bytes) -> None:
        self.appended.append(payload)

    def take(self) -> FakeBatch:
        taken, self.appended = self.appended, []
        return FakeBatch(taken)

    def write(self, batch: FakeBatch) -> None:
        if self.broken:
            raise OSError(28, "no space left")
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
    """Keeps what is written."""

    def __init__(self, address: tuple[str, int] = ("127.0.0.1", 4000)) -> None:
        super().__init__({"peername": address})
        self.written = bytearray()
        self.closed = False
        self.reading = True
        self.unsent = 0

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.closed, "a write after close"
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

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


class Client:
    """The far end of one connection."""

    def __init__(self, rig: Rig, address: str = "127.0.0.1") -> None:
        self.rig = rig
        self.transport = FakeTransport((address, 4000 + len(rig.clients)))
        self.connection = Connection(rig.hub)
        self.connection.connection_made(self.transport)
        self.xid = 0
        self.session_id = 0
        self.password = b""
        rig.clients.append(self)

    def send(self, data: bytes, run: bool = True) -> None:
        self.connection.data_received(data)
        if run:
            self.rig.run()

    def connect(
        self, timeout_ms: int = 10000, session_id: int = 0, password: bytes = bytes(16), last_zxid: int = 0
    ) -> tuple[int, int]:
        self.send(encode_connect(ConnectRequest(0, last_zxid, timeout_ms, session_id, password, False, True)))
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

    def call(self, op: int, body: bytes = b"") -> tuple[int, bytes]:
        """One request: its error code and body. Events before the reply are dropped."""
        xid = self.request(op, body)
        frame = next(frame for frame in self.take() if unpack_from(">i", frame)[0] == xid)
        return unpack_from(">i", frame, 12)[0], frame[16:]


class Rig:
    """The server around a tree of its own."""

    def __init__(self, **more: object) -> None:
        settings = Settings(data_dir="/nowhere", **more)  # type: ignore[arg-type]
        self.settings = settings
        self.clock = FakeClock()
        self.scheduler = FakeScheduler()
        self.log = FakeLog()
        self.worker = FakeWorker()
        self.clients: list[Client] = []
        self.fatal: list[str] = []
        self.tree = DataTree(OwnerRules(extended=settings.extended_types_enabled))
        self.sessions = SessionTracker(1, settings.tick_time_ms, 1_000_000)
        stats = self.stats = ServerStats(Metrics())
        registry = build_registry(settings)
        rights = Rights(registry, skip_acl=settings.skip_acl)
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
            self.log,  # type: ignore[arg-type]
            self.worker,
            self.worker,
            self.clock,
            self.scheduler,
            self.hub.commit_turn,
            lambda what, error: self.fatal.append(what),
            stats,
        )
        self.prep = Prep(
            self.tree,
            rights,
            self.persist.propose,
            enforce_quota=settings.enforce_quota,
            limit=settings.jute_max_buffer * 2,
        )
        commit = Commit(self.tree, self.prep.pending, self.sessions)
        self.pipeline = Pipeline(self.prep, self.persist, commit, self.sessions, self.clock)
        attach = Attach(self.hub, ConnectionThrottle(settings, ZeroRandom(), 0))
        self.tree.deliver = self.hub.deliver
        self.hub.run(self.pipeline, Reads(self.tree, rights, settings.jute_max_buffer * 2), attach, self.tree)

    def run(self) -> None:
        self.scheduler.run()

    def client(self, **more: object) -> Client:
        client = Client(self)
        client.connect(**more)  # type: ignore[arg-type]
        return client


def path(text: str) -> bytes:
    return pack_buffer(text.encode())


def create_body(
    name: str, data: bytes | None = b"", flags: int = 0, acl: tuple[tuple[int, str, str], ...] = OPEN
) -> bytes:
    entries = b"".join(pack(">i", perms) + path(scheme) + path(id_) for perms, scheme, id_ in acl)
    return path(name) + pack_buffer(data) + pack(">i", len(acl)) + entries + pack(">i", flags)
