"""[hot] A follower or observer: from its connection to a leader to the end of that.

::

    LEADERINFO   FOLLOWERINFO is sent
        v        ACKEPOCH, see zabra.zab.discovery
    START        DIFF: our history is a prefix.   TRUNC: it is once the end is cut off.   SNAP: it is replaced.
        |                  |                                                                  v
        |                  |                                                              SNAPSHOT  it arrives
        v                  v                                                                  |
      SYNC  <---------------------------------------------------------------------------------'
        v        entries we miss. NEWLEADER: all committed ones must be on disk, then the epoch, then ACK
    NEWLEADER    proposals and commits are kept
        v        UPTODATE
    BROADCAST    log and ack proposals, apply commits; observers log and apply what they are informed of
        v
     GONE        every input gives nothing

What is on disk when, so that no crash leaves a history that claims too much:

- After DIFF or TRUNC a committed entry is logged and applied as it comes. Before the first one of an epoch that is
  newer than currentEpoch, all before it is flushed and that epoch becomes the current one: a log never is ahead of
  currentEpoch (a start would be refused), and currentEpoch never ahead of the log (ZOOKEEPER-4643).
- After SNAP they are applied in memory only, and at NEWLEADER a snapshot is written. Until then memory has a base that
  the disk does not know, and is thrown away if the connection ends (ZOOKEEPER-3642).
- Entries without a commit are logged, and acked, after UPTODATE only (ZOOKEEPER-4685).
- Nothing is acked before it is on disk (ZOOKEEPER-3911, 4646).
- Nothing is logged that could not be replayed: what a leader sends is taken apart first. Apache logs the bytes of some
  proposals before it looks at them.

An observer may keep no log: it applies in memory only, and neither logs nor makes an epoch current, unless a snapshot
brings all that it has to the disk. The files tell an older state then, but a true one.

Inputs return effects, see :mod:`zabra.zab.effects`. Time is monotonic milliseconds. Source: ``Learner``, ``Follower``,
``Observer``, ``FollowerZooKeeperServer`` (3.9.5). Unlike there, observers have the committed entries on disk before
they ack NEWLEADER too, and the log is continued after TRUNC instead of a snapshot written, which leaves no gap in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from struct import Struct
from typing import Final

from zabra.consts import Op
from zabra.errors import ProtocolError
from zabra.wire.primitives import Reader
from zabra.wire.records_quorum import QuorumPacket
from zabra.wire.records_txn import SetDataTxn
from zabra.wire.txncheck import TxnCheck
from zabra.zab import packets
from zabra.zab.discovery import Summary, accept_epoch
from zabra.zab.effects import (
    ActivateConfig,
    AnswerPing,
    Commit,
    Effect,
    EpochFile,
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
from zabra.zab.packets import PACKET_NAMES, Arrived, Packet, Run, singly
from zabra.zab.syncplan import Entry, follows, new_entry
from zabra.zxid import epoch_of, make_zxid

#: ``ExitCode.UNMATCHED_TXN_COMMIT``.
EXIT_UNMATCHED_COMMIT: Final = 12
#: ``ExitCode.QUORUM_PACKET_ERROR``.
EXIT_QUORUM_PACKET: Final = 13

#: TxnHeader: session, cxid, zxid, time, type.
_TXN_HEADER: Final = Struct(">qiqqi")


class Stage(Enum):
    """What the learner waits for."""

    LEADERINFO = "leaderinfo"
    START = "start of the sync"
    SNAPSHOT = "snapshot"
    SYNC = "sync"
    NEWLEADER = "uptodate"
    BROADCAST = "broadcast"
    GONE = "gone"


#: As a name of the module, a third of the time to look up.
_BROADCAST: Final = Stage.BROADCAST


class Learner:
    """One connection to a leader (or, for an observer, an observer master).

    ``summary`` is the own currentEpoch and last zxid, all of it on disk and in memory, ``config_version`` that of the
    committed membership. The files can be cut back to ``floor``, the zxid of the oldest snapshot; a TRUNC below it, of
    entries that came as a snapshot, is impossible, so the leader is asked again as if there was nothing here, which
    gives a SNAP (Apache exits). That is only said where it is no ack, to the leader of ``snapshot_epoch``: an ack must
    tell the true history. ``unlogged``: memory has more than the files, which cannot be cut back then; they are loaded
    again, and tell what they have. Limits are in ticks.
    """

    def __init__(
        self,
        sid: int,
        *,
        observer: bool,
        accepted_epoch: int,
        summary: Summary,
        config_version: int,
        floor: int,
        snapshot_epoch: int | None = None,
        keeps_log: bool = True,
        unlogged: bool = False,
        tick_ms: int,
        init_limit: int,
        sync_limit: int,
    ) -> None:
        assert keeps_log or observer, "acks are of what is on disk"
        self.sid = sid
        self.observer = observer
        self.stage = Stage.LEADERINFO
        #: The leader's epoch, once known.
        self.epoch = -1
        #: The newest zxid we were told of, and the newest of it that is committed.
        self.last_zxid = summary.last_zxid
        self.last_committed = summary.last_zxid
        #: Told and not committed, oldest first.
        self.pending: deque[Entry] = deque()
        self._accepted_epoch = accepted_epoch
        self._summary = summary
        #: That on disk.
        self._current_epoch = summary.current_epoch
        self._config_version = config_version
        self._floor = floor
        self._snapshot_epoch = snapshot_epoch
        self._keeps_log = keeps_log
        self._unlogged = unlogged
        self._init_ms = init_limit * tick_ms
        self._sync_ms = sync_limit * tick_ms
        #: The leader must have said something by then; None before the start and after the end.
        self.deadline_ms: int | None = None
        #: Zxid of the snapshot that memory stands on and the disk does not know, or None.
        self._unsaved_base: int | None = None
        #: The membership that came with NEWLEADER.
        self._config: bytes | None = None
        #: Committed after NEWLEADER and before UPTODATE.
        self._kept: list[Entry] = []
        #: Logged, not known to be on disk: the zxids from one to another, in the order of their acks.
        self._unacked: deque[tuple[int, int]] = deque()
        #: Of the packets that are being read: entries that become one Log and one Commit. Else empty.
        self._to_log: list[Entry] = []
        self._to_commit: list[Entry] = []
        self._check = TxnCheck()
        self._handlers: dict[Stage, Callable[[QuorumPacket], list[Effect]]] = {
            Stage.LEADERINFO: self._leader_info,
            Stage.START: self._start_sync,
            Stage.SYNC: self._sync,
            Stage.NEWLEADER: self._sync,
            Stage.BROADCAST: self._broadcast,
        }

    def start(self, now_ms: int) -> list[Effect]:
        """The connection stands: introduce ourselves."""
        self.deadline_ms = now_ms + self._init_ms
        return [Send(packets.learner_info(self.observer, self._accepted_epoch, self.sid, self._config_version))]

    def packets(self, arrived: Iterable[Arrived], now_ms: int) -> list[Effect]:
        """Packets of the leader. Entries that came together are logged and applied together."""
        effects: list[Effect] = []
        pending = self.pending
        is_plain = self._check.is_plain
        take_to_log = self._to_log.append
        in_step = self.stage is _BROADCAST and not self.observer
        for packet in arrived:
            if in_step:
                if isinstance(packet, Run):
                    _, first, last = packet
                    place = last - first
                    if place < len(pending) and pending[0].zxid == first and pending[place].zxid == last:
                        take = pending.popleft
                        self._to_commit += [take() for _ in range(place + 1)]
                        self.last_committed = last
                        continue
                elif packet[0] == 2:
                    _, zxid, data, _ = packet
                    if zxid == self.last_zxid + 1 and data is not None and is_plain(zxid, data):
                        self.last_zxid = zxid
                        entry = new_entry((zxid, data))
                        pending.append(entry)
                        take_to_log(entry)
                        continue
            for one in singly((packet,)):
                self._take(one, effects)
            in_step = self.stage is _BROADCAST and not self.observer
        self._pass_on(effects)
        self.alive(now_ms)
        return effects

    def _take(self, packet: QuorumPacket, effects: list[Effect]) -> None:
        """Any packet."""
        try:
            if self.stage is _BROADCAST and not self.observer:
                if packet.type == Packet.PROPOSAL and self._propose(packet, effects):
                    self._to_log.append(self.pending[-1])
                    return
                if packet.type == Packet.COMMIT and self._is_next(packet.zxid):
                    self._to_commit.append(self._commit_next())
                    return
            handler = self._handlers.get(self.stage)
            more = handler(packet) if handler is not None else []
        except ProtocolError as error:
            more = self._leave(str(error))
        if more:
            self._pass_on(effects)
            effects += more

    def _pass_on(self, effects: list[Effect]) -> None:
        """What was gathered becomes effects; logging goes first, as everything that is committed was logged."""
        if self._to_log:
            # Gathered during the sync it is committed: no one waits for an ack. NEWLEADER passes that on.
            if self.stage is _BROADCAST and not self.observer:
                self._owe_acks(self._to_log)
            effects.append(Log(tuple(self._to_log)))
            self._to_log.clear()
        if self._to_commit:
            effects.append(Commit(tuple(self._to_commit)))
            self._to_commit.clear()

    def _decided(self, entry: Entry, first: list[Effect], *, log: bool) -> list[Effect]:
        """Log and apply an entry behind the effects ``first``; gather it where there are none."""
        if first:
            return [*first, Log((entry,)), Commit((entry,))] if log else [*first, Commit((entry,))]
        if log:
            self._to_log.append(entry)
        self._to_commit.append(entry)
        return []

    def _owe_acks(self, entries: Sequence[Entry]) -> None:
        """These are to be acknowledged once they are on disk."""
        first, last = entries[0].zxid, entries[-1].zxid
        if last - first == len(entries) - 1:
            self._unacked.append((first, last))
        else:
            self._unacked.extend([(entry.zxid, entry.zxid) for entry in entries])

    def alive(self, now_ms: int) -> None:
        """Bytes of a snapshot arrived."""
        if self.deadline_ms is not None:
            waits = self.stage in (Stage.NEWLEADER, Stage.BROADCAST)
            self.deadline_ms = now_ms + (self._sync_ms if waits else self._init_ms)

    def snapshot_loaded(self, now_ms: int) -> list[Effect]:
        """The snapshot is in memory."""
        if self.stage is Stage.SNAPSHOT:
            self.stage = Stage.SYNC
            self.alive(now_ms)
        return []

    def logged(self, zxid: int) -> list[Effect]:
        """Everything up to ``zxid`` is on disk."""
        acks = []
        unacked = self._unacked
        while unacked and unacked[0][0] <= zxid:
            first, last = unacked.popleft()
            if last > zxid:
                unacked.appendleft((zxid + 1, last))
                last = zxid
            acks.append(packets.acks(first, last))
        return [Send(b"".join(acks))] if acks and self.stage is not Stage.GONE else []

    def disconnected(self, reason: str) -> list[Effect]:
        """The connection is gone."""
        return self._leave(reason) if self.stage is not Stage.GONE else []

    def timeout(self, now_ms: int) -> list[Effect]:
        """Leave a leader that is silent."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        return self._leave(f"the leader is silent, waiting for {self.stage.value}")

    # Discovery.

    def _leader_info(self, packet: QuorumPacket) -> list[Effect]:
        if packet.type != Packet.LEADERINFO:
            raise _illegal(packet, self.stage)
        if packet.data is None or len(packet.data) < 4:
            raise ProtocolError("LEADERINFO without a protocol version")
        self.epoch = epoch_of(packet.zxid)
        summary = self._summary
        if self.epoch == self._accepted_epoch == self._snapshot_epoch:
            summary = summary._replace(last_zxid=0)
        else:
            self._snapshot_epoch = None
        effects = accept_epoch(self.epoch, self._accepted_epoch, summary)
        self.stage = Stage.START
        return effects

    # Synchronization.

    def _start_sync(self, packet: QuorumPacket) -> list[Effect]:
        if self._snapshot_epoch is not None and packet.type in (Packet.DIFF, Packet.TRUNC):
            self._leave("no snapshot")
            return [Exit(EXIT_QUORUM_PACKET, f"{PACKET_NAMES[packet.type]} instead of SNAP: the log cannot be cut")]
        if packet.type == Packet.DIFF:
            self.stage = Stage.SYNC
            return []
        if packet.type == Packet.TRUNC:
            if packet.zxid > self.last_zxid:
                raise ProtocolError(f"TRUNC to 0x{packet.zxid:x}, the log ends at 0x{self.last_zxid:x}")
            if self._unlogged:
                return self._leave(f"TRUNC to 0x{packet.zxid:x}, which the files do not reach", reload=True)
            if packet.zxid < self._floor:
                reason = f"TRUNC to 0x{packet.zxid:x}, the oldest snapshot is of 0x{self._floor:x}"
                return self._leave(reason, snapshot_epoch=self.epoch)
            self.last_zxid = self.last_committed = packet.zxid
            self.stage = Stage.SYNC
            return [Truncate(packet.zxid)]
        if packet.type == Packet.SNAP:
            self.last_zxid = self.last_committed = self._unsaved_base = packet.zxid
            self.stage = Stage.SNAPSHOT
            return [LoadSnapshot(packet.zxid)]
        raise _illegal(packet, self.stage)

    def _sync(self, packet: QuorumPacket) -> list[Effect]:
        """SYNC and, after NEWLEADER, until UPTODATE."""
        kind = packet.type
        effects: list[Effect] = []
        if kind == Packet.PROPOSAL:
            self._propose(packet, effects)
        elif kind in (Packet.COMMIT, Packet.COMMITANDACTIVATE):
            # What is in our history already may be repeated.
            if packet.zxid > self.last_committed:
                effects = self._commit_in_sync(packet, effects)
        elif kind in (Packet.INFORM, Packet.INFORMANDACTIVATE):
            self._propose(packet, effects)
            if packet.zxid > self.last_committed:
                effects = self._commit_in_sync(packet, effects)
        elif kind == Packet.NEWLEADER and self.stage is Stage.SYNC:
            effects = self._new_leader(packet)
        elif kind == Packet.UPTODATE and self.stage is Stage.NEWLEADER:
            effects = self._up_to_date()
        elif kind != Packet.PING:
            # A ping is not answered: Java's leader expects nothing but the ack of NEWLEADER.
            raise _illegal(packet, self.stage)
        return effects

    def _commit_in_sync(self, packet: QuorumPacket, effects: list[Effect]) -> list[Effect]:
        """Commit the oldest pending entry behind ``effects``."""
        if not self._is_next(packet.zxid):
            raise ProtocolError(f"{PACKET_NAMES[packet.type]} of 0x{packet.zxid:x}, which was not proposed next")
        effects += self._activate(packet)
        entry = self._commit_next()
        if self.stage is Stage.NEWLEADER:
            self._kept.append(entry)
            return effects
        if self._unsaved_base is not None or not self._keeps_log:
            return self._decided(entry, effects, log=False)
        epoch = epoch_of(entry.zxid)
        if epoch > self._current_epoch:
            effects += [FlushLog(), self._store_current(epoch)]
        return self._decided(entry, effects, log=True)

    def _new_leader(self, packet: QuorumPacket) -> list[Effect]:
        if packet.zxid != make_zxid(self.epoch, 0):
            raise ProtocolError(f"NEWLEADER 0x{packet.zxid:x} in epoch 0x{self.epoch:x}")
        effects: list[Effect] = []
        if packet.data is not None and len(packet.data) > 1:
            self._config = packet.data
            effects.append(LastSeenConfig(packet.data))
        if self._unsaved_base is not None:
            # A crash between the next two would leave a history that is newer than currentEpoch.
            effects += [StoreEpoch(EpochFile.BEGUN, self.epoch), SaveSnapshot(self._unsaved_base)]
            effects.append(self._store_current(self.epoch))
            self._unsaved_base = None
        elif self._keeps_log:
            effects += [FlushLog(), self._store_current(self.epoch)]
        self.stage = Stage.NEWLEADER
        return [*effects, Send(packets.ack(packet.zxid))]

    def _up_to_date(self) -> list[Effect]:
        effects: list[Effect] = []
        if self._config is not None:
            effects.append(ActivateConfig(self._config, None, None))
        effects += [Send(packets.ack(make_zxid(self.epoch, 0))), Serve(self.epoch)]
        kept, self._kept = self._kept, []
        if self.observer:
            # Old leaders send observers what is not committed; INFORM brings it again.
            self.last_zxid = self.last_committed
            self.pending.clear()
        unlogged = (*kept, *self.pending)
        if unlogged and self._keeps_log:
            effects.append(Log(unlogged))
            if not self.observer:
                self._owe_acks(unlogged)
        if kept:
            effects.append(Commit(tuple(kept)))
        self.stage = Stage.BROADCAST
        return effects

    # Broadcast.

    def _broadcast(self, packet: QuorumPacket) -> list[Effect]:
        kind = packet.type
        if kind == Packet.PING:
            return [AnswerPing(packet.zxid)]
        if kind == Packet.REVALIDATE:
            return [Revalidated(*packets.parse_revalidated(packet))]
        if kind == Packet.SYNC:
            return [Synced()]
        if self.observer:
            if kind in (Packet.INFORM, Packet.INFORMANDACTIVATE):
                return self._informed(packet)
            if kind in (Packet.PROPOSAL, Packet.COMMIT):
                return []
        elif kind == Packet.PROPOSAL:
            return []
        elif kind in (Packet.COMMIT, Packet.COMMITANDACTIVATE):
            return self._odd_commit(packet)
        raise _illegal(packet, self.stage)

    def _informed(self, packet: QuorumPacket) -> list[Effect]:
        effects: list[Effect] = []
        if not self._propose(packet, effects):
            return []
        effects += self._activate(packet)
        return self._decided(self._commit_next(), effects, log=self._keeps_log)

    def _odd_commit(self, packet: QuorumPacket) -> list[Effect]:
        """A commit that activates, or that is not of the oldest pending proposal."""
        if packet.zxid <= self.last_committed or not self.pending:
            return []
        if not self._is_next(packet.zxid):
            reason = f"COMMIT of 0x{packet.zxid:x}, the next pending one is 0x{self.pending[0].zxid:x}"
            self._leave(reason)
            return [Exit(EXIT_UNMATCHED_COMMIT, reason)]
        effects = self._activate(packet)
        return [*effects, Commit((self._commit_next(),))]

    # Both.

    def _propose(self, packet: QuorumPacket, effects: list[Effect]) -> bool:
        """Take a proposal; False for one that we know already. Raises :class:`ProtocolError` for a gap."""
        data = packets.informed_entry(packet)
        if len(data) < _TXN_HEADER.size:
            raise ProtocolError(f"{PACKET_NAMES[packet.type]} of {len(data)} bytes, no transaction")
        _, _, zxid, _, kind = _TXN_HEADER.unpack_from(data)
        if zxid != packet.zxid:
            raise ProtocolError(f"{PACKET_NAMES[packet.type]} 0x{packet.zxid:x} with transaction 0x{zxid:x}")
        if zxid <= self.last_zxid:
            return False
        if not follows(zxid, self.last_zxid):
            raise ProtocolError(f"{PACKET_NAMES[packet.type]} 0x{zxid:x} after 0x{self.last_zxid:x}: a gap")
        if not self._check.is_plain(zxid, data):
            try:
                self._check.check(data)
            except ProtocolError as error:
                raise ProtocolError(f"{PACKET_NAMES[packet.type]} 0x{zxid:x} cannot be replayed: {error}") from error
        if kind == Op.RECONFIG:
            effects.append(LastSeenConfig(_config_of(data)))
        elif packet.type == Packet.INFORMANDACTIVATE:
            raise _no_membership(packet)
        self.last_zxid = zxid
        self.pending.append(Entry(zxid, data))
        return True

    def _is_next(self, zxid: int) -> bool:
        return bool(self.pending) and self.pending[0].zxid == zxid

    def _commit_next(self) -> Entry:
        entry = self.pending.popleft()
        self.last_committed = entry.zxid
        return entry

    def _activate(self, packet: QuorumPacket) -> list[Effect]:
        """The activation of the pending entry that the packet commits. Raises :class:`ProtocolError`, nothing taken."""
        if packet.type not in (Packet.COMMITANDACTIVATE, Packet.INFORMANDACTIVATE):
            return []
        zxid, data = self.pending[0]
        if _TXN_HEADER.unpack_from(data)[4] != Op.RECONFIG:
            raise _no_membership(packet)
        return [ActivateConfig(_config_of(data), packets.parse_designated(packet), zxid)]

    def _store_current(self, epoch: int) -> StoreEpoch:
        self._current_epoch = epoch
        return StoreEpoch(EpochFile.CURRENT, epoch)

    def _leave(self, reason: str, snapshot_epoch: int | None = None, *, reload: bool = False) -> list[Effect]:
        self.stage = Stage.GONE
        self.deadline_ms = None
        return [Leave(reason, reload or self._unsaved_base is not None, snapshot_epoch)]


def _config_of(data: bytes) -> bytes:
    """The membership that a reconfig transaction sets."""
    text = SetDataTxn.decode(Reader(data, _TXN_HEADER.size)).data
    if text is None:
        raise ProtocolError("a reconfig without a membership")
    return text


def _no_membership(packet: QuorumPacket) -> ProtocolError:
    return ProtocolError(f"{PACKET_NAMES[packet.type]} 0x{packet.zxid:x}, which is no change of membership")


def _illegal(packet: QuorumPacket, stage: Stage) -> ProtocolError:
    return ProtocolError(f"{PACKET_NAMES[packet.type]} while waiting for {stage.value}")
