"""Zxid arithmetic and the seed of session ids."""

from typing import Final

_COUNTER_MASK: Final = 0xFFFFFFFF
_MASK64: Final = (1 << 64) - 1


def epoch_of(zxid: int) -> int:
    """The epoch, the high 32 bits."""
    return zxid >> 32


def counter_of(zxid: int) -> int:
    """The counter within its epoch, the low 32 bits."""
    return zxid & _COUNTER_MASK


def make_zxid(epoch: int, counter: int) -> int:
    """Join an epoch and a counter."""
    return (epoch << 32) | (counter & _COUNTER_MASK)


def to_signed64(value: int) -> int:
    """``value`` modulo 2^64 as a Java ``long``."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def first_session_id(server_id: int, monotonic_ms: int) -> int:
    """The first session id of a server start (``SessionTrackerImpl.initializeNextSessionId``).

    The top byte is the low byte of ``server_id``; below it are 40 bits of the clock and 16 zero bits that count up.
    """
    return to_signed64(((monotonic_ms << 24) & _MASK64) >> 8 | (server_id << 56))
