"""Runs switch the log off for their process; the tests that follow want it back."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def log_is_on_again() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)
