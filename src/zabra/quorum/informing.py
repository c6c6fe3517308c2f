"""Observers that learn from a follower, on the loop: the core of :mod:`zabra.zab.observer_master` and its connections.

Source: ``ObserverMaster`` (3.9.5). A follower that cannot listen for observers follows all the same; there it gives up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from zabra.pipeline.forward import ForwardingPipeline
from zabra.pipeline.relay import Relay
from zabra.quorum.context import Context, Designated
from zabra.quorum.learnerport import LearnerPort, PortOwner
from zabra.quorum.options import master_options
from zabra.quorum.performer import Performer
from zabra.zab.effects import Close, Effect, Forwarded, Revalidate, SendTo, SyncLearner, Touched
from zabra.zab.observer_master import ObserverMaster
from zabra.zab.packets import Arrived
from zabra.zab.syncplan import Entry

_log = logging.getLogger(__name__)


class Informing:
    """The observers of a follower that serves, from :meth:`start` to :meth:`close`."""

    def __init__(self, context: Context, pipeline: ForwardingPipeline, epoch: int) -> None:
        self._context = context
        settings = context.settings
        self.core = ObserverMaster(
            context.db,
            context.membership,
            master_options(settings),
            epoch=epoch,
            now_ms=context.now_ms(),
        )
        self._pipeline = pipeline
        self._relay = Relay(pipeline, context.db.sessions)
        self._port = LearnerPort(
            context,
            PortOwner(self._opened, self._received, self._lost),
            backlog_max=settings.observer_master_size_limit,
        )
        self._listening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._perform = Performer("the observer master", self._one, lambda: not self._over, context.host.fatal).add
        self._over = False
        #: By a membership that is committed next.
        self._designated: Designated | None = None

    def start(self) -> None:
        """Take observers."""
        self._listening = self._context.loop.create_task(self._listen(), name="observer master")
        self._arm()

    async def _listen(self) -> None:
        context = self._context
        port = context.settings.observer_master_port
        line = context.membership.own
        hosts = [host for host, _, _ in line.addresses] if line is not None else []
        try:
            await self._port.listen([(host, port) for host in hosts])
        except OSError as error:
            _log.error("cannot listen for observers: %s", error)
            return
        _log.info("observers are informed on port %d", port)

    async def close(self) -> None:
        """Hang up on everybody."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._port.close()
        if self._listening is not None:
            await self._listening

    # -- what the follower tells

    def activates(self, designated: Designated) -> None:
        """A new membership is committed next."""
        self._designated = designated

    def committed(self, entries: Sequence[Entry]) -> None:
        """These are in the tree."""
        began = self._context.loop.time()
        designated = None
        if self._designated is not None and self._designated.zxid == entries[0].zxid:
            designated = self._designated.leader
        self._perform(self.core.committed(entries, designated))
        elapsed_ms = int((self._context.loop.time() - began) * 1000)
        self._context.stats.metrics.observe("om_commit_process_time_ms", elapsed_ms)

    # -- connections

    def _opened(self, conn: int) -> None:
        self._input(self.core.connected(conn, self._context.now_ms()))

    def _received(self, conn: int, arrived: Sequence[Arrived]) -> None:
        self._input(self.core.packets(conn, arrived, self._context.now_ms()))

    def _lost(self, conn: int) -> None:
        self._input(self.core.disconnected(conn))

    def _sync_sent(self, conn: int) -> None:
        self._input(self.core.sync_sent(conn, self._context.now_ms()))

    def _synced(self, conn: int) -> None:
        self._perform(self.core.synced(conn))

    def _revalidated(self, conn: int, session: int, valid: bool) -> None:
        self._perform(self.core.revalidated(conn, session, valid))

    # -- inputs and effects

    def _input(self, effects: Iterable[Effect]) -> None:
        """Perform what an input gave, and mind the core's next deadline."""
        self._perform(effects)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._over:
            self._timer = self._context.loop.call_at(self.core.deadline_ms / 1000, self._timeout)

    def _timeout(self) -> None:
        self._input(self.core.timeout(self._context.now_ms()))
        self._port.measure_queues(self.core.in_step())

    def _one(self, effect: Effect) -> None:
        match effect:
            case SendTo(conns, data):
                self._port.send(conns, data)
            case Forwarded(conn, requests):
                self._relay.requests(conn, requests, lambda: self._synced(conn))
            case Touched(_, sessions):
                for session, timeout_ms in sessions:
                    self._pipeline.touch_remote(session, timeout_ms)
            case Revalidate(conn, session, timeout_ms):
                self._context.stats.metrics.count("revalidate_count")
                self._relay.revalidate(conn, session, timeout_ms, lambda valid: self._revalidated(conn, session, valid))
            case SyncLearner(conn, plan):
                self._port.sync(conn, plan, lambda: self._sync_sent(conn))
            case Close(conn, reason):
                self._port.hang_up(conn, reason)
            case _:
                raise AssertionError(f"no effect of an observer master: {effect}")
