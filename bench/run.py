"""Runs the benchmark: `python bench/run.py [row...]`. One server or ensemble is loaded at a time, in turn."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import fcntl
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that the file runs as a script

from bench import generator, million, report, rows
from bench.ensembles import SIZE, Ensemble, measure_failover, measure_return
from bench.procfs import file_system, machine
from bench.report import Measurement
from bench.servers import BUILD, NAMES, BenchError, Server, free_port

KEPT_FILES = 2
WATCHERS = 1000

#: What is measured: one server or three.
Subject = TypeVar("Subject", Server, Ensemble)


class Bench:
    """One run: the servers, how long and how often to measure, and what has been measured so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.names: tuple[str, ...] = (args.only,) if args.only else NAMES
        self.rows = rows.select(args.rows)
        self.sources = {row.source for row in self.rows}
        self.measurements: list[Measurement] = []

    def run(self) -> None:
        if self.sources & {row.source for row in (*rows.LOADS, rows.WATCH)}:
            self._under_load()
        if "start" in self.sources:
            self._starts()
        if "million" in self.sources:
            self._million()
        if self.sources & {row.source for row in rows.ENSEMBLE}:
            self._ensembles()

    def _record(self, source: str, server: str, turn: int, figures: dict[str, Any]) -> None:
        kept = {key: value for key, value in figures.items() if isinstance(value, int | float)}
        self.measurements.append(Measurement(source, server, turn, kept))
        row = next(row for row in rows.ALL if row.source == source)
        say(f"{source:17} {server:7} round {turn}: {report.number(kept[row.figure])} {row.unit}")

    def _server(self, name: str) -> Server:
        return Server(name, self.args.folder / name)

    def _alternate(
        self, row: rows.Row, subjects: Sequence[Subject], measure: Callable[[Subject], dict[str, Any]]
    ) -> None:
        """Rounds of one row, the servers in turn. A first round warms them and is not recorded."""
        for turn in range(self.args.rounds + 1):
            for subject in subjects:
                figures = measure(subject)
                if turn:
                    self._record(row.source, subject.name, turn, figures)

    def _under_load(self) -> None:
        """Both servers run all the time."""
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(running(self._server(name))) for name in self.names]
            for row in self.rows:
                if row in rows.LOADS:
                    self._alternate(row, servers, functools.partial(self._load, row))
                elif row is rows.WATCH:
                    self._alternate(row, servers, self._watch)
            for server in servers:
                memory = server.memory()
                say(f"{server.name} after this: {memory.resident_mib:.0f} MiB, {memory.peak_mib:.0f} MiB at most")
                self.measurements.append(Measurement("memory", server.name, 1, memory._asdict()))

    def _ensembles(self) -> None:
        """Both ensembles run all the time. The rows without load come last, as they start servers anew."""
        with contextlib.ExitStack() as stack:
            ensembles = [stack.enter_context(running(self._ensemble(name))) for name in self.names]
            for row in self.rows:
                if row in rows.ENSEMBLE_LOADS:
                    self._alternate(row, ensembles, functools.partial(self._load, row))
                elif row is rows.ENSEMBLE_MEMORY:
                    for ensemble in ensembles:
                        self._record(row.source, ensemble.name, 1, ensemble.memory()._asdict())
                elif row is rows.FAILOVER:
                    self._alternate(row, ensembles, functools.partial(measure_failover, warmup=self.args.warmup))
                elif row is rows.RETURN:
                    self._alternate(row, ensembles, functools.partial(measure_return, writes=self.args.missed))

    def _ensemble(self, name: str) -> Ensemble:
        return Ensemble(name, self.args.folder / name)

    def _load(self, row: rows.Row, subject: Server | Ensemble) -> dict[str, Any]:
        servers = subject.servers if isinstance(subject, Ensemble) else [subject]
        ports, pids = [server.port for server in servers], [server.pid for server in servers]
        figures = generator.run(
            "run", ports, pid=pids, seconds=self.args.seconds, warmup=self.args.warmup, **row.options
        )
        for server in servers:
            drop_old_files(server.data)
        return figures

    def _watch(self, server: Server) -> dict[str, Any]:
        return generator.run("watch", server.port, connections=WATCHERS + 1, rounds=self.args.watch_rounds, warmup=5)

    def _starts(self) -> None:
        for turn in range(1, self.args.rounds + 1):
            for name in self.names:
                server = self._server(name)
                server.wipe()
                seconds = server.start()
                self._record("start", name, turn, {"seconds": seconds, **server.memory()._asdict()})
                server.stop()
                server.wipe()

    def _million(self) -> None:
        with_reads = rows.SNAPSHOT in self.rows
        for turn in range(1, self.args.million_rounds + 1):
            for name in self.names:
                server = self._server(name)
                try:
                    figures = million.measure(
                        server, self.args.million, with_reads=with_reads, say=functools.partial(say, name)
                    )
                finally:
                    server.kill()
                    server.wipe()
                self._record("million", name, turn, figures)


@contextlib.contextmanager
def running(subject: Subject) -> Iterator[Subject]:
    """A server, or an ensemble, on empty folders, which are gone afterwards."""
    subject.wipe()
    try:
        subject.start()
        yield subject
    finally:
        subject.stop()
        subject.wipe()


def drop_old_files(folder: Path) -> None:
    """Deletes all but the newest logs and snapshots, which at full speed fill a disk before the hourly purge runs."""
    for prefix in ("log.", "snapshot."):
        files = sorted(folder.glob(f"{prefix}*"), key=lambda path: path.stat().st_mtime)
        for path in files[:-KEPT_FILES]:
            path.unlink(missing_ok=True)


def generator_ceiling(loads: Sequence[rows.Row], seconds: float) -> dict[str, Any]:
    """What the generator reaches against a responder that does no work: the limit of what it can measure."""
    ports = [free_port() for _ in range(SIZE)]
    responder = subprocess.Popen([generator.compile_c("echo"), *map(str, ports)])
    try:
        time.sleep(0.2)
        return {
            row.name: generator.run(
                "run",
                ports if row in rows.ENSEMBLE_LOADS else ports[0],
                pid=responder.pid,
                seconds=seconds,
                warmup=0.2,
                **row.options,
            )
            for row in loads
        }
    finally:
        responder.kill()
        responder.wait()


def say(*words: str) -> None:
    print(*words, file=sys.stderr, flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures Zabra and Apache ZooKeeper 3.9.5 side by side on this machine."
    )
    parser.add_argument(
        "rows",
        nargs="*",
        help="rows to measure (default all), or `single` for those of one server and `ensemble` for those of three: "
        + ", ".join(row.name for row in rows.ALL),
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each server for each row (default 5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured time of one load (default 5)")
    parser.add_argument(
        "--warmup", type=float, default=1.0, help="seconds under load before it is measured (default 1)"
    )
    parser.add_argument(
        "--watch-rounds", type=int, default=30, help="writes in one measurement of the watch row (default 30)"
    )
    parser.add_argument("--million", type=int, default=1_000_000, help="znodes in the million rows (default 1000000)")
    parser.add_argument("--million-rounds", type=int, default=1, help="measurements of the million rows (default 1)")
    parser.add_argument(
        "--missed",
        type=int,
        default=100_000,
        help="writes a follower misses in ensemble-return (default 100000)",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="one short round, 100,000 instead of a million znodes, 10,000 missed writes: a look, not a result",
    )
    parser.add_argument("--only", choices=NAMES, help="measure one server alone")
    parser.add_argument(
        "--folder", type=Path, default=BUILD / "data", help="where the data folders lie (default bench/build/data)"
    )
    parser.add_argument("--json", type=Path, help="file for all single measurements")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds, args.warmup, args.watch_rounds = 1, 2.0, 0.5, 10
        args.million, args.missed = 100_000, 10_000
    return args


def measure(bench: Bench, args: argparse.Namespace) -> int:
    """Runs it all, prints the table, writes the JSON file. Returns the exit code."""
    heading = (
        f"{datetime.date.today()}, {machine()}, Python {sys.version.split()[0]}, data on {file_system(args.folder)}"
    )
    print(heading)
    if file_system(args.folder) == "tmpfs":
        say("warning: the data folder is in memory, so writes cost no disk; --folder moves it")
    try:
        loads = [row for row in bench.rows if row in (*rows.LOADS, *rows.ENSEMBLE_LOADS)]
        ceiling = generator_ceiling(loads, min(1.0, args.seconds))
        if ceiling:
            print(
                "generator alone, against canned replies: "
                + ", ".join(f"{k} {report.number(v['rate'])}/s" for k, v in ceiling.items())
            )
        bench.run()
    except BenchError as error:
        say(f"benchmark stopped: {error}")
        return 1
    lines = report.summarise(bench.rows, bench.measurements)
    print(report.table(lines, bench.measurements))
    if args.json:
        single = [dataclasses.asdict(m) for m in bench.measurements]
        args.json.write_text(
            json.dumps({"heading": heading, "generator": ceiling, "measurements": single}, indent=1) + "\n"
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    try:
        bench = Bench(args)
    except ValueError as error:
        say(str(error))
        return 2
    args.folder.mkdir(parents=True, exist_ok=True)
    with (args.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another benchmark runs in {args.folder}; --folder names another place")
            return 1
        return measure(bench, args)


if __name__ == "__main__":
    sys.exit(main())
