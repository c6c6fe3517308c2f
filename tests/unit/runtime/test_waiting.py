"""Waiting for a worker: what its job returns and raises, and what a wait that is given up does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from zabra.runtime.waiting import result_of


class LateWorker:
    """Does its jobs when told to."""

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def submit(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        def work() -> None:
            try:
                result = job()
            except OSError as error:
                done(None, error)
            else:
                done(result, None)

        self.jobs.append(work)

    def close(self) -> None:
        """Nothing runs."""


def test_what_a_job_returns_is_waited_for() -> None:
    async def story() -> None:
        worker = LateWorker()
        waiting = asyncio.ensure_future(result_of(worker, lambda: 7))
        await asyncio.sleep(0)
        assert not waiting.done()
        worker.jobs.pop()()
        assert await waiting == 7

    asyncio.run(story())


def test_what_a_job_raises_is_raised() -> None:
    def breaks() -> int:
        raise OSError("no disk")

    async def story() -> None:
        worker = LateWorker()
        waiting = asyncio.ensure_future(result_of(worker, breaks))
        await asyncio.sleep(0)
        worker.jobs.pop()()
        with pytest.raises(OSError, match="no disk"):
            await waiting

    asyncio.run(story())


def test_a_job_ends_quietly_when_nobody_waits_any_more() -> None:
    async def story() -> None:
        worker = LateWorker()
        waiting = asyncio.ensure_future(result_of(worker, lambda: 7))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        worker.jobs.pop()()
        assert waiting.cancelled()

    asyncio.run(story())
