"""What all client connections of a server share, and the turn of the loop they take part in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from zabra.auth.rights import Rights
from zabra.config.model import Settings
from zabra.consts import EventType, Perm
from zabra.frontend.connection import Connection
from zabra.frontend.connection_out import ConnectionOut
from zabra.frontend.gate import Gate
from zabra.frontend.limits import ConnectionLimits
from zabra.frontend.replies import encode_event
from zabra.frontend.throttle import LargeRequests, RequestThrottle
from zabra.obs.stats import ServerStats
from zabra.pipeline.ports import Pipeline, Scheduler
from zabra.pipeline.reads import Reads
from zabra.runtime.ports import Clock
from zabra.tree.node import OPEN_ACL
from zabra.tree.tree import DataTree
from zabra.wire.records_data import Acl

if TYPE_CHECKING:
    from zabra.frontend.attach import Attach


class Hub:
    """The server as its connections see it."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        stats: ServerStats,
        limits: ConnectionLimits,
        gate: Gate,
        access: Rights,
        four_letter: Callable[[str, bytes], bytes],
        scheduler: Scheduler,
    ) -> None:
        """``four_letter(word, extra)`` answers a four-letter word, running or not."""
        self.settings = settings
        self.clock = clock
        self.stats = stats
        self.limits = limits
        self.gate = gate
        self.access = access
        self.four_letter = four_letter
        self._scheduler = scheduler
        #: For every chunk: the clock, and how long a frame may be.
        self.monotonic = clock.monotonic
        self.frame_limit = settings.jute_max_buffer
        self.outstanding_limit = settings.global_outstanding_limit
        metrics = stats.metrics
        self._watch_counts = {
            EventType.CREATED: metrics.node_created_watch_count,
            EventType.DELETED: metrics.node_deleted_watch_count,
            EventType.DATA_CHANGED: metrics.node_changed_watch_count,
            EventType.CHILDREN_CHANGED: metrics.node_children_watch_count,
        }
        #: Open connections in order of accept.
        self.connections: dict[Connection, None] = {}
        #: Holds requests back; None: no limit is set.
        self.throttle: RequestThrottle | None = None
        if settings.request_throttle_max_requests > 0:
            self.throttle = RequestThrottle(
                settings, scheduler, clock.monotonic, metrics, lambda: self.pipeline.outstanding
            )
        #: Counts large requests; None: none counts as large.
        self.large: LargeRequests | None = None
        if settings.large_request_threshold > 0:
            self.large = LargeRequests(settings.large_request_threshold, settings.large_request_max_bytes, metrics)
        #: Whether requests need a look before they are served, see :mod:`zabra.frontend.guarded`.
        self.is_guarded = gate.guarded or self.throttle is not None or self.large is not None
        #: Connections with replies or events to write at the end of the turn.
        self.dirty: list[ConnectionOut] = []
        #: Connections that are not read while too many writes are outstanding.
        self.held: list[Connection] = []
        #: Whether connections that come while nothing is served wait for it; otherwise they are closed.
        self.waits = True
        #: There is no quorum: only clients that asked for such a server are let in.
        self.read_only = False
        #: Set while the server is RUNNING.
        self.pipeline: Pipeline
        self.reads: Reads
        self.attach: Attach
        self.tree: DataTree
        self.running = False
        #: Latency of the writes that the present turn commits, in ms.
        self.turn_latency_ms = 0
        self._turning = False

    def prepare(self, pipeline: Pipeline, reads: Reads, attach: Attach, tree: DataTree) -> None:
        """What a role serves clients with, and commits with in any case."""
        self.pipeline = pipeline
        self.touch = pipeline.touch
        self.set_data_run = pipeline.set_data_run
        self.create_run = pipeline.create_run
        self.reads = reads
        self.attach = attach
        self.tree = tree

    def run(self, *, read_only: bool = False) -> None:
        """The server is RUNNING, in whatever role: serve the connections that waited."""
        self.read_only = read_only
        self.running = True
        for connection in list(self.connections):
            connection.resume()

    def halt(self) -> None:
        """The server serves nothing any more: every connection is closed, its requests and watches are gone."""
        for connection in list(self.connections):
            connection.close()
        self.held.clear()
        if self.throttle is not None:
            self.throttle.clear()
        self.running = False

    @property
    def crowd(self) -> int:
        """Requests that wait: for a commit, or held back by the throttle, whichever are more."""
        outstanding = self.pipeline.outstanding
        return outstanding if self.throttle is None else max(outstanding, len(self.throttle))

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run in the next turn of the loop."""
        self._scheduler.call_soon(callback)

    def deliver(self, watchers: Iterable[object], event_type: int, path: bytes, zxid: int, acl: Acl) -> None:
        """Tell watchers of a change; only those that may read the node (CVE-2024-23944)."""
        event = encode_event(event_type, path, zxid)
        size = len(event) - 4
        dirty = self.dirty
        told = 0
        for watcher in cast("Iterable[Connection]", watchers):
            if acl is OPEN_ACL or self.access.permits(acl, Perm.READ, watcher.identities, path):
                # As Connection.deliver, without the call: a thousand may watch.
                watcher.out.append(event)
                watcher.events += 1
                watcher.event_bytes += size
                if not watcher.dirty:
                    watcher.dirty = True
                    dirty.append(watcher)
                told += 1
        if told:
            self.need_end_turn()
        self.stats.packets_sent += told
        self.stats.metrics.watch_bytes.value += told * size
        self._watch_counts[event_type].add(told)

    def need_end_turn(self) -> None:
        """Something is to be written outside of a commit: see to it that the turn ends."""
        if not self._turning:
            self._turning = True
            self._scheduler.call_soon(self.end_turn)

    def commit_turn(self, writes: Sequence[Any], started: float) -> None:
        """Commit what the pipeline takes as a batch and write everything it produced.

        ``started`` is the monotonic second at which the first of it was submitted.
        """
        now = self.clock.monotonic()
        latency = self.turn_latency_ms = int((now - started) * 1000)
        self._turning = True
        count = self.pipeline.commit(writes, int(now * 1000))
        if count:
            # A learner's turn may have nobody to answer here.
            stats = self.stats
            stats.packets_sent += count
            stats.record(count, latency)
            stats.metrics.updatelatency.add_many(latency, count)
        self.end_turn()
        self.turn_latency_ms = 0

    def end_turn(self) -> None:
        """Write what the turn produced, one write a connection; read again from those held back."""
        self._turning = False
        if self.throttle is not None:
            self.throttle.run()
        dirty = self.dirty
        self.dirty = []
        for connection in dirty:
            connection.flush()
        if self.held and self.crowd <= self.outstanding_limit:
            held = self.held
            self.held = []
            for connection in held:
                connection.release()
