"""Bugs of elections, epochs and memberships that others shipped, played with whole simulated ensembles."""

import dataclasses

import pytest
from ensembleworld import PATIENCE, World, create, get, put

from zabra.config.dynamic import EnsembleConfig, format_server_line
from zabra.sim.calls import Call
from zabra.sim.cluster import line_of, membership
from zabra.sim.disk import ProcessDisk
from zabra.sim.loop import Process
from zabra.sim.noise import make_noise
from zabra.sim.workload import digest_identity
from zabra.wire.records_proto import ReconfigRequest

SUPER = b"super:duper"


@pytest.fixture
def world():
    worlds = []

    def make(*args, boot=True, **settings):
        worlds.append(World(*args, **settings))
        if boot:
            worlds[-1].boot()
        return worlds[-1]

    yield make
    for made in worlds:
        made.close()


def change(members, *, joining=(), leaving=()):
    """A reconfig; ``joining`` are (id, observer)."""
    after = {sid: line for sid, line in members.items() if sid not in leaving}
    after |= {sid: line_of(sid, observer=observer) for sid, observer in joining}
    lines = ",".join(f"server.{sid}={format_server_line(after[sid])}" for sid, _ in joining)
    raw = ReconfigRequest(lines or None, ",".join(map(str, leaving)) or None, None, -1).encode()
    return Call(16, b"/zookeeper/config", raw=raw, config=EnsembleConfig(after))


def operator(world, *sids):
    return world.client(*sids, timeout_ms=10_000, auth=(SUPER, digest_identity(SUPER)))


RECONFIG = {"reconfig_enabled": True, "super_digest": digest_identity(SUPER)[1]}


# Rows 31, 33, 34: elections.


def test_who_comes_late_follows_whoever_leads_whatever_its_own_round_and_epoch(world):
    world = world(voters=5)
    late = world.machines[5]
    assert world.leader is late
    world.kill(late.sid)
    world.until(lambda: world.leader is not None)
    for _ in range(3):
        leader = world.leader
        world.isolate(leader.sid)
        world.until(lambda leader=leader: world.leader is not None and world.leader is not leader)
        world.heal()
        world.until(lambda: all(machine.serving for machine in world.machines.values() if machine.running))
    client = world.client()
    assert world.ask(client, create(b"/a")) == [0]
    leader = world.leader
    began = world.loop.now
    world.boot(late.sid)
    assert world.leader is leader
    assert world.loop.now - began < 2
    world.run(0.5)
    world.all_equal()


def test_whoever_has_most_leads_not_the_largest_id(world):
    world = world()
    client = world.client(1)
    world.isolate(3)
    world.until(lambda: world.leader is not None and world.leader.sid != 3)
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/a")) == [0]
    world.kill(*world.machines)
    world.heal()
    world.boot()
    assert world.leader.sid == 2
    world.run(0.5)
    world.all_equal()


# Row 36: a server that lost its files.


def test_a_wiped_server_does_not_help_to_forget(world):
    """One of the two that have a write is wiped, the third lacks it: together they are no quorum."""
    world = world(db_autocreate=False, boot=False)
    for machine in world.machines.values():
        machine.disk.folders["/data"] = None
        ProcessDisk(machine.disk, Process("test")).write_atomic("/data/initialize", b"")
    world.boot()
    lacking, wiped = world.followers()
    keeper = world.leader
    client = world.client(keeper.sid)
    world.kill(lacking.sid)
    assert world.ask(client, create(b"/a")) == [0]
    world.kill(keeper.sid, wiped.sid)
    wiped.wipe()
    wiped.disk.folders["/data"] = None
    lacking.boot()
    wiped.boot()
    world.run(60)
    assert world.leader is None
    assert not lacking.serving
    keeper.boot()
    world.until(lambda: all(machine.serving for machine in world.machines.values()))
    world.run(1)
    world.all_equal()
    assert b"/a" in world.oracle.model.nodes


# Row 37: the end of the numbers of an epoch.


def test_when_the_numbers_of_an_epoch_are_used_up_a_new_one_begins(world):
    world = world(initial_counter=0xFFFFFFFF - 8)
    client = world.client(timeout_ms=10_000)
    done = 0
    for number in range(30):
        world.until(lambda: client.up)
        done += world.ask(client, create(b"/%d" % number)) == [0]
    assert done > 10
    assert world.oracle.epoch > 2
    assert world.said("rolled over") >= 2
    world.until(lambda: all(machine.serving for machine in world.machines.values()))
    world.run(0.5)
    world.all_equal()


# Rows 39, 40: garbage and names.


def test_noise_on_the_ports_of_servers_disturbs_nobody(world):
    world = world()
    client = world.client()
    leader = world.leader
    for number in range(60):
        for port in (2888, 3888):
            make_noise(world.loop, world.network._rng, f"10.0.0.{number % 3 + 1}", port)
        assert world.ask(client, put(b"/", b"%d" % number)) == [0]
        world.run(0.5)
    assert world.leader is leader
    assert all(machine.boots == 1 for machine in world.machines.values())
    world.all_equal()


@pytest.mark.parametrize("trouble", ["unknown", "black hole", "refused"])
def test_a_member_that_cannot_be_reached_by_its_name_keeps_nobody_else_out(world, trouble):
    world = world(boot=False, cnx_timeout_ms=5000)
    lost = world.machines[3]
    if trouble == "unknown":
        world.network.names[lost.name] = None
    elif trouble == "black hole":
        world.isolate(3)
    world.boot(1, 2)
    assert world.leader.sid == 2
    assert world.loop.now < 4
    assert world.ask(world.client(1, 2), create(b"/a")) == [0]


def test_a_server_with_a_new_address_is_found_by_its_name(world):
    world = world()
    moved = world.machines[3]
    world.kill(moved.sid)
    moved.move("10.0.9.9")
    world.network.names[moved.name] = "10.0.9.9"
    world.boot(moved.sid)
    client = world.client(3)
    assert world.ask(client, create(b"/a")) == [0]
    world.run(0.5)
    world.all_equal()
    world.kill(1)
    world.until(lambda: world.leader is not None)
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/b")) == [0]


# Row 41: a membership that is changed file by file.


def test_a_membership_that_grows_by_a_rolling_restart_ends_with_a_leader_that_commits(world):
    """Half way through the new ones wait: they are no quorum of five, and the old ones need none of them."""
    world = world()
    client = world.client(1, 2, timeout_ms=20_000)
    bigger = membership(5)
    world.oracle.verifier = type(world.oracle.verifier)(bigger)
    for sid in (1, 2, 3, 4, 5):
        if sid in world.machines:
            world.kill(sid)
            world.machines[sid].configure(bigger)
        else:
            world.watch(world.cluster.add(sid, bigger))
        world.machines[sid].boot()
        world.run(PATIENCE)
    world.boot()
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/a")) == [0]
    world.run(0.5)
    world.all_equal()


# Row 42: reconfiguration.


def test_a_new_membership_is_committed_by_the_quorums_of_both(world):
    world = world(**RECONFIG)
    client = operator(world)
    for sid in (4, 5):
        machine = world.cluster.add(sid, EnsembleConfig({**world.config.members, sid: line_of(sid, observer=True)}))
        world.watch(machine)
        world.boot(sid)
    grow = change(world.config.members, joining=[(4, False), (5, False)])
    assert world.ask(client, grow) == [0]
    world.until(lambda: client.up)
    world.kill(4, 5)
    assert world.ask(client, create(b"/a")) == [0]
    world.kill(*[machine.sid for machine in world.followers()][:1])
    world.run(3 * PATIENCE)
    assert world.leader is None
    world.boot(4)
    world.until(lambda: world.leader is not None)
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/b")) == [0]


def test_a_change_whose_new_quorum_dies_is_not_committed_and_does_not_stop_the_ensemble_for_ever(world):
    """The old members alone may not decide; once the new ones are back the change is either there or not."""
    world = world(**RECONFIG)
    leader = world.leader
    client = operator(world, leader.sid)
    for sid in (4, 5, 6, 7):
        machine = world.cluster.add(sid, EnsembleConfig({**world.config.members, sid: line_of(sid, observer=True)}))
        world.watch(machine)
        world.boot(sid)
    newcomers = [4, 5, 6, 7]
    world.block([leader.sid], newcomers)
    grow = change(world.config.members, joining=[(sid, False) for sid in newcomers])
    assert world.ask(client, grow, seconds=1.0) == [None]
    world.run(10 * PATIENCE)
    world.heal()
    world.until(lambda: world.leader is not None)
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/a")) == [0]
    world.until(lambda: all(machine.serving for machine in world.machines.values()))
    world.run(1)
    world.all_equal()


def test_a_change_that_one_server_commits_alone_is_answered_in_its_turn(world):
    """Its log is the quorum, and says at once that the change is on disk."""
    world = world(voters=1, observers=1, **RECONFIG)
    client = operator(world, 1)
    leave = change(world.config.members, leaving=[2])
    assert world.ask(client, create(b"/a"), leave, get(b"/a"), create(b"/b"), get(b"/b")) == [0] * 5
    join = change(world.oracle.verifier.config.members, joining=[(2, True)])
    assert world.ask(client, join, get(b"/a"), create(b"/c")) == [0] * 3
    world.until(lambda: world.machines[2].serving)
    world.run(0.5)
    world.all_equal()


def test_a_leader_that_is_removed_hands_over(world):
    world = world(voters=4, **RECONFIG)
    old = world.leader
    client = operator(world, *world.others(old.sid))
    assert world.ask(client, change(world.config.members, leaving=[old.sid])) == [0]
    world.until(lambda: world.leader is not None and world.leader is not old)
    world.kill(old.sid)
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/a")) == [0]
    assert len(world.oracle.verifier.voters) == 3


@pytest.mark.parametrize("how", ["demoted", "removed", "moved"])
def test_a_leader_elected_with_a_change_that_forbids_it_to_lead_hands_over(world, how):
    """It alone has the change in its log, and as it knows most it is elected again: so the change is committed."""
    world = world(voters=4, **RECONFIG)
    old = world.leader
    client = operator(world, old.sid)
    world.isolate(old.sid)
    after = {sid: line for sid, line in world.config.members.items() if sid != old.sid or how != "removed"}
    if how == "demoted":
        after[old.sid] = line_of(old.sid, observer=True)
    elif how == "moved":
        after[old.sid] = dataclasses.replace(after[old.sid], addresses=((old.name, 2889, 3888),))
    wanted = EnsembleConfig(after)
    raw = ReconfigRequest(None, None, ",".join(wanted.lines()), -1).encode()
    assert world.ask(client, Call(16, b"/zookeeper/config", raw=raw, config=wanted), seconds=0.1) == [None]
    world.kill(*world.machines)
    world.heal()
    for machine in world.machines.values():
        machine.boot()
    world.until(lambda: world.oracle.leaders.get(2) == old.sid)
    world.until(lambda: world.leader is not None and world.leader is not old)
    anybody = world.client(*world.others(old.sid))
    assert world.ask(anybody, create(b"/a")) == [0]
    assert old.sid not in world.oracle.verifier.voters or how == "moved"


@pytest.mark.parametrize("observer", [True, False])
def test_a_vote_is_given_and_taken_without_a_restart(world, observer):
    world = world(voters=3 + observer, observers=1, **RECONFIG)
    sid = 1 if observer else 4
    client = operator(world, 2)
    assert world.ask(client, change(world.config.members, joining=[(sid, observer)])) == [0]
    world.until(lambda: world.machines[sid].mode == ("observer" if observer else "follower"))
    world.until(lambda: world.machines[sid].serving)
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/a")) == [0]
    world.run(0.5)
    assert all(machine.boots == 1 for machine in world.machines.values())
    world.all_equal()


# Row 43: who has the smallest id.


def test_an_observer_with_the_smallest_id_joins(world):
    members = {sid: line_of(sid, observer=sid == 1) for sid in (1, 2, 3, 4)}
    world = world(config=EnsembleConfig(members))
    assert world.machines[1].mode == "observer"
    assert world.ask(world.client(1), create(b"/a")) == [0]
    world.kill(1)
    world.boot(1)
    world.run(0.5)
    world.all_equal()
