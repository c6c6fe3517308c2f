"""Puts :mod:`rig`, :mod:`learner_rig` and :mod:`memdisk` on the path of every unit test."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from learner_rig import LeaderRig, LearnerRig
from rig import Client, Rig

sys.path.append(str(Path(__file__).parent / "storage"))


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What our own loggers say.

    asyncio complains of what another test left behind, and that is when the collector finds it: in any test.
    """
    own = logging.Filter("zabra")
    caplog.handler.addFilter(own)
    yield caplog
    caplog.handler.removeFilter(own)


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
