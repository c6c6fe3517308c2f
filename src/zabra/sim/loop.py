"""An event loop whose time is a number: what waits for nothing runs at once, an idle hour costs nothing.

Everything happens in one order, that of being scheduled, so a run depends on its seed alone. Each turn runs what was
ready when it began, as asyncio does, then lets ``turn_cost`` of virtual time pass, so that work cut into turns really
meets what arrives meanwhile.

A :class:`Process` is what dies together. Handles belong to the process that scheduled them; those of a dead one are
never run. A crash can come in the middle of a call: the process is marked dead, and :class:`SimulatedCrash` unwinds the
stack that was running. Whatever its ``finally`` blocks do reaches neither disk nor network any more.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar

from zabra.sim.trace import Trace

if TYPE_CHECKING:
    from zabra.sim.network import Network
    from zabra.sim.worker import Strand

T = TypeVar("T")


class SimulatedCrash(BaseException):
    """The process that runs has just died."""


class Process:
    """What dies together. ``answers`` tells whether its machine still resets the connections of the dead process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.answers = True
        #: Worker threads that must end with it.
        self.strands: list[Strand] = []
        self.coroutines: list[Coroutine[Any, Any, Any]] = []
        #: Its loop waits for the disk; what its sockets have for it then, to be called afterwards.
        self.blocked = False
        self.backlog: list[Callable[[], None]] = []

    def die(self) -> None:
        """Nothing of it runs any more. A coroutine that never began is closed, or Python would warn of it."""
        self.alive = False
        for coroutine in self.coroutines:
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
        self.coroutines.clear()

    def check(self) -> None:
        """Raise SimulatedCrash in a dead process."""
        if not self.alive:
            raise SimulatedCrash(self.name)


class SimFuture(asyncio.Future[Any]):
    """A future that knows whose it is."""

    process: Process


class SimTask(asyncio.Task[T]):
    """A task that knows whose it is."""

    process: Process


class SimHandle:
    """A scheduled call (``asyncio.TimerHandle`` as callers use it)."""

    __slots__ = ("args", "callback", "context", "process", "time")

    def __init__(
        self,
        time: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        process: Process,
    ) -> None:
        self.time = time
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context
        self.process = process

    def cancel(self) -> None:
        """Never run it."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether it will never run."""
        return self.callback is None

    def when(self) -> float:
        """The second it is due."""
        return self.time


class SimLoop(asyncio.AbstractEventLoop):
    """The loop. ``network`` is set by the network that is built on it."""

    network: Network

    def __init__(self, trace: Trace, turn_cost: float = 20e-6) -> None:
        self.trace = trace
        self.turn_cost = turn_cost
        #: Who owns what is scheduled from outside of every process.
        self.world = Process("world")
        #: Who runs now.
        self.process = self.world
        #: The worker thread that runs now, None in the loop's own.
        self.strand: Strand | None = None
        #: Exceptions that reached the loop: bugs.
        self.errors: list[str] = []
        self._now = 0.0
        self._ready: deque[SimHandle] = deque()
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._count = 0
        trace.clock = self.time

    # -- asyncio

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def get_debug(self) -> bool:
        """Never: debug mode keeps stacks."""
        return False

    def is_running(self) -> bool:
        """For asyncio's own checks."""
        return True

    def is_closed(self) -> bool:
        """For asyncio's own checks."""
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        """Run in the next turn."""
        handle = SimHandle(self._now, callback, args, context, self.process)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        """Run in ``delay`` seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        """Run at second ``when``."""
        handle = SimHandle(when, callback, args, context, self.process)
        self._count += 1
        heappush(self._timers, (when, self._count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        future = SimFuture(loop=self)
        future.process = self.process
        return future

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """A task of the process that runs now."""
        self.process.coroutines.append(coro)
        task = SimTask(coro, loop=self, name=name)
        task.process = self.process
        return task

    async def create_server(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Listen in the simulated network; addresses are those of the process."""
        return self.network.listen(self.process, factory, port)

    async def create_connection(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Connect through the simulated network. Raises OSError."""
        return await self.network.connect(self.process, factory, host, port)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what would be logged; what a dead process leaves behind is no news."""
        error = context.get("exception")
        owner = getattr(context.get("future") or context.get("task"), "process", self.world)
        if error is None or isinstance(error, SimulatedCrash) or not owner.alive:
            return
        text = "".join(traceback.format_exception(error))
        self.errors.append(f"{context.get('message')}: {text}")
        self.trace.add("exception", repr(error))

    # -- for the simulator

    def run_as(self, process: Process, callback: Callable[..., object], *args: Any) -> None:
        """Call at once, as ``process``; its exceptions and crashes end here."""
        if not process.alive:
            return
        if process.blocked:
            self._ready.append(SimHandle(self._now, callback, args, None, process))
            return
        before = self.process
        self.process = process
        try:
            callback(*args)
        except SimulatedCrash:
            pass
        except Exception as error:
            self.call_exception_handler({"message": f"in {process.name}", "exception": error})
        finally:
            self.process = before

    def world_soon(self, callback: Callable[..., object], *args: Any) -> SimHandle:
        """``call_soon`` of the world, whoever runs."""
        handle = SimHandle(self._now, callback, args, None, self.world)
        self._ready.append(handle)
        return handle

    def world_at(self, when: float, callback: Callable[..., object], *args: Any) -> SimHandle:
        """``call_at`` of the world, whoever runs."""
        handle = SimHandle(when, callback, args, None, self.world)
        self._count += 1
        heappush(self._timers, (when, self._count, handle))
        return handle

    def block(self, seconds: float) -> None:
        """The code that runs takes so long. A worker's thread lets its loop go on; the loop's own only other machines.

        Returns early when the process dies meanwhile.
        """
        if self.strand is not None:
            self.strand.sleep(seconds)
            return
        process = self.process
        until = self._now + seconds
        process.blocked = process is not self.world
        self.process = self.world
        held: list[SimHandle] = []
        late: list[SimHandle] = []
        # Tasks of the world step while this one stands still.
        task = asyncio.current_task(self)
        if task is not None:
            asyncio.tasks._leave_task(self, task)
        while process.alive and self._step_of_the_world(until, held, late):
            pass
        if process.alive:
            self._now = until
        if task is not None:
            asyncio.tasks._enter_task(self, task)
        self.process = process
        process.blocked = False
        # A loop finishes its turn; then uvloop looks at its timers before its sockets, which is the harder order.
        self._ready.extend(held + late)
        for callback in process.backlog:
            self.world_soon(callback)
        process.backlog.clear()

    def _step_of_the_world(self, until: float, held: list[SimHandle], late: list[SimHandle]) -> bool:
        """Run the next call of the world; those of servers are collected. False when nothing is due by ``until``."""
        if self._ready:
            handle = self._ready.popleft()
            if handle.process is self.world:
                self._run(handle)
            else:
                held.append(handle)
            return True
        if self._timers and self._timers[0][0] <= until:
            when, _, handle = heappop(self._timers)
            self._now = max(self._now, when)
            (self._ready if handle.process is self.world else late).append(handle)
            return True
        return False

    def run_until(self, deadline: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Run until second ``deadline``, or until ``stop()`` holds between two calls."""
        asyncio.events._set_running_loop(self)
        try:
            while not stop():
                ready = self._ready
                if not ready:
                    timers = self._timers
                    if not timers or timers[0][0] > deadline:
                        self._now = max(self._now, deadline)
                        return
                    self._now = max(self._now, timers[0][0])
                elif self._now > deadline:
                    return
                else:
                    for _ in range(len(ready)):
                        # A call that blocked has let others run.
                        if ready:
                            self._run(ready.popleft())
                        if stop():
                            return
                    self._now += self.turn_cost
                self._collect_due()
        finally:
            asyncio.events._set_running_loop(None)

    def _collect_due(self) -> None:
        """Make ready what is due: first what came from outside, as a loop looks at its sockets before its timers."""
        timers = self._timers
        now = self._now
        own: list[SimHandle] = []
        while timers and timers[0][0] <= now:
            handle = heappop(timers)[2]
            if handle.callback is not None:
                (self._ready if handle.process is self.world else own).append(handle)
        self._ready += own

    def _run(self, handle: SimHandle) -> None:
        callback = handle.callback
        if callback is None:
            return
        if handle.context is not None:
            self.run_as(handle.process, handle.context.run, callback, *handle.args)
        else:
            self.run_as(handle.process, callback, *handle.args)


def new_loop(trace: Trace, turn_cost: float = 20e-6) -> SimLoop:
    """A loop; of asyncio's calls it has those that the server may use."""
    return SimLoop(trace, turn_cost)  # type: ignore[abstract]
