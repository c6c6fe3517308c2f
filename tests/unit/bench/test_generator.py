"""The load generator against canned replies: it counts what it sent and refuses what is wrong."""

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
from bench import generator, servers
from bench.servers import BenchError, Knocker, config_text, free_port

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def wait_session(port: int) -> None:
    door = Knocker(port)
    begin = time.monotonic()
    while not door.granted():
        assert time.monotonic() - begin < servers.START_TIMEOUT_S
    door.close()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs of this module's tests are compiled to."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def responder(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(generator, "BUILD", programs)
    port = free_port()
    process = subprocess.Popen([generator.compile_c("echo"), str(port)])
    wait_session(port)
    yield port
    process.kill()
    process.wait()


class TestGenerator:
    def test_every_workload_counts_its_operations(self, responder: int) -> None:
        for op in ("get", "set", "create", "mix"):
            figures = generator.run("run", responder, op=op, ops=5000, inflight=16, connections=3, znodes=50)
            assert figures["operations"] == 5000, op
            assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["max_us"], op

    def test_fill_creates_the_number_asked_for(self, responder: int) -> None:
        assert generator.run("fill", responder, root="/fill", ops=2500, inflight=8)["operations"] == 2500

    def test_a_timed_run_lasts_as_long_as_asked(self, responder: int) -> None:
        figures = generator.run("run", responder, op="get", seconds=0.2, warmup=0.05)
        assert 0.15 < figures["seconds"] < 0.5

    def test_samples_are_one_pair_for_each_operation(self, responder: int, tmp_path: Path) -> None:
        generator.run("run", responder, op="get", ops=100, samples=tmp_path / "samples")
        assert (tmp_path / "samples").stat().st_size == 100 * 8

    def test_a_reply_of_the_wrong_length_stops_it(self, responder: int) -> None:
        # The responder always sends 100-byte values.
        with pytest.raises(BenchError, match="188 bytes where 138 were due"):
            generator.run("run", responder, op="get", ops=10, value_size=50)

    def test_an_unknown_option_is_refused(self, responder: int) -> None:
        with pytest.raises(BenchError, match="unknown option --nonsense"):
            generator.run("run", responder, nonsense=1)


class TestSeveralServers:
    def test_sessions_go_to_the_ports_in_turn(self, responder: int) -> None:
        closed = free_port()
        assert generator.run("run", [responder, closed], op="get", ops=10, connections=1)["operations"] == 10
        with pytest.raises(BenchError, match="connect: Connection refused"):
            generator.run("run", [responder, closed], op="get", ops=10, connections=2)

    def test_every_named_process_is_looked_at(self, responder: int) -> None:
        own = os.getpid()
        assert generator.run("run", responder, op="get", ops=10, pid=[own, own])["server_cpu_s"] >= 0
        with pytest.raises(BenchError, match="no process 999999999"):
            generator.run("run", responder, op="get", ops=10, pid=[own, 999999999])

    @pytest.mark.parametrize("text", ["", "1,,2", "1,x", "0", "1,", ",".join("1" * 17)])
    def test_a_list_that_is_none_is_refused(self, responder: int, text: str) -> None:
        with pytest.raises(BenchError, match="numbers with commas between them"):
            generator.run("run", text, op="get", ops=10)  # type: ignore[arg-type]


class TestFailover:
    def test_sessions_of_the_killed_server_go_on_with_another(self, responder: int, programs: Path) -> None:
        port = free_port()
        leader = subprocess.Popen([programs / "echo", str(port)])
        wait_session(port)
        figures = generator.failover([responder, port], leader.pid, connections=4, inflight=3, warmup=0.05)
        assert leader.wait() == -signal.SIGKILL
        assert 0 < figures["seconds"] <= figures["all_seconds"] < 5
        assert 0 < figures["session_seconds"] <= figures["all_seconds"]
        assert figures["writes_before"] > 0


class TestServers:
    def test_both_servers_read_the_same_settings(self) -> None:
        lines = config_text(Path("/x"), 4321, {"snapCount": 7}).splitlines()
        assert {"dataDir=/x", "clientPort=4321", "snapCount=7", "maxClientCnxns=0"} <= set(lines)

    def test_the_door_waits_for_a_server_that_is_not_there_yet(self, responder: int, programs: Path) -> None:
        port = free_port()
        late: list[subprocess.Popen[bytes]] = []
        timer = threading.Timer(0.1, lambda: late.append(subprocess.Popen([programs / "echo", str(port)])))
        timer.start()
        begin = time.monotonic()
        wait_session(port)
        timer.join()
        late[0].kill()
        late[0].wait()
        assert time.monotonic() - begin >= 0.1
