"""Agreement on an epoch, scripted from both sides."""

import pytest
from zab_kit import majority, said, z

from zabra.errors import ProtocolError
from zabra.zab.discovery import Joined, LeaderDiscovery, Phase, Summary, accept_epoch, outstayed
from zabra.zab.effects import Close, EpochFile, StepDown, StoreEpoch
from zabra.zab.packets import LearnerHello

ACCEPTED, CURRENT = EpochFile.ACCEPTED, EpochFile.CURRENT
OWN = Summary(4, z(4, 7))


def hello(sid, accepted, version=0x10000, observer=False, counter=0):
    return LearnerHello(observer, z(accepted, counter), sid, version, 0)


def leader(voters=(1, 2, 3), accepted=4):
    return LeaderDiscovery(1, majority(*voters), accepted, OWN, wait_ms=1000, now_ms=0)


def established(voters=(1, 2, 3)):
    core = leader(voters)
    core.begin(0)
    core.hello(20, 2, hello(2, 4), 0)
    core.epoch_ack(20, 2, Summary(4, z(4, 7)))
    return core


def test_the_epoch_is_above_every_accepted_one_and_stored_before_it_is_told():
    core = leader()
    assert core.begin(0) == []
    assert said(core.hello(20, 2, hello(2, 9), 10)) == [StoreEpoch(ACCEPTED, 10), "to 20: LEADERINFO a00000000"]
    assert core.phase is Phase.ACKS


def test_everybody_who_waits_is_told_together():
    core = leader((1, 2, 3, 4, 5))
    core.begin(0)
    assert core.hello(20, 2, hello(2, 4), 0) == []
    assert said(core.hello(30, 3, hello(3, 4), 0))[1] == "to 20,30: LEADERINFO 500000000"


def test_observers_raise_the_epoch_but_do_not_count():
    core = leader()
    core.begin(0)
    assert core.hello(90, 9, hello(9, 20, observer=True), 0) == []
    assert said(core.hello(20, 2, hello(2, 4), 0))[0] == StoreEpoch(ACCEPTED, 21)


def test_the_same_server_twice_is_no_quorum():
    core = leader((1, 2, 3, 4, 5))
    core.begin(0)
    core.hello(20, 2, hello(2, 4), 0)
    assert core.hello(21, 2, hello(2, 4), 0) == []


def test_a_quorum_without_the_leader_is_none():
    core = leader()
    assert core.hello(20, 2, hello(2, 4), 0) == []
    assert core.hello(30, 3, hello(3, 4), 0) == []
    assert said(core.begin(0))[1] == "to 20,30: LEADERINFO 500000000"


def test_who_comes_later_gets_the_epoch_that_was_agreed_even_when_it_promised_more():
    core = established()
    assert said(core.hello(30, 3, hello(3, 99), 0)) == ["to 30: LEADERINFO 500000000"]


def test_the_epoch_becomes_current_with_a_quorum_of_acks_before_anybody_is_synced():
    core = leader()
    core.begin(0)
    core.hello(20, 2, hello(2, 4), 0)
    assert core.epoch_ack(20, 2, Summary(4, z(4, 6))) == [StoreEpoch(CURRENT, 5), Joined(20, z(4, 6))]
    assert core.phase is Phase.DONE
    assert core.deadline_ms is None


def test_an_ack_that_does_not_count_waits_for_those_that_do():
    core = leader()
    core.begin(0)
    core.hello(20, 2, hello(2, 5), 0)
    assert core.epoch_ack(20, 2, Summary(-1, z(4, 7))) == []
    core.hello(30, 3, hello(3, 4), 0)
    assert core.epoch_ack(30, 3, Summary(4, z(4, 1))) == [
        StoreEpoch(CURRENT, 6),
        Joined(20, z(4, 7)),
        Joined(30, z(4, 1)),
    ]


@pytest.mark.parametrize("summary", [Summary(5, 0), Summary(4, z(4, 8))])
def test_who_knows_more_than_the_leader_is_sent_away(summary):
    core = leader()
    core.begin(0)
    core.hello(20, 2, hello(2, 4), 0)
    (closed,) = core.epoch_ack(20, 2, summary)
    assert isinstance(closed, Close)
    assert closed.conn == 20
    assert core.phase is Phase.ACKS


def test_after_the_quorum_a_longer_history_is_cut_not_refused():
    core = established()
    core.hello(30, 3, hello(3, 4), 0)
    assert core.epoch_ack(30, 3, Summary(4, z(4, 9))) == [Joined(30, z(4, 9))]


def test_a_server_without_a_trusted_history_does_not_ack():
    core = leader()
    core.begin(0)
    core.hello(20, 2, hello(2, 4), 0)
    assert core.epoch_ack(20, 2, Summary(4, -1)) == []
    assert core.phase is Phase.ACKS


def test_epoch_acks_of_strangers_do_not_count():
    core = leader()
    core.begin(0)
    core.hello(20, 2, hello(2, 4), 0)
    core.hello(90, 9, hello(9, 4), 0)
    assert core.epoch_ack(90, 9, Summary(4, 0)) == []


def test_a_learner_of_before_34_acks_with_its_first_packet():
    core = leader()
    core.begin(0)
    assert core.hello(20, 2, hello(2, 4, version=1, counter=3), 0) == [
        StoreEpoch(ACCEPTED, 5),
        StoreEpoch(CURRENT, 5),
        Joined(20, z(4, 3)),
    ]


def test_a_single_voter_needs_nobody():
    assert leader((1,)).begin(0) == [StoreEpoch(ACCEPTED, 5), StoreEpoch(CURRENT, 5)]


def test_who_left_is_neither_told_nor_synced_but_counts():
    core = leader((1, 2, 3, 4, 5))
    core.begin(0)
    core.hello(20, 2, hello(2, 4), 0)
    core.forget(20)
    assert said(core.hello(30, 3, hello(3, 4), 0))[1] == "to 30: LEADERINFO 500000000"
    core.epoch_ack(30, 3, OWN)
    core.forget(30)
    core.hello(40, 4, hello(4, 4), 0)
    assert core.epoch_ack(40, 4, OWN) == [StoreEpoch(CURRENT, 5), Joined(40, OWN.last_zxid)]


def test_each_wait_has_its_limit():
    core = leader()
    core.begin(0)
    assert core.timeout(999) == []
    core.hello(20, 2, hello(2, 4), 600)
    assert core.deadline_ms == 1600
    assert core.timeout(1599) == []
    (down,) = core.timeout(1600)
    assert isinstance(down, StepDown)
    assert "acks of the epoch" in down.reason


def test_the_wait_for_epochs_ends_too():
    core = leader()
    core.begin(0)
    assert isinstance(core.timeout(1000)[0], StepDown)
    assert core.timeout(1001) == []


def test_a_learner_stores_a_new_epoch_before_it_acks():
    assert said(accept_epoch(6, 5, Summary(4, z(4, 7)))) == [StoreEpoch(ACCEPTED, 6), "send ACKEPOCH 400000007"]
    assert accept_epoch(6, 5, Summary(4, 0))[1].data[16:20] == b"\0\0\0\4"


def test_a_learner_acks_an_epoch_once():
    (send,) = accept_epoch(5, 5, Summary(4, z(4, 7)))
    assert send.data[16:20] == b"\xff\xff\xff\xff"


def test_a_learner_refuses_an_older_epoch():
    with pytest.raises(ProtocolError, match="less than the accepted epoch"):
        accept_epoch(4, 5, OWN)


@pytest.mark.parametrize(
    ("now_ms", "patience_ms", "sid", "expected"),
    [(101, 100, 2, True), (100, 100, 2, False), (101, 100, 3, False), (101, -1, 2, False), (1, 0, 2, True)],
)
def test_a_voter_that_looks_again_is_waited_for_only_so_long(now_ms, patience_ms, sid, expected):
    assert outstayed(0, now_ms, patience_ms, {1, 2}, sid) is expected
