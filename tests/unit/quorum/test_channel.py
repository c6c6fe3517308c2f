"""A quorum connection on a simulated network: order around a long stream, and who is cut."""

import asyncio
import random

import pytest

from zabra.quorum.channel import Channel, ChannelOwner
from zabra.sim.loop import new_loop
from zabra.sim.network import Network
from zabra.sim.trace import Trace

MIB = 1 << 20


class Reader(asyncio.Protocol):
    """The other side."""

    def __init__(self):
        self.data = bytearray()
        self.lost = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, error):
        self.lost = True


class World:
    """One channel, dialled, and what was told of it."""

    def __init__(self, **options):
        self.loop = new_loop(Trace())
        self.network = Network(self.loop, random.Random(1), chop=0.0)
        self.reader = Reader()
        self.received = []
        self.closed = []
        self.channel = None
        owner = ChannelOwner(
            lambda _: None,
            lambda _, data: self.received.append(bytes(data)),
            lambda _, why: self.closed.append(why),
        )

        async def begin():
            await self.loop.create_server(lambda: self.reader, None, 7)
            _, self.channel = await self.loop.create_connection(lambda: Channel(owner, **options), "host", 7)

        self.call(begin)
        self.run(1)

    def call(self, function, *args):
        self.loop.world_soon(lambda: self._begin(function, *args))

    def _begin(self, function, *args):
        made = function(*args)
        if asyncio.iscoroutine(made):
            self.loop.create_task(made)

    def run(self, seconds):
        self.loop.run_until(self.loop.time() + seconds)
        assert not self.loop.errors, self.loop.errors[0]


@pytest.fixture
def world():
    made = World()
    yield made
    made.loop.world.die()


@pytest.fixture
def narrow():
    """A MiB may wait for the other side."""
    made = World(backlog_max=MIB)
    yield made
    made.loop.world.die()


def test_what_is_sent_during_a_stream_goes_behind_it_and_before_what_its_end_sends(world):
    def pieces():
        for number in range(3):
            yield b"piece%d " % number
            world.channel.send(b"meanwhile%d " % number)
            yield b""  # in a later turn

    def begin():
        world.channel.send(b"before ")
        world.channel.stream(pieces(), lambda: world.channel.send(b"end "), stall_s=5)
        world.channel.send(b"after ")

    world.call(begin)
    world.run(1)
    sent = bytes(world.reader.data).split()
    assert sent[:2] == [b"before", b"piece0"]
    assert [word for word in sent if word.startswith(b"piece")] == [b"piece0", b"piece1", b"piece2"]
    assert sent[-1] == b"end"
    assert sent[-5:-1] == [b"meanwhile0", b"after", b"meanwhile1", b"meanwhile2"]


def test_a_stream_waits_for_a_full_socket_and_goes_on(world):
    produced = []

    def pieces():
        for _ in range(64):
            produced.append(1)
            yield bytes(MIB // 16)

    done = []
    world.call(world.reader.transport.pause_reading)
    world.call(lambda: world.channel.stream(pieces(), lambda: done.append(True), stall_s=60))
    world.run(1)
    assert len(produced) < 16, "it ran ahead of the socket"
    assert not done
    world.call(world.reader.transport.resume_reading)
    world.run(5)
    assert done == [True]
    assert len(world.reader.data) == 4 * MIB


def test_writes_that_wait_are_counted_and_told_when_they_have_left(world):
    told = []

    def mark(name):
        world.channel.when_sent(lambda: told.append(name))

    world.call(world.reader.transport.pause_reading)
    world.call(lambda: world.channel.send(bytes(100)))
    world.call(lambda: mark("free"))
    world.run(1)
    assert (world.channel.waiting, told) == (0, ["free"])
    world.call(lambda: [world.channel.send(bytes(MIB)) for _ in range(5)])
    world.call(lambda: mark("full"))
    world.run(1)
    assert world.channel.waiting in (4, 5), "the socket has some of the first"
    assert told == ["free"]
    world.call(world.reader.transport.resume_reading)
    world.run(5)
    assert (world.channel.waiting, told) == (0, ["free", "full"])


def test_writes_behind_a_stream_wait_too(world):
    told = []

    def pieces():
        yield b""
        yield b""

    def begin():
        world.channel.stream(pieces(), lambda: None, stall_s=60)
        world.channel.send(b"a")
        world.channel.send(b"b")
        world.channel.when_sent(lambda: told.append(True))
        assert (world.channel.waiting, told) == (2, [])

    world.call(begin)
    world.run(1)
    assert (world.channel.waiting, told) == (0, [True])


def test_an_empty_piece_is_asked_again_later(world):
    ready = []

    def pieces():
        while not ready:
            yield b""
        yield b"now"

    world.call(lambda: world.channel.stream(pieces(), lambda: None, stall_s=60))
    world.run(1)
    assert not world.reader.data
    ready.append(True)
    world.run(1)
    assert bytes(world.reader.data) == b"now"


def test_a_socket_that_takes_nothing_of_a_stream_is_cut(world):
    closed = []

    def pieces():
        try:
            while True:
                yield bytes(MIB)
        finally:
            closed.append(True)

    world.call(world.reader.transport.pause_reading)
    world.call(lambda: world.channel.stream(pieces(), lambda: None, stall_s=3))
    world.run(2.9)
    assert not world.closed
    world.run(0.3)
    assert world.closed == ["it took nothing of its sync for 3 s"]
    assert closed == [True], "the stream is closed at once: it may hold on to the tree"
    assert world.channel.is_over


def test_a_stream_that_breaks_off_cuts_the_connection(world):
    def pieces():
        yield b"begun"
        raise ValueError("the log has changed")

    world.call(lambda: world.channel.stream(pieces(), lambda: pytest.fail("it did not end"), stall_s=3))
    world.run(1)
    assert world.closed == ["its sync broke off: the log has changed"]
    assert world.reader.lost


def test_too_much_behind_a_stream_cuts_the_connection(narrow):
    def pieces():
        while True:
            yield b""

    def begin():
        narrow.channel.stream(pieces(), lambda: None, stall_s=60)
        narrow.channel.send(bytes(MIB))
        narrow.channel.send(b"x")

    narrow.call(begin)
    narrow.run(1)
    assert narrow.closed == [f"{MIB + 1} bytes wait behind its sync"]


def test_who_does_not_read_is_cut(narrow):
    narrow.call(narrow.reader.transport.pause_reading)

    def begin():
        for _ in range(40):
            narrow.channel.send(bytes(MIB // 16))

    narrow.call(begin)
    narrow.run(1)
    assert narrow.closed == ["it does not read"]


def test_a_close_by_the_other_side_is_told_once(world):
    world.call(world.reader.transport.close)
    world.run(1)
    assert world.closed == ["the other side closed"]
    assert world.channel.is_over
    world.call(world.channel.abort)
    world.call(world.channel.send, b"nothing")
    world.run(1)
    assert len(world.closed) == 1


def test_a_close_is_told_though_the_socket_is_full(world):
    world.call(world.reader.transport.pause_reading)
    world.call(lambda: world.channel.send(bytes(MIB)))
    world.run(0.1)
    world.call(world.reader.transport.close)
    world.run(0.1)
    assert world.closed == ["the other side closed"]
    assert world.channel.is_over


def test_an_abort_is_not_told(world):
    world.call(world.channel.abort)
    world.run(1)
    assert world.closed == []
    assert world.reader.lost


def test_reading_pauses(world):
    def begin():
        world.channel.pause()
        world.reader.transport.write(b"words")

    world.call(begin)
    world.run(1)
    assert not world.received
    world.call(world.channel.resume)
    world.run(1)
    assert b"".join(world.received) == b"words"
