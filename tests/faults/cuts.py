"""A network between the servers of an ensemble that can be cut: each reaches every other through a relay of its own.

The server lines of each server name, for all others, the ports of relays. What a cut holds up is kept, and delivered
once it is healed, as TCP does it. Who introduces itself on an election port tells where it can be dialled back; the
relay puts a port of a relay there.
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from compat.ensembles import Ensemble, Member
from compat.servers import LOOPBACK, free_port

_HEAD: Final = struct.Struct(">qqi")
_ONE_ADDRESS: Final = -65536

#: One direction: from one server to another.
Way = tuple[int, int]


class Cuts:
    """The relays of an ensemble, in a thread of their own. To be made before its servers start."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._members = ensemble.members
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        #: Whether bytes go this way.
        self._open: dict[Way, asyncio.Event] = {}
        #: Both ends of every connection -> who dialled whom.
        self._ways_of: dict[asyncio.StreamWriter, Way] = {}
        #: (who dials, whom) -> ports of the relay for quorum and election.
        self._ports: dict[Way, tuple[int, int]] = {}
        for one in self._members:
            for other in self._members:
                if one != other:
                    self._ports[one, other] = (free_port(), free_port())
                    self._open[one, other] = asyncio.Event()
                    self._open[one, other].set()
        for sid, member in self._members.items():
            member.lines = [self._line(sid, other) for other in self._members.values()]

    def _line(self, sid: int, other: Member) -> str:
        """The line of a server in the configuration of ``sid``."""
        line = other.line()
        if other.sid == sid:
            return line
        real = f"{LOOPBACK}:{other.quorum_port}:{other.election_port}:"
        quorum, election = self._ports[sid, other.sid]
        assert real in line
        return line.replace(real, f"{LOOPBACK}:{quorum}:{election}:")

    def __enter__(self) -> Cuts:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    # -- what tests do

    def hold(self, *ways: Way) -> None:
        """Nothing arrives that way any more; nobody is told."""
        self._call(self._set(ways, opened=False))

    def isolate(self, sid: int, *others: int) -> None:
        """Nothing goes between a server and these others, or all."""
        apart = [other for other in others or self._members if other != sid]
        self.hold(*((sid, other) for other in apart), *((other, sid) for other in apart))

    def reset(self, *ways: Way) -> None:
        """Connections that were dialled this way break, once."""
        self._call(self._reset(ways))

    def heal(self) -> None:
        """Everything arrives, also what was held up."""
        self._call(self._set(tuple(self._open), opened=True))

    # -- on the loop

    async def _set(self, ways: tuple[Way, ...], *, opened: bool) -> None:
        for way in ways:
            if opened:
                self._open[way].set()
            else:
                self._open[way].clear()

    async def _reset(self, ways: tuple[Way, ...]) -> None:
        for writer, way in list(self._ways_of.items()):
            if way in ways:
                writer.transport.abort()

    async def _listen(self) -> None:
        self._servers = []
        for way, (quorum, election) in self._ports.items():
            target = self._members[way[1]]
            for port, real, introduces in (
                (quorum, target.quorum_port, False),
                (election, target.election_port, True),
            ):
                relay = _Relay(self, way, real, introduces=introduces)
                self._servers.append(await asyncio.start_server(relay.accept, LOOPBACK, port))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._set(tuple(self._open), opened=True)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in list(self._ways_of):
                writer.transport.abort()
            await asyncio.wait(others, timeout=0.1)

    async def passes(self, way: Way) -> None:
        """Wait until bytes go this way."""
        await self._open[way].wait()

    def opened(self, writer: asyncio.StreamWriter, way: Way) -> None:
        """A connection of a relay is there."""
        self._ways_of[writer] = way

    def closed(self, writer: asyncio.StreamWriter) -> None:
        """It is no more."""
        self._ways_of.pop(writer, None)

    def election_port(self, one: int, other: int) -> int:
        """Where ``one`` dials the election port of ``other``."""
        return self._ports[one, other][1]


class _Relay:
    """For one server dialling one port of another."""

    def __init__(self, cuts: Cuts, way: Way, port: int, *, introduces: bool) -> None:
        self._cuts = cuts
        self._way = way
        self._port = port
        self._introduces = introduces

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection to its end."""
        cuts, way = self._cuts, self._way
        back = (way[1], way[0])
        cuts.opened(writer, way)
        there: asyncio.StreamWriter | None = None
        try:
            # A connect needs both ways.
            await cuts.passes(way)
            await cuts.passes(back)
            answers, there = await self._dial()
            cuts.opened(there, way)
            first = await self._introduction(reader) if self._introduces else b""
            await asyncio.gather(self._pass(way, reader, there, first), self._pass(back, answers, writer, b""))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, there):
                if end is not None:
                    cuts.closed(end)
                    end.transport.abort()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Who dialled thinks to be connected, and would not dial again so soon as after a refusal."""
        for _ in range(20):
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection(LOOPBACK, self._port)
            await asyncio.sleep(0.05)
        raise ConnectionRefusedError

    async def _introduction(self, reader: asyncio.StreamReader) -> bytes:
        """The introduction, with a port at which the other side finds a relay."""
        head = await reader.readexactly(_HEAD.size)
        kind, sid, size = _HEAD.unpack(head)
        assert (kind, sid) == (_ONE_ADDRESS, self._way[0])
        await reader.readexactly(size)
        address = f"{LOOPBACK}:{self._cuts.election_port(self._way[1], sid)}".encode()
        return _HEAD.pack(kind, sid, len(address)) + address

    async def _pass(self, way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter, data: bytes) -> None:
        while True:
            if data:
                await self._cuts.passes(way)
                sink.write(data)
                await sink.drain()
            data = await source.read(1 << 16)
            if not data:
                await self._cuts.passes(way)
                with suppress(OSError):
                    sink.write_eof()
                return
