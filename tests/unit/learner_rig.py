"""A learner without sockets, disk or clock, and the pipeline of a leader behind it.

Packets go through the real encoders and parsers; the test says when the leader reads, commits and answers. Both run on
one loop. What a quorum, the logs and the roles do is not here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from struct import unpack_from

from rig import Client, FakeClock, FakeScheduler, Rig, ZeroRandom

from zabra.auth.access import Enforcement
from zabra.auth.registry import build_registry
from zabra.auth.rights import Rights
from zabra.consts import Op
from zabra.frontend.attach import Attach
from zabra.frontend.gate import Gate
from zabra.frontend.hub import Hub
from zabra.frontend.limits import ConnectionLimits, ConnectionThrottle
from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats
from zabra.pipeline.commit import Commit
from zabra.pipeline.eager import EagerChecks
from zabra.pipeline.forward import ForwardingPipeline
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.ports import Pipeline
from zabra.pipeline.prep import Prep
from zabra.pipeline.reads import Reads
from zabra.pipeline.request import Proposal
from zabra.sessions.learner import LearnerSessions
from zabra.tree.owner import OwnerRules
from zabra.tree.replay import FrequentTxns
from zabra.tree.tree import Applied, DataTree
from zabra.wire.handshake import ConnectRequest, encode_connect
from zabra.wire.records_txn import CreateSessionTxn
from zabra.wire.txns import TxnHeader, decode_txn
from zabra.zab.packets import ForwardedRequest, Packet, PacketStream, parse_request, parse_revalidate
from zabra.zab.syncplan import Entry

#: The epoch everything happens in.
BEGIN = 7 << 32


class Outbox:
    """Proposals of the leader, until the test commits them."""

    def __init__(self) -> None:
        self.proposed: deque[tuple[bytes, Proposal]] = deque()
        self.failed: list[str] = []

    @property
    def outstanding(self) -> int:
        return len(self.proposed)

    def propose(self, payloads: Sequence[bytes], writes: Sequence[Proposal]) -> None:
        self.proposed.extend(zip(payloads, writes, strict=True))

    def fail(self, what: str, error: BaseException) -> None:
        self.failed.append(what)


class LeaderRig(Rig):
    """A leader: clients of its own, and :attr:`learners`, which all apply what is committed."""

    def __init__(self, **more: object) -> None:
        super().__init__(running=False, **more)
        self.learners: list[LearnerRig] = []
        #: All that was committed.
        self.history: list[Entry] = []
        self.tree.last_zxid = BEGIN
        self.outbox = Outbox()
        self.prep = Prep(
            self.settings, self.tree, self.rights, self.outbox.propose, limit=self.settings.jute_max_buffer * 2
        )
        commit = Commit(self.tree, self.prep.pending, self.sessions)
        self.pipeline = LocalPipeline(self.prep, self.outbox, commit, self.sessions, self.clock)
        self._parts = (self.pipeline, *self._parts[1:])
        self.start()

    @property
    def last_proposed(self) -> int:
        return self.prep.zxid

    def work(self) -> None:
        """Read what learners sent, commit all of it, and answer."""
        self.run()
        for learner in self.learners:
            learner.deliver()
        self.commit()

    def commit(self, count: int | None = None) -> list[Entry]:
        """Commit the oldest proposals, here and on every learner."""
        proposed = self.outbox.proposed
        taken = [proposed.popleft() for _ in range(len(proposed) if count is None else count)]
        entries = [Entry(decode_txn(payload)[0].zxid, payload) for payload, _ in taken]
        self.history += entries
        if taken:
            self.hub.commit_turn([write for _, write in taken], self.clock.now)
        for learner in self.learners:
            learner.apply(entries)
        self.run()
        return entries


class LearnerDatabase:
    """What a learner applies to, in memory only; digests must be right."""

    def __init__(self, tree: DataTree) -> None:
        self.tree = tree
        self.sessions: dict[int, int] = {}
        #: All that was applied.
        self.committed: list[Entry] = []
        self._frequent = FrequentTxns(tree)

    def apply(self, entry: Entry) -> tuple[TxnHeader, Applied] | None:
        assert entry.zxid == self.tree.last_zxid + 1
        self.committed.append(entry)
        end = self._frequent.apply(entry.data)
        if end >= 0:
            assert end == len(entry.data) or self.tree.digest_matches(*unpack_from(">iQ", entry.data, end))
            return None
        header, body, digest = decode_txn(entry.data)
        if isinstance(body, CreateSessionTxn):
            self.sessions[header.session_id] = body.timeout
        elif header.type == Op.CLOSE_SESSION:
            self.sessions.pop(header.session_id, None)
        result = self.tree.apply(header, body)
        self._frequent.learn(header, body, digest)
        assert digest is None or self.tree.digest_matches(*digest)
        return header, result


class LearnerRig:
    """One learner with clients; its :attr:`clients` are made as those of :class:`Rig`."""

    def __init__(
        self, leader: LeaderRig, server_id: int = 2, *, observer: bool = False, eager_checks: bool = False
    ) -> None:
        """``observer``: it does not hear of proposals; ``eager_checks``: it refuses what its tree forbids."""
        self.leader = leader
        self.observer = observer
        self._eager_checks = eager_checks
        settings = self.settings = leader.settings
        self.clock: FakeClock = leader.clock
        self.scheduler: FakeScheduler = leader.scheduler
        self.clients: list[Client] = []
        self.tree = DataTree(
            OwnerRules(extended=settings.extended_types_enabled), digest_enabled=settings.digest_enabled
        )
        self.tree.last_zxid = BEGIN
        self.db = LearnerDatabase(self.tree)
        self.logged = self.db.sessions
        for entry in leader.history:
            self.db.apply(entry)
        #: What was sent to the leader and not read there; whole writes, and packets.
        self.sent: list[bytes] = []
        self.stream = PacketStream()
        #: Answers of the leader that are not delivered yet, for :meth:`commit` of the leader to do so.
        self.answers: deque[Callable[[], None]] = deque()
        #: The newest zxid the leader told of; None: all of it.
        self.told: int | None = None
        self.stats = ServerStats(Metrics())
        registry = build_registry(settings)
        rights = self.rights = Rights(registry, skip_acl=settings.skip_acl)
        gate = Gate(registry, Enforcement(settings, registry))
        gate.tree = self.tree
        self.hub = Hub(
            settings,
            self.clock,
            self.stats,
            ConnectionLimits(settings.max_cnxns, settings.max_client_cnxns),
            gate,
            rights,
            lambda word, extra: word.encode() + b"!",
            self.scheduler,
        )
        self.hub.waits = False
        self.reads = Reads(self.tree, rights, settings.jute_max_buffer * 2)
        self.tree.deliver = self.hub.deliver
        self.server_id = server_id
        leader.learners.append(self)
        self.serve()

    def serve(self) -> None:
        """Begin a role."""
        self.sessions = LearnerSessions(self.server_id, int(self.clock.now * 1000), self.logged)
        self.pipeline = ForwardingPipeline(
            self.db,
            self.sessions,
            self.sent.append,
            self.scheduler,
            self.clock.monotonic,
            self.last_told,
            limit=self.settings.jute_max_buffer * 2,
            informed_only=self.observer,
        )
        attach = Attach(self.hub, ConnectionThrottle(self.settings, ZeroRandom(), 0))
        pipeline: Pipeline = self.pipeline
        if self._eager_checks:
            settled = self.pipeline.is_settled
            pipeline = EagerChecks(pipeline, self.rights, self.tree.nodes.get, settled, 1 << 20)
        self.hub.prepare(pipeline, self.reads, attach, self.tree)
        self.hub.run()

    def last_told(self) -> int:
        """The newest zxid it knows of."""
        if self.observer:
            return self.tree.last_zxid
        return self.leader.last_proposed if self.told is None else self.told

    def requests(self) -> list[ForwardedRequest]:
        """Take the requests that were sent; there must be nothing else."""
        self.run()
        packets = [packet for data in self.sent for packet in self.stream.feed(data)]
        self.sent.clear()
        return [parse_request(packet) for packet in packets]

    def deliver(self) -> None:
        """The leader reads what was sent. Its answers wait for the commit of what was proposed before."""
        pipeline = self.leader.pipeline
        packets = [packet for data in self.sent for packet in self.stream.feed(data)]
        self.sent.clear()
        for packet in packets:
            if packet.type == Packet.REVALIDATE:
                session_id, timeout_ms = parse_revalidate(packet)
                valid = pipeline.revalidate(self, session_id, timeout_ms)
                self.answers.append(lambda session_id=session_id, valid=valid: self.answered(session_id, valid))
                continue
            request = parse_request(packet)
            if request.type == 9:
                self.answers.append(lambda: self.pipeline.synced())
            else:
                pipeline.forwarded(self, iter([request]))

    def answered(self, session_id: int, valid: bool) -> None:
        self.pipeline.revalidated(session_id, valid)

    def apply(self, entries: list[Entry]) -> None:
        """Committed entries come, and the answers that waited for them."""
        if entries:
            self.hub.commit_turn(entries, self.pipeline.waiting_since)
        while self.answers:
            self.answers.popleft()()

    def run(self) -> None:
        self.scheduler.run()

    def work(self) -> None:
        """All that was asked is answered."""
        self.leader.work()
        self.leader.work()

    def client(self, address: str = "127.0.0.1", **more: object) -> Client:
        """A client with a session of its own."""
        client = Client(self, address)  # type: ignore[arg-type]
        client.connect(**more)  # type: ignore[arg-type]
        return client

    def comes_back(self, client: Client, timeout_ms: int = 10000) -> Client:
        """A new connection that asks for the session of ``client``."""
        again = Client(self)  # type: ignore[arg-type]
        again.session_id = client.session_id
        request = ConnectRequest(0, 0, timeout_ms, client.session_id, client.password, False, True)
        again.send(encode_connect(request))
        return again

    def moved_client(self, client: Client) -> Client:
        """A new connection that has got the session of ``client``."""
        again = self.comes_back(client)
        self.work()
        assert len(again.take()) == 1
        assert not again.transport.closed
        return again
