"""Quorums: majorities, groups and weights, the oracle, two memberships at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.config.dynamic import parse_config
from zabra.zab.quorums import AckTracker, Hierarchical, Majority, OracleMajority, make_verifier


def members(voters, observers=(), more="", version=0):
    lines = [f"server.{sid}=h{sid}:1:2:participant" for sid in voters]
    lines += [f"server.{sid}=h{sid}:1:2:observer" for sid in observers]
    return parse_config("\n".join((*lines, *more.split(), f"version={version:x}")))


@pytest.mark.parametrize(("count", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_a_majority_is_more_than_half_of_the_voters(count, needed):
    verifier = make_verifier(members(range(1, count + 1)))
    assert isinstance(verifier, Majority)
    assert verifier.contains_quorum(set(range(1, needed + 1)))
    assert not verifier.contains_quorum(set(range(1, needed)))


def test_observers_and_strangers_do_not_count():
    verifier = make_verifier(members([1, 2, 3], [4, 5]))
    assert not verifier.contains_quorum({1, 4, 5, 99})
    assert verifier.contains_quorum({1, 4, 2})
    assert verifier.weight(4) == 1


GROUPS = "group.1=1:2:3 group.2=4:5:6 group.3=7:8:9"


@pytest.mark.parametrize(
    ("acks", "decides"),
    [
        ({1, 2, 4, 5}, True),
        ({1, 2, 4, 7}, False),
        ({1, 2, 3, 4, 7}, False),
        ({1, 2, 3}, False),
        ({2, 3, 8, 9}, True),
        (set(), False),
    ],
)
def test_groups_need_a_majority_of_majorities(acks, decides):
    verifier = make_verifier(members(range(1, 10), more=GROUPS))
    assert isinstance(verifier, Hierarchical)
    assert verifier.contains_quorum(acks) is decides


def test_weights_decide_inside_a_group():
    verifier = make_verifier(members([1, 2, 3], more="group.1=1:2:3 weight.1=3"))
    assert verifier.contains_quorum({1})
    assert not verifier.contains_quorum({2, 3})
    assert [verifier.weight(sid) for sid in (1, 2, 9)] == [3, 1, 0]


def test_half_of_the_weight_rounded_down_must_be_passed():
    verifier = make_verifier(members([1, 2], more="group.1=1:2 weight.1=2 weight.2=3"))
    assert verifier.contains_quorum({2})
    assert not verifier.contains_quorum({1})


def test_groups_without_weight_are_ignored():
    zero = "weight.7=0 weight.8=0 weight.9=0"
    verifier = make_verifier(members(range(1, 10), more=f"{GROUPS} {zero}"))
    assert not verifier.contains_quorum({1, 2, 7, 8, 9})
    assert verifier.contains_quorum({1, 2, 4, 5})
    one_group = make_verifier(members(range(1, 10), more=f"{GROUPS} {zero} weight.4=0 weight.5=0 weight.6=0"))
    assert one_group.contains_quorum({1, 2})


def test_an_observer_in_a_group_weighs_but_never_votes():
    verifier = make_verifier(members([1, 2], [3], more="group.1=1:2:3 weight.3=2"))
    assert not verifier.contains_quorum({1, 3})
    assert not verifier.contains_quorum({1, 2})
    assert make_verifier(members([1, 2], [3], more="group.1=1:2:3 weight.3=1")).contains_quorum({1, 2})


class Oracle:
    def __init__(self, text):
        self.text = text

    def __call__(self):
        if self.text is None:
            raise FileNotFoundError("oracle")
        return self.text


@pytest.mark.parametrize(("text", "grants"), [("1", True), ("1\n", True), ("0", False), ("", False), (None, False)])
def test_one_of_two_decides_when_the_oracle_says_so(text, grants):
    verifier = make_verifier(members([1, 2]), Oracle(text))
    assert verifier.ask_oracle() is grants
    assert verifier.contains_quorum({1}) is grants
    assert verifier.contains_quorum({1, 2})
    assert not verifier.contains_quorum(set())
    assert not verifier.contains_quorum({3})


def test_the_oracle_is_not_asked_while_a_leader_has_followers():
    verifier = make_verifier(members([1, 2]), Oracle("1"))
    assert not verifier.update_need_oracle(followers=True)
    assert not verifier.contains_quorum({1})
    assert verifier.update_need_oracle(followers=False)
    assert verifier.contains_quorum({1})


def test_three_voters_need_no_oracle():
    verifier = make_verifier(members([1, 2, 3], more="group.1=1:2:3"), Oracle("1"))
    assert type(verifier) is OracleMajority
    assert not verifier.need_oracle
    assert not verifier.contains_quorum({1})


def test_others_have_no_oracle():
    verifier = make_verifier(members([1, 2]))
    assert [verifier.need_oracle, verifier.ask_oracle(), verifier.update_need_oracle(followers=False)] == [False] * 3


def test_equality_is_that_of_stock():
    one = make_verifier(members([1, 2], version=1))
    assert one == make_verifier(members([1, 2, 3], version=1)), "one version is one membership"
    assert one == make_verifier(members([1, 2], version=2))
    assert one != make_verifier(members([1, 2, 3], version=2))
    assert one != make_verifier(members([1, 2], more="group.1=1:2", version=1))
    assert one != make_verifier(members([1, 2], version=1), Oracle("1"))
    grouped = make_verifier(members([1, 2], more="group.1=1:2", version=1))
    assert grouped != make_verifier(members([1, 2], more="group.1=1:2 weight.1=2", version=2))
    assert grouped != make_verifier(members([1, 2], more="group.1=1 group.2=2", version=2))


def test_two_memberships_must_both_agree():
    old, new = make_verifier(members([1, 2, 3])), make_verifier(members([3, 4, 5], version=1))
    tracker = AckTracker(old, new)
    assert [tracker.add_ack(sid) for sid in (3, 4, 9)] == [True, True, False]
    assert not tracker.has_all_quorums()
    tracker.add_ack(1)
    assert tracker.has_all_quorums()
    assert tracker.acks() == {1, 3, 4}
    assert [tracker.has_sid(sid) for sid in (3, 1, 5)] == [True, False, False]


@st.composite
def hierarchies(draw):
    groups = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    weights = [draw(st.integers(0, 3)) for _ in range(sum(groups))]
    sids = iter(range(1, sum(groups) + 1))
    lines = [f"group.{n}={':'.join(str(next(sids)) for _ in range(size))}" for n, size in enumerate(groups, 1)]
    lines += [f"weight.{sid}={weight}" for sid, weight in enumerate(weights, 1)]
    return make_verifier(members(range(1, len(weights) + 1), more=" ".join(lines)))


@given(hierarchies(), st.data())
def test_two_quorums_always_meet_and_more_acks_never_hurt(verifier, data):
    voters = st.sets(st.sampled_from(sorted(verifier.voters)))
    one, other = data.draw(voters), data.draw(voters)
    if verifier.contains_quorum(one):
        assert verifier.contains_quorum(one | other)
        if verifier.contains_quorum(other):
            assert one & other


@given(
    st.one_of(hierarchies(), st.integers(1, 7).map(lambda count: make_verifier(members(range(1, count + 1))))),
    st.dictionaries(st.integers(1, 16), st.integers(0, 5)),
)
def test_a_zxid_is_agreed_when_those_who_have_it_are_a_quorum(verifier, acked):
    def decides(zxid):
        return verifier.contains_quorum({sid for sid, newest in acked.items() if newest >= zxid})

    assert verifier.agreed(acked) == max((zxid for zxid in acked.values() if decides(zxid)), default=-1)


@pytest.mark.parametrize(
    ("text", "followers", "acked", "agreed"),
    [
        ("1", False, {1: 5}, 5),
        ("1", False, {}, -1),
        ("1", False, {1: 5, 9: 7}, 5),
        ("0", False, {1: 5}, -1),
        ("1", True, {1: 5, 2: 3}, 3),
        ("1", True, {1: 5}, -1),
    ],
)
def test_what_one_voter_has_is_agreed_when_the_oracle_says_so(text, followers, acked, agreed):
    verifier = make_verifier(members([1, 2]), lambda: text)
    verifier.update_need_oracle(followers=followers)
    assert verifier.agreed(acked) == agreed
