"""The last packets of a quorum connection, told in the log when it ends (``messageTracker.Enabled``).

Source: ``MessageTracker`` (3.9.5), whose lines are one a packet.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable

from zabra.zab.packets import PACKET_NAMES, Arrived, PacketStream, Run

_log = logging.getLogger(__name__)


class Tracker:
    """Of one connection the types of the newest ``size`` packets in each direction, and when they came or went.

    Packets that wait behind a sync count as sent when they are given to it.
    """

    def __init__(self, size: int, wall_ms: Callable[[], int], limit: int) -> None:
        """``limit``: the longest data field of a packet."""
        self._wall_ms = wall_ms
        self._sent: deque[tuple[int, int]] = deque(maxlen=size)
        self._received: deque[tuple[int, int]] = deque(maxlen=size)
        self._stream = PacketStream(limit)

    def sent(self, data: bytes) -> None:
        """Whole packets go out, and no snapshot."""
        self._note(self._sent, self._stream.feed(data))

    def watch(self, pieces: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        """``pieces``, whole packets each, noted as they go out."""
        for piece in pieces:
            self.sent(piece)
            yield piece

    def sent_type(self, kind: int) -> None:
        """A packet of this type goes out."""
        self._sent.append((self._wall_ms(), kind))

    def received(self, arrived: Iterable[Arrived]) -> None:
        """Packets have come."""
        self._note(self._received, arrived)

    def _note(self, ring: deque[tuple[int, int]], packets: Iterable[Arrived]) -> None:
        now_ms = self._wall_ms()
        for packet in packets:
            count = packet.last - packet.first + 1 if isinstance(packet, Run) else 1
            assert ring.maxlen is not None
            ring.extend([(now_ms, packet.type)] * min(count, ring.maxlen))

    def tell(self, peer: str) -> None:
        """Put both into the log, oldest first."""
        for ring, what in ((self._received, "from"), (self._sent, "to")):
            if ring:
                told = ", ".join(f"{_clock(at_ms)} {PACKET_NAMES[kind]}" for at_ms, kind in ring)
                _log.warning("the last %d packets %s %s: %s", len(ring), what, peer, told)
            else:
                _log.info("no packets %s %s", what, peer)


def _clock(wall_ms: int) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(wall_ms // 1000))},{wall_ms % 1000:03d}"
