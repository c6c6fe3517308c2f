"""Puts :mod:`rig` and :mod:`memdisk` on the path of every unit test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rig import Client, Rig

sys.path.append(str(Path(__file__).parent / "storage"))


@pytest.fixture
def server() -> Rig:
    """A standalone server with the defaults."""
    return Rig()


@pytest.fixture
def client(server: Rig) -> Client:
    """A client of it with a session of its own."""
    return server.client()
