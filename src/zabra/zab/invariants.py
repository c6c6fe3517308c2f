"""What must hold after every step, of one core and of a whole ensemble; tests and the simulator ask.

Of an ensemble, in the words of the papers on Zab:

- one leader per epoch; an established leader has everything that was ever committed (leader completeness);
- all servers deliver the same transactions in one order, none left out (total order, agreement, prefix consistency);
- a transaction is delivered only when quorums have it on disk, and an ack means that it is (durability);
- who acknowledges NEWLEADER has the leader's history and epoch on disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from itertools import pairwise

from zabra.zab.leader import Leader, Phase
from zabra.zab.learner import Learner, Stage
from zabra.zab.quorums import QuorumVerifier
from zabra.zab.syncplan import Entry, follows


class InvariantError(AssertionError):
    """Something that must hold does not."""


def check_leader(core: Leader) -> None:
    """The counters and outstanding proposals of a leader fit."""
    broadcast = core.broadcast
    outstanding = [entry.zxid for entry in broadcast.proposals.outstanding]
    _require(broadcast.last_committed <= broadcast.last_proposed, "committed before proposed")
    _require(not outstanding or outstanding[-1] == broadcast.last_proposed, "the last proposal is not outstanding")
    _require(not outstanding or outstanding[0] > broadcast.last_committed, "a committed proposal is outstanding")
    _require(all(after == before + 1 for before, after in pairwise(outstanding)), "a gap between proposals")
    acked = broadcast.proposals.acked
    _require(all(zxid <= broadcast.last_proposed for zxid in acked.values()), "an ack of what was not proposed")
    began = core.phase in (Phase.BROADCAST, Phase.STOPPED)
    _require(began or not outstanding, "a proposal outside the broadcast")


def check_learner(core: Learner) -> None:
    """The counters and pending proposals of a learner fit."""
    pending = [entry.zxid for entry in core.pending]
    _require(core.last_committed <= core.last_zxid, "committed before proposed")
    _require(not pending or pending[-1] == core.last_zxid, "the last proposal is not pending")
    _require(not pending or pending[0] > core.last_committed, "a committed proposal is pending")
    _require(all(follows(after, before) for before, after in pairwise(pending)), "a gap between proposals")
    quiet = core.observer and core.stage is Stage.BROADCAST
    _require(not (quiet and pending), "an observer with pending proposals")


class Ensemble:
    """What the servers of one run did together."""

    def __init__(self) -> None:
        #: Everything that was delivered anywhere, in order.
        self.delivered: list[Entry] = []
        self._place: dict[int, int] = {}
        self._leaders: dict[int, int] = {}
        #: Epoch to the history its leader began with.
        self._histories: dict[int, list[int]] = {}

    def leads(self, sid: int, epoch: int, history: Sequence[Entry]) -> None:
        """``sid`` stored ``epoch`` as its current one, to lead it with this history on disk."""
        _require(self._leaders.setdefault(epoch, sid) == sid, f"two leaders of epoch {epoch:x}")
        self._histories[epoch] = [entry.zxid for entry in history]

    def established(self, sid: int, epoch: int, log: Sequence[Entry]) -> None:
        """``sid`` began to serve as leader of ``epoch``; its history is now what counts."""
        _require(self._leaders.get(epoch) == sid, f"server {sid} does not lead epoch {epoch:x}")
        _require(list(log[: len(self.delivered)]) == self.delivered, f"leader {sid} of epoch {epoch:x} lacks entries")
        for entry in log[len(self.delivered) :]:
            self._append(entry)

    def acked(self, sid: int, zxid: int, on_disk: Collection[int]) -> None:
        """``sid`` acknowledged a proposal."""
        _require(zxid in on_disk, f"server {sid} acknowledged 0x{zxid:x}, which is not on its disk")

    def acked_epoch(self, sid: int, epoch: int, current_epoch: int, on_disk: Collection[int]) -> None:
        """``sid`` acknowledged NEWLEADER."""
        _require(current_epoch == epoch, f"server {sid} acknowledged epoch {epoch:x} in epoch {current_epoch:x}")
        lacks = [zxid for zxid in self._histories[epoch] if zxid not in on_disk]
        _require(not lacks, f"server {sid} acknowledged epoch {epoch:x} without {lacks[:1]}")

    def committed(self, entry: Entry, holders: Set[int], verifiers: Iterable[QuorumVerifier]) -> None:
        """A leader committed ``entry``, which ``holders`` have on disk."""
        if entry.zxid not in self._place:
            agreed = all(verifier.contains_quorum(holders) for verifier in verifiers)
            _require(agreed, f"0x{entry.zxid:x} committed, but only {sorted(holders)} have it")
            self._append(entry)

    def tree(self, sid: int, entries: Sequence[Entry]) -> None:
        """``sid`` serves clients with a tree of exactly these entries."""
        _require(
            list(entries) == self.delivered[: len(entries)],
            f"server {sid} shows {[f'{entry.zxid:x}' for entry in entries][-3:]}, which is no prefix",
        )

    def _append(self, entry: Entry) -> None:
        if self.delivered:
            last = self.delivered[-1].zxid
            _require(follows(entry.zxid, last), f"0x{entry.zxid:x} delivered after 0x{last:x}")
        self._place[entry.zxid] = len(self.delivered)
        self.delivered.append(entry)


def _require(condition: bool, broken: str) -> None:
    if not condition:
        raise InvariantError(broken)
