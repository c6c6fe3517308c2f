"""One server: its parts, and the order in which they start and stop.

Start-up follows ``QuorumPeerMain`` and ``ZooKeeperServerMain`` (3.9.5), step by step in :meth:`Server.start`. Parsing
the configuration is the caller's step before the first one here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from enum import Enum
from typing import TypeVar, cast

from zabra.admin.fourletter import answer
from zabra.admin.status import register_gauges
from zabra.auth.access import Enforcement
from zabra.auth.registry import build_registry
from zabra.auth.rights import Rights
from zabra.config.model import Settings
from zabra.errors import ConfigError
from zabra.frontend.attach import Attach
from zabra.frontend.gate import Gate
from zabra.frontend.hub import Hub
from zabra.frontend.limits import ConnectionLimits, ConnectionThrottle
from zabra.frontend.listener import Listener
from zabra.node_status import NodeStatus
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats
from zabra.pipeline.chores import Chores
from zabra.pipeline.commit import Commit
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.persist import Persist
from zabra.pipeline.prep import Prep
from zabra.pipeline.reads import Reads
from zabra.pipeline.request import Proposal
from zabra.pipeline.snapshots import SnapshotPolicy, Snapshotter
from zabra.runtime.ports import Runtime, Worker
from zabra.sessions.tracker import SessionTracker
from zabra.storage.database import Database
from zabra.storage.recovery import Folders, Recovered, lock_folder, open_folders, remove_dead_ephemerals
from zabra.storage.snapstore import SnapshotStore
from zabra.tree.tree import DataTree

T = TypeVar("T")

_log = logging.getLogger(__name__)

#: TTL nodes mark their owner with a top byte that a larger server id would collide with.
_SERVER_ID_MAX_EXTENDED = 254
#: Writes between two calls of gc.freeze, so that a full collection never meets more new znodes than that. Nothing here
#: leaves garbage in cycles, which would now stay for good.
_FREEZE_EVERY = 10_000


class State(Enum):
    """Where a server is in its life (``ZooKeeperServer.State``)."""

    INITIAL = "initial"
    RUNNING = "running"
    SHUTDOWN = "shutdown"
    ERROR = "error"


class Server:
    """A standalone server in the running event loop."""

    # Made by the start, in this order.
    stats: ServerStats
    folders: Folders
    db: Database
    hub: Hub
    sessions: SessionTracker
    throttle: ConnectionThrottle
    pipeline: LocalPipeline
    snapshotter: Snapshotter

    def __init__(self, settings: Settings, runtime: Runtime, *, name: str = "zabra") -> None:
        self.settings = settings
        self.runtime = runtime
        self.name = name
        self.state = State.INITIAL
        #: The exit code, once the server stopped, by itself or by :meth:`stop`.
        self.stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        #: The port in use, 0 without one.
        self.client_port = 0
        self.started_at = runtime.clock.monotonic()
        self._loop = asyncio.get_running_loop()
        self._workers: list[Worker] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._locks: list[Callable[[], None]] = []
        self._chores: Chores | None = None
        self._listener: Listener | None = None
        self._persist: Persist | None = None
        #: Writes since the collector was last told to leave everything alone.
        self._unfrozen = 0

    @property
    def tree(self) -> DataTree:
        """The znodes."""
        return self.db.tree

    @property
    def serving(self) -> bool:
        """Whether requests are answered."""
        return self.state is State.RUNNING

    async def start(self) -> None:
        """Start and serve. Raises ConfigError, DataError or OSError, with nothing left running."""
        try:
            self._decide_role()
            self._start_cleanup()
            self._make_statistics()
            self._open_storage()
            await self._bind_listener()
            recovered = await self._recover_data()
            self._start_session_tracker()
            self._wire_stages(recovered)
            self._publish_metrics()
            self._run()
        except BaseException:
            await self._release()
            raise

    # -- the steps of the start, in order

    def _decide_role(self) -> None:
        settings = self.settings
        if settings.is_distributed:
            raise ConfigError("this describes a member of an ensemble, which this release cannot run")
        if settings.extended_types_enabled and settings.server_id > _SERVER_ID_MAX_EXTENDED:
            raise ConfigError(f"extendedTypesEnabled needs a server id of at most {_SERVER_ID_MAX_EXTENDED}")

    def _start_cleanup(self) -> None:
        """Purge old snapshots and logs now and then, in a worker of its own (``DatadirCleanupManager``)."""
        hours = self.settings.autopurge_purge_interval_hours
        if hours > 0:
            self._purge_worker = self._new_worker("purge")
            self._timers.append(self._loop.call_soon(self._purge))  # type: ignore[arg-type]

    def _make_statistics(self) -> None:
        self.stats = ServerStats(Metrics())
        self.status = NodeStatus(self)

    def _open_storage(self) -> None:
        settings = self.settings
        self.folders = open_folders(
            self.runtime.disk, settings.data_dir, settings.data_log_dir, autocreate=settings.datadir_autocreate
        )
        # Two servers on one folder would each lose what the other acknowledged.
        for folder in dict.fromkeys((self.folders.logs, self.folders.snapshots)):
            self._locks.append(lock_folder(self.runtime.disk, folder))
        self._store = SnapshotStore(
            self.runtime.disk,
            self.folders.snapshots,
            compression=settings.snapshot_compression,
            last_zxid_section=settings.serialize_last_processed_zxid_enabled,
        )
        self.db = Database(
            settings, self.runtime.disk, self.folders, self._store, self.runtime.clock, self.stats.metrics
        )

    async def _bind_listener(self) -> None:
        """From here on connections are accepted; they wait until the server runs."""
        settings = self.settings
        registry = build_registry(settings)
        for warning in registry.warnings:
            _log.warning("%s", warning)
        self._gate = Gate(registry, Enforcement(settings, registry))
        self._rights = Rights(registry, skip_acl=settings.skip_acl)
        self.hub = Hub(
            settings,
            self.runtime.clock,
            self.stats,
            ConnectionLimits(settings.max_cnxns, settings.max_client_cnxns),
            self._gate,
            self._rights,
            lambda word, extra: answer(word, self.status, extra=extra),
            self._loop,
        )
        if settings.client_port is None:
            return
        self._listener = Listener(self.hub)
        await self._listener.bind(
            settings.client_port_address, settings.client_port, settings.client_port_listen_backlog
        )
        self.client_port = self._listener.port

    async def _recover_data(self) -> Recovered:
        return await self._in_worker(self.db.load)

    def _start_session_tracker(self) -> None:
        """Live sessions get their full timeout; ephemerals of all others go (``ZooKeeperServer.loadData``)."""
        now_ms = int(self.runtime.clock.monotonic() * 1000)
        settings = self.settings
        logged = self.db.sessions
        self.sessions = SessionTracker(settings.server_id, settings.tick_time_ms, now_ms, logged)
        for session_id, timeout_ms in logged.items():
            self.sessions.track(session_id, timeout_ms, now_ms)
        removed = remove_dead_ephemerals(self.tree, logged)
        if removed:
            _log.warning("removed the ephemerals of %d sessions that no longer exist", removed)

    def _wire_stages(self, recovered: Recovered) -> None:
        settings = self.settings
        runtime = self.runtime
        tree = self.tree
        persist = self._persist = Persist(
            self.db.writer,
            self._new_worker("log"),
            self._new_worker("fill"),
            runtime.clock,
            self._loop,
            self._commit,
            self._fatal,
            self.stats,
            flush_delay_ms=settings.flush_delay_ms,
            max_batch_size=settings.max_batch_size,
            sync_warning_ms=settings.fsync_warning_threshold_ms,
        )
        limit = settings.jute_max_buffer + settings.jute_max_buffer_extra
        prep = Prep(
            tree,
            self._rights,
            persist.propose,
            enforce_quota=settings.enforce_quota,
            close_session_paths=settings.close_session_txn_enabled,
            reconfig_enabled=settings.reconfig_enabled,
            limit=limit,
        )
        commit = Commit(tree, prep.pending, self.sessions)
        self.pipeline = LocalPipeline(prep, persist, commit, self.sessions, runtime.clock)
        self.throttle = ConnectionThrottle(settings, runtime.random, int(runtime.clock.monotonic() * 1000))
        self.snapshotter = Snapshotter(
            tree,
            self.sessions.logged,
            self._store,
            self._new_worker("snapshot"),
            runtime.clock,
            self._loop,
            self.stats.metrics,
        )
        self._snapshot_policy = SnapshotPolicy(runtime.random, settings.snap_count, settings.snap_size_limit_kb * 1024)
        self._reads = Reads(tree, self._rights, limit)
        self._chores = Chores(settings, self.pipeline, tree, runtime.clock, self.stats.metrics)
        tree.deliver = self.hub.deliver
        tree.quotas.on_exceeded = self.stats.metrics.quota_exceeded_error_per_namespace.add
        self._gate.tree = tree
        # As in Apache a start leaves a snapshot of what it loaded; a fresh folder already has its first one.
        if recovered.created_snapshot is None:
            self.snapshotter.take_nowait()

    def _publish_metrics(self) -> None:
        register_gauges(self.stats.metrics, self.status)

    def _run(self) -> None:
        """RUNNING: the requests that waited are served."""
        assert self._chores is not None
        self.state = State.RUNNING
        self._chores.start()
        self.hub.run(self.pipeline, self._reads, Attach(self.hub, self.throttle), self.tree)

    # -- running

    def _commit(self, writes: list[Proposal], started: float) -> None:
        """A batch is durable: commit it, and see whether a snapshot is due."""
        self.hub.commit_turn(writes, started)
        self._unfrozen += len(writes)
        if self._unfrozen > _FREEZE_EVERY:
            self._unfrozen = 0
            gc.freeze()
        if (
            self._snapshot_policy.due(len(writes), self._persist.last_size if self._persist else 0)
            and not self.snapshotter.running
        ):
            self._snapshot_policy.reset()
            self.db.writer.roll()
            self.snapshotter.take_nowait()

    def _purge(self) -> None:
        settings = self.settings

        def job() -> None:
            keep = max(settings.autopurge_snap_retain_count, 3)
            self.db.purge(keep, lambda path: _log.info("purged %s", path))

        def done(_: None, error: BaseException | None) -> None:
            if error is not None:
                _log.warning("purge failed: %s", error)
            if self.state in (State.INITIAL, State.RUNNING):
                seconds = settings.autopurge_purge_interval_hours * 3600
                self._timers[:] = [self._loop.call_later(seconds, self._purge)]

        self._purge_worker.submit(job, done)

    def _fatal(self, what: str, error: BaseException) -> None:
        """Disk and memory may disagree: answer nothing more, end with a message and a code."""
        _log.critical("stopping: %s: %s", what, error)
        self.state = State.ERROR
        self.stats.metrics.unrecoverable_error_count.add()
        for connection in list(self.hub.connections):
            connection.abort()
        self._loop.create_task(self._end(1), name=f"{self.name}: end")

    # -- the end

    async def stop(self) -> None:
        """Stop cleanly. Writes that are durable are answered, others are not; sessions live on in the files."""
        if self.state is State.RUNNING:
            self.state = State.SHUTDOWN
            assert self._persist is not None
            self._persist.flush()
        await self._end(1 if self.state is State.ERROR else 0)

    async def _end(self, code: int) -> None:
        await self._release()
        if not self.stopped.done():
            self.stopped.set_result(code)

    async def _release(self) -> None:
        """Give everything back; fine at any point of the start."""
        for timer in self._timers:
            timer.cancel()
        if self._chores is not None:
            self._chores.stop()
        if self._persist is not None:
            self._persist.stop()
            self.snapshotter.stop()
        if self._listener is not None:
            await self._listener.close()
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        if self._persist is not None:
            self.db.close()
        for unlock in self._locks:
            unlock()
        self._locks.clear()

    def _new_worker(self, what: str) -> Worker:
        worker = self.runtime.new_worker(f"{self.name}: {what}")
        self._workers.append(worker)
        return worker

    async def _in_worker(self, job: Callable[[], T]) -> T:
        """Run blocking work beside the loop, so that the port already answers."""
        future: asyncio.Future[T] = self._loop.create_future()

        def done(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(cast(T, result))

        self._new_worker("load").submit(job, done)
        return await future
