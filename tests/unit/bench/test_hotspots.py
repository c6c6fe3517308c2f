"""What the profile of a server says about one operation."""

from __future__ import annotations

import asyncio
import cProfile
from pathlib import Path

import pytest
from bench import hotspots
from bench.hotspots import Spot, name, spots, table
from bench.servers import SOURCES


def double(number: int) -> int:
    return number + number


async def serve() -> int:
    await asyncio.sleep(0.05)
    return sum(double(number) for number in range(1000))


def test_calls_and_times_are_those_of_one_operation(tmp_path: Path) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(asyncio.run, serve())
    profiler.dump_stats(tmp_path / "one.prof")
    found = {spot.function[2]: spot for spot in spots(tmp_path / "one.prof", 500)}
    assert found["double"].calls == 2
    assert 0 < found["double"].own_us <= found["serve"].total_us
    # Waiting is no work.
    assert sum(spot.own_us for spot in found.values()) < 0.05 / 500 * 1e6
    assert found["serve"].total_us < 0.05 / 500 * 1e6


def test_names_tell_the_place_in_the_sources() -> None:
    assert name((str(SOURCES / "zabra/zab/leader.py"), 7, "propose")) == "zab/leader.py:7 propose"
    assert name(("/usr/lib/python3/asyncio/events.py", 8, "_run")) == "events.py:8 _run"
    assert name(("~", 0, "<built-in method len>")) == "<built-in method len>"


def test_the_table_is_cut_and_summed_up() -> None:
    made = [Spot(("~", 0, text), 1.0, own, own) for text, own in (("a", 3.0), ("b", 2.0), ("c", 1.5))]
    head, first, second, last = table(made, 2).splitlines()
    assert head.split()[0] == "own"
    assert [first.split()[-1], second.split()[-1]] == ["a", "b"]
    assert last.split() == ["6.50", "all"]


def test_only_loads_can_be_profiled(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        hotspots.main(["start"])
    assert "ensemble-set-64" in capsys.readouterr().err
