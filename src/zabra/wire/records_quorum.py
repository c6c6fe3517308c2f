"""Records of module quorum. Generated from schema.jute by dev/gen_records.py; do not edit."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from zabra.wire.primitives import Reader, pack_buffer, pack_vector
from zabra.wire.records_data import Id

_IQ: Final = Struct(">iq")
_QI: Final = Struct(">qi")
_QIQ: Final = Struct(">qiq")

class LearnerInfo(NamedTuple):
    """long server_id, int protocol_version, long config_version."""

    server_id: int
    protocol_version: int
    config_version: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _QIQ.pack(self.server_id, self.protocol_version, self.config_version)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        server_id, protocol_version, config_version = r.read_struct(_QIQ)
        return cls(server_id, protocol_version, config_version)


class QuorumPacket(NamedTuple):
    """int type, long zxid, buffer data, vector<Id> authinfo."""

    type: int
    zxid: int
    data: bytes | None
    authinfo: tuple[Id, ...] | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                _IQ.pack(self.type, self.zxid),
                pack_buffer(self.data),
                pack_vector(None if self.authinfo is None else [item.encode() for item in self.authinfo]),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        type, zxid = r.read_struct(_IQ)
        data = r.read_buffer()
        authinfo = r.read_vector(lambda: Id.decode(r))
        return cls(type, zxid, data, authinfo)


class QuorumAuthPacket(NamedTuple):
    """long magic, int status, buffer token."""

    magic: int
    status: int
    token: bytes | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                _QI.pack(self.magic, self.status),
                pack_buffer(self.token),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        magic, status = r.read_struct(_QI)
        token = r.read_buffer()
        return cls(magic, status, token)
