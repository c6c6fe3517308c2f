"""Bugs of synchronization that others shipped, played with whole simulated ensembles (docs/known-bugs.md)."""

import errno
import itertools

import pytest
from ensembleworld import World, create, get, put

from zabra.consts import Mode
from zabra.sim.calls import Call

CHANGING = ("pwrite", "sync", "sync_dir", "create", "rewrite", "rename", "unlink", "truncate")


@pytest.fixture
def world():
    worlds = []

    def make(*args, **settings):
        worlds.append(World(*args, **settings))
        worlds[-1].boot()
        return worlds[-1]

    yield make
    for made in worlds:
        made.close()


def strand(world, count=3):
    """The leader logs ``count`` writes that nobody else gets, and the others have another leader afterwards."""
    old = world.leader
    client = world.client(old.sid)
    assert world.ask(client, create(b"/before")) == [0]
    world.isolate(old.sid)
    assert world.ask(client, *(create(b"/lost%d" % number) for number in range(count)), seconds=1.0) == [None] * count
    world.until(lambda: world.leader is not None and world.leader is not old)
    world.until(lambda: old.mode == "looking")
    return old


def snapshots_of(machine):
    """The zxids of the snapshots that a power cut leaves on its disk."""
    return [int(name.rpartition(".")[2], 16) for name in machine.disk.durable_names if "/snapshot." in name]


def die_at_call(machine, number):
    """Its machine loses power at that call which changes the disk; whether it did so is in the list returned."""
    calls = itertools.count(1)
    died = []

    def plan(name, path, size):
        if name in CHANGING and next(calls) == number:
            died.append((name, path))
            machine.disk.plan = lambda name, path, size: None
            machine.kill(power=False)

    machine.disk.plan = plan
    return died


# Rows 1, 2, 3, 7, 11, 35: what is acknowledged is on disk, whenever the power fails.


@pytest.mark.parametrize("sync", ["DIFF", "SNAP"])
def test_a_follower_may_lose_power_at_any_moment_of_its_return(world, sync):
    world = world(force_snapshot_sync=sync == "SNAP")
    away = world.followers()[0]
    client = world.client(world.leader.sid)
    for number in range(1, 200):
        world.kill(away.sid)
        assert world.ask(client, put(b"/", b"%d" % number)) == [0]
        died = die_at_call(away, number)
        away.boot()
        world.until(lambda died=died: died or away.serving)
        if not died:
            break
        world.boot(away.sid)
        world.run(0.1)
        world.all_equal()
    assert number > 8
    assert world.said(f"by {sync}") > number


def test_everybody_loses_power_when_a_quorum_has_acknowledged_its_history(world):
    """The moment a leader is established, with each follower just returned: every write is on enough disks."""
    world = world()
    for number in range(4):
        client = world.client(world.leader.sid)
        away = world.followers()[0]
        world.kill(away.sid)
        assert world.ask(client, *(create(b"/%d-%d" % (number, one)) for one in range(3))) == [0] * 3
        world.kill(world.leader.sid)
        away.boot()
        world.until(lambda: world.leader is not None)
        for sid in world.machines:
            world.kill(sid, cut_power=True)
        client.stop()
        world.boot()
    world.oracle.catch_up()
    assert sum(path.count(b"-") for path in world.oracle.model.nodes) == 12


# Rows 13, 19, 20, 21, 26: histories that part.


@pytest.mark.parametrize("sync", ["TRUNC", "SNAP"])
def test_what_a_stranded_leader_logged_alone_is_cut_off_when_it_returns(world, sync):
    world = world()
    old = strand(world)
    syncs = world.said(f"by {sync}")
    writer = world.client(world.leader.sid) if sync == "SNAP" else None
    world.heal()
    world.until(lambda: old.serving)
    writer = writer or world.client(world.leader.sid)
    assert world.ask(writer, create(b"/after")) == [0]
    world.run(1)
    world.all_equal()
    assert world.said(f"by {sync}") == syncs + 1
    assert b"/after" in world.oracle.model.nodes
    assert b"/lost0" not in world.oracle.model.nodes


def test_a_log_that_was_cut_goes_on_and_is_whole_after_a_restart(world):
    world = world()
    old = strand(world)
    world.heal()
    world.until(lambda: old.serving)
    client = world.client(world.leader.sid)
    assert world.ask(client, *(create(b"/after%d" % number) for number in range(5))) == [0] * 5
    world.kill(*world.machines, cut_power=True)
    world.boot()
    world.all_equal()
    assert world.said("by TRUNC") == 1
    assert b"/after4" in world.oracle.model.nodes


def test_the_stranded_leader_may_win_and_then_its_writes_are_everybodys(world):
    """Nobody was told that they failed; the others have no newer epoch yet."""
    world = world()
    old = world.leader
    client = world.client(old.sid)
    world.block([old.sid], world.others(old.sid))
    assert world.ask(client, create(b"/a"), seconds=1.0) == [None]
    world.kill(*world.machines)
    world.heal()
    world.boot()
    assert world.leader is old
    world.oracle.catch_up()
    assert b"/a" in world.oracle.model.nodes
    world.all_equal()


# Rows 9, 10, 14: a sync that breaks off.


@pytest.mark.parametrize("number", range(1, 8))
def test_a_cut_that_the_power_interrupts_is_made_again(world, number):
    world = world()
    old = strand(world)
    died = die_at_call(old, number)
    world.heal()
    world.until(lambda: died or old.serving)
    world.boot(old.sid)
    client = world.client(world.leader.sid)
    assert world.ask(client, create(b"/after")) == [0]
    world.kill(old.sid, cut_power=True)
    world.boot(old.sid)
    world.all_equal()


def test_a_cut_whose_leader_dies_leaves_memory_and_log_alike(world):
    """The next sync must build on what is on disk, wherever the first one broke off."""
    world = world(voters=5)
    old = strand(world)
    cuts = []

    def cut_off(name, path, size):
        if name in ("truncate", "unlink") and not cuts:
            cuts.append(world.leader)
            world.isolate(old.sid)

    old.disk.plan = cut_off
    world.heal()
    world.until(lambda: cuts)
    (leader,) = cuts
    world.kill(leader.sid)
    world.until(lambda: world.leader is not None and world.leader is not leader)
    client = world.client(world.leader.sid)
    assert world.ask(client, create(b"/after")) == [0]
    world.heal()
    world.boot()
    world.run(1)
    world.all_equal()
    world.kill(old.sid, cut_power=True)
    world.boot(old.sid)
    world.all_equal()


def test_a_cut_on_a_full_disk_ends_the_server_rather_than_let_two_histories_live_on(world):
    world = world()
    old = strand(world)

    def full(name, path, size):
        if name in CHANGING:
            raise OSError(errno.ENOSPC, "no space left on device", path)

    old.disk.plan = full
    world.heal()
    world.until(lambda: not old.running)
    assert [sid for sid, _ in world.exits] == [old.sid]
    old.disk.plan = lambda name, path, size: None
    world.boot(old.sid)
    world.all_equal()
    assert b"/lost0" not in world.oracle.model.nodes


def test_a_snapshot_whose_leader_dies_before_it_is_saved_is_forgotten(world):
    """Only memory has it; a DIFF that builds on it would leave a hole on disk."""
    world = world(force_snapshot_sync=True)
    away = world.followers()[0]
    leader = world.leader
    client = world.client(leader.sid)
    world.kill(away.sid)
    assert world.ask(client, *(create(b"/%d" % number) for number in range(10))) == [0] * 10

    def cut_off(name, path, size):
        if name == "create" and "snapshot" in path:
            world.isolate(away.sid)
            away.disk.plan = lambda name, path, size: None
            away.process.check()
            raise OSError(errno.EIO, "input/output error", path)

    away.disk.plan = cut_off
    away.boot()
    world.until(lambda: world.exits == [(away.sid, 1)])
    world.heal()
    assert away.view.last_zxid() < world.at(leader.sid)
    world.boot(away.sid)
    assert world.ask(client, create(b"/after")) == [0]
    world.kill(away.sid, cut_power=True)
    world.boot(away.sid)
    world.run(0.5)
    world.all_equal()


def test_a_learner_whose_log_fails_while_it_is_synced_ends_and_comes_back(world):
    """It waits for its log to be on disk before it acknowledges; that wait must end too."""
    world = world(flush_delay_ms=10)
    away = world.followers()[0]
    client = world.client(world.leader.sid)
    world.kill(away.sid)
    assert world.ask(client, create(b"/a"), create(b"/b")) == [0, 0]

    def fail(name, path, size):
        if name == "pwrite" and "/log." in path:
            raise OSError(errno.EIO, "input/output error", path)

    away.disk.plan = fail
    away.boot()
    world.until(lambda: world.exits == [(away.sid, 1)])
    away.disk.plan = lambda name, path, size: None
    world.boot(away.sid)
    world.run(1)
    world.all_equal()


# Rows 8, 15, 16, 17, 22: what a leader has to give.


def test_a_follower_that_was_synced_leads_and_has_everything_to_give(world):
    """By DIFF, with commits on the way: they must be in its memory of committed entries too."""
    world = world(voters=5)
    leader = world.leader
    late, later = world.machines[4], world.machines[1]
    client = world.client(leader.sid)
    world.kill(late.sid, later.sid)
    assert world.ask(client, *(create(b"/a%d" % number) for number in range(5))) == [0] * 5
    calls = [create(b"/b%d" % number) for number in range(20)]
    late.boot()
    for call in calls:
        client.ask(call)
        world.run(0.01)
    world.until(lambda: late.serving)
    world.kill(leader.sid)
    world.until(lambda: world.leader is late)
    world.boot(later.sid)
    assert world.ask(world.client(late.sid), create(b"/after")) == [0]
    world.run(0.5)
    assert world.said("by DIFF") >= 3
    world.boot(leader.sid)
    world.run(0.5)
    world.all_equal()


def test_a_leader_that_got_its_history_as_a_snapshot_gives_nobody_a_log_with_a_hole(world):
    world = world(voters=5, force_snapshot_sync=True)
    leader = world.leader
    snapped, behind = world.machines[4], world.machines[1]
    client = world.client(leader.sid)
    assert world.ask(client, create(b"/a")) == [0]
    world.kill(snapped.sid, behind.sid)
    assert world.ask(client, *(create(b"/b%d" % number) for number in range(10))) == [0] * 10
    world.boot(snapped.sid)
    for machine in (snapped, behind):
        machine.settings = world.replace(machine.settings, force_snapshot_sync=False, commit_log_count=1)
    world.kill(snapped.sid, leader.sid)
    world.boot(snapped.sid)
    world.until(lambda: world.leader is snapped)
    world.boot(behind.sid)
    world.run(0.5)
    assert world.said("by SNAP") >= 2
    world.check_tree(behind)
    assert world.at(behind.sid) >> 32 == world.at(snapped.sid) >> 32


def test_an_empty_server_beside_one_with_data_gets_all_of_it(world):
    """Scaled up from a server whose logs are gone: nothing in memory says where its history begins."""
    world = world(voters=3)
    client = world.client()
    assert world.ask(client, *(create(b"/%d" % number) for number in range(5))) == [0] * 5
    leader = world.leader
    written = world.at(leader.sid)
    for machine in world.machines.values():
        machine.kill(power=True)
    world.boot()
    # Its logs are to be of no use: nothing but a snapshot has the writes then.
    world.until(lambda: any(zxid >= written for zxid in snapshots_of(leader)))
    for machine in world.machines.values():
        machine.kill(power=True)
    for machine in world.machines.values():
        if machine is leader:
            for name in [name for name in machine.disk.names if "/log." in name]:
                machine.disk.rebind((name, None))
        else:
            machine.wipe()
    world.boot()
    assert world.leader is leader
    world.run(0.5)
    world.all_equal()
    assert b"/4" in world.oracle.model.nodes


def test_a_follower_that_was_away_for_some_epochs_misses_nothing(world):
    world = world(voters=5)
    away = world.machines[1]
    world.kill(away.sid)
    for epoch in range(3):
        client = world.client()
        assert world.ask(client, *(create(b"/%d-%d" % (epoch, number)) for number in range(3))) == [0] * 3
        leader = world.leader
        world.kill(leader.sid)
        world.until(lambda leader=leader: world.leader is not None and world.leader is not leader)
        world.boot(*world.others(away.sid))
    world.boot(away.sid)
    world.run(1)
    world.all_equal()
    assert sum(b"-" in path for path in world.machines[1].tree.nodes) == 9


# Rows 23, 24, 27: sessions, ephemerals and observers.


@pytest.mark.parametrize("snapshot", [True, False])
def test_sessions_that_came_and_went_while_a_follower_was_away(world, snapshot):
    world = world(force_snapshot_sync=snapshot)
    away = world.followers()[0]
    staying, going = (world.client(world.leader.sid, timeout_ms=20_000) for _ in range(2))
    assert world.ask(going, create(b"/old", flags=Mode.EPHEMERAL)) == [0]
    world.kill(away.sid)
    assert world.ask(going, Call(-11)) == [0]
    going.stop()
    new = world.client(world.leader.sid, timeout_ms=20_000)
    assert world.ask(new, create(b"/new", flags=Mode.EPHEMERAL)) == [0]
    assert world.ask(staying, create(b"/kept", flags=Mode.EPHEMERAL)) == [0]
    world.boot(away.sid)
    world.run(0.5)
    world.all_equal()
    assert b"/old" not in away.tree.nodes
    assert {b"/new", b"/kept"} <= away.tree.nodes.keys()


def test_an_ephemeral_goes_everywhere_with_its_session_also_where_the_closing_came_late(world):
    world = world()
    client = world.client(world.leader.sid, timeout_ms=2000)
    assert world.ask(client, create(b"/e", flags=Mode.EPHEMERAL)) == [0]
    cut = world.followers()[0]
    world.isolate(cut.sid)
    client.stop()
    world.run(6)
    assert b"/e" not in world.oracle.model.nodes
    world.heal()
    world.until(lambda: cut.serving)
    world.run(0.5)
    world.all_equal()


def test_an_observer_that_gets_a_snapshot_while_others_write_misses_nothing(world):
    world = world(observers=1, force_snapshot_sync=True)
    observer = world.machines[4]
    client = world.client(world.leader.sid)
    world.kill(observer.sid)
    assert world.ask(client, *(create(b"/a%d" % number) for number in range(50))) == [0] * 50
    world.network.link(world.leader.address, observer.address).lag = 0.02
    observer.boot()
    for number in range(100):
        client.ask(create(b"/b%d" % number))
        world.run(0.005)
    world.heal()
    world.until(lambda: observer.serving)
    world.run(1)
    world.all_equal()
    assert b"/b99" in observer.tree.nodes


# Rows 28, 29, 30: disks and peers that fail or stall.


def test_a_leader_that_cannot_write_its_log_makes_room_for_another(world):
    world = world()
    leader = world.leader
    client = world.client(timeout_ms=10_000)
    leader.disk.plan = lambda name, path, size: (_ for _ in ()).throw(OSError(errno.EIO, name, path))
    client.ask(create(b"/a"))
    world.until(lambda: world.leader is not None and world.leader is not leader)
    assert (leader.sid, 1) in world.exits
    world.until(lambda: client.up)
    assert world.ask(client, create(b"/b")) == [0]


def test_a_change_of_leaders_writes_no_snapshot_and_loads_nothing_at_the_followers(world):
    world = world(voters=5, snap_count=100_000)
    loads = world.said("^loaded")
    client = world.client(timeout_ms=10_000)
    for _ in range(3):
        world.until(lambda: client.up)
        assert world.ask(client, put(b"/")) == [0]
        world.run(0.5)
        leader = world.leader
        snapshots = {sid: machine.view.snapshots() for sid, machine in world.machines.items()}
        world.isolate(leader.sid)
        world.until(lambda leader=leader: world.leader is not None and world.leader is not leader)
        world.heal()
        world.until(lambda: all(machine.serving for machine in world.machines.values()))
        for sid, machine in world.machines.items():
            if machine is not world.leader:
                assert machine.view.snapshots() == snapshots[sid]
    assert world.said("^loaded") == loads


def test_a_learner_that_stops_reading_its_snapshot_holds_up_nobody_else(world):
    world = world(force_snapshot_sync=True)
    away = world.followers()[0]
    client = world.client(world.leader.sid)
    world.kill(away.sid)
    big = [create(b"/big%d" % number, bytes(60_000)) for number in range(12)]
    assert world.ask(client, *big) == [0] * 12
    syncs = world.said("by SNAP")
    away.boot()
    world.until(lambda: world.said("by SNAP") > syncs)
    world.block([away.sid], [world.leader.sid])
    for number in range(20):
        assert world.ask(client, create(b"/a%d" % number), get(b"/big1"), seconds=0.2) == [0, 0]
    world.heal()
    world.until(lambda: away.serving)
    world.run(1)
    world.all_equal()
