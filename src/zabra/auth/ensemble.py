"""Scheme ``ensemble``: the client names the ensemble it means to talk to; no identity comes of it.

Source: ``EnsembleAuthenticationProvider`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Iterable

from zabra.auth.provider import ConnectionInfo
from zabra.errors import ProtocolError
from zabra.wire.records_data import Identity


class EnsembleProvider:
    """``names`` are the names this ensemble answers to; with none of them every client is welcome."""

    scheme = "ensemble"
    is_authenticated = False

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = tuple(name.strip() for name in names)

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        """Closes the connection of a client that expects another ensemble, so that it tries its next server."""
        if data and self._names and data.decode("utf-8", "replace") not in self._names:
            raise ProtocolError(f"client at {info.address} expects an ensemble of another name")
        return []

    def matches(self, identity_id: str, acl_id: str) -> bool:
        """Never: there is no such identity."""
        return False

    def is_valid(self, acl_id: str) -> bool:
        """Never in an ACL."""
        return False

    def user_name(self, identity_id: str) -> str:
        """The id; never asked, for want of identities."""
        return identity_id
