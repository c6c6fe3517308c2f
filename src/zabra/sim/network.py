"""Streams between simulated machines: delays, pieces of every size, full windows, cuts, silence, partitions.

Each pair of machines has a link in either direction. What is sent into a blocked one is sent again until it is open, as
TCP does: it arrives late, and nothing is lost that its sender did not give up. While acknowledgements are blocked one
window can be sent. Connections are made only where both directions are open. Names are resolved at each connect.

A transport behaves as asyncio's and, where they differ, as the stricter of asyncio and uvloop: writing to one whose
``connection_lost`` was called raises. Bytes of one direction arrive in order. What was sent before a process died still
arrives; then its kernel answers with a reset, or, when the machine is without power, nothing does.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Any, Final, cast
from zlib import crc32

from zabra.sim.loop import Process, SimFuture, SimLoop

#: Bytes sent and not read by the other side: what the kernels of both sides hold.
WINDOW: Final = 1 << 16
_HIGH: Final = 1 << 16
_LOW: Final = 1 << 14
#: A connect to a machine that is switched off fails after so many seconds.
_CONNECT_TIMEOUT: Final = 3.0
#: When a connect into a blocked link is tried again after the first time, and when it fails, in ``retry`` seconds.
_TRIES: Final = (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
_GIVE_UP: Final = 127.0
#: What was sent into a blocked link arrives at most so many of them after it is open.
_AGAIN_MAX: Final = 3.0
_ANYWHERE: Final = (None, "", "0.0.0.0", "::")


class SimTransport(asyncio.Transport):
    """One end of a stream."""

    def __init__(self, network: Network, process: Process, local: tuple[str, int], remote: tuple[str, int]) -> None:
        super().__init__({"sockname": local, "peername": remote})
        self.peer: SimTransport
        self.process = process
        #: Its machine: clients of the world have one each.
        self.machine = local[0]
        self._network = network
        self._loop = network.loop
        # Until the connection is made nobody is told of anything.
        self._protocol = asyncio.Protocol()
        self._started = False
        self._reading = False
        #: Closed by this side, or told that the stream is gone.
        self._closing = False
        self.lost = False
        #: Not sent yet; sent and not read over there.
        self._buffer = bytearray()
        self._in_flight = 0
        self._last_arrival = 0.0
        self._fin_sent = False
        self._told_to_pause = False
        #: Arrived and not read by this side's protocol.
        self._inbox = bytearray()
        self._eof = False
        self._delivering = False
        #: What is sent from here is never seen again.
        self.silenced = False

    # -- asyncio

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told of what arrives."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell ``protocol`` from now on."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def is_closing(self) -> bool:
        """Closed by this side, or gone."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether ``data_received`` may be called."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """No ``data_received`` until :meth:`resume_reading`."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on reading."""
        if not self._reading:
            self._reading = True
            self._deliver_soon()

    def write(self, data: Any) -> None:
        """Send. Raises once the protocol was told that the connection is lost, as uvloop does."""
        if not self.process.alive:
            return
        if self.lost:
            raise RuntimeError("a write after connection_lost")
        if self._closing:
            return
        self._buffer += data
        self._pump()
        if len(self._buffer) > _HIGH and not self._told_to_pause:
            self._told_to_pause = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel did not take yet."""
        return len(self._buffer)

    def close(self) -> None:
        """Send what is buffered, then close."""
        if not self._closing:
            self._closing = True
            if not self._buffer:
                self._finish()

    def abort(self) -> None:
        """Close at once; the other side gets a reset."""
        if self.lost or not self.process.alive:
            return
        self._closing = True
        self._buffer.clear()
        if not self._fin_sent:
            self._fin_sent = True
            self._send(self.peer.reset)
        self._loop.call_soon(self._lose, None)

    # -- out

    def _pump(self) -> None:
        buffer = self._buffer
        while buffer and self._in_flight < WINDOW:
            size = self._network.piece(min(len(buffer), WINDOW - self._in_flight))
            chunk = bytes(buffer[:size])
            del buffer[:size]
            self._in_flight += size
            self._send(self.peer.arrive, chunk)
        if buffer or not self.process.alive:
            return
        if self._told_to_pause and not self._closing:
            self._told_to_pause = False
            self._loop.run_as(self.process, self._protocol.resume_writing)
        if self._closing:
            self._finish()

    def _finish(self) -> None:
        if not self._fin_sent and self.process.alive:
            self._fin_sent = True
            self._send(self.peer.fin)
            self._loop.call_soon(self._lose, None)

    def _send(self, receive: Callable[..., None], *args: Any) -> None:
        if not self.silenced:
            link = self._network.link_of(self)
            if link is not None and link.blocked:
                link.held.append((self, receive, args))
            else:
                self.deliver_at(self._network.arrival(link), receive, args)

    def deliver_at(self, when: float, receive: Callable[..., None], args: tuple[Any, ...]) -> None:
        """What was sent arrives, behind all that was sent before."""
        self._last_arrival = max(self._last_arrival, when)
        self._loop.world_at(self._last_arrival, receive, *args)

    def taken(self, size: int) -> None:
        """The other side has read so much."""
        self._in_flight -= size
        self._pump()

    def _lose(self, error: Exception | None) -> None:
        if self._started and not self.lost:
            self.lost = True
            self._network.ends.pop(self, None)
            self._loop.run_as(self.process, self._protocol.connection_lost, error)

    # -- in

    def start(self, protocol: asyncio.Protocol) -> None:
        """The connection is there."""
        self._protocol = protocol
        self._started = self._reading = True
        self._network.ends[self] = None
        self._loop.run_as(self.process, protocol.connection_made, self)
        if self._closing:
            self._lose(ConnectionResetError(104, "connection reset by peer"))
        self._deliver_soon()

    def arrive(self, chunk: bytes) -> None:
        """Bytes of the other side are here."""
        if not self.process.alive or self._closing:
            if self.process.answers and not self.peer.lost:
                self._send(self.peer.reset)
            return
        self._inbox += chunk
        self._deliver_soon()

    def fin(self) -> None:
        """The other side sends no more."""
        self._eof = True
        self._deliver_soon()

    def reset(self) -> None:
        """The other side, or the network, has dropped the connection."""
        if self.process.alive and not self.lost:
            self._closing = True
            self._buffer.clear()
            self._inbox.clear()
            self._loop.world_soon(self._lose, ConnectionResetError(104, "connection reset by peer"))

    def _deliver_soon(self) -> None:
        if not self._delivering:
            self._delivering = True
            self._loop.world_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivering = False
        if self.process.blocked:
            self._delivering = True
            self.process.backlog.append(self._deliver)
            return
        if not self._reading or self._closing or not self.process.alive:
            return
        inbox = self._inbox
        if inbox:
            size = self._network.piece(len(inbox))
            chunk = bytes(inbox[:size])
            del inbox[:size]
            self._loop.trace.add("data", self._network.name_of(self), size, crc32(chunk))
            self._loop.run_as(self.process, self._protocol.data_received, chunk)
            self._network.acknowledge(self, size)
            if inbox or self._eof:
                self._deliver_soon()
        elif self._eof:
            self._loop.run_as(self.process, self._eof_received)

    def _eof_received(self) -> None:
        if not self._protocol.eof_received():
            self.close()

    def die(self, *, silent: bool) -> None:
        """The process has died: its kernel closes the stream, or has no power to."""
        self._network.ends.pop(self, None)
        if not silent and not self._fin_sent:
            self._fin_sent = True
            self._send(self.peer.reset if self._inbox else self.peer.fin)


class SimServer:
    """A listening socket (``asyncio.Server`` as callers use it)."""

    def __init__(self, network: Network, process: Process, factory: Callable[[], asyncio.Protocol], port: int) -> None:
        self.process = process
        self.factory = factory
        self._network = network
        self._port = port
        self.sockets = (self,)

    def getsockname(self) -> tuple[str, int]:
        """Address and port."""
        return (self.process.name, self._port)

    def close(self) -> None:
        """Refuse from now on."""
        if self._network.listeners.get(self.getsockname()) is self:
            del self._network.listeners[self.getsockname()]

    async def wait_closed(self) -> None:
        """It is."""


class Link:
    """One direction between two machines."""

    def __init__(self) -> None:
        #: Nothing gets through.
        self.blocked = False
        #: A firewall refuses connects.
        self.refuses = False
        #: Seconds that everything takes longer.
        self.lag = 0.0
        #: Virtual second at which it was blocked.
        self.since = 0.0
        #: What was sent meanwhile, in order, and what the others' senders were not told that it was read.
        self.held: list[tuple[SimTransport, Callable[..., None], tuple[Any, ...]]] = []
        self.unacknowledged: list[tuple[SimTransport, int]] = []


class Network:
    """Who listens, what is connected, and how bad the weather is."""

    def __init__(self, loop: SimLoop, rng: random.Random, *, delay: float = 1e-4, chop: float = 0.1) -> None:
        """``delay``: usual seconds of one way; ``chop``: how often bytes come in other pieces than they were sent."""
        self.loop = loop
        #: By machine and port. What the world itself listens on is found under every address.
        self.listeners: dict[tuple[str, int], SimServer] = {}
        #: Open ends in order of making.
        self.ends: dict[SimTransport, None] = {}
        self.delay = delay
        self.chop = chop
        #: Nothing arrives before this second.
        self.stalled_until = 0.0
        #: Seconds until something that was lost is sent again for the first time.
        self.retry = 1.0
        #: Addresses by name; None: the name is not known now. What is not here is an address.
        self.names: dict[str, str | None] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._rng = rng
        self._ports = 40000
        loop.network = self

    # -- the weather

    def arrival(self, link: Link | None = None) -> float:
        """When something sent now may arrive."""
        rng = self._rng
        delay = self.delay * (0.5 + rng.random())
        if rng.random() < 0.02:
            delay *= 20
        if link is not None:
            delay += link.lag * (0.5 + rng.random())
        return max(self.loop.now + delay, self.stalled_until)

    def piece(self, size: int) -> int:
        """How many of ``size`` bytes go together."""
        if size > 1 and self._rng.random() < self.chop:
            return 1 + self._rng.randrange(size)
        return size

    def link(self, source: str, target: str) -> Link:
        """The link from one machine to another."""
        return self._links.setdefault((source, target), Link())

    def link_of(self, end: SimTransport) -> Link | None:
        """The link that this end sends into; None: nothing is special about it."""
        return self._links.get((end.machine, end.peer.machine)) if self._links else None

    def block(self, source: str, target: str) -> None:
        """Nothing gets from ``source`` to ``target``, until :meth:`unblock`."""
        link = self.link(source, target)
        if not link.blocked:
            link.blocked = True
            link.since = self.loop.now

    def unblock(self, source: str, target: str) -> None:
        """The link is open; what was sent meanwhile arrives soon."""
        link = self.link(source, target)
        link.blocked = False
        late: dict[SimTransport, float] = {}
        held, link.held = link.held, []
        for end, receive, args in held:
            if end not in late:
                patience = min(self.loop.now - link.since, _AGAIN_MAX * self.retry)
                late[end] = self.arrival(link) + patience * self._rng.random()
            end.deliver_at(late[end], receive, args)
        unacknowledged, link.unacknowledged = link.unacknowledged, []
        for end, size in unacknowledged:
            end.taken(size)

    def heal(self) -> None:
        """Everything is as usual from now on."""
        self.stalled_until = 0.0
        for pair, link in list(self._links.items()):
            link.lag = 0.0
            link.refuses = False
            if link.blocked:
                self.unblock(*pair)

    def is_open(self, source: str, target: str) -> bool:
        """Whether anything gets from one machine to the other."""
        link = self._links.get((source, target))
        return link is None or not link.blocked

    def acknowledge(self, end: SimTransport, size: int) -> None:
        """``end`` has read so much; the other side may send as much again, once it hears of it."""
        link = self.link_of(end)
        if link is not None and link.blocked:
            link.unacknowledged.append((end.peer, size))
        else:
            end.peer.taken(size)

    def resolve(self, host: str) -> str:
        """The address of a name now. Raises OSError."""
        address = self.names.get(host, host)
        if address is None:
            raise socket.gaierror(socket.EAI_NONAME, f"{host}: name or service not known")
        return address

    def name_of(self, end: SimTransport) -> str:
        """Who reads there, of whom."""
        local, remote = end.get_extra_info("sockname"), end.get_extra_info("peername")
        return f"{remote[0]}:{remote[1]}>{local[0]}:{local[1]}"

    # -- connections

    def listen(
        self, process: Process, factory: Callable[[], asyncio.Protocol], host: str | None, port: int
    ) -> SimServer:
        """Accept connections to ``port``. Raises OSError when it is taken, or ``host`` is another machine."""
        port = port or 2181
        if host not in _ANYWHERE and process is not self.loop.world and self.resolve(host) != process.name:
            raise OSError(99, f"cannot assign requested address {host}")
        other = self.listeners.get((process.name, port))
        if other is not None and other.process.alive:
            raise OSError(98, "address already in use")
        server = self.listeners[process.name, port] = SimServer(self, process, factory, port)
        return server

    async def connect(
        self,
        process: Process,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        local: tuple[str, int] | None = None,
    ) -> tuple[SimTransport, asyncio.Protocol]:
        """Connect to ``host``, from the machine of ``process`` or from ``local``. Raises OSError."""
        loop = self.loop
        answer: asyncio.Future[SimTransport] = loop.create_future()
        self._ports += 1
        target = (self.resolve(host), port)
        source = (local[0] if local is not None else process.name, self._ports)
        loop.world_at(self.arrival(), self._try, process, source, target, answer, 0, loop.now)
        transport = await answer
        protocol = factory()
        transport.start(protocol)
        return transport, protocol

    def _try(
        self,
        process: Process,
        source: tuple[str, int],
        target: tuple[str, int],
        answer: asyncio.Future[SimTransport],
        tried: int,
        began: float,
    ) -> None:
        """Both directions must be open for a moment."""
        if answer.done():
            return
        loop = self.loop
        if self.is_open(source[0], target[0]) and self.is_open(target[0], source[0]):
            self._accept(process, source, target, answer)
        elif tried < len(_TRIES):
            when = max(began + _TRIES[tried] * self.retry, loop.now)
            loop.world_at(when, self._try, process, source, target, answer, tried + 1, began)
        else:
            self._fail_at(began + _GIVE_UP * self.retry, answer, TimeoutError(110, "connection timed out"))

    def _accept(
        self,
        process: Process,
        source: tuple[str, int],
        target: tuple[str, int],
        answer: asyncio.Future[SimTransport],
    ) -> None:
        loop = self.loop
        server = self.listeners.get(target) or self.listeners.get((loop.world.name, target[1]))
        link = self._links.get((source[0], target[0]))
        if server is None or not server.process.alive or (link is not None and link.refuses):
            if server is not None and not server.process.answers:
                self._fail_at(loop.now + _CONNECT_TIMEOUT, answer, TimeoutError(110, "connection timed out"))
            else:
                self._fail_at(self.arrival(), answer, ConnectionRefusedError(111, "connection refused"))
            return
        here = SimTransport(self, server.process, target, source)
        there = SimTransport(self, process, source, target)
        here.peer, there.peer = there, here
        loop.world_at(self.arrival(), _succeed, loop, answer, there)

        def begin() -> None:
            here.start(server.factory())

        loop.run_as(server.process, begin)

    def _fail_at(self, when: float, answer: asyncio.Future[SimTransport], error: OSError) -> None:
        self.loop.world_at(when, _fail, self.loop, answer, error)

    def process_died(self, process: Process, *, silent: bool) -> None:
        """Close what the process had open; ``silent``: the whole machine is gone."""
        process.answers = not silent
        for end in [end for end in self.ends if end.process is process]:
            end.die(silent=silent)

    def cut(self, end: SimTransport, kind: str) -> None:
        """Break a connection: ``reset`` both ends, ``half`` only this one, ``silent`` none of them ever hears."""
        if kind == "silent":
            end.silenced = end.peer.silenced = True
            return
        self.loop.world_soon(end.reset)
        if kind == "reset":
            self.loop.world_at(self.arrival(), end.peer.reset)
        else:
            end.silenced = True


def _fail(loop: SimLoop, answer: asyncio.Future[SimTransport], error: OSError) -> None:
    if not answer.done():
        loop.run_as(cast(SimFuture, answer).process, answer.set_exception, error)


def _succeed(loop: SimLoop, answer: asyncio.Future[SimTransport], transport: SimTransport) -> None:
    """Whoever has dialled may be dead or have given up."""
    process = transport.process
    if not process.alive:
        transport.die(silent=not process.answers)
    elif answer.done():
        loop.run_as(process, transport.abort)
    else:
        loop.run_as(process, _hand_over, answer, transport)


def _hand_over(answer: asyncio.Future[SimTransport], transport: SimTransport) -> None:
    if answer.done():
        transport.abort()
    else:
        answer.set_result(transport)
