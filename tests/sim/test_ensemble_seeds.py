"""Whole runs of ensembles: fresh seeds, seeds that once failed, and the same trace for the same seed."""

import logging
import re
import subprocess
import sys
import time
from collections import Counter

import pytest

from zabra.sim.__main__ import main
from zabra.sim.ensemble_run import EnsembleRun, run_ensemble

#: Seeds that once failed, and what they have shown.
PINNED = {
    37: "the checker did not know of a membership that an epoch had completed without a transaction",
    44: "a learner whose log failed while it was synced lived on without a role",
}
#: Some more each day, the same all day long.
FIRST = int(time.time() // 86400) * 1000
FRESH = 200

_PRINT_DIGEST = """
import logging
from zabra.sim.ensemble_run import run_ensemble
logging.disable()
for seed in {seeds}:
    print(run_ensemble(seed).trace.digest())
"""


@pytest.mark.parametrize("seed", PINNED, ids=lambda seed: f"{seed}: {PINNED[seed]}")
def test_a_seed_that_failed_once(seed):
    assert run_ensemble(seed).failure is None


def test_fresh_seeds(capsys):
    code = main(["--ensemble", "--seeds", f"{FIRST}..{FIRST + FRESH - 1}", "--jobs", "2"])
    text = capsys.readouterr().out
    assert code == 0, text
    assert f"{FRESH} seeds in" in text


class Syncs(logging.Handler):
    """Counts how learners were brought up to date."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def emit(self, record):
        found = re.match(r"synchronizing .* by (\w+)", record.getMessage())
        if found:
            self.counts[found[1]] += 1


@pytest.fixture
def syncs():
    logger = logging.getLogger("zabra")
    handler = Syncs()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.counts
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_the_runs_are_full_of_life(syncs):
    """Otherwise clean seeds would mean nothing."""
    runs = [EnsembleRun(seed) for seed in range(1, 31)]
    outcomes = [run.execute() for run in runs]
    assert [outcome.failure for outcome in outcomes if outcome.failure is not None] == []
    faults = sum((outcome.faults for outcome in outcomes), start=Counter())
    assert sum(outcome.writes for outcome in outcomes) > 3000
    assert sum(outcome.reads for outcome in outcomes) > 2000
    assert sum(outcome.boots for outcome in outcomes) > 300
    assert sum(outcome.elections for outcome in outcomes) > 90
    wanted = ("kill", "power all", "crash within a disk call", "failed disk calls", "isolate", "one way", "reconfig")
    assert all(faults[name] > 0 for name in wanted), faults
    assert all(syncs[name] > 0 for name in ("DIFF", "TRUNC", "SNAP")), syncs
    sizes = {len(run.settings.ensemble.members) for run in runs}
    assert {1, 3, 5} <= sizes
    assert any(run.settings.ensemble.groups for run in runs)
    # The first membership has the number of an epoch.
    assert sum(run.oracle.verifier.version & 0xFFFFFFFF > 0 for run in runs) > 2
    synced = [one for run in runs for asked in run.history.operations.values() for one in asked]
    assert sum(one.kind.value == "synced read" for one in synced) > 20
    assert sum(run.history.undecided for run in runs) == 0


def digests(seeds, hash_seed, zone):
    """Of runs in another process, which knows nothing of this one's environment."""
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_DIGEST.format(seeds=seeds)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd="/",
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path), "TZ": zone},
    )
    return done.stdout.split()


def test_the_same_seed_gives_the_same_trace_in_every_process():
    seeds = [4, 16, 17, 18]
    here = [run_ensemble(seed).trace.digest() for seed in seeds]
    assert here == digests(seeds, "1", "UTC")
    assert here == digests(seeds, "4711", "Asia/Tokyo")
    assert len(set(here)) == len(seeds)


def test_a_failing_seed_says_how_to_replay_it(monkeypatch, capsys):
    monkeypatch.setattr("zabra.sim.ensemble_run.EnsembleRun._quiet", lambda self: self.fail("nothing is well"))
    assert main(["--ensemble", "--seeds", "4..4"]) == 1
    text = capsys.readouterr().out
    assert "seed 4 failed: nothing is well" in text
    assert "python -m zabra.sim --ensemble --seed 4 --trace" in text
    assert "failed: 4\n" in text


def test_a_trace_can_be_read_with_what_the_servers_say(capsys):
    assert main(["--ensemble", "--seed", "4", "--trace"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in ("boot", "serves", "reply", "log"):
        assert any(f" {kind} " in line for line in lines)
    assert lines[-1] == "seed 4: clean"
