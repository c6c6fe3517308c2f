"""What ``cons`` and ``stat`` show of one connection (``ServerCnxn``, 3.9.5)."""

from __future__ import annotations


class ConnectionStats:
    """Counters of a connection since it was made, or since ``crst``. The connection adds to them itself."""

    __slots__ = (
        "_late",
        "_latency_min_ms",
        "established_ms",
        "event_bytes",
        "events",
        "last_op",
        "last_seen",
        "last_xid",
        "last_zxid",
        "latency_last_ms",
        "latency_max_ms",
        "latency_total_ms",
        "received",
        "sent",
        "sent_noted",
        "timeout_ms",
    )

    def __init__(self, wall_ms: int, now: float, timeout_ms: int) -> None:
        """``now``: monotonic seconds. ``timeout_ms`` holds until a session has one of its own."""
        self.established_ms = wall_ms
        self.last_seen = now
        self.timeout_ms = timeout_ms
        #: Requests, replies, events.
        self.received = 0
        self.sent = 0
        self.events = 0
        #: Bytes of events among what is queued, without their lengths.
        self.event_bytes = 0
        #: Replies whose latency is noted.
        self.sent_noted = 0
        self.last_op = 0
        self.last_xid = -1
        self.last_zxid = -1
        self.latency_last_ms = 0
        self._latency_min_ms = 0
        self.latency_max_ms = 0
        self.latency_total_ms = 0
        #: Replies that took a millisecond or more.
        self._late = 0

    @property
    def latency_min_ms(self) -> int:
        """The shortest time a reply took."""
        return self._latency_min_ms if self._late and self._late >= self.sent else 0

    def note_latency(self, latency_ms: int, count: int) -> None:
        """``count`` replies took so long. Most take less than a millisecond and change none of this."""
        self.latency_last_ms = latency_ms
        self.latency_total_ms += latency_ms * count
        if not self._late or latency_ms < self._latency_min_ms:
            self._latency_min_ms = latency_ms
        self._late += count
        if latency_ms > self.latency_max_ms:
            self.latency_max_ms = latency_ms

    def reset_stats(self) -> None:
        """``crst``: counters start again."""
        self.received = self.sent = self.events = self.last_op = self.sent_noted = self._late = 0
        self.latency_last_ms = self.latency_max_ms = self.latency_total_ms = 0
        self.last_xid = self.last_zxid = -1
