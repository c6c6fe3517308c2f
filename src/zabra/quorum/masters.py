"""Whom an observer learns from: the leader, or where followers serve observers, one of them after the other."""

from __future__ import annotations

from typing import NamedTuple

from zabra.config.dynamic import EnsembleConfig
from zabra.quorum.membership import Membership
from zabra.runtime.ports import Random


class Master(NamedTuple):
    """A server to learn from, and where it takes observers."""

    sid: int
    addresses: tuple[tuple[str, int], ...]


class Masters:
    """The voters in an order drawn by chance, anew with each membership (``QuorumPeer.nextObserverMaster``, 3.9.5).

    ``port`` is ``observerMasterPort``, 0 or less: observers learn from the leader. Unlike in Apache the leader is not
    tried at that port, where it does not listen.
    """

    def __init__(self, membership: Membership, port: int, random: Random) -> None:
        self._membership = membership
        self._port = port
        self._random = random
        self._config: EnsembleConfig | None = None
        #: Those that were not tried in this round.
        self._left: list[Master] = []

    def is_round_over(self, leader: int) -> bool:
        """Whether everybody was tried since the last round began: time to wait a little."""
        self._follow_membership()
        return all(master.sid == leader for master in self._left)

    def next(self, leader: int) -> Master | None:
        """The next one to try; None: the leader, at its quorum addresses."""
        if self.is_round_over(leader):
            self._begin_round()
        while self._left:
            master = self._left.pop()
            if master.sid != leader:
                return master
        return None

    def _follow_membership(self) -> None:
        if self._config is not self._membership.config:
            self._begin_round()

    def _begin_round(self) -> None:
        config = self._config = self._membership.config
        self._left = []
        if self._port > 0:
            for sid, line in sorted(config.voters.items()):
                master = Master(sid, tuple([(host, self._port) for host, _, _ in line.addresses]))
                self._left.insert(self._random.randrange(len(self._left) + 1), master)
