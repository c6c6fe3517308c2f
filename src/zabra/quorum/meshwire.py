"""What election connections carry (``QuorumCnxManager``, ``InitialMessage``).

::

    introduction = long -65536, long id, int length (1..2048), address          one address: host:port, [IPv6]:port
                 | long -65535, long id, int length (1..2048), address|address  with multiAddress.enabled
                 | long id (0 or more)                                          servers before 3.5
    frame        = int length (1..524288), notification

Only who dials introduces itself; then both sides send frames.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from zabra.config.dynamic import format_address
from zabra.errors import ProtocolError

ONE_ADDRESS: Final = -65536
SEVERAL_ADDRESSES: Final = -65535
ADDRESSES_MAX: Final = 2048
FRAME_MAX: Final = 512 * 1024

Address = tuple[str, int]

_LONG: Final = struct.Struct(">q")
_HEAD: Final = struct.Struct(">qqi")
_LENGTH: Final = struct.Struct(">i")
_ADDRESS: Final = re.compile(r"(?:\[([^]|]+)\]|([^:|]+)):([0-9]{1,5})")


class Introduction(NamedTuple):
    """Who dials, and where it can be dialled; without wildcard addresses, so there may be none."""

    sid: int
    addresses: tuple[Address, ...]


def encode_introduction(sid: int, addresses: Sequence[Address], *, multi_address: bool) -> bytes:
    """How a server introduces itself; all of its ``addresses`` only where the others understand that."""
    told = addresses if multi_address else addresses[:1]
    text = "|".join(format_address(*address) for address in told).encode()
    return _HEAD.pack(SEVERAL_ADDRESSES if multi_address else ONE_ADDRESS, sid, len(text)) + text


def take_introduction(buffer: bytearray) -> Introduction | None:
    """Cut the introduction off the front of ``buffer``; None while it is incomplete. Raises :class:`ProtocolError`."""
    if len(buffer) < _LONG.size:
        return None
    (first,) = _LONG.unpack_from(buffer)
    if first >= 0:
        del buffer[: _LONG.size]
        return Introduction(first, ())
    if first not in (ONE_ADDRESS, SEVERAL_ADDRESSES):
        raise ProtocolError(f"no election connection: it begins with {bytes(buffer[:8])!r}")
    if len(buffer) < _HEAD.size:
        return None
    _, sid, length = _HEAD.unpack_from(buffer)
    if not 0 < length <= ADDRESSES_MAX:
        raise ProtocolError(f"addresses of {length} bytes")
    end = _HEAD.size + length
    if len(buffer) < end:
        return None
    text = bytes(buffer[_HEAD.size : end]).decode("utf-8", "replace")
    del buffer[:end]
    addresses = map(_parse_address, text.split("|"))
    return Introduction(sid, tuple(address for address in addresses if not _is_wildcard(address[0])))


def encode_frame(payload: bytes) -> bytes:
    """``payload`` with its length."""
    return _LENGTH.pack(len(payload)) + payload


def take_frames(buffer: bytearray) -> list[bytes]:
    """Cut all complete frames off the front of ``buffer``. Raises :class:`ProtocolError`."""
    frames = []
    start = 0
    while len(buffer) - start >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(buffer, start)
        if not 0 < length <= FRAME_MAX:
            raise ProtocolError(f"a frame of {length} bytes")
        end = start + _LENGTH.size + length
        if len(buffer) < end:
            break
        frames.append(bytes(buffer[start + _LENGTH.size : end]))
        start = end
    del buffer[:start]
    return frames


def _parse_address(text: str) -> Address:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        raise ProtocolError(f"not an address: {text[:80]!r}")
    return found[1] or found[2], int(found[3])


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
