"""Simulated streams: order, windows, ends, and every way to break."""

import asyncio
import random
import socket

import pytest

from zabra.sim.loop import Process, new_loop
from zabra.sim.network import WINDOW, Network
from zabra.sim.trace import Trace


class Peer(asyncio.Protocol):
    def __init__(self):
        self.data = bytearray()
        self.chunks = 0
        self.calls = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data):
        self.data += data
        self.chunks += 1

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append(f"lost {type(exc).__name__}")

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


class Pair:
    """A server process and a client of the world, connected."""

    def __init__(self, chop=0.0):
        self.loop = new_loop(Trace())
        self.network = Network(self.loop, random.Random(7), chop=chop)
        self.process = Process("10.0.0.1")
        self.server = Peer()
        self.client = Peer()
        self.loop.run_as(self.process, self.network.listen, self.process, lambda: self.server, None, 2181)
        self.error = None
        self.loop.create_task(self._connect())
        self.run()

    async def _connect(self):
        try:
            await self.loop.create_connection(lambda: self.client, "10.0.0.1", 2181, local_addr=("10.0.1.1", 0))
        except OSError as error:
            self.error = error

    def run(self, seconds=1.0):
        self.loop.run_until(self.loop.time() + seconds)
        assert self.loop.errors == []


@pytest.mark.parametrize("chop", [0.0, 0.5, 1.0])
def test_bytes_arrive_whole_and_in_order_in_whatever_pieces(chop):
    pair = Pair(chop)
    sent = random.Random(1).randbytes(300_000)
    for at in range(0, len(sent), 7000):
        pair.client.transport.write(sent[at : at + 7000])
    pair.server.transport.write(b"hello")
    pair.run()
    assert bytes(pair.server.data) == sent
    assert bytes(pair.client.data) == b"hello"
    assert (pair.server.chunks > 43) == (chop == 1.0)


def test_addresses_are_those_of_the_machines():
    pair = Pair()
    assert pair.server.transport.get_extra_info("peername")[0] == "10.0.1.1"
    assert pair.client.transport.get_extra_info("peername") == ("10.0.0.1", 2181)


def test_a_reader_that_pauses_fills_the_window_and_the_writer_is_told():
    pair = Pair()
    pair.client.transport.pause_reading()
    pair.server.transport.write(bytes(WINDOW + 200_000))
    pair.run()
    assert pair.server.calls == ["made", "pause"]
    assert pair.server.transport.get_write_buffer_size() == 200_000
    assert pair.client.data == b""
    pair.client.transport.resume_reading()
    pair.run()
    assert pair.server.calls == ["made", "pause", "resume"]
    assert len(pair.client.data) == WINDOW + 200_000


def test_close_sends_what_is_buffered_first():
    pair = Pair()
    pair.client.transport.write(bytes(3 * WINDOW))
    pair.client.transport.close()
    pair.client.transport.write(b"too late")
    pair.run()
    assert len(pair.server.data) == 3 * WINDOW
    assert pair.server.calls == ["made", "eof", "lost NoneType"]
    assert pair.client.calls[-1] == "lost NoneType"


def test_abort_is_a_reset_for_the_other_side():
    pair = Pair()
    pair.client.transport.abort()
    pair.run()
    assert pair.server.calls == ["made", "lost ConnectionResetError"]
    assert pair.client.calls == ["made", "lost NoneType"]


def test_a_write_after_the_loss_raises_as_uvloop_does():
    pair = Pair()
    pair.client.transport.abort()
    pair.run()
    with pytest.raises(RuntimeError, match="connection_lost"):
        pair.server.transport.write(b"x")


def test_writing_to_somebody_who_closed_is_answered_by_a_reset():
    pair = Pair()
    pair.server.eof_received = lambda: True
    pair.client.transport.close()
    pair.run()
    pair.server.transport.write(b"x")
    pair.run()
    assert pair.server.calls[-1] == "lost ConnectionResetError"


def test_nobody_listens():
    pair = Pair()
    pair.network.listeners.clear()
    pair.loop.create_task(pair._connect())
    pair.run()
    assert isinstance(pair.error, ConnectionRefusedError)


def test_a_machine_without_power_does_not_answer_and_its_peers_hear_nothing():
    pair = Pair()
    pair.process.alive = False
    pair.network.process_died(pair.process, silent=True)
    pair.client.transport.write(b"x")
    pair.loop.create_task(pair._connect())
    pair.run(2.0)
    assert pair.client.calls == ["made"]
    assert pair.error is None
    pair.run(2.0)
    assert isinstance(pair.error, TimeoutError)
    pair.process.answers = True
    pair.client.transport.write(b"x")
    pair.run()
    assert pair.client.calls == ["made", "lost ConnectionResetError"]


def test_a_killed_process_has_its_streams_closed_and_what_it_sent_arrives():
    pair = Pair()
    pair.server.transport.write(b"last words")
    pair.process.alive = False
    pair.network.process_died(pair.process, silent=False)
    pair.run()
    assert bytes(pair.client.data) == b"last words"
    assert pair.client.calls == ["made", "eof", "lost NoneType"]
    assert pair.server.calls == ["made"]


def test_a_connection_may_break_on_one_side_only():
    pair = Pair()
    pair.network.cut(pair.client.transport, "half")
    pair.run()
    assert pair.client.calls == ["made", "lost ConnectionResetError"]
    assert pair.server.calls == ["made"]


def test_a_silent_cut_swallows_both_directions():
    pair = Pair()
    pair.network.cut(pair.client.transport, "silent")
    pair.client.transport.write(b"x")
    pair.server.transport.write(b"y")
    pair.run()
    assert (pair.client.data, pair.server.data) == (b"", b"")
    assert (pair.client.calls, pair.server.calls) == (["made"], ["made"])


def test_a_stall_delays_and_loses_nothing():
    pair = Pair()
    pair.network.stalled_until = pair.loop.time() + 5
    pair.client.transport.write(b"x")
    pair.run(4.0)
    assert pair.server.data == b""
    pair.run(2.0)
    assert pair.server.data == b"x"


# -- links between machines


class Three:
    """Machines a, b and c, each listening on port 1; what was read where, by (reader, sender)."""

    def __init__(self, **options):
        self.loop = new_loop(Trace())
        self.network = Network(self.loop, random.Random(3), chop=0.0, **options)
        self.processes = {name: Process(name) for name in "abc"}
        self.accepted = []
        for name in "abc":
            self.as_machine(name, self.network.listen, self.processes[name], self.accept, None, 1)

    def accept(self):
        self.accepted.append(Peer())
        return self.accepted[-1]

    def as_machine(self, name, call, *args):
        self.loop.run_as(self.processes[name], call, *args)
        assert self.loop.errors == []

    def dial(self, source, target):
        """The task of a connect."""
        tasks = []

        def begin():
            tasks.append(self.loop.create_task(self.loop.create_connection(Peer, target, 1)))

        self.as_machine(source, begin)
        return tasks[0]

    def connect(self, source, target):
        """Both ends, connected."""
        task = self.dial(source, target)
        self.run(1.0)
        return task.result()[1], self.accepted[-1]

    def run(self, seconds):
        self.loop.run_until(self.loop.now + seconds)
        assert self.loop.errors == []


def test_what_is_sent_into_a_blocked_link_arrives_in_order_when_it_is_open():
    world = Three()
    a, b = world.connect("a", "b")
    world.network.block("a", "b")
    for number in range(50):
        world.as_machine("a", a.transport.write, b"%03d" % number)
    world.as_machine("b", b.transport.write, b"answer")
    world.run(10.0)
    assert (b.data, a.data) == (b"", b"answer")
    world.network.unblock("a", "b")
    world.run(4.0)
    assert bytes(b.data) == b"".join(b"%03d" % number for number in range(50))


def test_other_links_stay_open():
    world = Three()
    world.network.block("a", "b")
    world.network.block("b", "a")
    a, c = world.connect("a", "c")
    b, also = world.connect("b", "c")
    world.as_machine("a", a.transport.write, b"x")
    world.as_machine("b", b.transport.write, b"y")
    world.run(1.0)
    assert (c.data, also.data) == (b"x", b"y")


def test_without_acknowledgements_one_window_gets_through():
    world = Three()
    a, b = world.connect("a", "b")
    world.network.block("b", "a")
    world.as_machine("a", a.transport.write, bytes(3 * WINDOW))
    world.run(5.0)
    assert len(b.data) == WINDOW
    world.network.heal()
    world.run(5.0)
    assert len(b.data) == 3 * WINDOW


@pytest.mark.parametrize("blocked", [("a", "b"), ("b", "a")])
def test_a_connect_needs_both_directions_and_is_tried_again(blocked):
    world = Three()
    world.network.block(*blocked)
    task = world.dial("a", "b")
    world.run(2.0)
    assert not task.done()
    world.network.unblock(*blocked)
    world.run(0.5)
    assert not task.done()
    world.run(1.0)
    assert task.done()
    assert task.exception() is None


def test_a_connect_into_a_partition_fails_after_two_minutes():
    world = Three()
    world.network.block("a", "b")
    task = world.dial("a", "b")
    world.run(126.0)
    assert not task.done()
    world.run(2.0)
    assert isinstance(task.exception(), TimeoutError)


def test_a_connect_that_is_cancelled_leaves_nothing():
    world = Three()
    world.network.link("a", "b").lag = 2.0
    task = world.dial("a", "b")
    world.run(0.00012)
    task.cancel()
    world.run(10.0)
    assert task.cancelled()
    assert list(world.network.ends) == []


def test_a_dead_dialler_leaves_nothing():
    world = Three(delay=0.5)
    world.dial("a", "b")
    world.run(0.8)
    world.processes["a"].die()
    world.network.process_died(world.processes["a"], silent=False)
    world.run(20.0)
    assert list(world.network.ends) == []
    assert [peer.calls[0] for peer in world.accepted] == ["made"]


def test_a_firewall_refuses_one_machine():
    world = Three()
    world.network.link("a", "b").refuses = True
    task = world.dial("a", "b")
    world.connect("c", "b")
    assert isinstance(task.exception(), ConnectionRefusedError)


def test_a_reset_gets_lost_in_a_partition_and_the_other_side_hears_of_it_when_it_sends():
    world = Three()
    a, b = world.connect("a", "b")
    world.network.block("a", "b")
    world.as_machine("a", a.transport.abort)
    world.run(100.0)
    assert b.calls == ["made"]
    world.network.heal()
    world.run(5.0)
    assert b.calls == ["made", "lost ConnectionResetError"]


def test_a_slow_link_is_slow_in_one_direction():
    world = Three()
    a, b = world.connect("a", "b")
    world.network.link("a", "b").lag = 2.0
    world.as_machine("a", a.transport.write, b"x")
    world.as_machine("b", b.transport.write, b"y")
    world.run(0.5)
    assert (b.data, a.data) == (b"", b"y")
    world.run(3.0)
    assert b.data == b"x"


def test_names_are_resolved_at_each_connect():
    world = Three()
    world.network.names["zk"] = None
    task = world.dial("a", "zk")
    world.run(1.0)
    assert isinstance(task.exception(), socket.gaierror)
    world.network.names["zk"] = "b"
    here, _ = world.connect("a", "zk")
    assert here.transport.get_extra_info("peername") == ("b", 1)
    world.network.names["zk"] = "c"
    here, _ = world.connect("a", "zk")
    assert here.transport.get_extra_info("peername") == ("c", 1)
    found = []

    async def look():
        found.extend(await world.loop.getaddrinfo("zk", 5))

    world.as_machine("a", lambda: world.loop.create_task(look()))
    world.run(0.1)
    assert [entry[4] for entry in found] == [("c", 5)]


def test_nobody_listens_on_the_address_of_another_machine():
    world = Three()
    with pytest.raises(OSError, match="cannot assign"):
        world.network.listen(world.processes["a"], Peer, "b", 7)
    server = world.network.listen(world.processes["a"], Peer, "a", 7)
    with pytest.raises(OSError, match="in use"):
        world.network.listen(world.processes["a"], Peer, "0.0.0.0", 7)
    server.close()
    world.network.listen(world.processes["a"], Peer, "0.0.0.0", 7)
