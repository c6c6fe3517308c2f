"""Election connections on a simulated network: who dials whom, what is sent when, who is refused."""

import asyncio
import random
import struct

import pytest

from zabra.config.dynamic import parse_config
from zabra.quorum.mesh import STRANGERS_MAX, BindError, Mesh, MeshOptions
from zabra.quorum.meshwire import encode_frame, encode_introduction
from zabra.sim.loop import new_loop
from zabra.sim.network import Network
from zabra.sim.trace import Trace


def members(*sids, hosts=None):
    """Server N listens for elections on port 300N."""
    lines = [f"server.{sid}={(hosts or {}).get(sid, f'h{sid}')}:2000:{3000 + sid}" for sid in sids]
    return parse_config("\n".join(lines), multi_address=True)


class Raw(asyncio.Protocol):
    """The other end of a connection, byte by byte."""

    def __init__(self):
        self.data = b""
        self.lost = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, error):
        self.lost = True


class World:
    """A virtual network, the meshes in it, and what they received."""

    def __init__(self, *, chop=0.0):
        self.loop = new_loop(Trace())
        self.network = Network(self.loop, random.Random(1), chop=chop)
        self.meshes = {}
        self.got = {}
        self.dials = []
        connect = self.network.connect

        def note(process, factory, host, port, local):
            self.dials.append((host, port))
            return connect(process, factory, host, port, local)

        self.network.connect = note

    def do(self, call, seconds=0.0):
        """Call on the loop; its result, after ``seconds``."""
        task = []

        async def run():
            result = call()
            return await result if asyncio.iscoroutine(result) else result

        self.loop.world_soon(lambda: task.append(self.loop.create_task(run())))
        self.loop.run_until(self.loop.time() + 1e6, lambda: bool(task) and task[0].done())
        self.pass_time(seconds)
        return task[0].result()

    def pass_time(self, seconds):
        self.loop.run_until(self.loop.time() + seconds)
        assert self.loop.errors == []

    def mesh(self, sid, config, *, listen=True, proposed=None, **options):
        self.got[sid] = []

        def make():
            return Mesh(
                sid,
                config,
                lambda sender, data: self.got[sid].append((sender, data)),
                proposed=proposed,
                options=MeshOptions(**options),
            )

        mesh = self.meshes[sid] = self.do(make)
        if listen:
            self.do(mesh.listen)
        return mesh

    def listen(self, port):
        """A bare listener; its accepted ends."""
        ends = []

        def accept():
            ends.append(Raw())
            return ends[-1]

        self.do(lambda: self.loop.create_server(accept, None, port))
        return ends

    def dial(self, port, data=b"", seconds=1.0):
        raw = self.do(lambda: self.loop.create_connection(Raw, "raw", port))[1]
        if data:
            raw.transport.write(data)
        self.pass_time(seconds)
        return raw


def ports(world):
    """Where somebody listens."""
    return sorted(port for _, port in world.network.listeners)


@pytest.fixture
def world():
    return World()


def pair(world, **options):
    config = members(1, 2)
    return world.mesh(1, config, **options), world.mesh(2, config, **options)


def test_the_larger_id_dials_and_both_talk(world):
    one, two = pair(world)
    world.do(lambda: two.send(1, b"hello"), 1)
    assert world.got[1] == [(2, b"hello")]
    assert one.connected() == [2]
    assert two.connected() == [1]
    world.do(lambda: one.send(2, b"back"), 1)
    assert world.got[2] == [(1, b"back")]
    assert world.dials == [("h1", 3001)]


def test_the_smaller_id_introduces_itself_and_is_dialled_back(world):
    one, _ = pair(world)
    world.do(lambda: one.send(2, b"hello"), 1)
    assert world.dials == [("h2", 3002), ("h1", 3001)]
    assert world.got[2] == [(1, b"hello")]
    assert one.connected() == [2]


def test_the_smaller_id_hangs_up_once_it_has_introduced_itself(world):
    ends = world.listen(3002)
    one = world.mesh(1, members(1, 2))
    world.do(lambda: one.send(2, b"hello"), 1)
    assert ends[0].data == encode_introduction(1, [("h1", 3001)], multi_address=False)
    assert ends[0].lost


@pytest.mark.parametrize("chop", [0.0, 0.9])
@pytest.mark.parametrize("gap", [0.0, 0.0001, 0.0002, 0.0004])
def test_dials_of_both_sides_at_once_end_in_one_connection(gap, chop):
    world = World(chop=chop)
    one, two = pair(world)
    world.do(lambda: one.send(2, b"from 1"), gap)
    world.do(lambda: two.send(1, b"from 2"), 1)
    world.do(one.connect_all)
    world.do(two.connect_all, 1)
    assert one.connected() == [2]
    assert two.connected() == [1]
    assert len(world.network.ends) == 2
    assert (2, b"from 2") in world.got[1]
    assert (1, b"from 1") in world.got[2]


def test_ten_servers_talk_with_each_other():
    world = World(chop=0.5)
    config = members(*range(1, 11))
    meshes = [world.mesh(sid, config) for sid in range(1, 11)]
    for mesh in meshes:
        for sid in range(1, 11):
            if sid != mesh.my_id:
                world.do(lambda mesh=mesh, sid=sid: mesh.send(sid, b"%d" % mesh.my_id))
    world.pass_time(5)
    for mesh in meshes:
        others = [sid for sid in range(1, 11) if sid != mesh.my_id]
        assert mesh.connected() == others
        assert sorted(dict.fromkeys(world.got[mesh.my_id])) == [(sid, b"%d" % sid) for sid in others]
    assert len(world.network.ends) == 10 * 9


def test_the_introduction_of_who_dials(world):
    config = members(1, 2)
    ends = world.listen(3001)
    two = world.mesh(2, config)
    world.do(lambda: two.send(1, b"hello"), 1)
    assert ends[0].data == encode_introduction(2, [("h2", 3002)], multi_address=False) + encode_frame(b"hello")


def test_all_addresses_are_told_with_the_switch(world):
    config = parse_config("server.1=h1:2000:3001\nserver.2=a:2000:3002|b:2000:3102", multi_address=True)
    ends = world.listen(3001)
    two = world.mesh(2, config, multi_address=True)
    world.do(lambda: two.connect(1), 1)
    assert ends[0].data == encode_introduction(2, [("a", 3002), ("b", 3102)], multi_address=True)
    assert ports(world) == [3001, 3002, 3102]


def test_only_the_newest_message_waits_for_a_connection(world):
    config = members(1, 2)
    two = world.mesh(2, config)
    assert not two.have_delivered(), "nobody was sent anything"
    for text in (b"one", b"two", b"three"):
        world.do(lambda text=text: two.send(1, text), 1)
    assert not two.have_delivered()
    one = world.mesh(1, config)
    world.do(two.connect_all, 1)
    assert world.got[1] == [(2, b"three")]
    assert two.have_delivered()
    assert one.connected() == [2]


def test_one_server_that_got_everything_is_enough_for_delivery(world):
    config = members(1, 2, 3)
    world.mesh(1, config)
    three = world.mesh(3, config)
    world.do(lambda: three.send(2, b"x"), 1)
    assert not three.have_delivered()
    world.do(lambda: three.send(1, b"x"), 1)
    assert three.have_delivered()


def test_the_last_message_is_repeated_on_a_new_connection(world):
    one, two = pair(world)
    world.do(lambda: two.send(1, b"old"), 1)
    world.do(lambda: two.send(1, b"last"), 1)
    world.network.cut(next(iter(world.network.ends)), "reset")
    world.pass_time(1)
    assert (one.connected(), two.connected()) == ([], [])
    world.do(two.connect_all, 1)
    assert world.got[1] == [(2, b"old"), (2, b"last"), (2, b"last")]


def test_a_message_that_waits_is_not_followed_by_the_last_one(world):
    _, two = pair(world)
    world.do(lambda: two.send(1, b"old"), 1)
    world.network.cut(next(iter(world.network.ends)), "reset")
    world.pass_time(1)
    world.do(lambda: two.send(1, b"new"), 1)
    assert world.got[1] == [(2, b"old"), (2, b"new")]


def test_a_connection_that_died_silently_is_replaced(world):
    one, two = pair(world)
    world.do(lambda: two.send(1, b"a"), 1)
    world.network.cut(next(iter(world.network.ends)), "silent")
    world.do(lambda: one.send(2, b"lost"), 10.1)
    world.do(lambda: one.send(2, b"b"), 1)
    assert world.got[2] == [(1, b"b")]
    assert (one.connected(), two.connected()) == ([2], [1])
    assert world.got[1] == [(2, b"a"), (2, b"a")]


def test_a_new_connection_has_ten_seconds_again(world):
    ends = world.listen(3001)
    two = world.mesh(2, members(1, 2))
    for text in (b"a", b"b", b"c"):
        world.do(lambda text=text: two.send(1, text), 10.1 if text == b"a" else 1)
    assert [end.lost for end in ends] == [True, False]
    assert ends[1].data.endswith(encode_frame(b"b") + encode_frame(b"c"))


def test_a_connection_that_brings_something_is_kept(world):
    one, two = pair(world)
    world.do(lambda: two.send(1, b"a"), 20)
    world.do(lambda: one.send(2, b"b"), 20)
    world.do(lambda: two.send(1, b"c"), 9.9)
    world.do(lambda: two.send(1, b"d"), 1)
    assert world.dials == [("h1", 3001)]
    assert world.got[1] == [(2, b"a"), (2, b"c"), (2, b"d")]
    world.do(lambda: two.send(1, b"e"), 1)
    assert world.dials == [("h1", 3001)] * 2, "counted from the first frame that was not answered"


def test_a_server_that_does_not_read_gets_only_the_newest_message_later(world):
    config = members(1, 2)
    ends = world.listen(3001)
    two = world.mesh(2, config)
    world.do(lambda: two.connect(1), 1)
    ends[0].transport.pause_reading()
    for number in range(10):
        world.do(lambda number=number: two.send(1, b"%d" % number * 60_000))
    ends[0].data = b""
    ends[0].transport.resume_reading()
    world.pass_time(5)
    assert ends[0].data.endswith(encode_frame(b"9" * 60_000))
    assert len(ends[0].data) < 5 * 60_000
    assert two.have_delivered()


def test_a_newer_connection_takes_the_place_of_an_older_one(world):
    one = world.mesh(1, members(1, 2))
    hello = encode_introduction(2, [("h2", 3002)], multi_address=False)
    first = world.dial(3001, hello)
    second = world.dial(3001, hello + encode_frame(b"x"))
    assert (first.lost, second.lost) == (True, False)
    assert world.got[1] == [(2, b"x")]
    world.do(lambda: one.send(2, b"y"), 1)
    assert second.data == encode_frame(b"y")


def test_a_restarted_smaller_server_makes_the_larger_one_dial_anew(world):
    _, two = pair(world)
    world.do(lambda: two.send(1, b"x"), 1)
    raw = world.dial(3002, encode_introduction(1, [("h1", 3001)], multi_address=False))
    assert raw.lost
    assert world.dials == [("h1", 3001), ("raw", 3002), ("h1", 3001)]
    assert two.connected() == [1]
    assert world.got[1] == [(2, b"x"), (2, b"x")]


def test_it_is_dialled_back_where_it_says_it_is_before_where_the_membership_has_it(world):
    ends = world.listen(3999)
    world.mesh(2, members(1, 2))
    world.dial(3002, encode_introduction(1, [("moved", 3999)], multi_address=False))
    assert world.dials[1:] == [("moved", 3999)]
    assert ends[0].data.startswith(struct.pack(">qq", -65536, 2))
    world.dial(3002, encode_introduction(1, [("gone", 3998)], multi_address=False))
    assert world.dials[-2:] == [("gone", 3998), ("h1", 3001)]


@pytest.mark.parametrize("text", [struct.pack(">q", 1), encode_introduction(1, [("0.0.0.0", 1)], multi_address=False)])
def test_who_does_not_say_where_it_is_is_dialled_by_the_membership(world, text):
    world.mesh(2, members(1, 2))
    world.dial(3002, text)
    assert world.dials[1:] == [("h1", 3001)]


def test_old_servers_may_tell_only_their_id(world):
    one = world.mesh(1, members(1, 2))
    raw = world.dial(3001, struct.pack(">q", 2) + encode_frame(b"x"))
    assert world.got[1] == [(2, b"x")]
    assert one.connected() == [2]
    assert not raw.lost


def test_one_address_after_the_other_is_dialled(world):
    config = parse_config("server.1=a:2000:3900|b:2000:3001\nserver.2=h2:2000:3002", multi_address=True)
    two = world.mesh(2, config)
    ends = world.listen(3001)
    world.do(lambda: two.send(1, b"x"), 1)
    assert world.dials == [("a", 3900), ("b", 3001)]
    assert ends[0].data.endswith(encode_frame(b"x"))


def test_an_address_that_does_not_answer_is_given_up(world, caplog):
    config = parse_config("server.1=a:2000:3900|b:2000:3001\nserver.2=h2:2000:3002", multi_address=True)
    two = world.mesh(2, config, connect_timeout_s=1.5)
    connect = world.network.connect

    async def never(process, factory, host, port, local):
        if port == 3900:
            await asyncio.sleep(1e9)
        return await connect(process, factory, host, port, local)

    world.network.connect = never
    world.listen(3001)
    world.do(lambda: two.send(1, b"x"), 1.4)
    assert two.connected() == []
    world.pass_time(0.2)
    assert two.connected() == [1]
    assert "server 1 at election address a:3900: no answer in time" in caplog.text


def test_nobody_is_dialled_twice_at_once(world):
    two = world.mesh(2, members(1, 2))
    world.do(lambda: [two.send(1, b"x"), two.send(1, b"y"), two.connect_all()], 1)
    assert world.dials == [("h1", 3001)]


def stall(world, ports):
    """Dials to these ports are never answered."""
    connect = world.network.connect

    async def never(process, factory, host, port, local):
        world.dials.append((host, port))
        await asyncio.sleep(1e9)

    world.network.connect = lambda *args: never(*args) if args[3] in ports else connect(*args)


def test_who_is_being_dialled_already_is_not_dialled_back_as_well(world):
    stall(world, [3001])
    two = world.mesh(2, members(1, 2))
    world.do(lambda: two.send(1, b"x"))
    world.dial(3002, encode_introduction(1, [("h1", 3001)], multi_address=False))
    assert world.dials == [("h1", 3001), ("raw", 3002)]


def test_a_message_waits_while_a_server_that_joins_is_dialled_back(world, caplog):
    ends = world.listen(3000)
    two = world.mesh(2, members(1, 2))
    world.dial(3002, encode_introduction(0, [("h0", 3000)], multi_address=False), seconds=0)
    world.loop.run_until(world.loop.time() + 1, lambda: ("h0", 3000) in world.dials)
    world.do(lambda: two.send(0, b"y"), 1)
    assert ends[0].data.endswith(encode_frame(b"y"))
    assert caplog.text == ""


def test_a_message_to_a_stranger_that_could_not_be_dialled_back_is_forgotten(world, caplog):
    two = world.mesh(2, members(1, 2))
    world.dial(3002, encode_introduction(0, [("h0", 3000)], multi_address=False), seconds=0)
    world.loop.run_until(world.loop.time() + 1, lambda: ("h0", 3000) in world.dials)
    world.do(lambda: two.send(0, b"y"), 1)
    caplog.clear()
    world.do(two.connect_all)
    assert caplog.text == ""


def refused(world, caplog, port, data, why, *, hang_up=False):
    """Send ``data``; it must be refused with one line that has ``why``, and nothing else must happen."""
    caplog.clear()
    raw = world.dial(port, data)
    if hang_up:
        raw.transport.close()
        world.pass_time(1)
    assert raw.lost
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1
    assert why in lines[0]


HELLO = encode_introduction(3, [("h3", 3003)], multi_address=False)


@pytest.mark.parametrize(
    ("data", "why", "hang_up"),
    [
        # Its first bytes are the id of a server that might want to join.
        (b"GET / HTTP/1.0\r\n\r\n", "a frame of", False),
        (b"\xff" * 30, "no election connection", False),
        (struct.pack(">qqi", -65536, 3, 5000), "addresses of 5000 bytes", False),
        (struct.pack(">qqi", -65536, 3, 3) + b"abc", "not an address", False),
        (HELLO[:20], "after 20 bytes of an unfinished message", True),
        (b"", "after 0 bytes of an unfinished message", True),
        (HELLO + b"\0\0\0\0", "a frame of 0 bytes", False),
        (HELLO + b"\0\x08\0\1", "a frame of 524289 bytes", False),
        (HELLO + b"\0\0\0\5abc", "after 7 bytes of an unfinished message", True),
        (struct.pack(">qqi", -65536, 2, 4) + b"h2:1", "our own id 2", False),
        (struct.pack(">q", 2), "our own id 2", False),
        (struct.pack(">q", (1 << 63) - 1), "no membership has its id", False),
        (struct.pack(">qqi", -65536, -4, 4) + b"h2:1", "no membership has its id -4", False),
        (struct.pack(">q", 0), "its id 0 is the smaller one", False),
    ],
)
def test_who_is_no_server_is_refused(world, caplog, data, why, hang_up):
    two = world.mesh(2, members(1, 2, 3))
    refused(world, caplog, 3002, data, why, hang_up=hang_up)
    assert two.connected() == []
    assert world.got[2] == []


def test_who_does_not_introduce_itself_is_cut_off(world, caplog):
    world.mesh(2, members(1, 2), introduction_timeout_s=4.0)
    raw = world.dial(3002, b"\xff", seconds=3.9)
    assert not raw.lost
    world.pass_time(0.2)
    assert raw.lost
    assert "it did not introduce itself within 4 s" in caplog.text


def test_who_has_introduced_itself_may_be_silent(world):
    two = world.mesh(2, members(1, 2, 3), introduction_timeout_s=4.0)
    world.dial(3002, HELLO, seconds=100)
    assert two.connected() == [3]


def test_only_so_many_may_be_nameless(world, caplog):
    world.mesh(2, members(1, 2), introduction_timeout_s=1000)
    raws = [world.dial(3002, seconds=0.01) for _ in range(STRANGERS_MAX + 1)]
    world.pass_time(1)
    assert [raw.lost for raw in raws] == [False] * STRANGERS_MAX + [True]
    assert "others have not introduced themselves either" in caplog.text
    raws[0].transport.abort()
    world.pass_time(1)
    assert not world.dial(3002).lost


def test_a_server_that_joins_is_let_in_and_answered(world):
    two = world.mesh(2, members(1, 2))
    raw = world.dial(3002, encode_introduction(9, [("h9", 3009)], multi_address=False) + encode_frame(b"x"))
    assert world.got[2] == [(9, b"x")]
    world.do(lambda: two.send(9, b"y"), 1)
    assert raw.data == encode_frame(b"y")


def test_a_server_that_joins_with_a_smaller_id_is_dialled_back(world):
    ends = world.listen(3000)
    two = world.mesh(2, members(1, 2))
    world.dial(3002, encode_introduction(0, [("h0", 3000)], multi_address=False))
    assert two.connected() == [0]
    world.do(lambda: two.send(0, b"y"), 1)
    assert ends[0].data.endswith(encode_frame(b"y"))


def test_only_so_many_servers_may_join(world, caplog):
    two = world.mesh(2, members(1, 2, 3))
    raws = [world.dial(3002, struct.pack(">q", 100 + n), seconds=0.01) for n in range(STRANGERS_MAX + 1)]
    world.pass_time(1)
    assert [raw.lost for raw in raws] == [False] * STRANGERS_MAX + [True]
    assert "no membership has its id 200" in caplog.text
    world.dial(3002, HELLO)
    assert 3 in two.connected(), "members are always let in"
    raws[0].transport.close()
    world.pass_time(1)
    assert not world.dial(3002, struct.pack(">q", 100)).lost


def test_strangers_that_cannot_be_dialled_back_are_forgotten(world):
    two = world.mesh(500, members(1, 500))
    for sid in range(2, 4 * STRANGERS_MAX):
        world.dial(3500, encode_introduction(sid, [("gone", 1)], multi_address=False), seconds=0.1)
    assert len(world.dials) == 2 * (4 * STRANGERS_MAX - 2)
    assert two.connected() == []


def test_a_stranger_cannot_be_dialled(world, caplog):
    two = world.mesh(2, members(1, 2))
    world.do(lambda: two.send(9, b"x"), 1)
    assert "server 9 cannot be dialled" in caplog.text
    assert world.dials == []


def test_what_follows_a_smaller_introduction_is_not_read(world):
    two = world.mesh(2, members(1, 2))
    world.dial(3002, encode_introduction(1, [("h1", 3001)], multi_address=False) + encode_frame(b"x"))
    assert world.got[2] == []
    assert two.connected() == []


def test_a_new_membership_is_dialled_and_an_old_one_forgotten(world, caplog):
    two = world.mesh(2, members(1, 2))
    ends = world.listen(3000)
    world.do(lambda: two.send(1, b"x"), 1)
    world.do(lambda: two.set_configs(members(1, 2), members(0, 2)), 1)
    assert two.connected() == [0]
    assert len(ends) == 1
    world.do(lambda: two.set_configs(members(0, 2)))
    world.dials.clear()
    caplog.clear()
    world.do(two.connect_all, 1)
    assert world.dials == [], "1 is nobody any more"
    assert caplog.text == ""


def test_the_proposed_address_is_dialled_after_the_committed_one(world):
    two = world.mesh(2, members(1, 2), proposed=members(1, 2, hosts={1: "other"}))
    world.do(lambda: two.connect(1), 1)
    assert world.dials == [("h1", 3001), ("other", 3001)]


def test_a_new_own_address_is_bound_and_the_old_one_left(world):
    two = world.mesh(2, members(1, 2))
    world.do(lambda: two.set_configs(parse_config("server.1=h1:2000:3001\nserver.2=h2:2000:3777")))
    world.do(two.listen)
    assert ports(world) == [3777]
    world.do(lambda: two.set_configs(members(1, 3)))
    world.do(two.listen)
    assert ports(world) == [3777], "who is removed goes on listening"


def test_a_taken_port_is_tried_again(world, caplog):
    world.listen(3002)
    with pytest.raises(BindError, match="server 2") as raised:
        world.mesh(2, members(1, 2), bind_tries=3)
    assert raised.value.exit_code == 14
    assert caplog.text.count("cannot listen on election address h2:3002") == 3
    assert 2.0 <= world.loop.time() < 2.1


def test_a_port_that_becomes_free_is_bound(world):
    world.listen(3002)
    world.loop.world_at(5.5, lambda: world.network.listeners.pop(("world", 3002)))
    world.mesh(2, members(1, 2), bind_tries=0)
    assert 6.0 <= world.loop.time() < 6.1


def test_one_of_several_addresses_is_enough(world, caplog):
    world.listen(3002)
    config = parse_config("server.1=h1:2000:3001\nserver.2=a:2000:3002|b:2000:3102", multi_address=True)
    world.mesh(2, config, multi_address=True)
    assert 3102 in ports(world)
    assert "a:3002" in caplog.text


def test_all_addresses_of_the_machine_are_listened_on_with_the_switch(world):
    mesh = world.mesh(2, members(1, 2), listen=False, listen_on_all_ips=True)
    hosts = []
    create = world.loop.create_server

    def note(factory, host, port, **options):
        hosts.append(host)
        return create(factory, host, port, **options)

    world.loop.create_server = note
    world.do(mesh.listen)
    assert hosts == [None]


def test_a_closed_mesh_is_silent(world):
    one, two = pair(world)
    world.do(lambda: two.send(1, b"x"), 1)
    world.do(two.close, 1)
    assert one.connected() == []
    assert ports(world) == [3001]
    world.do(lambda: two.send(1, b"y"), 1)
    assert world.got[1] == [(2, b"x")]
    assert len(world.network.ends) == 0


def test_nothing_is_received_after_closing(world):
    one = world.mesh(1, members(1, 2))

    def receive(sender, data):
        world.got[1].append((sender, data))
        one.close()

    one._received = receive
    world.dial(3001, struct.pack(">q", 2) + encode_frame(b"x") + encode_frame(b"y"))
    assert world.got[1] == [(2, b"x")]


def test_a_connection_that_is_accepted_while_closing_is_dropped(world):
    two = world.mesh(2, members(1, 2), introduction_timeout_s=1)
    accept = world.network.listeners["world", 3002].factory
    world.do(two.close)
    world.do(lambda: world.loop.create_server(accept, None, 3003))
    assert world.dial(3003, seconds=0.5).lost


def test_a_dial_ends_with_the_mesh(world, caplog):
    stall(world, [3001])
    two = world.mesh(2, members(1, 2))
    world.do(lambda: two.send(1, b"x"))
    world.do(two.close, 100)
    assert caplog.text == ""


def test_a_mesh_that_closes_while_it_dials_leaves_nothing(world):
    one, two = pair(world)
    world.do(lambda: two.send(1, b"x"))
    world.do(two.close, 1)
    assert one.connected() == []
    assert len(world.network.ends) == 0
