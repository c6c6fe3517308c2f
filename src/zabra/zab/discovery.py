"""Agreement on a new epoch, before a leader's history becomes everybody's.

The leader::

    EPOCH    wait until a quorum of voters, itself included, told the epoch it accepted last; the new one is above all
      |      of them. Stored as accepted, then LEADERINFO goes to everybody who waits.
      v
    ACKS     wait until a quorum acked it. Who has more than the leader is sent away. Stored as current.
      |
      v
    DONE     whoever comes now is answered at once.

A learner stores a higher epoch as accepted before it acks. The same epoch again it answers, but with an ack that does
not count: it may have acked it to another leader. A lower one it refuses. So of two leaders that want the same epoch
only one gets a quorum.

Source: ``Leader.getEpochToPropose``, ``waitForEpochAck``, ``Learner.registerWithLeader`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Set
from enum import Enum
from typing import NamedTuple

from zabra.errors import ProtocolError
from zabra.zab import packets
from zabra.zab.effects import Close, Effect, EpochFile, Send, SendTo, StepDown, StoreEpoch
from zabra.zab.packets import NO_EPOCH, PROTOCOL_VERSION, LearnerHello
from zabra.zab.quorums import QuorumVerifier
from zabra.zxid import epoch_of


class Summary(NamedTuple):
    """How far a server's history goes; compares as tuples do."""

    current_epoch: int
    last_zxid: int


class Joined(NamedTuple):
    """The epoch is agreed and this learner knows it: bring it to the leader's history. For the leader core only."""

    conn: int
    last_zxid: int


class Phase(Enum):
    """What the leader waits for."""

    EPOCH = "epoch"
    ACKS = "acks of the epoch"
    DONE = "nothing"


class LeaderDiscovery:
    """The leader's side. ``wait_ms`` limits each of its two waits."""

    def __init__(
        self, sid: int, verifier: QuorumVerifier, accepted_epoch: int, summary: Summary, *, wait_ms: int, now_ms: int
    ) -> None:
        self._sid = sid
        self._verifier = verifier
        self._accepted_epoch = accepted_epoch
        self._summary = summary
        self._wait_ms = wait_ms
        self.started_ms = now_ms
        #: When to step down; None once there is nothing to wait for.
        self.deadline_ms: int | None = now_ms + wait_ms
        self.phase = Phase.EPOCH
        #: The new epoch, final after :attr:`Phase.EPOCH`.
        self.epoch = -1
        #: Who told its accepted epoch, and who acked the new one. They count even when they leave.
        self._told: set[int] = set()
        self._acked: set[int] = set()
        #: Connections that wait for LEADERINFO, and those that wait for the end of :attr:`Phase.ACKS`.
        self._hellos: dict[int, tuple[int, LearnerHello]] = {}
        self._ready: dict[int, int] = {}

    def begin(self, now_ms: int) -> list[Effect | Joined]:
        """The leader counts itself."""
        return self._tell(self._sid, self._accepted_epoch, now_ms)

    def hello(self, conn: int, sid: int, hello: LearnerHello, now_ms: int) -> list[Effect | Joined]:
        """A learner's first packet. It is told the epoch as soon as there is one."""
        self._hellos[conn] = (sid, hello)
        if self.phase is not Phase.EPOCH:
            return self._inform()
        # Everybody raises the epoch, but the quorum is one of voters (ZOOKEEPER-2959).
        return self._tell(sid, epoch_of(hello.zxid), now_ms)

    def epoch_ack(self, conn: int, sid: int, summary: Summary) -> list[Effect | Joined]:
        """A learner's answer to LEADERINFO."""
        if self.phase is Phase.DONE:
            return [Joined(conn, summary.last_zxid)]
        if summary.current_epoch != NO_EPOCH:
            if summary > self._summary:
                return [Close(conn, f"server {sid} is ahead of the leader: {summary} is after {self._summary}")]
            if summary.last_zxid != -1:
                self._acked.add(sid)
        self._ready[conn] = summary.last_zxid
        return self._check_acks()

    def forget(self, conn: int) -> None:
        """The connection is gone."""
        self._hellos.pop(conn, None)
        self._ready.pop(conn, None)

    def timeout(self, now_ms: int) -> list[Effect]:
        """Step down when the deadline has passed."""
        if self.deadline_ms is None or now_ms < self.deadline_ms:
            return []
        self.deadline_ms = None
        heard = sorted(self._told if self.phase is Phase.EPOCH else self._acked)
        return [StepDown(f"no quorum in {self._wait_ms} ms waiting for {self.phase.value}, only of {heard}")]

    def _tell(self, sid: int, accepted_epoch: int, now_ms: int) -> list[Effect | Joined]:
        self.epoch = max(self.epoch, accepted_epoch + 1)
        self._told.add(sid)
        if self._sid not in self._told or not self._verifier.contains_quorum(self._told):
            return []
        self.phase = Phase.ACKS
        self.deadline_ms = now_ms + self._wait_ms
        self._acked.add(self._sid)
        accepted = StoreEpoch(EpochFile.ACCEPTED, self.epoch)
        return [accepted, *self._inform(), *self._check_acks()]

    def _inform(self) -> list[Effect | Joined]:
        hellos, self._hellos = self._hellos, {}
        new = [conn for conn, (_, hello) in hellos.items() if hello.protocol_version >= PROTOCOL_VERSION]
        effects: list[Effect | Joined] = [SendTo(tuple(new), packets.leader_info(self.epoch))] if new else []
        for conn, (sid, hello) in hellos.items():
            if hello.protocol_version < PROTOCOL_VERSION:
                # Before 3.4 there was no LEADERINFO; the first packet was the ack.
                summary = Summary(epoch_of(hello.zxid), hello.zxid)
                effects += self.epoch_ack(conn, sid, summary)
        return effects

    def _check_acks(self) -> list[Effect | Joined]:
        if self.phase is not Phase.ACKS or not self._verifier.contains_quorum(self._acked):
            return []
        self.phase = Phase.DONE
        self.deadline_ms = None
        ready, self._ready = self._ready, {}
        return [StoreEpoch(EpochFile.CURRENT, self.epoch), *(Joined(*learner) for learner in ready.items())]


def accept_epoch(epoch: int, accepted_epoch: int, summary: Summary) -> list[Effect]:
    """A learner's answer to a LEADERINFO of ``epoch``. Raises :class:`ProtocolError` for one that is too low."""
    if epoch < accepted_epoch:
        raise ProtocolError(f"the leader's epoch 0x{epoch:x} is less than the accepted epoch 0x{accepted_epoch:x}")
    if epoch == accepted_epoch:
        return [Send(packets.ack_epoch(NO_EPOCH, summary.last_zxid))]
    return [StoreEpoch(EpochFile.ACCEPTED, epoch), Send(packets.ack_epoch(*summary))]


def outstayed(started_ms: int, now_ms: int, patience_ms: int, supporters: Set[int], sid: int) -> bool:
    """Whether a voter that made this server leader has looked for another one too long (``reportLookingSid``).

    ``patience_ms`` is ``leader.maxTimeToWaitForEpoch``; below 0 there is no limit.
    """
    return 0 <= patience_ms < now_ms - started_ms and sid in supporters
