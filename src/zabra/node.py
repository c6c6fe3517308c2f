"""One server: its parts, and the order in which they start and stop.

Start-up follows ``QuorumPeerMain`` and ``ZooKeeperServerMain`` (3.9.5), step by step in :meth:`Server.start`. Parsing
the configuration is the caller's step before the first one here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from zabra.admin.fourletter import answer
from zabra.admin.status import register_gauges, register_member_gauges
from zabra.auth.access import Enforcement
from zabra.auth.registry import build_registry
from zabra.auth.rights import Rights
from zabra.config.model import Settings
from zabra.errors import ConfigError
from zabra.frontend.gate import Gate
from zabra.frontend.hub import Hub
from zabra.frontend.limits import ConnectionLimits, ConnectionThrottle
from zabra.frontend.listener import Listener
from zabra.node_member import MemberHost
from zabra.node_serving import Serving
from zabra.node_standalone import Standalone
from zabra.node_status import NodeStatus
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats
from zabra.pipeline.ports import Pipeline
from zabra.quorum.peer import Member
from zabra.runtime.ports import Runtime, Worker
from zabra.runtime.waiting import result_of
from zabra.storage.database import Database
from zabra.storage.recovery import Folders, Recovered, lock_folder, open_folders
from zabra.storage.snapstore import SnapshotStore
from zabra.tree.tree import DataTree

_log = logging.getLogger(__name__)

#: TTL nodes mark their owner with a top byte that a larger server id would collide with.
_SERVER_ID_MAX_EXTENDED: Final = 254


class State(Enum):
    """Where a server is in its life (``ZooKeeperServer.State``)."""

    INITIAL = "initial"
    RUNNING = "running"
    SHUTDOWN = "shutdown"
    ERROR = "error"


class Kind(Protocol):
    """What a standalone server and a member of an ensemble do in ways of their own."""

    def start_session_tracker(self, recovered: Recovered) -> None:
        """Track the sessions that the data has."""

    def wire_stages(self) -> None:
        """Make what requests pass, or what will make it."""

    async def run(self) -> None:
        """Serve, or look for the role to serve in."""

    def flush(self) -> None:
        """Make durable, and answer, what was asked for."""

    async def stop(self) -> None:
        """Do nothing more; fine at any point of the start."""


class Server:
    """One server, standalone or a member of an ensemble, in the running event loop."""

    # Made by the start, in this order.
    stats: ServerStats
    folders: Folders
    store: SnapshotStore
    gate: Gate
    rights: Rights
    hub: Hub
    db: Database
    snapshot_worker: Worker
    throttle: ConnectionThrottle
    #: Of a standalone server, and of a member while it has a role that serves.
    pipeline: Pipeline

    def __init__(self, settings: Settings, runtime: Runtime, *, name: str = "zabra") -> None:
        self.settings = settings
        self.runtime = runtime
        self.name = name
        self.state = State.INITIAL
        self.loop = asyncio.get_running_loop()
        #: The exit code, once the server stopped, by itself or by :meth:`stop`.
        self.stopped: asyncio.Future[int] = self.loop.create_future()
        #: The port in use, 0 without one.
        self.client_port = 0
        self.started_at = runtime.clock.monotonic()
        #: What serves clients now.
        self.serving_parts: Serving | None = None
        #: None: a standalone server.
        self.member: Member | None = None
        self._workers: list[Worker] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._locks: list[Callable[[], None]] = []
        self._listener: Listener | None = None
        self._kind: Kind | None = None
        self._ending: asyncio.Task[None] | None = None
        self._code = 0

    @property
    def serving(self) -> bool:
        """Whether requests are answered."""
        return self.state is State.RUNNING and self.hub.running

    @property
    def tree(self) -> DataTree:
        """What clients see; another object after a member's data was replaced."""
        return self.db.tree

    async def start(self) -> None:
        """Start; a standalone server then serves, a member looks for its leader.

        Raises ConfigError, DataError, BindError or OSError, with nothing left running.
        """
        try:
            self._check_settings()
            self._start_cleanup()
            kind = self._kind = self._decide_standalone_or_ensemble()
            self._make_statistics()
            self._open_storage()
            await self._bind_listener()
            recovered = await self._recover_data()
            kind.start_session_tracker(recovered)
            kind.wire_stages()
            self._publish_metrics()
            await self._run(kind)
        except BaseException:
            await self._release()
            raise

    # -- the steps of the start, in order

    def _check_settings(self) -> None:
        settings = self.settings
        if settings.extended_types_enabled and settings.server_id > _SERVER_ID_MAX_EXTENDED:
            raise ConfigError(f"extendedTypesEnabled needs a server id of at most {_SERVER_ID_MAX_EXTENDED}")

    def _start_cleanup(self) -> None:
        """Purge old snapshots and logs now and then, in a worker of its own (``DatadirCleanupManager``)."""
        hours = self.settings.autopurge_purge_interval_hours
        if hours > 0:
            self._purge_worker = self.new_worker("purge")
            self._timers.append(self.loop.call_soon(self._purge))  # type: ignore[arg-type]

    def _decide_standalone_or_ensemble(self) -> Kind:
        settings = self.settings
        if settings.ensemble is None:
            return Standalone(self)
        if settings.server_id not in settings.ensemble.members:
            raise ConfigError(f"the ensemble has no server {settings.server_id}, which this one is to be")
        return MemberHost(self)

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
        self.store = SnapshotStore(
            self.runtime.disk,
            self.folders.snapshots,
            compression=settings.snapshot_compression,
            last_zxid_section=settings.serialize_last_processed_zxid_enabled,
        )
        self.db = Database(
            settings,
            self.runtime.disk,
            self.folders,
            self.store,
            self.runtime.clock,
            self.stats.metrics,
        )

    async def _bind_listener(self) -> None:
        """From here on connections are accepted; they wait until the server runs."""
        settings = self.settings
        registry = build_registry(settings)
        for warning in registry.warnings:
            _log.warning("%s", warning)
        self.gate = Gate(registry, Enforcement(settings, registry))
        self.rights = Rights(registry, skip_acl=settings.skip_acl)
        self.hub = Hub(
            settings,
            self.runtime.clock,
            self.stats,
            ConnectionLimits(settings.max_cnxns, settings.max_client_cnxns),
            self.gate,
            self.rights,
            lambda word, extra: answer(word, self.status, extra=extra),
            self.loop,
        )
        # Whoever comes while a member has no role is to try another one; a standalone server soon serves.
        self.hub.waits = not settings.is_distributed
        if settings.client_port is not None:
            await self._bind(settings.client_port_address, settings.client_port)

    async def _bind(self, host: str | None, port: int) -> None:
        self._listener = Listener(self.hub)
        await self._listener.bind(host, port, self.settings.client_port_listen_backlog)
        self.client_port = self._listener.port

    async def _recover_data(self) -> Recovered:
        # Beside the loop, so that the port already answers.
        recovered = await result_of(self.new_worker("load"), self.db.load)
        self.snapshot_worker = self.new_worker("snapshot")
        self.throttle = ConnectionThrottle(
            self.settings, self.runtime.random, int(self.runtime.clock.monotonic() * 1000)
        )
        return recovered

    def _publish_metrics(self) -> None:
        register_gauges(self.stats.metrics, self.status)
        if self.settings.is_distributed:
            register_member_gauges(self.stats.metrics, self.status)

    async def _run(self, kind: Kind) -> None:
        """The requests that waited are served; those of a member once it has a role."""
        self.state = State.RUNNING
        await kind.run()

    async def rebind(self) -> None:
        """Listen where the membership says now, if that changed (``processReconfig``). Clients there are stay."""
        member = self.member
        own = member.context.membership.own if member is not None else None
        if own is None or own.client_port in (None, self.client_port) or self._listener is None:
            return
        assert own.client_port is not None
        old = self._listener
        try:
            await self._bind(own.client_host, own.client_port)
        except OSError as error:
            _log.error("cannot listen on the client address of the new membership: %s", error)
            self._listener = old
            return
        old.stop_listening()
        _log.info("clients connect to port %d from now on", self.client_port)

    # -- while it runs

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
                self._timers[:] = [self.loop.call_later(seconds, self._purge)]

        self._purge_worker.submit(job, done)

    def fatal(self, what: str, error: BaseException) -> None:
        """Disk and memory may disagree: answer nothing more, end with a message and a code."""
        self.stats.metrics.unrecoverable_error_count.add()
        self.exit(1, f"{what}: {error}")

    def exit(self, code: int, reason: str) -> None:
        """Answer nothing more, end with ``code``; also when this comes while the server stops."""
        if self.state is State.ERROR:
            return
        _log.critical("stopping: %s", reason)
        self.state = State.ERROR
        self._code = code
        for connection in list(self.hub.connections):
            connection.abort()
        self._begin_end()

    # -- the end

    async def stop(self) -> None:
        """Stop cleanly. Writes that are durable are answered, others are not; sessions live on in the files."""
        if self.state is State.RUNNING:
            self.state = State.SHUTDOWN
            if self.hub.throttle is not None:
                await self.hub.throttle.drain(self.settings.request_throttler_shutdown_timeout_ms)
            if self._kind is not None:
                self._kind.flush()
        ending = self._begin_end()
        await asyncio.wait((ending,))
        ending.result()

    def _begin_end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = self.loop.create_task(self._end(), name=f"{self.name}: end")
        return self._ending

    async def _end(self) -> None:
        await self._release()
        self.stopped.set_result(self._code)

    async def _release(self) -> None:
        """Give everything back; fine at any point of the start."""
        for timer in self._timers:
            timer.cancel()
        if self._kind is not None:
            await self._kind.stop()
        if self.serving_parts is not None:
            self.serving_parts.end()
        if self._listener is not None:
            await self._listener.close()
        for worker in self._workers:
            worker.close()
        self._workers.clear()
        if hasattr(self, "db"):
            self.db.close()
        for unlock in self._locks:
            unlock()
        self._locks.clear()

    def new_worker(self, what: str) -> Worker:
        worker = self.runtime.new_worker(f"{self.name}: {what}")
        self._workers.append(worker)
        return worker
