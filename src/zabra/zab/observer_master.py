"""A follower that brings observers to its own history, and informs them of what is committed, in the leader's place.

It has been through discovery and synchronisation itself, so an observer has to wait for nothing but the bytes::

    HELLO      OBSERVERINFO awaited; anybody else is sent away                          | in time, else cut: initLimit
    ACKEPOCH   LEADERINFO with our epoch is sent, its answer awaited                    | initLimit
    AHEAD      it has entries of this epoch that the leader has yet to send us: we wait | initLimit
    SYNC       the sync is on its way
    NEWLEADER  sent behind the sync and what was committed meanwhile, its ack awaited   | initLimit
    ACTIVE     UPTODATE is sent; anything goes                                          | syncLimit

From SYNC on an observer gets every commit. What its clients ask goes on to the leader: the shell relays it, and tells
here which answer is whose.

Inputs return effects, see :mod:`zabra.zab.effects`. Time is monotonic milliseconds. Source: ``ObserverMaster``,
``LearnerMaster``, ``LearnerHandler`` (3.9.5). Unlike there, an observer that was faster than this follower, at another
master, is not made to cut off what it has: it is committed, so it will come here as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from zabra.errors import ProtocolError
from zabra.wire.records_quorum import QuorumPacket
from zabra.zab import packets
from zabra.zab.broadcast import text_of
from zabra.zab.effects import Close, Effect, Forwarded, Revalidate, SendTo, SyncLearner, Touched
from zabra.zab.packets import PACKET_NAMES, PROTOCOL_VERSION, Arrived, ForwardedRequest, Packet, singly
from zabra.zab.quorums import QuorumVerifier
from zabra.zab.syncplan import SNAPSHOT_SIZE_FACTOR, Entry, History, SyncPlan, choose_sync
from zabra.zxid import counter_of, epoch_of, make_zxid


class Stage(Enum):
    """What the connection of an observer is in."""

    HELLO = "hello"
    ACKEPOCH = "ackepoch"
    AHEAD = "ahead"
    SYNC = "sync"
    NEWLEADER = "newleader"
    ACTIVE = "active"


class MasterOptions(NamedTuple):
    """Settings, under the names of ``zoo.cfg``; limits are in ticks."""

    tick_ms: int
    init_limit: int
    sync_limit: int
    max_concurrent_snap_syncs: int = 10
    max_concurrent_diff_syncs: int = 100
    snapshot_size_factor: float = SNAPSHOT_SIZE_FACTOR
    force_snapshot_sync: bool = False


class Memberships(Protocol):
    """Those of the follower, as they are at the moment of asking."""

    @property
    def verifier(self) -> QuorumVerifier:
        """The committed one."""

    @property
    def last_seen(self) -> QuorumVerifier:
        """The last proposed one, maybe the same."""


class _Observer:
    """One connection."""

    __slots__ = ("conn", "last_zxid", "read_deadline_ms", "sid", "stage", "sync_op")

    def __init__(self, conn: int, read_deadline_ms: int) -> None:
        self.conn = conn
        #: None: it has not told, or is too old to do so.
        self.sid: int | None = None
        self.stage = Stage.HELLO
        #: The end of its history when it came.
        self.last_zxid = -1
        #: Something must have arrived by then; None while it waits for us.
        self.read_deadline_ms: int | None = read_deadline_ms
        #: DIFF, TRUNC or SNAP while that counts as a sync in progress.
        self.sync_op: int | None = None


class ObserverMaster:
    """The observers of one follower, for as long as that follows in ``epoch``; ``history`` is its own."""

    def __init__(
        self, history: History, memberships: Memberships, options: MasterOptions, *, epoch: int, now_ms: int
    ) -> None:
        self._history = history
        self._memberships = memberships
        self._options = options
        self._epoch = epoch
        self._init_ms = options.init_limit * options.tick_ms
        self._sync_ms = options.sync_limit * options.tick_ms
        self._observers: dict[int, _Observer] = {}
        #: Connections that get everything committed.
        self._attached: tuple[int, ...] = ()
        self._next_ping_ms = now_ms + options.tick_ms // 2

    @property
    def attached(self) -> int:
        """How many observers get everything committed."""
        return len(self._attached)

    def in_step(self) -> list[tuple[int, int]]:
        """Connection and server id of each observer that has acked NEWLEADER."""
        return [
            (conn, observer.sid)
            for conn, observer in self._observers.items()
            if observer.stage is Stage.ACTIVE and observer.sid is not None
        ]

    # Inputs.

    def connected(self, conn: int, now_ms: int) -> list[Effect]:
        """Somebody connected; ``conn`` is a number never used before."""
        self._observers[conn] = _Observer(conn, now_ms + self._init_ms)
        return []

    def disconnected(self, conn: int) -> list[Effect]:
        """The connection is gone, without our doing."""
        self._forget(conn)
        return []

    def packets(self, conn: int, arrived: Iterable[Arrived], now_ms: int) -> list[Effect]:
        """Packets of one connection; of a closed one they are ignored."""
        observer = self._observers.get(conn)
        if observer is None:
            return []
        effects: list[Effect] = []
        requests: list[ForwardedRequest] = []
        for packet in singly(arrived):
            try:
                if packet.type == Packet.REQUEST and observer.stage is Stage.ACTIVE:
                    requests.append(packets.parse_request(packet))
                    continue
                more = self._packet(observer, packet, now_ms)
            except ProtocolError as error:
                more = self._close(observer, str(error))
            if requests:
                effects.append(Forwarded(conn, requests))
                requests = []
            effects += more
            if conn not in self._observers:
                return effects
        if requests:
            effects.append(Forwarded(conn, requests))
        if observer.stage is Stage.ACTIVE:
            observer.read_deadline_ms = now_ms + self._sync_ms
        return effects

    def sync_sent(self, conn: int, now_ms: int) -> list[Effect]:
        """All of a :class:`SyncLearner` is on its way: NEWLEADER ends it."""
        observer = self._observers.get(conn)
        if observer is None:
            return []
        observer.stage = Stage.NEWLEADER
        observer.read_deadline_ms = now_ms + self._init_ms
        return [SendTo((conn,), packets.new_leader(self._epoch, text_of(self._memberships.last_seen)))]

    def committed(self, entries: Sequence[Entry], designated: int | None = None) -> list[Effect]:
        """These are committed, and in the tree. ``designated``: it is one, a membership that this server shall lead."""
        effects: list[Effect] = []
        if self._attached:
            if designated is None:
                informs = b"".join([packets.inform(*entry) for entry in entries])
            else:
                informs = b"".join([packets.inform_and_activate(zxid, designated, data) for zxid, data in entries])
            effects.append(SendTo(self._attached, informs))
        for observer in list(self._observers.values()):
            if observer.stage is Stage.AHEAD and observer.last_zxid <= self._history.last_processed:
                effects += self._join(observer)
        return effects

    def synced(self, conn: int) -> list[Effect]:
        """The leader has answered the sync of an observer's client; what was committed before was told already."""
        return [SendTo((conn,), packets.sync_answer())] if conn in self._observers else []

    def revalidated(self, conn: int, session: int, valid: bool) -> list[Effect]:
        """The leader's answer to :class:`Revalidate`."""
        return [SendTo((conn,), packets.revalidated(session, valid))] if conn in self._observers else []

    @property
    def deadline_ms(self) -> int:
        """When to call :meth:`timeout`; may change with every input."""
        times = [observer.read_deadline_ms for observer in self._observers.values()]
        return min([self._next_ping_ms, *(time for time in times if time is not None)])

    def timeout(self, now_ms: int) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        for observer in list(self._observers.values()):
            if observer.read_deadline_ms is not None and now_ms >= observer.read_deadline_ms:
                effects += self._close(observer, self._complaint(observer))
        if now_ms >= self._next_ping_ms:
            self._next_ping_ms = now_ms + self._options.tick_ms // 2
            stages = (Stage.NEWLEADER, Stage.ACTIVE)
            pinged = [conn for conn, observer in self._observers.items() if observer.stage in stages]
            if pinged:
                effects.append(SendTo(tuple(pinged), packets.ping(self._history.last_processed)))
        return effects

    def _complaint(self, observer: _Observer) -> str:
        if observer.stage is Stage.AHEAD:
            here = self._history.last_processed
            return f"server {observer.sid} has 0x{observer.last_zxid:x}, which did not come here behind 0x{here:x}"
        return f"server {observer.sid} is silent in stage {observer.stage.value}"

    # What an observer says.

    def _packet(self, observer: _Observer, packet: QuorumPacket, now_ms: int) -> list[Effect]:
        stage, kind = observer.stage, packet.type
        if stage is Stage.HELLO:
            return self._hello(observer, packet, now_ms)
        if stage is Stage.ACKEPOCH and kind == Packet.ACKEPOCH:
            _, observer.last_zxid = packets.parse_ack_epoch(packet)
            return self._take_in(observer, now_ms)
        if stage is Stage.NEWLEADER and kind == Packet.ACK:
            observer.stage = Stage.ACTIVE
            observer.sync_op = None
            return [SendTo((observer.conn,), packets.up_to_date())]
        if stage is Stage.ACTIVE:
            if kind == Packet.ACK and not counter_of(packet.zxid):
                # The answer to UPTODATE, of which nobody needs to know.
                return []
            if kind == Packet.PING:
                sessions = packets.parse_touches(packet)
                return [Touched(observer.conn, sessions)] if sessions else []
            if kind == Packet.REVALIDATE:
                return [Revalidate(observer.conn, *packets.parse_revalidate(packet))]
        raise ProtocolError(f"{PACKET_NAMES[kind]} from server {observer.sid} in stage {stage.value}")

    def _hello(self, observer: _Observer, packet: QuorumPacket, now_ms: int) -> list[Effect]:
        hello = packets.parse_learner_info(packet)
        observer.sid = hello.sid
        if not hello.observer:
            raise ProtocolError(f"server {hello.sid} is no observer")
        if hello.protocol_version < PROTOCOL_VERSION:
            raise ProtocolError(f"server {hello.sid} does not know LEADERINFO")
        if hello.config_version is not None and hello.config_version > self._memberships.verifier.version:
            raise ProtocolError(f"server {hello.sid} has a later configuration: version {hello.config_version:x}")
        observer.stage = Stage.ACKEPOCH
        observer.read_deadline_ms = now_ms + self._init_ms
        return [SendTo((observer.conn,), packets.leader_info(self._epoch))]

    def _take_in(self, observer: _Observer, now_ms: int) -> list[Effect]:
        """Its history is known: bring it here, at once or when ours has come as far."""
        effects: list[Effect] = []
        for other in list(self._observers.values()):
            if other.sid == observer.sid and other is not observer and other.stage is not Stage.HELLO:
                effects += self._close(other, f"server {observer.sid} is connected anew")
        last = observer.last_zxid
        if epoch_of(last) == self._epoch and counter_of(last) and last > self._history.last_processed:
            observer.stage = Stage.AHEAD
            observer.read_deadline_ms = now_ms + self._init_ms
            return effects
        return effects + self._join(observer)

    def _join(self, observer: _Observer) -> list[Effect]:
        """Send the sync; from now on the observer gets everything."""
        options = self._options
        plan = self._plan(observer.last_zxid)
        is_snap = plan.op == Packet.SNAP
        ops = [other.sync_op for other in self._observers.values() if other.sync_op is not None]
        limit = options.max_concurrent_snap_syncs if is_snap else options.max_concurrent_diff_syncs
        if sum((op == Packet.SNAP) is is_snap for op in ops) >= limit:
            return self._close(observer, f"too many syncs in progress for observer {observer.sid}")
        observer.stage = Stage.SYNC
        observer.sync_op = plan.op
        observer.read_deadline_ms = None
        self._attached += (observer.conn,)
        return [SyncLearner(observer.conn, plan)]

    def _plan(self, last_zxid: int) -> SyncPlan:
        options, history = self._options, self._history
        if history.last_processed < last_zxid == make_zxid(self._epoch, 0):
            # A snapshot of the leader when the epoch began: there is nothing between our last entry and that.
            return SyncPlan(Packet.DIFF, last_zxid, last_zxid)
        return choose_sync(
            history, last_zxid, size_factor=options.snapshot_size_factor, force_snapshot=options.force_snapshot_sync
        )

    # The end of a connection.

    def _close(self, observer: _Observer, reason: str) -> list[Effect]:
        self._forget(observer.conn)
        return [Close(observer.conn, reason)]

    def _forget(self, conn: int) -> None:
        self._observers.pop(conn, None)
        self._attached = tuple([other for other in self._attached if other != conn])
