"""Whatever packets come, in whatever order: the cores give effects, keep their invariants, and never raise."""

from hypothesis import given, settings
from hypothesis import strategies as st
from zab_kit import MemoryHistory, config, entry, majority, reconfig_entry, z

from zabra.wire.records_quorum import QuorumPacket
from zabra.zab import packets
from zabra.zab.discovery import Summary
from zabra.zab.effects import Close, Exit, Leave, SyncLearner
from zabra.zab.invariants import check_leader, check_learner
from zabra.zab.leader import Leader, LeaderOptions
from zabra.zab.learner import Learner, Stage
from zabra.zab.packets import PACKET_NAMES, Packet, PacketStream, Run
from zabra.zab.quorums import make_verifier

OLD = [entry(4, n) for n in range(1, 8)]
ZXIDS = [-1, 0, z(4, 6), z(4, 7), z(4, 8), z(5, 0), z(5, 1), z(5, 2), z(5, 3), z(9, 9)]
GOOD = b"".join(
    [
        packets.learner_info(False, 4, 2, 0),
        packets.ack_epoch(4, z(4, 7)),
        packets.ack(z(5, 0)),
        packets.leader_info(5),
        packets.encode(Packet.DIFF, z(4, 7)),
        packets.proposal(*entry(4, 8)) + packets.commit(z(4, 8)),
        packets.new_leader(5, b"text"),
        packets.up_to_date(),
        packets.proposal(*entry(5, 1)) + packets.commit(z(5, 1)),
        packets.proposal(*reconfig_entry(5, 2, config((1, 2)))) + packets.commit_and_activate(z(5, 2), 2),
        packets.inform(*entry(5, 1)),
        packets.ping_answer(0, [(1, 2)]),
        packets.revalidate(1, 2),
    ]
)
SEEN = st.sampled_from(PacketStream().feed(GOOD))
ODD = st.builds(
    QuorumPacket,
    st.sampled_from(sorted(PACKET_NAMES)),
    st.sampled_from(ZXIDS),
    st.none() | st.binary(max_size=40) | st.sampled_from([one.data for one in (*OLD, entry(5, 1), entry(5, 2))]),
    st.none(),
)
RUNS = st.sampled_from(
    [
        Run(kind, first, last)
        for kind in (Packet.ACK, Packet.COMMIT)
        for first, last in ((z(5, 1), z(5, 2)), (z(4, 7), z(4, 8)), (z(4, 7), z(4, 10)))
    ]
)
PACKETS = st.lists(st.lists(SEEN | SEEN | ODD | RUNS, max_size=4), max_size=12)


@settings(max_examples=300, deadline=None)
@given(chunks=PACKETS, established=st.booleans())
def test_a_leader_survives_any_learner(chunks, established):
    verifier = majority(1, 2, 3)
    leader = Leader(
        1,
        MemoryHistory(OLD, [OLD]),
        LeaderOptions(tick_ms=100, init_limit=10, sync_limit=5, reconfig_enabled=True),
        verifier=verifier,
        last_seen=verifier,
        make_verifier=make_verifier,
        accepted_epoch=4,
        summary=Summary(4, z(4, 7)),
        now_ms=0,
    )
    leader.start(0)
    if established:
        leader.connected(1, 0)
        for part in (packets.learner_info(False, 4, 3, 0), packets.ack_epoch(4, z(4, 7)), packets.ack(z(5, 0))):
            for effect in leader.packets(1, PacketStream().feed(part), 0):
                if isinstance(effect, SyncLearner):
                    leader.sync_sent(1, 0)
        leader.propose([entry(5, 1), entry(5, 2)])
        leader.logged(z(5, 1))
    leader.connected(2, 0)
    closed = False
    for at, chunk in enumerate(chunks):
        effects = leader.packets(2, chunk, at)
        assert not (closed and effects)
        closed = closed or any(isinstance(effect, Close) and effect.conn == 2 for effect in effects)
        for effect in effects:
            if isinstance(effect, SyncLearner) and not closed:
                leader.sync_sent(2, at)
        check_leader(leader)
        # One learner of three never commits alone what the leader has not on disk.
        assert leader.broadcast.last_committed <= z(5, 1)


@settings(max_examples=300, deadline=None)
@given(chunks=PACKETS, observer=st.booleans(), begun=st.booleans())
def test_a_learner_survives_any_leader(chunks, observer, begun):
    learner = Learner(
        2,
        observer=observer,
        accepted_epoch=4,
        summary=Summary(4, z(4, 7)),
        config_version=0,
        floor=0,
        tick_ms=100,
        init_limit=10,
        sync_limit=5,
    )
    learner.start(0)
    if begun:
        learner.packets(PacketStream().feed(packets.leader_info(5) + packets.encode(Packet.DIFF, z(4, 7))), 0)
    for at, chunk in enumerate(chunks):
        was_gone = learner.stage is Stage.GONE
        effects = learner.packets(chunk, at)
        assert not (was_gone and effects)
        assert (learner.stage is Stage.GONE) == (was_gone or any(isinstance(e, Leave | Exit) for e in effects))
        check_learner(learner)
        if learner.stage is Stage.SNAPSHOT:
            learner.snapshot_loaded(at)
