"""[hot] A leader: from its election to the end of its epoch.

::

    DISCOVERY        agree on an epoch with a quorum, see zabra.zab.discovery
        v
    SYNCHRONIZATION  bring every learner that knows the epoch to our history; NEWLEADER marks the end of it.
        v            A quorum of acks of NEWLEADER (ours: currentEpoch is stored) establishes the epoch.
    BROADCAST        propose, count acks, commit; half a tick apart: pings, and do we still have a quorum?
        v
    STOPPED          every input gives nothing

and for each connection of a learner::

    HELLO      FOLLOWERINFO or OBSERVERINFO awaited            | in time, else it is closed: initLimit ticks
    EPOCH      we owe it LEADERINFO, the discovery says when   |
    ACKEPOCH   its answer awaited                              | initLimit
    JOINING    we owe it the sync, the discovery says when     |
    SYNC       the sync is on its way                          |
    NEWLEADER  sent behind the sync, its ack awaited           | initLimit
    ACTIVE     NEWLEADER is acked; UPTODATE is sent if we are established; anything goes | syncLimit

NEWLEADER goes behind the sync and what was committed while that was sent: a snapshot may hold some of it already, and
the learner must not serve before it has the rest (ZOOKEEPER-3104).

From the moment a follower is in SYNC it gets every proposal and commit (an entry committed in between would be lost to
it otherwise), but its acks count only when it is ACTIVE: before, its currentEpoch may be old, so that it would lose an
election although it holds what its acks made committed.

Inputs return effects, see :mod:`zabra.zab.effects`. Time is monotonic milliseconds. Source: ``Leader``,
``LearnerHandler``, ``LearnerSyncThrottler`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from enum import Enum
from typing import Final, NamedTuple

from zabra.config.dynamic import EnsembleConfig
from zabra.errors import ProtocolError
from zabra.wire.records_quorum import QuorumPacket
from zabra.zab import packets
from zabra.zab.broadcast import Broadcast, text_of
from zabra.zab.discovery import Joined, LeaderDiscovery, Summary, outstayed
from zabra.zab.discovery import Phase as DiscoveryPhase
from zabra.zab.effects import (
    Close,
    Effect,
    EpochFile,
    Forwarded,
    Revalidate,
    SendTo,
    Serve,
    StepDown,
    StoreEpoch,
    SyncLearner,
    Touched,
)
from zabra.zab.packets import PACKET_NAMES, PROTOCOL_VERSION, Arrived, ForwardedRequest, Packet, Run, singly
from zabra.zab.quorums import AckTracker, QuorumVerifier
from zabra.zab.syncplan import SNAPSHOT_SIZE_FACTOR, Entry, History, SyncPlan, choose_sync
from zabra.zxid import counter_of, epoch_of, make_zxid

#: A proposal with this low word is never made: a new epoch begins instead.
_COUNTER_END: Final = 0xFFFFFFFF


class Phase(Enum):
    """What the leader does."""

    DISCOVERY = "discovery"
    SYNCHRONIZATION = "synchronization"
    BROADCAST = "broadcast"
    STOPPED = "stopped"


class Stage(Enum):
    """What a connection of a learner is in."""

    HELLO = "hello"
    EPOCH = "epoch"
    ACKEPOCH = "ackepoch"
    JOINING = "joining"
    SYNC = "sync"
    NEWLEADER = "newleader"
    ACTIVE = "active"


#: As a name of the module, a third of the time to look up.
_ACTIVE: Final = Stage.ACTIVE


class LeaderOptions(NamedTuple):
    """Settings, under the names of ``zoo.cfg``; limits are in ticks."""

    tick_ms: int
    init_limit: int
    sync_limit: int
    reconfig_enabled: bool = False
    max_concurrent_snap_syncs: int = 10
    max_concurrent_diff_syncs: int = 100
    snapshot_size_factor: float = SNAPSHOT_SIZE_FACTOR
    force_snapshot_sync: bool = False
    #: ``leader.maxTimeToWaitForEpoch``; negative: off.
    max_time_to_wait_for_epoch_ms: int = -1
    #: ``testingonly.initialZxid``: the counter before that of the first proposal.
    initial_counter: int = 0
    #: ``leader.ackLoggingFrequency``: acks of each such zxid are told of; 0 and less: of none.
    ack_sampling: int = 0


class Statistics(NamedTuple):
    """Who learns from a leader, for operators."""

    #: Connections, in whatever stage.
    learners: int
    #: Followers that get every proposal; those of them without a vote; observers that get every commit.
    followers: int
    followers_without_vote: int
    observers: int
    #: Zxids whose commit somebody's sync waits for.
    pending_syncs: int


class _Learner:
    """One connection."""

    __slots__ = (
        "acked",
        "conn",
        "observer",
        "protocol_version",
        "read_deadline_ms",
        "sampled_ms",
        "sampled_zxid",
        "sid",
        "stage",
        "sync_op",
        "synced_until_tick",
    )

    def __init__(self, conn: int, read_deadline_ms: int, synced_until_tick: int) -> None:
        self.conn = conn
        self.sid = 0
        self.observer = False
        self.protocol_version = PROTOCOL_VERSION
        self.stage = Stage.HELLO
        #: Something must have arrived by then; None while it waits for us.
        self.read_deadline_ms: int | None = read_deadline_ms
        #: Counts as synced up to this tick.
        self.synced_until_tick = synced_until_tick
        #: The newest zxid it acknowledged, or -1.
        self.acked = -1
        #: A proposal it had not acknowledged when this was noted, and when; zxid -1: none. One at a time is enough.
        self.sampled_zxid = -1
        self.sampled_ms = 0
        #: DIFF, TRUNC or SNAP while that counts as a sync in progress.
        self.sync_op: int | None = None


class Leader:
    """One term. ``verifier`` is the committed membership, ``last_seen`` the last proposed one, maybe the same.

    ``summary`` is the own currentEpoch and last zxid, all of it on disk. ``make_verifier`` gives the quorums of a
    membership. ``supporters`` are the servers whose votes made this one leader.
    """

    def __init__(
        self,
        sid: int,
        history: History,
        options: LeaderOptions,
        *,
        verifier: QuorumVerifier,
        last_seen: QuorumVerifier,
        make_verifier: Callable[[EnsembleConfig], QuorumVerifier],
        accepted_epoch: int,
        summary: Summary,
        supporters: Set[int] = frozenset(),
        now_ms: int,
    ) -> None:
        self.sid = sid
        self.phase = Phase.DISCOVERY
        self.broadcast = Broadcast(sid, history, verifier, last_seen, make_verifier, options.ack_sampling)
        self._history = history
        self._options = options
        self._supporters = supporters
        self._init_ms = options.init_limit * options.tick_ms
        self._sync_ms = options.sync_limit * options.tick_ms
        self._discovery = LeaderDiscovery(sid, verifier, accepted_epoch, summary, wait_ms=self._init_ms, now_ms=now_ms)
        #: Of NEWLEADER, and what it is answered with.
        self._new_leader_zxid = -1
        self._new_leader_acks = AckTracker()
        self._new_leader_deadline_ms: int | None = None
        self._learners: dict[int, _Learner] = {}
        #: The newest zxid when serving began, which nobody acknowledges.
        self._first_zxid = -1
        self._next_anonymous = -1
        self._tick = 0
        self._half_ticks = 0
        self._next_half_tick_ms: int | None = None

    # The shell's inputs, in the order of a term.

    def start(self, now_ms: int) -> list[Effect]:
        """Begin the discovery."""
        return self._after_discovery(self._discovery.begin(now_ms), now_ms)

    def connected(self, conn: int, now_ms: int) -> list[Effect]:
        """A learner connected; ``conn`` is a number never used before."""
        if self.phase is not Phase.STOPPED:
            until = self._tick + self._options.init_limit + self._options.sync_limit
            self._learners[conn] = _Learner(conn, now_ms + self._init_ms, until)
        return []

    def disconnected(self, conn: int) -> list[Effect]:
        """The connection is gone, without our doing."""
        self._forget(conn)
        return []

    def packets(self, conn: int, arrived: Sequence[Arrived], now_ms: int) -> list[Effect]:
        """Packets of one connection; of a closed one they are ignored."""
        learner = self._learners.get(conn)
        if learner is None:
            return []
        effects: list[Effect] = []
        requests: list[ForwardedRequest] = []
        if learner.stage is not _ACTIVE:
            arrived = list(singly(arrived))
        serving = learner.stage is _ACTIVE and self.phase is Phase.BROADCAST
        acked = -1
        for packet in arrived:
            if packet[0] == 3 and learner.stage is _ACTIVE:
                last = packet.last if type(packet) is Run else packet[1]
                if last > acked and packet[1] <= self.broadcast.last_proposed:
                    # An ack of what was never proposed says nothing.
                    acked = min(last, self.broadcast.last_proposed)
                continue
            if isinstance(packet, Run):
                # No learner has commits to send; one of them is wrong enough.
                packet = QuorumPacket(packet.type, packet.first, None, None)
            try:
                if serving and packet[0] == 1:
                    requests.append(packets.parse_request(packet))
                    continue
                more = self._packet(learner, packet, now_ms)
            except ProtocolError as error:
                more = self._close(learner, str(error))
            if requests:
                effects.append(Forwarded(conn, requests))
                requests = []
            effects += more
            if conn not in self._learners:
                return effects
            serving = learner.stage is _ACTIVE and self.phase is Phase.BROADCAST
        if requests:
            effects.append(Forwarded(conn, requests))
        if learner.stage is _ACTIVE:
            learner.synced_until_tick = self._tick + self._options.sync_limit
            if learner.read_deadline_ms is not None:
                learner.read_deadline_ms = now_ms + self._sync_ms
            if acked >= 0:
                effects += self._acknowledge(learner, acked)
        return effects

    def sync_sent(self, conn: int, now_ms: int) -> list[Effect]:
        """All of a :class:`SyncLearner` is on its way: NEWLEADER ends it."""
        learner = self._learners.get(conn)
        if learner is None:
            return []
        assert learner.stage is Stage.SYNC, f"sync of connection {conn} sent in stage {learner.stage}"
        learner.stage = Stage.NEWLEADER
        learner.read_deadline_ms = now_ms + self._init_ms
        # What was committed while the sync was sent is on its way before NEWLEADER, and its ack covers that too.
        learner.acked = max(learner.acked, self.broadcast.last_committed)
        if learner.protocol_version < PROTOCOL_VERSION:
            return []
        return [SendTo((conn,), packets.new_leader(self._discovery.epoch, text_of(self.broadcast.last_seen)))]

    def propose(self, entries: Sequence[Entry]) -> list[Effect]:
        """Broadcast transactions, each with the next zxid. Ends the term when the counter has run out."""
        if self.phase is not Phase.BROADCAST:
            return []
        end = make_zxid(self._discovery.epoch, _COUNTER_END)
        good = entries if entries[-1].zxid < end else [entry for entry in entries if entry.zxid < end]
        effects = self.broadcast.propose(good) if good else []
        if len(good) < len(entries):
            effects += self._step_down("zxid lower 32 bits have rolled over, a new epoch must begin")
        return effects

    def reconfigure(self, entry: Entry, config: EnsembleConfig) -> list[Effect]:
        """Propose a new membership; ``entry`` is its transaction. It, and all that follows, needs both quorums."""
        if self.phase is not Phase.BROADCAST:
            return []
        return [*self.broadcast.change(entry.zxid, config), *self.propose((entry,))]

    def logged(self, zxid: int) -> list[Effect]:
        """Everything up to ``zxid`` is on our own disk."""
        if self.phase is not Phase.BROADCAST:
            return []
        return self.broadcast.ack(self.sid, zxid)

    def sync(self, conn: int) -> list[Effect]:
        """A learner's sync request has come through the pipeline: answer once all that was proposed is committed."""
        if self.phase is not Phase.BROADCAST or conn not in self._learners:
            return []
        return self.broadcast.sync(conn)

    def revalidated(self, conn: int, session: int, valid: bool) -> list[Effect]:
        """The answer to :class:`Revalidate`."""
        return [SendTo((conn,), packets.revalidated(session, valid))] if conn in self._learners else []

    def looking(self, sid: int, now_ms: int) -> list[Effect]:
        """The election heard that ``sid`` looks for a leader."""
        if self._discovery.phase is not DiscoveryPhase.EPOCH or self.phase is Phase.STOPPED:
            return []
        patience_ms = self._options.max_time_to_wait_for_epoch_ms
        if not outstayed(self._discovery.started_ms, now_ms, patience_ms, self._supporters, sid):
            return []
        return self._step_down(f"server {sid}, which voted for this one, looks for another leader")

    @property
    def synced_followers(self) -> set[int]:
        """This server and the followers in step with it (``isQuorumSynced``)."""
        followers = {learner.sid for learner in self._learners.values() if not learner.observer}
        return self._synced() & (followers | {self.sid})

    def statistics(self) -> Statistics:
        """The learners of now."""
        broadcast = self.broadcast
        followers = [self._learners[conn].sid for conn in broadcast.followers]
        strangers = sum(sid not in broadcast.verifier.voters for sid in followers)
        return Statistics(
            len(self._learners), len(followers), strangers, len(broadcast.observers), broadcast.pending_syncs
        )

    def in_step(self) -> list[tuple[int, int]]:
        """Connection and server id of each learner that has acked NEWLEADER."""
        return [(learner.conn, learner.sid) for learner in self._learners.values() if learner.stage is _ACTIVE]

    @property
    def deadline_ms(self) -> int | None:
        """When to call :meth:`timeout`; may change with every input."""
        times = [learner.read_deadline_ms for learner in self._learners.values()]
        times += [self._discovery.deadline_ms, self._new_leader_deadline_ms, self._next_half_tick_ms]
        return min((time for time in times if time is not None), default=None)

    def timeout(self, now_ms: int) -> list[Effect]:
        """Do what is due."""
        if self.phase is Phase.STOPPED:
            return []
        late = self._discovery.timeout(now_ms)
        if late:
            return self._step_down(*(effect.reason for effect in late if isinstance(effect, StepDown)))
        if self._new_leader_deadline_ms is not None and now_ms >= self._new_leader_deadline_ms:
            return self._step_down(f"no quorum is in sync, only {sorted(self._new_leader_acks.acks())}")
        effects: list[Effect] = []
        for learner in list(self._learners.values()):
            if learner.read_deadline_ms is not None and now_ms >= learner.read_deadline_ms:
                effects += self._close(learner, f"server {learner.sid} is silent in stage {learner.stage.value}")
        if self._next_half_tick_ms is not None and now_ms >= self._next_half_tick_ms:
            self._next_half_tick_ms = now_ms + self._options.tick_ms // 2
            effects += self._half_tick(now_ms)
        return effects

    # Learners on their way in.

    def _packet(self, learner: _Learner, packet: QuorumPacket, now_ms: int) -> list[Effect]:
        stage = learner.stage
        if stage is Stage.ACTIVE:
            return self._request(learner, packet)
        if stage is Stage.HELLO:
            return self._hello(learner, packet, now_ms)
        if stage is Stage.ACKEPOCH and packet.type == Packet.ACKEPOCH:
            summary = Summary(*packets.parse_ack_epoch(packet))
            learner.stage = Stage.JOINING
            learner.read_deadline_ms = None
            joined = self._discovery.epoch_ack(learner.conn, learner.sid, summary)
            return self._after_discovery(joined, now_ms)
        if stage in (Stage.SYNC, Stage.NEWLEADER) and packet.type == Packet.ACK:
            if packet.zxid == self._new_leader_zxid and stage is Stage.NEWLEADER:
                return self._new_leader_ack(learner, now_ms)
            # Older followers may acknowledge proposals early (ZOOKEEPER-4685): it counts with the ack of NEWLEADER.
            if packet.zxid <= self.broadcast.last_proposed:
                learner.acked = max(learner.acked, packet.zxid)
            return []
        raise ProtocolError(f"{PACKET_NAMES[packet.type]} from server {learner.sid} in stage {stage.value}")

    def _hello(self, learner: _Learner, packet: QuorumPacket, now_ms: int) -> list[Effect]:
        hello = packets.parse_learner_info(packet)
        if hello.sid == self.sid:
            # Its acks would be those of our own disk.
            raise ProtocolError(f"it claims to be server {self.sid}, which this one is")
        if hello.sid is None:
            learner.sid = self._next_anonymous
            self._next_anonymous -= 1
        else:
            learner.sid = hello.sid
        if hello.config_version is not None and hello.config_version > self.broadcast.verifier.version:
            raise ProtocolError(f"server {learner.sid} has a later configuration: version {hello.config_version:x}")
        learner.observer = hello.observer
        learner.protocol_version = hello.protocol_version
        learner.stage = Stage.EPOCH
        learner.read_deadline_ms = None
        told = self._discovery.hello(learner.conn, learner.sid, hello, now_ms)
        return self._after_discovery(told, now_ms)

    def _after_discovery(self, steps: Iterable[Effect | Joined], now_ms: int) -> list[Effect]:
        """Pass on what the discovery wants, with what follows from it for the leader."""
        effects: list[Effect] = []
        for step in steps:
            if isinstance(step, Joined):
                learner = self._learners.get(step.conn)
                if learner is not None:
                    effects += self._join(learner, step.last_zxid)
                continue
            if isinstance(step, Close):
                effects += self._close(self._learners[step.conn], step.reason)
                continue
            effects.append(step)
            if isinstance(step, SendTo):
                for conn in step.conns:
                    self._learners[conn].stage = Stage.ACKEPOCH
                    self._learners[conn].read_deadline_ms = now_ms + self._init_ms
            elif isinstance(step, StoreEpoch) and step.which is EpochFile.ACCEPTED:
                effects += self._begin_epoch(step.epoch)
            elif isinstance(step, StoreEpoch):
                self.phase = Phase.SYNCHRONIZATION
                self._new_leader_deadline_ms = now_ms + self._init_ms
                self._new_leader_acks.add_ack(self.sid)
                effects += self._serve_if_established(now_ms)
        return effects

    def _begin_epoch(self, epoch: int) -> list[Effect]:
        self._new_leader_zxid = make_zxid(epoch, 0)
        effects = self.broadcast.begin(self._new_leader_zxid)
        self._new_leader_acks = AckTracker(*self.broadcast.verifiers)
        return effects

    def _join(self, learner: _Learner, last_zxid: int) -> list[Effect]:
        """Send the sync and what came after it; from now on the learner gets everything."""
        options, history = self._options, self._history
        plan = choose_sync(
            history, last_zxid, size_factor=options.snapshot_size_factor, force_snapshot=options.force_snapshot_sync
        )
        if learner.observer and self._syncs_in_progress(plan.op == Packet.SNAP) >= (
            options.max_concurrent_snap_syncs if plan.op == Packet.SNAP else options.max_concurrent_diff_syncs
        ):
            return self._close(learner, f"too many syncs in progress for observer {learner.sid}")
        last_committed = self.broadcast.last_committed
        if plan.op == Packet.TRUNC and counter_of(last_committed) and epoch_of(last_zxid) == self._discovery.epoch:
            # It was ours before and has committed entries that may not be in the tree yet: they must stay on its disk.
            last = max(plan.zxid, min(last_zxid, last_committed))
            plan = SyncPlan(Packet.TRUNC, last, last)
        # What it acked on an earlier connection may be cut off now: those acks are worth nothing, nor are late ones.
        self.broadcast.proposals.forget(learner.sid)
        effects: list[Effect] = []
        for other in list(self._learners.values()):
            if other.sid == learner.sid and other is not learner and other.stage is not Stage.HELLO:
                effects += self._close(other, f"server {learner.sid} is connected anew")
        learner.stage = Stage.SYNC
        learner.sync_op = plan.op
        # What is committed by now it need not acknowledge: the ack of NEWLEADER covers it.
        learner.acked = last_committed
        conn, observer = learner.conn, learner.observer
        if learner.protocol_version < PROTOCOL_VERSION:
            # They do not know another first packet.
            effects.append(SendTo((conn,), packets.new_leader(self._discovery.epoch, None)))
        effects.append(SyncLearner(conn, plan))
        stream = self.broadcast.missing(plan.last, observer=observer)
        if stream:
            effects.append(SendTo((conn,), stream))
        self.broadcast.attach(conn, observer=observer)
        if not observer:
            self.broadcast.verifier.update_need_oracle(followers=True)
        return effects

    def _syncs_in_progress(self, snapshots: bool) -> int:
        ops = [learner.sync_op for learner in self._learners.values() if learner.sync_op is not None]
        return sum((op == Packet.SNAP) is snapshots for op in ops)

    def _new_leader_ack(self, learner: _Learner, now_ms: int) -> list[Effect]:
        learner.stage = Stage.ACTIVE
        learner.sync_op = None
        if self.phase is Phase.BROADCAST:
            learner.read_deadline_ms = now_ms + self._sync_ms
            effects: list[Effect] = [SendTo((learner.conn,), packets.up_to_date())]
            return effects + self._acknowledge(learner, learner.acked)
        learner.read_deadline_ms = None
        # Of an observer too: the membership that makes it a voter may not be committed yet.
        self._new_leader_acks.add_ack(learner.sid)
        return self._serve_if_established(now_ms)

    def _serve_if_established(self, now_ms: int) -> list[Effect]:
        if not self._new_leader_acks.has_all_quorums():
            return []
        self.phase = Phase.BROADCAST
        self._new_leader_deadline_ms = None
        effects: list[Effect] = []
        if self._options.reconfig_enabled:
            # Completes a change that the leader before may have left half done.
            holders = self._new_leader_acks.acks()
            effects.append(self.broadcast.activate(self.broadcast.last_seen, holders, self._new_leader_zxid))
        self.broadcast.last_proposed += self._options.initial_counter
        self._first_zxid = self.broadcast.last_proposed
        self._next_half_tick_ms = now_ms + self._options.tick_ms // 2
        effects.append(Serve(self._discovery.epoch))
        active = [learner for learner in self._learners.values() if learner.stage is Stage.ACTIVE]
        for learner in active:
            learner.read_deadline_ms = now_ms + self._sync_ms
        if active:
            effects.append(SendTo(tuple([learner.conn for learner in active]), packets.up_to_date()))
        return effects

    # Broadcast.

    def _request(self, learner: _Learner, packet: QuorumPacket) -> list[Effect]:
        """What an active learner wants, besides acknowledging and having its clients' requests proposed."""
        kind = packet.type
        if self.phase is not Phase.BROADCAST:
            raise ProtocolError(f"{PACKET_NAMES[kind]} from server {learner.sid} before UPTODATE")
        if kind == Packet.PING:
            sessions = packets.parse_touches(packet)
            return [Touched(learner.conn, sessions)] if sessions else []
        if kind == Packet.REVALIDATE:
            return [Revalidate(learner.conn, *packets.parse_revalidate(packet))]
        raise ProtocolError(f"{PACKET_NAMES[kind]} from server {learner.sid}")

    def _acknowledge(self, learner: _Learner, zxid: int) -> list[Effect]:
        learner.acked = max(learner.acked, zxid)
        if learner.acked >= learner.sampled_zxid:
            learner.sampled_zxid = -1
        return [] if learner.observer else self.broadcast.ack(learner.sid, learner.acked)

    # Time, and the end.

    def _half_tick(self, now_ms: int) -> list[Effect]:
        self._half_ticks += 1
        effects: list[Effect] = []
        if self._half_ticks % 2 == 0:
            self._tick += 1
            if not self._has_quorum():
                rescued = self._ask_oracle()
                if rescued is None:
                    return self._step_down(f"no quorum of learners is in sync, only {sorted(self._synced())}")
                effects += rescued
        pinged = []
        for learner in list(self._learners.values()):
            if learner.sampled_zxid >= 0 and now_ms - learner.sampled_ms >= self._sync_ms:
                effects += self._close(learner, f"server {learner.sid} did not ack 0x{learner.sampled_zxid:x}")
            elif learner.stage in (Stage.NEWLEADER, Stage.ACTIVE):
                pinged.append(learner.conn)
                if learner.sampled_zxid < 0 and self._owes_ack(learner):
                    learner.sampled_zxid = self.broadcast.last_proposed
                    learner.sampled_ms = now_ms
        if pinged:
            effects.append(SendTo(tuple(pinged), packets.ping(self.broadcast.last_proposed)))
        return effects

    def _owes_ack(self, learner: _Learner) -> bool:
        last = self.broadcast.last_proposed
        return learner.stage is Stage.ACTIVE and not learner.observer and learner.acked < last > self._first_zxid

    def _synced(self) -> set[int]:
        synced = {
            learner.sid
            for learner in self._learners.values()
            if learner.stage is not Stage.HELLO and self._tick <= learner.synced_until_tick
        }
        return synced | {self.sid}

    def _has_quorum(self) -> bool:
        synced = self._synced()
        return all(verifier.contains_quorum(synced) for verifier in self.broadcast.verifiers)

    def _ask_oracle(self) -> list[Effect] | None:
        """What the oracle lets us commit without the followers we lost; None: it does not."""
        verifier = self.broadcast.verifier
        if verifier.update_need_oracle(followers=bool(self.broadcast.followers)) and verifier.ask_oracle():
            return self.broadcast.advance()
        return None

    def _close(self, learner: _Learner, reason: str) -> list[Effect]:
        self._forget(learner.conn)
        return [Close(learner.conn, reason)]

    def _forget(self, conn: int) -> None:
        if self._learners.pop(conn, None) is not None:
            self.broadcast.detach(conn)
            self._discovery.forget(conn)

    def _step_down(self, reason: str) -> list[Effect]:
        self.phase = Phase.STOPPED
        self._next_half_tick_ms = self._new_leader_deadline_ms = self._discovery.deadline_ms = None
        self._learners.clear()
        return [StepDown(reason)]
