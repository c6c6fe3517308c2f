"""Records of module data. Generated from schema.jute by dev/gen_records.py; do not edit."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple, Self

from zabra.wire.primitives import Reader, pack_text, pack_vector

_I: Final = Struct(">i")
_QQQQIIIQQ: Final = Struct(">qqqqiiiqq")
_pack_int = _I.pack
#: One entry of an ACL: permission bits, scheme, id.
AclEntry = tuple[int, str, str]
Acl = tuple[AclEntry, ...]
#: What a connection has proven: scheme, id.
Identity = tuple[str, str]


def decode_acl(r: Reader) -> Acl | None:
    """A vector of ACL entries; null strings become empty ones, which no scheme accepts."""
    return r.read_vector(lambda: (r.read_int(), r.read_text() or "", r.read_text() or ""))


def encode_acl(acl: Acl | None) -> bytes:
    """A vector of ACL entries."""
    if acl is None:
        return pack_vector(None)
    return pack_vector([_pack_int(perms) + pack_text(scheme) + pack_text(id_) for perms, scheme, id_ in acl])


class Id(NamedTuple):
    """ustring scheme, ustring id."""

    scheme: str | None
    id: str | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_text(self.scheme),
                pack_text(self.id),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        scheme = r.read_text()
        id = r.read_text()
        return cls(scheme, id)


class StatPersisted(NamedTuple):
    """9 fields, czxid to pzxid."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    pzxid: int

    def encode(self) -> bytes:
        """The record's bytes."""
        return _QQQQIIIQQ.pack(self.czxid, self.mzxid, self.ctime, self.mtime, self.version, self.cversion, self.aversion, self.ephemeral_owner, self.pzxid)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid = r.read_struct(_QQQQIIIQQ)
        return cls(czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, pzxid)


class ClientInfo(NamedTuple):
    """ustring auth_scheme, ustring user."""

    auth_scheme: str | None
    user: str | None

    def encode(self) -> bytes:
        """The record's bytes."""
        return b"".join(
            (
                pack_text(self.auth_scheme),
                pack_text(self.user),
            )
        )

    @classmethod
    def decode(cls, r: Reader) -> Self:
        """Raises MarshallingError."""
        auth_scheme = r.read_text()
        user = r.read_text()
        return cls(auth_scheme, user)
