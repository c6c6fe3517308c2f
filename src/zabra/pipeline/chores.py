"""Timed work of the server that owns the sessions: expiry, and the sweep of containers and TTL nodes.

Sources: ``SessionTrackerImpl.run``, ``ContainerManager`` (3.9.5).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from zabra.config.model import Settings
from zabra.obs.metrics import Metrics
from zabra.pipeline.local import LocalPipeline
from zabra.runtime.ports import Clock
from zabra.tree.expiry import candidates, is_due, min_interval_ms
from zabra.tree.tree import DataTree

_log = logging.getLogger(__name__)

_MASK64: Final = (1 << 64) - 1


class Chores:
    """Runs from start to stop on the loop's timers."""

    def __init__(
        self, settings: Settings, pipeline: LocalPipeline, tree: DataTree, clock: Clock, metrics: Metrics
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipeline = pipeline
        self._tree = tree
        self._clock = clock
        self._metrics = metrics
        self._tick = settings.tick_time_ms / 1000
        self._max_never_used_ms = settings.container_max_never_used_interval_ms
        self._sweep_interval = settings.container_check_interval_ms / 1000
        self._sweep_spacing = min_interval_ms(settings.container_max_per_minute) / 1000
        #: Candidates of the running sweep, next one last.
        self._due: list[bytes] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stopped = False

    def start(self) -> None:
        """Begin; the first expiry is due after one tick, the first sweep after one interval."""
        self._expire()
        self._timers["sweep"] = self._loop.call_later(self._sweep_interval, self._sweep)

    def stop(self) -> None:
        """End; nothing is submitted any more."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _expire(self) -> None:
        if self._stopped:
            return
        now = self._clock.monotonic()
        for session in self._pipeline.sessions.expired(int(now * 1000)):
            _log.info("session 0x%x expired after %d ms of silence", session.id & _MASK64, session.timeout_ms)
            self._metrics.stale_sessions_expired.add()
            self._pipeline.close_session(None, session, 0)
        deadline = self._pipeline.sessions.next_deadline_ms()
        # A session made meanwhile lives for two ticks at least, so one tick of sleep never misses it.
        delay = self._tick if deadline is None else min(max(deadline / 1000 - now, 0.001), self._tick)
        self._timers["expire"] = self._loop.call_later(delay, self._before_expire)

    def _before_expire(self) -> None:
        """Read what the sockets hold first: after a stall the pings that came meanwhile are waiting there."""
        self._loop.call_soon(self._expire)

    def _sweep(self) -> None:
        self._due = candidates(self._tree, self._clock.wall_ms(), self._max_never_used_ms, self._tree.owners.ttl_ms)
        self._due.reverse()
        self._delete_next()

    def _delete_next(self) -> None:
        """One deletion at a time, spread so that a mass expiry does not crowd out the clients."""
        wall_ms = self._clock.wall_ms()
        while self._due:
            path = self._due.pop()
            if is_due(self._tree, path, wall_ms, self._max_never_used_ms, self._tree.owners.ttl_ms):
                break
        else:
            self._timers["sweep"] = self._loop.call_later(self._sweep_interval, self._sweep)
            return
        _log.info("removing %s: an empty container, or its time to live is over", path.decode("utf-8", "replace"))
        self._pipeline.delete_container(path)
        self._timers["sweep"] = self._loop.call_later(self._sweep_spacing, self._delete_next)
