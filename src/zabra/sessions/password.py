"""Session passwords, computed from the session id so that every server of an ensemble can check them.

16 bytes of a ``java.util.Random`` seeded with id XOR 0xB3415C00: a 48-bit linear congruential generator, four 32-bit
values, each stored low byte first (``ZooKeeperServer.generatePasswd``).
"""

from __future__ import annotations

import hmac
from typing import Final

_SUPER_SECRET: Final = 0xB3415C00
_MULTIPLIER: Final = 0x5DEECE66D
_INCREMENT: Final = 0xB
_MASK48: Final = (1 << 48) - 1


def password_of(session_id: int) -> bytes:
    """The 16-byte password of a session."""
    state = (session_id ^ _SUPER_SECRET ^ _MULTIPLIER) & _MASK48
    words = []
    for _ in range(4):
        state = (state * _MULTIPLIER + _INCREMENT) & _MASK48
        words.append((state >> 16).to_bytes(4, "little"))
    return b"".join(words)


def is_password(session_id: int, password: bytes | None) -> bool:
    """Whether a client may have the session it names. Every wrong guess takes the same time; id 0 is nobody's."""
    return session_id != 0 and password is not None and hmac.compare_digest(password_of(session_id), password)
