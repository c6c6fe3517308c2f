"""One election connection: the bytes of :mod:`zabra.quorum.meshwire` on an asyncio transport."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from zabra.errors import ProtocolError
from zabra.quorum.meshwire import Introduction, take_frames, take_introduction

_log = logging.getLogger(__name__)


class Owner(NamedTuple):
    """Whom a link tells what happens."""

    opened: Callable[[Link], None]
    introduced: Callable[[Link, Introduction], None]
    received: Callable[[Link, bytes], None]
    writable: Callable[[Link], None]
    closed: Callable[[Link], None]


class Link(asyncio.Protocol):
    """An accepted connection, whose ``sid`` is known once it has introduced itself, or a dialled one."""

    def __init__(self, owner: Owner, sid: int | None, *, keep_alive: bool) -> None:
        self.sid = sid
        self.accepted = sid is None
        self.name = "?"
        self._owner = owner
        self._keep_alive = keep_alive
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._paused = False

    @property
    def is_open(self) -> bool:
        """Whether writing may still reach the other side."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_writable(self) -> bool:
        """Whether the other side takes what it gets."""
        return self.is_open and not self._paused

    def write(self, data: bytes) -> None:
        """Send; only while :attr:`is_open`."""
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        """Send what was written, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def refuse(self, why: str) -> None:
        """Close, and say why in the log."""
        if self.is_open:
            who = self.name if self.sid is None else f"{self.name} (server {self.sid})"
            _log.warning("closing the election connection with %s: %s", who, why)
            self.abort()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.name = f"{peer[0]}:{peer[1]}" if peer else "?"
        self._set_options(transport.get_extra_info("socket"))
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the other side."""
        buffer = self._buffer
        buffer += data
        try:
            if self.sid is None:
                introduction = take_introduction(buffer)
                if introduction is None:
                    return
                self._owner.introduced(self, introduction)
            frames = take_frames(buffer) if self.is_open else []
        except ProtocolError as error:
            self.refuse(str(error))
            return
        for frame in frames:
            self._owner.received(self, frame)

    def eof_received(self) -> None:
        """The other side has closed."""
        if self._buffer or self.sid is None:
            self.refuse(f"it ended after {len(self._buffer)} bytes of an unfinished message")

    def pause_writing(self) -> None:
        """The other side does not read."""
        self._paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        self._owner.writable(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if error is not None:
            _log.info("the election connection with %s broke: %s", self.name, error)
        self._owner.closed(self)

    def _set_options(self, sock: Any) -> None:
        """On real sockets only; simulated ones have none."""
        if sock is not None and self._keep_alive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
