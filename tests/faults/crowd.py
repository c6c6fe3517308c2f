"""Sessions that read and write through all servers of an ensemble, each going on elsewhere when its server fails it."""

from __future__ import annotations

import asyncio
import random
import struct
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final

from compat import jute
from compat.rawclient import Client
from compat.servers import LOOPBACK
from faults.history import CREATE, READ, SET, SYNCED, Call, Found

#: Registers that all sessions write.
REGISTERS: Final = 4
#: Requests of one session on their way at once, and the pause between two, in seconds.
WINDOW: Final = 3
PAUSE_S: Final = 0.01


class Session:
    """One client. Raises nothing of what servers do; what is no answer of a server ends up in ``error``."""

    def __init__(self, root: str, number: int, ports: Sequence[int], timeout_ms: int, calls: list[Call]) -> None:
        self.number = number
        #: Where its nodes are.
        self.folder = f"{root}/f{number}"
        self.timeout_ms = timeout_ms
        #: Sessions that were over before their time.
        self.expired = 0
        #: Connections that had the session.
        self.connects = 0
        self.acknowledged = 0
        self._registers = registers_of(root)
        self._ports = ports
        self._calls = calls
        self._rng = random.Random(number)
        self._session = 0
        self._password = bytes(16)
        self._last_zxid = 0
        self._xid = 0
        self._count = 0
        self._turn = number
        #: What waits for an answer: xid, opcode, the call (None: not noted).
        self._waiting: deque[tuple[int, int, Call | None]] = deque()

    async def live(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then wait for the answers to what is on its way."""
        while not stop.is_set():
            port = self._ports[self._turn % len(self._ports)]
            self._turn += 1
            writer = None
            try:
                async with asyncio.timeout(self.timeout_ms / 3000):
                    reader, writer = await asyncio.open_connection(LOOPBACK, port)
                    await self._greet(reader, writer)
                self.connects += 1
                await self._work(reader, writer, stop)
            except (OSError, asyncio.IncompleteReadError):
                # In vain: another server may be better.
                await asyncio.sleep(0.05)
            finally:
                self._waiting.clear()
                if writer is not None:
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = jute.connect(
            session=self._session, password=self._password, timeout_ms=self.timeout_ms, last_zxid=self._last_zxid
        )
        writer.write(jute.frame(request))
        answer = jute.decode_handshake(await _frame(reader))
        if answer.session == 0:
            self.expired += 1
            self._session, self._password = 0, bytes(16)
            raise ConnectionError("the session has expired")
        assert answer.password is not None
        self._session, self._password = answer.session, answer.password

    async def _work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: asyncio.Event) -> None:
        silence = 2 * self.timeout_ms / 3000
        while not stop.is_set() or self._waiting:
            if not stop.is_set():
                while len(self._waiting) < WINDOW:
                    self._ask(writer)
            async with asyncio.timeout(silence):
                self._answered(await _frame(reader))
            await asyncio.sleep(PAUSE_S)

    def _ask(self, writer: asyncio.StreamWriter) -> None:
        """Send one more request."""
        rng = self._rng
        self._count += 1
        kind = rng.choices((SET, CREATE, READ, SYNCED), (4, 2, 3, 1))[0]
        place = self.folder if kind == CREATE else rng.choice(self._registers)
        value = f"{self.number}.{self._count}" if kind in (SET, CREATE) else ""
        call = Call(self.number, self._count, kind, place, value, time.monotonic())
        if kind == SET:
            self._send(writer, jute.SET_DATA, jute.set_data(place, value.encode(), -1), call)
        elif kind == CREATE:
            body = jute.create(f"{place}/{value}-", b"", jute.OPEN, 2)
            self._send(writer, jute.CREATE2, body, call)
        else:
            if kind == SYNCED:
                self._send(writer, jute.SYNC, jute.text(place), None)
            self._send(writer, jute.GET_DATA, jute.path_watch(place, False), call)
        self._calls.append(call)

    def _send(self, writer: asyncio.StreamWriter, opcode: int, body: bytes, call: Call | None) -> None:
        self._xid += 1
        self._waiting.append((self._xid, opcode, call))
        writer.write(jute.frame(jute.request(self._xid, opcode, body)))

    def _answered(self, payload: bytes) -> None:
        xid, opcode, call = self._waiting.popleft()
        told, zxid, err, body, _ = jute.decode_reply(payload, opcode)
        if (told, err) == (xid, -118):
            raise ConnectionError("the session has moved")
        assert (told, err) == (xid, 0), f"session {self.number}: {opcode} {xid} was answered {told} {err}"
        self._last_zxid = max(self._last_zxid, zxid)
        if call is None:
            return
        call.zxid = zxid
        stat = body if opcode == jute.SET_DATA else body[1]
        call.mzxid, call.version = stat.mzxid, stat.version
        if call.kind == CREATE:
            call.version = int(body[0].rpartition("-")[2])
        elif call.kind != SET:
            call.value = body[0].decode()
        call.ended = time.monotonic()
        self.acknowledged += 1


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


class Crowd:
    """Sessions in a thread of their own, from entering to leaving the context."""

    def __init__(self, root: str, ports: Sequence[int], sessions: int = 6, timeout_ms: int = 30_000) -> None:
        """``root``: a node that is not there yet. One of the servers must serve."""
        self.root = root
        self.calls: list[Call] = []
        self.sessions = [Session(root, number, ports, timeout_ms, self.calls) for number in range(sessions)]
        #: What is no fault of a server.
        self.error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Crowd:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def stop(self, limit_s: float = 60.0) -> None:
        """Let no more be asked, and wait for the answers."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(limit_s)
        assert not self._thread.is_alive(), "some session never gets its answers"
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        async def main() -> None:
            await asyncio.gather(*(session.live(self._stop) for session in self.sessions))

        try:
            self._loop.run_until_complete(main())
        except BaseException as error:
            self.error = error
        finally:
            self._loop.close()

    @property
    def acknowledged(self) -> int:
        """Calls that were answered."""
        return sum(session.acknowledged for session in self.sessions)

    @property
    def expired(self) -> int:
        """Sessions that were over before their time."""
        return sum(session.expired for session in self.sessions)

    def goes_on(self, since: float) -> bool:
        """Whether every session has had a write acknowledged that it sent after ``since`` (monotonic seconds)."""
        if self.error is not None:
            raise self.error
        missing = set(range(len(self.sessions)))
        for call in reversed(self.calls):
            if call.began < since:
                # They are in the order in which they were sent.
                break
            if call.acknowledged and call.kind in (SET, CREATE):
                missing.discard(call.session)
        return not missing

    def first_write_after(self, since: float) -> float | None:
        """Seconds from ``since`` until a write that was sent later was acknowledged."""
        ends = [c.ended for c in self.calls if c.kind in (SET, CREATE) and c.began >= since and c.ended is not None]
        return min(ends) - since if ends else None

    def prepare(self, port: int) -> None:
        """Make registers and folders."""
        with Client(port, timeout_ms=60_000) as client:
            for name in (self.root, *registers_of(self.root), *(session.folder for session in self.sessions)):
                err, _ = client.call(jute.CREATE, jute.create(name, b"", jute.OPEN, 0))
                assert err == 0, (name, err)
            client.close_session()

    def look(self, port: int) -> Found:
        """What there is, as one server shows it after a sync."""
        registers: dict[str, tuple[str, int, int]] = {}
        folders: dict[str, dict[str, int]] = {}
        with Client(port, 30.0, timeout_ms=60_000) as client:
            assert client.call(jute.SYNC, jute.text("/"))[0] == 0
            for name in registers_of(self.root):
                err, (data, stat) = client.call(jute.GET_DATA, jute.path_watch(name, False))
                assert err == 0
                registers[name] = (data.decode(), stat.mzxid, stat.version)
            for session in self.sessions:
                err, listing = client.call(jute.GET_CHILDREN2, jute.path_watch(session.folder, False))
                assert err == 0
                pairs = (name.rpartition("-") for name in listing[0][1])
                folders[session.folder] = {value: int(sequence) for value, _, sequence in pairs}
            client.close_session()
        return Found(registers, folders)


def registers_of(root: str) -> list[str]:
    """Paths of the registers."""
    return [f"{root}/r{number}" for number in range(REGISTERS)]
