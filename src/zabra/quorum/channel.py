"""One connection between a leader and a learner: bytes in, bytes out in order, and long streams in between.

A sync may be long and the other side slow, so it is written piece by piece as the socket takes it. What is sent
meanwhile waits behind it. Memory stays bounded: who lets too much pile up, or takes nothing for too long, is cut.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Generator
from typing import Final, NamedTuple, cast

from zabra.quorum.tracker import Tracker

_log = logging.getLogger(__name__)

#: Bytes waiting for the other side, behind a stream and in the socket's buffer, at which it is cut.
BACKLOG_MAX: Final = 256 << 20
#: Bytes of a stream written in one turn of the loop.
_TURN_MAX: Final = 256 << 10
#: How long a stream that has nothing to write yet waits before it is asked again, in seconds.
_RETRY_S: Final = 0.01


class ChannelOwner(NamedTuple):
    """Whom a channel tells what happens."""

    opened: Callable[[Channel], None]
    received: Callable[[Channel, bytes], None]
    #: The connection is gone, for this reason; not called after :meth:`Channel.abort`.
    closed: Callable[[Channel, str], None]


class Channel(asyncio.Protocol):
    """The protocol object of one quorum connection, accepted or dialled."""

    def __init__(self, owner: ChannelOwner, *, no_delay: bool = True, backlog_max: int = BACKLOG_MAX) -> None:
        self.name = "?"
        #: Notes what is sent; who reads has to note what comes.
        self.tracker: Tracker | None = None
        self._owner = owner
        self._no_delay = no_delay
        self._backlog_max = backlog_max
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._over = False
        #: The stream being written, whom to tell of its end, and what waits behind it.
        self._stream: Generator[bytes, None, None] | None = None
        self._stream_done: Callable[[], None] | None = None
        self._backlog: list[bytes] = []
        self._backlog_bytes = 0
        #: Writes since the socket was full, and whom to tell when all that was sent before is with the socket.
        self._held = 0
        self._markers: list[Callable[[], None]] = []
        #: Cuts a stream that the other side does not take.
        self._stall_timer: asyncio.TimerHandle | None = None
        self._stall_s = 0.0

    @property
    def is_over(self) -> bool:
        """Whether it is gone."""
        return self._over

    # -- writing

    @property
    def waiting(self) -> int:
        """Writes that wait for the socket, or behind a stream."""
        return self._held + len(self._backlog)

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call once all that was sent so far is with the socket, at once where it is; never, if that is cut."""
        if self._stream is None and not self._paused:
            call()
        else:
            self._markers.append(call)

    def _tell_markers(self) -> None:
        if self._markers and self._stream is None and not self._paused:
            markers, self._markers = self._markers, []
            for call in markers:
                call()

    def send(self, data: bytes) -> None:
        """Send behind everything that was given before; nothing once the connection is gone."""
        if self.tracker is not None:
            self.tracker.sent(data)
        if self._stream is None:
            self._write(data)
            return
        self._backlog.append(data)
        self._backlog_bytes += len(data)
        if self._backlog_bytes > self._backlog_max:
            self._cut(f"{self._backlog_bytes} bytes wait behind its sync")

    def stream(self, pieces: Generator[bytes, None, None], done: Callable[[], None], *, stall_s: float) -> None:
        """Send pieces as the socket takes them, then call ``done``, then what was sent meanwhile.

        An empty piece asks to be called again a little later. An exception of ``pieces`` cuts the connection. ``done``
        may send: that goes behind what waited. A socket that takes nothing for ``stall_s`` seconds is cut.
        """
        assert self._stream is None, "one stream at a time"
        self._stream, self._stream_done = pieces, done
        self._stall_s = stall_s
        self._pump()

    def _pump(self) -> None:
        """Write pieces until the socket is full or the turn is over."""
        stream = self._stream
        if stream is None or self._over or self._paused:
            return
        self._watch_stall()
        written = 0
        while written < _TURN_MAX and not self._paused:
            try:
                piece = next(stream, None)
            except Exception as error:
                self._cut(f"its sync broke off: {error}")
                return
            if piece is None:
                self._end_stream()
                return
            if not piece:
                self._loop.call_later(_RETRY_S, self._pump)
                return
            self._write(piece)
            written += len(piece)
            if self._over:
                return
        if not self._paused:
            self._loop.call_soon(self._pump)

    def _end_stream(self) -> None:
        self._stop_watching()
        done, self._stream, self._stream_done = self._stream_done, None, None
        backlog, self._backlog, self._backlog_bytes = self._backlog, [], 0
        if backlog:
            self._write(b"".join(backlog))
        if done is not None and not self._over:
            done()
        self._tell_markers()

    def _watch_stall(self) -> None:
        self._stop_watching()
        why = f"it took nothing of its sync for {self._stall_s:g} s"
        self._stall_timer = self._loop.call_later(self._stall_s, self._cut, why)

    def _stop_watching(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if self._over or transport is None or transport.is_closing():
            return
        transport.write(data)
        self._held += self._paused
        if self._paused and transport.get_write_buffer_size() > self._backlog_max:
            self._cut("it does not read")

    # -- reading

    def pause(self) -> None:
        """Read nothing for now; what was read may still be delivered once."""
        if self._transport is not None and not self._over:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._over and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- the end

    def abort(self) -> None:
        """Close at once; the owner is not told."""
        self._finish()
        if self._transport is not None:
            self._transport.abort()

    def _cut(self, why: str) -> None:
        """Close at once, and tell the owner in a turn of its own."""
        if not self._over:
            self.abort()
            self._loop.call_soon(self._owner.closed, self, why)

    def _finish(self) -> None:
        if self.tracker is not None:
            self.tracker.tell(self.name)
            self.tracker = None
        self._over = True
        self._stop_watching()
        stream, self._stream, self._stream_done = self._stream, None, None
        if stream is not None:
            # It may hold on to the tree.
            stream.close()
        self._backlog.clear()
        self._markers.clear()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.name = f"{peer[0]}:{peer[1]}" if peer else "?"
        sock = transport.get_extra_info("socket")
        if sock is not None and not self._no_delay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the other side."""
        if not self._over:
            self._owner.received(self, data)

    def eof_received(self) -> None:
        """The other side has closed: it does not want what may still be in the socket."""
        self._cut("the other side closed")

    def pause_writing(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._paused = False
        self._held = 0
        self._pump()
        self._tell_markers()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if not self._over:
            self._finish()
            self._owner.closed(self, f"the connection broke: {error}" if error else "the other side closed")
