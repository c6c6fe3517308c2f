"""Connections leave by themselves: the server freezes what is alive now and then, and a cycle would stay for good."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from rig import create_body, watch_body

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.frontend.connection import Connection
from zabra.node import Server
from zabra.runtime.real import LOOP_VARIABLE, real_runtime, run
from zabra.wire.handshake import ConnectRequest, encode_connect
from zabra.wire.primitives import pack_buffer


def request(op: int, body: bytes = b"") -> bytes:
    return pack_buffer((1).to_bytes(4, "big") + op.to_bytes(4, "big", signed=True) + body)


class Client(asyncio.Protocol):
    """Sends all it has to say at once, and goes when it is cut or has seen three replies."""

    def __init__(self, says_goodbye: bool) -> None:
        self.gone = asyncio.get_running_loop().create_future()
        self.says_goodbye = says_goodbye

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.received = b""
        transport.write(encode_connect(ConnectRequest(0, 0, 10000, 0, bytes(16), False, True)))
        transport.write(request(Op.CREATE, create_body("/a")) + request(Op.GET_DATA, watch_body("/a", watch=True)))
        if self.says_goodbye:
            transport.write(request(Op.CLOSE_SESSION))

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.says_goodbye and len(self.received) > 41 + 20 + 88:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set_result(None)


async def clients_come_and_go(folder: Path) -> int:
    """Connections still in memory, with the collector off, after 20 clients have gone in both ways."""
    settings = Settings(data_dir=str(folder), client_port=0, client_port_address="127.0.0.1")
    server = Server(settings, real_runtime())
    await server.start()
    gc.collect()
    gc.disable()
    try:
        for number in range(20):
            _, client = await asyncio.get_running_loop().create_connection(
                lambda says_goodbye=number % 2 == 0: Client(says_goodbye), "127.0.0.1", server.client_port
            )
            await client.gone
        while server.hub.connections:
            await asyncio.sleep(0)
        # The loop lets go of a closed transport in the turns after.
        for _ in range(10):
            await asyncio.sleep(0)
        return sum(isinstance(thing, Connection) for thing in gc.get_objects())
    finally:
        gc.enable()
        await server.stop()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_connection_outlives_its_socket(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    monkeypatch.setenv(LOOP_VARIABLE, loop)
    assert run(clients_come_and_go(tmp_path)) == 0
