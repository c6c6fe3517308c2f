"""Promises of an ensemble that need a certain moment, told by hand."""

import pytest
from ensembleworld import PATIENCE, World, create, get, put, sync

from zabra.consts import Mode
from zabra.pipeline.forward import ForwardingPipeline
from zabra.sim.calls import Call
from zabra.sim.cluster import QUORUM_PORT, membership
from zabra.sim.history import History
from zabra.sim.violation import Violation
from zabra.zab.broadcast import Broadcast
from zabra.zab.proposals import Proposals


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


@pytest.mark.parametrize("right", [True, False])
def test_a_read_behind_a_sync_shows_what_was_acknowledged_elsewhere_before(world, monkeypatch, right):
    """The commits are slow to reach one follower. Without the sync it may show the past."""
    world = world()
    history = History((b"/r0",), lambda: world.loop.now, lambda: world.leader.leads)
    late = world.followers()[0]
    writer = world.client(*world.others(late.sid))
    reader = world.client(late.sid)
    writer.history = reader.history = history
    if not right:
        monkeypatch.setattr(ForwardingPipeline, "sync", lambda self, *given: False)
    assert world.ask(writer, Call(15, b"/r0", b"0")) == [0]
    world.run(1)
    world.network.link(world.leader.address, late.address).lag = 1.0
    assert world.ask(writer, put(b"/r0", b"1")) == [0]
    plain = get(b"/r0")
    assert world.ask(reader, plain) == [0]
    assert b"1" not in plain.body[:6]
    synced = get(b"/r0")
    assert world.ask(reader, sync(b"/r0"), synced) == [0, 0]
    if right:
        assert synced.body[:5] == b"\0\0\0\x011"
        history.check()
    else:
        with pytest.raises(Violation, match="no order explains"):
            history.check()


@pytest.mark.parametrize("right", [True, False])
def test_who_joins_while_writes_are_on_their_way_gets_them_and_counts(world, monkeypatch, right):
    """Two of five have a write, two cannot say so. Whoever joins is told of it, and makes them a quorum."""
    if not right:
        missing = Broadcast.missing
        monkeypatch.setattr(Broadcast, "missing", lambda self, after, *, observer: missing(self, after, observer=True))
    world = world(voters=5)
    leader = world.leader
    _, joiner, *dumb = world.followers()
    client = world.client(leader.sid)
    world.kill(joiner.sid)
    world.block([machine.sid for machine in dumb], [leader.sid], both=False)
    write = create(b"/a")
    assert world.ask(client, write, seconds=0.1) == [None]
    world.boot(joiner.sid)
    world.run(0.2)
    assert write.err == (0 if right else None)
    world.heal()
    world.run(0.2)
    assert write.err == 0
    if right:
        world.until(lambda: all(machine.serving for machine in world.machines.values()))
        world.run(0.5)
        world.all_equal()
    else:
        assert world.at(joiner.sid) < world.oracle.model.zxid


@pytest.mark.parametrize("right", [True, False])
def test_what_a_follower_has_acknowledged_on_an_earlier_connection_does_not_count(world, monkeypatch, right):
    """What it has beyond the last commit is cut off when it comes back, and takes its time to be written again."""
    if not right:
        monkeypatch.setattr(Proposals, "forget", lambda self, sid: None)
    world = world(voters=5)
    leader = world.leader
    fickle, steady, *others = world.followers()
    client = world.client(leader.sid)
    world.network.retry = 0.05
    world.block([leader.sid], [steady.sid, *(machine.sid for machine in others)], both=False)
    write = create(b"/a")
    assert world.ask(client, write, seconds=0.1) == [None]
    ends = [end for end in world.network.ends if end.process is fickle.process]
    world.network.cut(next(end for end in ends if end.get_extra_info("peername")[1] == QUORUM_PORT), "reset")
    world.until(lambda: not fickle.serving)
    cuts = world.said("by TRUNC")
    world.until(lambda: world.said("by TRUNC") > cuts)
    fickle.disk.sync_seconds = lambda: 0.2
    world.run(0.5)
    world.network.unblock(leader.address, steady.address)
    if right:
        world.run(5)
        assert write.err == 0
    else:
        with pytest.raises(Violation, match="which only servers"):
            world.run(5)


def test_a_session_moves_with_its_watches_and_ephemerals_and_sees_nothing_older(world):
    world = world()
    client = world.client(1, 2)
    assert world.ask(client, create(b"/e", flags=Mode.EPHEMERAL), create(b"/w"), get(b"/w", watch=True)) == [0] * 3
    session = client.session_id
    other = world.client(3)
    for _ in range(3):
        at = next(machine for machine in world.machines.values() if machine.server.hub.connections)
        for end in [end for end in world.network.ends if end.machine == client.name]:
            world.network.cut(end, "reset")
        assert world.ask(other, put(b"/w")) == [0]
        world.until(lambda: client.up)
        assert world.ask(client, get(b"/w", watch=True)) == [0]
        assert at is not None
    assert client.session_id == session
    world.run(1)
    world.all_equal()
    assert b"/e" in world.oracle.model.nodes


def test_sessions_survive_a_leader_and_begin_their_timeout_anew(world):
    world = world(voters=5)
    clients = [world.client(timeout_ms=4000) for _ in range(5)]
    sessions = [client.session_id for client in clients]
    for number, client in enumerate(clients):
        assert world.ask(client, create(b"/e%d" % number, flags=Mode.EPHEMERAL)) == [0]
    for _ in range(2):
        leader = world.leader
        world.kill(leader.sid)
        world.until(lambda leader=leader: world.leader is not None and world.leader is not leader)
        world.until(lambda: all(client.up for client in clients))
        world.boot()
    assert [client.session_id for client in clients] == sessions
    world.run(5)
    assert sorted(world.oracle.model.sessions) == sorted(sessions)


def test_a_silent_session_ends_once_and_for_all(world):
    world = world(observers=1)
    dying, watching = world.client(4, timeout_ms=2000), world.client(1, timeout_ms=20_000)
    assert world.ask(dying, create(b"/e", flags=Mode.EPHEMERAL)) == [0]
    world.run(0.1)
    assert world.ask(watching, get(b"/e", watch=True)) == [0]
    dying.stop()
    world.run(1.4)
    assert world.count("event") == 0
    world.run(3)
    assert world.count("event") == 1
    world.all_equal()
    assert dying.session_id not in world.oracle.model.sessions


def test_a_leader_that_is_cut_off_acknowledges_nothing_and_steps_down_in_time(world):
    world = world()
    old = world.leader
    client = world.client(old.sid)
    world.isolate(old.sid)
    write = create(b"/a")
    client.ask(write)
    world.until(lambda: old.mode == "looking", seconds=PATIENCE + 2)
    assert write.err is None
    world.until(lambda: world.leader is not None, seconds=3)


def test_half_of_four_is_no_quorum_and_three_groups_go_on_without_one(world):
    four = world(voters=4)
    four.isolate(1, 2)
    four.run(3 * PATIENCE)
    assert four.leader is None
    four.heal()
    four.until(lambda: four.leader is not None)
    groups = {sid: (sid - 1) // 3 + 1 for sid in range(1, 10)}
    nine = world(config=membership(9, 0, groups, dict.fromkeys(groups, 1)))
    nine.kill(7, 8, 9, 1, 4)
    nine.until(lambda: nine.leader is not None)
    assert nine.ask(nine.client(2, 3), create(b"/a")) == [0]
    nine.kill(2)
    nine.run(3 * PATIENCE)
    assert nine.leader is None


def test_an_ensemble_of_one_serves_and_keeps_what_it_acknowledged(world):
    world = world(voters=1)
    for number in range(3):
        client = world.client()
        assert world.ask(client, create(b"/%d" % number)) == [0]
        world.kill(1, cut_power=True)
        client.stop()
        world.boot()
    world.all_equal()
    assert {b"/0", b"/1", b"/2"} <= world.oracle.model.nodes.keys()


@pytest.mark.parametrize("mode", ["leader", "follower"])
def test_the_end_of_a_local_session_waits_its_turn(world, mode):
    """It needs no transaction, but what its client asked before is answered first."""
    world = world(local_sessions_enabled=True)
    at = next(machine.sid for machine in world.machines.values() if machine.mode == mode)
    client = world.client(at)
    assert client.session_id not in world.oracle.model.sessions
    assert world.ask(client, create(b"/a"), sync(), create(b"/b"), get(b"/a"), Call(-11)) == [0] * 5
