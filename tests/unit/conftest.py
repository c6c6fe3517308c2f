"""Puts :mod:`rig` on the path of every unit test."""

from __future__ import annotations

import pytest
from rig import Client, Rig


@pytest.fixture
def server() -> Rig:
    """A standalone server with the defaults."""
    return Rig()


@pytest.fixture
def client(server: Rig) -> Client:
    """A client of it with a session of its own."""
    return server.client()
