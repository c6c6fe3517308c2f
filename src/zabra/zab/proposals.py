"""[hot] Proposals of a leader that are not committed yet, and who has them on disk.

Commits happen in zxid order, once a quorum of every membership that counts for a proposal acknowledged it. An ack
stands for everything before it as well: a server logs in order, and a follower got every outstanding proposal when it
joined. So one number per server is kept, and of many acks that arrive together only the last matters.
Source: ``Leader.propose``, ``processAck``, ``tryToCommit``, ``getDesignatedLeader`` (3.9.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

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

    def add(self, entries: Iterable[Entry], verifiers: tuple[QuorumVerifier, ...]) -> None:
        """More proposals, each the successor of the one before; quorums of all ``verifiers`` must have them.

        A new tuple means new memberships, whatever they are equal to.
        """
        outstanding = self.outstanding
        for entry in entries:
            assert not outstanding or entry.zxid == outstanding[-1].zxid + 1, f"gap before 0x{entry.zxid:x}"
            if not self._rules or self._rules[-1][1] is not verifiers:
                self._rules.append((entry.zxid, verifiers))
            outstanding.append(entry)

    def ack(self, sid: int, zxid: int) -> None:
        """``sid`` has everything up to ``zxid`` on disk."""
        if zxid > self.acked.get(sid, -1):
            self.acked[sid] = zxid

    def forget(self, sid: int) -> None:
        """``sid`` is going to be synced: what it has beyond the last commit is cut off, and sent again."""
        self.acked.pop(sid, None)

    def take(self, upto: int | None = None) -> list[Entry]:
        """Remove and return what may be committed now, oldest first; at most ``upto``."""
        outstanding = self.outstanding
        taken: list[Entry] = []
        while outstanding:
            head = outstanding[0].zxid
            while len(self._rules) > 1 and self._rules[1][0] <= head:
                self._rules.popleft()
            stop = self._agreed(self._rules[0][1], head)
            if len(self._rules) > 1:
                stop = min(stop, self._rules[1][0] - 1)
            if upto is not None:
                stop = min(stop, upto)
            if stop < head:
                break
            while outstanding and outstanding[0].zxid <= stop:
                taken.append(outstanding.popleft())
        return taken

    def holders(self, zxid: int) -> set[int]:
        """The servers that acknowledged ``zxid``."""
        return {sid for sid, acked in self.acked.items() if acked >= zxid}

    def _agreed(self, verifiers: tuple[QuorumVerifier, ...], head: int) -> int:
        """The newest zxid that quorums of all ``verifiers`` have; below ``head``: none that matters."""
        for zxid in sorted({acked for acked in self.acked.values() if acked >= head}, reverse=True):
            holders = self.holders(zxid)
            if all(verifier.contains_quorum(holders) for verifier in verifiers):
                return zxid
        # With an oracle the leader alone may be a quorum of its own; it then is among the acks above.
        return head - 1
