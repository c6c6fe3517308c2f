"""The whole benchmark, so short that its figures mean nothing: every row of an ensemble comes to one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from bench import rows, run

pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's"),
]


def test_the_rows_of_an_ensemble_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = [rows.ENSEMBLE_LOADS[3], rows.ENSEMBLE_MEMORY, rows.FAILOVER, rows.RETURN]
    short = ["--rounds", "1", "--seconds", "0.5", "--warmup", "0.1", "--missed", "300"]
    places = ["--folder", str(tmp_path / "data"), "--json", str(tmp_path / "figures.json")]
    assert run.main([*(row.name for row in measured), "--only", "zabra", *short, *places]) == 0
    table = capsys.readouterr().out
    measurements = json.loads((tmp_path / "figures.json").read_text())["measurements"]
    figures = {m["source"]: m["figures"] for m in measurements}
    for row in measured:
        assert figures[row.source][row.figure] > 0, row.name
        assert row.name in table
    assert figures["ensemble-set-64"]["server_cpu_s"] > 0
    assert not list((tmp_path / "data").glob("zabra-*/"))
