"""The real side of the ports: the system's clock, randomness and disk, worker threads, and the choice of event loop."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, TypeVar

from zabra.errors import ConfigError
from zabra.runtime.disk import RealDisk
from zabra.runtime.ports import Runtime

T = TypeVar("T")

#: Environment variable that picks the event loop: ``uvloop``, ``asyncio``, or unset for uvloop where it is installed.
LOOP_VARIABLE = "ZABRA_LOOP"


class RealClock:
    """The system's clocks."""

    #: Seconds that never go back; bound directly because it is read for every batch.
    monotonic = staticmethod(time.monotonic)

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000


class RealRandom:
    """Randomness seeded by the system."""

    def __init__(self) -> None:
        self._source = random.Random()

    def random(self) -> float:
        """A float in [0, 1)."""
        return self._source.random()

    def randrange(self, stop: int) -> int:
        """An int in [0, stop)."""
        return self._source.randrange(stop)


class ThreadWorker:
    """A thread that runs jobs in order. Make it, use it and close it on one event loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[tuple[Callable[[], object], Callable[[Any, BaseException | None], None]] | None]
        self._jobs = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run ``job`` in the thread, then call ``done(result, error)`` on the loop."""
        self._jobs.put((job, done))

    def close(self) -> None:
        """Wait until everything submitted has run, then end the thread; blocks the loop meanwhile."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            result: object = None
            error: BaseException | None = None
            try:
                result = job()
            except BaseException as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(done, result, error)
            except RuntimeError:
                # The loop is closed: nobody is left to tell.
                return
            del item, job, done, result, error


def real_runtime() -> Runtime:
    """The ports of a server that really runs."""
    return Runtime(clock=RealClock(), random=RealRandom(), disk=RealDisk(), new_worker=ThreadWorker)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it can be imported, else asyncio's own; ``ZABRA_LOOP`` decides otherwise.

    Raises :class:`ConfigError` when the variable names no loop, or uvloop where it is missing.
    """
    choice = os.environ.get(LOOP_VARIABLE, "")
    if choice not in ("", "asyncio", "uvloop"):
        raise ConfigError(f"environment: {LOOP_VARIABLE}={choice}: expected asyncio or uvloop")
    if choice != "asyncio":
        try:
            import uvloop
        except ImportError as error:
            if choice == "uvloop":
                raise ConfigError(f"environment: {LOOP_VARIABLE}=uvloop: uvloop is not installed") from error
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on :func:`new_event_loop`."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
