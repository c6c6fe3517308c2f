"""[hot] A term as leader on the loop: the core of :mod:`zabra.zab.leader`, its connections, its log, its clients.

::

    client writes, forwarded requests --> LocalPipeline validates --> propose (collected for one turn of the loop)
        --> core: PROPOSAL to the followers, then the own log --> acks --> core: COMMIT --> tree, events, replies

Source: ``Leader``, ``LeaderZooKeeperServer``, ``LearnerHandler`` (3.9.5).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence

from zabra.config.dynamic import EnsembleConfig
from zabra.consts import Op
from zabra.pipeline.commit import Commit as CommitStage
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.prep import Prep
from zabra.pipeline.prep_reconfig import Reconfiguration
from zabra.pipeline.request import Proposal
from zabra.quorum.context import Context, Designated, Outcome
from zabra.quorum.learnerport import LearnerPort, PortOwner
from zabra.quorum.membership import Membership
from zabra.quorum.options import leader_options
from zabra.quorum.performer import Performer
from zabra.quorum.rolelog import RoleLog
from zabra.sessions.tracker import SessionTracker
from zabra.zab.discovery import Summary
from zabra.zab.effects import (
    Acknowledged,
    ActivateConfig,
    Close,
    Commit,
    Effect,
    Forwarded,
    LastSeenConfig,
    Log,
    Revalidate,
    SendTo,
    Serve,
    StepDown,
    StoreEpoch,
    SyncLearner,
    Touched,
)
from zabra.zab.leader import Leader, Phase
from zabra.zab.packets import Arrived, ForwardedRequest
from zabra.zab.syncplan import Entry, number_entries
from zabra.zab.types import Elected

_log = logging.getLogger(__name__)


class _Members:
    """The membership as a reconfig is validated against it."""

    def __init__(self, membership: Membership, core: Leader) -> None:
        self._membership = membership
        self._core = core

    @property
    def committed(self) -> EnsembleConfig:
        """The membership in force."""
        return self._membership.config

    @property
    def last_seen(self) -> EnsembleConfig:
        """The last one proposed."""
        return self._membership.last_seen.config

    def has_quorum(self, config: EnsembleConfig) -> bool:
        """Whether its voters that are in step are a quorum of it."""
        return self._membership.make(config).contains_quorum(self._core.synced_followers)


class Leading:
    """One term. :meth:`run` is all of it."""

    def __init__(self, context: Context, elected: Elected) -> None:
        self._context = context
        settings = context.settings
        membership = context.membership
        self.core = Leader(
            context.my_id,
            context.db,
            leader_options(settings),
            verifier=membership.verifier,
            last_seen=membership.last_seen,
            make_verifier=membership.make,
            accepted_epoch=context.epochs.accepted,
            summary=Summary(context.epochs.current, context.db.last_processed),
            supporters=elected.supporters,
            now_ms=context.now_ms(),
        )
        self.pipeline: LocalPipeline | None = None
        #: When the epoch was established, in monotonic seconds.
        self.established_at = 0.0
        self._stats = context.stats
        self._stats.clear_proposal_sizes()
        self._loop = context.loop
        self._log = RoleLog(context, self._logged, self.end)
        self._ended: asyncio.Future[Outcome] = context.loop.create_future()
        self._designated: Designated | None = None
        self._port = LearnerPort(context, PortOwner(self._opened, self._received, self._lost))
        self._timer: asyncio.TimerHandle | None = None
        self._perform = Performer("the leader", self._one, lambda: not self._ended.done(), self.fail).add
        #: Memory is what the core thinks it is.
        self._sound = True
        #: Payloads of this turn; all writes not committed yet; when those of a turn came: (last zxid, seconds).
        self._fresh: list[bytes] = []
        #: The place among them of a new membership, and that. A second one is refused while it is not committed.
        self._change: tuple[int, EnsembleConfig] | None = None
        self._writes: deque[Proposal] = deque()
        self._turns: deque[tuple[int, float]] = deque()
        self._turn_began = 0.0

    async def run(self) -> Outcome:
        """Lead until the term ends, then give everything back."""
        try:
            await self._listen()
            self._input(self.core.start(self._context.now_ms()))
            outcome = await self._ended
        except OSError as error:
            outcome = Outcome(reason=f"cannot listen for learners: {error}")
        finally:
            await self._close()
        return outcome

    def end(self, reason: str) -> None:
        """Stop leading."""
        if not self._ended.done():
            self._ended.set_result(Outcome(reason=reason, designated=self._designated))

    def peer_looking(self, sid: int) -> None:
        """The election heard that a voter looks for a leader."""
        left = self.core.looking(sid, self._context.now_ms())
        if left:
            self._stats.metrics.count("quit_leading_due_to_disloyal_voter")
        self._input(left)

    async def _listen(self) -> None:
        """On every own quorum address. Raises ``OSError`` when none can be bound."""
        line = self._context.membership.own
        await self._port.listen([(host, port) for host, port, _ in line.addresses] if line is not None else ())

    async def _close(self) -> None:
        """Leave nothing behind but a tree that is what the log says."""
        if not self._ended.done():
            self._ended.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._port.stop_listening()
        self._context.host.halt()
        self._port.close()
        if await self._log.finish() and self._sound:
            db = self._context.db
            for entry in self.core.broadcast.proposals.outstanding:
                if entry.zxid > db.last_processed:
                    db.apply(entry)

    # -- connections

    def _opened(self, conn: int) -> None:
        self._input(self.core.connected(conn, self._context.now_ms()))

    def _received(self, conn: int, arrived: Sequence[Arrived]) -> None:
        if self._ended.done():
            return
        core = self.core
        # While it broadcasts the half ticks see to every deadline; before, and when that begins, each packet may.
        settled = core.phase is Phase.BROADCAST
        self._perform(core.packets(conn, arrived, self._context.now_ms()))
        if not settled:
            self._arm()

    def _lost(self, conn: int) -> None:
        self._learner_gone(conn)
        self._input(self.core.disconnected(conn))

    def _learner_gone(self, conn: int) -> None:
        if self.pipeline is not None:
            self.pipeline.learner_gone(conn)

    # -- inputs and effects

    def _input(self, effects: Iterable[Effect]) -> None:
        """Perform what an input gave, and mind the core's next deadline."""
        self._perform(effects)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.core.deadline_ms
        if deadline is not None and not self._ended.done():
            self._timer = self._loop.call_at(deadline / 1000, self._timeout)

    def _timeout(self) -> None:
        self._input(self.core.timeout(self._context.now_ms()))
        self._port.measure_queues(self.core.in_step())

    def _one(self, effect: Effect) -> None:
        """Perform one effect; the frequent ones first."""
        context = self._context
        match effect:
            case SendTo(conns, data):
                self._port.send(conns, data)
            case Log(entries):
                self._log.append(entries)
            case Commit(entries):
                self._commit(entries)
            case Forwarded(conn, requests):
                self._forwarded(conn, requests)
            case Touched(_, sessions):
                if self.pipeline is not None:
                    for session, timeout_ms in sessions:
                        self.pipeline.touch_remote(session, timeout_ms)
            case Acknowledged(sid, entries):
                context.measures.acknowledged(sid, entries)
            case Revalidate(conn, session, timeout_ms):
                self._revalidate(conn, session, timeout_ms)
            case Close(conn, reason):
                self._port.hang_up(conn, reason)
                self._learner_gone(conn)
            case SyncLearner(conn, plan):
                self._port.sync(conn, plan, lambda: self._sync_sent(conn))
            case StoreEpoch(which, epoch):
                context.store_epoch(which, epoch)
            case LastSeenConfig(text):
                context.see_membership(context.membership.parse(text))
            case ActivateConfig(text, designated, zxid):
                self._activate(text, designated, zxid)
            case Serve(epoch):
                self._serve(epoch)
            case StepDown(reason):
                self.end(reason)
            case _:
                raise AssertionError(f"no effect of a leader: {effect}")

    def _sync_sent(self, conn: int) -> None:
        self._input(self.core.sync_sent(conn, self._context.now_ms()))

    def _activate(self, text: bytes, designated: int | None, zxid: int | None) -> None:
        context = self._context
        moves = context.activate(context.membership.parse(text), designated, zxid, context.my_id)
        if moves is not None and moves.designated is not None and moves.designated.leader != context.my_id:
            _log.warning("the new membership wants server %d to lead", moves.designated.leader)
            self._designated = moves.designated

    # -- serving

    def _serve(self, epoch: int) -> None:
        """The epoch is established: from here on this server gives out its zxids."""
        context = self._context
        settings = context.settings
        tree = context.db.tree
        tree.last_zxid = self.core.broadcast.last_proposed
        self.established_at = context.runtime.clock.monotonic()
        now_ms = int(self.established_at * 1000)
        sessions = SessionTracker(context.my_id, settings.tick_time_ms, now_ms, context.db.sessions)
        prep = Prep(
            settings,
            tree,
            context.rights,
            self.propose,
            reconfiguration=Reconfiguration(
                _Members(context.membership, self.core),
                standalone_enabled=settings.standalone_enabled,
                multi_address=settings.multi_address_enabled,
                oracle=settings.oracle_path is not None,
            ),
            limit=settings.jute_max_buffer + settings.jute_max_buffer_extra,
        )
        commit = CommitStage(tree, prep.pending, sessions)
        self.pipeline = LocalPipeline(
            prep,
            self,
            commit,
            sessions,
            context.runtime.clock,
            local_sessions_of=context.my_id if settings.local_sessions_enabled else None,
        )
        self._log.measures = True
        context.measures.serves(leads=True)
        context.election.epoch_established(epoch)
        context.show_membership()
        _log.info("leading epoch 0x%x from zxid 0x%x on", epoch, tree.last_zxid)
        checked = context.with_eager_checks(self.pipeline, prep.pending.settled, lambda session_id: True)
        clients = context.with_local_sessions(checked, self.pipeline)
        context.host.serve(clients, authority=self.pipeline, clients=settings.leader_serves)

    @property
    def outstanding(self) -> int:
        """Proposals that are not committed yet."""
        return len(self._writes)

    def fail(self, what: str, error: BaseException) -> None:
        """What is pending, or applied, cannot be trusted: the server ends."""
        self._sound = False
        self._context.host.fatal(what, error)
        self.end(what)

    def propose(self, payloads: Sequence[bytes], writes: Sequence[Proposal]) -> None:
        """Take validated writes into the proposals of this turn; a reconfig comes alone."""
        write = writes[0]
        fresh = self._fresh
        if not isinstance(write, tuple) and write.op == Op.RECONFIG and not write.err:
            assert write.config is not None
            self._change = (len(fresh), write.config)
        self._writes.extend(writes)
        if not fresh:
            self._turn_began = self._context.runtime.clock.monotonic()
            self._loop.call_soon(self._flush)
        fresh += payloads

    def _flush(self) -> None:
        """Propose what this turn has brought, in one go."""
        fresh = self._fresh
        if fresh and not self._ended.done():
            self._fresh = []
            entries = number_entries(self.core.broadcast.last_proposed + 1, fresh)
            write = self._writes[-1]
            assert entries[-1].zxid == (write[0] if isinstance(write, tuple) else write.zxid), "one zxid each, in order"
            self._turns.append((entries[-1].zxid, self._turn_began))
            sizes = list(map(len, fresh))
            self._stats.record_proposal_sizes(min(sizes), max(sizes), sizes[-1])
            self._stats.metrics.count("proposal_count", len(fresh))
            if self._change is None:
                self._perform(self.core.propose(entries))
            else:
                self._propose_change(entries, *self._change)

    def _propose_change(self, entries: list[Entry], place: int, config: EnsembleConfig) -> None:
        """One of them is a new membership: what was validated before it needs the old quorum only."""
        self._change = None
        if place:
            self._perform(self.core.propose(entries[:place]))
        self._perform(self.core.reconfigure(entries[place], config))
        if entries[place + 1 :]:
            self._perform(self.core.propose(entries[place + 1 :]))

    def _logged(self, zxid: int) -> None:
        # At the end of the term nothing is committed any more: what is not applied is what is outstanding.
        if not self._ended.done():
            self._perform(self.core.logged(zxid))

    def _commit(self, entries: tuple[Entry, ...]) -> None:
        writes = self._writes
        batch = [writes.popleft() for _ in entries]
        last = entries[-1].zxid
        turns = self._turns
        began = turns[0][1]
        while turns and turns[0][0] <= last:
            turns.popleft()
        context = self._context
        context.db.committed_entries(entries)
        context.measures.agreed(entries)
        committing = context.runtime.clock.monotonic()
        context.host.commit_turn(batch, began)
        context.measures.committed(entries, committing)

    # -- learners

    def _forwarded(self, conn: int, requests: Iterable[ForwardedRequest]) -> None:
        pipeline = self.pipeline
        if conn not in self._port or pipeline is None:
            return
        left = iter(requests)
        while pipeline.forwarded(conn, left):
            # The sync stands behind all that was validated before it.
            self._flush()
            self._perform(self.core.sync(conn))

    def _revalidate(self, conn: int, session: int, timeout_ms: int) -> None:
        self._stats.metrics.count("revalidate_count")
        if conn in self._port and self.pipeline is not None:
            # The learner takes what comes behind the answer for the client's new connection.
            self._flush()
            valid = self.pipeline.revalidate(conn, session, timeout_ms)
            self._perform(self.core.revalidated(conn, session, valid))
