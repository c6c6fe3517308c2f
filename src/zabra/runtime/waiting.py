"""Waiting for a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar, cast

from zabra.runtime.ports import Worker

T = TypeVar("T")


async def result_of(worker: Worker, job: Callable[[], T]) -> T:
    """What ``job`` returns or raises, run by ``worker`` beside the loop. It goes on when who waits is cancelled."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def done(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast(T, result))

    worker.submit(job, done)
    return await future
