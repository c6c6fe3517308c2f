"""ACL rules: who may do what, and the form in which an ACL is stored.

``world:anyone`` means everyone; ``auth`` stands for the caller's own identities and is replaced before an ACL is
stored; an identity of scheme ``super`` passes every check. Source: ``ZooKeeperServer.checkACL``,
``PrepRequestProcessor.fixupACL``, ``FinalRequestProcessor`` (getACL, whoAmI) and ``AuthenticationHelper`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Sequence

from zabra.auth.provider import AccessContext
from zabra.auth.registry import AuthSettings, Registry
from zabra.errors import Code, ConfigError, RequestError
from zabra.wire.records_data import Acl, AclEntry, Identity

#: An ACL as decoded from a request: any part of it may be null.
RawAcl = Sequence[tuple[int, "str | None", "str | None"]]


def check(
    acl: Acl | None,
    perm: int,
    identities: Sequence[Identity],
    registry: Registry,
    skip_acl: bool = False,
    path: bytes = b"",
    new_acl: Acl | None = None,
) -> bool:
    """Whether someone with ``identities`` has any of the ``perm`` bits. An empty ACL allows everything.

    ``path`` and ``new_acl`` are for schemes that look at them.
    """
    if skip_acl or not acl:
        return True
    context = None
    for perms, scheme, acl_id in acl:
        if not perms & perm:
            continue
        if scheme == "world" and acl_id == "anyone":
            return True
        for identity_scheme, identity_id in identities:
            if identity_scheme == scheme and acl_id is not None:
                if context is None:
                    context = AccessContext(path, perm, new_acl)
                if registry.matches(scheme, identity_id, acl_id, context):
                    return True
    return any(scheme == "super" for scheme, _ in identities)


def canonical(acl: RawAcl | None, identities: Sequence[Identity], registry: Registry) -> Acl:
    """The ACL as it is stored: duplicates dropped, ``auth`` expanded to the caller's identities, every entry valid.

    Raises ``RequestError(INVALID_ACL)`` for an empty or null list, a null scheme or id, an unknown scheme, an id its
    scheme refuses, or ``auth`` from a caller without a proven identity. Permission bits are kept as they are.
    """
    if not acl:
        raise RequestError(Code.INVALID_ACL, "no ACL")
    out: list[AclEntry] = []
    for perms, scheme, acl_id in dict.fromkeys(acl):
        if scheme == "auth":
            proven = [identity for identity in identities if _is_proven(identity, registry)]
            if not proven:
                raise RequestError(
                    Code.INVALID_ACL, "ACL entry of scheme auth from a caller that has not authenticated"
                )
            out += [(perms, *identity) for identity in proven]
        elif scheme is not None and acl_id is not None and _may_store(scheme, acl_id, registry):
            out.append((perms, scheme, acl_id))
        else:
            raise RequestError(Code.INVALID_ACL, f"ACL entry {scheme}:{acl_id}")
    return tuple(out)


def _is_proven(identity: Identity, registry: Registry) -> bool:
    provider = registry.get(identity[0])
    return provider is not None and provider.is_authenticated


def _may_store(scheme: str, acl_id: str, registry: Registry) -> bool:
    return (scheme == "world" and acl_id == "anyone") or registry.is_valid(scheme, acl_id)


def mask_digests(acl: Acl) -> Acl:
    """The ACL as someone without ADMIN may see it: the hash of every digest id replaced by ``x`` (CVE-2019-0201).

    Everything from the first colon on goes, line breaks included; Apache's pattern stops at those.
    """
    return tuple(
        (perms, scheme, f"{acl_id.partition(':')[0]}:x") if scheme == "digest" and acl_id and ":" in acl_id
        else (perms, scheme, acl_id)
        for perms, scheme, acl_id in acl
    )  # fmt: skip


def who_am_i(identities: Sequence[Identity], registry: Registry) -> tuple[tuple[str, str], ...]:
    """(scheme, user name) of every identity, in order; the name of an unknown scheme's identity is empty."""
    return tuple((identity[0], registry.user_name(identity)) for identity in identities)


def with_identities(held: tuple[Identity, ...], earned: Sequence[Identity]) -> tuple[Identity, ...]:
    """The identities of a connection after an auth packet; each is held once."""
    return tuple(dict.fromkeys((*held, *earned)))


class Enforcement:
    """The rule that a connection needs an identity of a listed scheme before it may send requests.

    The connect handshake and auth packets stay allowed; any other request of a connection that is not :meth:`satisfied`
    is answered SESSION_CLOSED_REQUIRE_SASL_AUTH and the connection closed.
    """

    def __init__(self, settings: AuthSettings, registry: Registry) -> None:
        sasl = settings.session_require_client_sasl_auth
        self.enabled = sasl or settings.enforce_auth_enabled
        schemes = ["sasl"] if sasl else [name.strip() for name in settings.enforce_auth_schemes if name.strip()]
        self.schemes = tuple(schemes) if self.enabled else ()
        self.sasl_required = "sasl" in self.schemes
        if self.enabled and not self.schemes:
            raise ConfigError("enforce.auth.enabled=true: enforce.auth.schemes must name at least one scheme")
        for scheme in self.schemes:
            if registry.get(scheme) is None:
                key = "sessionRequireClientSASLAuth" if sasl else "enforce.auth.schemes"
                raise ConfigError(
                    f"{key}: there is no authentication scheme {scheme}; expected one of {', '.join(registry.schemes)}"
                )

    def satisfied(self, identities: Sequence[Identity]) -> bool:
        """Whether a connection with these identities may send requests."""
        return not self.enabled or any(scheme in self.schemes for scheme, _ in identities)
