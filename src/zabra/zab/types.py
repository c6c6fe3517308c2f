"""The words of an election: states, votes, notifications, and what the election asks its shell to do."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from zabra.config.dynamic import EnsembleConfig

#: The version of notifications that carry a membership.
NOTIFICATION_VERSION: Final = 2
#: What a server without a vote proposes as leader, zxid and epoch (``Long.MIN_VALUE``).
NOBODY: Final = -(1 << 63)
#: The last zxid of a server whose empty tree is not to be trusted: it may follow, not vote.
ZXID_UNTRUSTED: Final = -1


class ServerState(IntEnum):
    """What a server does; the numbers are those on the wire (``QuorumPeer.ServerState``)."""

    LOOKING = 0
    FOLLOWING = 1
    LEADING = 2
    OBSERVING = 3


class Vote(NamedTuple):
    """Whom a server wants to lead, or follows (``Vote``)."""

    leader: int
    #: The last zxid of that leader when it was voted for.
    zxid: int
    #: The election round (``electionEpoch``) that the voter was in.
    round: int
    #: The current epoch of that leader (``peerEpoch``); of a settled server the epoch it serves in.
    epoch: int
    #: The state of the voter.
    state: ServerState = ServerState.LOOKING
    #: The version of the notification it came in; 0 where that must not matter.
    version: int = 0

    @property
    def rank(self) -> tuple[int, int, int]:
        """What decides who leads: epoch, then zxid, then id; all signed."""
        return (self.epoch, self.zxid, self.leader)

    def agrees_with(self, other: Vote) -> bool:
        """Whether both can be counted for the same leader (``Vote.equals``).

        Settled servers may differ in zxid and round (ZOOKEEPER-1805), and in the epoch too when one of them is so old
        that its notifications have no version (ZOOKEEPER-1732).
        """
        if self.state is ServerState.LOOKING or other.state is ServerState.LOOKING:
            return self[:4] == other[:4]
        if (self.version > 0) != (other.version > 0):
            return self.leader == other.leader
        return self.leader == other.leader and self.epoch == other.epoch


class Notification(NamedTuple):
    """One message of an election."""

    state: ServerState
    leader: int
    zxid: int
    round: int
    epoch: int
    version: int = NOTIFICATION_VERSION
    #: The committed membership that the sender knows; None from servers before reconfiguration.
    config: EnsembleConfig | None = None

    @property
    def vote(self) -> Vote:
        """The vote in it."""
        return Vote(self.leader, self.zxid, self.round, self.epoch, self.state, self.version)

    @property
    def gist(self) -> tuple[Vote, int | None]:
        """Equal for messages that say the same."""
        return self.vote, self.config.version if self.config is not None else None


class AdoptConfig(NamedTuple):
    """A newer committed membership was learned: store it, and connect by it, before any later effect."""

    config: EnsembleConfig


class Send(NamedTuple):
    """Send to each server of ``to``."""

    to: tuple[int, ...]
    message: Notification


class Reconnect(NamedTuple):
    """Nothing was delivered to anybody: dial again whoever a message waits for."""


class SetTimer(NamedTuple):
    """Call ``timeout`` at this millisecond, and not at the one set before; None: not at all."""

    at_ms: int | None


class PeerLooking(NamedTuple):
    """``sid`` looks for a leader while this server leads (``Leader.reportLookingSid``)."""

    sid: int


class Elected(NamedTuple):
    """The election has ended: take the role of ``state``."""

    vote: Vote
    state: ServerState
    #: Whose votes decided it (``leadingVoteSet``).
    supporters: frozenset[int]


Effect = AdoptConfig | Send | Reconnect | SetTimer | PeerLooking | Elected
