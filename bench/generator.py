"""Compiles and runs the load generator (load.c), the canned responder (echo.c) and the leader's killer (failover.c)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.servers import BUILD, HERE, BenchError

HEADERS = ("histogram.h", "zkwire.h")


def compile_c(name: str) -> Path:
    """The program made from <name>.c, compiled with $CC (default cc) when it is missing or older than its sources."""
    target = BUILD / name
    sources = [HERE / f"{name}.c", *(HERE / header for header in HEADERS)]
    if not target.exists() or target.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        BUILD.mkdir(exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        flags = ["-O2", "-Wall", "-Wextra", "-o", str(target), str(sources[0])]
        try:
            done = subprocess.run([*compiler, *flags], check=False)
        except FileNotFoundError:
            raise BenchError(f"the load generator needs a C compiler, and there is no `{compiler[0]}`") from None
        if done.returncode:
            raise BenchError(f"{name}.c does not compile")
    return target


#: A number, or those of several servers: sessions go to them in turn, CPU times are added up.
Numbers = int | Sequence[int]


def command(mode: str, port: Numbers, **options: object) -> list[str]:
    """The command line of one run, e.g. command("run", 2181, op="get", inflight=64, pid=[7, 8])."""
    return [str(compile_c("load")), mode, *_options(port=port, **options)]


def run(mode: str, port: Numbers, **options: object) -> dict[str, Any]:
    """Runs the generator and returns the figures it prints. Raises BenchError when a reply was wrong or missing."""
    return _run(command(mode, port, **options))


def failover(port: Numbers, leader_pid: int, **options: object) -> dict[str, Any]:
    """Kills the leader under load; seconds until writes are acknowledged again, see failover.c."""
    return _run([str(compile_c("failover")), *_options(port=port, kill=leader_pid, **options)])


def figures(printed: str) -> dict[str, Any]:
    """The figures in what a run printed."""
    decoded: dict[str, Any] = json.loads(printed)
    return decoded


def _options(**options: object) -> list[str]:
    words = []
    for name, value in options.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        words += ["--" + name.replace("_", "-"), text]
    return words


def _run(words: list[str]) -> dict[str, Any]:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the load generator stopped: {done.stderr.strip() or done.returncode}")
    return figures(done.stdout)
