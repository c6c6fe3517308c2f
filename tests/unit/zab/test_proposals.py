"""Which proposals may be committed, by the acks of one or two memberships."""

import pytest
from zab_kit import entry, majority, z

from zabra.zab.proposals import Proposals

OLD = (majority(1, 2, 3),)
BOTH = (majority(1, 2, 3), majority(3, 4, 5))


def proposals(count=4, verifiers=OLD):
    core = Proposals()
    core.add([entry(1, n) for n in range(1, count + 1)], verifiers)
    return core


def taken(core, upto=None):
    return [one.zxid - z(1, 0) for one in core.take(upto)]


def test_a_majority_commits_and_one_server_does_not():
    core = proposals()
    core.ack(1, z(1, 3))
    assert taken(core) == []
    core.ack(2, z(1, 2))
    assert taken(core) == [1, 2]
    assert taken(core) == []


def test_strangers_do_not_count():
    core = proposals()
    core.ack(1, z(1, 4))
    core.ack(9, z(1, 4))
    assert taken(core) == []


def test_an_older_ack_takes_nothing_back():
    core = proposals()
    core.ack(1, z(1, 4))
    core.ack(1, z(1, 1))
    core.ack(2, z(1, 4))
    assert taken(core) == [1, 2, 3, 4]


def test_every_membership_must_agree_from_the_proposal_that_asks_for_it():
    core = proposals(2)
    core.add([entry(1, 3), entry(1, 4)], BOTH)
    core.ack(1, z(1, 4))
    core.ack(2, z(1, 4))
    assert taken(core) == [1, 2]
    core.ack(4, z(1, 3))
    assert taken(core) == []
    core.ack(5, z(1, 3))
    assert taken(core) == [3]


def test_what_follows_does_not_overtake_a_proposal_that_needs_more():
    core = proposals(1, BOTH)
    core.add([entry(1, 2)], OLD)
    core.ack(1, z(1, 2))
    core.ack(2, z(1, 2))
    assert taken(core) == []
    core.ack(3, z(1, 1))
    core.ack(4, z(1, 1))
    assert taken(core) == [1, 2]


def test_no_more_is_taken_than_asked_for():
    core = proposals()
    core.ack(1, z(1, 4))
    core.ack(2, z(1, 4))
    assert taken(core, z(1, 2)) == [1, 2]
    assert taken(core) == [3, 4]


def test_who_has_a_proposal_is_known():
    core = proposals()
    core.ack(1, z(1, 4))
    core.ack(2, z(1, 2))
    assert core.holders(z(1, 3)) == {1}
    assert core.holders(z(1, 2)) == {1, 2}


def test_a_gap_between_proposals_is_a_bug_of_ours():
    core = proposals(1)
    with pytest.raises(AssertionError, match="gap"):
        core.add([entry(1, 3)], OLD)
