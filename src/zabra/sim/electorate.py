"""Which sets of servers decide in a membership: the checkers' own count, which shares nothing with the servers'."""

from __future__ import annotations

from collections.abc import Collection

from zabra.config.dynamic import EnsembleConfig


class Electorate:
    """One membership."""

    def __init__(self, config: EnsembleConfig) -> None:
        self.config = config
        self.voters = config.voters
        self.observers = config.observers
        self.version = config.version

    def contains_quorum(self, sids: Collection[int]) -> bool:
        """Whether ``sids`` decide: most of the voters, or most of the weight in most of the groups that have any."""
        present = [sid for sid in self.voters if sid in sids]
        config = self.config
        if not config.groups:
            return 2 * len(present) > len(self.voters)
        weights: dict[int, int] = {}
        for sid, group in config.groups.items():
            weights[group] = weights.get(group, 0) + config.weights[sid]
        there = dict.fromkeys(weights, 0)
        for sid in present:
            there[config.groups[sid]] += config.weights[sid]
        counting = [group for group, weight in weights.items() if weight]
        won = [group for group in counting if 2 * there[group] > weights[group]]
        return 2 * len(won) > len(counting)
