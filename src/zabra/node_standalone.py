"""A standalone server, wired: its sessions, and the stages that a request passes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zabra.node_serving import Serving
from zabra.pipeline.commit import Commit
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.persist import Persist
from zabra.pipeline.prep import Prep
from zabra.pipeline.request import Proposal
from zabra.sessions.tracker import SessionTracker
from zabra.storage.recovery import Recovered, remove_dead_ephemerals

if TYPE_CHECKING:
    from zabra.node import Server

_log = logging.getLogger(__name__)


class Standalone:
    """What is particular to a server without an ensemble."""

    # Made by the steps of the start, in this order.
    _recovered: Recovered
    _sessions: SessionTracker
    _pipeline: LocalPipeline
    _serving: Serving

    def __init__(self, server: Server) -> None:
        self._server = server
        self._persist: Persist[Proposal] | None = None

    # -- the steps of the start

    def start_session_tracker(self, recovered: Recovered) -> None:
        """Live sessions get their full timeout; ephemerals of all others go (``ZooKeeperServer.loadData``)."""
        server = self._server
        settings = server.settings
        now_ms = int(server.runtime.clock.monotonic() * 1000)
        sessions = SessionTracker(settings.server_id, settings.tick_time_ms, now_ms, server.db.sessions)
        removed = remove_dead_ephemerals(server.tree, recovered.sessions)
        if removed:
            _log.warning("removed the ephemerals of %d sessions that no longer exist", removed)
        self._recovered = recovered
        self._sessions = sessions

    def wire_stages(self) -> None:
        """Validate, log, commit, answer."""
        server = self._server
        settings = server.settings
        tree = server.tree
        persist = self._persist = Persist(
            settings,
            server.db.writer,
            server.new_worker("log"),
            server.new_worker("fill"),
            server.runtime.clock,
            server.loop,
            self._commit,
            server.fatal,
            server.stats,
        )
        limit = settings.jute_max_buffer + settings.jute_max_buffer_extra
        prep = Prep(settings, tree, server.rights, persist.propose, limit=limit)
        sessions = self._sessions
        server.pipeline = self._pipeline = LocalPipeline(
            prep, persist, Commit(tree, prep.pending, sessions), sessions, server.runtime.clock
        )
        server.serving_parts = self._serving = Serving(server, self._pipeline)

    async def run(self) -> None:
        """The requests that waited are served."""
        # As in Apache a start leaves a snapshot of what it loaded; a fresh folder already has its first one.
        if self._recovered.created_snapshot is None:
            self._serving.snapshotter.take_nowait()
        self._serving.do_chores(self._server, self._pipeline)
        self._serving.take_clients()

    # -- while it runs

    def _commit(self, writes: list[Proposal], started: float) -> None:
        """A batch is durable."""
        assert self._persist is not None
        server = self._server
        self._serving.commit_turn(writes, started)
        elapsed_ms = int((server.runtime.clock.monotonic() - started) * 1000)
        server.stats.metrics.propagation_latency.add_many(elapsed_ms, len(writes))
        self._serving.logged(len(writes), self._persist.last_size)

    # -- the end

    def flush(self) -> None:
        """Make durable, and answer, what was asked for."""
        if self._persist is not None:
            self._persist.flush()

    async def stop(self) -> None:
        """Log nothing more; fine at any point of the start."""
        if self._persist is not None:
            self._persist.stop()
