"""Puts :mod:`rig`, :mod:`learner_rig` and :mod:`memdisk` on the path of every unit test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from learner_rig import LeaderRig, LearnerRig
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


@pytest.fixture
def leader() -> LeaderRig:
    """The leader of an ensemble."""
    return LeaderRig(extended_types_enabled=True)


@pytest.fixture
def learner(leader: LeaderRig) -> LearnerRig:
    """A follower of it."""
    return LearnerRig(leader)
