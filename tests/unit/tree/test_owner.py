"""What a stored ephemeralOwner means."""

from __future__ import annotations

import pytest

from zabra.consts import CONTAINER_OWNER, TTL_MS_MAX
from zabra.tree.owner import OwnerKind, OwnerRules, ttl_owner

TTL_5 = -(1 << 56) | 5
SESSION_OF_255 = -(1 << 56) | 1 << 48


@pytest.mark.parametrize(
    ("owner", "plain", "extended", "emulated"),
    [
        (0, OwnerKind.VOID, OwnerKind.VOID, OwnerKind.VOID),
        (1, OwnerKind.SESSION, OwnerKind.SESSION, OwnerKind.SESSION),
        ((1 << 63) - 1, OwnerKind.SESSION, OwnerKind.SESSION, OwnerKind.SESSION),
        (CONTAINER_OWNER, OwnerKind.CONTAINER, OwnerKind.CONTAINER, OwnerKind.CONTAINER),
        (TTL_5, OwnerKind.SESSION, OwnerKind.TTL, OwnerKind.TTL),
        (CONTAINER_OWNER | 5, OwnerKind.SESSION, OwnerKind.SESSION, OwnerKind.TTL),
        (-1 << 57, OwnerKind.SESSION, OwnerKind.SESSION, OwnerKind.TTL),
    ],
)
def test_kinds(owner: int, plain: OwnerKind, extended: OwnerKind, emulated: OwnerKind) -> None:
    """Server ids above 127 make negative session ids; only 255 collides with TTL nodes (ZOOKEEPER-2901)."""
    rules = OwnerRules(), OwnerRules(extended=True), OwnerRules(extended=True, emulate_353=True)
    assert tuple(rule.kind(owner) for rule in rules) == (plain, extended, emulated)
    for rule, kind in zip(rules, (plain, extended, emulated), strict=True):
        assert rule.shown(owner) == (owner if kind is OwnerKind.SESSION else 0)


def test_the_emulation_needs_the_extended_types() -> None:
    assert OwnerRules(emulate_353=True).kind(CONTAINER_OWNER | 5) is OwnerKind.SESSION


def test_unknown_feature_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown feature bits"):
        OwnerRules(extended=True).kind(SESSION_OF_255)
    assert OwnerRules().kind(SESSION_OF_255) is OwnerKind.SESSION
    assert OwnerRules(extended=True, emulate_353=True).kind(SESSION_OF_255) is OwnerKind.TTL


def test_ttl_of_an_owner() -> None:
    rules = OwnerRules(extended=True)
    for ttl_ms in (1, 5, TTL_MS_MAX):
        assert rules.ttl_ms(ttl_owner(ttl_ms)) == ttl_ms
        assert rules.kind(ttl_owner(ttl_ms)) is OwnerKind.TTL
    emulated = OwnerRules(extended=True, emulate_353=True)
    assert emulated.ttl_ms(TTL_5) == 5
    assert emulated.ttl_ms(CONTAINER_OWNER | 1 << 50) == 1 << 50


@pytest.mark.parametrize("ttl_ms", [0, -1, TTL_MS_MAX + 1])
def test_a_ttl_that_does_not_fit_has_no_owner(ttl_ms: int) -> None:
    with pytest.raises(AssertionError):
        ttl_owner(ttl_ms)
