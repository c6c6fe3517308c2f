"""``python -m zabra.sim [--ensemble] --seed N`` or ``--seeds A..B``: run, and print every seed that fails."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final, NamedTuple

from zabra.sim.ensemble_run import EnsembleRun
from zabra.sim.run import Run
from zabra.sim.trace import Trace

_TAIL: Final = 60


class Result(NamedTuple):
    """An outcome without its trace, small enough to send between processes."""

    seed: int
    failure: str | None
    tail: tuple[str, ...]
    seconds: float
    writes: int
    reads: int
    boots: int
    elections: int
    faults: Counter[str]


class _Log(logging.Handler):
    """What servers log becomes part of what is shown."""

    def __init__(self, run: Run | EnsembleRun) -> None:
        super().__init__()
        self._loop = run.loop
        self._trace: Trace = run.outcome.trace

    def emit(self, record: logging.LogRecord) -> None:
        """Note it with the machine that says it."""
        self._trace.add("log", self._loop.process.name, record.getMessage())


def new_run(seed: int, *, ensemble: bool) -> Run | EnsembleRun:
    """What a seed stands for."""
    return EnsembleRun(seed) if ensemble else Run(seed)


def run(seed: int, *, ensemble: bool = False) -> Result:
    """Run one seed."""
    logging.disable(logging.CRITICAL)
    outcome = new_run(seed, ensemble=ensemble).execute()
    tail = tuple(outcome.trace.lines(_TAIL)) if outcome.failure is not None else ()
    return Result(
        seed,
        outcome.failure,
        tail,
        outcome.seconds,
        outcome.writes,
        outcome.reads,
        outcome.boots,
        outcome.elections,
        outcome.faults,
    )


def seed_range(text: str) -> range:
    """``A..B``, both included."""
    first, _, last = text.partition("..")
    return range(int(first), int(last) + 1)


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 when a seed failed."""
    parser = argparse.ArgumentParser(
        prog="python -m zabra.sim", description="Simulated runs of a server, or of an ensemble, one per seed."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="run this one")
    which.add_argument("--seeds", type=seed_range, metavar="A..B", help="run these, both included")
    parser.add_argument("--ensemble", action="store_true", help="ensembles of one to seven servers, not one server")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    options = parser.parse_args(arguments)
    if options.seed is not None and options.trace:
        return _show(options.seed, ensemble=options.ensemble)
    seeds = range(options.seed, options.seed + 1) if options.seed is not None else options.seeds
    one = partial(run, ensemble=options.ensemble)
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs) as pool:
            return _report(pool.map(one, seeds, chunksize=4), len(seeds), ensemble=options.ensemble)
    return _report(map(one, seeds), len(seeds), ensemble=options.ensemble)


def _show(seed: int, *, ensemble: bool) -> int:
    """One run with its whole trace, and what the servers log."""
    shown = new_run(seed, ensemble=ensemble)
    logger = logging.getLogger("zabra")
    logger.addHandler(log := _Log(shown))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        outcome = shown.execute()
    finally:
        logger.removeHandler(log)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    for line in outcome.trace.lines():
        print(line)
    print(f"trace {outcome.trace.digest()}")
    print(f"seed {seed}: {outcome.failure or 'clean'}")
    return 1 if outcome.failure is not None else 0


def _report(results: Iterable[Result], count: int, *, ensemble: bool) -> int:
    failed: list[int] = []
    total: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    command = "python -m zabra.sim" + " --ensemble" * ensemble
    began = said = time.perf_counter()
    for number, result in enumerate(results, 1):
        total.update(
            {
                "writes": result.writes,
                "reads": result.reads,
                "boots": result.boots,
                "elections": result.elections,
                "milliseconds": int(result.seconds * 1000),
            }
        )
        faults.update(result.faults)
        if result.failure is not None:
            failed.append(result.seed)
            print(f"seed {result.seed} failed: {result.failure}")
            for line in result.tail:
                print(f"    {line}")
            print(f"  replay: {command} --seed {result.seed} --trace", flush=True)
        now = time.perf_counter()
        if now - said > 10:
            said = now
            print(f"{number} of {count} seeds, {len(failed)} failed", file=sys.stderr, flush=True)
    wall = time.perf_counter() - began
    elections = f"{total['elections']} epochs, " if ensemble else ""
    print(
        f"{count} seeds in {wall:.1f} s: {len(failed)} failed; {total['milliseconds'] / 3600000:.1f} virtual hours, "
        f"{total['boots']} starts, {elections}{total['writes']} writes acknowledged, {total['reads']} reads answered"
    )
    print(f"{faults.total()} faults: " + ", ".join(f"{name} {number}" for name, number in sorted(faults.items())))
    if failed:
        print(f"failed: {' '.join(map(str, failed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
