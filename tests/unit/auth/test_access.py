"""ACL checks, the stored form of ACLs, what others may see of them, and enforced authentication."""

from __future__ import annotations

import pytest
from auth_samples import OwnBranch, Settings

from zabra.auth.access import (
    Enforcement,
    canonical,
    check,
    mask_digests,
    who_am_i,
    with_identities,
)
from zabra.auth.registry import build_registry
from zabra.consts import Perm
from zabra.errors import Code, ConfigError, RequestError

REGISTRY = build_registry(Settings())
IP = ("ip", "10.0.0.1")
ANN = ("digest", "ann:hash")
BOB = ("digest", "bob:hash")
SUPER = ("super", "")
WORLD = (Perm.ALL, "world", "anyone")


@pytest.mark.parametrize(
    ("acl", "perm", "identities", "allowed"),
    [
        ((WORLD,), Perm.ADMIN, (), True),
        (((Perm.READ, "world", "anyone"),), Perm.READ, (), True),
        (((Perm.READ, "world", "anyone"),), Perm.WRITE, (IP,), False),
        (((Perm.ALL, "world", "someone"),), Perm.READ, (IP,), False),
        (((Perm.ALL, "digest", "ann:hash"),), Perm.WRITE, (IP, ANN), True),
        (((Perm.ALL, "digest", "ann:hash"),), Perm.WRITE, (IP, BOB), False),
        (((Perm.ALL, "digest", "ann:hash"),), Perm.WRITE, (IP, BOB, ANN), True),
        (((Perm.READ, "digest", "ann:hash"), (Perm.WRITE, "ip", "10.0.0.0/8")), Perm.WRITE, (IP, ANN), True),
        (((Perm.READ, "digest", "ann:hash"), (Perm.WRITE, "ip", "11.0.0.0/8")), Perm.WRITE, (IP, ANN), False),
        (((Perm.ADMIN, "world", "anyone"),), Perm.READ | Perm.ADMIN, (), True),
        (((Perm.ALL, "sasl", "ann"),), Perm.READ, (("sasl", "ann"),), False),
        (((Perm.ALL, "super", ""),), Perm.READ, (IP,), False),
        (((0, "world", "anyone"),), Perm.READ, (IP,), False),
        (((0, "world", "anyone"),), Perm.READ, (IP, SUPER), True),
        ((), Perm.WRITE, (), True),
        (None, Perm.WRITE, (), True),
    ],
)
def test_check(acl: object, perm: int, identities: object, allowed: bool) -> None:
    """Any wanted bit with a matching identity allows; super and an empty ACL allow everything; the rest is refused."""
    assert check(acl, perm, identities, REGISTRY) is allowed  # type: ignore[arg-type]


def test_skip_acl() -> None:
    """With checks off everything passes."""
    assert check(((0, "world", "anyone"),), Perm.WRITE, (), REGISTRY, skip_acl=True)


def test_check_tells_the_scheme_the_path() -> None:
    """A scheme that decides by path gets it."""
    registry = build_registry(Settings())
    registry.add(OwnBranch())
    acl = ((Perm.ALL, "branch", "own"),)
    assert check(acl, Perm.WRITE, (("branch", "ann"),), registry, path=b"/ann/x")
    assert not check(acl, Perm.WRITE, (("branch", "ann"),), registry, path=b"/bob/x")


def test_canonical_keeps_valid_entries_in_order() -> None:
    """Valid entries are stored as they came, odd permission bits included."""
    acl = ((77, "ip", "10.0.0.0/8"), WORLD, (1, "digest", "ann:hash"))
    assert canonical(acl, (), REGISTRY) == acl


def test_canonical_drops_duplicates() -> None:
    """Only exact duplicates go; other permissions for the same id stay."""
    assert canonical([WORLD, (1, "world", "anyone"), WORLD], (), REGISTRY) == (WORLD, (1, "world", "anyone"))


@pytest.mark.parametrize("ignored", ["", "anything", None])
def test_auth_expands_to_proven_identities(ignored: str | None) -> None:
    """One entry per authenticated identity in its place; addresses and super do not count; the id is ignored."""
    acl = [WORLD, (5, "auth", ignored), (1, "ip", "1.1.1.1")]
    assert canonical(acl, (IP, SUPER, ANN, BOB), REGISTRY) == (
        WORLD,
        (5, *ANN),
        (5, *BOB),
        (1, "ip", "1.1.1.1"),
    )


def test_expansion_may_repeat_what_is_there() -> None:
    """Duplicates are looked for before auth is expanded, as in Apache."""
    assert canonical([(5, *ANN), (5, "auth", "")], (ANN,), REGISTRY) == ((5, *ANN), (5, *ANN))


@pytest.mark.parametrize(
    "acl",
    [
        None,
        (),
        ((31, "world", "someone"),),
        ((31, "world", None),),
        ((31, None, "anyone"),),
        ((31, "digest", None),),
        ((31, "digest", "nohash"),),
        ((31, "ip", "10.0.0.0/99"),),
        ((31, "sasl", "ann"),),
        ((31, "super", ""),),
        ((31, "ensemble", "x"),),
        ((31, "auth", ""),),
        (WORLD, (31, "nope", "x")),
    ],
)
def test_invalid_acls(acl: object) -> None:
    """No ACL, null parts, unknown schemes, refused ids and auth without proof are INVALID_ACL."""
    with pytest.raises(RequestError) as refused:
        canonical(acl, (IP, SUPER), REGISTRY)  # type: ignore[arg-type]
    assert refused.value.code == Code.INVALID_ACL


def test_mask_digests() -> None:
    """Hashes of digest ids never leave for someone without ADMIN, also where a line break would stop a pattern."""
    acl = (
        (31, "digest", "ann:hash"),
        (31, "digest", "bob:ha\nsh"),
        (31, "digest", "nocolon"),
        (31, "ip", "::1"),
    )
    assert mask_digests(acl) == (
        (31, "digest", "ann:x"),
        (31, "digest", "bob:x"),
        (31, "digest", "nocolon"),
        (31, "ip", "::1"),
    )


def test_who_am_i() -> None:
    """Every identity in order, without secrets; super has no name."""
    assert who_am_i((IP, ANN, SUPER), REGISTRY) == (("ip", "10.0.0.1"), ("digest", "ann"), ("super", ""))


def test_identities_are_held_once() -> None:
    """Logging in twice changes nothing; another login of the same scheme is added."""
    assert with_identities((IP, ANN), [ANN, BOB]) == (IP, ANN, BOB)


def test_enforcement_off() -> None:
    """Listed schemes mean nothing while the switch is off."""
    rule = Enforcement(Settings(enforce_auth_schemes=("nope",)), REGISTRY)
    assert rule.satisfied(())
    assert not rule.sasl_required


def test_enforcement_on() -> None:
    """One identity of any listed scheme satisfies."""
    rule = Enforcement(Settings(enforce_auth_enabled=True, enforce_auth_schemes=(" digest ", "ip")), REGISTRY)
    assert rule.satisfied((ANN,))
    assert rule.satisfied((IP,))
    assert not rule.satisfied((SUPER,))
    assert not rule.satisfied(())


@pytest.mark.parametrize(
    "settings",
    [
        Settings(enforce_auth_enabled=True),
        Settings(enforce_auth_enabled=True, enforce_auth_schemes=("",)),
        Settings(enforce_auth_enabled=True, enforce_auth_schemes=("digest", "nope")),
        Settings(session_require_client_sasl_auth=True, enforce_auth_schemes=("digest",)),
    ],
)
def test_enforcement_of_nothing(settings: Settings) -> None:
    """A rule that nobody could satisfy stops the start."""
    with pytest.raises(ConfigError):
        Enforcement(settings, REGISTRY)
