"""The access rules of one server: its schemes and its skipACL switch, bound together for the pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from zabra.auth.access import RawAcl, canonical, check, who_am_i
from zabra.auth.registry import Registry
from zabra.wire.records_data import Acl, Identity


class Rights:
    """Who may do what here."""

    def __init__(self, registry: Registry, *, skip_acl: bool = False) -> None:
        self.registry = registry
        self._skip_acl = skip_acl

    def permits(
        self, acl: Acl, perm: int, identities: Sequence[Identity], path: bytes, new_acl: Acl | None = None
    ) -> bool:
        """Whether someone with ``identities`` has one of the ``perm`` bits, for a request about ``path``."""
        first = acl[0] if acl else None
        if first is not None and first[0] & perm and first[1] == "world" and first[2] == "anyone":
            return True
        return check(acl, perm, identities, self.registry, self._skip_acl, path, new_acl)

    def canonical(self, acl: RawAcl | None, identities: Sequence[Identity]) -> Acl:
        """The list as it is stored; raises ``RequestError(INVALID_ACL)``."""
        return canonical(acl, identities, self.registry)

    def users(self, identities: Sequence[Identity]) -> tuple[tuple[str, str], ...]:
        """(scheme, user name) of every identity, for whoAmI."""
        return who_am_i(identities, self.registry)
