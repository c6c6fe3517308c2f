"""Threads, clocks, randomness and the choice of the event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import warnings

import pytest

from zabra.errors import ConfigError
from zabra.runtime.real import LOOP_VARIABLE, RealClock, RealRandom, ThreadWorker, new_event_loop, real_runtime, run


def test_jobs_run_in_order_in_a_thread_and_end_on_the_loop() -> None:
    async def main() -> None:
        loop_thread = threading.get_ident()
        worker = ThreadWorker("test: worker")
        heard: list[tuple[object, object, int]] = []
        threads: list[tuple[int, str]] = []
        finished = asyncio.get_running_loop().create_future()

        def job(number: int) -> int:
            threads.append((threading.get_ident(), threading.current_thread().name))
            if number == 2:
                raise OSError(28, "full")
            return number

        def done(result: object, error: BaseException | None) -> None:
            heard.append((result, type(error), threading.get_ident()))
            if len(heard) == 4:
                finished.set_result(None)

        for number in range(4):
            worker.submit(lambda number=number: job(number), done)
        await finished
        worker.close()
        none = type(None)
        assert heard == [
            (0, none, loop_thread),
            (1, none, loop_thread),
            (None, OSError, loop_thread),
            (3, none, loop_thread),
        ]
        assert len(set(threads)) == 1
        assert threads[0][0] != loop_thread
        assert threads[0][1] == "test: worker"

    asyncio.run(main())


def test_close_waits_for_what_was_submitted() -> None:
    async def main() -> list[int]:
        worker = ThreadWorker("test")
        ran: list[int] = []
        for number in range(100):
            worker.submit(lambda number=number: ran.append(number), lambda *_: None)
        worker.close()
        return ran

    assert asyncio.run(main()) == list(range(100))


def test_a_thread_whose_loop_is_gone_ends_by_itself() -> None:
    """Nobody closed the worker, and its last job ends after the loop did."""
    gate = threading.Event()

    async def main() -> ThreadWorker:
        worker = ThreadWorker("test")
        worker.submit(gate.wait, lambda *_: None)
        return worker

    worker = asyncio.run(main())
    gate.set()
    worker._thread.join(10)
    assert not worker._thread.is_alive()


def test_clocks() -> None:
    clock = RealClock()
    assert clock.monotonic() <= time.monotonic() <= clock.monotonic()
    assert abs(clock.wall_ms() - time.time() * 1000) < 60_000


def test_randomness_stays_in_its_range() -> None:
    source = RealRandom()
    assert all(0 <= source.random() < 1 for _ in range(100))
    assert {source.randrange(3) for _ in range(500)} == {0, 1, 2}


def test_the_real_ports() -> None:
    runtime = real_runtime()
    assert runtime.disk.is_dir("/")
    assert runtime.new_worker is ThreadWorker


@pytest.mark.parametrize(("choice", "module"), [("asyncio", "asyncio"), ("uvloop", "uvloop"), ("", "uvloop")])
def test_the_loop_that_was_chosen(choice: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOOP_VARIABLE, choice)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip("uvloop")
    loop = new_event_loop()
    try:
        assert type(loop).__module__.partition(".")[0] == module
    finally:
        loop.close()


def test_a_loop_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOOP_VARIABLE, "twisted")
    with pytest.raises(ConfigError, match="ZABRA_LOOP=twisted: expected asyncio or uvloop"):
        new_event_loop()


def test_without_uvloop_asyncio_serves_unless_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.delenv(LOOP_VARIABLE, raising=False)
    loop = new_event_loop()
    loop.close()
    assert type(loop).__module__.startswith("asyncio")
    monkeypatch.setenv(LOOP_VARIABLE, "uvloop")
    with pytest.raises(ConfigError, match="not installed"):
        new_event_loop()


def test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOOP_VARIABLE, "asyncio")

    async def main() -> int:
        return 7

    assert run(main()) == 7
