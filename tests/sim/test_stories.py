"""Promises that need a certain moment, told by hand."""

import pytest
from simworld import World, create, get, put

from zabra.consts import Mode


@pytest.fixture
def world():
    worlds = []

    def make(**settings):
        worlds.append(World(**settings))
        worlds[-1].boot()
        return worlds[-1]

    yield make
    for made in worlds:
        made.close()


@pytest.mark.parametrize("stall", [1.9, 2.5, 6.0])
def test_a_stall_of_the_server_costs_no_session_whose_pings_wait_in_the_socket(world, stall):
    world = world(tick_time_ms=500)
    clients = [world.client(timeout_ms=2000) for _ in range(3)]
    sessions = [client.session_id for client in clients]
    times = iter([stall])
    world.host.disk.sync_seconds = lambda: next(times, 1e-4)
    clients[0].ask(create(b"/a"))
    world.run(stall + 0.2)
    world.oracle.catch_up()
    assert sorted(world.oracle.model.sessions) == sorted(sessions)
    world.run(10)
    assert [client.session_id for client in clients] == sessions
    assert all(client.up for client in clients)


def test_a_slow_disk_delays_writes_and_neither_reads_nor_pings(world):
    world = world()
    writer, reader = world.client(), world.client()
    world.host.disk.sync_seconds = lambda: 0.05
    for number in range(10):
        world.ask(writer, create(b"/n%d" % number), seconds=0.2)
    world.host.disk.sync_seconds = lambda: 1.0
    write = create(b"/late")
    writer.ask(write)
    world.run(0.1)
    reads = [get(b"/n1") for _ in range(5)]
    assert world.ask(reader, *reads, seconds=0.05) == [0] * 5
    assert write.err is None
    world.run(2)
    assert write.err == 0


def test_a_dead_clients_ephemerals_go_with_its_session_and_watchers_hear_of_it(world):
    world = world(tick_time_ms=500)
    dying, watching = world.client(timeout_ms=1000), world.client(timeout_ms=10_000)
    assert world.ask(dying, create(b"/e", flags=Mode.EPHEMERAL)) == [0]
    assert world.ask(watching, get(b"/e", watch=True)) == [0]
    dying.stop()
    world.run(0.8)
    assert world.count("event") == 0
    world.run(2)
    assert world.count("event") == 1
    assert world.ask(watching, get(b"/e")) == [-101]


def test_a_full_disk_stops_the_server_and_nothing_unlogged_was_acknowledged(world):
    world = world()
    client = world.client(timeout_ms=10_000)
    world.faults.disk.fill(1.0)
    calls = [put(b"/", b"%d" % number) for number in range(20)]
    for call in calls:
        if client.up:
            client.ask(call)
            world.run(0.01)
    assert world.exits == [1]
    assert None in [call.err for call in calls]
    world.faults.heal()
    world.boot()
    world.run(8)
    assert client.up
    assert world.ask(client, put(b"/", b"again")) == [0]
