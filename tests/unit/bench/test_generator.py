"""The load generator against canned replies: it counts what it sent and refuses what is wrong."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import generator, servers
from bench.servers import BenchError, Knocker, config_text, free_port

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture
def responder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(generator, "BUILD", tmp_path)
    port = free_port()
    process = subprocess.Popen([generator.compile_c("echo"), str(port)])
    door = Knocker(port)
    while not door.granted():
        assert process.poll() is None
    door.close()
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


class TestServers:
    def test_both_servers_read_the_same_settings(self) -> None:
        lines = config_text(Path("/x"), 4321, {"snapCount": 7}).splitlines()
        assert {"dataDir=/x", "clientPort=4321", "snapCount=7", "maxClientCnxns=0"} <= set(lines)

    def test_the_door_waits_for_a_server_that_is_not_there_yet(self, responder: int, tmp_path: Path) -> None:
        port = free_port()
        late: list[subprocess.Popen[bytes]] = []
        timer = threading.Timer(0.1, lambda: late.append(subprocess.Popen([tmp_path / "echo", str(port)])))
        timer.start()
        begin, door = time.monotonic(), Knocker(port)
        while not door.granted():
            assert time.monotonic() - begin < servers.START_TIMEOUT_S
        door.close()
        timer.join()
        late[0].kill()
        late[0].wait()
        assert time.monotonic() - begin >= 0.1
