"""A blocking client on a bare socket: it sends what it is told to, well-formed or not, and hides nothing it hears."""

from __future__ import annotations

import socket
import struct
from typing import Any

from compat import jute
from compat.servers import LOOPBACK

#: A server that keeps silent for so long is taken to say nothing.
SILENCE_S = 10.0


class Link:
    """One connection: frames out, frames in."""

    def __init__(self, port: int, silence_s: float = SILENCE_S) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), silence_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close without a word."""
        self._socket.close()

    def send(self, raw: bytes) -> bool:
        """Send bytes as they are; false when the server has closed already."""
        try:
            self._socket.sendall(raw)
        except ConnectionError:
            return False
        return True

    def end_output(self) -> None:
        """Tell the server that nothing more will come, while still listening."""
        self._socket.shutdown(socket.SHUT_WR)

    def receive(self) -> bytes | None:
        """The payload of the next frame; ``None`` once the server has closed. Raises TimeoutError on silence."""
        while True:
            if len(self._buffer) >= 4:
                (length,) = struct.unpack_from(">i", self._buffer)
                if len(self._buffer) >= 4 + length:
                    payload, self._buffer = self._buffer[4 : 4 + length], self._buffer[4 + length :]
                    return payload
            try:
                chunk = self._socket.recv(262144)
            except ConnectionError:
                return None
            if not chunk:
                return None
            self._buffer += chunk


class Client:
    """A session over a link, for scripted tests: one call, one reply; events are put aside."""

    def __init__(self, port: int, silence_s: float = SILENCE_S, **handshake: Any) -> None:
        self.link = Link(port, silence_s)
        self.events: list[tuple[Any, ...]] = []
        self._xid = 0
        self.link.send(jute.frame(jute.connect(**handshake)))
        payload = self.link.receive()
        if payload is None:
            self.link.close()
            raise ConnectionError("the server closed the connection instead of answering the handshake")
        self.handshake = jute.decode_handshake(payload)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    @property
    def session(self) -> int:
        """The session id the server gave."""
        return self.handshake.session

    @property
    def password(self) -> bytes:
        """The password of the session."""
        assert self.handshake.password is not None
        return self.handshake.password

    def post(self, opcode: int, body: bytes = b"", xid: int | None = None) -> None:
        """Send a request without waiting."""
        if xid is None:
            self._xid += 1
            xid = self._xid
        self.link.send(jute.frame(jute.request(xid, opcode, body)))

    def reply(self, opcode: int) -> tuple[Any, ...] | None:
        """The next reply, decoded; events before it go to ``events``; ``None`` once the server has closed."""
        while (payload := self.link.receive()) is not None:
            if payload.startswith(b"\xff\xff\xff\xff"):
                self.events.append(jute.decode_event(payload))
                continue
            return jute.decode_reply(payload, opcode)
        return None

    def call(self, opcode: int, body: bytes = b"", xid: int | None = None) -> tuple[int, Any]:
        """Send a request and wait: (error code, body). Raises ConnectionError when the server closed."""
        self.post(opcode, body, xid)
        answer = self.reply(opcode)
        if answer is None:
            raise ConnectionError(f"the server closed the connection on op {opcode}")
        return answer[2], answer[3]

    def close_session(self) -> None:
        """End the session properly and wait for the server to close."""
        self.post(jute.CLOSE_SESSION)
        self.reply(jute.CLOSE_SESSION)
        self.link.close()
