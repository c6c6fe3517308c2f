"""Bugs that the simulator has found, each as the shortest story that shows it."""

import errno

import pytest
from simworld import World, create, put

from zabra.consts import Mode
from zabra.sim.calls import Call


@pytest.fixture
def world():
    worlds = []

    def make(**settings):
        worlds.append(World(**settings))
        return worlds[-1]

    yield make
    for made in worlds:
        made.close()


def test_a_session_id_in_use_is_not_given_out_after_a_power_cut(world):
    """Both starts come at the same uptime, of which the first session id is made."""
    world = world()
    world.boot()
    first = world.client(timeout_ms=10_000)
    assert world.ask(first, create(b"/a", flags=Mode.EPHEMERAL)) == [0]
    uptime = world.host.clock.monotonic()
    world.host.kill(power=False)
    world.host.boot()
    world.host.clock.booted_at = world.loop.time() - (uptime - world.loop.time())
    world.run(0.1)
    second = world.client(timeout_ms=10_000)
    assert second.session_id != first.session_id


def test_what_a_killed_server_had_written_and_not_synced_is_safe_before_anything_is_built_on_it(world):
    """The next server finds the entry in the system's cache and goes on from there; then the power fails."""
    world = world()
    world.boot()
    client = world.client(timeout_ms=10_000)
    assert world.ask(client, create(b"/a")) == [0]

    def die_at_the_sync(name, path, size):
        if name == "sync" and "/log." in path:
            world.host.kill(power=True)
        if name == "create" and "snapshot" in path:
            raise OSError(errno.ENOSPC, "no space left", path)

    world.host.disk.plan = die_at_the_sync
    assert world.ask(client, create(b"/b")) == [None]

    def refuse_snapshots(name, path, size):
        if name == "create" and "snapshot" in path:
            raise OSError(errno.ENOSPC, "no space left", path)

    world.host.disk.plan = refuse_snapshots
    world.boot()
    world.run(6)
    assert client.up
    assert world.ask(client, create(b"/c")) == [0]
    world.host.disk.rng.seed(3)
    world.host.disk.rng.choice = min
    world.host.kill(power=False)
    world.boot()
    assert sorted(world.oracle.model.names[b"/"]) == [b"a", b"b", b"c", b"zookeeper"]


def test_a_ttl_node_that_is_written_while_it_is_swept_lives_on(world):
    """The sweep looks at what is committed; the write that renews the node is still on its way to the disk."""
    world = world(
        extended_types_enabled=True, container_check_interval_ms=1000, flush_delay_ms=1000, max_write_queue_poll_ms=300
    )
    world.boot()
    client = world.client(timeout_ms=10_000)
    assert world.ask(client, Call(21, b"/t", flags=Mode.TTL, ttl=800), seconds=0.7) == [0]
    for _ in range(40):
        # Whenever the committed node is 0.8 s old the next write is already on its way.
        world.ask(client, put(b"/t"), seconds=0.7)
    world.oracle.catch_up()
    assert b"/t" in world.oracle.model.nodes
