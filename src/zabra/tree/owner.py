"""What a stored ephemeralOwner means (``EphemeralType``, ``EphemeralTypeEmulate353``).

0 is an ordinary node and the smallest long a container. With the extended types on, a top byte of 0xFF marks a TTL node
whose ttl in ms is the low 40 bits; with the 3.5.3 emulation on as well, any negative value but the container's marks
one whose ttl is the low 60 bits. Everything else is the id of the session that owns an ephemeral.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from zabra.consts import CONTAINER_OWNER, TTL_MS_MAX, TTL_OWNER_MASK

_RESERVED_BITS: Final = 0x00FFFF0000000000
_TTL_353_MAX: Final = 0x0FFFFFFFFFFFFFFF


class OwnerKind(Enum):
    """The four kinds of owner."""

    VOID = "void"
    SESSION = "session"
    CONTAINER = "container"
    TTL = "ttl"


class OwnerRules:
    """How this server reads owners; ``extended`` and ``emulate_353`` are the two settings of the same names."""

    def __init__(self, *, extended: bool = False, emulate_353: bool = False) -> None:
        self.extended = extended
        self.emulate_353 = extended and emulate_353

    def kind(self, owner: int) -> OwnerKind:
        """Classify; an extended owner with unknown feature bits raises ``ValueError``."""
        if owner == 0:
            return OwnerKind.VOID
        if owner > 0:
            return OwnerKind.SESSION
        if owner == CONTAINER_OWNER:
            return OwnerKind.CONTAINER
        if self.emulate_353:
            return OwnerKind.TTL
        if self.extended and owner >> 56 == -1:
            if owner & _RESERVED_BITS:
                raise ValueError(f"ephemeralOwner 0x{owner & (1 << 64) - 1:x} has unknown feature bits")
            return OwnerKind.TTL
        return OwnerKind.SESSION

    def shown(self, owner: int) -> int:
        """The owner that clients see: a session id, else 0."""
        return owner if owner > 0 or self.kind(owner) is OwnerKind.SESSION else 0

    def ttl_ms(self, owner: int) -> int:
        """The ttl of a TTL node's owner, in ms."""
        if self.emulate_353 and owner >> 56 != -1:
            return owner & _TTL_353_MAX
        return owner & TTL_MS_MAX


def ttl_owner(ttl_ms: int) -> int:
    """The stored owner of a node with this ttl; 1 to 2^40-1 ms (``EphemeralType.TTL.toEphemeralOwner``)."""
    assert 0 < ttl_ms <= TTL_MS_MAX
    return TTL_OWNER_MASK | ttl_ms
