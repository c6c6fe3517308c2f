"""Scheme ``digest``: user name and password, stored as ``user:base64(hash("user:password"))``.

Source: ``DigestAuthenticationProvider`` (3.9.5).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from zabra.auth.provider import ConnectionInfo
from zabra.errors import Code, ConfigError, RequestError
from zabra.wire.records_data import Identity

#: The identity that passes every ACL check; never valid in an ACL.
SUPER: Final[Identity] = ("super", "")


def hash_name(algorithm: str) -> str:
    """The hashlib name of a Java ``MessageDigest`` algorithm; ``ConfigError`` when this Python has no such hash."""
    name = algorithm.strip().lower()
    name = name.replace("-", "_") if name.startswith("sha3-") else name.replace("-", "", 1).replace("/", "_")
    try:
        hashlib.new(name, b"", usedforsecurity=False).digest()
    except (ValueError, TypeError):
        raise ConfigError(
            f"DigestAuthenticationProvider.digestAlg={algorithm}: expected a hash such as SHA1, SHA-256 or SHA3-512"
        ) from None
    return name


def digest_id(user_password: bytes, algorithm: str = "sha1") -> str:
    """The id that ``user:password`` gains: everything up to the first colon, then the hash over the whole."""
    text = user_password.decode("utf-8", "replace")
    hashed = hashlib.new(algorithm, text.encode("utf-8"), usedforsecurity=False).digest()
    return f"{text.partition(':')[0]}:{base64.b64encode(hashed).decode('ascii')}"


class DigestProvider:
    """``algorithm`` is a Java hash name; a login whose id equals ``super_digest`` gains the super identity too."""

    scheme = "digest"
    is_authenticated = True

    def __init__(self, algorithm: str = "SHA1", super_digest: str | None = None) -> None:
        self._hash = hash_name(algorithm)
        self._super = super_digest.encode("utf-8") if super_digest else None

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        """Any user and password are taken: the id proves itself only against an ACL. Null data is refused."""
        if data is None:
            raise RequestError(Code.AUTH_FAILED, "auth packet of scheme digest without data")
        identity = digest_id(data, self._hash)
        found: list[Identity] = []
        if self._super is not None and hmac.compare_digest(identity.encode("utf-8"), self._super):
            found.append(SUPER)
        found.append(("digest", identity))
        return found

    def matches(self, identity_id: str, acl_id: str) -> bool:
        """Same text."""
        return identity_id == acl_id

    def is_valid(self, acl_id: str) -> bool:
        """Two parts when split at colons, empty ones at the end not counted."""
        return len(acl_id.rstrip(":").split(":")) == 2

    def user_name(self, identity_id: str) -> str:
        """The part before the colon."""
        return identity_id.partition(":")[0]
