"""zabra ensemble: what it starts, what it refuses, and a real one that serves, loses a server and ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from zabra.config.parser import load
from zabra.tools.ensemble import Plan, main

SOURCES = Path(__file__).resolve().parents[3] / "src"
LIMIT_S = 60


def plan(folder, **changes):
    values = {"port": 2181, "voters": 3, "observers": 1, "apache": 0, "classpath": "", "tick_ms": 500} | changes
    return Plan(folder, **values)


def test_each_server_gets_a_configuration_that_loads(tmp_path):
    planned = plan(tmp_path)
    for sid in (1, 2, 3, 4):
        settings = load(config_file=str(planned.prepare(sid))).settings
        assert settings.server_id == sid
        assert settings.client_port == 2180 + sid
        assert sorted(settings.ensemble.voters) == [1, 2, 3]
        assert sorted(settings.ensemble.observers) == [4]
        assert settings.init_limit == 10


def test_the_last_servers_are_apaches(tmp_path):
    planned = plan(tmp_path, apache=1, classpath="/jars/*")
    assert [planned.is_apache(sid) for sid in (1, 2, 3, 4)] == [False, False, False, True]
    assert planned.command(4, tmp_path / "zoo.cfg")[:3] == ["java", "-cp", "/jars/*"]
    assert planned.command(3, tmp_path / "zoo.cfg")[0] == sys.executable


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--servers", "1"], "at least two servers"),
        (["--apache", "4", "--classpath", "x"], "up to 3"),
        (["--apache", "1", "--classpath", ""], "Apache's jars"),
        (["--port", "65000"], "--port 65000"),
    ],
)
def test_what_cannot_be_started_is_refused(arguments, expected, capsys):
    assert main(arguments) == 2
    assert expected in capsys.readouterr().err


def free_base():
    """A client port with room for the others above it."""
    for base in range(21000, 29000, 97):
        ports = [base + offset + index for offset in (0, 1001, 2001) for index in range(3)]
        probes = []
        try:
            for port in ports:
                probe = socket.socket()
                probes.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return base
    raise AssertionError("no free ports")


def test_an_ensemble_serves_survives_a_death_and_ends(tmp_path):
    base = free_base()
    command = [
        sys.executable,
        "-m",
        "zabra",
        "ensemble",
        "--port",
        str(base),
        "--folder",
        str(tmp_path),
        "--tick",
        "500",
    ]
    output = tmp_path / "output"
    with output.open("wb") as log:
        run = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(SOURCES)}
        )
    deadline = time.monotonic() + LIMIT_S

    def wait_for(text):
        while text not in output.read_text():
            assert time.monotonic() < deadline, output.read_text()
            assert run.poll() is None, output.read_text()
            time.sleep(0.05)

    client = KazooClient(",".join(f"127.0.0.1:{base + index}" for index in range(3)))
    try:
        wait_for("clients connect to")
        client.start(LIMIT_S)
        client.create("/kept", b"1")
        line = next(line for line in output.read_text().splitlines() if "server.1 (Zabra) is process" in line)
        os.kill(int(line.split("process ")[1].split(",")[0]), signal.SIGKILL)
        wait_for("server.1 was killed by signal 9; 2 of 3 run")
        assert client.retry(client.get, "/kept")[0] == b"1"
        client.stop()
        run.terminate()
        assert run.wait(LIMIT_S) == 0
    finally:
        client.stop()
        client.close()
        if run.poll() is None:
            run.terminate()
            run.wait(LIMIT_S)
