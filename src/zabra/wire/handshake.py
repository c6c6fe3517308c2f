"""The first frame of a connection and its reply; neither has a header (``ConnectRequest``, ``ConnectResponse``).

  request   int protocolVersion, long lastZxidSeen, int timeOut, long sessionId, buffer passwd [, bool readOnly]
  response  int protocolVersion, int timeOut, long sessionId, buffer passwd [, bool readOnly]

Clients before 3.4 do not send the readOnly byte and must not be sent one.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from zabra.wire.primitives import Reader, pack_buffer

_HEAD: Final = Struct(">iqiq")
_REPLY: Final = Struct(">iiiq")
_LENGTH: Final = Struct(">i")


class ConnectRequest(NamedTuple):
    """What a client asks for."""

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes | None
    read_only: bool
    #: Whether the readOnly byte was there.
    has_read_only: bool


def parse_connect(frame: bytes) -> ConnectRequest:
    """Parse a connect request without its length prefix. Raises MarshallingError."""
    r = Reader(frame)
    version, last_zxid, timeout, session_id = r.unpack(_HEAD)
    password = r.read_buffer()
    has_read_only = r.pos < len(frame)
    read_only = r.read_bool() if has_read_only else False
    return ConnectRequest(version, last_zxid, timeout, session_id, password, read_only, has_read_only)


def encode_connect(request: ConnectRequest) -> bytes:
    """A connect request with its length prefix, as clients send it."""
    body = _HEAD.pack(request.protocol_version, request.last_zxid_seen, request.timeout_ms, request.session_id)
    body += pack_buffer(request.password)
    if request.has_read_only:
        body += b"\1" if request.read_only else b"\0"
    return _LENGTH.pack(len(body)) + body


def encode_connect_response(timeout_ms: int, session_id: int, password: bytes, *, read_only: bool | None) -> bytes:
    """The reply with its length prefix; timeout and session 0 refuse. ``read_only`` None leaves the byte out."""
    tail = b"" if read_only is None else b"\1" if read_only else b"\0"
    size = _REPLY.size - 4 + 4 + len(password) + len(tail)
    return _REPLY.pack(size, 0, timeout_ms, session_id) + pack_buffer(password) + tail
