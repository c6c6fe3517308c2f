"""Session passwords against values made by ``java.util.Random``."""

from __future__ import annotations

import pytest

from zabra.sessions.password import is_password, password_of

#: new Random(id ^ 0xB3415C00L).nextBytes(byte[16]) of OpenJDK.
VECTORS = [
    (1, "054cc74a37327db215e702e20c73f005"),
    (0x0100000000000001, "054cc74a37327db215e702e20c73f005"),
    (-1, "20f62cb5648dc2d771471c8a2486a9ee"),
    (0x0500000000003039, "9bfa6d3042479a0531293f5010f58419"),
    (-(1 << 63) + 1, "054cc74a37327db215e702e20c73f005"),
]


@pytest.mark.parametrize(("session_id", "password"), VECTORS)
def test_same_as_java(session_id: int, password: str) -> None:
    """Passwords equal Apache's, so a session renews on either server."""
    assert password_of(session_id).hex() == password
    assert is_password(session_id, bytes.fromhex(password))


@pytest.mark.parametrize(
    "password", [None, b"", b"\0" * 16, password_of(1)[:15], password_of(1) + b"\0", password_of(2)]
)
def test_wrong_passwords(password: bytes | None) -> None:
    """Null, short, long and foreign passwords are refused."""
    assert not is_password(1, password)


def test_session_zero_has_no_password() -> None:
    """Id 0 asks for a new session, so nothing renews it."""
    assert not is_password(0, password_of(0))
