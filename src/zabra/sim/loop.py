"""An event loop whose time is a number: what waits for nothing runs at once, an idle hour costs nothing.

Everything happens in one order, that of being scheduled, so a run depends on its seed alone. Each turn runs what was
ready when it began, as asyncio does, then lets ``turn_cost`` of virtual time pass, so that work cut into turns really
meets what arrives meanwhile.

A :class:`Process` is what dies together. Handles belong to the process that scheduled them; those of a dead one are
never run. A crash can come in the middle of a call: the process is marked dead, and :class:`SimulatedCrash` unwinds the
stack that was running. Whatever its ``finally`` blocks do reaches neither disk nor network any more.

The loop looks different from each process: while one waits for its disk in :meth:`SimLoop.block` nothing of it runs,
and its clock may go faster or slower than that of others. :attr:`SimLoop.now` is everybody's time, for the simulator.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar, cast

from zabra.sim.crew import Crew, Hand
from zabra.sim.trace import Trace

if TYPE_CHECKING:
    from zabra.sim.network import Network
    from zabra.sim.worker import Strand

T = TypeVar("T")


class SimulatedCrash(BaseException):
    """The process that runs has just died."""


class Process:
    """What dies together. ``answers`` tells whether its machine still resets the connections of the dead process."""

    #: Where it began to run.
    loop: SimLoop | None = None

    def __init__(self, name: str, clock_rate: float = 1.0) -> None:
        """``name`` is the address of its machine; its clocks pass ``clock_rate`` seconds in one second."""
        self.name = name
        self.clock_rate = clock_rate
        self.alive = True
        self.answers = True
        #: Worker threads that must end with it.
        self.strands: list[Strand] = []
        self.coroutines: list[Coroutine[Any, Any, Any]] = []
        #: Its loop waits for the disk. What was ready, what came due, and what its sockets have for it run afterwards.
        self.blocked = False
        self.held: list[SimHandle] = []
        self.late: list[SimHandle] = []
        self.backlog: list[Callable[[], None]] = []
        #: Ends its wait.
        self.unblock: Callable[[], None] = lambda: None

    def die(self) -> None:
        """Nothing of it runs any more."""
        self.alive = False
        self.unblock()
        if self.loop is not None:
            self.loop.bury(self)

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
        """The second it is due, on the clock of its process."""
        return self.time * self.process.clock_rate


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
        #: Virtual seconds since the run began.
        self.now = 0.0
        self._ready: deque[SimHandle] = deque()
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._count = 0
        self._crew = Crew(self._drive)
        self._deadline = 0.0
        self._stop: Callable[[], bool] = lambda: False
        #: What ``stop`` raised.
        self._error: BaseException | None = None
        #: Who waits within a call, and in what thread.
        self._waiting: dict[Process, Hand] = {}
        trace.clock = lambda: self.now

    # -- asyncio

    def time(self) -> float:
        """Seconds on the clock of the process that runs."""
        return self.now * self.process.clock_rate

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
        handle = SimHandle(self.now, callback, args, context, self.process)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        """Run in ``delay`` seconds."""
        when = self.now + delay / self.process.clock_rate
        return self._add_timer(SimHandle(when, callback, args, context, self.process))

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        """Run at second ``when`` of the own clock."""
        when /= self.process.clock_rate
        return self._add_timer(SimHandle(when, callback, args, context, self.process))

    def _add_timer(self, handle: SimHandle) -> SimHandle:
        self._count += 1
        heappush(self._timers, (handle.time, self._count, handle))
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
        process = self.process
        if not process.alive:
            coro.close()
            coro = cast(Coroutine[Any, Any, T], _nothing())
        process.loop = self
        process.coroutines.append(coro)
        task = SimTask(coro, loop=self, name=name)
        task.process = process
        if not process.alive:
            coro.close()
        return task

    async def create_server(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Listen in the simulated network, on the machine of the process. Raises OSError."""
        return self.network.listen(self.process, factory, host, port)

    async def create_connection(  # type: ignore[override]
        self, factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Connect through the simulated network. Raises OSError."""
        return await self.network.connect(self.process, factory, host, port, options.get("local_addr"))

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> list[Any]:
        """Resolve a name as the simulated network does now. Raises OSError."""
        address = self.network.resolve(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

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
            process.held.append(SimHandle(self.now, callback, args, None, process))
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

    def bury(self, process: Process) -> None:
        """End the coroutines of a dead process, now and not when Python happens to find them: what stands in their
        ``finally`` blocks has no effect, but it runs. Those that are on the stack are unwound by themselves."""
        before, self.process = self.process, process
        # What they would say about it is of no interest.
        silenced = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        for coroutine in process.coroutines:
            try:
                if inspect.getcoroutinestate(coroutine) != inspect.CORO_RUNNING:
                    coroutine.close()
            except BaseException:
                # SimulatedCrash, or one that would rather go on.
                continue
        process.coroutines.clear()
        logging.disable(silenced)
        self.process = before

    def world_soon(self, callback: Callable[..., object], *args: Any) -> SimHandle:
        """``call_soon`` of the world, whoever runs."""
        handle = SimHandle(self.now, callback, args, None, self.world)
        self._ready.append(handle)
        return handle

    def world_at(self, when: float, callback: Callable[..., object], *args: Any) -> SimHandle:
        """``call_at`` of the world, whoever runs."""
        return self._add_timer(SimHandle(when, callback, args, None, self.world))

    def block(self, seconds: float) -> None:
        """The code that runs takes so long. A worker's thread lets its loop go on; the loop's own only other machines.

        Returns early when the process dies meanwhile. In the world itself time just passes.
        """
        process = self.process
        if process is self.world or self._has_nothing_until(self.now + seconds):
            self.now += seconds
            return
        if self.strand is not None:
            self.strand.sleep(seconds)
            return
        hand = self._crew.current
        timer = self.world_at(self.now + seconds, self._crew.hand_to, hand)

        def unblock() -> None:
            timer.cancel()
            self._ready.appendleft(SimHandle(self.now, self._crew.hand_to, (hand,), None, self.world))
            process.unblock = lambda: None

        process.blocked = True
        process.unblock = unblock
        self._waiting[process] = hand
        # Other tasks step while this one stands still.
        task = asyncio.current_task(self)
        if task is not None:
            asyncio.tasks._leave_task(self, task)
        self.process = self.world
        self._crew.sleep()
        self.process = process
        if task is not None:
            asyncio.tasks._enter_task(self, task)
        del self._waiting[process]
        process.blocked = False
        process.unblock = lambda: None
        # A loop finishes its turn; then uvloop looks at its timers before its sockets, which is the harder order.
        self._ready.extend(process.held + process.late)
        for callback in process.backlog:
            self.world_soon(callback)
        process.held, process.late, process.backlog = [], [], []

    def _has_nothing_until(self, when: float) -> bool:
        """Whether nobody has anything to do up to second ``when``, so that who waits need not let others run."""
        return not self._ready and when <= self._deadline and (not self._timers or self._timers[0][0] > when)

    def run_until(self, deadline: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Run until second ``deadline``, or until ``stop()`` holds between two calls; then whoever waits goes on first.

        ``stop`` is asked by the world, whoever ran last.
        """
        asyncio.events._set_running_loop(self)
        self._deadline = deadline
        self._stop = stop
        try:
            self._drive()
        finally:
            asyncio.events._set_running_loop(None)
            self._stop = lambda: False
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Nothing runs any more: unwind whoever waits within a call, and end all threads."""
        self._deadline = self.now
        self._stop = lambda: True
        while self._waiting:
            process, hand = next(iter(self._waiting.items()))
            process.alive = False
            self._crew.hand_to(hand)
        self._crew.close()

    def _drive(self) -> None:
        """The loop, in whatever thread."""
        asyncio.events._set_running_loop(self)
        ready = self._ready
        crew = self._crew
        while not crew.closing:
            if self._is_over() and crew.go_home():
                return
            if ready:
                for _ in range(len(ready)):
                    # A call that waited has let others run.
                    if ready:
                        self._run(ready.popleft())
                    if self._must_stop():
                        break
                self.now += self.turn_cost
            elif self._timers:
                self.now = max(self.now, self._timers[0][0])
            self._collect_due()

    def _is_over(self) -> bool:
        """Whether the run has reached its end."""
        if self._must_stop():
            return True
        if self._ready:
            return self.now > self._deadline
        if not self._timers or self._timers[0][0] > self._deadline:
            self.now = max(self.now, self._deadline)
            return True
        return False

    def _must_stop(self) -> bool:
        try:
            return self._stop()
        except BaseException as error:
            # It belongs to the caller of run_until, in the first thread.
            self._error = error
            self._stop = lambda: True
            return True

    def _collect_due(self) -> None:
        """Make ready what is due: first what came from outside, as a loop looks at its sockets before its timers."""
        timers = self._timers
        now = self.now
        own: list[SimHandle] = []
        while timers and timers[0][0] <= now:
            handle = heappop(timers)[2]
            if handle.callback is not None:
                process = handle.process
                (self._ready if process is self.world else process.late if process.blocked else own).append(handle)
        self._ready += own

    def _run(self, handle: SimHandle) -> None:
        callback = handle.callback
        if callback is None:
            return
        if handle.process.blocked:
            handle.process.held.append(handle)
            return
        if handle.context is not None:
            self.run_as(handle.process, handle.context.run, callback, *handle.args)
        else:
            self.run_as(handle.process, callback, *handle.args)


async def _nothing() -> None:
    """What a dead process does."""


def new_loop(trace: Trace, turn_cost: float = 20e-6) -> SimLoop:
    """A loop; of asyncio's calls it has those that the server may use."""
    return SimLoop(trace, turn_cost)  # type: ignore[abstract]
