"""The rows of the benchmark's table: what each measures, and what Zabra aims at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    `figure` names what is compared, out of the figures that a measurement of `source` yields. `aim` is the ratio
    Zabra / Apache to reach: at least, where more is better (`rising`), else at most. `against` names another figure of
    the same server to compare with instead of Apache's.
    """

    name: str
    title: str
    source: str
    figure: str
    unit: str
    aim: float
    rising: bool = False
    options: Mapping[str, object] = field(default_factory=dict)
    against: str | None = None

    def reached(self, ratio: float) -> bool:
        return ratio >= self.aim if self.rising else ratio <= self.aim


def _load(name: str, title: str, aim: float, *, connections: int = 20, **options: object) -> Row:
    fixed = {"connections": connections, "value_size": 100, "znodes": 1000}
    return Row(name, title, name, "rate", "/s", aim, True, {**fixed, **options})


LOADS = (
    _load("get-1", "getData, 20 connections, one in flight", 2.0, op="get", inflight=1),
    _load("get-64", "getData, 20 connections, 64 in flight", 7.0, op="get", inflight=64),
    _load("set-1", "setData, 20 connections, one in flight", 1.7, op="set", inflight=1),
    _load("set-64", "setData, 20 connections, 64 in flight", 2.5, op="set", inflight=64),
    _load("create-64", "create, 20 connections, 64 in flight", 2.5, op="create", inflight=64),
    _load(
        "mix-16",
        "90 % getData, 10 % setData, 20 connections, 16 in flight",
        3.5,
        op="mix",
        inflight=16,
        read_percent=90,
    ),
)
WATCH = Row("watch", "setData on a znode that 1,000 watch, to the last event", "watch", "last_event_ms", "ms", 0.5)
START = (
    Row("start", "process start to the first accepted session, empty folder", "start", "seconds", "s", 1.0),
    Row("start-memory", "resident memory then", "start", "resident_mib", "MiB", 1.0),
)
MILLION = (
    Row("million-memory", "a million znodes: resident memory", "million", "resident_mib", "MiB", 1.0),
    Row("million-peak", "a million znodes: peak memory while they were created", "million", "peak_mib", "MiB", 1.0),
    Row("million-replay", "a million znodes: start on the log alone, after kill -9", "million", "replay_s", "s", 1.0),
    Row("million-snapshot", "a million znodes: start on a snapshot", "million", "snapshot_start_s", "s", 1.0),
)
SNAPSHOT = Row(
    "snapshot-p99",
    "getData p99 while a snapshot of a million znodes is written, against p99 without",
    "million",
    "during_p99_us",
    "us",
    2.0,
    against="without_p99_us",
)
SINGLE = (*LOADS, WATCH, *START, *MILLION, SNAPSHOT)

# Three servers on one machine.
ENSEMBLE_LOADS = (
    _load("ensemble-get-1", "getData, 30 connections, one in flight", 3.0, connections=30, op="get", inflight=1),
    _load("ensemble-get-64", "getData, 30 connections, 64 in flight", 5.0, connections=30, op="get", inflight=64),
    _load("ensemble-set-1", "setData, 30 connections, one in flight", 2.0, connections=30, op="set", inflight=1),
    _load("ensemble-set-64", "setData, 30 connections, 64 in flight", 2.0, connections=30, op="set", inflight=64),
    _load(
        "ensemble-mix-16",
        "90 % getData, 10 % setData, 30 connections, 16 in flight",
        3.0,
        connections=30,
        op="mix",
        inflight=16,
        read_percent=90,
    ),
)
ENSEMBLE_MEMORY = Row(
    "ensemble-memory", "resident memory of a server after these", "ensemble-memory", "resident_mib", "MiB", 1.0
)
FAILOVER = Row(
    "ensemble-failover",
    "kill -9 of the leader under load, to the next acknowledged write",
    "ensemble-failover",
    "seconds",
    "s",
    1.0,
)
RETURN = Row(
    "ensemble-return",
    "start of a follower that missed 100,000 writes, to being in sync",
    "ensemble-return",
    "seconds",
    "s",
    1.0,
)
ENSEMBLE = (*ENSEMBLE_LOADS, ENSEMBLE_MEMORY, FAILOVER, RETURN)
ALL = (*SINGLE, *ENSEMBLE)
GROUPS = {"single": SINGLE, "ensemble": ENSEMBLE}


def select(names: list[str]) -> list[Row]:
    """The rows of these names, in table order; no names mean all rows.

    A name also selects all rows that come from the measurement of that name, or that are in the group of that name.
    Raises ValueError for a name that selects nothing.
    """
    known = {*GROUPS, *(word for row in ALL for word in (row.name, row.source))}
    unknown = [name for name in names if name not in known]
    if unknown:
        words = [*GROUPS, *(row.name for row in ALL)]
        raise ValueError(f"no row {', '.join(unknown)}; rows are {', '.join(words)}")
    wanted = {*names, *(row.name for name in names for row in GROUPS.get(name, ()))}
    return [row for row in ALL if not names or row.name in wanted or row.source in wanted]
