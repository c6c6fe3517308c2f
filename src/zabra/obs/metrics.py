"""Counters and summaries under ZooKeeper's names (``ServerMetrics`` and ``DefaultMetricsProvider`` of 3.9.5).

One :class:`Metrics` belongs to one server. Hot code adds to plain attributes (``metrics.response_bytes.value += n``,
``metrics.readlatency.add_many(latency_ms, count)``); names, suffixes and percentiles are worked out only when someone
asks. Nothing here reads a clock or true randomness: the percentile sample draws from its own fixed sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

Number = int | float
#: Samples kept per percentile summary (``ResettableUniformReservoir``).
RESERVOIR_SIZE: Final = 4096

#: By how much the count of points has to grow until one more is due.
_ONE_MORE: Final = math.exp(1 / RESERVOIR_SIZE)
#: From 32 random bits to a place in the sample.
_SLOT_SHIFT: Final = 32 - RESERVOIR_SIZE.bit_length() + 1


class Counter:
    """A number that only grows between resets. Hot code may add to ``value`` directly."""

    __slots__ = ("name", "value")

    def __init__(self, name: str) -> None:
        self.name = name
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Count ``amount`` more."""
        self.value += amount

    def reset(self) -> None:
        """Back to zero."""
        self.value = 0

    def dump(self, out: dict[str, Number]) -> None:
        """Put the value under its name."""
        out[self.name] = self.value


class Summary:
    """Average, minimum, maximum, count and sum of whole numbers (``AvgMinMaxCounter``)."""

    __slots__ = ("count", "max", "min", "name", "total")

    count: int
    max: int
    min: int
    total: int

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    def add(self, value: int) -> None:
        """One data point."""
        self.add_many(value, 1)

    def add_many(self, value: int, count: int) -> None:
        """``count`` data points of the same ``value``; ``count`` is at least 1."""
        if value < self.min or not self.count:
            self.min = value
        if value > self.max or not self.count:
            self.max = value
        self.total += value * count
        self.count += count

    def average(self) -> float:
        """The mean with four decimals, 0.0 before the first data point."""
        return round_half_up(self.total / self.count) if self.count else 0.0

    def reset(self) -> None:
        """Forget every data point."""
        self.count = 0
        self.total = 0
        self.min = 0
        self.max = 0

    def dump(self, out: dict[str, Number]) -> None:
        """Put the five values under their prefixed names."""
        name = self.name
        out["avg_" + name] = self.average()
        out["min_" + name] = self.min
        out["max_" + name] = self.max
        out["cnt_" + name] = self.count
        out["sum_" + name] = self.total


class PercentileSummary(Summary):
    """A summary that also knows percentiles, from a uniform sample (``AvgMinMaxPercentileCounter``).

    Of the points number a to b, RESERVOIR_SIZE * ln(b / a) are due to enter the sample, each in the place of a random
    older one. Which ones is not left to chance, as in a reservoir that draws for every point: a batch of equal points
    costs one comparison while none is due, and one addition and one draw for each that is. Drawing the gaps between
    them was a quarter of the work of a write in the first seconds of a server.
    """

    __slots__ = ("_next_pick", "_picked_at", "_samples", "_state")

    #: Count of points from which on one is due.
    _next_pick: float
    #: Count of points up to which the sample is as it should be.
    _picked_at: float
    _samples: list[int]
    _state: int

    def reset(self) -> None:
        """Forget every data point and sample."""
        super().reset()
        self._samples = []
        self._state = 0x9E3779B9
        self._next_pick = 0.0
        self._picked_at = 0.0

    def add_many(self, value: int, count: int) -> None:
        """``count`` data points of the same ``value``; ``count`` is at least 1."""
        seen = self.count
        if value < self.min or not seen:
            self.min = value
        if value > self.max or not seen:
            self.max = value
        self.total += value * count
        seen = self.count = seen + count
        if seen >= self._next_pick:
            self._pick(value, seen, count)

    def _pick(self, value: int, seen: int, count: int) -> None:
        samples = self._samples
        room = RESERVOIR_SIZE - len(samples)
        if room > 0:
            samples.extend([value] * min(room, count))
            if len(samples) < RESERVOIR_SIZE:
                return
            self._picked_at = float(RESERVOIR_SIZE)
        picks = int(RESERVOIR_SIZE * math.log(seen / self._picked_at))
        state = self._state
        for _ in range(picks):
            # Knuth and Lewis, 32 bits; the upper ones are the random ones.
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            samples[state >> _SLOT_SHIFT] = value
        self._state = state
        self._picked_at *= math.exp(picks / RESERVOIR_SIZE)
        self._next_pick = self._picked_at * _ONE_MORE

    def percentile(self, quantile: float) -> int:
        """The value below which ``quantile`` of the sample lies, interpolated and rounded (``UniformSnapshot``)."""
        ordered = sorted(self._samples)
        if not ordered:
            return 0
        position = quantile * (len(ordered) + 1)
        index = int(position)
        if index < 1:
            return ordered[0]
        if index >= len(ordered):
            return ordered[-1]
        lower = ordered[index - 1]
        return math.floor(lower + (position - index) * (ordered[index] - lower) + 0.5)

    def dump(self, out: dict[str, Number]) -> None:
        """The values of a summary, then four percentiles."""
        super().dump(out)
        for prefix, quantile in (("p50_", 0.5), ("p95_", 0.95), ("p99_", 0.99), ("p999_", 0.999)):
            out[prefix + self.name] = self.percentile(quantile)


class CounterSet:
    """Counters of one name, told apart by a key that becomes part of the name."""

    __slots__ = ("members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Counter] = {}

    def add(self, key: str, amount: int = 1) -> None:
        """Count ``amount`` more for ``key``."""
        member = self.members.get(key)
        if member is None:
            member = self.members[key] = Counter(f"{key}_{self.name}")
        member.value += amount

    def reset(self) -> None:
        """Every member back to zero."""
        for member in self.members.values():
            member.reset()

    def dump(self, out: dict[str, Number]) -> None:
        """Dump every member."""
        for member in self.members.values():
            member.dump(out)


class SummarySet:
    """Summaries of one name, told apart by a key that becomes part of the name; ``kind`` makes a member."""

    __slots__ = ("kind", "members", "name")

    def __init__(self, name: str, kind: type[Summary] = Summary) -> None:
        self.name = name
        self.kind = kind
        self.members: dict[str, Summary] = {}

    def add(self, key: str, value: int) -> None:
        """One data point for ``key``."""
        member = self.members.get(key)
        if member is None:
            member = self.members[key] = self.kind(f"{key}_{self.name}")
        member.add_many(value, 1)

    def reset(self) -> None:
        """Forget every data point of every member."""
        for member in self.members.values():
            member.reset()

    def dump(self, out: dict[str, Number]) -> None:
        """Dump every member."""
        for member in self.members.values():
            member.dump(out)


class Metrics:
    """Every metric that ``mntr`` lists, one attribute each under its ZooKeeper name.

    Gauges are callables, registered by whoever owns the value and asked at dump time.
    """

    def __init__(self) -> None:
        self._gauges: dict[str, Callable[[], Number | None]] = {}
        self._gauge_sets: dict[str, Callable[[], Mapping[str, Number | None]]] = {}
        self._init_storage()
        self._init_connections()
        self._init_pipeline()
        self._init_quorum()

    def _init_storage(self) -> None:
        self.fsynctime = Summary("fsynctime")
        self.snapshottime = Summary("snapshottime")
        self.snapshot_error_count = Counter("snapshot_error_count")
        self.snapshot_rate_limited_count = Counter("snapshot_rate_limited_count")
        self.restore_time = Summary("restore_time")
        self.restore_error_count = Counter("restore_error_count")
        self.restore_rate_limited_count = Counter("restore_rate_limited_count")
        self.dbinittime = Summary("dbinittime")
        self.startup_txns_loaded = Summary("startup_txns_loaded")
        self.startup_txns_load_time = Summary("startup_txns_load_time")
        self.startup_snap_load_time = Summary("startup_snap_load_time")
        self.sync_processor_queue_and_flush_time_ms = PercentileSummary("sync_processor_queue_and_flush_time_ms")
        self.sync_processor_queue_size = Summary("sync_processor_queue_size")
        self.sync_processor_request_queued = Counter("sync_processor_request_queued")
        self.sync_processor_queue_time_ms = PercentileSummary("sync_processor_queue_time_ms")
        self.sync_processor_queue_flush_time_ms = PercentileSummary("sync_processor_queue_flush_time_ms")
        self.sync_process_time = Summary("sync_process_time")
        self.sync_processor_batch_size = Summary("sync_processor_batch_size")
        self.digest_mismatches_count = Counter("digest_mismatches_count")
        self.unrecoverable_error_count = Counter("unrecoverable_error_count")

    def _init_connections(self) -> None:
        self.connection_request_count = Counter("connection_request_count")
        self.connection_token_deficit = Summary("connection_token_deficit")
        self.connection_rejected = Counter("connection_rejected")
        self.connection_drop_count = Counter("connection_drop_count")
        self.connection_revalidate_count = Counter("connection_revalidate_count")
        self.sessionless_connections_expired = Counter("sessionless_connections_expired")
        self.stale_sessions_expired = Counter("stale_sessions_expired")
        self.bytes_received_count = Counter("bytes_received_count")
        self.response_bytes = Counter("response_bytes")
        self.watch_bytes = Counter("watch_bytes")
        self.response_packet_cache_hits = Counter("response_packet_cache_hits")
        self.response_packet_cache_misses = Counter("response_packet_cache_misses")
        self.response_packet_get_children_cache_hits = Counter("response_packet_get_children_cache_hits")
        self.response_packet_get_children_cache_misses = Counter("response_packet_get_children_cache_misses")
        self.large_requests_rejected = Counter("large_requests_rejected")
        self.stale_requests = Counter("stale_requests")
        self.stale_requests_dropped = Counter("stale_requests_dropped")
        self.stale_replies = Counter("stale_replies")
        self.request_throttle_queue_time_ms = PercentileSummary("request_throttle_queue_time_ms")
        self.request_throttle_wait_count = Counter("request_throttle_wait_count")
        self.throttled_ops = Counter("throttled_ops")
        self.netty_queued_buffer_capacity = Summary("netty_queued_buffer_capacity")
        self.unsuccessful_handshake = Counter("unsuccessful_handshake")
        self.insecure_admin_count = Counter("insecure_admin_count")
        self.tls_handshake_exceeded = Counter("tls_handshake_exceeded")
        self.cnxn_closed_without_zk_server_running = Counter("cnxn_closed_without_zk_server_running")
        self.ensemble_auth_success = Counter("ensemble_auth_success")
        self.ensemble_auth_fail = Counter("ensemble_auth_fail")
        self.ensemble_auth_skip = Counter("ensemble_auth_skip")

    def _init_pipeline(self) -> None:
        self.readlatency = PercentileSummary("readlatency")
        self.updatelatency = PercentileSummary("updatelatency")
        self.write_per_namespace = SummarySet("write_per_namespace")
        self.read_per_namespace = SummarySet("read_per_namespace")
        self.quota_exceeded_error_per_namespace = CounterSet("quota_exceeded_error_per_namespace")
        self.node_created_watch_count = Summary("node_created_watch_count")
        self.node_deleted_watch_count = Summary("node_deleted_watch_count")
        self.node_changed_watch_count = Summary("node_changed_watch_count")
        self.node_children_watch_count = Summary("node_children_watch_count")
        self.add_dead_watcher_stall_time = Counter("add_dead_watcher_stall_time")
        self.dead_watchers_queued = Counter("dead_watchers_queued")
        self.dead_watchers_cleared = Counter("dead_watchers_cleared")
        self.dead_watchers_cleaner_latency = PercentileSummary("dead_watchers_cleaner_latency")
        self.prep_processor_queue_time_ms = PercentileSummary("prep_processor_queue_time_ms")
        self.prep_processor_queue_size = Summary("prep_processor_queue_size")
        self.prep_processor_request_queued = Counter("prep_processor_request_queued")
        self.outstanding_changes_queued = Counter("outstanding_changes_queued")
        self.outstanding_changes_removed = Counter("outstanding_changes_removed")
        self.prep_process_time = Summary("prep_process_time")
        self.proposal_process_time = Summary("proposal_process_time")
        self.close_session_prep_time = PercentileSummary("close_session_prep_time")
        self.read_final_proc_time_ms = PercentileSummary("read_final_proc_time_ms")
        self.write_final_proc_time_ms = PercentileSummary("write_final_proc_time_ms")
        self.propagation_latency = PercentileSummary("propagation_latency")
        self.jvm_pause_time_ms = PercentileSummary("jvm_pause_time_ms")

    def _init_quorum(self) -> None:
        self.proposal_latency = PercentileSummary("proposal_latency")
        self.proposal_ack_creation_latency = PercentileSummary("proposal_ack_creation_latency")
        self.commit_propagation_latency = PercentileSummary("commit_propagation_latency")
        self.quorum_ack_latency = PercentileSummary("quorum_ack_latency")
        for name in _QUORUM_COUNTERS:
            setattr(self, name, Counter(name))
        for name in _QUORUM_SUMMARIES:
            setattr(self, name, Summary(name))
        for name in _QUORUM_PERCENTILES:
            setattr(self, name, PercentileSummary(name))
        self.learner_handler_qp_size = SummarySet("learner_handler_qp_size")
        self.learner_handler_qp_time_ms = SummarySet("learner_handler_qp_time_ms", PercentileSummary)
        self.ack_latency = SummarySet("ack_latency", PercentileSummary)

    def count(self, name: str, amount: int = 1) -> None:
        """Add to one of the counters that only an ensemble moves."""
        counter = getattr(self, name)
        assert isinstance(counter, Counter)
        counter.add(amount)

    def observe(self, name: str, value: int) -> None:
        """Add a value to one of the summaries that only an ensemble moves."""
        summary = getattr(self, name)
        assert isinstance(summary, Summary)
        summary.add(value)

    def register_gauge(self, name: str, read: Callable[[], Number | None]) -> None:
        """Let ``name`` be answered by ``read`` at dump time; ``None`` leaves it out. A later call replaces it."""
        self._gauges[name] = read

    def unregister_gauge(self, name: str) -> None:
        """Forget a gauge; unknown names are fine."""
        self._gauges.pop(name, None)

    def register_gauge_set(self, name: str, read: Callable[[], Mapping[str, Number | None]]) -> None:
        """As :meth:`register_gauge`, for one value per key, dumped as ``<key>_<name>``."""
        self._gauge_sets[name] = read

    def dump(self) -> dict[str, Number]:
        """Every value under the name ``mntr`` gives it (without ``zk_``), gauges first, then by kind as in stock."""
        out: dict[str, Number] = {}
        for name, read in self._gauges.items():
            value = read()
            if value is not None:
                out[name] = value
        for name, read_set in self._gauge_sets.items():
            for key, member in read_set().items():
                out[f"{key}_{name}"] = 0 if member is None else member
        metrics = self._metrics()
        for kind in (Counter, CounterSet, Summary, PercentileSummary, SummarySet):
            for metric in metrics:
                if type(metric) is kind:
                    metric.dump(out)
        return out

    def reset(self) -> None:
        """Every counter and summary back to nothing; gauges are not touched."""
        for metric in self._metrics():
            metric.reset()

    def _metrics(self) -> list[Counter | Summary | CounterSet | SummarySet]:
        kinds = (Counter, Summary, CounterSet, SummarySet)
        return [value for value in vars(self).values() if isinstance(value, kinds)]


#: Metrics that only an ensemble moves. Stock lists them in a standalone server too, at zero, and so do we.
_QUORUM_COUNTERS: Final = (
    "looking_count",
    "diff_count",
    "snap_count",
    "commit_count",
    "revalidate_count",
    "request_commit_queued",
    "learner_proposal_received_count",
    "learner_commit_received_count",
    "proposal_count",
    "quit_leading_due_to_disloyal_voter",
    "skip_learner_request_to_next_processor_count",
    "requests_not_forwarded_to_commit_processor",
)
_QUORUM_SUMMARIES: Final = (
    "follower_sync_time",
    "observer_sync_time",
    "election_time",
    "inflight_snap_count",
    "inflight_diff_count",
    "unavailable_time",
    "leader_unavailable_time",
    "requests_in_session_queue",
    "pending_session_queue_size",
    "reads_after_write_in_session_queue",
    "reads_issued_from_session_queue",
    "session_queues_drained",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "write_batch_time_in_commit_processor",
    "concurrent_request_processing_in_commit_processor",
    "read_commit_proc_req_queued",
    "write_commit_proc_req_queued",
    "commit_commit_proc_req_queued",
    "read_commit_proc_issued",
    "write_commit_proc_issued",
    "commit_process_time",
    "learner_request_processor_queue_size",
    "socket_closing_time",
)
_QUORUM_PERCENTILES: Final = (
    "read_commitproc_time_ms",
    "write_commitproc_time_ms",
    "local_write_committed_time_ms",
    "server_write_committed_time_ms",
    "om_proposal_process_time_ms",
    "om_commit_process_time_ms",
)


def round_half_up(value: float, decimals: int = 4) -> float:
    """Round to ``decimals`` places, halves up (``BigDecimal`` with ``HALF_UP``); ``value`` is not negative."""
    scale = 10.0**decimals
    return float(math.floor(value * scale + 0.5) / scale)
