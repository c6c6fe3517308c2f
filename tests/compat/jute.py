"""A second codec of the client protocol, written from the record definitions and sharing nothing with the server's.

Requests are built as bytes, so that a test can also build wrong ones. Replies decode to plain tuples in which zxids,
times and session ids are marked by their type: those differ between two servers and are compared through a mapping.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

CREATE: Final = 1
DELETE: Final = 2
EXISTS: Final = 3
GET_DATA: Final = 4
SET_DATA: Final = 5
GET_ACL: Final = 6
SET_ACL: Final = 7
GET_CHILDREN: Final = 8
SYNC: Final = 9
PING: Final = 11
GET_CHILDREN2: Final = 12
CHECK: Final = 13
MULTI: Final = 14
CREATE2: Final = 15
RECONFIG: Final = 16
CHECK_WATCHES: Final = 17
REMOVE_WATCHES: Final = 18
CREATE_CONTAINER: Final = 19
DELETE_CONTAINER: Final = 20
CREATE_TTL: Final = 21
MULTI_READ: Final = 22
AUTH: Final = 100
SET_WATCHES: Final = 101
SASL: Final = 102
GET_EPHEMERALS: Final = 103
GET_ALL_CHILDREN_NUMBER: Final = 104
SET_WATCHES2: Final = 105
ADD_WATCH: Final = 106
WHO_AM_I: Final = 107
CREATE_SESSION: Final = -10
CLOSE_SESSION: Final = -11

XID_EVENT: Final = -1
XID_PING: Final = -2
XID_AUTH: Final = -4
XID_SET_WATCHES: Final = -8

Entry = tuple[int, str | None, str | None]
OPEN: Final[list[Entry]] = [(31, "world", "anyone")]
MULTI_END: Final = struct.pack(">i?i", -1, True, -1)


class Zxid(int):
    """A transaction id inside a reply."""


class Time(int):
    """Wall-clock milliseconds inside a reply."""


class Session(int):
    """A session id inside a reply."""


class Stat(NamedTuple):
    """The Stat record of a reply."""

    czxid: Zxid
    mzxid: Zxid
    ctime: Time
    mtime: Time
    version: int
    cversion: int
    aversion: int
    owner: Session
    data_length: int
    children: int
    pzxid: Zxid


# ---- requests


def text(value: str | bytes | None) -> bytes:
    """A ``ustring`` or ``buffer``: length and bytes, -1 for null."""
    if value is None:
        return b"\xff\xff\xff\xff"
    raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return struct.pack(">i", len(raw)) + raw


def vector(items: Iterable[bytes] | None) -> bytes:
    """A vector of encoded items, -1 for null."""
    if items is None:
        return b"\xff\xff\xff\xff"
    encoded = list(items)
    return struct.pack(">i", len(encoded)) + b"".join(encoded)


def acl(entries: Iterable[Entry] | None) -> bytes:
    """A vector of ACL entries (perms, scheme, id)."""
    if entries is None:
        return vector(None)
    return vector(struct.pack(">i", perms) + text(scheme) + text(who) for perms, scheme, who in entries)


def request(xid: int, opcode: int, body: bytes = b"") -> bytes:
    """Header and body, without the frame length."""
    return struct.pack(">ii", xid, opcode) + body


def frame(payload: bytes) -> bytes:
    """Length and payload."""
    return struct.pack(">i", len(payload)) + payload


def create(path: str | None, data: bytes | None, entries: Iterable[Entry] | None, flags: int) -> bytes:
    """CreateRequest, for op 1, 15 and 19."""
    return text(path) + text(data) + acl(entries) + struct.pack(">i", flags)


def create_ttl(path: str | None, data: bytes | None, entries: Iterable[Entry] | None, flags: int, ttl: int) -> bytes:
    """CreateTTLRequest."""
    return create(path, data, entries, flags) + struct.pack(">q", ttl)


def path_version(path: str | None, version: int) -> bytes:
    """DeleteRequest, CheckVersionRequest."""
    return text(path) + struct.pack(">i", version)


def set_data(path: str | None, data: bytes | None, version: int) -> bytes:
    """SetDataRequest."""
    return text(path) + text(data) + struct.pack(">i", version)


def set_acl(path: str | None, entries: Iterable[Entry] | None, version: int) -> bytes:
    """SetACLRequest."""
    return text(path) + acl(entries) + struct.pack(">i", version)


def path_watch(path: str | None, watch: bool) -> bytes:
    """ExistsRequest, GetDataRequest, GetChildrenRequest, GetChildren2Request."""
    return text(path) + struct.pack(">?", watch)


def path_int(path: str | None, number: int) -> bytes:
    """CheckWatchesRequest, RemoveWatchesRequest (type) and AddWatchRequest (mode)."""
    return text(path) + struct.pack(">i", number)


def set_watches(relative_zxid: int, *lists: Iterable[str | None] | None) -> bytes:
    """SetWatches with three lists, SetWatches2 with five."""
    vectors = (vector(None if paths is None else [text(path) for path in paths]) for paths in lists)
    return struct.pack(">q", relative_zxid) + b"".join(vectors)


def multi(operations: Iterable[tuple[int, bytes]]) -> bytes:
    """A multi or multiRead request of (opcode, body) pairs."""
    parts = [struct.pack(">i?i", opcode, False, -1) + body for opcode, body in operations]
    return b"".join(parts) + MULTI_END


def reconfig(joining: str | None, leaving: str | None, members: str | None, version: int = -1) -> bytes:
    """ReconfigRequest; ``version`` is that of the membership it changes, -1: any."""
    return text(joining) + text(leaving) + text(members) + struct.pack(">q", version)


def auth(scheme: str | None, credential: bytes | None) -> bytes:
    """AuthPacket."""
    return struct.pack(">i", 0) + text(scheme) + text(credential)


def connect(
    *,
    session: int = 0,
    password: bytes | None = bytes(16),
    timeout_ms: int = 30000,
    last_zxid: int = 0,
    read_only: bool | None = False,
    protocol: int = 0,
) -> bytes:
    """ConnectRequest; ``read_only=None`` leaves the byte out, as clients before 3.4 do."""
    fixed = struct.pack(">iqiq", protocol, last_zxid, timeout_ms, session) + text(password)
    return fixed if read_only is None else fixed + struct.pack(">?", read_only)


# ---- replies


class Cursor:
    """Reads records off one payload."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.position = 0

    def unpack(self, layout: str) -> tuple[Any, ...]:
        """Fixed-size fields."""
        values = struct.unpack_from(">" + layout, self.payload, self.position)
        self.position += struct.calcsize(">" + layout)
        return values

    def buffer(self) -> bytes | None:
        """A buffer or string, as bytes."""
        (length,) = self.unpack("i")
        if length == -1:
            return None
        start, self.position = self.position, self.position + length
        if length < 0 or self.position > len(self.payload):
            raise ValueError(f"a buffer of {length} bytes does not fit the reply")
        return self.payload[start : self.position]

    def text(self) -> str | None:
        """A string; bytes that are no UTF-8 stay visible."""
        raw = self.buffer()
        return None if raw is None else raw.decode("utf-8", "backslashreplace")

    def vector(self, item: Callable[[], Any]) -> list[Any] | None:
        """A vector of items."""
        (count,) = self.unpack("i")
        return None if count == -1 else [item() for _ in range(count)]

    def stat(self) -> Stat:
        """A Stat record."""
        a = self.unpack("qqqqiiiqiiq")
        return Stat(
            Zxid(a[0]), Zxid(a[1]), Time(a[2]), Time(a[3]), a[4], a[5], a[6], Session(a[7]), a[8], a[9], Zxid(a[10])
        )

    def rest(self) -> bytes:
        """Whatever follows the record."""
        return self.payload[self.position :]


def _names(cursor: Cursor) -> tuple[Any, ...]:
    """A list of names in an order of the reader's own: the server's is unspecified."""
    names = cursor.vector(cursor.text)
    return ("names", None if names is None else sorted(names))


def _acl_entries(cursor: Cursor) -> list[Any] | None:
    """ACL entries, sorted: "auth" expands to the identities of the connection, which stock keeps in hash order."""
    entries = cursor.vector(lambda: (cursor.unpack("i")[0], cursor.text(), cursor.text()))
    return None if entries is None else sorted(entries, key=repr)


def _identities(cursor: Cursor) -> list[Any] | None:
    """Identities, sorted: stock keeps them in hash order."""
    identities = cursor.vector(lambda: (cursor.text(), cursor.text()))
    return None if identities is None else sorted(identities, key=repr)


def _multi_results(cursor: Cursor) -> list[Any]:
    results: list[Any] = []
    while True:
        kind, done, err = cursor.unpack("i?i")
        if done:
            results.append(("end", kind, err))
            return results
        body: tuple[Any, ...] = ()
        if kind == CREATE:
            body = (cursor.text(),)
        elif kind in (CREATE2, CREATE_CONTAINER, CREATE_TTL):
            body = (cursor.text(), cursor.stat())
        elif kind == SET_DATA:
            body = (cursor.stat(),)
        elif kind == GET_DATA:
            body = (cursor.buffer(), cursor.stat())
        elif kind == GET_CHILDREN:
            body = _names(cursor)
        elif kind == -1:
            body = cursor.unpack("i")
        results.append((kind, err, body))


_BODIES: Final[dict[int, Callable[[Cursor], Any]]] = {
    CREATE: lambda c: c.text(),
    CREATE2: lambda c: (c.text(), c.stat()),
    CREATE_CONTAINER: lambda c: (c.text(), c.stat()),
    CREATE_TTL: lambda c: (c.text(), c.stat()),
    EXISTS: lambda c: c.stat(),
    GET_DATA: lambda c: (c.buffer(), c.stat()),
    SET_DATA: lambda c: c.stat(),
    GET_ACL: lambda c: (_acl_entries(c), c.stat()),
    SET_ACL: lambda c: c.stat(),
    GET_CHILDREN: _names,
    GET_CHILDREN2: lambda c: (_names(c), c.stat()),
    SYNC: lambda c: c.text(),
    MULTI: _multi_results,
    MULTI_READ: _multi_results,
    GET_EPHEMERALS: _names,
    GET_ALL_CHILDREN_NUMBER: lambda c: c.unpack("i"),
    ADD_WATCH: lambda c: c.unpack("i"),
    WHO_AM_I: _identities,
    RECONFIG: lambda c: (c.buffer(), c.stat()),
}


def decode_reply(payload: bytes, opcode: int) -> tuple[Any, ...]:
    """(xid, zxid, err, body, surplus bytes); the body of an error reply stays bytes."""
    cursor = Cursor(payload)
    xid, zxid, err = cursor.unpack("iqi")
    body: Any = None
    if err == 0 and opcode in _BODIES and cursor.rest():
        body = _BODIES[opcode](cursor)
    return xid, Zxid(zxid), err, body, cursor.rest()


def decode_event(payload: bytes) -> tuple[Any, ...]:
    """("event", zxid, err, type, state, path, surplus)."""
    cursor = Cursor(payload)
    _, zxid, err, kind, state = cursor.unpack("iqiii")
    return "event", Zxid(zxid), err, kind, state, cursor.text(), cursor.rest()


class Handshake(NamedTuple):
    """A ConnectResponse; ``surplus`` holds the readOnly byte when there is one."""

    protocol: int
    timeout_ms: int
    session: int
    password: bytes | None
    surplus: bytes


def decode_handshake(payload: bytes) -> Handshake:
    """The answer to a ConnectRequest."""
    cursor = Cursor(payload)
    protocol, timeout_ms, session = cursor.unpack("iiq")
    return Handshake(protocol, timeout_ms, session, cursor.buffer(), cursor.rest())
