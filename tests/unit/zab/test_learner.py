"""A learner's connection as a dialogue: what the leader says, and what is on disk when it is answered."""

import pytest
from zab_kit import config, entry, packets_in, reconfig_entry, said, transaction, z

from zabra.wire.records_txn import CreateTtlTxn, CreateTxn, DeleteTxn, MultiTxn, SetDataTxn, SubTxn
from zabra.zab import packets
from zabra.zab.discovery import Summary
from zabra.zab.effects import (
    ActivateConfig,
    AnswerPing,
    Commit,
    EpochFile,
    Exit,
    FlushLog,
    LastSeenConfig,
    Leave,
    LoadSnapshot,
    Log,
    Revalidated,
    SaveSnapshot,
    Send,
    Serve,
    StoreEpoch,
    Synced,
    Truncate,
)
from zabra.zab.learner import EXIT_QUORUM_PACKET, EXIT_UNMATCHED_COMMIT, Learner, Stage
from zabra.zab.packets import Packet, PacketStream

ACCEPTED, CURRENT, BEGUN = EpochFile.ACCEPTED, EpochFile.CURRENT, EpochFile.BEGUN
TEXT = config((1, 2, 3), version=7).text().encode()


class Link:
    """Server 2 with a history up to 4_7, and its leader."""

    def __init__(self, observer=False, accepted=4, current=4, floor=0, snapshot_epoch=None, **more):
        self.core = Learner(
            2,
            observer=observer,
            accepted_epoch=accepted,
            summary=Summary(current, z(4, 7)),
            config_version=7,
            floor=floor,
            snapshot_epoch=snapshot_epoch,
            tick_ms=1000,
            init_limit=10,
            sync_limit=5,
            **more,
        )
        self.begun = self.core.start(0)

    def feed(self, *raw, now=0):
        return self.core.packets(PacketStream().feed(b"".join(raw)), now)

    def until(self, stage, op=Packet.DIFF, op_zxid=None):
        """Go on to ``stage`` without a transaction."""
        self.feed(packets.leader_info(5))
        if stage is not Stage.START:
            self.feed(packets.encode(op, z(4, 7) if op_zxid is None else op_zxid))
            self.core.snapshot_loaded(0)
        if stage in (Stage.NEWLEADER, Stage.BROADCAST):
            self.feed(packets.new_leader(5, TEXT))
        if stage is Stage.BROADCAST:
            self.feed(packets.up_to_date())
        assert self.core.stage is stage
        return self


def follower(stage=Stage.BROADCAST, **given):
    return Link().until(stage, **given)


def observer(stage=Stage.BROADCAST, **given):
    return Link(observer=True).until(stage, **given)


def propose(*entries):
    return b"".join(packets.proposal(*one) for one in entries)


def decided(*entries):
    return b"".join(packets.proposal(*one) + packets.commit(one.zxid) for one in entries)


# Discovery.


@pytest.mark.parametrize(("is_observer", "kind"), [(False, Packet.FOLLOWERINFO), (True, Packet.OBSERVERINFO)])
def test_it_introduces_itself(is_observer, kind):
    (send,) = Link(observer=is_observer).begun
    (packet,) = PacketStream().feed(send.data)
    assert packet.type == kind
    assert packets.parse_learner_info(packet)[1:] == (z(4, 0), 2, 0x10000, 7)


def test_it_stores_the_epoch_and_tells_its_history():
    assert said(Link().feed(packets.leader_info(5))) == [StoreEpoch(ACCEPTED, 5), "send ACKEPOCH 400000007"]


def test_it_leaves_a_leader_of_an_older_epoch():
    (left,) = Link(accepted=6).feed(packets.leader_info(5))
    assert isinstance(left, Leave)
    assert "less than the accepted epoch" in left.reason


@pytest.mark.parametrize("raw", [packets.new_leader(5, None), packets.encode(Packet.LEADERINFO, z(5, 0))])
def test_it_leaves_a_leader_that_does_not_agree_on_an_epoch(raw):
    assert isinstance(Link().feed(raw)[0], Leave)


# Synchronization.


def test_diff_puts_committed_entries_on_disk_before_the_epoch_and_the_ack():
    # ZOOKEEPER-3911, 4646, 4643
    link = follower(Stage.SYNC)
    assert link.feed(decided(entry(4, 8))) == [Log((entry(4, 8),)), Commit((entry(4, 8),))]
    assert said(link.feed(packets.new_leader(5, TEXT))) == [
        LastSeenConfig(TEXT),
        FlushLog(),
        StoreEpoch(CURRENT, 5),
        "send ACK 500000000",
    ]


def test_proposals_without_a_commit_wait_for_uptodate():
    # ZOOKEEPER-4685
    link = follower(Stage.SYNC)
    assert link.feed(propose(entry(4, 8))) == []
    assert said(link.feed(packets.new_leader(5, None))) == [FlushLog(), StoreEpoch(CURRENT, 5), "send ACK 500000000"]
    assert link.core.logged(z(4, 8)) == []
    assert said(link.feed(packets.up_to_date())) == ["send ACK 500000000", Serve(5), Log((entry(4, 8),))]
    assert said(link.core.logged(z(4, 8))) == ["send ACK 400000008"]


def test_what_arrives_between_newleader_and_uptodate_is_logged_and_applied_then():
    # ZOOKEEPER-4394, 1551
    link = follower(Stage.NEWLEADER)
    assert link.feed(propose(entry(5, 1), entry(5, 2)), packets.commit(z(5, 1))) == []
    effects = link.feed(packets.up_to_date())
    assert said(effects)[-2:] == [Log((entry(5, 1), entry(5, 2))), Commit((entry(5, 1),))]
    assert said(link.core.logged(z(5, 2))) == ["send ACK 500000001", "send ACK 500000002"]
    assert link.feed(packets.commit(z(5, 2))) == [Commit((entry(5, 2),))]


def test_a_newer_epoch_in_the_log_becomes_current_behind_what_is_older():
    # A crash in between must leave a server that starts, and one that does not claim what it lacks.
    link = Link(current=3)
    link.until(Stage.SYNC)
    assert link.feed(decided(entry(4, 8))) == [
        FlushLog(),
        StoreEpoch(CURRENT, 4),
        Log((entry(4, 8),)),
        Commit((entry(4, 8),)),
    ]
    assert link.feed(decided(entry(4, 9)))[0] == Log((entry(4, 9),))
    assert link.feed(decided(entry(5, 1)))[:2] == [FlushLog(), StoreEpoch(CURRENT, 5)]


def test_trunc_cuts_the_log_and_goes_on_as_diff():
    link = Link()
    link.feed(packets.leader_info(5))
    assert link.feed(packets.encode(Packet.TRUNC, z(4, 5))) == [Truncate(z(4, 5))]
    assert link.feed(decided(entry(4, 6)))[0] == Log((entry(4, 6),))


def test_trunc_beyond_the_own_history_is_refused():
    assert isinstance(follower(Stage.START).feed(packets.encode(Packet.TRUNC, z(4, 8)))[0], Leave)


def test_a_trunc_that_the_files_do_not_allow_becomes_a_request_for_a_snapshot():
    link = Link(floor=z(4, 6))
    link.until(Stage.START)
    (left,) = link.feed(packets.encode(Packet.TRUNC, z(4, 5)))
    assert left[1:] == (False, 5)
    again = Link(accepted=5, floor=z(4, 6), snapshot_epoch=5)
    assert said(again.feed(packets.leader_info(5))) == ["send ACKEPOCH 0"]
    assert again.feed(packets.encode(Packet.SNAP, z(4, 5))) == [LoadSnapshot(z(4, 5))]


def test_a_server_that_wants_a_snapshot_does_not_lie_in_an_ack_that_counts():
    link = Link(accepted=5, floor=z(4, 6), snapshot_epoch=5)
    assert said(link.feed(packets.leader_info(6)))[1] == "send ACKEPOCH 400000007"
    assert link.feed(packets.encode(Packet.DIFF, z(4, 7))) == []


@pytest.mark.parametrize("op", [Packet.DIFF, Packet.TRUNC])
def test_a_server_that_cannot_be_cut_and_gets_no_snapshot_ends(op):
    link = Link(accepted=5, floor=z(4, 6), snapshot_epoch=5)
    link.feed(packets.leader_info(5))
    assert link.feed(packets.encode(op, 0))[0].code == EXIT_QUORUM_PACKET == 13


def test_snap_is_applied_in_memory_and_saved_at_newleader():
    link = follower(Stage.START)
    assert link.feed(packets.encode(Packet.SNAP, z(4, 20))) == [LoadSnapshot(z(4, 20))]
    link.core.snapshot_loaded(0)
    assert link.feed(decided(entry(4, 21))) == [Commit((entry(4, 21),))]
    assert said(link.feed(packets.new_leader(5, TEXT)))[1:] == [
        StoreEpoch(BEGUN, 5),
        SaveSnapshot(z(4, 20)),
        StoreEpoch(CURRENT, 5),
        "send ACK 500000000",
    ]
    # From here on the log goes on.
    link.feed(packets.up_to_date())
    assert link.feed(propose(entry(5, 1))) == [Log((entry(5, 1),))]


@pytest.mark.parametrize(
    ("stage", "op", "reload"),
    [
        (Stage.SYNC, Packet.SNAP, True),
        (Stage.NEWLEADER, Packet.SNAP, False),
        (Stage.SYNC, Packet.DIFF, False),
        (Stage.SYNC, Packet.TRUNC, False),
    ],
)
def test_a_snapshot_that_is_not_on_disk_is_thrown_away_with_the_connection(stage, op, reload):
    # ZOOKEEPER-3642, 2872
    assert follower(stage, op=op).core.disconnected("cut") == [Leave("cut", reload)]


def test_what_comes_together_in_a_sync_is_logged_and_applied_together():
    link = follower(Stage.SYNC)
    old, new = [entry(4, n) for n in range(8, 11)], [entry(5, n) for n in (1, 2)]
    assert link.feed(decided(*old, *new)) == [
        Log(tuple(old)),
        Commit(tuple(old)),
        # A newer epoch must be on disk before its first entry, and all entries of the old one before that.
        FlushLog(),
        StoreEpoch(CURRENT, 5),
        Log((new[0],)),
        Commit((new[0],)),
        Log((new[1],)),
        Commit((new[1],)),
    ]
    link.feed(packets.new_leader(5, None), packets.up_to_date())
    assert link.core.logged(z(5, 2)) == []


def test_what_the_history_holds_already_may_be_repeated():
    link = follower(Stage.SYNC)
    assert link.feed(decided(entry(4, 7), entry(4, 8)), decided(entry(4, 8))) == [
        Log((entry(4, 8),)),
        Commit((entry(4, 8),)),
    ]


def test_what_the_snapshot_holds_already_is_not_applied_again():
    link = follower(Stage.SYNC, op=Packet.SNAP, op_zxid=z(4, 20))
    assert link.feed(decided(entry(4, 20))) == []
    assert link.feed(decided(entry(4, 21))) == [Commit((entry(4, 21),))]


@pytest.mark.parametrize(
    "raw",
    [
        decided(entry(4, 9)),
        decided(entry(4, 8), entry(4, 10)),
        packets.commit(z(4, 8)),
        propose(entry(4, 8), entry(4, 9)) + packets.commit(z(4, 9)),
        packets.proposal(z(4, 9), entry(4, 8).data),
        packets.proposal(z(4, 8), b"short"),
        packets.encode(Packet.PROPOSAL, z(4, 8)),
        packets.new_leader(4, TEXT),
        packets.up_to_date(),
        packets.encode(Packet.DIFF, 0),
        packets.sync_answer(),
    ],
    ids=[
        "gap to the own history",
        "gap",
        "commit of nothing",
        "commit out of order",
        "two zxids",
        "no transaction",
        "no data",
        "newleader of another epoch",
        "uptodate too early",
        "diff twice",
        "sync answer",
    ],
)
def test_what_must_not_come_during_the_sync_ends_it(raw):
    link = follower(Stage.SYNC)
    assert isinstance(link.feed(raw)[-1], Leave)
    assert link.feed(packets.new_leader(5, TEXT)) == []


def test_a_new_epoch_may_follow_any_end_of_the_old_one():
    assert follower(Stage.SYNC).feed(decided(entry(5, 1)))[-1] == Commit((entry(5, 1),))


def test_pings_before_uptodate_are_not_answered():
    for stage in (Stage.SYNC, Stage.NEWLEADER):
        assert follower(stage).feed(packets.ping(z(5, 0))) == []


def test_something_else_than_a_sync_is_refused():
    assert isinstance(follower(Stage.START).feed(packets.commit(1))[0], Leave)


def test_the_membership_of_newleader_is_activated_with_uptodate():
    link = follower(Stage.SYNC)
    assert link.feed(packets.new_leader(5, TEXT))[0] == LastSeenConfig(TEXT)
    assert link.feed(packets.up_to_date())[0] == ActivateConfig(TEXT, None, None)


def test_a_reconfig_in_the_sync_is_seen_and_activated():
    new = config((2, 3), version=9)
    change = reconfig_entry(4, 8, new)
    link = follower(Stage.SYNC)
    assert link.feed(propose(change), packets.commit_and_activate(z(4, 8), 3)) == [
        LastSeenConfig(new.text().encode()),
        ActivateConfig(new.text().encode(), 3, z(4, 8)),
        Log((change,)),
        Commit((change,)),
    ]


# Broadcast.


def test_a_proposal_is_acked_when_it_is_on_disk():
    link = follower()
    assert link.feed(propose(entry(5, 1), entry(5, 2))) == [Log((entry(5, 1), entry(5, 2)))]
    assert said(link.core.logged(z(5, 1))) == ["send ACK 500000001"]
    assert link.core.logged(z(5, 1)) == []
    assert said(link.core.logged(z(5, 2))) == ["send ACK 500000002"]


def test_what_arrives_together_is_logged_and_applied_together():
    link = follower()
    effects = link.feed(propose(entry(5, 1)), packets.commit(z(5, 1)), propose(entry(5, 2)), packets.commit(z(5, 2)))
    both = (entry(5, 1), entry(5, 2))
    assert effects == [Log(both), Commit(both)]


def test_a_sync_answer_stays_behind_the_commits_before_it():
    link = follower()
    effects = link.feed(propose(entry(5, 1)), packets.commit(z(5, 1)), packets.sync_answer(), propose(entry(5, 2)))
    assert effects == [Log((entry(5, 1),)), Commit((entry(5, 1),)), Synced(), Log((entry(5, 2),))]


def test_a_commit_of_anything_but_the_oldest_pending_one_ends_the_server():
    link = follower()
    effects = link.feed(propose(entry(5, 1), entry(5, 2)), packets.commit(z(5, 2)))
    assert isinstance(effects[-1], Exit)
    assert effects[-1].code == EXIT_UNMATCHED_COMMIT == 12
    assert link.core.stage is Stage.GONE


def test_commits_that_come_together_are_applied_together():
    link = follower()
    link.feed(propose(*(entry(5, n) for n in range(1, 5))))
    assert link.feed(packets.commits(z(5, 1), z(5, 3))) == [Commit(tuple(entry(5, n) for n in range(1, 4)))]
    assert link.core.last_committed == z(5, 3)
    # Of these the first is known, and nothing of the last.
    assert link.feed(packets.commits(z(5, 3), z(5, 6))) == [Commit((entry(5, 4),))]
    assert link.core.last_committed == z(5, 4)


def test_a_run_of_commits_that_skips_a_pending_one_ends_the_server():
    link = follower()
    effects = link.feed(propose(*(entry(5, n) for n in range(1, 5))), packets.commits(z(5, 2), z(5, 3)))
    assert [type(effect) for effect in effects] == [Log, Exit]


def test_a_commit_without_a_proposal_is_ignored():
    assert follower().feed(packets.commit(z(5, 1))) == []


def test_a_proposal_that_comes_twice_is_taken_once():
    link = follower()
    assert link.feed(decided(entry(5, 1)), decided(entry(5, 1))) == [Log((entry(5, 1),)), Commit((entry(5, 1),))]
    assert said(link.core.logged(z(5, 1))) == ["send ACK 500000001"]
    link.feed(propose(entry(5, 2)))
    assert link.feed(packets.commit(z(5, 1))) == []


def test_a_gap_between_proposals_ends_the_connection():
    link = follower()
    effects = link.feed(propose(entry(5, 1), entry(5, 3)))
    assert effects[0] == Log((entry(5, 1),))
    assert isinstance(effects[1], Leave)


def test_a_reconfig_is_seen_when_proposed_and_activated_when_committed():
    new = config((1, 2, 3, 4), version=9)
    change = reconfig_entry(5, 1, new)
    link = follower()
    assert link.feed(propose(change)) == [LastSeenConfig(new.text().encode()), Log((change,))]
    assert link.feed(packets.commit_and_activate(z(5, 1), 3)) == [
        ActivateConfig(new.text().encode(), 3, z(5, 1)),
        Commit((change,)),
    ]


def test_pings_sessions_and_syncs_are_handed_over():
    assert follower().feed(packets.ping(z(5, 3)), packets.revalidated(9, True), packets.sync_answer()) == [
        AnswerPing(z(5, 3)),
        Revalidated(9, True),
        Synced(),
    ]


@pytest.mark.parametrize(
    "raw", [packets.ack(1), packets.new_leader(5, None), packets.up_to_date(), packets.inform(*entry(5, 1))]
)
def test_what_no_leader_says_ends_the_connection(raw):
    assert isinstance(follower().feed(raw)[0], Leave)


# What could not be replayed.


def create(counter, path=b"/made", acl=((31, "world", "anyone"),)):
    return transaction(5, counter, 1, CreateTxn(path, b"data", acl, False, 1).encode())


#: By name, what makes a proposal of 5_2 worthless.
UNSOUND = {
    "unknown type": transaction(5, 2, 99, b""),
    "setData without a body": transaction(5, 2, 5, b""),
    "setData of negative length": transaction(5, 2, 5, b"\0\0\0\2/a\xff\xff\xff\xf0" + bytes(28)),
    "setData that is cut": transaction(5, 2, 5, SetDataTxn(b"/a", b"data", 1).encode()[:-1]),
    "create that is cut": transaction(5, 2, 1, CreateTxn(b"/a", b"", (), False, 1).encode()[:-6]),
    "create of the root": create(2, b"/"),
    "create without a name": create(2, b"/a/"),
    "create of a relative path": create(2, b"a"),
    "createTTL of no time": transaction(5, 2, 21, CreateTtlTxn(b"/a", b"", None, 1, 0).encode()),
    "delete without a path": transaction(5, 2, 2, DeleteTxn(None).encode()),
    "multi with a part that is cut": transaction(5, 2, 14, MultiTxn((SubTxn(2, b"\0"),)).encode()),
    "reconfig without a body": transaction(5, 2, 16, b"\0"),
    "createSession without a timeout": transaction(5, 2, -10, b""),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_what_could_not_be_replayed_is_not_logged_and_ends_the_connection(what):
    bad = UNSOUND[what]
    link = follower()
    logged, left = link.feed(propose(entry(5, 1)), packets.proposal(*bad), propose(entry(5, 3)))
    assert logged == Log((entry(5, 1),))
    assert isinstance(left, Leave)
    assert left.reason.startswith("PROPOSAL 0x500000002 cannot be replayed: ")
    assert not left.reload
    assert list(link.core.pending) == [entry(5, 1)], "applied at the end of the role, as it is in the log"
    informed = observer()
    *done, left = informed.feed(packets.inform(*entry(5, 1)), packets.inform(*bad))
    assert done == [Log((entry(5, 1),)), Commit((entry(5, 1),))]
    assert isinstance(left, Leave)
    assert not informed.core.pending


def test_the_same_holds_for_what_comes_in_a_sync():
    link = follower(Stage.SYNC)
    effects = link.feed(decided(entry(5, 1)), decided(UNSOUND["delete without a path"]))
    assert [type(effect) for effect in effects] == [FlushLog, StoreEpoch, Log, Commit, Leave]
    assert isinstance(follower(Stage.NEWLEADER).feed(propose(create(1, b"/")))[0], Leave)


def test_creates_with_any_acl_are_taken():
    acls = (((31, "world", "anyone"),), ((1, "digest", "me:x"), (31, "ip", "1.2.3.4")), (), None)
    digest = bytes(12)
    for tail in (b"", digest):
        link = follower()
        some = [create(n, b"/made", acls[n % len(acls)]) for n in range(1, 12)]
        some = [one._replace(data=one.data + tail) for one in some]
        assert [one for effect in link.feed(*(propose(one) for one in some)) for one in effect.entries] == some


def test_a_broken_activation_leaves_the_change_pending():
    """It is in the log, and has to be applied at the end of the role."""
    change = reconfig_entry(5, 1, config((1, 2, 3), version=9))
    link = follower()
    link.feed(propose(change))
    assert isinstance(link.feed(packets.encode(Packet.COMMITANDACTIVATE, z(5, 1), b"1234"))[0], Leave)
    assert list(link.core.pending) == [change]


def test_only_a_reconfig_can_be_activated():
    link = follower()
    link.feed(propose(entry(5, 1)))
    (left,) = link.feed(packets.commit_and_activate(z(5, 1), 3))
    assert left.reason == "COMMITANDACTIVATE 0x500000001, which is no change of membership"
    assert list(link.core.pending) == [entry(5, 1)]
    link = observer()
    (left,) = link.feed(packets.inform_and_activate(z(5, 1), 3, entry(5, 1).data))
    assert left.reason == "INFORMANDACTIVATE 0x500000001, which is no change of membership"
    assert not link.core.pending


# Observers.


def test_an_observer_logs_and_applies_what_it_is_informed_of_and_acks_nothing():
    link = observer()
    assert link.feed(packets.inform(*entry(5, 1))) == [Log((entry(5, 1),)), Commit((entry(5, 1),))]
    assert link.core.logged(z(5, 1)) == []


def test_an_observer_logs_and_applies_together_what_came_together():
    link = observer()
    some = [entry(5, n) for n in range(1, 4)]
    assert link.feed(*(packets.inform(*one) for one in some)) == [Log(tuple(some)), Commit(tuple(some))]
    assert link.core.logged(z(5, 3)) == []
    behind = link.feed(packets.inform(*entry(5, 4)), packets.sync_answer(), packets.inform(*entry(5, 5)))
    assert [type(effect) for effect in behind] == [Log, Commit, Synced, Log, Commit]


def test_an_observer_has_its_history_on_disk_too_before_it_acks_newleader():
    link = observer(Stage.SYNC)
    both = entry(4, 8), entry(4, 9)
    assert link.feed(decided(both[0]), packets.inform(*both[1])) == [Log(both), Commit(both)]
    assert said(link.feed(packets.new_leader(5, None)))[0] == FlushLog()


def test_an_observer_forgets_what_was_not_committed_and_is_informed_later():
    link = observer(Stage.NEWLEADER)
    link.feed(propose(entry(5, 1), entry(5, 2)), packets.commit(z(5, 1)))
    assert said(link.feed(packets.up_to_date()))[-2:] == [Log((entry(5, 1),)), Commit((entry(5, 1),))]
    assert link.feed(packets.inform(*entry(5, 2)))[0] == Log((entry(5, 2),))


def test_an_observer_ignores_what_is_for_followers():
    assert observer().feed(decided(entry(5, 1))) == []


def test_an_observer_is_told_a_new_membership():
    new = config((1, 2, 3), version=9)
    change = reconfig_entry(5, 1, new)
    assert observer().feed(packets.inform_and_activate(z(5, 1), 1, change.data)) == [
        LastSeenConfig(new.text().encode()),
        ActivateConfig(new.text().encode(), 1, z(5, 1)),
        Log((change,)),
        Commit((change,)),
    ]


def test_an_observer_does_not_accept_a_gap():
    link = observer()
    link.feed(packets.inform(*entry(5, 1)))
    assert isinstance(link.feed(packets.inform(*entry(5, 3)))[0], Leave)


# Time, and the end.


def test_a_silent_leader_is_left_after_initlimit_then_synclimit():
    link = Link()
    assert link.core.deadline_ms == 10_000
    link.feed(packets.leader_info(5), now=7000)
    assert link.core.deadline_ms == 17_000
    assert link.core.timeout(16_999) == []
    link.feed(packets.encode(Packet.DIFF, z(4, 7)), packets.new_leader(5, TEXT), now=8000)
    assert link.core.deadline_ms == 13_000
    (left,) = link.core.timeout(13_000)
    assert isinstance(left, Leave)
    assert link.core.deadline_ms is None


def test_a_snapshot_that_moves_keeps_the_connection():
    link = follower(Stage.START)
    link.feed(packets.encode(Packet.SNAP, z(4, 20)))
    link.core.alive(9000)
    assert link.core.timeout(18_999) == []
    assert link.core.timeout(19_000) == [Leave("the leader is silent, waiting for snapshot", True)]


def test_after_the_end_nothing_happens():
    link = follower()
    link.feed(propose(entry(5, 1)))
    link.core.disconnected("cut")
    assert link.core.logged(z(5, 1)) == []
    assert link.core.disconnected("again") == []
    assert link.feed(propose(entry(5, 2))) == []
    assert link.core.timeout(1_000_000) == []


def test_what_is_half_on_disk_is_half_acknowledged():
    link = follower()
    link.feed(propose(*(entry(5, n) for n in range(1, 4))))
    link.feed(propose(entry(5, 4)))
    assert said(link.core.logged(z(5, 2))) == ["send ACK 500000001", "send ACK 500000002"]
    assert link.core.logged(z(5, 2)) == []
    assert said(link.core.logged(z(5, 4))) == ["send ACK 500000003", "send ACK 500000004"]


def test_what_came_before_uptodate_is_acknowledged_across_epochs():
    link = follower(Stage.NEWLEADER)
    link.feed(propose(entry(4, 8), entry(4, 9), entry(5, 1)), packets.up_to_date())
    assert said(link.core.logged(z(5, 1))) == ["send ACK 400000008", "send ACK 400000009", "send ACK 500000001"]


def test_every_ack_is_one_packet():
    link = follower()
    link.feed(propose(*(entry(5, n) for n in range(1, 4))))
    (send,) = link.core.logged(z(5, 3))
    assert isinstance(send, Send)
    assert packets_in(send.data) == ["ACK 500000001", "ACK 500000002", "ACK 500000003"]


# An observer without a log.


def without_log(stage=Stage.BROADCAST, unlogged=False, **given):
    return Link(observer=True, keeps_log=False, unlogged=unlogged).until(stage, **given)


def test_without_a_log_a_diff_stays_in_memory_and_so_does_the_epoch():
    """The files may tell an older state, but with the epoch of then."""
    link = without_log(Stage.SYNC)
    one, two = entry(4, 8), entry(5, 1)
    assert link.feed(decided(one, two)) == [Commit((one, two))]
    assert said(link.feed(packets.new_leader(5, TEXT))) == [LastSeenConfig(TEXT), "send ACK 500000000"]
    three = entry(5, 2)
    assert link.feed(packets.inform(*three)) == []
    assert said(link.feed(packets.up_to_date())) == [
        ActivateConfig(TEXT, None, None),
        "send ACK 500000000",
        Serve(5),
        Commit((three,)),
    ]


def test_without_a_log_it_applies_what_it_is_informed_of():
    new = config((1, 2, 3), version=9)
    one, two = entry(5, 1), reconfig_entry(5, 2, new)
    assert without_log().feed(packets.inform(*one), packets.inform_and_activate(two.zxid, 3, two.data)) == [
        Commit((one,)),
        LastSeenConfig(new.text().encode()),
        ActivateConfig(new.text().encode(), 3, two.zxid),
        Commit((two,)),
    ]


def test_without_a_log_a_snapshot_of_the_leader_is_still_saved():
    link = without_log(Stage.SYNC, op=Packet.SNAP, op_zxid=z(4, 9))
    one = entry(4, 10)
    assert link.feed(decided(one)) == [Commit((one,))]
    assert said(link.feed(packets.new_leader(5, TEXT))) == [
        LastSeenConfig(TEXT),
        StoreEpoch(BEGUN, 5),
        SaveSnapshot(z(4, 9)),
        StoreEpoch(CURRENT, 5),
        "send ACK 500000000",
    ]


def test_what_is_in_memory_only_cannot_be_cut_back_to():
    """The files are loaded again and tell what they have; then they can be cut as any."""
    link = without_log(Stage.START, unlogged=True)
    (leave,) = link.feed(packets.encode(Packet.TRUNC, z(4, 5)))
    assert leave == Leave("TRUNC to 0x400000005, which the files do not reach", reload=True)
    assert without_log(Stage.START).feed(packets.encode(Packet.TRUNC, z(4, 5))) == [Truncate(z(4, 5))]


def test_a_follower_keeps_a_log():
    with pytest.raises(AssertionError, match="acks are of what is on disk"):
        Link(keeps_log=False)
