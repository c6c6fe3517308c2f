"""[hot] What an established leader does with transactions: propose, count acks, commit, change the membership.

Followers get PROPOSAL and COMMIT, observers INFORM with both in one. A change of membership is a transaction like any
other, but from its proposal on the quorums of the new membership have to agree as well, and its commit
(COMMITANDACTIVATE, INFORMANDACTIVATE) names who shall lead; a leader that names another commits nothing any more.
Source: ``Leader.propose``, ``tryToCommit``, ``processSync``, ``startForwarding`` (3.9.5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence, Set
from typing import NamedTuple

from zabra.config.dynamic import EnsembleConfig
from zabra.config.model import ServerLine
from zabra.zab import packets
from zabra.zab.effects import Acknowledged, ActivateConfig, Commit, Effect, LastSeenConfig, Log, SendTo
from zabra.zab.proposals import Proposals
from zabra.zab.quorums import QuorumVerifier
from zabra.zab.syncplan import Entry, History


class _Reconfig(NamedTuple):
    zxid: int
    verifier: QuorumVerifier


class Broadcast:
    """The transactions of one epoch, and the two memberships they may need.

    ``verifier`` is the committed membership, ``last_seen`` the last proposed one, maybe the same.
    """

    def __init__(
        self,
        sid: int,
        history: History,
        verifier: QuorumVerifier,
        last_seen: QuorumVerifier,
        make_verifier: Callable[[EnsembleConfig], QuorumVerifier],
        ack_sampling: int = 0,
    ) -> None:
        """``ack_sampling``: tell of the acks of each such zxid; 0 or less: of none."""
        self.verifier = verifier
        self.last_seen = last_seen
        #: Memberships whose quorums a proposal of now needs.
        self.verifiers: tuple[QuorumVerifier, ...] = ()
        self.proposals = Proposals()
        #: Zxids of the newest proposal and commit of this epoch; epoch << 32 before the first.
        self.last_proposed = -1
        self.last_committed = -1
        #: False after the commit of a membership that another server shall lead.
        self.allowed_to_commit = True
        #: Connections that get proposals and commits, and those that get informs.
        self.followers: tuple[int, ...] = ()
        self.observers: tuple[int, ...] = ()
        self._sid = sid
        self._history = history
        self._make_verifier = make_verifier
        self._ack_sampling = ack_sampling
        #: Committed entries that may not be in the tree yet.
        self._unapplied: deque[Entry] = deque()
        self._reconfigs: deque[_Reconfig] = deque()
        #: Zxid to the connections whose sync waits for its commit.
        self._syncs: dict[int, list[int]] = {}

    @property
    def pending_syncs(self) -> int:
        """Zxids whose commit a sync waits for."""
        return len(self._syncs)

    def begin(self, zxid: int) -> list[Effect]:
        """A new epoch; ``zxid`` is that of its NEWLEADER."""
        self.last_proposed = self.last_committed = zxid
        effects: list[Effect] = []
        if self.verifier.version == 0 == self.last_seen.version:
            # A membership without a version gets one, above those of servers that never were established
            # (ZOOKEEPER-1783). It is agreed with NEWLEADER, so it is only the last seen one by now.
            self.last_seen = self._make_verifier(self.verifier.config.with_version(zxid))
            effects.append(LastSeenConfig(text_of(self.last_seen)))
        self._renew_verifiers()
        return effects

    def attach(self, conn: int, *, observer: bool) -> None:
        """Send everything to ``conn`` from now on."""
        if observer:
            self.observers += (conn,)
        else:
            self.followers += (conn,)

    def detach(self, conn: int) -> None:
        """The connection is gone."""
        self.followers = tuple([other for other in self.followers if other != conn])
        self.observers = tuple([other for other in self.observers if other != conn])

    def missing(self, after: int, *, observer: bool) -> bytes:
        """What a learner that is in sync up to ``after`` must get before it can be attached."""
        self._forget_applied()
        stream = [
            packets.proposal(*entry) + packets.commit(entry.zxid) for entry in self._unapplied if entry.zxid > after
        ]
        if not observer:
            stream.append(packets.proposals([entry for entry in self.proposals.outstanding if entry.zxid > after]))
        return b"".join(stream)

    def propose(self, entries: Sequence[Entry]) -> list[Effect]:
        """Broadcast transactions, each with the next zxid."""
        assert entries[0].zxid == self.last_proposed + 1, f"0x{entries[0].zxid:x} after 0x{self.last_proposed:x}"
        self.proposals.add(entries, self.verifiers)
        self.last_proposed = entries[-1].zxid
        effects: list[Effect] = []
        if self.followers:
            effects.append(SendTo(self.followers, packets.proposals(entries)))
        # The followers' disks and ours work at the same time.
        effects.append(Log(tuple(entries)))
        return effects

    def change(self, zxid: int, config: EnsembleConfig) -> list[Effect]:
        """The next proposal, ``zxid``, is a new membership: it and all that follows needs both quorums."""
        self.last_seen = self._make_verifier(config)
        self._renew_verifiers()
        self._reconfigs.append(_Reconfig(zxid, self.last_seen))
        return [LastSeenConfig(text_of(self.last_seen))]

    def ack(self, sid: int, zxid: int) -> list[Effect]:
        """``sid`` has everything up to ``zxid`` on disk; commit what that allows."""
        sampled = self.proposals.newly_acked(sid, zxid, self._ack_sampling) if self._ack_sampling > 0 else None
        self.proposals.ack(sid, zxid)
        effects = self.advance()
        return [Acknowledged(sid, sampled), *effects] if sampled else effects

    def sync(self, conn: int) -> list[Effect]:
        """Answer ``conn`` once all that was proposed is committed."""
        if self.proposals.outstanding:
            self._syncs.setdefault(self.last_proposed, []).append(conn)
            return []
        return [SendTo((conn,), packets.sync_answer())]

    def advance(self) -> list[Effect]:
        """Commit what may be committed."""
        effects: list[Effect] = []
        while self.allowed_to_commit:
            change = self._reconfigs[0] if self._reconfigs else None
            # A sync is answered behind what was proposed before it and before what came after it: Apache's followers
            # answer nothing any more once a commit overtakes it.
            stops = [next(iter(self._syncs))] if self._syncs else []
            if change is not None:
                stops.append(change.zxid)
            run = self.proposals.take(min(stops, default=None))
            if not run:
                break
            if change is not None and run[-1].zxid == change.zxid:
                if run[:-1]:
                    effects += self._commit(run[:-1])
                effects += self._commit_change(run[-1], change.verifier)
            else:
                effects += self._commit(run)
        return effects

    def activate(self, verifier: QuorumVerifier, holders: Set[int], zxid: int) -> ActivateConfig:
        """``verifier`` is committed by ``zxid``, which ``holders`` have on disk."""
        designated = self._designate(verifier, holders)
        self.verifier = verifier
        self._renew_verifiers()
        self.allowed_to_commit = designated == self._sid
        return ActivateConfig(text_of(verifier), designated, zxid)

    def _commit(self, entries: Sequence[Entry]) -> list[Effect]:
        commits = packets.commits(entries[0].zxid, entries[-1].zxid)
        informs = b"".join([packets.inform(*entry) for entry in entries]) if self.observers else b""
        return self._committed(entries, commits, informs)

    def _commit_change(self, entry: Entry, verifier: QuorumVerifier) -> list[Effect]:
        self._reconfigs.popleft()
        activated = self.activate(verifier, self.proposals.holders(entry.zxid), entry.zxid)
        assert activated.designated is not None
        commit = packets.commit_and_activate(entry.zxid, activated.designated)
        inform = packets.inform_and_activate(entry.zxid, activated.designated, entry.data)
        return [activated, *self._committed((entry,), commit, inform)]

    def _committed(self, entries: Sequence[Entry], commits: bytes, informs: bytes) -> list[Effect]:
        assert entries[0].zxid > self.last_committed, "commits go backwards"
        self.last_committed = entries[-1].zxid
        self._forget_applied()
        self._unapplied.extend(entries)
        effects: list[Effect] = []
        if self.followers:
            effects.append(SendTo(self.followers, commits))
        if self.observers:
            effects.append(SendTo(self.observers, informs))
        effects.append(Commit(tuple(entries)))
        while self._syncs and next(iter(self._syncs)) <= self.last_committed:
            waiting = self._syncs.pop(next(iter(self._syncs)))
            attached = (*self.followers, *self.observers)
            effects += [SendTo((conn,), packets.sync_answer()) for conn in waiting if conn in attached]
        return effects

    def _forget_applied(self) -> None:
        unapplied, processed = self._unapplied, self._history.last_processed
        if unapplied and unapplied[-1].zxid <= processed:
            unapplied.clear()
        while unapplied and unapplied[0].zxid <= processed:
            unapplied.popleft()

    def _renew_verifiers(self) -> None:
        newer = self.last_seen.version > self.verifier.version
        self.verifiers = (self.verifier, self.last_seen) if newer else (self.verifier,)

    def _designate(self, verifier: QuorumVerifier, holders: Set[int]) -> int:
        """Who shall lead ``verifier``: we, if we stay a voter at the same address, else who has acknowledged most."""
        own, new = self.verifier.config.members.get(self._sid), verifier.voters.get(self._sid)
        if own is not None and new is not None and _quorum_addresses(own) == _quorum_addresses(new):
            return self._sid
        acked = self.proposals.acked
        candidates = (holders & verifier.voters.keys()) - {self._sid}
        return max(sorted(candidates), key=lambda sid: acked.get(sid, -1), default=self._sid)


def text_of(verifier: QuorumVerifier) -> bytes:
    """A membership as NEWLEADER and the config node carry it."""
    return verifier.config.text().encode()


def _quorum_addresses(line: ServerLine) -> list[tuple[str, int]]:
    return [(host, port) for host, port, _ in line.addresses]
