"""The same requests to Apache ZooKeeper and to us get the same answers, and each serves the other's data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compat.differential import Experiment
from compat.servers import APACHE, ZABRA, missing_java, require

#: More: ``ZABRA_DIFFERENTIAL_SEEDS=1..500``.
SEEDS = os.environ.get("ZABRA_DIFFERENTIAL_SEEDS", "1..4").partition("..")
STEPS = int(os.environ.get("ZABRA_DIFFERENTIAL_STEPS", "1200"))


@pytest.mark.java
@pytest.mark.parametrize("seed", range(int(SEEDS[0]), int(SEEDS[2] or SEEDS[0]) + 1))
def test_random_requests_get_equal_answers_and_folders_can_be_exchanged(seed: int, tmp_path: Path) -> None:
    require(missing_java())
    lines = Experiment(seed, APACHE, ZABRA, tmp_path).run(STEPS)
    assert not lines, "\n".join(lines)
