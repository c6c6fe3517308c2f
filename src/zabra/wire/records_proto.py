"""Records of module proto. Generated from schema.jute by dev/gen_records.py; do not edit."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from zabra.wire.primitives import Reader, pack_buffer, pack_path, pack_text, pack_vector
from zabra.wire.records_data import Acl, ClientInfo, decode_acl, encode_acl

_B: Final = Struct(">?")
_I: Final = Struct(">i")
_IBI: Final = Struct(">i?i")
_II: Final = Struct(">ii")
_IQ: Final = Struct(">iq")
_IQI: Final = Struct(">iqi")
_Q: Final = Struct(">q")

class SetWatches(NamedTuple):
    """long relative_zxid, vector<path> data_watches, vector<path> exist_watches, vector<path> child_watches."""

    relative_zxid: int
    data_watches: tuple[bytes | None, ...] | None
    exist_watches: tuple[bytes | None, ...] | None
    child_watches: tuple[bytes | None, ...] | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                _Q.pack(self.relative_zxid),
                pack_vector(None if self.data_watches is None else [pack_path(item) for item in self.data_watches]),
                pack_vector(None if self.exist_watches is None else [pack_path(item) for item in self.exist_watches]),
                pack_vector(None if self.child_watches is None else [pack_path(item) for item in self.child_watches]),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        relative_zxid, = r.read_struct(_Q)
        data_watches = r.read_vector(r.read_path)
        exist_watches = r.read_vector(r.read_path)
        child_watches = r.read_vector(r.read_path)
        return cls(relative_zxid, data_watches, exist_watches, child_watches)


class SetWatches2(NamedTuple):
    """6 fields, relative_zxid to persistent_recursive_watches."""

    relative_zxid: int
    data_watches: tuple[bytes | None, ...] | None
    exist_watches: tuple[bytes | None, ...] | None
    child_watches: tuple[bytes | None, ...] | None
    persistent_watches: tuple[bytes | None, ...] | None
    persistent_recursive_watches: tuple[bytes | None, ...] | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                _Q.pack(self.relative_zxid),
                pack_vector(None if self.data_watches is None else [pack_path(item) for item in self.data_watches]),
                pack_vector(None if self.exist_watches is None else [pack_path(item) for item in self.exist_watches]),
                pack_vector(None if self.child_watches is None else [pack_path(item) for item in self.child_watches]),
                pack_vector(None if self.persistent_watches is None else [pack_path(item) for item in self.persistent_watches]),
                pack_vector(None if self.persistent_recursive_watches is None else [pack_path(item) for item in self.persistent_recursive_watches]),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        relative_zxid, = r.read_struct(_Q)
        data_watches = r.read_vector(r.read_path)
        exist_watches = r.read_vector(r.read_path)
        child_watches = r.read_vector(r.read_path)
        persistent_watches = r.read_vector(r.read_path)
        persistent_recursive_watches = r.read_vector(r.read_path)
        return cls(relative_zxid, data_watches, exist_watches, child_watches, persistent_watches, persistent_recursive_watches)


class RequestHeader(NamedTuple):
    """int xid, int type."""

    xid: int
    type: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _II.pack(self.xid, self.type)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        xid, type = r.read_struct(_II)
        return cls(xid, type)


class ReplyHeader(NamedTuple):
    """int xid, long zxid, int err."""

    xid: int
    zxid: int
    err: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _IQI.pack(self.xid, self.zxid, self.err)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        xid, zxid, err = r.read_struct(_IQI)
        return cls(xid, zxid, err)


class MultiHeader(NamedTuple):
    """int type, bool done, int err."""

    type: int
    done: bool
    err: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _IBI.pack(self.type, self.done, self.err)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        type, done, err = r.read_struct(_IBI)
        return cls(type, bool(done), err)


class AuthPacket(NamedTuple):
    """int type, ustring scheme, buffer auth."""

    type: int
    scheme: str | None
    auth: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                _I.pack(self.type),
                pack_text(self.scheme),
                pack_buffer(self.auth),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        type, = r.read_struct(_I)
        scheme = r.read_text()
        auth = r.read_buffer()
        return cls(type, scheme, auth)


class GetDataRequest(NamedTuple):
    """path path, bool watch."""

    path: bytes | None
    watch: bool

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _B.pack(self.watch),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        watch, = r.read_struct(_B)
        return cls(path, bool(watch))


class SetDataRequest(NamedTuple):
    """path path, buffer data, int version."""

    path: bytes | None
    data: bytes | None
    version: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                pack_buffer(self.data),
                _I.pack(self.version),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        data = r.read_buffer()
        version, = r.read_struct(_I)
        return cls(path, data, version)


class ReconfigRequest(NamedTuple):
    """ustring joining_servers, ustring leaving_servers, ustring new_members, long cur_config_id."""

    joining_servers: str | None
    leaving_servers: str | None
    new_members: str | None
    cur_config_id: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_text(self.joining_servers),
                pack_text(self.leaving_servers),
                pack_text(self.new_members),
                _Q.pack(self.cur_config_id),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        joining_servers = r.read_text()
        leaving_servers = r.read_text()
        new_members = r.read_text()
        cur_config_id, = r.read_struct(_Q)
        return cls(joining_servers, leaving_servers, new_members, cur_config_id)


class GetSaslRequest(NamedTuple):
    """buffer token."""

    token: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_buffer(self.token)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        token = r.read_buffer()
        return cls(token)


class CreateRequest(NamedTuple):
    """path path, buffer data, acl acl, int flags."""

    path: bytes | None
    data: bytes | None
    acl: Acl | None
    flags: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                pack_buffer(self.data),
                encode_acl(self.acl),
                _I.pack(self.flags),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        data = r.read_buffer()
        acl = decode_acl(r)
        flags, = r.read_struct(_I)
        return cls(path, data, acl, flags)


class CreateTtlRequest(NamedTuple):
    """path path, buffer data, acl acl, int flags, long ttl."""

    path: bytes | None
    data: bytes | None
    acl: Acl | None
    flags: int
    ttl: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                pack_buffer(self.data),
                encode_acl(self.acl),
                _IQ.pack(self.flags, self.ttl),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        data = r.read_buffer()
        acl = decode_acl(r)
        flags, ttl = r.read_struct(_IQ)
        return cls(path, data, acl, flags, ttl)


class DeleteRequest(NamedTuple):
    """path path, int version."""

    path: bytes | None
    version: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _I.pack(self.version),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        version, = r.read_struct(_I)
        return cls(path, version)


class GetChildrenRequest(NamedTuple):
    """path path, bool watch."""

    path: bytes | None
    watch: bool

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _B.pack(self.watch),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        watch, = r.read_struct(_B)
        return cls(path, bool(watch))


class GetAllChildrenNumberRequest(NamedTuple):
    """path path."""

    path: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_path(self.path)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        return cls(path)


class CheckVersionRequest(NamedTuple):
    """path path, int version."""

    path: bytes | None
    version: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _I.pack(self.version),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        version, = r.read_struct(_I)
        return cls(path, version)


class SyncRequest(NamedTuple):
    """path path."""

    path: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_path(self.path)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        return cls(path)


class GetAclRequest(NamedTuple):
    """path path."""

    path: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_path(self.path)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        return cls(path)


class SetAclRequest(NamedTuple):
    """path path, acl acl, int version."""

    path: bytes | None
    acl: Acl | None
    version: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                encode_acl(self.acl),
                _I.pack(self.version),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        acl = decode_acl(r)
        version, = r.read_struct(_I)
        return cls(path, acl, version)


class AddWatchRequest(NamedTuple):
    """path path, int mode."""

    path: bytes | None
    mode: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _I.pack(self.mode),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        mode, = r.read_struct(_I)
        return cls(path, mode)


class WatcherEvent(NamedTuple):
    """int type, int state, path path."""

    type: int
    state: int
    path: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                _II.pack(self.type, self.state),
                pack_path(self.path),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        type, state = r.read_struct(_II)
        path = r.read_path()
        return cls(type, state, path)


class ErrorResponse(NamedTuple):
    """int err."""

    err: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _I.pack(self.err)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        err, = r.read_struct(_I)
        return cls(err)


class ExistsRequest(NamedTuple):
    """path path, bool watch."""

    path: bytes | None
    watch: bool

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _B.pack(self.watch),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        watch, = r.read_struct(_B)
        return cls(path, bool(watch))


class CheckWatchesRequest(NamedTuple):
    """path path, int type."""

    path: bytes | None
    type: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _I.pack(self.type),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        type, = r.read_struct(_I)
        return cls(path, type)


class RemoveWatchesRequest(NamedTuple):
    """path path, int type."""

    path: bytes | None
    type: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                _I.pack(self.type),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        type, = r.read_struct(_I)
        return cls(path, type)


class GetEphemeralsRequest(NamedTuple):
    """path prefix_path."""

    prefix_path: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_path(self.prefix_path)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        prefix_path = r.read_path()
        return cls(prefix_path)


class WhoAmIResponse(NamedTuple):
    """vector<ClientInfo> client_info."""

    client_info: tuple[ClientInfo, ...] | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_vector(None if self.client_info is None else [item.encode() for item in self.client_info])

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        client_info = r.read_vector(lambda: ClientInfo.decode(r))
        return cls(client_info)
