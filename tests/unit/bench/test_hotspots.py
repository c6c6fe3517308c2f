"""Where a server spends its CPU time: the samples, and what they say about one operation."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from bench import hotspots
from bench.hotspots import Profile, Spot, read_profile, table
from bench.sampler import Sampler
from bench.servers import SOURCES


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def outer(seconds: float) -> None:
    burn(seconds)


def sampled(*calls: object) -> dict[str, list[int]]:
    """Samples in itself and in all by function, of the calls of :func:`outer` and of waiting."""
    sampler = Sampler()
    before = {number: signal.getsignal(number) for number in (signal.SIGPROF, signal.SIGUSR1)}
    sampler.start()
    try:
        for call in calls:
            if call == "forget":
                signal.raise_signal(signal.SIGUSR1)
            elif call == "wait":
                time.sleep(0.2)
            else:
                outer(0.1)
    finally:
        sampler.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    return {name: [sampler.own[file, name], total] for (file, name), total in sampler.total.items() if file == __file__}


def test_samples_are_of_cpu_time_and_know_the_callers() -> None:
    found = sampled("burn", "wait")
    assert found["burn"][0] > 5
    assert found["outer"][1] >= found["burn"][1] >= found["burn"][0] > found["outer"][0]
    assert found["sampled"][0] < found["burn"][0] / 2


def test_the_time_before_can_be_forgotten() -> None:
    assert "burn" not in sampled("burn", "forget", "wait")


def test_the_file_holds_what_was_noted(tmp_path: Path) -> None:
    sampler = Sampler()
    sampler.samples = 3
    sampler.own["f.py", "inner"] = 2
    sampler.total.update({("f.py", "outer"): 3, ("f.py", "inner"): 2})
    sampler.save(tmp_path / "samples")
    noted = json.loads((tmp_path / "samples").read_text())
    assert noted == {"samples": 3, "functions": [["f.py", "outer", 0, 3], ["f.py", "inner", 2, 2]]}


def test_shares_are_of_the_cpu_time_of_an_operation(tmp_path: Path) -> None:
    functions = [[str(SOURCES / "zabra/zab/leader.py"), "propose", 1, 4], ["/usr/lib/x.py", "run", 0, 2]]
    (tmp_path / "samples").write_text(json.dumps({"samples": 4, "functions": functions}))
    profile = read_profile("leader", tmp_path / "samples", 8.0)
    assert profile == Profile("leader", 8.0, 4, [Spot(2.0, 8.0, "zab/leader.py propose"), Spot(0.0, 4.0, "x.py run")])


def test_a_server_that_did_nothing_has_no_shares(tmp_path: Path) -> None:
    (tmp_path / "samples").write_text(json.dumps({"samples": 0, "functions": []}))
    assert read_profile("server", tmp_path / "samples", 0.0).spots == []


def test_the_table_has_both_orders_and_is_cut() -> None:
    spots = [Spot(1.0, 9.0, "a"), Spot(3.0, 3.0, "b"), Spot(2.0, 4.0, "c")]
    lines = table(Profile("leader 3", 9.5, 100, spots), 2).splitlines()
    assert lines[0] == "leader 3: 9.5 us, 100 samples"
    assert [line.split()[-1] for line in lines[1:]] == ["us", "b", "c", "us", "a", "c"]


def test_only_loads_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        hotspots.main(["start"])
    assert "ensemble-set-64" in capsys.readouterr().err
