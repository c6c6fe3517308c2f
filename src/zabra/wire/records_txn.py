"""Records of module txn. Generated from schema.jute by dev/gen_records.py; do not edit."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from zabra.wire.primitives import Reader, pack_buffer, pack_path, pack_vector
from zabra.wire.records_data import Acl, decode_acl, encode_acl

_B: Final = Struct(">?")
_BI: Final = Struct(">?i")
_I: Final = Struct(">i")
_IQ: Final = Struct(">iq")
_QIQQI: Final = Struct(">qiqqi")

class TxnDigest(NamedTuple):
    """int version, long digest."""

    version: int
    digest: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _IQ.pack(self.version, self.digest)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        version, digest = r.read_struct(_IQ)
        return cls(version, digest)


class TxnHeader(NamedTuple):
    """long session_id, int cxid, long zxid, long time_ms, int type."""

    session_id: int
    cxid: int
    zxid: int
    time_ms: int
    type: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _QIQQI.pack(self.session_id, self.cxid, self.zxid, self.time_ms, self.type)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        session_id, cxid, zxid, time_ms, type = r.read_struct(_QIQQI)
        return cls(session_id, cxid, zxid, time_ms, type)


class CreateTxn(NamedTuple):
    """path path, buffer data, acl acl, bool ephemeral, int parent_cversion."""

    path: bytes | None
    data: bytes | None
    acl: Acl | None
    ephemeral: bool
    parent_cversion: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                pack_buffer(self.data),
                encode_acl(self.acl),
                _BI.pack(self.ephemeral, self.parent_cversion),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        data = r.read_buffer()
        acl = decode_acl(r)
        ephemeral, parent_cversion = r.read_struct(_BI)
        return cls(path, data, acl, bool(ephemeral), parent_cversion)


class CreateTxnV0(NamedTuple):
    """path path, buffer data, acl acl, bool ephemeral."""

    path: bytes | None
    data: bytes | None
    acl: Acl | None
    ephemeral: bool

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                pack_buffer(self.data),
                encode_acl(self.acl),
                _B.pack(self.ephemeral),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        data = r.read_buffer()
        acl = decode_acl(r)
        ephemeral, = r.read_struct(_B)
        return cls(path, data, acl, bool(ephemeral))


class CreateTtlTxn(NamedTuple):
    """path path, buffer data, acl acl, int parent_cversion, long ttl."""

    path: bytes | None
    data: bytes | None
    acl: Acl | None
    parent_cversion: int
    ttl: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                pack_buffer(self.data),
                encode_acl(self.acl),
                _IQ.pack(self.parent_cversion, self.ttl),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        data = r.read_buffer()
        acl = decode_acl(r)
        parent_cversion, ttl = r.read_struct(_IQ)
        return cls(path, data, acl, parent_cversion, ttl)


class CreateContainerTxn(NamedTuple):
    """path path, buffer data, acl acl, int parent_cversion."""

    path: bytes | None
    data: bytes | None
    acl: Acl | None
    parent_cversion: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_path(self.path),
                pack_buffer(self.data),
                encode_acl(self.acl),
                _I.pack(self.parent_cversion),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        path = r.read_path()
        data = r.read_buffer()
        acl = decode_acl(r)
        parent_cversion, = r.read_struct(_I)
        return cls(path, data, acl, parent_cversion)


class DeleteTxn(NamedTuple):
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


class SetDataTxn(NamedTuple):
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


class CheckVersionTxn(NamedTuple):
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


class SetAclTxn(NamedTuple):
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


class CreateSessionTxn(NamedTuple):
    """int timeout."""

    timeout: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _I.pack(self.timeout)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        timeout, = r.read_struct(_I)
        return cls(timeout)


class CloseSessionTxn(NamedTuple):
    """vector<path> paths."""

    paths: tuple[bytes | None, ...] | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_vector(None if self.paths is None else [pack_path(item) for item in self.paths])

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        paths = r.read_vector(r.read_path)
        return cls(paths)


class ErrorTxn(NamedTuple):
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


class SubTxn(NamedTuple):
    """int type, buffer data."""

    type: int
    data: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                _I.pack(self.type),
                pack_buffer(self.data),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        type, = r.read_struct(_I)
        data = r.read_buffer()
        return cls(type, data)


class MultiTxn(NamedTuple):
    """vector<SubTxn> txns."""

    txns: tuple[SubTxn, ...] | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return pack_vector(None if self.txns is None else [item.encode() for item in self.txns])

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        txns = r.read_vector(lambda: SubTxn.decode(r))
        return cls(txns)
