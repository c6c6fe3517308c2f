"""Settings, and providers that a user might have written and named in them."""

from __future__ import annotations

from dataclasses import dataclass

from zabra.auth.provider import AccessContext, ConnectionInfo
from zabra.wire.records_data import Identity


@dataclass(frozen=True)
class Settings:
    """The part of the settings that authentication reads."""

    auth_providers: tuple[tuple[str, str], ...] = ()
    digest_auth_enabled: bool = True
    digest_alg: str = "SHA1"
    super_digest: str | None = None
    ensemble_auth_names: tuple[str, ...] | None = None
    enforce_auth_enabled: bool = False
    enforce_auth_schemes: tuple[str, ...] = ()
    session_require_client_sasl_auth: bool = False


class Token:
    """A plain scheme: the data is the identity."""

    scheme = "token"
    is_authenticated = True

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        assert data is not None
        return [("token", data.decode())]

    def matches(self, identity_id: str, acl_id: str) -> bool:
        return identity_id.startswith(acl_id)

    def is_valid(self, acl_id: str) -> bool:
        return acl_id != ""

    def user_name(self, identity_id: str) -> str:
        return identity_id.upper()


class OwnBranch(Token):
    """A scheme that looks at the path: everyone may do anything below a node of their own name."""

    scheme = "branch"

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        assert data is not None
        return [("branch", data.decode())]

    def matches_in(self, identity_id: str, acl_id: str, context: AccessContext) -> bool:
        return context.path.startswith(b"/" + identity_id.encode() + b"/")


class Broken(Token):
    """Fails whatever it is asked."""

    scheme = "broken"

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        raise ZeroDivisionError

    def matches(self, identity_id: str, acl_id: str) -> bool:
        raise ZeroDivisionError

    def is_valid(self, acl_id: str) -> bool:
        raise ZeroDivisionError

    def user_name(self, identity_id: str) -> str:
        raise ZeroDivisionError


ready_made = Token()


class NoProvider:
    """Lacks everything."""


def unlucky() -> Token:
    raise OSError("no such key file")
