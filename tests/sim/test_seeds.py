"""Whole runs: fresh seeds, seeds that once failed, and the same trace for the same seed."""

import subprocess
import sys
import time
from collections import Counter

import pytest

from zabra.sim.__main__ import main
from zabra.sim.ensemble_run import run_ensemble
from zabra.sim.run import run_seed

#: Seeds that once failed, and what they have shown.
PINNED = {
    23: "a start built on entries that a killed server had not synced",
    295: "the same, in the data folder",
    10884: "a client came back in the very moment in which all had to be quiet",
}
#: A few more each day, the same all day long.
FIRST = int(time.time() // 86400) * 1000
FRESH = 60

_PRINT_DIGEST = """
import logging
from zabra.sim.run import run_seed
logging.disable()
for seed in {seeds}:
    print(run_seed(seed).trace.digest())
"""


@pytest.mark.parametrize("seed", PINNED, ids=lambda seed: f"{seed}: {PINNED[seed]}")
def test_a_seed_that_failed_once(seed):
    assert run_seed(seed).failure is None


def test_fresh_seeds(capsys):
    code = main(["--seeds", f"{FIRST}..{FIRST + FRESH - 1}"])
    text = capsys.readouterr().out
    assert code == 0, text
    assert f"{FRESH} seeds in" in text


def test_the_runs_are_full_of_life():
    """Otherwise clean seeds would mean nothing."""
    outcomes = [run_seed(seed) for seed in range(1, 21)]
    faults = sum((outcome.faults for outcome in outcomes), start=outcomes[0].faults.__class__())
    assert sum(outcome.writes for outcome in outcomes) > 2000
    assert sum(outcome.reads for outcome in outcomes) > 1000
    assert sum(outcome.boots for outcome in outcomes) > 60
    wanted = ("kill", "power", "crash within a disk call", "failed disk calls", "cut", "stall", "slow", "full", "stop")
    assert all(faults[name] > 0 for name in wanted), faults


def digests(seeds, hash_seed, zone):
    """Of runs in another process, which knows nothing of this one's environment."""
    code = _PRINT_DIGEST.format(seeds=seeds)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd="/",
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path), "TZ": zone},
    )
    return done.stdout.split()


def test_the_same_seed_gives_the_same_trace_in_every_process():
    seeds = list(range(1, 9))
    here = [run_seed(seed).trace.digest() for seed in seeds]
    assert here == digests(seeds, "1", "UTC")
    assert here == digests(seeds, "4711", "Asia/Tokyo")
    assert len(set(here)) == len(seeds)


def test_a_failing_seed_says_how_to_replay_it(monkeypatch, capsys):
    monkeypatch.setattr("zabra.sessions.tracker.SessionTracker.expired", lambda self, now_ms: [])
    assert main(["--seeds", "1..1"]) == 1
    text = capsys.readouterr().out
    assert "seed 1 failed: sessions live on" in text
    assert "python -m zabra.sim --seed 1 --trace" in text
    assert "failed: 1\n" in text


def summary(outcomes):
    """What a report of clean runs says of these, but for the time that they took."""
    hours = sum(int(outcome.seconds * 1000) for outcome in outcomes) / 3600000
    faults = sum((outcome.faults for outcome in outcomes), start=Counter())
    epochs = sum(outcome.elections for outcome in outcomes)
    return [
        f"0 failed; {hours:.1f} virtual hours, {sum(outcome.boots for outcome in outcomes)} starts, "
        + (f"{epochs} epochs, " if epochs else "")
        + f"{sum(outcome.writes for outcome in outcomes)} writes acknowledged, "
        f"{sum(outcome.reads for outcome in outcomes)} reads answered",
        f"{sum(faults.values())} faults: " + ", ".join(f"{kind} {count}" for kind, count in sorted(faults.items())),
    ]


@pytest.mark.parametrize(("ensemble", "run"), [([], run_seed), (["--ensemble"], run_ensemble)])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_end_of_a_report_says_all_that_was_run(capsys, ensemble, run, jobs):
    """Whoever reports clean runs can copy it."""
    assert main([*ensemble, "--seeds", "4..6", "--jobs", jobs]) == 0
    first, second = capsys.readouterr().out.splitlines()
    wanted = summary([run(seed) for seed in range(4, 7)])
    assert [first.partition(": ")[2], second] == wanted
    assert first.startswith("3 seeds in ")


def test_a_trace_can_be_read(capsys):
    assert main(["--seed", "2", "--trace"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(" boot " in line for line in lines)
    assert any(" reply " in line for line in lines)
    assert lines[-1] == "seed 2: clean"


def test_runs_can_be_spread_over_processes(capsys):
    assert main(["--seeds", "1..10", "--jobs", "2"]) == 0
    assert "10 seeds in" in capsys.readouterr().out
