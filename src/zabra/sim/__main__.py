"""``python -m zabra.sim --seed N`` or ``--seeds A..B``: run, and print every seed that fails."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Final, NamedTuple

from zabra.sim.run import run_seed

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
    faults: Counter[str]


def run(seed: int) -> Result:
    """Run one seed."""
    logging.disable(logging.CRITICAL)
    outcome = run_seed(seed)
    tail = tuple(outcome.trace.lines(_TAIL)) if outcome.failure is not None else ()
    return Result(
        *(seed, outcome.failure, tail, outcome.seconds, outcome.writes, outcome.reads, outcome.boots, outcome.faults)
    )


def seed_range(text: str) -> range:
    """``A..B``, both included."""
    first, _, last = text.partition("..")
    return range(int(first), int(last) + 1)


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 when a seed failed."""
    parser = argparse.ArgumentParser(
        prog="python -m zabra.sim", description="Simulated runs of a server, one per seed."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="run this one")
    which.add_argument("--seeds", type=seed_range, metavar="A..B", help="run these, both included")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    options = parser.parse_args(arguments)
    if options.seed is not None and options.trace:
        return _show(options.seed)
    seeds = range(options.seed, options.seed + 1) if options.seed is not None else options.seeds
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs) as pool:
            return _report(pool.map(run, seeds, chunksize=8), len(seeds))
    return _report(map(run, seeds), len(seeds))


def _show(seed: int) -> int:
    """One run with its whole trace."""
    logging.disable(logging.CRITICAL)
    outcome = run_seed(seed)
    for line in outcome.trace.lines():
        print(line)
    print(f"trace {outcome.trace.digest()}")
    print(f"seed {seed}: {outcome.failure or 'clean'}")
    return 1 if outcome.failure is not None else 0


def _report(results: Iterable[Result], count: int) -> int:
    failed: list[int] = []
    total: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    began = said = time.perf_counter()
    for number, result in enumerate(results, 1):
        total.update(
            {
                "writes": result.writes,
                "reads": result.reads,
                "boots": result.boots,
                "milliseconds": int(result.seconds * 1000),
            }
        )
        faults.update(result.faults)
        if result.failure is not None:
            failed.append(result.seed)
            print(f"seed {result.seed} failed: {result.failure}")
            for line in result.tail:
                print(f"    {line}")
            print(f"  replay: python -m zabra.sim --seed {result.seed} --trace", flush=True)
        now = time.perf_counter()
        if now - said > 10:
            said = now
            print(f"{number} of {count} seeds, {len(failed)} failed", file=sys.stderr, flush=True)
    wall = time.perf_counter() - began
    print(
        f"{count} seeds in {wall:.1f} s: {len(failed)} failed; {total['milliseconds'] / 3600000:.1f} virtual hours, "
        f"{total['boots']} starts, {total['writes']} writes and {total['reads']} reads answered"
    )
    print("faults: " + ", ".join(f"{name} {number}" for name, number in sorted(faults.items())))
    if failed:
        print(f"failed: {' '.join(map(str, failed))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
