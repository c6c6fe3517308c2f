"""Zxid arithmetic and the seed of session ids."""

from __future__ import annotations

import pytest

from zabra.zxid import counter_of, epoch_of, first_session_id, make_zxid, to_signed64


@pytest.mark.parametrize(
    ("zxid", "epoch", "counter"), [(0, 0, 0), (1, 0, 1), (0x500000007, 5, 7), (0x1FFFFFFFF, 1, 0xFFFFFFFF)]
)
def test_epoch_and_counter(zxid: int, epoch: int, counter: int) -> None:
    assert (epoch_of(zxid), counter_of(zxid)) == (epoch, counter)
    assert make_zxid(epoch, counter) == zxid


def test_a_counter_never_spills_into_the_epoch() -> None:
    assert make_zxid(1, 0x1_0000_0001) == 0x1_0000_0001


@pytest.mark.parametrize(
    ("value", "signed"),
    [(0, 0), ((1 << 63) - 1, (1 << 63) - 1), (1 << 63, -(1 << 63)), ((1 << 64) - 1, -1), (1 << 64, 0), (-1, -1)],
)
def test_java_longs(value: int, signed: int) -> None:
    assert to_signed64(value) == signed


@pytest.mark.parametrize(
    ("server_id", "now_ms", "first"),
    [
        (1, 0, 0x0100000000000000),
        (1, 1, 0x0100000000010000),
        (1, (1 << 40) - 1, 0x01FFFFFFFFFF0000),
        (1, 1 << 40, 0x0100000000000000),
        (255, 1, -0x100000000000000 + 0x10000),
        (256 + 7, 1, 0x0700000000010000),
    ],
)
def test_first_session_id(server_id: int, now_ms: int, first: int) -> None:
    """Byte of the server, 40 bits of the clock, 16 zero bits; the shift is logical, so the clock never makes it odd."""
    assert first_session_id(server_id, now_ms) == first
