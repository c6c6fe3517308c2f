"""Pages that users rely on name what the tests hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

from compat.deviations import DEVIATIONS  # noqa: E402


@pytest.mark.parametrize("name", [deviation.name for deviation in DEVIATIONS])
def test_each_deviation_is_told(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/differences.md").read_text("utf-8")
