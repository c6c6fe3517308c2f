"""Scheme ensemble: a check of the connection, never an identity."""

from __future__ import annotations

import pytest

from zabra.auth.ensemble import EnsembleProvider
from zabra.auth.provider import ConnectionInfo
from zabra.errors import ProtocolError

HERE = ConnectionInfo("127.0.0.1")


@pytest.mark.parametrize("data", [None, b"", b"one", b"two"])
def test_welcome(data: bytes | None) -> None:
    """No name, and any of the configured names, are fine and earn nothing."""
    assert EnsembleProvider([" one", "two "]).authenticate(HERE, data) == []


def test_nothing_configured() -> None:
    """Without names every client is welcome."""
    assert EnsembleProvider().authenticate(HERE, b"any") == []


def test_another_name_closes() -> None:
    """A client that expects another ensemble is cut off without an answer, so that it tries its next server."""
    with pytest.raises(ProtocolError):
        EnsembleProvider(["one"]).authenticate(HERE, b"three")


def test_never_in_an_acl() -> None:
    """The scheme has no ids."""
    provider = EnsembleProvider(["one"])
    assert not provider.is_valid("one")
    assert not provider.matches("one", "one")
    assert not provider.is_authenticated
    assert provider.user_name("one") == "one"
