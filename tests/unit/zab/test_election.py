"""Leader election as a dialogue: messages and timeouts go in, effects come out."""

import pytest

from zabra.config.dynamic import parse_config
from zabra.zab.election import Election, Intervals
from zabra.zab.quorums import make_verifier
from zabra.zab.types import (
    NOBODY,
    AdoptConfig,
    Elected,
    Notification,
    PeerLooking,
    Reconnect,
    Send,
    ServerState,
    SetTimer,
    Vote,
)

LOOKING, FOLLOWING, LEADING, OBSERVING = ServerState


def members(voters=(1, 2, 3), observers=(), more="", version=0):
    lines = [f"server.{sid}=h{sid}:1:2:participant" for sid in voters]
    lines += [f"server.{sid}=h{sid}:1:2:observer" for sid in observers]
    return parse_config("\n".join((*lines, *more.split(), f"version={version:x}")))


class Talk:
    """One server's election and what it says, without timers and memberships unless asked for."""

    def __init__(self, my_id=1, zxid=5, epoch=0, config=None, oracle=None, proposed=None, **options):
        self.config = config or members()

        def make(config):
            return make_verifier(config, oracle)

        self.core = Election(
            my_id,
            make(self.config),
            make_verifier=make,
            last_zxid=zxid,
            current_epoch=epoch,
            proposed=make(proposed) if proposed else None,
            **options,
        )
        self.now = 1000
        self.timer = None
        self.said = self.look(zxid, epoch)

    def look(self, zxid, epoch=0):
        return self._hear(self.core.look(zxid, epoch, self.now))

    def hear(self, sender, state, leader, zxid, round_, epoch=0, version=2, config=None):
        message = Notification(state, leader, zxid, round_, epoch, version, config)
        return self._hear(self.core.notification(sender, message, self.now))

    def wait(self, *, delivered=True):
        """Let time pass until the timer."""
        self.now = max(self.now, self.timer)
        return self._hear(self.core.timeout(self.now, delivered=delivered))

    def _hear(self, effects):
        for effect in effects:
            if isinstance(effect, SetTimer):
                self.timer = effect.at_ms
        return [effect for effect in effects if not isinstance(effect, SetTimer)]


def says(to, state, leader, zxid, round_, epoch=0, config=None):
    """A Send as the core makes it; ``config`` None: whatever."""
    return Saying(Send(to, Notification(state, leader, zxid, round_, epoch, config=config)))


class Saying(Send):
    """Compares without the membership."""

    __hash__ = None

    def __eq__(self, other):
        return type(other) is Send and self.to == other.to and other.message._replace(config=None) == self.message

    def __new__(cls, send):
        return super().__new__(cls, *send)


def elected(leader, zxid, round_, state, supporters, epoch=0):
    return Elected(Vote(leader, zxid, round_, epoch), state, frozenset(supporters))


def test_a_new_election_votes_for_itself_and_tells_the_others():
    talk = Talk(my_id=2, zxid=7, epoch=3)
    assert talk.said == [says((1, 3), LOOKING, 2, 7, 1, 3)]
    assert talk.said[0].message.config is talk.config
    assert talk.timer == talk.now + 200


def test_a_better_vote_is_adopted_and_told_on():
    talk = Talk()
    assert talk.hear(2, LOOKING, 2, 6, 1) == [says((2, 3), LOOKING, 2, 6, 1)]


@pytest.mark.parametrize(
    ("leader", "zxid", "epoch", "better"),
    [
        (3, 5, 1, True),
        (1, 6, 1, True),
        (3, 4, 1, False),
        (1, 0, 2, True),
        (3, 99, 0, False),
        (1, 5, 1, False),
        (3, -(1 << 62), 1, False),
    ],
)
def test_votes_are_ordered_by_epoch_zxid_and_id(leader, zxid, epoch, better):
    talk = Talk(my_id=2, zxid=5, epoch=1)
    assert bool(talk.hear(leader, LOOKING, leader, zxid, 1, epoch)) is better


def test_a_quorum_decides_after_200_ms_of_nothing_better():
    talk = Talk()
    talk.hear(2, LOOKING, 2, 6, 1)
    assert talk.timer == talk.now + 200
    assert talk.wait() == [elected(2, 6, 1, FOLLOWING, {1, 2})]
    assert talk.timer is None
    assert talk.core.state is FOLLOWING


def test_the_winner_leads():
    talk = Talk(my_id=3)
    assert talk.hear(1, LOOKING, 3, 5, 1) == []
    assert talk.wait() == [elected(3, 5, 1, LEADING, {1, 3})]


def test_something_better_in_the_last_200_ms_wins():
    talk = Talk(my_id=2)
    talk.hear(1, LOOKING, 2, 5, 1)
    talk.now += 199
    assert talk.hear(3, LOOKING, 3, 5, 1) == [says((1, 3), LOOKING, 3, 5, 1)]
    assert talk.wait() == [elected(3, 5, 1, FOLLOWING, {2, 3})]


def test_nothing_that_does_not_win_prolongs_the_last_200_ms():
    talk = Talk(my_id=2)
    talk.hear(1, LOOKING, 2, 5, 1)
    deadline = talk.timer
    talk.now += 150
    talk.hear(3, LOOKING, 3, 4, 1)
    talk.hear(1, LOOKING, 2, 5, 1)
    assert talk.timer == deadline


def test_a_quorum_that_changes_its_mind_no_longer_decides():
    talk = Talk(my_id=2)
    talk.hear(1, LOOKING, 2, 5, 1)
    talk.now += 100
    talk.hear(1, LOOKING, 1, 5, 1)
    talk.now += 100
    assert talk.wait() == [says((1, 3), LOOKING, 2, 5, 1)], "only the repetition"


def test_votes_for_another_do_not_count():
    talk = Talk(my_id=3)
    talk.hear(1, LOOKING, 1, 5, 1)
    talk.hear(2, LOOKING, 2, 5, 1)
    assert talk.core.state is LOOKING
    assert talk.wait() == [says((1, 2), LOOKING, 3, 5, 1)]


def test_a_later_round_is_adopted_with_the_better_of_both_votes():
    talk = Talk(my_id=2)
    assert talk.hear(3, LOOKING, 3, 5, 9) == [says((1, 3), LOOKING, 3, 5, 9)]
    assert talk.core.round == 9
    other = Talk(my_id=2)
    assert other.hear(1, LOOKING, 1, 5, 9) == [says((1, 3), LOOKING, 2, 5, 9)]


def test_a_later_round_forgets_adopted_votes():
    talk = Talk(my_id=2)
    talk.hear(3, LOOKING, 3, 9, 1)
    assert talk.hear(1, LOOKING, 1, 4, 2) == [says((1, 3), LOOKING, 2, 5, 2)], "3 is voted for no more"
    talk.hear(1, LOOKING, 2, 5, 2)
    assert talk.wait() == [elected(2, 5, 2, LEADING, {1, 2})]


def test_an_earlier_round_is_answered_and_not_counted():
    talk = Talk(my_id=2)
    talk.hear(1, LOOKING, 1, 5, 4)
    assert talk.hear(3, LOOKING, 3, 99, 3) == [says((3,), LOOKING, 2, 5, 4)]
    assert talk.hear(3, FOLLOWING, 3, 99, 3) == [], "settled servers need no such answer"
    assert talk.wait() == [says((1, 3), LOOKING, 2, 5, 4)]


def test_silence_repeats_the_vote_less_and_less_often():
    talk = Talk(intervals=Intervals(100, 500))
    waits = []
    for _ in range(5):
        before = talk.now
        assert talk.wait() == [says((2, 3), LOOKING, 1, 5, 1)]
        waits.append(talk.now - before)
    assert waits == [100, 200, 400, 500, 500]


def test_each_election_begins_with_short_waits_again():
    talk = Talk()
    talk.wait()
    talk.wait()
    talk.look(5)
    assert talk.timer == talk.now + 200


def test_who_reached_nobody_dials_again():
    talk = Talk()
    assert talk.wait(delivered=False) == [Reconnect()]
    assert talk.wait(delivered=True) == [says((2, 3), LOOKING, 1, 5, 1)]


def test_a_timeout_that_comes_too_early_does_nothing():
    talk = Talk()
    talk.now += 199
    assert talk._hear(talk.core.timeout(talk.now, delivered=True)) == []
    assert talk.timer == talk.now + 1


def test_a_quorum_that_follows_a_leader_is_joined_when_the_leader_says_so():
    talk = Talk(my_id=1, zxid=9)
    assert talk.hear(2, FOLLOWING, 3, 5, 7, epoch=4) == []
    assert talk.hear(3, LEADING, 3, 5, 7, epoch=4) == [elected(3, 5, 7, FOLLOWING, {2, 3}, epoch=4)]
    assert talk.core.round == 7
    assert talk.look(9) == [says((2, 3), LOOKING, 1, 9, 8)]


def test_a_quorum_that_follows_a_silent_leader_is_not_joined():
    talk = Talk(my_id=1, config=members((1, 2, 3, 4, 5)))
    for sender in (2, 4, 5):
        assert talk.hear(sender, FOLLOWING, 3, 5, 7) == []
    assert talk.core.state is LOOKING
    assert talk.hear(3, LOOKING, 3, 5, 1) != []
    assert talk.hear(2, FOLLOWING, 3, 5, 7) == []


def test_a_leader_without_a_quorum_is_not_joined():
    talk = Talk(my_id=1, config=members((1, 2, 3, 4, 5)))
    assert talk.hear(3, LEADING, 3, 5, 7) == []
    assert talk.hear(2, FOLLOWING, 3, 5, 7) == []
    assert talk.hear(4, FOLLOWING, 3, 5, 8) == [elected(3, 5, 8, FOLLOWING, {2, 3, 4})], "zxid and round may differ"


def test_a_vote_that_is_taken_back_takes_the_quorum_with_it():
    """Server 2 voted for us, then followed server 3: what was about to be decided is not any more."""
    talk = Talk()
    assert talk.hear(2, LOOKING, 1, 5, 1) == []
    assert talk.timer == talk.now + 200, "two of three agree"
    assert talk.hear(2, FOLLOWING, 3, 9, 1) == []
    talk.now += 200
    assert talk._hear(talk.core.timeout(talk.now, delivered=True)) != []
    assert talk.core.state is LOOKING


def test_settled_votes_of_different_epochs_are_different():
    talk = Talk(my_id=1)
    assert talk.hear(2, FOLLOWING, 3, 5, 7, epoch=4) == []
    assert talk.hear(3, LEADING, 3, 5, 7, epoch=5) == []
    assert talk.hear(2, FOLLOWING, 3, 4, 6, epoch=5) == [elected(3, 4, 6, FOLLOWING, {2, 3}, epoch=5)]


@pytest.mark.parametrize(("version", "joined"), [(0, True), (1, False), (2, False)])
def test_the_epoch_of_servers_without_versions_does_not_count(version, joined):
    talk = Talk(my_id=1)
    talk.hear(2, FOLLOWING, 3, 5, 7, epoch=4, version=version)
    assert bool(talk.hear(3, LEADING, 3, 5, 7, epoch=5)) is joined


def test_settled_votes_of_the_own_round_count_together_with_looking_ones():
    talk = Talk(my_id=1, config=members((1, 2, 3, 4, 5)))
    talk.hear(3, LOOKING, 3, 6, 1)
    talk.hear(2, LOOKING, 3, 6, 1)
    assert talk.hear(3, LEADING, 3, 6, 1) == [elected(3, 6, 1, FOLLOWING, {1, 2, 3})], "at once, without 200 ms"


def test_settled_votes_of_the_own_round_count_whatever_their_epoch():
    talk = Talk(my_id=1, zxid=9)
    talk.hear(2, FOLLOWING, 3, 5, 1, epoch=0)
    assert talk.hear(3, LEADING, 3, 5, 1, epoch=1) == [elected(3, 5, 1, FOLLOWING, {2, 3}, epoch=1)]


def test_whom_everybody_follows_leads_in_the_same_round_only():
    talk = Talk(my_id=1)
    talk.hear(2, FOLLOWING, 1, 5, 1)
    assert talk.core.state is LEADING
    late = Talk(my_id=1)
    assert late.hear(2, FOLLOWING, 1, 5, 4) == []
    assert late.hear(3, FOLLOWING, 1, 5, 4) == []


@pytest.mark.parametrize("round_", [1, 7])
def test_observing_servers_tell_nothing(round_):
    talk = Talk(config=members((1, 2, 3, 4, 5)))
    assert talk.hear(3, LEADING, 3, 9, round_) == []
    assert talk.hear(2, FOLLOWING, 3, 9, round_) == []
    assert talk.hear(4, OBSERVING, 3, 9, round_) == []


def test_a_later_round_forgets_settled_votes_too():
    talk = Talk(my_id=1, config=members((1, 2, 3, 4, 5)))
    talk.hear(2, FOLLOWING, 3, 5, 1, epoch=4)
    talk.hear(4, FOLLOWING, 3, 5, 1, epoch=4)
    talk.hear(5, LOOKING, 5, 4, 5)
    assert talk.hear(3, LEADING, 3, 5, 5, epoch=5) == []


def test_a_later_round_is_compared_with_the_own_history_only():
    talk = Talk(my_id=2)
    talk.hear(3, LOOKING, 3, 9, 1)
    assert talk.hear(1, LOOKING, 1, 7, 2) == [says((1, 3), LOOKING, 1, 7, 2)]


def settle(talk, leader=3):
    talk.hear(2, FOLLOWING, leader, 5, 7, epoch=1)
    talk.hear(leader, LEADING, leader, 5, 7, epoch=1)
    assert talk.core.state is FOLLOWING


def test_a_settled_server_answers_who_looks():
    talk = Talk()
    settle(talk)
    assert talk.hear(2, LOOKING, 2, 99, 50) == [says((2,), FOLLOWING, 3, 5, 7, 1)]
    assert talk.hear(2, FOLLOWING, 2, 99, 50) == []
    assert talk.core.round == 7
    assert talk.core.timeout(talk.now + 10_000, delivered=True) == []


def test_a_new_election_forgets_who_followed_whom():
    talk = Talk()
    settle(talk)
    talk.look(5)
    assert talk.hear(3, LEADING, 3, 5, 7, epoch=1) == []


def test_late_servers_hear_the_established_epoch():
    talk = Talk()
    settle(talk)
    talk.core.epoch_established(9)
    assert talk.hear(2, LOOKING, 2, 99, 50) == [says((2,), FOLLOWING, 3, 5, 7, 9)]


def test_a_leader_reports_voters_that_look():
    talk = Talk(my_id=3, config=members((1, 2, 3), (4,)))
    talk.hear(1, LOOKING, 3, 5, 1)
    talk.wait()
    assert talk.hear(2, LOOKING, 2, 5, 1) == [PeerLooking(2), says((2,), LEADING, 3, 5, 1)]
    assert talk.hear(4, LOOKING, 4, 5, 1) == [says((4,), LEADING, 3, 5, 1)]


def test_servers_without_a_vote_are_answered_and_not_counted():
    talk = Talk(my_id=1, config=members((1, 2, 3), (4,)))
    talk.hear(2, LOOKING, 2, 5, 3)
    for sender in (4, 99):
        for state in ServerState:
            assert talk.hear(sender, state, 2, 5, 3) == [says((sender,), LOOKING, 1, 5, 3)], (
                "the vote it last settled on"
            )
    settle(talk)
    assert talk.hear(4, FOLLOWING, NOBODY, NOBODY, 1, NOBODY) == [says((4,), FOLLOWING, 3, 5, 7, 1)]


def test_votes_for_strangers_do_not_count(caplog):
    talk = Talk(config=members((1, 2, 3), (4,)))
    assert talk.hear(2, LOOKING, 4, 99, 1) == []
    assert talk.hear(3, LOOKING, 99, 99, 5) == []
    assert talk.core.round == 1
    assert "server 2 for 4" in caplog.text


def test_an_observer_proposes_nobody_and_follows_the_votes_it_hears():
    talk = Talk(my_id=4, zxid=99, epoch=9, config=members((1, 2, 3), (4,)))
    assert talk.said == [says((1, 2, 3), LOOKING, NOBODY, NOBODY, 1, NOBODY)]
    talk.hear(1, LOOKING, 3, 5, 1)
    talk.hear(3, LOOKING, 3, 5, 1)
    assert talk.wait() == [elected(3, 5, 1, OBSERVING, {1, 3})]


def test_an_observer_joins_a_settled_ensemble():
    talk = Talk(my_id=4, config=members((1, 2, 3), (4,)))
    talk.hear(1, FOLLOWING, 3, 5, 7)
    assert talk.hear(3, LEADING, 3, 5, 7) == [elected(3, 5, 7, OBSERVING, {1, 3})]


def test_an_observer_never_makes_a_quorum():
    talk = Talk(my_id=4, config=members((1, 2, 3), (4,)))
    talk.hear(1, LOOKING, 1, 5, 1)
    assert talk.wait() == [says((1, 2, 3), LOOKING, 1, 5, 1)]


def test_a_server_that_joins_follows_without_a_vote():
    talk = Talk(my_id=9, zxid=5)
    assert talk.said == [says((1, 2, 3), LOOKING, NOBODY, 5, 1)]
    talk.hear(1, FOLLOWING, 3, 5, 7)
    assert talk.hear(3, LEADING, 3, 5, 7) == [elected(3, 5, 7, FOLLOWING, {1, 3})]


def test_an_untrusted_empty_server_does_not_vote():
    talk = Talk(my_id=3, zxid=-1)
    assert talk.hear(1, LOOKING, 3, 5, 4) == []
    assert talk.hear(2, LOOKING, 3, 5, 4) == []
    assert talk.core.round == 1
    assert talk.wait() == [says((1, 2), LOOKING, 3, -1, 1)]
    talk.hear(1, FOLLOWING, 2, 5, 7)
    assert talk.hear(2, LEADING, 2, 5, 7) == [elected(2, 5, 7, FOLLOWING, {1, 2})]


def test_votes_of_untrusted_empty_servers_are_ignored():
    talk = Talk(my_id=1, zxid=-5)
    assert talk.hear(3, LOOKING, 3, -1, 6) == []
    assert talk.core.round == 1


def test_a_server_of_weight_zero_is_not_voted_for():
    config = members((1, 2, 3), more="group.1=1:2:3 weight.3=0")
    talk = Talk(my_id=1, config=config)
    assert talk.hear(3, LOOKING, 3, 99, 1) == []
    assert talk.hear(3, LOOKING, 3, 99, 2) == [says((2, 3), LOOKING, 1, 5, 2)]
    assert talk.hear(2, LOOKING, 2, 5, 2) == [says((2, 3), LOOKING, 2, 5, 2)]


@pytest.mark.parametrize("state", [LOOKING, OBSERVING])
def test_two_servers_do_not_answer_each_others_answers_for_ever(state):
    """A voter that looks and an observer of a later round, which in Java do; whatever else is new is answered."""
    voter, observer = Talk(1, config=members((1, 2), (3,))), Talk(3, config=members((1, 2), (3,)))
    for _ in range(5):
        observer.look(5)
    observer.core.state = state
    said = 0
    for _ in range(100):
        answers = voter.hear(3, *observer.core._message(observer.core._proposal)[:5])
        said += len(answers)
        for answer in answers:
            said += len(observer.hear(1, *answer.message[:5]))
        voter.now += 10
        observer.now += 10
    assert 8 < said < 30, "a repeated message is answered again"
    assert voter.hear(3, LOOKING, 3, 5, 7), "another one at once"
    assert voter.hear(3, LOOKING, 3, 5, 8)


def test_who_was_answered_is_not_remembered_for_ever():
    voter = Talk(1)
    for stranger in range(1000):
        assert voter.hear(stranger + 10, LOOKING, 3, 5, 7)
        voter.now += 10
    assert len(voter.core._answers) < 100


def test_a_lone_voter_elects_itself():
    talk = Talk(config=members((1,)))
    assert talk.timer == talk.now + 200
    assert talk.wait() == [elected(1, 5, 1, LEADING, {1})]


def test_both_memberships_must_have_a_quorum():
    talk = Talk(my_id=1, config=members((1, 2, 3)), proposed=members((1, 4, 5), version=7))
    assert talk.said == [says((2, 3, 4, 5), LOOKING, 1, 5, 1)]
    talk.hear(2, LOOKING, 1, 5, 1)
    assert talk.wait() == [says((2, 3, 4, 5), LOOKING, 1, 5, 1)]
    talk.hear(5, LOOKING, 1, 5, 1)
    assert talk.wait() == [elected(1, 5, 1, LEADING, {1, 2, 5})]


def test_an_old_proposed_membership_needs_no_quorum():
    talk = Talk(my_id=1, config=members((1, 2, 3), version=7), proposed=members((1, 4, 5), version=7))
    talk.hear(2, LOOKING, 1, 5, 1)
    assert talk.wait() == [elected(1, 5, 1, LEADING, {1, 2})]


NEWER = members((1, 2, 3, 4), version=8)


def test_a_newer_membership_is_adopted_and_starts_again():
    talk = Talk(reconfig_enabled=True, proposed=members((1, 9), version=8))
    said = talk.hear(2, LOOKING, 1, 4, 1, config=NEWER)
    assert said[0] == AdoptConfig(NEWER)
    assert said[1] == says((2, 3, 4), LOOKING, 1, 5, 2)
    assert said[1].message.config is NEWER
    assert said[2:] == [says((2,), LOOKING, 1, 5, 2)], "and the message counts under the new membership"
    assert talk.core.proposed is None
    assert list(talk.core.voters) == [1, 2, 3, 4]


def test_a_newer_proposed_membership_stays():
    talk = Talk(reconfig_enabled=True, proposed=members((1, 9), version=9))
    talk.hear(2, LOOKING, 1, 4, 1, config=NEWER)
    assert talk.core.proposed.version == 9


def test_a_newer_version_of_the_same_members_starts_nothing_again():
    talk = Talk(reconfig_enabled=True)
    newer = members(version=8)
    assert talk.hear(2, LOOKING, 1, 4, 1, config=newer) == [AdoptConfig(newer)]
    assert talk.core.round == 1
    assert talk.core.verifier.version == 8


def test_a_newer_membership_is_left_alone_where_it_must_not_matter():
    talk = Talk()
    assert talk.hear(2, LOOKING, 1, 4, 1, config=NEWER) == [], "reconfiguration is off"
    same = Talk(reconfig_enabled=True, config=members(version=8))
    assert same.hear(2, LOOKING, 1, 4, 1, config=NEWER) == [], "not newer"
    settled = Talk(reconfig_enabled=True)
    settle(settled)
    assert settled.hear(2, FOLLOWING, 3, 4, 1, config=NEWER) == []
    assert settled.core.verifier.version == 0


def test_a_stranger_may_bring_a_newer_membership():
    talk = Talk(reconfig_enabled=True)
    said = talk.hear(4, LOOKING, 4, 4, 1, config=NEWER)
    assert said == [AdoptConfig(NEWER), says((2, 3, 4), LOOKING, 1, 5, 2), says((4,), LOOKING, 1, 5, 2)]


def test_a_settled_server_takes_memberships_from_the_broadcast():
    talk = Talk()
    settle(talk)
    new = make_verifier(members((3, 4), (1,), version=9))
    talk.core.set_configs(new, None)
    assert talk.core.is_observer
    assert talk.look(5, 1) == [says((3, 4), LOOKING, NOBODY, NOBODY, 8, NOBODY)]


def test_a_designated_leader_needs_no_votes():
    talk = Talk()
    settle(talk)
    assert talk.core.designate(3, 77) is FOLLOWING
    assert talk.core.current_vote == Vote(3, 5, 7, 1), "the leader stays"
    assert talk.core.designate(2, 77) is FOLLOWING
    assert talk.core.current_vote == Vote(2, 77, -1, -1)
    assert talk.core.designate(1, 77) is LEADING
    assert talk.core.state is LEADING


def test_rounds_wrap_around_like_longs():
    talk = Talk(my_id=2)
    talk.hear(1, LOOKING, 1, 4, (1 << 63) - 1)
    assert talk.look(5) == [says((1, 3), LOOKING, 2, 5, -(1 << 63))]


class Oracle:
    text = "0"

    def __call__(self):
        return self.text


def test_one_of_two_leads_when_the_oracle_says_so():
    oracle = Oracle()
    talk = Talk(config=members((1, 2)), oracle=oracle)
    assert talk.wait() == [says((2,), LOOKING, 1, 5, 1)]
    oracle.text = "1"
    assert talk.wait() == [says((2,), LOOKING, 1, 5, 1)]
    assert talk.wait() == [elected(1, 5, 1, LEADING, {1})]


def test_the_other_one_follows_the_leader_that_the_oracle_chose():
    talk = Talk(my_id=2, config=members((1, 2)), oracle=Oracle())
    assert talk.hear(1, FOLLOWING, 1, 5, 7) == []
    assert talk.hear(1, LEADING, 1, 5, 7) == [elected(1, 5, 7, FOLLOWING, {1})]


def test_the_oracle_chooses_nobody_without_a_vote():
    oracle = Oracle()
    oracle.text = "1"
    for talk in (
        Talk(my_id=2, zxid=-1, config=members((1, 2)), oracle=oracle),
        Talk(my_id=3, config=members((1, 2), (3,)), oracle=oracle),
        Talk(my_id=9, config=members((1, 2)), oracle=oracle),
    ):
        assert talk.wait() == talk.said


def test_who_leads_by_the_oracle_must_say_so_itself():
    talk = Talk(my_id=2, config=members((1, 2)), oracle=Oracle())
    assert talk.hear(1, LEADING, 2, 5, 7) == []


def test_a_leader_that_is_there_is_followed_even_by_whom_the_oracle_chose():
    oracle = Oracle()
    oracle.text = "1"
    talk = Talk(my_id=2, config=members((1, 2)), oracle=oracle)
    assert talk.hear(1, LEADING, 1, 5, 7) == [elected(1, 5, 7, FOLLOWING, {1})]


def test_three_voters_ask_no_oracle():
    talk = Talk(my_id=2, config=members((1, 2, 3)), oracle=Oracle())
    assert talk.hear(1, LEADING, 1, 5, 7) == []
