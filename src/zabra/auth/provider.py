"""What an authentication scheme is: the interface that built-in schemes and a user's own share.

Source: ``AuthenticationProvider`` and ``ServerAuthenticationProvider`` (3.9.5). A user's own scheme is named in the
configuration as ``authProvider.<any>=module:attribute``; the attribute is a provider or something that makes one when
called without arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from zabra.wire.records_data import Acl, Identity


def _no_nodes(path: bytes) -> bytes | None:
    """A server that has no data to show."""
    return None


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """What a scheme may know of the connection that asks, and of the server."""

    #: The client's address as :func:`zabra.auth.ip.address_text` spells it.
    address: str
    #: Data of a znode as applied here, without an ACL check; None where there is no node or no data.
    read_node: Callable[[bytes], bytes | None] = _no_nodes


class AccessContext(NamedTuple):
    """What a permission check is about, for schemes that care."""

    path: bytes
    #: Wanted permission bits; any of them suffices.
    perm: int
    #: The ACL that a setACL or create wants to store, else None.
    new_acl: Acl | None


@runtime_checkable
class Provider(Protocol):
    """One scheme. Methods are called on the event loop: they must be quick and must not block."""

    @property
    def scheme(self) -> str:
        """The name in auth packets and ACL entries."""

    @property
    def is_authenticated(self) -> bool:
        """Whether its identities prove who someone is, so that the ``auth`` ACL entry expands to them."""

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> Sequence[Identity]:
        """Identities that an auth packet with ``data`` earns; none is fine.

        Raises ``RequestError(AUTH_FAILED)`` to refuse, which answers and closes, or ``ProtocolError`` to close the
        connection without an answer.
        """

    def matches(self, identity_id: str, acl_id: str) -> bool:
        """Whether an identity of this scheme is meant by an ACL entry of this scheme."""

    def is_valid(self, acl_id: str) -> bool:
        """Whether an ACL entry of this scheme may have this id."""

    def user_name(self, identity_id: str) -> str:
        """The part of an identity that may be shown: no secret."""


@runtime_checkable
class ContextProvider(Provider, Protocol):
    """A scheme that also looks at path and permission; its ``matches`` is never asked."""

    def matches_in(self, identity_id: str, acl_id: str, context: AccessContext) -> bool:
        """As ``matches``, for one check."""
