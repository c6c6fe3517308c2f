"""Cases of micro.py for the cores of leader and learner: what a batch of writes costs in a term of three servers.

No socket, disk or tree takes part. What a case does not time, to get from one batch to the next, is done while the next
repeat is prepared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from struct import pack

from zabra.config.dynamic import parse_config
from zabra.zab import packets
from zabra.zab.discovery import Summary
from zabra.zab.effects import Commit, Effect, Log, Send, SendTo, StepDown, SyncLearner
from zabra.zab.invariants import check_leader, check_learner
from zabra.zab.leader import Leader, LeaderOptions, Phase
from zabra.zab.learner import Learner, Stage
from zabra.zab.packets import ForwardedRequest, PacketStream
from zabra.zab.quorums import make_verifier
from zabra.zab.syncplan import Entry

#: What arrives together while 30 connections have 64 writes in flight each.
BATCH = 256
IDENTITIES = (("ip", "127.0.0.1"),)
#: Path, data and version of a setData, as in a request and, with version and digest behind them, in a transaction.
RECORD = pack(">i14si100si", 14, b"/bench/n000000", 100, b"v" * 100, -1)

#: A prepared measurement: the work to time, and how many operations it is.
Case = tuple[Callable[[], object], int]


class NoHistory:
    """A leader's history without a transaction."""

    last_processed = 0
    committed: Sequence[Entry] = ()
    log_base = 0
    snapshot_size = 0

    def log_size(self, _: int) -> int:
        return 0

    def log_runs(self, _: int) -> Sequence[tuple[int, int]]:
        return ()

    def read_log(self, _: int) -> Iterator[Entry]:
        return iter(())


class Term:
    """A leader and the cores of its two followers, in broadcast."""

    def __init__(self, batch: int = BATCH) -> None:
        self.batch = batch
        self.history = NoHistory()
        lines = "\n".join(f"server.{sid}=127.0.0.1:{sid}:1{sid}:participant" for sid in (1, 2, 3))
        verifier = make_verifier(parse_config(f"{lines}\nversion=1"))
        self.leader = Leader(
            3,
            self.history,
            LeaderOptions(2000, 10, 5),
            verifier=verifier,
            last_seen=verifier,
            make_verifier=make_verifier,
            accepted_epoch=0,
            summary=Summary(0, 0),
            now_ms=0,
        )
        self.followers = {sid: self._follower(sid) for sid in (1, 2)}
        #: Of what the leader sends to a follower, and of what that sends back.
        self.streams = {sid: (PacketStream(), PacketStream()) for sid in (1, 2)}
        self._perform(self.leader.start(0))
        for sid, follower in self.followers.items():
            self.leader.connected(sid, 0)
            self._perform_follower(sid, follower.start(0))
        self._later: Callable[[], object] = lambda: None
        assert self.leader.phase is Phase.BROADCAST
        assert all(follower.stage is Stage.BROADCAST for follower in self.followers.values())

    @staticmethod
    def _follower(sid: int) -> Learner:
        return Learner(
            sid,
            observer=False,
            accepted_epoch=0,
            summary=Summary(0, 0),
            config_version=0,
            floor=0,
            tick_ms=2000,
            init_limit=10,
            sync_limit=5,
        )

    def _perform(self, effects: Sequence[Effect]) -> None:
        """What a shell does with a leader's effects until all is quiet."""
        for effect in effects:
            if isinstance(effect, SendTo):
                for sid in effect.conns:
                    self._perform_follower(sid, self._feed_follower(sid, effect.data))
            elif isinstance(effect, Log):
                self._perform(self.leader.logged(effect.entries[-1].zxid))
            elif isinstance(effect, Commit):
                self.history.last_processed = effect.entries[-1].zxid
            elif isinstance(effect, SyncLearner):
                conn = effect.conn
                for data in effect.plan.packets(self.history):
                    self._perform_follower(conn, self._feed_follower(conn, data))
                self._perform(self.leader.sync_sent(conn, 0))
            else:
                assert not isinstance(effect, StepDown), effect

    def _feed_follower(self, sid: int, data: bytes) -> Sequence[Effect]:
        return self.followers[sid].packets(self.streams[sid][0].feed(data), 0)

    def _perform_follower(self, sid: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._perform(self._feed_leader(sid, effect.data))
            elif isinstance(effect, Log):
                self._perform_follower(sid, self.followers[sid].logged(effect.entries[-1].zxid))

    def _feed_leader(self, sid: int, data: bytes) -> Sequence[Effect]:
        return self.leader.packets(sid, self.streams[sid][1].feed(data), 0)

    # -- cases; a call prepares one repeat

    def leader_propose(self) -> Case:
        entries = self._entries()
        proposed: list[Effect] = []

        def work() -> None:
            proposed.extend(self.leader.propose(entries))

        self._later = lambda: self._perform(proposed)
        return work, self.batch

    def leader_acks(self) -> Case:
        entries = self._entries()
        self.leader.propose(entries)
        self.leader.logged(entries[-1].zxid)
        acks = b"".join([packets.ack(entry.zxid) for entry in entries])
        committed: list[Effect] = []

        def work() -> None:
            for sid in self.followers:
                committed.extend(self._feed_leader(sid, acks))

        def later() -> None:
            self.history.last_processed = entries[-1].zxid
            proposals = b"".join([packets.proposal(*entry) for entry in entries])
            for sid, follower in self.followers.items():
                self._feed_follower(sid, proposals)
                follower.logged(entries[-1].zxid)
            self._perform(committed)

        self._later = later
        return work, self.batch

    def leader_requests(self) -> Case:
        requests = b"".join(
            [packets.request(ForwardedRequest(7, xid, 5, RECORD, IDENTITIES)) for xid in range(self.batch)]
        )
        return lambda: self._feed_leader(1, requests), self.batch

    def learner_proposals(self) -> Case:
        entries = self._entries()
        proposals = b"".join([packets.proposal(*entry) for entry in entries])
        logged: list[Effect] = []

        def work() -> None:
            logged.extend(self._feed_follower(1, proposals))

        def later() -> None:
            effects = self.leader.propose(entries)
            self._perform_follower(2, self._feed_follower(2, proposals))
            self._perform_follower(1, logged)
            self._perform([effect for effect in effects if isinstance(effect, Log)])

        self._later = later
        return work, self.batch

    def learner_logged(self) -> Case:
        entries = self._entries()
        effects = self.leader.propose(entries)
        self._feed_follower(1, b"".join([packets.proposal(*entry) for entry in entries]))
        acked: list[Effect] = []

        def work() -> None:
            acked.extend(self.followers[1].logged(entries[-1].zxid))

        def later() -> None:
            self._feed_follower(2, b"".join([packets.proposal(*entry) for entry in entries]))
            self.followers[2].logged(entries[-1].zxid)
            self._perform([effect for effect in effects if isinstance(effect, Log)])
            self._perform_follower(1, acked)

        self._later = later
        return work, self.batch

    def learner_commits(self) -> Case:
        entries = self._entries()
        for sid, follower in self.followers.items():
            self._feed_follower(sid, b"".join([packets.proposal(*entry) for entry in entries]))
            follower.logged(entries[-1].zxid)
        commits = b"".join([packets.commit(entry.zxid) for entry in entries])

        def later() -> None:
            self.leader.propose(entries)
            self.leader.logged(entries[-1].zxid)
            self._feed_leader(1, packets.ack(entries[-1].zxid))
            self.history.last_processed = entries[-1].zxid
            self._feed_follower(2, commits)

        self._later = later
        return lambda: self._feed_follower(1, commits), self.batch

    def _entries(self) -> list[Entry]:
        """The next batch, once what the repeat before has left is done."""
        self._later()
        first = self.leader.broadcast.last_proposed + 1
        check_leader(self.leader)
        for follower in self.followers.values():
            check_learner(follower)
            assert not follower.pending, "the batch before is committed"
        body = RECORD[:-4] + pack(">iiQ", 1, 2, 3)
        return [Entry(zxid, pack(">qiqqi", 7, 1, zxid, 0, 5) + body) for zxid in range(first, first + self.batch)]


CASES = {
    "leader_propose": "zab/leader.py: propose an entry to two followers",
    "leader_acks": "zab/packets.py, leader.py: both followers' acks of an entry, its commit",
    "leader_requests": "the same: take a forwarded request",
    "learner_proposals": "zab/packets.py, learner.py: a proposal to the entry that is logged",
    "learner_logged": "the same: an entry on disk to its ack",
    "learner_commits": "the same: a commit to the entry that is applied",
}
