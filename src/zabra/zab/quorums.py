"""Which sets of servers decide: majorities, weighted majorities of groups, two servers and an oracle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Set

from zabra.config.dynamic import EnsembleConfig

#: Reads the oracle's file; raises OSError.
ReadOracle = Callable[[], str]


class QuorumVerifier(ABC):
    """One membership and its quorums (``QuorumVerifier``).

    Equality is Java's: memberships of one version are taken as equal, others are compared member by member.
    """

    def __init__(self, config: EnsembleConfig) -> None:
        self.config = config
        self.voters = config.voters
        self.observers = config.observers

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.version == other.version or self.config.same_membership(other.config)

    __hash__ = None  # type: ignore[assignment]

    @property
    def version(self) -> int:
        """The version of the membership."""
        return self.config.version

    def weight(self, sid: int) -> int:
        """The weight of a vote for ``sid``; who weighs 0 cannot lead."""
        return 1

    @abstractmethod
    def contains_quorum(self, acks: Set[int]) -> bool:
        """Whether the voters among ``acks`` decide."""

    def agreed(self, acked: Mapping[int, int]) -> int:
        """The newest zxid that a quorum has acknowledged, -1 for none; ``acked`` is the newest of each server.

        An acknowledged zxid stands for all before it.
        """
        for zxid in sorted(set(acked.values()), reverse=True):
            if self.contains_quorum({sid for sid, newest in acked.items() if newest >= zxid}):
                return zxid
        return -1

    @property
    def need_oracle(self) -> bool:
        """Whether the oracle decides where votes do not."""
        return False

    def update_need_oracle(self, *, followers: bool) -> bool:
        """A leader tells whether it has synced followers; the new :attr:`need_oracle`."""
        return False

    def ask_oracle(self) -> bool:
        """Whether the oracle grants the quorum."""
        return False


class Majority(QuorumVerifier):
    """More than half of the voters (``QuorumMaj``)."""

    def contains_quorum(self, acks: Set[int]) -> bool:
        """Whether more than half of the voters are in ``acks``."""
        return len(acks & self.voters.keys()) > len(self.voters) // 2

    def agreed(self, acked: Mapping[int, int]) -> int:
        """The newest zxid that more than half of the voters have acknowledged, -1 for none."""
        of = acked.get
        return sorted([of(sid, -1) for sid in self.voters], reverse=True)[len(self.voters) // 2]


class Hierarchical(QuorumVerifier):
    """More than half of the weight in more than half of the groups (``QuorumHierarchical``).

    Groups without any weight do not count. The weight of a group includes that of its observers, as in Java.
    """

    def __init__(self, config: EnsembleConfig) -> None:
        super().__init__(config)
        self._group_weights = self._weigh(config.groups)
        self._groups = sum(weight > 0 for weight in self._group_weights.values())

    def weight(self, sid: int) -> int:
        """The configured weight; 0 for strangers."""
        return self.config.weights.get(sid, 0)

    def contains_quorum(self, acks: Set[int]) -> bool:
        """Whether more than half of the groups have more than half of their weight in ``acks``."""
        weights = self._weigh(acks & self.voters.keys())
        won = sum(weight > self._group_weights[group] // 2 for group, weight in weights.items())
        return won > self._groups // 2

    def _weigh(self, sids: Iterable[int]) -> dict[int, int]:
        weights: dict[int, int] = {}
        for sid in sids:
            group = self.config.groups[sid]
            weights[group] = weights.get(group, 0) + self.config.weights[sid]
        return weights


class OracleMajority(Majority):
    """A majority, or of two voters one that the oracle chose (``QuorumOracleMaj``).

    The oracle stands in for the other voter, never for both: Java asks it even for an empty set, with which a server
    that may not vote would win. Java also asks in larger ensembles when a server meets a leader; here it never does.
    """

    def __init__(self, config: EnsembleConfig, read_oracle: ReadOracle) -> None:
        super().__init__(config)
        self._read_oracle = read_oracle
        self._need_oracle = True

    @property
    def need_oracle(self) -> bool:
        """Whether there are two voters, and no leader here has a follower."""
        return self._need_oracle and len(self.voters) == 2

    def update_need_oracle(self, *, followers: bool) -> bool:
        """A leader tells whether it has synced followers; the new :attr:`need_oracle`."""
        self._need_oracle = not followers
        return self.need_oracle

    def ask_oracle(self) -> bool:
        """Whether the file begins with ``1``; one that cannot be read grants nothing."""
        try:
            return self._read_oracle()[:1] == "1"
        except OSError:
            return False

    def contains_quorum(self, acks: Set[int]) -> bool:
        """Whether a majority of the voters is in ``acks``, or the oracle stands in for it."""
        if super().contains_quorum(acks):
            return True
        return not acks.isdisjoint(self.voters) and self.need_oracle and self.ask_oracle()

    def agreed(self, acked: Mapping[int, int]) -> int:
        """The same of a majority, or of one voter where the oracle stands in for the other."""
        if self.need_oracle and self.ask_oracle():
            return max(acked.get(sid, -1) for sid in self.voters)
        return super().agreed(acked)


def make_verifier(config: EnsembleConfig, read_oracle: ReadOracle | None = None) -> QuorumVerifier:
    """The quorums of ``config``; an oracle wins over groups (``createQuorumVerifier``)."""
    if read_oracle is not None:
        return OracleMajority(config, read_oracle)
    return Hierarchical(config) if config.groups else Majority(config)


class AckTracker:
    """Who acknowledged one thing, counted by every membership that has to agree (``SyncedLearnerTracker``)."""

    def __init__(self, *verifiers: QuorumVerifier) -> None:
        self._acks: list[tuple[QuorumVerifier, set[int]]] = [(verifier, set()) for verifier in verifiers]

    def add_ack(self, sid: int) -> bool:
        """Count ``sid`` where it is a voter; whether it is one anywhere."""
        counted = False
        for verifier, acks in self._acks:
            if sid in verifier.voters:
                acks.add(sid)
                counted = True
        return counted

    def has_sid(self, sid: int) -> bool:
        """Whether ``sid`` is a voter in every membership."""
        return all(sid in verifier.voters for verifier, _ in self._acks)

    def has_all_quorums(self) -> bool:
        """Whether each membership has a quorum."""
        return all(verifier.contains_quorum(acks) for verifier, acks in self._acks)

    def acks(self) -> frozenset[int]:
        """Everybody who was counted."""
        return frozenset(sid for _, acks in self._acks for sid in acks)
