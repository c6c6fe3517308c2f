"""The authentication schemes of a server, by name.

``ip`` is always there, ``digest`` unless switched off; ``authProvider.<any>`` adds more, a later one of the same scheme
replacing an earlier one. ``world`` and ``auth`` are rules of ACLs, not schemes, see :mod:`zabra.auth.access`.
Source: ``ProviderRegistry`` (3.9.5). Where Apache only logs a provider that it cannot load, the start is refused here.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from zabra.auth.digest import DigestProvider
from zabra.auth.ensemble import EnsembleProvider
from zabra.auth.ip import IpProvider
from zabra.auth.key import KeyProvider
from zabra.auth.provider import AccessContext, ConnectionInfo, ContextProvider, Provider
from zabra.errors import Code, ConfigError, ProtocolError, RequestError
from zabra.wire.records_data import Identity

_log = logging.getLogger(__name__)

_JAVA_PACKAGE: Final = "org.apache.zookeeper.server.auth."
#: Shipped Java classes whose feature is not here yet, and the scheme each brings.
_LATER: Final = {
    _JAVA_PACKAGE + "SASLAuthenticationProvider": "sasl",
    _JAVA_PACKAGE + "X509AuthenticationProvider": "x509",
}

#: Whether an identity id matches an ACL id in some context.
Matcher = Callable[[str, str, AccessContext], bool]


class AuthSettings(Protocol):
    """The settings this package reads."""

    @property
    def auth_providers(self) -> Sequence[tuple[str, str]]:
        """(free suffix of the key, class name) of every ``authProvider.<suffix>``."""

    @property
    def digest_auth_enabled(self) -> bool:
        """Whether the digest scheme exists."""

    @property
    def digest_alg(self) -> str:
        """Java name of the digest scheme's hash."""

    @property
    def super_digest(self) -> str | None:
        """``user:hash`` of the super user."""

    @property
    def ensemble_auth_names(self) -> Sequence[str] | None:
        """Names the ensemble scheme accepts."""

    @property
    def enforce_auth_enabled(self) -> bool:
        """Whether a connection needs an identity of a listed scheme."""

    @property
    def enforce_auth_schemes(self) -> Sequence[str]:
        """The listed schemes."""

    @property
    def session_require_client_sasl_auth(self) -> bool:
        """Overrides the two above: the scheme is sasl."""


class Registry:
    """Schemes by name, and the safe way to ask them: a user's scheme that fails refuses instead of doing harm."""

    def __init__(self, providers: Sequence[Provider] = (), warnings: Sequence[str] = ()) -> None:
        self._providers: dict[str, Provider] = {}
        self._matchers: dict[str, Matcher] = {}
        self._reported: dict[str, None] = {}
        #: Lines for the operator, to be logged once at start.
        self.warnings = tuple(warnings)
        for provider in providers:
            self.add(provider)

    def add(self, provider: Provider) -> None:
        """Add or replace a scheme."""
        self._providers[provider.scheme] = provider
        self._matchers[provider.scheme] = _matcher(provider)

    def get(self, scheme: str | None) -> Provider | None:
        """The provider of a scheme."""
        return self._providers.get(scheme) if scheme is not None else None

    @property
    def schemes(self) -> tuple[str, ...]:
        """Names of all schemes, in order of registration."""
        return tuple(self._providers)

    def authenticate(self, scheme: str | None, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        """The identities an auth packet earns, maybe none.

        Raises ``RequestError(AUTH_FAILED)``: answer -115 and close; or ``ProtocolError``: close without an answer.
        """
        provider = self.get(scheme)
        if provider is None:
            raise RequestError(Code.AUTH_FAILED, f"no authentication scheme {scheme!r}")
        try:
            return list(provider.authenticate(info, data))
        except (RequestError, ProtocolError):
            raise
        except Exception as error:
            self._report(provider.scheme, error)
            raise RequestError(Code.AUTH_FAILED, f"scheme {scheme} failed: {error!r}") from error

    def matches(self, scheme: str, identity_id: str, acl_id: str, context: AccessContext) -> bool:
        """Whether an identity is meant by an ACL entry of the same scheme; an unknown scheme matches nothing."""
        matcher = self._matchers.get(scheme)
        if matcher is None:
            return False
        try:
            return matcher(identity_id, acl_id, context)
        except Exception as error:
            self._report(scheme, error)
            return False

    def is_valid(self, scheme: str | None, acl_id: str | None) -> bool:
        """Whether an ACL entry may be stored; null ids and unknown schemes never."""
        provider = self.get(scheme)
        if provider is None or acl_id is None:
            return False
        try:
            return provider.is_valid(acl_id)
        except Exception as error:
            self._report(provider.scheme, error)
            return False

    def user_name(self, identity: Identity) -> str:
        """The part of an identity that may be shown, empty when its scheme is unknown (as for ``super``)."""
        scheme, identity_id = identity
        provider = self.get(scheme)
        if provider is None:
            return ""
        try:
            return provider.user_name(identity_id)
        except Exception as error:
            self._report(scheme, error)
            return ""

    def _report(self, scheme: str, error: Exception) -> None:
        """Log the first failure of a scheme; a client could cause any number of them."""
        if scheme not in self._reported:
            self._reported[scheme] = None
            _log.error(
                "authentication scheme %s failed and is refusing; later failures are not logged", scheme, exc_info=error
            )


def _matcher(provider: Provider) -> Matcher:
    if isinstance(provider, ContextProvider):
        return provider.matches_in
    matches = provider.matches
    return lambda identity_id, acl_id, context: matches(identity_id, acl_id)


def build_registry(settings: AuthSettings) -> Registry:
    """The schemes that the settings ask for; ``ConfigError`` when one cannot be had."""
    built: list[Provider] = [IpProvider()]
    if settings.digest_auth_enabled:
        built.append(_digest(settings))
    later: list[str] = []
    for suffix, name in settings.auth_providers:
        key = f"authProvider.{suffix}"
        if name in _LATER:
            later.append(f"{key}={name} (scheme {_LATER[name]})")
        else:
            built.append(_provider(key, name, settings))
    warnings = [f"not supported yet, ignored: {', '.join(later)}"] if later else []
    return Registry(built, warnings)


def _digest(settings: AuthSettings) -> DigestProvider:
    return DigestProvider(settings.digest_alg, settings.super_digest)


def _provider(key: str, name: str, settings: AuthSettings) -> Provider:
    shipped: dict[str, Callable[[], Provider]] = {
        _JAVA_PACKAGE + "IPAuthenticationProvider": IpProvider,
        _JAVA_PACKAGE + "DigestAuthenticationProvider": lambda: _digest(settings),
        _JAVA_PACKAGE + "EnsembleAuthenticationProvider": lambda: EnsembleProvider(settings.ensemble_auth_names or ()),
        _JAVA_PACKAGE + "KeyAuthenticationProvider": KeyProvider,
    }
    make = shipped.get(name)
    return make() if make is not None else load_provider(key, name)


def load_provider(key: str, name: str) -> Provider:
    """A user's own scheme from ``module:attribute``; ``ConfigError`` naming ``key`` when it cannot be used."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigError(f"{key}={name}: expected a shipped class name or the module:attribute of a Python provider")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        provider = found() if isinstance(found, type) or not isinstance(found, Provider) else found
    except Exception as error:
        raise ConfigError(f"{key}={name}: cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(provider, Provider) or not isinstance(provider.scheme, str):
        raise ConfigError(f"{key}={name}: {attribute} is no authentication provider, see zabra.auth.provider.Provider")
    return provider
