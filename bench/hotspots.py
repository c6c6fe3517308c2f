"""Where Zabra spends its time under a row of the benchmark: `python -m bench.hotspots ROW`, with the profiler of the
standard library.

The servers run under cProfile, which makes calls dearer than they are (everything takes about twice as long), so look
at the order rather than at the times. Times are those of a clock: on a machine with other work they include its share.
The profiles stay in the folder, for `python -m pstats`.
"""

from __future__ import annotations

import argparse
import pstats
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import generator, rows
from bench.ensembles import Ensemble
from bench.servers import BUILD, SOURCES, BenchError, Server

#: A function as pstats names it: file, line, name.
Function = tuple[str, int, str]


class Spot(NamedTuple):
    """A function's share in one operation of the load."""

    function: Function
    calls: float
    #: Microseconds in itself, and with what it calls.
    own_us: float
    total_us: float


def spots(profile: Path, operations: int) -> list[Spot]:
    """The functions of a profile, the most expensive first, but not the waiting for something to do."""
    stats: dict[Function, tuple[int, int, float, float, object]] = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    found = [
        Spot(function, calls / operations, own / operations * 1e6, total / operations * 1e6)
        for function, (_, calls, own, total, _) in stats.items()
        if not _is_loop(function)
    ]
    return sorted(found, key=lambda spot: spot.own_us, reverse=True)


def _is_loop(function: Function) -> bool:
    """Whether a function is the event loop itself, whose own time is the waiting (and, in uvloop, the system calls)."""
    file, _, text = function
    return (Path(file).name, text) == ("runners.py", "run") or text == "<method 'poll' of 'select.epoll' objects>"


def table(found: Sequence[Spot], top: int) -> str:
    """The first of them, one a line."""
    lines = [f"{'own us':>8} {'total us':>9} {'calls':>7}  function, of one operation"]
    lines += [
        f"{spot.own_us:8.2f} {spot.total_us:9.2f} {spot.calls:7.2f}  {name(spot.function)}" for spot in found[:top]
    ]
    lines.append(f"{sum(spot.own_us for spot in found):8.2f} {'':>17}  all")
    return "\n".join(lines)


def name(function: Function) -> str:
    """A function with its place below the source folder; builtins have none."""
    file, line, text = function
    if file == "~":
        return text
    path = Path(file)
    place = path.relative_to(SOURCES / "zabra") if path.is_relative_to(SOURCES / "zabra") else Path(path.name)
    return f"{place}:{line} {text}"


def profile_row(row: rows.Row, folder: Path, seconds: float) -> tuple[int, dict[str, Path]]:
    """Runs the load of a row; the operations it was, and the profiles of the servers by their role."""
    subject: Server | Ensemble
    subject = Ensemble("zabra", folder / "zabra") if row in rows.ENSEMBLE_LOADS else Server("zabra", folder / "zabra")
    servers = subject.servers if isinstance(subject, Ensemble) else [subject]
    for server in servers:
        server.profile = server.folder.with_suffix(".prof")
    subject.wipe()
    try:
        subject.start()
        leader = subject.leader() if isinstance(subject, Ensemble) else subject
        ports = [server.port for server in servers]
        figures = generator.run("run", ports, seconds=seconds, warmup=0, **row.options)
    finally:
        subject.stop()
        subject.wipe()
    roles = {}
    for server in servers:
        role = "server" if len(servers) == 1 else "leader" if server is leader else f"follower {server.myid}"
        assert server.profile is not None
        roles[role] = server.profile
    return int(figures["operations"]), roles


def main(argv: Sequence[str] | None = None) -> int:
    loads = {row.name: row for row in (*rows.LOADS, *rows.ENSEMBLE_LOADS)}
    parser = argparse.ArgumentParser(description="Profiles Zabra under a row of the benchmark.")
    parser.add_argument("row", choices=loads)
    parser.add_argument("--seconds", type=float, default=3.0, help="time under load (default 3)")
    parser.add_argument("--top", type=int, default=25, help="functions to show of each server (default 25)")
    parser.add_argument("--folder", type=Path, default=BUILD / "hotspots", help="default bench/build/hotspots")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        operations, roles = profile_row(loads[args.row], args.folder, args.seconds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    for role, profile in sorted(roles.items()):
        print(f"\n{role}, {operations:,} operations of all servers, {profile}")
        print(table(spots(profile, operations), args.top))
    return 0


if __name__ == "__main__":
    sys.exit(main())
