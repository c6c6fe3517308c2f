"""Figures of the reads that run while a snapshot is written."""

from __future__ import annotations

import array
from pathlib import Path

import pytest
from bench.million import latencies_between, snapshot_sizes, spread
from bench.servers import BenchError


def test_only_replies_inside_the_window_count(tmp_path: Path) -> None:
    samples = tmp_path / "samples"
    samples.write_bytes(array.array("I", [0, 11, 999, 22, 1000, 33, 2000, 44, 2001, 55]).tobytes())
    assert latencies_between(samples, 1_000_000, 2_000_000) == [33, 44]


def test_spread_is_in_microseconds() -> None:
    figures = spread([n * 1000 for n in range(1, 101)])
    assert figures == {"p50_us": 51, "p99_us": 100, "max_us": 100, "count": 100}


def test_a_window_without_replies_is_an_error() -> None:
    with pytest.raises(BenchError, match="no request was answered"):
        spread([])


def test_unfinished_snapshots_count_and_logs_do_not(tmp_path: Path) -> None:
    for name, size in (("snapshot.1", 3), ("tmp.snapshot.2", 4), ("log.1", 5)):
        (tmp_path / name).write_bytes(bytes(size))
    assert snapshot_sizes(tmp_path) == {"snapshot.1": 3, "tmp.snapshot.2": 4}
