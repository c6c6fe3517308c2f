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
    """Servers 1 to ``count`` on a quiet network."""

    def __init__(self, count, **settings):
        self.loop = new_loop(Trace())
        self.network = Network(self.loop, random.Random(1), chop=0.0)
        lines = {sid: ServerLine(sid, ((f"10.0.0.{sid}", 2888, 3888),)) for sid in range(1, count + 1)}
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

    def make(count, **settings):
        made.append(Ensemble(count, **settings))
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
