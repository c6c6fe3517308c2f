"""Where Zabra spends its CPU time under a row of the benchmark: `python -m bench.hotspots ROW`.

The servers run under sampler.py, which costs them a percent or two. An operation is one of the whole load; times are
CPU time of one server for each of them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import generator, rows
from bench.ensembles import Ensemble
from bench.procfs import cpu_seconds
from bench.servers import BUILD, SOURCES, BenchError, Server

#: Operations before anything is measured, with which the servers warm up.
WARMUP = 20_000


class Spot(NamedTuple):
    """A function's share in one operation, in microseconds: in itself, and with what it calls."""

    own_us: float
    total_us: float
    name: str


class Profile(NamedTuple):
    """One server under load."""

    role: str
    cpu_us: float
    samples: int
    spots: list[Spot]


def read_profile(role: str, path: Path, cpu_us: float) -> Profile:
    """What sampler.py wrote of a server that used `cpu_us` for each operation."""
    noted = json.loads(path.read_text())
    one = cpu_us / max(noted["samples"], 1)
    spots = [Spot(own * one, total * one, _name(file, function)) for file, function, own, total in noted["functions"]]
    return Profile(role, cpu_us, noted["samples"], spots)


def _name(file: str, function: str) -> str:
    """A function with its file, below the source folder if it is there."""
    path = Path(file)
    place = path.relative_to(SOURCES / "zabra") if path.is_relative_to(SOURCES / "zabra") else path.name
    return f"{place} {function}"


def table(profile: Profile, top: int) -> str:
    """The functions that cost most in themselves, then those that cost most with what they call."""
    lines = [f"{profile.role}: {profile.cpu_us:.1f} us, {profile.samples} samples"]
    for head, figure in (("own us", 0), ("total us", 1)):
        # What is always on the stack says nothing.
        spots = [spot for spot in profile.spots if spot.total_us < 0.99 * profile.cpu_us]
        ordered = sorted(spots, key=lambda spot: spot[figure], reverse=True)
        lines.append(head.rjust(9))
        lines += [f"{spot[figure]:9.2f}  {spot.name}" for spot in ordered[:top]]
    return "\n".join(lines)


def profile_row(row: rows.Row, folder: Path, seconds: float) -> tuple[float, list[Profile]]:
    """Runs the load of a row; its rate, and the profiles of all servers."""
    subject: Server | Ensemble
    subject = Ensemble("zabra", folder / "zabra") if row in rows.ENSEMBLE_LOADS else Server("zabra", folder / "zabra")
    servers = subject.servers if isinstance(subject, Ensemble) else [subject]
    for server in servers:
        server.samples = server.folder.with_suffix(".samples")
    ports = [server.port for server in servers]
    subject.wipe()
    try:
        subject.start()
        generator.run("run", ports, **{**row.options, "op": "set", "ops": WARMUP})
        leader = subject.leader() if isinstance(subject, Ensemble) else subject
        for server in servers:
            os.kill(server.pid, signal.SIGUSR1)
        before = [cpu_seconds(server.pid) for server in servers]
        figures = generator.run("run", ports, seconds=seconds, warmup=0, **row.options)
        used = [cpu_seconds(server.pid) - base for server, base in zip(servers, before, strict=True)]
    finally:
        subject.stop()
        subject.wipe()
    profiles = []
    for server, cpu in zip(servers, used, strict=True):
        role = (
            "server"
            if len(servers) == 1
            else f"leader {server.myid}"
            if server is leader
            else f"follower {server.myid}"
        )
        assert server.samples is not None
        profiles.append(read_profile(role, server.samples, cpu / figures["operations"] * 1e6))
    return figures["rate"], profiles


def main(argv: Sequence[str] | None = None) -> int:
    loads = {row.name: row for row in (*rows.LOADS, *rows.ENSEMBLE_LOADS)}
    parser = argparse.ArgumentParser(description="Shows where Zabra spends its CPU time under a row of the benchmark.")
    parser.add_argument("row", choices=loads)
    parser.add_argument("--seconds", type=float, default=10.0, help="time under load (default 10)")
    parser.add_argument("--top", type=int, default=25, help="functions to show of each server (default 25)")
    parser.add_argument("--folder", type=Path, default=BUILD / "hotspots", help="default bench/build/hotspots")
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        rate, profiles = profile_row(loads[args.row], args.folder, args.seconds)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{args.row}: {rate:,.0f}/s")
    for profile in sorted(profiles, key=lambda profile: profile.role, reverse=True):
        print("\n" + table(profile, args.top))
    return 0


if __name__ == "__main__":
    sys.exit(main())
