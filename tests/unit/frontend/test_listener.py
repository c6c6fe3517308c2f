"""The client port: real sockets for binding and accepting, a clock of the test's for idle connections."""

from __future__ import annotations

import asyncio
import socket
from unittest.mock import patch

import pytest
from rig import Client, Rig, create_body

from zabra.consts import Op
from zabra.frontend.listener import Listener


def test_bind_accept_and_close() -> None:
    """Port 0 is any free one; a word is answered over a real socket; after close nobody listens."""
    rig = Rig()

    async def main() -> None:
        listener = Listener(rig.hub)
        await listener.bind("127.0.0.1", 0, -1)
        assert listener.port > 0
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"ruok")
        assert await reader.read() == b"ruok!"
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        while not rig.hub.connections:
            await asyncio.sleep(0)
        await listener.close()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", listener.port)

    asyncio.run(main())


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_any_free_port_is_one_for_all_addresses(name: str) -> None:
    """Both loops give IPv4 and IPv6 a port each."""
    loops = pytest.importorskip(name)

    async def main() -> None:
        listener = Listener(Rig().hub)
        await listener.bind(None, 0, -1)
        assert listener._server is not None
        ports = {sock.getsockname()[1] for sock in listener._server.sockets}
        await listener.close()
        assert ports == {listener.port}

    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner:
        runner.run(main())


def test_a_port_in_use_is_an_error() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            listener = Listener(Rig().hub)
            with pytest.raises(OSError, match="in use"):
                await listener.bind("127.0.0.1", taken.getsockname()[1], 50)

    asyncio.run(main())


def sweeping(rig: Rig) -> Listener:
    """A listener without a socket that sweeps on the rig's clock."""
    with patch("asyncio.get_running_loop", return_value=rig.scheduler):
        listener = Listener(rig.hub)
    listener._sweep()
    return listener


def test_silent_connections_are_closed() -> None:
    """Without a session after 10 s, with one after its timeout; who sends anything stays."""
    rig = Rig()
    stranger, halting = Client(rig), Client(rig)
    silent, busy = rig.client(timeout_ms=25000), rig.client(timeout_ms=12000)
    sweeping(rig)
    closed = []
    for _ in range(4):
        rig.advance(8)
        busy.request(Op.PING)
        if rig.clock.now < 1010:
            halting.send(b"\0\0")
        closed.append([client.transport.closed for client in (stranger, halting, silent, busy)])
    # Sweeps were 10, 20 and 30 s after the start.
    assert closed == [
        [False, False, False, False],
        [False, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]
    assert rig.stats.metrics.sessionless_connections_expired.value == 2
    assert rig.sessions.get(silent.session_id) is not None


def test_a_closed_connection_that_does_not_take_its_last_bytes_is_cut() -> None:
    """A socket waits for the other side for ever; what it holds must not stay."""
    rig = Rig()
    client = rig.client()
    sweeping(rig)
    client.transport.unsent = 1000
    rig.advance(20)
    assert client.transport.closed
    assert client.connection in rig.hub.connections
    rig.advance(10)
    assert not rig.hub.connections
    assert rig.hub.limits.total == 0
    assert rig.stats.metrics.sessionless_connections_expired.value == 0


def test_a_connection_that_waits_for_its_write_is_not_idle() -> None:
    """Its silence is the server's."""
    rig = Rig()
    client = rig.client()
    client.request(Op.CREATE, create_body("/a"), run=False)
    assert client.connection.waiting == 1
    rig.scheduler.ready.clear()
    sweeping(rig)
    rig.advance(25)
    assert not client.transport.closed


def test_connections_over_the_limits_are_closed_without_a_word() -> None:
    """maxClientCnxns counts by address, maxCnxns all; a closed one makes room."""
    rig = Rig(max_client_cnxns=2, max_cnxns=3)
    first, second = Client(rig), Client(rig)
    third = Client(rig)
    other = Client(rig, "10.0.0.1")
    fourth = Client(rig, "10.0.0.2")
    states = [client.transport.closed for client in (first, second, third, other, fourth)]
    assert states == [False, False, True, False, True]
    assert rig.stats.metrics.connection_rejected.value == 2
    third.connection.data_received(b"ruok")
    rig.run()
    assert third.transport.written == b""
    first.cut()
    assert not Client(rig, "10.0.0.2").transport.closed


def test_keep_alive_is_set_when_asked() -> None:
    """clientTcpKeepAlive."""
    for wanted in (False, True):
        rig = Rig(client_tcp_keep_alive=wanted)

        async def main(rig: Rig = rig) -> int:
            listener = Listener(rig.hub)
            await listener.bind("127.0.0.1", 0, -1)
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            while not rig.hub.connections:
                await asyncio.sleep(0)
            (connection,) = rig.hub.connections
            sock = connection.transport.get_extra_info("socket")
            on = int(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            await listener.close()
            await reader.read()
            writer.close()
            return on

        assert bool(asyncio.run(main())) is wanted
