"""The numbers behind ``srvr``, ``stat`` and the first lines of ``mntr`` (``ServerStats``, ``BufferStats`` of 3.9.5)."""

from __future__ import annotations

from zabra.obs.metrics import Metrics, round_half_up


class ServerStats:
    """Latency, packet counts and reply sizes since the start or the last reset.

    Hot code adds to ``packets_received`` and ``packets_sent`` itself and calls :meth:`record` once per batch. Latencies
    may be fractions of a millisecond: minimum and maximum are shown as whole ones, the average with four decimals.
    """

    __slots__ = (
        "_latency_max_ms",
        "_latency_min_ms",
        "_latency_total_ms",
        "auth_failed_count",
        "fsync_threshold_exceed_count",
        "last_proposal_size",
        "last_response_size",
        "latency_count",
        "max_proposal_size",
        "max_response_size",
        "metrics",
        "min_proposal_size",
        "min_response_size",
        "packets_received",
        "packets_sent",
        "quick_bytes",
        "quick_reads",
        "quick_response_bytes",
    )

    packets_received: int
    packets_sent: int
    latency_count: int
    _latency_total_ms: float
    _latency_min_ms: float
    _latency_max_ms: float
    #: Reads answered within a millisecond, and the bytes they came in, that :meth:`settle` has yet to count. Most reads
    #: are such, and counting them here spares half a microsecond for each chunk.
    quick_reads: int
    quick_bytes: int
    #: Bytes of replies that :meth:`settle` has yet to count.
    quick_response_bytes: int
    #: Bytes of the last, smallest and largest reply; -1 before the first.
    last_response_size: int
    min_response_size: int
    max_response_size: int
    #: The same of a leader's proposals.
    last_proposal_size: int
    min_proposal_size: int
    max_proposal_size: int

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.fsync_threshold_exceed_count = 0
        self.auth_failed_count = 0
        self._clear()

    def settle(self) -> None:
        """Count the quick reads like all others; call before anything is shown."""
        reads = self.quick_reads
        if reads:
            self.quick_reads = 0
            self.packets_received += reads
            self.packets_sent += reads
            self.record(reads, 0)
            self.metrics.readlatency.add_many(0, reads)
        self.metrics.bytes_received_count.value += self.quick_bytes
        self.quick_bytes = 0
        self.metrics.response_bytes.value += self.quick_response_bytes
        self.quick_response_bytes = 0

    def record(self, n_requests: int, latency_ms: float) -> None:
        """``n_requests`` requests (at least 1) were answered, each ``latency_ms`` after it was read."""
        if latency_ms < 0.0:
            return
        if not self.latency_count or latency_ms < self._latency_min_ms:
            self._latency_min_ms = latency_ms
        if latency_ms > self._latency_max_ms:
            self._latency_max_ms = latency_ms
        self._latency_total_ms += latency_ms * n_requests
        self.latency_count += n_requests

    def record_response_sizes(self, smallest: int, largest: int, last: int) -> None:
        """Replies and events left together; sizes in bytes without the four of the length."""
        self.last_response_size = last
        if smallest < self.min_response_size or self.min_response_size < 0:
            self.min_response_size = smallest
        if largest > self.max_response_size:
            self.max_response_size = largest

    def record_proposal_sizes(self, smallest: int, largest: int, last: int) -> None:
        """Transactions were proposed together; sizes in bytes."""
        self.last_proposal_size = last
        if smallest < self.min_proposal_size or self.min_proposal_size < 0:
            self.min_proposal_size = smallest
        if largest > self.max_proposal_size:
            self.max_proposal_size = largest

    def clear_proposal_sizes(self) -> None:
        """An epoch begins."""
        self.last_proposal_size = self.min_proposal_size = self.max_proposal_size = -1

    @property
    def min_latency_ms(self) -> int:
        """The shortest latency in whole ms, 0 before the first request."""
        return int(self._latency_min_ms)

    @property
    def avg_latency_ms(self) -> float:
        """The mean latency in ms with four decimals, 0.0 before the first request."""
        return round_half_up(self._latency_total_ms / self.latency_count) if self.latency_count else 0.0

    @property
    def max_latency_ms(self) -> int:
        """The longest latency in whole ms, 0 before the first request."""
        return int(self._latency_max_ms)

    def reset(self) -> None:
        """``srst``: latency, packets, sizes and every metric start again."""
        self._clear()
        self.metrics.reset()

    def _clear(self) -> None:
        self.quick_response_bytes = 0
        self.quick_reads = 0
        self.quick_bytes = 0
        self.packets_received = 0
        self.packets_sent = 0
        self.latency_count = 0
        self._latency_total_ms = 0.0
        self._latency_min_ms = 0.0
        self._latency_max_ms = 0.0
        self.last_response_size = -1
        self.min_response_size = -1
        self.max_response_size = -1
        self.clear_proposal_sizes()
