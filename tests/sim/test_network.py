"""Simulated streams: order, windows, ends, and every way to break."""

import asyncio
import random

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
        self.loop.run_as(self.process, self.network.listen, self.process, lambda: self.server, 2181)
        self.error = None
        self.loop.create_task(self._connect())
        self.run()

    async def _connect(self):
        try:
            await self.loop.create_connection(lambda: self.client, "10.0.1.1", 2181)
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
