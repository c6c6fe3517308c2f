"""[hot] Proposals of a leader that are not committed yet, and who has them on disk.

Commits happen in zxid order, once a quorum of every membership that counts for a proposal acknowledged it. An ack
stands for everything before it as well: a server logs in order, and a follower got every outstanding proposal when it
joined. So one number per server is kept, and of many acks that arrive together only the last matters.
Source: ``Leader.propose``, ``processAck``, ``tryToCommit``, ``getDesignatedLeader`` (3.9.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from zabra.zab.quorums import QuorumVerifier
from zabra.zab.syncplan import Entry


class Proposals:
    """The outstanding proposals of one epoch."""

    def __init__(self) -> None:
        #: Oldest first, without a gap.
        self.outstanding: deque[Entry] = deque()
        #: Server to the newest zxid it acknowledged in this epoch.
        self.acked: dict[int, int] = {}
        #: From which zxid on which memberships have to agree, oldest first; the last goes on without end.
        self._rules: deque[tuple[int, tuple[QuorumVerifier, ...]]] = deque()

    def add(self, entries: Sequence[Entry], verifiers: tuple[QuorumVerifier, ...]) -> None:
        """More proposals, each the successor of the one before; quorums of all ``verifiers`` must have them.

        A new tuple means new memberships, whatever they are equal to.
        """
        outstanding = self.outstanding
        first = entries[0].zxid
        assert not outstanding or first == outstanding[-1].zxid + 1, f"gap before 0x{first:x}"
        assert entries[-1].zxid - first == len(entries) - 1, f"gap after 0x{first:x}"
        if not self._rules or self._rules[-1][1] is not verifiers:
            self._rules.append((first, verifiers))
        outstanding.extend(entries)

    def ack(self, sid: int, zxid: int) -> None:
        """``sid`` has everything up to ``zxid`` on disk."""
        if zxid > self.acked.get(sid, -1):
            self.acked[sid] = zxid

    def newly_acked(self, sid: int, zxid: int, every: int) -> list[Entry]:
        """Before :meth:`ack`: which outstanding proposals it is the first ack of ``sid`` for; each ``every``th zxid."""
        outstanding = self.outstanding
        if not outstanding:
            return []
        first = outstanding[0].zxid
        after = max(self.acked.get(sid, -1) + 1, first)
        last = min(zxid, outstanding[-1].zxid)
        return [outstanding[at - first] for at in range(after + -after % every, last + 1, every)]

    def forget(self, sid: int) -> None:
        """``sid`` is going to be synced: what it has beyond the last commit is cut off, and sent again."""
        self.acked.pop(sid, None)

    def take(self, upto: int | None = None) -> list[Entry]:
        """Remove and return what may be committed now, oldest first; at most ``upto``."""
        outstanding = self.outstanding
        rules = self._rules
        taken: list[Entry] = []
        while outstanding:
            head = outstanding[0].zxid
            while len(rules) > 1 and rules[1][0] <= head:
                rules.popleft()
            stop = self._agreed(rules[0][1])
            if len(rules) > 1:
                stop = min(stop, rules[1][0] - 1)
            if upto is not None:
                stop = min(stop, upto)
            if stop < head:
                break
            if stop >= outstanding[-1].zxid:
                taken += outstanding
                outstanding.clear()
            else:
                take = outstanding.popleft
                taken += [take() for _ in range(stop - head + 1)]
        return taken

    def holders(self, zxid: int) -> set[int]:
        """The servers that acknowledged ``zxid``."""
        return {sid for sid, acked in self.acked.items() if acked >= zxid}

    def _agreed(self, verifiers: tuple[QuorumVerifier, ...]) -> int:
        """The newest zxid that quorums of all ``verifiers`` have, or less."""
        acked = self.acked
        if len(verifiers) == 1:
            return verifiers[0].agreed(acked)
        return min([verifier.agreed(acked) for verifier in verifiers])
