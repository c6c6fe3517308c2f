"""The access rules of a server, bound to its schemes and its skipACL switch."""

from __future__ import annotations

import pytest
from auth_samples import Settings

from zabra.auth.registry import build_registry
from zabra.auth.rights import Rights
from zabra.consts import Perm
from zabra.errors import Code, RequestError

REGISTRY = build_registry(Settings())
ANN = ("digest", "ann:hash")
MINE = ((Perm.ALL, *ANN),)


def test_permits() -> None:
    """Everyone where the ACL says so, its owner, and nobody else."""
    rights = Rights(REGISTRY)
    assert rights.permits(((Perm.ALL, "world", "anyone"),), Perm.WRITE, (), b"/a")
    assert rights.permits((), Perm.WRITE, (), b"/a")
    assert rights.permits(MINE, Perm.WRITE, (ANN,), b"/a")
    assert not rights.permits(MINE, Perm.WRITE, (), b"/a")
    assert not rights.permits(((Perm.READ, "world", "anyone"),), Perm.WRITE, (ANN,), b"/a")


def test_skip_acl() -> None:
    """With checks off everyone may do everything, yet what is stored must be valid."""
    rights = Rights(REGISTRY, skip_acl=True)
    assert rights.permits(MINE, Perm.WRITE, (), b"/a")
    with pytest.raises(RequestError) as refused:
        rights.canonical(None, ())
    assert refused.value.code == Code.INVALID_ACL


def test_canonical_and_users() -> None:
    """The schemes of this server expand auth and name users."""
    rights = Rights(REGISTRY)
    assert rights.canonical([(1, "auth", "")], (ANN,)) == ((1, *ANN),)
    assert rights.users((ANN,)) == (("digest", "ann"),)
