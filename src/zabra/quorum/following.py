"""[hot] Following or observing on the loop: the core of :mod:`zabra.zab.learner`, its connection, its log, its clients.

Effects are performed in order. Three of them take long: cutting the log, writing a snapshot, and waiting for a slow
disk. Meanwhile nothing is read from the leader and the core gets no input; elections and four-letter words go on.
Source: ``Learner``, ``Follower``, ``Observer``, ``FollowerZooKeeperServer`` (3.9.5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from zabra.config.dynamic import EnsembleConfig
from zabra.errors import ConfigError, DataError, ProtocolError
from zabra.pipeline.forward import ForwardingPipeline
from zabra.quorum.channel import Channel, ChannelOwner
from zabra.quorum.context import Context, Designated, Outcome
from zabra.quorum.informing import Informing
from zabra.quorum.masters import Master
from zabra.quorum.performer import Performer
from zabra.quorum.rolelog import RoleLog
from zabra.sessions.learner import LearnerSessions
from zabra.storage.snapstream import SnapStreamLoader
from zabra.zab import packets
from zabra.zab.discovery import Summary
from zabra.zab.effects import (
    ActivateConfig,
    AnswerPing,
    Commit,
    Effect,
    Exit,
    FlushLog,
    LastSeenConfig,
    Leave,
    LoadSnapshot,
    Log,
    Revalidated,
    SaveSnapshot,
    Send,
    Serve,
    StoreEpoch,
    Synced,
    Truncate,
)
from zabra.zab.learner import EXIT_QUORUM_PACKET, Learner, Stage
from zabra.zab.packets import PacketStream
from zabra.zab.syncplan import Entry

_log = logging.getLogger(__name__)

#: Tries to reach the leader (``Learner.connectToLeader``).
_TRIES: Final = 5
#: Before those, with less of a pause: who was elected listens some milliseconds later than its voters dial. In Java
#: that costs a whole pause at most elections.
_QUICK_PAUSES: Final = (0.1, 0.2, 0.4)
#: Who looks at the clock so late has stood still itself; how long it then reads before it judges.
_LATE_MS: Final = 100
_CATCH_UP_S: Final = 0.05


class Following:
    """The time under one leader, or one observer master. :meth:`run` is all of it."""

    def __init__(
        self,
        context: Context,
        leader: int,
        *,
        observer: bool,
        snapshot_epoch: int | None,
        master: Master | None = None,
    ) -> None:
        """``master``: learn from this server instead of the leader."""
        self._context = context
        self.leader = leader
        self.observer = observer
        self._master = master
        #: The id of the server that we learn from, and what to call it.
        self.master_id = leader if master is None else master.sid
        self._whom = f"server {self.master_id}, {'the leader' if master is None else 'an observer master'}"
        self.pipeline: ForwardingPipeline | None = None
        #: The observers that learn from us.
        self.informing: Informing | None = None
        settings = context.settings
        self._keeps_log = not observer or context.keeps_log
        self.core = Learner(
            context.my_id,
            observer=observer,
            accepted_epoch=context.epochs.accepted,
            summary=Summary(context.epochs.current, context.db.last_processed),
            config_version=context.membership.verifier.version,
            floor=context.db.floor,
            snapshot_epoch=snapshot_epoch,
            keeps_log=self._keeps_log,
            unlogged=context.db.unlogged,
            tick_ms=settings.tick_time_ms,
            init_limit=settings.init_limit,
            sync_limit=settings.sync_limit,
        )
        self._loop = context.loop
        self._stream = PacketStream(settings.jute_max_buffer + settings.jute_max_buffer_extra)
        self._channel: Channel | None = None
        self._log = RoleLog(context, self._logged, self.end)
        self._ended: asyncio.Future[Outcome] = context.loop.create_future()
        self._designated: Designated | None = None
        #: When the epoch was agreed on, in monotonic seconds.
        self._agreed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._was_late = False
        self._perform = Performer(
            "the learner", self._one, lambda: self._busy is None and not self._ended.done(), self._fail
        ).add
        self._dials: list[asyncio.Task[Channel | None]] = []
        #: Memory is what the core thinks it is.
        self._sound = True
        #: An effect takes long: resolved at its end. And what the leader sent meanwhile, or why it is gone.
        self._busy: asyncio.Future[None] | None = None
        self._arrived: list[bytes] = []
        self._broken: str | None = None
        #: Memory began as a snapshot of the leader that is not on disk.
        self._is_unsaved = False
        #: The snapshot that arrives.
        self._loader: SnapStreamLoader | None = None

    async def run(self) -> Outcome:
        """Follow until this is over, then give everything back."""
        try:
            self._channel = await self._connect()
            if self._channel is None or self._channel.is_over:
                return Outcome(reason=f"{self._whom}, cannot be reached")
            self._channel.tracker = self._context.new_tracker()
            self._perform(self.core.start(self._context.now_ms()))
            self._arm()
            return await self._ended
        finally:
            await self._close()

    def end(self, reason: str) -> None:
        """Stop following."""
        self._end(Outcome(reason=reason))

    def _end(self, outcome: Outcome) -> None:
        if not self._ended.done():
            # Whatever ended it: nobody may hear of a history that a crash would take away.
            self._ended.set_result(replace(outcome, reload=outcome.reload or self._is_unsaved))
        for task in self._dials:
            task.cancel()

    def _fail(self, what: str, error: BaseException) -> None:
        """Disk and memory may disagree: the server ends."""
        self._sound = False
        self._context.host.fatal(what, error)
        self.end(what)

    async def _close(self) -> None:
        """Leave nothing behind but a tree that is what the log says."""
        if not self._ended.done():
            self._ended.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None:
            self._channel.abort()
        if self.pipeline is not None:
            self.pipeline.stop()
        if self.informing is not None:
            await self.informing.close()
        self._context.host.halt()
        if self._busy is not None:
            await self._busy
        if await self._log.finish() and self._sound and self.pipeline is not None:
            db = self._context.db
            for entry in self.core.pending:
                if entry.zxid > db.last_processed:
                    db.apply(entry)

    # -- the connection

    async def _connect(self) -> Channel | None:
        """Dial all addresses of the leader at once, a few times (``Learner.connectToLeader``)."""
        settings = self._context.settings
        if self._master is not None:
            addresses = list(self._master.addresses)
        else:
            line = self._context.membership.line_of(self.leader)
            if line is None:
                _log.warning("no membership has server %d, which shall lead", self.leader)
                return None
            addresses = [(host, port) for host, port, _ in line.addresses]
        give_up = self._loop.time() + settings.connect_to_learner_master_limit * settings.tick_time_ms / 1000
        pause_s = settings.leader_connect_delay_during_retry_ms / 1000
        for share in (*_QUICK_PAUSES, *[1.0] * (_TRIES - 1), None):
            left = give_up - self._loop.time()
            if self._ended.done() or left <= 0:
                return None
            found = await self._dial(addresses, left)
            if found is not None:
                return found
            if share is not None:
                await asyncio.sleep(pause_s * share)
        return None

    async def _dial(self, addresses: list[tuple[str, int]], limit_s: float) -> Channel | None:
        """The first address that answers wins; the others are hung up on."""
        found: asyncio.Future[Channel | None] = self._loop.create_future()
        left = len(addresses)

        def ended(task: asyncio.Task[Channel | None]) -> None:
            nonlocal left
            left -= 1
            channel = None if task.cancelled() else task.result()
            if channel is not None and found.done():
                channel.abort()
            elif not found.done() and (channel is not None or left == 0):
                found.set_result(channel)

        tasks = self._dials = [
            self._loop.create_task(self._dial_one(host, port, limit_s), name=f"dial the leader at {host}:{port}")
            for host, port in addresses
        ]
        for task in tasks:
            task.add_done_callback(ended)
        try:
            return await found
        finally:
            for task in tasks:
                task.cancel()

    async def _dial_one(self, host: str, port: int, limit_s: float) -> Channel | None:
        owner = ChannelOwner(lambda _: None, self._received, self._lost)
        no_delay = self._context.settings.follower_nodelay
        try:
            async with asyncio.timeout(limit_s):
                _, channel = await self._loop.create_connection(lambda: Channel(owner, no_delay=no_delay), host, port)
        except (OSError, ValueError) as error:
            why = str(error) or "no answer in time"
            _log.warning("cannot reach %s, at %s:%d: %s", self._whom, host, port, why)
            return None
        return channel

    def _received(self, channel: Channel, data: bytes) -> None:
        # It is the learner who speaks first: before it has chosen a connection there is nothing to hear.
        if self._ended.done() or channel is not self._channel:
            return
        if self._busy is not None:
            self._arrived.append(data)
            return
        self._take(data)
        self._resume_input()

    def _resume_input(self) -> None:
        """Take what arrived while something took long."""
        while self._arrived and self._busy is None and not self._ended.done():
            data = b"".join(self._arrived)
            self._arrived.clear()
            self._take(data)
        if self._busy is None and self._broken is not None and not self._ended.done():
            why, self._broken = self._broken, None
            self._perform(self.core.disconnected(why))

    def _take(self, data: bytes) -> None:
        """Bytes of the leader: of a snapshot, or packets."""
        if self._loader is not None:
            self._load(data)
            return
        try:
            arrived = self._stream.feed(data)
        except ProtocolError as error:
            self._perform(self.core.disconnected(f"the leader sent garbage: {error}"))
            return
        if arrived:
            if self._channel is not None and self._channel.tracker is not None:
                self._channel.tracker.received(arrived)
            stage = self.core.stage
            self._perform(self.core.packets(arrived, self._context.now_ms()))
            if self.core.stage is not stage:
                if stage is Stage.LEADERINFO:
                    self._agreed_at = self._context.runtime.clock.monotonic()
                # Another limit holds, and a shorter one would end before the timer looks again.
                self._arm()
            if self._loader is not None and self._busy is None:
                self._load(self._stream.rest())

    def _lost(self, channel: Channel, why: str) -> None:
        if channel is self._channel and not self._ended.done():
            self._broken = why
            self._resume_input()

    # -- inputs and effects

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.core.deadline_ms
        if deadline is not None and not self._ended.done():
            # Every packet moves the deadline; the timer looks again when it was to be.
            self._timer = self._loop.call_at(deadline / 1000, self._timeout)

    def _timeout(self) -> None:
        now_ms = self._context.now_ms()
        if self._busy is not None:
            # Nothing is read from the leader, so it cannot be blamed for its silence.
            self.core.alive(now_ms)
        deadline = self.core.deadline_ms
        if deadline is not None and now_ms - deadline > _LATE_MS and not self._was_late:
            # This process stood still, for its disk or altogether: first it reads what came meanwhile.
            self._was_late = True
            self._timer = self._loop.call_later(_CATCH_UP_S, self._timeout)
            return
        self._was_late = False
        self._perform(self.core.timeout(now_ms))
        self._arm()

    def _one(self, effect: Effect) -> None:
        """Perform one effect; the frequent ones first."""
        context = self._context
        match effect:
            case Log(entries):
                self._log.append(entries)
                if self.pipeline is not None and not self.observer:
                    context.measures.proposed(entries)
            case Commit(entries):
                self._commit(entries)
            case Send(data):
                assert self._channel is not None
                self._channel.send(data)
            case AnswerPing(zxid):
                touched = self.pipeline.take_touched() if self.pipeline is not None else []
                self._perform([Send(packets.ping_answer(zxid, touched))])
            case Revalidated(session, valid):
                if self.pipeline is not None:
                    self.pipeline.revalidated(session, valid)
                    context.host.end_turn()
            case Synced():
                if self.pipeline is not None:
                    self.pipeline.synced()
                    context.host.end_turn()
            case FlushLog():
                if self._log.outstanding:
                    self._begin_wait()
                    self._log.on_idle(self._end_wait)
            case StoreEpoch(which, epoch):
                context.store_epoch(which, epoch)
            case LastSeenConfig(text):
                self._see(text)
            case ActivateConfig(text, designated, zxid):
                self._activate(text, designated, zxid)
            case Truncate(upto):
                self._long_work("cut the log", lambda: context.db.truncate(upto))
            case LoadSnapshot(at):
                self._is_unsaved = True
                self._loader = context.db.receive_snapshot(at)
            case SaveSnapshot(base):
                self._long_work("save the leader's snapshot", lambda: context.db.save_snapshot(base))
            case Serve(epoch):
                self._serve(epoch)
            case Leave(reason, reload, snapshot_epoch):
                self._end(
                    Outcome(reason=reason, reload=reload, snapshot_epoch=snapshot_epoch, designated=self._designated)
                )
            case Exit(code, reason):
                self.end(reason)
                context.host.exit(code, reason)
            case _:
                raise AssertionError(f"no effect of a learner: {effect}")

    def _begin_wait(self) -> None:
        """Nothing is read and nothing else is performed until :meth:`_end_wait`."""
        self._busy = self._loop.create_future()
        if self._channel is not None:
            self._channel.pause()

    def _end_wait(self) -> None:
        busy, self._busy = self._busy, None
        assert busy is not None
        busy.set_result(None)
        if self._ended.done():
            return
        self.core.alive(self._context.now_ms())
        self._perform()
        if self._busy is None and self._channel is not None:
            self._channel.resume()
            self._resume_input()

    def _long_work(self, what: str, job: Callable[[], None]) -> None:
        """Have a worker do it."""
        self._begin_wait()
        began = self._loop.time()

        def done(_: None, error: BaseException | None) -> None:
            if error is not None:
                self._work_failed(what, error)
            else:
                # Cut back or saved, it is what a start would load.
                self._is_unsaved = False
                _log.info("%s in %d ms", what, (self._loop.time() - began) * 1000)
            self._end_wait()

        self._context.in_worker(job, done)

    def _work_failed(self, what: str, error: BaseException) -> None:
        """What the files hold is not what the leader asked for: two histories must not live on (ZOOKEEPER-3701)."""
        if isinstance(error, DataError):
            self._sound = False
            self.end(f"could not {what}")
            self._context.host.exit(EXIT_QUORUM_PACKET, f"could not {what}: {error}")
        else:
            self._fail(f"could not {what}", error)

    def _load(self, data: bytes) -> None:
        """Bytes of the snapshot, perhaps the last of them."""
        loader = self._loader
        assert loader is not None
        now_ms = self._context.now_ms()
        self.core.alive(now_ms)
        try:
            rest = loader.feed(data)
        except (ProtocolError, DataError) as error:
            self._perform(self.core.disconnected(f"the leader's snapshot is damaged: {error}"))
            return
        if rest is None:
            return
        self._loader = None
        _log.info("got a snapshot of zxid 0x%x from the leader", self._context.db.last_processed)
        self._perform(self.core.snapshot_loaded(now_ms))
        if rest:
            self._take(rest)

    def _membership(self, text: bytes) -> EnsembleConfig | None:
        """A membership that the leader tells of; one that does not parse ends the role."""
        try:
            return self._context.membership.parse(text)
        except ConfigError as error:
            # What the core has of the sync is not complete; what it promised to save may not be saved.
            self._end(Outcome(reason=f"the leader sent a membership that cannot be used: {error}", reload=True))
            return None

    def _see(self, text: bytes) -> None:
        config = self._membership(text)
        if config is None:
            return
        self._context.see_membership(config)
        if not self._keeps_log and self._context.keeps_log:
            # Only so much may be acknowledged as the files have.
            self._end(Outcome(reason="this server is to vote, and has to keep a log for that", reload=True))

    def _activate(self, text: bytes, designated: int | None, zxid: int | None) -> None:
        config = self._membership(text)
        if config is None:
            return
        if self.informing is not None and designated is not None and zxid is not None:
            self.informing.activates(Designated(designated, zxid))
        moves = self._context.activate(config, designated, zxid, self.leader)
        if moves is not None:
            self._designated = moves.designated
            # After the rest of the effects: the change itself is applied first.
            self._loop.call_soon(
                lambda: self._end(
                    Outcome(reason="a new membership changes its role or leader", designated=self._designated)
                )
            )

    # -- serving

    def _serve(self, epoch: int) -> None:
        context = self._context
        settings = context.settings
        now_ms = int(context.runtime.clock.monotonic() * 1000)
        sessions = LearnerSessions(context.my_id, now_ms, context.db.sessions)
        self.pipeline = ForwardingPipeline(
            context.db,
            sessions,
            self._send,
            context.loop,
            context.runtime.clock.monotonic,
            lambda: self.core.last_zxid,
            limit=settings.jute_max_buffer + settings.jute_max_buffer_extra,
            informed_only=self.observer,
        )
        self._log.measures = not self.observer
        context.measures.serves(leads=False)
        context.measures.synced(self._agreed_at, observer=self.observer)
        context.election.epoch_established(epoch)
        context.show_membership()
        _log.info("in sync with %s, in epoch 0x%x", self._whom, epoch)
        checked = context.with_eager_checks(self.pipeline, context.db.tree.nodes.get, self.pipeline.is_settled)
        context.host.serve(context.with_local_sessions(checked, self.pipeline))
        if settings.observer_master_port > 0 and not self.observer:
            self.informing = Informing(context, self.pipeline, epoch)
            self.informing.start()

    def _send(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.send(data)

    def _logged(self, zxid: int) -> None:
        self._perform(self.core.logged(zxid))

    def _commit(self, entries: tuple[Entry, ...]) -> None:
        context = self._context
        if not self._keeps_log:
            context.db.leave_log()
        if self.pipeline is None:
            apply = context.db.apply
            for entry in entries:
                apply(entry)
        else:
            context.measures.told_committed(entries)
            committing = context.runtime.clock.monotonic()
            context.host.commit_turn(entries, self.pipeline.waiting_since)
            context.measures.committed(entries, committing)
            if self.informing is not None:
                self.informing.committed(entries)
