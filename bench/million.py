"""The measurements with a million znodes: memory, both kinds of start, reads while a snapshot is written."""

from __future__ import annotations

import array
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench import generator
from bench.servers import BenchError, Server

NO_SNAPSHOT = 100_000_000  # snapCount that is never reached
SNAPSHOT_SOON = 2_000
WRITES_PER_TURN = 500
TURNS_MAX = 200
QUIET_S = 1.0
WATCH_STEP_S = 0.002
READ_WARMUP_S = 3.0
READ_SECONDS = 25.0
CALM_S = 4.0

Say = Callable[[str], None]


def measure(server: Server, znodes: int, *, with_reads: bool, say: Say) -> dict[str, float]:
    """All figures of one server, which runs here on an empty folder; seconds, MiB and microseconds."""
    figures: dict[str, float] = {}
    server.wipe()
    server.extra["snapCount"] = NO_SNAPSHOT
    server.start()
    say(f"creating {znodes:,} znodes")
    filled = generator.run("fill", server.port, pid=server.pid, root="/fill", ops=znodes, inflight=64)
    figures["fill_rate"] = filled["rate"]
    figures["resident_mib"], figures["peak_mib"] = server.memory()
    server.kill()
    say("starting on the log")
    figures["replay_s"] = server.start()
    figures["replay_resident_mib"], figures["replay_peak_mib"] = server.memory()
    server.stop()
    _make_snapshot(server, say)
    say("starting on a snapshot")
    figures["snapshot_start_s"] = server.start()
    figures["snapshot_resident_mib"], figures["snapshot_peak_mib"] = server.memory()
    server.stop()
    if with_reads:
        figures.update(_read_during_snapshot(server, say))
    return figures


def _make_snapshot(server: Server, say: Say) -> None:
    """Makes sure that the newest snapshot holds all znodes, whether or not the server wrote one while starting."""
    say("making a snapshot")
    server.extra["snapCount"] = SNAPSHOT_SOON
    server.start()
    provoke_snapshot(server)
    server.stop()
    server.extra["snapCount"] = NO_SNAPSHOT


def provoke_snapshot(server: Server) -> tuple[int, int]:
    """Writes until the server begins a snapshot, then waits until it is on disk.

    Both times are returned, in nanoseconds of the monotonic clock.
    Raises BenchError when no snapshot begins.
    """
    before = snapshot_sizes(server.data)
    for _ in range(TURNS_MAX):
        writer = generator.command(
            "run", server.port, op="set", ops=WRITES_PER_TURN, connections=1, inflight=16, root="/writes", znodes=1
        )
        with subprocess.Popen(writer, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and snapshot_sizes(server.data) == before:
                time.sleep(WATCH_STEP_S)
        if snapshot_sizes(server.data) != before:
            return _await_quiet(server.data)
    raise BenchError(f"{server.name} began no snapshot after {WRITES_PER_TURN * TURNS_MAX} writes")


def _await_quiet(folder: Path) -> tuple[int, int]:
    begin = changed_at = time.monotonic_ns()
    sizes = snapshot_sizes(folder)
    while time.monotonic_ns() - changed_at < QUIET_S * 1e9:
        time.sleep(WATCH_STEP_S)
        newer = snapshot_sizes(folder)
        if newer != sizes:
            sizes, changed_at = newer, time.monotonic_ns()
    return begin, changed_at


def snapshot_sizes(folder: Path) -> dict[str, int]:
    """Size of every file in a data folder that is not a log: snapshots, whatever their name until they are whole."""
    sizes = {}
    for path in folder.iterdir():
        if not path.name.startswith("log."):
            try:
                sizes[path.name] = path.stat().st_size
            except FileNotFoundError:  # renamed in between
                continue
    return sizes


def _read_during_snapshot(server: Server, say: Say) -> dict[str, float]:
    say("reading while a snapshot is written")
    server.extra["snapCount"] = SNAPSHOT_SOON
    server.start()
    samples = server.folder.parent / f"{server.name}.samples"
    words = generator.command(
        "run",
        server.port,
        op="get",
        warmup=READ_WARMUP_S,
        seconds=READ_SECONDS,
        samples=samples,
        connections=20,
        inflight=1,
    )
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as reader:
        time.sleep(READ_WARMUP_S + 0.5)
        calm_from = time.monotonic_ns()
        time.sleep(CALM_S)
        calm_to = time.monotonic_ns()
        begin, end = provoke_snapshot(server)
        assert reader.stdout is not None
        printed = reader.stdout.read()
    server.stop()
    if reader.returncode:
        raise BenchError("the load generator stopped while a snapshot was written")
    began_ns = generator.figures(printed)["began_ns"]
    if end > began_ns + READ_SECONDS * 1e9:
        raise BenchError(
            f"{server.name} took longer to write the snapshot than reads were measured ({READ_SECONDS:.0f} s)"
        )
    calm = latencies_between(samples, int(calm_from - began_ns), int(calm_to - began_ns))
    busy = latencies_between(samples, int(begin - began_ns), int(end - began_ns))
    samples.unlink()
    return {
        "snapshot_write_s": (end - begin) / 1e9,
        **{f"without_{name}": value for name, value in spread(calm).items()},
        **{f"during_{name}": value for name, value in spread(busy).items()},
    }


def latencies_between(samples: Path, begin_ns: int, end_ns: int) -> list[int]:
    """Latencies in nanoseconds of the requests answered between two times, counted from the start of the measurement.

    The file holds pairs of unsigned 32-bit words: time of the reply in microseconds, its latency in nanoseconds.
    """
    words = array.array("I")
    words.frombytes(samples.read_bytes())
    begin_us, end_us = begin_ns // 1000, end_ns // 1000
    return [latency for at, latency in zip(words[::2], words[1::2], strict=True) if begin_us <= at <= end_us]


def spread(latencies: list[int]) -> dict[str, float]:
    """Median, 99th percentile and maximum in microseconds, and the number. Raises BenchError when there are none."""
    if not latencies:
        raise BenchError("no request was answered in the measured window")
    ordered = sorted(latencies)
    return {
        "p50_us": ordered[len(ordered) // 2] / 1000,
        "p99_us": ordered[len(ordered) * 99 // 100] / 1000,
        "max_us": ordered[-1] / 1000,
        "count": len(ordered),
    }
