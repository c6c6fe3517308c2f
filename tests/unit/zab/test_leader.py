"""A leader's term as a dialogue: what arrives, and what it does."""

import pytest
from zab_kit import MemoryHistory, config, entry, majority, packets_in, reconfig_entry, said, z

from zabra.config.dynamic import parse_config
from zabra.wire.records_quorum import QuorumPacket
from zabra.zab import packets
from zabra.zab.discovery import Summary
from zabra.zab.effects import (
    Acknowledged,
    ActivateConfig,
    Close,
    Commit,
    EpochFile,
    Forwarded,
    LastSeenConfig,
    Log,
    Revalidate,
    SendTo,
    Serve,
    StepDown,
    StoreEpoch,
    SyncLearner,
    Touched,
)
from zabra.zab.leader import Leader, LeaderOptions, Phase
from zabra.zab.packets import ForwardedRequest, Packet, PacketStream
from zabra.zab.quorums import OracleMajority, make_verifier
from zabra.zab.syncplan import SyncPlan

OLD = [entry(4, n) for n in range(1, 8)]
OPTIONS = LeaderOptions(tick_ms=1000, init_limit=10, sync_limit=5)


class Term:
    """A leader, server 1, with a history of 4_1..4_7; learners are named by connection 10 * sid."""

    def __init__(self, verifier=None, last_seen=None, options=OPTIONS, history=None):
        self.verifier = verifier or majority(1, 2, 3, version=7)
        self.history = history or MemoryHistory(OLD, [OLD])
        self.core = Leader(
            1,
            self.history,
            options,
            verifier=self.verifier,
            last_seen=last_seen or self.verifier,
            make_verifier=make_verifier,
            accepted_epoch=4,
            summary=Summary(4, z(4, 7)),
            supporters=frozenset({1, 2}),
            now_ms=0,
        )
        self.now = 0
        self.begun = self.core.start(0)

    def feed(self, sid, *raw, conn=None):
        arrived = PacketStream().feed(b"".join(raw))
        return self.core.packets(conn or 10 * sid, arrived, self.now)

    def hello(self, sid, observer=False, conn=None, accepted=4, version=7):
        self.core.connected(conn or 10 * sid, self.now)
        return self.feed(sid, packets.learner_info(observer, accepted, sid, version), conn=conn)

    def sync(self, sid, last=OLD[-1].zxid, current=4, observer=False, conn=None, version=7):
        """Up to the sync being sent; what the leader did on ACKEPOCH and after."""
        self.hello(sid, observer, conn, version=version)
        effects = self.feed(sid, packets.ack_epoch(current, last), conn=conn)
        for effect in effects:
            if isinstance(effect, SyncLearner):
                effects = effects + self.core.sync_sent(effect.conn, self.now)
        return effects

    def join(self, sid, **given):
        return self.sync(sid, **given) + self.feed(sid, packets.ack(z(5, 0)), conn=given.get("conn"))

    def propose(self, *counters):
        return self.core.propose([entry(5, n) for n in counters])


@pytest.fixture
def term():
    """An established leader with follower 2."""
    made = Term()
    made.join(2)
    return made


def only(effects, kind):
    return [effect for effect in effects if isinstance(effect, kind)]


def test_a_term_begins():
    term = Term()
    assert term.begun == []
    assert said(term.hello(2)) == [StoreEpoch(EpochFile.ACCEPTED, 5), "to 20: LEADERINFO 500000000"]
    assert said(term.feed(2, packets.ack_epoch(4, z(4, 5)))) == [
        StoreEpoch(EpochFile.CURRENT, 5),
        SyncLearner(20, SyncPlan(Packet.DIFF, z(4, 7), z(4, 7), None, tuple(OLD[5:]))),
    ]
    (send,) = term.core.sync_sent(20, 0)
    assert PacketStream().feed(send.data) == [
        QuorumPacket(Packet.NEWLEADER, z(5, 0), config((1, 2, 3), version=7).text().encode(), None)
    ]
    assert said(term.feed(2, packets.ack(z(5, 0)))) == [Serve(5), "to 20: UPTODATE -1"]
    assert term.core.phase is Phase.BROADCAST


def test_a_transaction_goes_to_followers_and_the_own_log_at_once_and_is_committed_by_a_quorum(term):
    assert term.propose(1) == [SendTo((20,), packets.proposal(*entry(5, 1))), Log((entry(5, 1),))]
    assert term.feed(2, packets.ack(z(5, 1))) == []
    assert term.core.logged(z(5, 1)) == [SendTo((20,), packets.commit(z(5, 1))), Commit((entry(5, 1),))]


def test_two_followers_commit_before_the_leaders_own_disk(term):
    term.join(3)
    term.propose(1)
    assert term.feed(2, packets.ack(z(5, 1))) == []
    assert said(term.feed(3, packets.ack(z(5, 1))))[0] == "to 20,30: COMMIT 500000001"


def test_many_transactions_and_acks_travel_together(term):
    assert said(term.propose(1, 2, 3))[:3] == [f"to 20: PROPOSAL 50000000{n}" for n in (1, 2, 3)]
    term.core.logged(z(5, 3))
    acks = [packets.ack(z(5, n)) for n in (1, 2, 3)]
    assert said(term.feed(2, *acks)) == [
        *(f"to 20: COMMIT 50000000{n}" for n in (1, 2, 3)),
        Commit(tuple(entry(5, n) for n in (1, 2, 3))),
    ]


def test_observers_are_informed_and_their_acks_do_not_count(term):
    term.join(3, observer=True)
    assert said(term.propose(1))[0] == "to 20: PROPOSAL 500000001"
    term.core.logged(z(5, 1))
    assert term.feed(3, packets.ack(z(5, 1))) == []
    assert term.feed(2, packets.ack(z(5, 1)))[:2] == [
        SendTo((20,), packets.commit(z(5, 1))),
        SendTo((30,), packets.inform(*entry(5, 1))),
    ]


def test_of_a_run_of_acks_only_what_was_proposed_counts(term):
    term.propose(1, 2)
    term.core.logged(z(5, 2))
    assert said(term.feed(2, packets.acks(z(5, 1), z(5, 4))))[:-1] == [
        "to 20: COMMIT 500000001",
        "to 20: COMMIT 500000002",
    ]
    term.propose(3)
    term.core.logged(z(5, 3))
    assert said(term.feed(2, packets.ack(z(5, 3))))[0] == "to 20: COMMIT 500000003"


def test_the_ack_of_newleader_may_be_the_first_of_many():
    # Older followers acknowledge at once what was proposed before they had UPTODATE.
    term = Term()
    term.sync(2)
    assert said(term.feed(2, packets.acks(z(5, 0), z(5, 2)))) == [Serve(5), "to 20: UPTODATE -1"]


def test_a_run_of_commits_from_a_learner_closes_its_connection(term):
    (closed,) = term.feed(2, packets.commits(z(5, 1), z(5, 2)))
    assert closed == Close(20, "COMMIT from server 2")


def test_an_ack_from_the_future_is_no_ack(term):
    term.propose(1)
    term.core.logged(z(5, 1))
    assert term.feed(2, packets.ack(z(5, 9))) == []
    term.propose(2)
    term.core.logged(z(5, 2))
    assert said(term.feed(2, packets.ack(z(5, 9)), packets.ack(z(5, 1))))[:1] == ["to 20: COMMIT 500000001"]


def test_the_last_ack_of_the_sync_changes_nothing(term):
    term.propose(1)
    assert term.feed(2, packets.ack(z(5, 0))) == []


def test_a_late_follower_gets_what_is_committed_what_is_not_and_then_newleader(term):
    term.propose(1, 2)
    term.core.logged(z(5, 1))
    term.feed(2, packets.ack(z(5, 1)))
    effects = term.sync(3)
    assert said(effects)[1:] == [
        "to 30: PROPOSAL 500000001",
        "to 30: COMMIT 500000001",
        "to 30: PROPOSAL 500000002",
        "to 30: NEWLEADER 500000000",
    ]
    assert said(term.propose(3))[0] == "to 20,30: PROPOSAL 500000003"


def test_what_is_in_the_tree_already_is_part_of_the_sync(term):
    term.propose(1)
    term.core.logged(z(5, 1))
    term.feed(2, packets.ack(z(5, 1)))
    term.history.committed.append(entry(5, 1))
    term.history.last_processed = z(5, 1)
    effects = term.sync(3)
    assert only(effects, SyncLearner)[0].plan.entries == (entry(5, 1),)
    assert said(effects)[1:] == ["to 30: NEWLEADER 500000000"]


def test_a_late_observer_gets_no_uncommitted_proposals(term):
    term.propose(1)
    assert said(term.sync(3, observer=True))[1:] == ["to 30: NEWLEADER 500000000"]


def test_newleader_waits_for_the_end_of_the_snapshot_and_what_came_meanwhile():
    # ZOOKEEPER-3104: the snapshot may hold part of it.
    term = Term(history=MemoryHistory(OLD))
    term.join(2)
    term.hello(3)
    (sync,) = term.feed(3, packets.ack_epoch(1, z(1, 1)))
    assert sync == SyncLearner(30, SyncPlan(Packet.SNAP, z(4, 7), z(4, 7)))
    assert said(term.propose(1))[0] == "to 20,30: PROPOSAL 500000001"
    assert said(term.core.sync_sent(30, 0)) == ["to 30: NEWLEADER 500000000"]


def test_acks_before_that_of_newleader_count_only_with_it(term):
    # ZOOKEEPER-4685. Such a follower would lose an election to one with less.
    term.sync(3)
    term.propose(1)
    term.core.logged(z(5, 1))
    assert term.feed(3, packets.ack(z(5, 1))) == []
    assert said(term.feed(3, packets.ack(z(5, 0)))) == [
        "to 30: UPTODATE -1",
        "to 20,30: COMMIT 500000001",
        Commit((entry(5, 1),)),
    ]


def test_what_was_committed_while_the_sync_was_sent_need_not_be_acked(term):
    """It is on the learner's disk with NEWLEADER; nobody may wait for an ack of it, and hang up when none comes."""
    (sync,) = only(term.hello(3) + term.feed(3, packets.ack_epoch(4, z(4, 5))), SyncLearner)
    term.propose(1)
    term.core.logged(z(5, 1))
    assert Commit((entry(5, 1),)) in term.feed(2, packets.ack(z(5, 1)))
    term.core.sync_sent(sync.conn, 0)
    term.feed(3, packets.ack(z(5, 0)))
    closed = []
    for half in range(1, 40):
        term.now = half * 500
        closed += only(term.core.timeout(term.now), Close)
        for sid in (2, 3):
            term.feed(sid, packets.ping_answer(0, []))
    assert closed == []


def test_who_claims_the_leaders_own_id_is_closed(term):
    (closed,) = term.hello(1, conn=11)
    assert closed == Close(11, "it claims to be server 1, which this one is")


def test_an_early_ack_from_the_future_is_forgotten(term):
    term.sync(3)
    term.feed(3, packets.ack(z(5, 1)))
    term.feed(3, packets.ack(z(5, 0)))
    term.propose(1)
    assert term.core.logged(z(5, 1)) == []


def test_acks_of_newleader_from_another_epoch_do_not_establish():
    term = Term()
    term.sync(2)
    assert term.feed(2, packets.ack(z(4, 0))) == []
    assert term.core.phase is Phase.SYNCHRONIZATION


def test_a_lone_voter_is_established_at_once():
    term = Term(majority(1, version=7))
    assert term.begun == [StoreEpoch(EpochFile.ACCEPTED, 5), StoreEpoch(EpochFile.CURRENT, 5), Serve(5)]
    assert term.propose(1) == [Log((entry(5, 1),))]
    assert term.core.logged(z(5, 1)) == [Commit((entry(5, 1),))]


def test_a_membership_without_version_gets_that_of_newleader():
    # ZOOKEEPER-1783
    term = Term(majority(1, 2, 3))
    text = config((1, 2, 3), version=z(5, 0)).text().encode()
    effects = term.hello(2, version=0)
    assert said(effects) == [StoreEpoch(EpochFile.ACCEPTED, 5), LastSeenConfig(text), "to 20: LEADERINFO 500000000"]
    term.feed(2, packets.ack_epoch(4, z(4, 7)))
    (send,) = term.core.sync_sent(20, 0)
    assert PacketStream().feed(send.data)[0].data == text


def test_a_learner_with_a_later_membership_is_refused():
    term = Term()
    (closed,) = term.hello(2, version=8)
    assert "later configuration" in closed.reason
    assert term.hello(3, version=7) != []


@pytest.mark.parametrize(
    "raw",
    [packets.ack(1), packets.ack_epoch(4, 0), packets.encode(Packet.FOLLOWERINFO, 0, b"") * 2],
    ids=["ack", "ackepoch", "twice"],
)
def test_a_learner_that_does_not_introduce_itself_is_closed(raw):
    term = Term()
    term.core.connected(20, 0)
    (closed,) = only(term.feed(2, raw), Close)
    assert closed.conn == 20
    assert term.feed(2, packets.learner_info(False, 4, 2, 0)) == []


@pytest.mark.parametrize("kind", [Packet.PROPOSAL, Packet.SNAP, Packet.UPTODATE, Packet.FOLLOWERINFO])
def test_a_packet_that_no_learner_sends_closes_its_connection_only(term, kind):
    assert isinstance(term.feed(2, packets.encode(kind, 1, b""))[0], Close)
    assert term.core.phase is Phase.BROADCAST
    assert said(term.propose(1)) == [Log((entry(5, 1),))]


def test_data_that_does_not_parse_closes_the_connection(term):
    assert isinstance(term.feed(2, packets.encode(Packet.REQUEST, -1, b"short"))[0], Close)


def test_requests_pings_and_sessions_are_handed_over(term):
    forwarded = ForwardedRequest(9, 1, 1, b"record", (("ip", "127.0.0.1"),))
    got = term.feed(2, packets.request(forwarded), packets.ping_answer(1, [(9, 4000)]), packets.revalidate(9, 4000))
    assert got == [Forwarded(20, [forwarded]), Touched(20, [(9, 4000)]), Revalidate(20, 9, 4000)]
    assert term.core.revalidated(20, 9, True) == [SendTo((20,), packets.revalidated(9, True))]
    assert term.core.revalidated(99, 9, True) == []


def test_requests_that_come_together_are_handed_on_together_and_in_order(term):
    first, second, third = (ForwardedRequest(9, cxid, 1, b"record", None) for cxid in (1, 2, 3))
    got = term.feed(
        2, packets.request(first), packets.ack(z(5, 0)), packets.request(second), packets.revalidate(9, 4000),
        packets.request(third), packets.encode(Packet.REQUEST, -1, b"short"), packets.request(first),
    )  # fmt: skip
    assert got[:3] == [Forwarded(20, [first, second]), Revalidate(20, 9, 4000), Forwarded(20, [third])]
    assert isinstance(got[3], Close)
    assert len(got) == 4


def test_requests_before_uptodate_are_illegal():
    term = Term(majority(1, 2, 3, 4, 5, version=7))
    term.hello(2)
    term.hello(3)
    for sid in (2, 3):
        term.feed(sid, packets.ack_epoch(4, z(4, 7)))
    term.core.sync_sent(20, 0)
    term.feed(2, packets.ack(z(5, 0)))
    assert isinstance(term.feed(2, packets.ping_answer(1, []))[0], Close)


def test_a_sync_is_answered_behind_what_was_proposed_before(term):
    assert said(term.core.sync(20)) == ["to 20: SYNC 0"]
    term.propose(1)
    assert term.core.sync(20) == []
    term.propose(2)
    term.core.logged(z(5, 2))
    assert said(term.feed(2, packets.ack(z(5, 1)))) == [
        "to 20: COMMIT 500000001",
        Commit((entry(5, 1),)),
        "to 20: SYNC 0",
    ]


def test_no_commit_overtakes_the_answer_of_a_sync(term):
    """What was proposed behind the sync is committed behind its answer, also when one ack allows all of it."""
    term.propose(1)
    term.core.sync(20)
    term.propose(2)
    term.core.sync(20)
    term.core.logged(z(5, 2))
    assert said(term.feed(2, packets.ack(z(5, 2)))) == [
        "to 20: COMMIT 500000001",
        Commit((entry(5, 1),)),
        "to 20: SYNC 0",
        "to 20: COMMIT 500000002",
        Commit((entry(5, 2),)),
        "to 20: SYNC 0",
    ]


def test_statistics_tell_who_learns(term):
    assert term.core.statistics() == (1, 1, 0, 0, 0)
    term.join(3, observer=True)
    term.join(9)
    term.core.connected(70, 0)
    term.propose(1)
    term.core.sync(20)
    term.core.sync(30)
    term.propose(2)
    term.core.sync(20)
    assert term.core.statistics() == (4, 2, 1, 1, 2)


def test_a_sync_of_who_left_is_not_answered(term):
    term.join(3)
    term.propose(1)
    term.core.sync(20)
    term.core.disconnected(20)
    term.core.logged(z(5, 1))
    assert said(term.feed(3, packets.ack(z(5, 1)))) == ["to 30: COMMIT 500000001", Commit((entry(5, 1),))]


def test_the_counter_does_not_roll_over():
    # ZOOKEEPER-1277
    term = Term(options=OPTIONS._replace(initial_counter=0xFFFFFFFD))
    term.join(2)
    effects = term.propose(0xFFFFFFFE, 0xFFFFFFFF)
    assert said(effects)[:2] == ["to 20: PROPOSAL 5fffffffe", Log((entry(5, 0xFFFFFFFE),))]
    assert isinstance(effects[2], StepDown)
    assert term.core.phase is Phase.STOPPED
    assert term.core.deadline_ms is None
    assert term.feed(2, packets.ack(z(5, 0xFFFFFFFE))) == []


# Time.


def tick(term, times=1, answer=()):
    """Half ticks, after each of which the learners of ``answer`` answer their ping."""
    effects = []
    for _ in range(times):
        term.now = term.core.deadline_ms
        effects = term.core.timeout(term.now)
        for sid in answer:
            term.feed(sid, packets.ping_answer(0, []))
    return effects


def test_learners_are_pinged_twice_a_tick(term):
    assert term.core.deadline_ms == 500
    assert term.core.timeout(499) == []
    term.propose(1)
    term.now = 500
    assert term.core.timeout(500) == [SendTo((20,), packets.ping(z(5, 1)))]
    assert term.core.deadline_ms == 1000


def test_a_learner_whose_sync_is_under_way_is_not_pinged(term):
    term.hello(3)
    term.feed(3, packets.ack_epoch(4, z(4, 7)))
    assert said(tick(term)) == ["to 20: PING 500000000"]
    term.core.sync_sent(30, term.now)
    assert said(tick(term)) == ["to 20,30: PING 500000000"]


def test_a_leader_whose_followers_fall_silent_steps_down():
    # The connection is cut after syncLimit; then the next whole tick has no quorum.
    term = Term()
    term.join(2)
    seen = []
    while term.core.phase is Phase.BROADCAST:
        seen += tick(term)
    assert term.now == 5000
    assert only(seen, Close)[0].conn == 20
    assert isinstance(seen[-1], StepDown)


def test_a_leader_with_a_quorum_stays(term):
    tick(term, 40, answer=(2,))
    assert term.core.phase is Phase.BROADCAST


def test_quorum_is_checked_on_whole_ticks():
    term = Term()
    term.join(2)
    term.core.disconnected(20)
    assert tick(term) == []
    assert isinstance(tick(term)[0], StepDown)


def test_a_follower_that_answers_pings_but_acks_nothing_is_cut(term):
    term.join(3)
    term.propose(1)
    cut = []
    while not cut:
        assert term.now < 7000
        cut = only(tick(term, answer=(2,)), Close)
        term.feed(2, packets.ack(z(5, 1)))
        term.feed(3, packets.ping_answer(0, []))
    assert cut[0].conn == 30
    assert "did not ack 0x500000001" in cut[0].reason
    assert term.now == 5500
    assert term.core.phase is Phase.BROADCAST


def test_who_joined_late_owes_no_acks_for_what_its_sync_held(term):
    term.propose(1, 2)
    term.core.logged(z(5, 2))
    term.feed(2, packets.ack(z(5, 2)))
    term.join(3)
    tick(term, 40, answer=(2, 3))
    assert said(term.propose(3))[0] == "to 20,30: PROPOSAL 500000003"


def test_a_learner_whose_sync_takes_too_long_is_no_support(term):
    term.hello(3)
    term.feed(3, packets.ack_epoch(4, z(4, 7)))
    term.core.disconnected(20)
    seen = []
    while not only(seen, StepDown):
        assert term.now < 20_000
        seen = tick(term)
    assert term.now == 16_000


def test_a_counter_that_begins_elsewhere_is_owed_by_nobody():
    term = Term(options=OPTIONS._replace(initial_counter=1000))
    term.join(2)
    tick(term, 40, answer=(2,))
    assert said(term.propose(1001))[0] == "to 20: PROPOSAL 5000003e9"


def test_learners_have_initlimit_for_each_step_of_their_own():
    term = Term(options=OPTIONS._replace(init_limit=3))
    term.join(2)
    term.core.connected(30, 0)
    cut = []
    while not cut:
        cut = only(tick(term, answer=(2,)), Close)
    assert (cut[0].conn, term.now) == (30, 3000)
    assert "stage hello" in cut[0].reason


def test_a_sync_that_is_being_sent_has_no_limit_and_its_ack_has(term):
    term.hello(3)
    term.feed(3, packets.ack_epoch(4, z(4, 7)))
    tick(term, 60, answer=(2,))
    term.core.sync_sent(30, term.now)
    sent = term.now
    cut = []
    while not cut:
        cut = only(tick(term, answer=(2,)), Close)
    assert (cut[0].conn, term.now - sent) == (30, 10_000)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_without_a_quorum_in_time_the_leader_gives_up(steps):
    term = Term()
    if steps > 0:
        term.hello(2)
    if steps > 1:
        term.feed(2, packets.ack_epoch(4, z(4, 7)))
    effects = term.core.timeout(10_000)
    assert isinstance(effects[0], StepDown)
    assert term.hello(3) == []


def test_a_voter_that_looks_elsewhere_ends_the_wait_for_epochs():
    term = Term(options=OPTIONS._replace(max_time_to_wait_for_epoch_ms=100))
    assert term.core.looking(3, 200) == []
    assert isinstance(term.core.looking(2, 200)[0], StepDown)


def test_a_leader_that_has_its_epoch_does_not_mind_voters_that_look():
    term = Term(options=OPTIONS._replace(max_time_to_wait_for_epoch_ms=100))
    term.hello(2)
    assert term.core.looking(2, 200) == []


# Learners that come back.


def test_acks_of_an_earlier_connection_are_forgotten_because_the_sync_cuts_what_they_are_for(term):
    # Java counts them: the proposal is then committed with one copy less than it takes.
    term.join(3)
    term.propose(1)
    term.feed(3, packets.ack(z(5, 1)))
    term.core.disconnected(30)
    effects = term.join(3, last=z(5, 1), current=-1, conn=31)
    assert only(effects, SyncLearner)[0].plan[:2] == (Packet.TRUNC, z(4, 7))
    assert "to 31: PROPOSAL 500000001" in said(effects)
    assert term.core.logged(z(5, 1)) == []
    assert said(term.feed(3, packets.ack(z(5, 1)), conn=31))[0] == "to 20,31: COMMIT 500000001"


def test_a_learner_has_one_connection_the_newest(term):
    term.join(3)
    term.propose(1)
    closed = only(term.join(3, last=z(5, 1), current=-1, conn=31), Close)
    assert [one.conn for one in closed] == [30]
    assert term.feed(3, packets.ack(z(5, 1))) == []
    assert term.core.logged(z(5, 1)) == []


def test_committed_entries_stay_on_the_disk_of_who_comes_back_before_they_are_in_the_tree(term):
    term.propose(1, 2, 3)
    term.core.logged(z(5, 3))
    term.feed(2, packets.ack(z(5, 2)))
    effects = term.sync(3, last=z(5, 3), current=-1)
    assert effects[0] == SyncLearner(30, SyncPlan(Packet.TRUNC, z(5, 2), z(5, 2)))
    assert said(effects)[1:] == ["to 30: PROPOSAL 500000003", "to 30: NEWLEADER 500000000"]


def test_who_comes_from_another_leader_is_cut_to_what_is_in_the_tree(term):
    term.propose(1)
    term.core.logged(z(5, 1))
    term.feed(2, packets.ack(z(5, 1)))
    assert term.sync(3, last=z(4, 9))[0] == SyncLearner(30, SyncPlan(Packet.TRUNC, z(4, 7), z(4, 7)))


# Limits of syncs.


def test_observers_wait_when_too_many_are_synced_and_voters_do_not():
    term = Term(
        majority(1, 2, 3, observers=(4, 5, 6), version=7), options=OPTIONS._replace(max_concurrent_diff_syncs=2)
    )
    term.join(2)
    term.sync(4, observer=True)
    term.sync(5, observer=True)
    assert "too many syncs" in only(term.sync(6, observer=True), Close)[0].reason
    assert only(term.sync(3), SyncLearner)
    term.feed(4, packets.ack(z(5, 0)))
    # The voter's own sync counts as well.
    assert only(term.sync(6, observer=True, conn=61), Close)
    term.core.disconnected(30)
    assert only(term.sync(6, observer=True, conn=62), SyncLearner)


def test_snapshots_have_their_own_limit():
    term = Term(majority(1, 2, observers=(4, 5), version=7), options=OPTIONS._replace(max_concurrent_snap_syncs=1))
    term.join(2)
    assert only(term.sync(4, last=z(1, 1), observer=True), SyncLearner)[0].plan.op == Packet.SNAP
    assert only(term.sync(5, observer=True), SyncLearner)[0].plan.op == Packet.DIFF
    assert only(term.sync(5, last=z(1, 1), observer=True, conn=51), Close)


# Old learners.


def test_a_learner_of_before_34_gets_newleader_first_and_no_leaderinfo(term):
    term.core.connected(30, 0)
    effects = term.feed(3, packets.encode(Packet.FOLLOWERINFO, z(4, 7), (3).to_bytes(8, "big")))
    assert said(effects)[0] == "to 30: NEWLEADER 500000000"
    assert PacketStream().feed(effects[0].data)[0].data is None
    assert isinstance(effects[1], SyncLearner)
    assert term.core.sync_sent(30, 0) == []
    assert said(term.feed(3, packets.ack(z(5, 0)))) == ["to 30: UPTODATE -1"]


# Reconfiguration.


def changed(voters, version=9, observers=()):
    return config(voters, observers, version)


def test_a_new_membership_needs_both_quorums_and_so_does_all_behind_it(term):
    term.join(3)
    for sid in (4, 5):
        term.join(sid)
    new = changed((1, 4, 5))
    term.propose(1)
    effects = term.core.reconfigure(reconfig_entry(5, 2, new), new)
    assert effects[0] == LastSeenConfig(new.text().encode())
    assert said(effects)[1] == "to 20,30,40,50: PROPOSAL 500000002"
    term.propose(3)
    term.core.logged(z(5, 3))
    assert said(term.feed(2, packets.ack(z(5, 3)))) == ["to 20,30,40,50: COMMIT 500000001", Commit((entry(5, 1),))]
    effects = term.feed(4, packets.ack(z(5, 2)))
    assert effects[0] == ActivateConfig(new.text().encode(), 1, z(5, 2))
    assert effects[1] == SendTo((20, 30, 40, 50), packets.commit_and_activate(z(5, 2), 1))
    assert effects[2] == Commit((reconfig_entry(5, 2, new),))
    assert len(effects) == 3
    # 5_3 was proposed while both counted: of the new ones 1 and 4 would do, of the old ones 1 and 2 do.
    assert said(term.feed(4, packets.ack(z(5, 3))))[0] == "to 20,30,40,50: COMMIT 500000003"
    term.propose(4)
    term.core.logged(z(5, 4))
    assert term.feed(2, packets.ack(z(5, 4))) == []
    assert said(term.feed(5, packets.ack(z(5, 4))))[0] == "to 20,30,40,50: COMMIT 500000004"


def test_observers_learn_a_new_membership_with_the_transaction(term):
    term.join(4, observer=True)
    new = changed((1, 2, 3), observers=(4,))
    done = reconfig_entry(5, 1, new)
    term.core.reconfigure(done, new)
    term.core.logged(z(5, 1))
    effects = term.feed(2, packets.ack(z(5, 1)))
    assert effects[2] == SendTo((40,), packets.inform_and_activate(z(5, 1), 1, done.data))


@pytest.mark.parametrize("moved", [False, True])
def test_a_leader_that_does_not_stay_names_who_has_most_and_commits_no_more(term, moved):
    term.join(3)
    new = changed((2, 3))
    if moved:
        new = parse_config(changed((1, 2, 3)).text().replace("host1:2888", "host1:2999"))
    term.core.reconfigure(reconfig_entry(5, 1, new), new)
    term.propose(2)
    term.feed(3, packets.ack(z(5, 2)))
    effects = term.feed(2, packets.ack(z(5, 1)))
    assert effects[0].designated == 3
    assert packets_in(effects[1].data) == ["COMMITANDACTIVATE 500000001"]
    assert effects[1].data.endswith((3).to_bytes(8, "big") + b"\xff\xff\xff\xff")
    assert term.feed(2, packets.ack(z(5, 2))) == []
    assert term.core.logged(z(5, 2)) == []


def test_an_unfinished_change_is_completed_by_the_next_leader():
    new = changed((1, 2, 4), version=9)
    options = OPTIONS._replace(reconfig_enabled=True)
    term = Term(majority(1, 2, 3, version=7), last_seen=make_verifier(new), options=options)
    term.join(3)
    assert term.core.phase is Phase.SYNCHRONIZATION
    effects = term.join(2)
    assert effects[-3:-1] == [ActivateConfig(new.text().encode(), 1, z(5, 0)), Serve(5)]
    assert term.core.broadcast.verifiers == (make_verifier(new),)


def test_without_reconfiguration_nothing_is_activated_and_both_memberships_count():
    term = Term(majority(1, 2, 3))
    assert only(term.join(2, version=0), ActivateConfig) == []
    assert len(term.core.broadcast.verifiers) == 2


def test_quorums_of_a_pending_membership_are_watched_too(term):
    new = changed((1, 4, 5))
    term.core.reconfigure(reconfig_entry(5, 1, new), new)
    assert only(tick(term, 2, answer=(2,)), StepDown)


def test_an_oracle_keeps_a_leader_that_lost_its_only_follower():
    answers = ["0"]
    oracle = OracleMajority(config((1, 2), version=7), lambda: answers[0])
    term = Term(oracle)
    term.join(2)
    term.propose(1)
    term.core.logged(z(5, 1))
    term.core.disconnected(20)
    answers[0] = "1"
    tick(term)
    assert said(tick(term)) == [Commit((entry(5, 1),))]
    answers[0] = "0"
    tick(term)
    assert isinstance(tick(term)[0], StepDown)


# Samples of acks.


def test_every_nth_ack_of_each_server_is_told_of_while_its_proposal_is_outstanding():
    term = Term(options=OPTIONS._replace(ack_sampling=4))
    term.join(2)
    term.join(3)
    term.propose(*range(1, 11))
    assert only(term.feed(2, packets.acks(z(5, 1), z(5, 3))), Acknowledged) == []
    assert term.feed(2, packets.acks(z(5, 4), z(5, 9))) == [Acknowledged(2, [entry(5, 4), entry(5, 8)])]
    assert only(term.feed(2, packets.ack(z(5, 10))), Acknowledged) == []
    # The own disk counts as well.
    effects = term.core.logged(z(5, 4))
    assert effects[0] == Acknowledged(1, [entry(5, 4)])
    assert only(effects, Commit)
    # What is committed says nothing about who comes later.
    assert term.feed(3, packets.acks(z(5, 1), z(5, 10)))[0] == Acknowledged(3, [entry(5, 8)])


@pytest.mark.parametrize("sampling", [0, -1])
def test_acks_are_not_told_of_where_nobody_wants_to_know(sampling):
    term = Term(options=OPTIONS._replace(ack_sampling=sampling))
    term.join(2)
    term.propose(*range(1, 11))
    assert only(term.feed(2, packets.acks(z(5, 1), z(5, 10))), Acknowledged) == []
