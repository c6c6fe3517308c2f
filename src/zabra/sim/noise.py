"""Connections of nobody that is a client: garbage, half requests, monsters, four-letter words."""

from __future__ import annotations

import asyncio
import random
from struct import pack
from typing import Final, cast

from zabra.config.model import FOUR_LETTER_WORDS
from zabra.sim.loop import SimLoop
from zabra.wire.handshake import ConnectRequest, encode_connect

#: Words whose answers do not tell of the real machine, its memory, files or time zone: a run must not depend on those.
_WORDS: Final = tuple(word[:4] for word in FOUR_LETTER_WORDS if word not in ("envi", "mntr", "dump", "gtmk", "stmk"))
#: The address that noise comes from.
ADDRESS = "10.0.2.1"


class Noise(asyncio.Protocol):
    """Says something, hangs up after ``patience`` seconds, and listens to nothing."""

    def __init__(self, loop: SimLoop, data: bytes, patience: float) -> None:
        self._loop = loop
        self._data = data
        self._patience = patience

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)
        stream.write(self._data)
        self._loop.call_later(self._patience, stream.close)


def make_noise(loop: SimLoop, rng: random.Random, server: str, port: int = 2181) -> None:
    """Connect once and say something that no client would."""
    noise = Noise(loop, _draw(rng), rng.random() * 5)

    async def connect() -> None:
        try:
            await loop.create_connection(lambda: noise, server, port, local_addr=(ADDRESS, 0))
        except OSError as error:
            loop.trace.add("noise", type(error).__name__)

    loop.create_task(connect(), name="noise")


def _draw(rng: random.Random) -> bytes:
    greeting = encode_connect(ConnectRequest(0, 0, 1000, 0, bytes(16), False, True))
    kind = rng.randrange(7)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 200))
    if kind == 1:
        return pack(">i", rng.choice((-1, -(1 << 31), (1 << 31) - 1, 1 << 24))) + rng.randbytes(50)
    if kind == 2:
        return greeting[: rng.randrange(len(greeting))]
    if kind == 3:
        return greeting + pack(">iii", 8, 1, rng.choice((999, -1, 13)))
    if kind == 4:
        return greeting + pack(">iii", rng.choice((0, 4, -1, 1 << 30)), 1, 5)
    if kind == 5:
        # A session that does not exist, or a wrong password.
        return encode_connect(ConnectRequest(0, 0, 1000, rng.randrange(1 << 63), rng.randbytes(16), False, True))
    return rng.choice(_WORDS).encode()
