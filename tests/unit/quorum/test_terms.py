"""Whole servers as members, in virtual time: terms that begin, last, and end."""

import random

import pytest

from zabra.config.dynamic import make_config
from zabra.config.model import ServerLine, Settings
from zabra.sim.host import Host
from zabra.sim.loop import new_loop
from zabra.sim.network import Network
from zabra.sim.trace import Trace

TICK_MS = 500


class Ensemble:
    """Servers 1 to ``count``, the last ``observers`` of them without a vote, on a quiet network."""

    def __init__(self, count, observers=0, **settings):
        self.loop = new_loop(Trace())
        self.network = Network(self.loop, random.Random(1), chop=0.0)
        lines = {
            sid: ServerLine(sid, ((f"10.0.0.{sid}", 2888, 3888),), sid > count - observers)
            for sid in range(1, count + 1)
        }
        config = make_config(lines)
        shared = {"prealloc_kb": 64, "tick_time_ms": TICK_MS, "init_limit": 10, "sync_limit": 4, **settings}
        self.hosts = {
            sid: Host(
                f"10.0.0.{sid}",
                self.loop,
                self.network,
                f"host {sid}",
                Settings(data_dir="/data", client_port=2181, server_id=sid, ensemble=config, **shared),
            )
            for sid in lines
        }

    def run(self, seconds):
        self.loop.run_until(self.loop.time() + seconds)
        assert not self.loop.errors, self.loop.errors[0]

    def modes(self):
        return {sid: host.server.member.mode for sid, host in self.hosts.items() if host.running}


@pytest.fixture
def ensemble():
    made = []

    def make(count, **more):
        made.append(Ensemble(count, **more))
        return made[-1]

    yield make
    for one in made:
        for host in one.hosts.values():
            host.kill(power=True)
        one.loop.world.die()


def test_a_term_lasts_as_long_as_its_servers(ensemble):
    """Also one of which every learner came before it was established: pings go out all the same."""
    both = ensemble(2)
    for host in both.hosts.values():
        host.boot()
    both.run(3)
    assert both.modes() == {1: "follower", 2: "leader"}
    epoch = both.hosts[2].server.tree.last_zxid >> 32
    both.run(60)
    assert both.modes() == {1: "follower", 2: "leader"}
    assert both.hosts[2].server.tree.last_zxid >> 32 == epoch


def test_a_leader_without_followers_steps_down(ensemble):
    both = ensemble(2)
    for host in both.hosts.values():
        host.boot()
    both.run(3)
    both.hosts[1].kill(power=True)
    both.run(4)
    assert both.modes() == {2: "looking"}
    assert not both.hosts[2].serving


def test_a_server_that_comes_late_finds_the_leader(ensemble):
    three = ensemble(3)
    three.hosts[1].boot()
    three.hosts[2].boot()
    three.run(3)
    assert three.modes() == {1: "follower", 2: "leader"}
    three.hosts[3].boot()
    three.run(3)
    assert three.modes() == {1: "follower", 2: "leader", 3: "follower"}
    assert all(host.serving for host in three.hosts.values())


def test_the_others_elect_anew_when_the_leader_dies(ensemble):
    three = ensemble(3)
    for host in three.hosts.values():
        host.boot()
    three.run(3)
    leader = next(sid for sid, mode in three.modes().items() if mode == "leader")
    three.hosts[leader].kill(power=False)
    three.run(3)
    assert sorted(three.modes().values()) == ["follower", "leader"]
    three.hosts[leader].boot()
    three.run(3)
    assert three.modes()[leader] == "follower"


def test_operators_are_told_how_a_member_stands(ensemble):
    three = ensemble(3, observers=1)
    for host in three.hosts.values():
        host.boot()
    three.run(3)
    follower, leader, observer = (three.hosts[sid].server.status.member for sid in (1, 2, 3))
    assert (follower.peer_state, follower.leader, follower.observer_master) == ("following - broadcast", None, None)
    assert (observer.peer_state, observer.leader, observer.observer_master) == ("observing - broadcast", None, 2)
    assert (leader.peer_state, leader.observer_master) == ("leading - broadcast", None)
    assert (*leader.leader[:4], leader.synced_observers) == (2, 1, 0, 0, 1)
    assert 0 < leader.leader.uptime_ms < 3000
    for sid, member in enumerate((follower, leader, observer), 1):
        assert member.own is member.config.members[sid]
        gauges = three.hosts[sid].server.stats.metrics.dump()
        assert gauges["quorum_size"] == 2
        assert ("learners" in gauges) == (sid == 2)


def test_who_was_removed_counts_as_a_participant_where_it_was(ensemble):
    three = ensemble(3, observers=1, reconfig_enabled=True)
    for host in three.hosts.values():
        host.boot()
    three.run(3)
    status, membership = three.hosts[3].server.status, three.hosts[3].server.member.context.membership
    assert status.member.own.observer
    assert membership.commit(make_config({1: status.member.config.members[1]}, 9 << 32))
    assert status.member.own == ServerLine(3, (("10.0.0.3", 2888, 3888),))


def looked(host):
    """How often a server has looked for a leader."""
    return host.server.stats.metrics.looking_count.value


def four_without_their_leader(ensemble, **delays):
    """A leader dies; its observer draws the longest delays there are."""
    four = ensemble(4, observers=1, **delays)
    for host in four.hosts.values():
        host.boot()
    four.run(11)
    observer = four.hosts[4]
    assert (observer.serving, four.modes()[3], looked(observer)) == (True, "leader", 1)
    observer.server.member.context.runtime.random.randrange = lambda stop: stop - 1
    four.hosts[3].kill(power=True)
    return four, observer


def test_an_observer_waits_before_it_looks_for_another_leader(ensemble):
    four, observer = four_without_their_leader(ensemble, observer_election_delay_ms=10_000)
    four.run(9)
    assert (observer.serving, looked(observer)) == (False, 1)
    four.run(3)
    assert (observer.serving, looked(observer)) == (True, 2)


def test_an_observer_waits_before_it_connects_to_a_leader(ensemble):
    four, observer = four_without_their_leader(ensemble, observer_reconnect_delay_ms=10_000)
    four.run(9)
    assert (observer.serving, looked(observer)) == (False, 2)
    # The leader it heard of at first was the dead one.
    four.run(15)
    assert observer.serving


def test_an_observer_that_waits_can_be_stopped(ensemble):
    three = ensemble(3, observers=1, observer_election_delay_ms=3_600_000)
    for host in three.hosts.values():
        host.boot()
    three.run(3)
    observer = three.hosts[3].server
    three.hosts[2].kill(power=True)
    three.run(3)
    stopping = three.loop.create_task(observer.stop())
    three.run(1)
    assert stopping.done()
