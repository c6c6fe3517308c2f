"""The worker port: blocking file work beside the loop, one step at a time.

A job runs in a real thread, but only while the loop stands still and waits for it. Where the job blocks, that is at a
sync of the simulated disk, it hands control back and is woken when the virtual time of the sync is over. So jobs and
loop interleave at every sync, in one order for one seed. No lock of the server is held at a sync (its writer promises
that), so a sleeping job never blocks the loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from zabra.sim.loop import Process, SimHandle, SimLoop

T = TypeVar("T")
_Done = Callable[[Any, BaseException | None], None]


class Strand:
    """A thread that runs only between :meth:`resume` and its next :meth:`sleep`."""

    def __init__(self, loop: SimLoop, process: Process, name: str) -> None:
        self._loop = loop
        self._process = process
        self._go = threading.Lock()
        self._back = threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._job: Callable[[], object] | None = None
        #: What the finished job gave; None while it runs.
        self.outcome: tuple[object, BaseException | None] | None = None
        #: Seconds until it is to be resumed.
        self.wait = 0.0
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()
        process.strands.append(self)

    def begin(self, job: Callable[[], object]) -> None:
        """Run ``job`` to its first sleep."""
        self._job = job
        self.outcome = None
        self.resume()

    def resume(self) -> None:
        """Go on to the next sleep or the end of the job."""
        loop = self._loop
        before = loop.strand
        loop.strand = self
        self._go.release()
        self._back.acquire()
        loop.strand = before

    def sleep(self, seconds: float) -> None:
        """In the thread: let others run. Raises SimulatedCrash when the process died meanwhile."""
        self._process.check()
        self.wait = seconds
        self._back.release()
        self._go.acquire()
        self._process.check()

    def end(self) -> None:
        """Let the thread go: a job it sleeps in is unwound, its process is dead or has stopped."""
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            while self._job is not None and self.outcome is None:
                self.resume()
            self._job = None
            self._go.release()
            self._thread.join()

    def _main(self) -> None:
        while True:
            self._go.acquire()
            job = self._job
            if job is None:
                return
            try:
                result: tuple[object, BaseException | None] = (job(), None)
            except BaseException as error:
                result = (None, error)
            self.outcome = result
            self._job = None
            del job, result
            self._back.release()


class SimWorker:
    """Jobs in submission order, each in the strand. ``start_delay()`` is how long a job waits before it begins."""

    def __init__(self, loop: SimLoop, process: Process, name: str, start_delay: Callable[[], float]) -> None:
        self._loop = loop
        self._process = process
        self._name = name
        self._start_delay = start_delay
        self._jobs: deque[tuple[Callable[[], object], _Done]] = deque()
        self._strand: Strand | None = None
        self._timer: SimHandle | None = None
        self._begun = False

    def submit(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run ``job`` beside the loop, then ``done(result, error)`` on it."""
        self._process.check()
        self._jobs.append((job, done))
        if self._timer is None:
            self._timer = self._loop.call_later(self._start_delay(), self._step)

    def _step(self) -> None:
        """Begin the first job, or wake it."""
        self._timer = None
        job, done = self._jobs[0]
        strand = self._strand
        if strand is None:
            strand = self._strand = Strand(self._loop, self._process, self._name)
        if self._begun:
            strand.resume()
        else:
            self._begun = True
            strand.begin(job)
        outcome = strand.outcome
        if not self._process.alive:
            strand.end()
            return
        if outcome is None:
            self._timer = self._loop.call_later(strand.wait, self._step)
            return
        self._begun = False
        strand.outcome = None
        self._jobs.popleft()
        self._loop.call_soon(done, *outcome)
        if self._jobs:
            self._timer = self._loop.call_later(self._start_delay(), self._step)

    def close(self) -> None:
        """Finish what was submitted; the loop stands still meanwhile."""
        while self._jobs and self._process.alive:
            if self._timer is not None:
                self._timer.cancel()
                self._loop.block(max(self._timer.time - self._loop.now, 0))
                self._process.check()
            self._step()
        if self._timer is not None:
            self._timer.cancel()
        if self._strand is not None and self._process.alive:
            self._process.strands.remove(self._strand)
            self._strand.end()
            self._strand = None
