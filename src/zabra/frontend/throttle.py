"""What a server takes on at most in requests: how many at once, how long one may wait, how many bytes of large ones.

All of it is off by default. Where something is on, every request passes here on its way from its connection
(:mod:`zabra.frontend.guarded`) to the pipeline, in the order of arrival over all connections.

*In process* are the requests that the pipeline has and has not committed. A read is answered the moment it is served,
so that it never counts; one behind a write of its own connection waits with it.

Source: ``RequestThrottler``, ``Request.isStale``, ``ZooKeeperServer.checkRequestSize...`` (3.9.5).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple, Protocol

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.obs.metrics import Metrics
from zabra.pipeline.ports import Scheduler

_log = logging.getLogger(__name__)

#: What never waits too long (``Request.isThrottlable``).
_ALWAYS_SERVED: Final = frozenset({Op.PING, Op.CLOSE_SESSION, Op.CREATE_SESSION})


class Verdict(Enum):
    """What becomes of a request that passed the throttle."""

    SERVE = 0
    #: Tell the client that it waited too long.
    TOO_LATE = 1
    #: Nobody is told: its connection is closed.
    DROPPED = 2


#: Called once with what becomes of a request.
Serve = Callable[[Verdict], None]


class Asker(Protocol):
    """Whose request is held: a connection."""

    #: Milliseconds of its session.
    timeout_ms: int
    #: One of its requests was dropped; then all that follow are, to keep their order.
    invalid: bool

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed."""

    def drop(self) -> None:
        """Become invalid: close, without an answer to what is held."""


class _Held(NamedTuple):
    conn: Asker
    op: int
    serve: Serve
    #: Monotonic seconds.
    since: float


class RequestThrottle:
    """Holds requests back while as many as may be are in process (``request_throttle_max_requests``).

    They go on in order of arrival as others are done; at the latest every ``request_throttle_stall_time`` it is
    looked again. One that waited longer than ``throttled_op_wait_time`` is answered with THROTTLEDOP instead. A stale
    one, whose connection is closed or whose session would be over, may be dropped, and its connection with it.
    """

    def __init__(
        self,
        settings: Settings,
        scheduler: Scheduler,
        monotonic: Callable[[], float],
        metrics: Metrics,
        in_process: Callable[[], int],
    ) -> None:
        self._max = settings.request_throttle_max_requests
        self._stall = max(settings.request_throttle_stall_time_ms, 1) / 1000
        self._drop_stale = settings.request_throttle_drop_stale
        self._stale_connection = settings.request_stale_connection_check
        self._stale_latency = settings.request_stale_latency_check
        self._wait_max_ms = settings.throttled_op_wait_time_ms
        self._scheduler = scheduler
        self._monotonic = monotonic
        self._metrics = metrics
        self._in_process = in_process
        self._queue: deque[_Held] = deque()
        self._timer = False
        self._running = False
        #: While the server stops: resolved when nothing is held any more.
        self._drained: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """Requests held back."""
        return len(self._queue)

    def submit(self, conn: Asker, op: int, serve: Serve) -> None:
        """Serve a request, now or later."""
        if self._drained is not None:
            conn.drop()
            serve(Verdict.DROPPED)
            return
        self._queue.append(_Held(conn, op, serve, self._monotonic()))
        if len(self._queue) == 1:
            self.run()

    def run(self) -> None:
        """Serve what may go on; call it whenever requests are done."""
        if self._running:
            return
        self._running = True
        queue = self._queue
        while queue:
            held = queue[0]
            if held.conn.invalid:
                queue.popleft()
                held.serve(Verdict.DROPPED)
                continue
            waited_ms = (self._monotonic() - held.since) * 1000
            stale = self._is_stale(held, waited_ms)
            if stale and self._drop_stale:
                queue.popleft()
                self._metrics.stale_requests_dropped.add()
                held.conn.drop()
                held.serve(Verdict.DROPPED)
                continue
            if self._in_process() >= self._max:
                self._stall_a_while()
                break
            queue.popleft()
            if stale:
                self._metrics.stale_requests.add()
            self._metrics.request_throttle_queue_time_ms.add(int(waited_ms))
            if 0 < self._wait_max_ms < waited_ms and held.op not in _ALWAYS_SERVED:
                self._metrics.throttled_ops.add()
                held.serve(Verdict.TOO_LATE)
            else:
                held.serve(Verdict.SERVE)
        self._running = False
        if not queue and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _is_stale(self, held: _Held, waited_ms: float) -> bool:
        if held.op == Op.CLOSE_SESSION:
            return False
        if self._stale_connection and held.conn.is_gone:
            return True
        return self._stale_latency and waited_ms > held.conn.timeout_ms

    def _stall_a_while(self) -> None:
        self._metrics.request_throttle_wait_count.add()
        if not self._timer:
            self._timer = True
            self._scheduler.call_later(self._stall, self._look_again)

    def _look_again(self) -> None:
        self._timer = False
        self.run()

    def clear(self) -> None:
        """Drop what is held."""
        while self._queue:
            held = self._queue.popleft()
            held.conn.drop()
            held.serve(Verdict.DROPPED)

    async def drain(self, timeout_ms: int) -> None:
        """Take nothing more, and wait until everything held is served; drop what is left after so long."""
        loop = asyncio.get_running_loop()
        self._drained = loop.create_future()
        self.run()
        await asyncio.wait((self._drained,), timeout=timeout_ms / 1000)
        if self._queue:
            _log.warning("%d requests that were held back are dropped", len(self._queue))
        self.clear()


class LargeRequests:
    """Bytes of large requests that came in and are not answered, and their limit."""

    def __init__(self, threshold: int, bytes_max: int, metrics: Metrics) -> None:
        self._threshold = threshold
        self._max = bytes_max
        self._metrics = metrics
        #: Taken and not given back.
        self.bytes = 0

    def admits(self, size: int) -> bool:
        """Whether a frame of ``size`` bytes may be read; counted as rejected if not."""
        if size <= self._threshold or self.bytes + size <= self._max:
            return True
        self._metrics.large_requests_rejected.add()
        return False

    def take(self, size: int) -> int:
        """Count a request with ``size`` bytes behind its header; what to give back, 0 for a small one, -1: refused."""
        if size <= self._threshold:
            return 0
        if not self.admits(size):
            return -1
        self.bytes += size
        return size

    def give_back(self, size: int) -> None:
        """A request is answered, or will never be."""
        self.bytes -= size
