"""Scheme ``key``, a sample: the client's number must be a multiple of the number stored in ``/key``.

Source: ``KeyAuthenticationProvider`` (3.9.5).
"""

from __future__ import annotations

import re

from zabra.auth.provider import ConnectionInfo
from zabra.errors import Code, RequestError
from zabra.wire.records_data import Identity

_NUMBER = re.compile(rb"[+-]?[0-9]{1,10}\Z").match


class KeyProvider:
    """See the module. Without a node ``/key`` everybody is let in, so that it can be written."""

    scheme = "key"
    is_authenticated = True

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        """One identity without a name, or AUTH_FAILED."""
        if data is None:
            raise RequestError(Code.AUTH_FAILED, "auth packet of scheme key without data")
        key = info.read_node(b"/key")
        if key is not None and not _is_multiple(data, key):
            raise RequestError(Code.AUTH_FAILED, "the number is no multiple of the key")
        return [("key", "")]

    def matches(self, identity_id: str, acl_id: str) -> bool:
        """Same text."""
        return identity_id == acl_id

    def is_valid(self, acl_id: str) -> bool:
        """Anything."""
        return True

    def user_name(self, identity_id: str) -> str:
        """The id."""
        return identity_id


def _is_multiple(number: bytes, key: bytes) -> bool:
    if not _NUMBER(number) or not _NUMBER(key):
        return False
    divisor = int(key)
    return divisor == 0 or int(number) % divisor == 0
