"""The C and the Java client, unmodified, go through their scenarios with our server, and with Apache's to prove them.

A scenario is a program that prints what it needs done: see scenario.c.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat import jute
from compat.rawclient import Client
from compat.servers import APACHE, CLASSPATH_VARIABLE, LOOPBACK, ZABRA, ServerProcess, missing_java, require

HERE = Path(__file__).parent
NO_NODE = -101
CONFIG = {"tickTime": "1000", "extendedTypesEnabled": "true"}
PROPERTIES = {"zookeeper.extendedTypesEnabled": "true"}


@pytest.fixture(params=[ZABRA, pytest.param(APACHE, marks=pytest.mark.java)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    if request.param == APACHE:
        require(missing_java())
    with ServerProcess(request.param, tmp_path, config=CONFIG, properties=PROPERTIES).start() as process:
        yield process


def missing_c_client() -> str | None:
    """What keeps a program of the C client from being built, or ``None``."""
    if shutil.which("cc") is None:
        return "no C compiler `cc` on PATH"
    found = Path("/usr/include/zookeeper/zookeeper.h").exists()
    return None if found else "no C client library (Debian: libzookeeper-mt-dev)"


def c_scenario(folder: Path) -> list[str]:
    """Compile it; the command that runs it."""
    require(missing_c_client())
    program = folder / "scenario"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-DTHREADED", "-pthread"]
    source = str(HERE / "scenario.c")
    subprocess.run(["cc", *flags, "-o", str(program), source, "-lzookeeper_mt"], check=True, timeout=60)
    return [str(program)]


def java_scenario(folder: Path) -> list[str]:
    """Compile it; the command that runs it."""
    require(missing_java())
    require(None if shutil.which("javac") is not None else "no `javac` on PATH")
    jars = os.environ[CLASSPATH_VARIABLE]
    source = str(HERE / "Scenario.java")
    subprocess.run(["javac", "-cp", jars, "-d", str(folder), source], check=True, timeout=120)
    return ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}{os.pathsep}{jars}", "Scenario"]


def wait_until_expired(server: ServerProcess) -> None:
    """Until the ephemeral of the paused client is gone."""
    with Client(server.port) as client:
        deadline = time.monotonic() + 30
        while client.call(jute.EXISTS, jute.path_watch("/expires", False))[0] != NO_NODE:
            assert time.monotonic() < deadline, "the session of a silent client does not expire"
            time.sleep(0.05)


def run(command: list[str], server: ServerProcess) -> None:
    """Run a scenario and do what it asks for."""
    steps = []
    errors = server.folder / "client.log"
    with errors.open("w") as log:
        program = subprocess.Popen(
            [*command, f"{LOOPBACK}:{server.port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    overdue = threading.Timer(120, program.kill)
    overdue.start()
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        try:
            for line in program.stdout:
                steps.append(line.rstrip("\n"))
                if steps[-1] == "restart":
                    server.kill()
                    server.start()
                    program.stdin.write("restarted\n")
                    program.stdin.flush()
                elif steps[-1] == "pause":
                    program.send_signal(signal.SIGSTOP)
                    try:
                        wait_until_expired(server)
                    finally:
                        program.send_signal(signal.SIGCONT)
        finally:
            overdue.cancel()
            program.kill()
    assert steps == ["restart", "pause", "done"], errors.read_text()[-3000:] + server.log_tail()


def test_the_c_client(server: ServerProcess, tmp_path: Path) -> None:
    run(c_scenario(tmp_path), server)


@pytest.mark.java
def test_the_java_client(server: ServerProcess, tmp_path: Path) -> None:
    run(java_scenario(tmp_path), server)
