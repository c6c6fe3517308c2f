"""[hot] What leaves a connection: replies and events, one write for all that a chunk or a turn has produced."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from zabra.frontend.connection_stats import ConnectionStats
from zabra.frontend.replies import encode_event

if TYPE_CHECKING:
    from zabra.frontend.hub import Hub

_log = logging.getLogger(__name__)

#: The states of a connection, see :mod:`zabra.frontend.connection`.
NEW: Final = 0
OPENING: Final = 1
OPEN: Final = 2
CLOSING: Final = 3
CLOSED: Final = 4

#: Bytes of unsent replies and events at which a connection is cut: its client asked for events and does not read them.
_UNSENT_MAX: Final = 1 << 26


class ConnectionOut(ConnectionStats):
    """A connection as far as it is written to."""

    __slots__ = ("_paused", "dirty", "hub", "out", "peer", "state", "transport")

    transport: asyncio.Transport

    def __init__(self, hub: Hub) -> None:
        clock = hub.clock
        super().__init__(clock.wall_ms(), clock.monotonic(), hub.settings.sessionless_cnxn_timeout_ms)
        self.hub = hub
        self.state = NEW
        self.peer = ("", 0)
        #: Replies and events not yet written, each a whole frame.
        self.out: list[bytes] = []
        #: The end of the turn writes what is queued.
        self.dirty = False
        #: The socket takes no more.
        self._paused = False

    def send_event(self, event_type: int, path: bytes, zxid: int) -> None:
        """Queue a watch event."""
        self.deliver(encode_event(event_type, path, zxid))

    def deliver(self, event: bytes) -> None:
        """Queue an encoded watch event; the same bytes serve every watcher of a change."""
        if self.state == CLOSED:
            return
        self.out.append(event)
        self.events += 1
        self.event_bytes += len(event) - 4
        if not self.dirty:
            self.touch_dirty()

    def touch_dirty(self) -> None:
        """Have the turn's end write this connection."""
        if not self.dirty:
            self.dirty = True
            self.hub.dirty.append(self)
            self.hub.need_end_turn()

    def flush(self) -> None:
        """Write what is queued. A transport that is closing takes nothing more."""
        self.dirty = False
        out = self.out
        if not out:
            return
        hub = self.hub
        if hub.turn_latency_ms:
            self.note_latency(hub.turn_latency_ms, self.sent - self.sent_noted)
        self.sent_noted = self.sent
        stats = hub.stats
        if len(out) == 1:
            data = out[0]
            size = len(data) - 4
            if size != stats.last_response_size:
                stats.last_response_size = size
                if size < stats.min_response_size or size > stats.max_response_size:
                    stats.record_response_sizes(size, size, size)
            stats.quick_response_bytes += size
        else:
            data = b"".join(out)
            sizes = set(map(len, out))  # a few different ones at most
            stats.record_response_sizes(min(sizes) - 4, max(sizes) - 4, len(out[-1]) - 4)
            stats.quick_response_bytes += len(data) - 4 * len(out)
        if self.event_bytes:
            stats.quick_response_bytes -= self.event_bytes
            self.event_bytes = 0
        out.clear()
        transport = self.transport
        if not transport.is_closing():
            transport.write(data)
            if self._paused:
                self._cut_if_deaf()

    def write(self, data: bytes) -> None:
        """Write past everything that is queued: connect replies and the answers of four-letter words."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def _cut_if_deaf(self) -> None:
        if self.transport.get_write_buffer_size() > _UNSENT_MAX:
            _log.warning("cutting %s:%d: it does not read its events", *self.peer)
            self.state = CLOSED
            self.transport.abort()

    def _count_replies(self, count: int, latency_ms: int) -> None:
        self.sent += count
        self.hub.stats.packets_sent += count
        self.hub.stats.record(count, latency_ms)
