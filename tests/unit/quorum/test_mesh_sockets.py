"""Election connections on real loopback sockets, on asyncio and on uvloop."""

import asyncio
import contextlib
import socket
import struct

import pytest

from zabra.config.dynamic import parse_config
from zabra.quorum.mesh import BindError, Mesh, MeshOptions
from zabra.quorum.meshwire import FRAME_MAX, encode_frame

HOST = "127.0.0.1"
LIMIT_S = 20


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    new_loop = pytest.importorskip(request.param).new_event_loop

    def run(main):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.wait_for(main(), LIMIT_S))

    return run


def ensemble(count):
    """A membership on ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        ports = [probe.getsockname()[1] for probe in probes]
    return parse_config("\n".join(f"server.{sid}={HOST}:1:{port}" for sid, port in enumerate(ports, 1)))


class Server:
    """A mesh and the queue of what it received."""

    def __init__(self, sid, config, **options):
        self.got = asyncio.Queue()
        self.mesh = Mesh(sid, config, lambda *got: self.got.put_nowait(got), options=MeshOptions(**options))
        self.port = config.members[sid].addresses[0][2]


@contextlib.asynccontextmanager
async def servers(count, **options):
    config = ensemble(count)
    made = [Server(sid, config, **options) for sid in config.members]
    for server in made:
        await server.mesh.listen()
    try:
        yield made
    finally:
        for server in made:
            server.mesh.close()


def test_servers_talk_whoever_dials(run):
    async def main():
        async with servers(3) as (one, two, three):
            one.mesh.send(3, b"a")
            assert await three.got.get() == (1, b"a")
            three.mesh.send(2, b"b")
            assert await two.got.get() == (3, b"b")
            two.mesh.send(1, b"c")
            two.mesh.send(3, b"d" * FRAME_MAX)
            assert await one.got.get() == (2, b"c")
            assert await three.got.get() == (2, b"d" * FRAME_MAX)
            assert three.mesh.connected() == [1, 2]

    run(main)


def test_dials_of_both_sides_at_once(run):
    async def main():
        async with servers(2) as (one, two):
            one.mesh.send(2, b"a")
            two.mesh.send(1, b"b")
            assert await two.got.get() == (1, b"a")
            assert await one.got.get() == (2, b"b")

    run(main)


def test_a_stranger_gets_its_connection_closed(run, caplog):
    async def main():
        async with servers(2) as (one, two):
            reader, writer = await asyncio.open_connection(HOST, two.port)
            writer.write(struct.pack(">qqi", -65536, 1, 9999))
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            one.mesh.send(2, b"a")
            assert await two.got.get() == (1, b"a")

    run(main)
    assert caplog.text.count("addresses of 9999 bytes") == 1


def test_who_hangs_up_in_the_middle_is_forgotten(run):
    async def main():
        async with servers(2) as (one, two):
            two.mesh.send(1, b"a")
            assert await one.got.get() == (2, b"a")
            _, writer = await asyncio.open_connection(HOST, one.port)
            writer.write(struct.pack(">q", 2) + encode_frame(b"b") + b"\0\0\0\5abc")
            assert await one.got.get() == (2, b"b")
            writer.close()
            while one.mesh.connected() or two.mesh.connected():
                await asyncio.sleep(0)
            two.mesh.send(1, b"c")
            assert await one.got.get() == (2, b"c")

    run(main)


@pytest.mark.parametrize("keep_alive", [True, False])
def test_the_options_of_sockets(run, keep_alive):
    async def main():
        async with servers(2, keep_alive=keep_alive) as (one, two):
            two.mesh.send(1, b"a")
            await one.got.get()
            link = two.mesh._peers[1].link
            sock = link._transport.get_extra_info("socket")
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is keep_alive
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(main)


def test_names_are_resolved_anew_for_each_dial(monkeypatch):
    asked = []
    resolve = socket.getaddrinfo

    def note(host, *args, **options):
        if host == "zoo1.test":
            asked.append(host)
            host = HOST if len(asked) > 1 else "127.0.0.9"
        return resolve(host, *args, **options)

    async def main():
        config = ensemble(2)
        text = config.text().replace(f"server.1={HOST}", "server.1=zoo1.test")
        two = Server(2, parse_config(text))
        one = Server(1, config)
        await one.mesh.listen()
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop.__class__, "getaddrinfo", _resolver(note), raising=False)
        try:
            two.mesh.send(1, b"a")
            while two.mesh._dials:
                await asyncio.wait(two.mesh._dials.values())
            assert two.mesh.connected() == []
            two.mesh.connect_all()
            assert await one.got.get() == (2, b"a")
        finally:
            one.mesh.close()
            two.mesh.close()

    def _resolver(lookup):
        async def getaddrinfo(self, host, port, **options):
            return lookup(host, port, **{**options, "type": socket.SOCK_STREAM})

        return getaddrinfo

    with asyncio.Runner() as runner:
        runner.run(asyncio.wait_for(main(), LIMIT_S))
    assert asked == ["zoo1.test"] * 2


@pytest.mark.parametrize("turns", range(6))
def test_a_port_that_is_bound_while_closing_is_left(run, turns):
    async def main():
        server = Server(1, ensemble(1))
        listening = asyncio.get_running_loop().create_task(server.mesh.listen())
        for _ in range(turns):
            await asyncio.sleep(0)
        server.mesh.close()
        await listening
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, server.port)

    run(main)


def test_a_taken_port_and_a_name_nobody_knows_are_bind_errors(run):
    async def main():
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            port = taken.getsockname()[1]
            config = parse_config(f"server.1={HOST}:1:{port}\nserver.2=no-such-host.invalid:1:2")
            for sid in config.members:
                with pytest.raises(BindError):
                    await Mesh(sid, config, print, options=MeshOptions(bind_tries=1)).listen()

    run(main)
