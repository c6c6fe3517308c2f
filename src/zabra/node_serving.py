"""What serves clients besides the pipeline, from RUNNING to the end of a role: reads, timed work, snapshots."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from zabra.frontend.attach import Attach
from zabra.pipeline.chores import Chores
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.localsessions import LocalSessions
from zabra.pipeline.ports import Pipeline
from zabra.pipeline.reads import Reads
from zabra.pipeline.snapshots import SnapshotPolicy, Snapshotter
from zabra.tree.dump import can_begin

if TYPE_CHECKING:
    from zabra.node import Server

#: Writes between two calls of gc.freeze, so that a full collection never meets more new znodes than that. Nothing here
#: leaves garbage in cycles, which would now stay for good.
_FREEZE_EVERY: Final = 10_000


class Serving:
    """One time of serving: made with what a role has wired, ended once."""

    def __init__(self, server: Server, pipeline: Pipeline) -> None:
        settings = server.settings
        runtime = server.runtime
        tree = server.db.tree
        self._hub = server.hub
        self._db = server.db
        self._tree = tree
        self._pipeline = pipeline
        self._clock = runtime.clock
        self._loop = server.loop
        self._tick_s = settings.tick_time_ms / 1000
        self._timer: asyncio.TimerHandle | None = None
        self._chores: Chores | None = None
        #: Writes since the collector was last told to leave everything alone.
        self._unfrozen = 0
        self.snapshotter = Snapshotter(
            tree,
            lambda: dict(server.db.sessions),
            server.store,
            server.snapshot_worker,
            runtime.clock,
            server.loop,
            server.stats.metrics,
        )
        self._policy = SnapshotPolicy(runtime.random, settings.snap_count, settings.snap_size_limit_kb * 1024)
        tree.deliver = server.hub.deliver
        tree.quotas.on_exceeded = server.stats.metrics.quota_exceeded_error_per_namespace.add
        server.gate.tree = tree
        reads = Reads(tree, server.rights, settings.jute_max_buffer + settings.jute_max_buffer_extra)
        server.hub.prepare(pipeline, reads, Attach(server.hub, server.throttle), tree)

    def do_chores(self, server: Server, pipeline: LocalPipeline) -> None:
        """This server decides what expires and is swept."""
        self._chores = Chores(server.settings, pipeline, self._tree, server.runtime.clock, server.stats.metrics)
        self._chores.start()

    def take_clients(self, *, read_only: bool = False) -> None:
        """The requests that waited are served."""
        self._hub.run(read_only=read_only)
        self._expire_local()

    def _expire_local(self) -> None:
        """End local sessions whose time is over, a tick at most late; the others are a leader's business."""
        if isinstance(self._pipeline, LocalSessions):
            self._pipeline.expire(int(self._clock.monotonic() * 1000))
            self._timer = self._loop.call_later(self._tick_s, self._expire_local)

    def commit_turn(self, writes: Sequence[Any], started: float) -> None:
        """Commit what is durable, or agreed; ``started``: monotonic seconds at which its first write came."""
        self._hub.commit_turn(writes, started)
        self._unfrozen += len(writes)
        if self._unfrozen > _FREEZE_EVERY:
            self._unfrozen = 0
            gc.freeze()

    def logged(self, entries: int, size: int) -> None:
        """So much is in the log: take a snapshot when it is time."""
        if self._policy.due(entries, size) and not self.snapshotter.running and can_begin(self._tree):
            self._policy.reset()
            self._db.writer.roll()
            self.snapshotter.take_nowait()

    def end(self) -> None:
        """Do nothing more."""
        if self._chores is not None:
            self._chores.stop()
        if self._timer is not None:
            self._timer.cancel()
        self.snapshotter.stop()
        self._hub.halt()
