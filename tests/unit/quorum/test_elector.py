"""Elections of whole servers, core and mesh, on a simulated network."""

import asyncio
import random
import struct

import pytest

from zabra.config.dynamic import parse_config
from zabra.quorum.elector import Elector
from zabra.quorum.mesh import Mesh
from zabra.quorum.meshwire import encode_frame
from zabra.sim.loop import new_loop
from zabra.sim.network import Network
from zabra.sim.trace import Trace
from zabra.zab.election import Election
from zabra.zab.quorums import make_verifier
from zabra.zab.types import ServerState


def members(*sids, version=0):
    lines = [f"server.{sid}=h{sid}:2000:{3000 + sid}" for sid in sids]
    return parse_config("\n".join((*lines, f"version={version:x}")))


class Server:
    """One server: what was elected, adopted and reported to it. Made on the loop."""

    def __init__(self, sid, config, **options):
        self.elected, self.adopted, self.looking = [], [], []
        election = Election(
            sid, make_verifier(config), make_verifier=make_verifier, last_zxid=0, current_epoch=0, **options
        )
        self.elector = Elector(election, self.elected.append, self.adopt, self.looking.append)
        self.mesh = self.elector.mesh = Mesh(sid, config, self.elector.received)
        self.election = election

    def adopt(self, config):
        self.adopted.append(config)
        self.mesh.set_configs(config)

    def stop(self):
        self.elector.close()
        self.mesh.close()


class World:
    def __init__(self):
        self.loop = new_loop(Trace())
        self.network = Network(self.loop, random.Random(7))
        self.servers = {}

    def do(self, call, *args):
        async def run():
            result = call(*args)
            return await result if asyncio.iscoroutine(result) else result

        task = []
        self.loop.world_soon(lambda: task.append(self.loop.create_task(run())))
        self.loop.run_until(self.loop.time() + 1e6, lambda: bool(task) and task[0].done())
        return task[0].result()

    def start(self, sid, config, zxid=0, epoch=0, **options):
        server = self.servers[sid] = self.do(lambda: Server(sid, config, **options))
        self.do(server.mesh.listen)
        self.do(server.elector.look, zxid, epoch)
        return server

    def pass_time(self, seconds):
        self.loop.run_until(self.loop.time() + seconds)
        assert self.loop.errors == []

    def leaders(self):
        return {sid: server.election.current_vote.leader for sid, server in self.servers.items()}


@pytest.fixture
def world():
    return World()


def test_five_servers_elect_the_best_history(world):
    config = members(1, 2, 3, 4, 5)
    for sid, zxid in enumerate((4, 9, 9, 3, 1), 1):
        world.start(sid, config, zxid)
    world.pass_time(2)
    assert world.leaders() == dict.fromkeys(range(1, 6), 3)
    states = [world.servers[sid].elected[0].state for sid in range(1, 6)]
    assert [state is ServerState.LEADING for state in states] == [False, False, True, False, False]
    assert all(len(server.elected) == 1 for server in world.servers.values())


def test_a_late_server_joins(world):
    config = members(1, 2, 3)
    world.start(1, config)
    world.start(2, config)
    world.pass_time(1)
    assert world.leaders() == {1: 2, 2: 2}
    three = world.start(3, config, zxid=99)
    world.pass_time(1)
    assert three.elected[0].state is ServerState.FOLLOWING
    assert world.servers[2].looking == [3]


def test_the_others_elect_again_when_the_leader_is_gone(world):
    config = members(1, 2, 3)
    for sid in (1, 2, 3):
        world.start(sid, config)
    world.pass_time(2)
    world.do(world.servers.pop(3).stop)
    for server in world.servers.values():
        world.do(server.elector.look, 0, 1)
    world.pass_time(5)
    assert world.leaders() == {1: 2, 2: 2}
    assert world.servers[1].election.round == 2


def test_a_server_alone_keeps_dialling_less_and_less_often(world):
    config = members(1, 2, 3)
    dials = []
    connect = world.network.connect

    def note(*args):
        dials.append(world.loop.time())
        return connect(*args)

    world.network.connect = note
    world.start(3, config)
    world.pass_time(600)
    gaps = [round(after - before, 1) for before, after in zip(dials[::2], dials[2::2], strict=False)]
    assert gaps[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2]
    assert all(59.9 < gap < 60.1 for gap in gaps[9:])
    world.start(2, config)
    world.pass_time(2)
    assert world.leaders() == {3: 3, 2: 3}, "it was told without waiting for the minute to end"


def test_a_newer_membership_is_handed_on_and_dialled(world):
    old, new = members(1, 2), members(1, 2, 3, version=5)
    one = world.start(1, old, reconfig_enabled=True)
    for sid in (2, 3):
        world.start(sid, new, reconfig_enabled=True)
    world.pass_time(5)
    assert [config.version for config in one.adopted] == [5]
    assert world.leaders() == {1: 3, 2: 3, 3: 3}
    assert one.mesh.connected() == [2, 3]


def test_a_message_that_does_not_parse_is_dropped_and_the_connection_kept(world, caplog):
    config = members(1, 2)
    one = world.start(1, config)

    class Raw(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(struct.pack(">q", 2) + encode_frame(b"garbage"))
            transport.write(encode_frame(struct.pack(">iqqq", 0, 1, 0, 1)))

    world.do(lambda: world.loop.create_connection(Raw, "raw", 3001))
    world.pass_time(1)
    assert "of server 2 is dropped" in caplog.text
    assert one.mesh.connected() == [2]
    assert one.elected[0].state is ServerState.LEADING


def test_messages_before_the_first_look_are_dropped(world):
    config = members(1, 2)
    server = world.do(lambda: Server(1, config))
    server.elector.received(2, struct.pack(">iqqq", 0, 2, 0, 1))
    assert server.election.round == 0


def test_a_closed_elector_does_nothing_more(world):
    server = world.start(1, members(1))
    world.do(server.stop)
    world.pass_time(10)
    assert server.elected == []


def give_up_alone(world, sid):
    """What broadcast does with an election: every two seconds, look again without a leader and a quorum behind it."""
    core = world.servers[sid].election
    if core.state is not ServerState.LOOKING:
        leader = core.current_vote.leader
        behind = {other for other, server in world.servers.items() if is_under(server.election, leader)}
        if leader not in behind or not core.verifier.contains_quorum(behind):
            world.servers[sid].elector.look(sid % 3, 0)
    world.loop.call_later(2.0, give_up_alone, world, sid)


def is_under(core, leader):
    role = ServerState.LEADING if core.my_id == leader else ServerState.FOLLOWING
    return core.state is role and core.current_vote.leader == leader


@pytest.mark.parametrize("seed", range(12))
def test_connections_that_break_all_the_time_end_in_one_leader_once_they_hold(world, seed):
    rng = random.Random(seed)
    config = members(1, 2, 3, 4, 5)
    world.network.chop = 0.5
    for sid in config.members:
        world.start(sid, config, zxid=sid % 3)
        world.do(give_up_alone, world, sid)
    for _ in range(150):
        world.pass_time(rng.random() / 5)
        ends = list(world.network.ends)
        if ends:
            world.network.cut(rng.choice(ends), rng.choice(("reset", "half", "silent")))
        if rng.random() < 0.3:
            sid = rng.choice(list(world.servers))
            world.do(world.servers[sid].elector.look, sid % 3, 0)
    world.pass_time(130)
    leader = world.leaders()[1]
    assert all(is_under(server.election, leader) for server in world.servers.values())
