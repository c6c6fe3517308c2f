"""Whom an observer learns from next."""

import pytest
from ensemble_rig import membership

from zabra.config.dynamic import parse_config
from zabra.quorum.masters import Master, Masters
from zabra.quorum.membership import Membership


class Draws:
    """Always the same place."""

    def __init__(self, place):
        self.place = place

    def random(self):
        return 0.0

    def randrange(self, stop):
        return min(self.place, stop - 1)


def masters(config, port=2191, place=0):
    return Masters(Membership(4, config, None, reconfig_enabled=True), port, Draws(place))


@pytest.fixture
def three():
    return masters(membership([1, 2, 3], [4]))


def test_the_followers_in_turn(three):
    assert not three.is_round_over(3)
    assert [three.next(3).sid for _ in range(5)] == [1, 2, 1, 2, 1]


def test_chance_decides_on_the_order():
    drawn = masters(membership([1, 2, 3], [4]), place=9)
    assert [drawn.next(9).sid for _ in range(4)] == [3, 2, 1, 3]


def test_after_a_round_there_is_a_pause(three):
    pauses = []
    for _ in range(6):
        pauses.append(three.is_round_over(3))
        three.next(3)
    assert pauses == [False, False, True, False, True, False]


def test_the_leader_may_change_within_a_round(three):
    assert three.next(1).sid == 2
    assert three.next(2).sid == 3
    assert three.is_round_over(2), "the former leader was left out of it"


def test_a_new_membership_begins_a_new_round(three):
    three.next(3)
    three._membership.commit(membership([1, 3, 4, 5], [], version=9))
    assert not three.is_round_over(3)
    assert [three.next(3).sid for _ in range(3)] == [1, 4, 5]


def test_they_listen_at_every_quorum_address():
    config = parse_config("server.1=a:1:2|b:3:4\nserver.2=c:5:6\nserver.4=d:1:2:observer", multi_address=True)
    assert masters(config).next(2) == Master(1, (("a", 2191), ("b", 2191)))


@pytest.mark.parametrize("port", [0, -1])
def test_without_the_port_it_is_the_leader_after_a_pause(port):
    plain = masters(membership([1, 2, 3], [4]), port)
    for _ in range(2):
        assert plain.is_round_over(3)
        assert plain.next(3) is None


def test_a_leader_that_is_the_only_voter_is_learned_from():
    alone = masters(membership([1], [4]))
    assert alone.is_round_over(1)
    assert alone.next(1) is None
