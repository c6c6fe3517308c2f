"""[hot] The log stage: everything of one turn of the loop is one write and one sync, then it may commit.

Where the sync runs decides single-write speed: in the loop's own thread it costs the sync alone, handed to a thread two
switches more, which is more than the sync itself on a good disk. So it runs inline while recent syncs are short, and
goes to the worker when they are not, so that a slow disk delays neither reads nor pings. One batch is on its way at a
time; what arrives meanwhile is the next batch.

After a failed write or sync memory and disk may disagree: nothing more is written or answered, the server stops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

from zabra.config.model import Settings
from zabra.obs.stats import ServerStats
from zabra.pipeline.ports import Scheduler
from zabra.runtime.ports import Clock, Worker
from zabra.storage.logwriter import Batch, LogWriter

_log = logging.getLogger(__name__)

#: Above this average a sync goes to the worker, in seconds; it comes back below half of it.
INLINE_SYNC_MAX: Final = 0.002
#: What stands for an entry on its way: the proposal that waits for it, or in an ensemble itself.
T = TypeVar("T")

_UNWRITTEN: Final = "the transaction log could not be written"


class Persist(Generic[T]):
    """Collects proposals, makes them durable, hands them to ``commit`` in order."""

    def __init__(
        self,
        settings: Settings,
        writer: LogWriter,
        worker: Worker,
        filler: Worker,
        clock: Clock,
        scheduler: Scheduler,
        commit: Callable[[list[T], float], None],
        fatal: Callable[[str, BaseException], None],
        stats: ServerStats,
    ) -> None:
        """``commit(writes, started)`` gets each durable batch and the monotonic second its first write came at.

        ``worker`` writes and syncs when the disk is slow, ``filler`` makes space ready ahead of the entries.
        With a flushDelay a batch waits until so long after the last one, or until nothing was added to it for
        maxWriteQueuePollTime, or until it has maxBatchSize entries (``SyncRequestProcessor``).
        """
        self._writer = writer
        self._worker = worker
        self._filler = filler
        self._monotonic = clock.monotonic
        self._scheduler = scheduler
        self._commit = commit
        self._fatal = fatal
        self._stats = stats
        self._metrics = stats.metrics
        self._flush_delay = settings.flush_delay_ms / 1000
        self._poll_max = settings.max_write_queue_poll_ms / 1000
        self._max_batch_size = settings.max_batch_size
        self._sync_warning = settings.fsync_warning_threshold_ms / 1000
        self._extend = writer.extend
        #: Proposed, not yet given to the disk.
        self.batch: list[T] = []
        #: Given to the disk.
        self.in_flight: list[T] = []
        #: Bytes of the batch that was given to the disk last.
        self.last_size = 0
        self._started = 0.0
        self._in_flight_started = 0.0
        self._scheduled = False
        #: With a flush delay: when the last batch was durable, when an entry came last, and whether a timer is set.
        self._flushed = self._added = clock.monotonic()
        self._waiting = False
        self._busy = False
        self._filling = False
        self._stopped = False
        #: Moving average of the sync time in seconds, and which side of the limit it was on last.
        self._sync_average = 0.0
        self._inline = True

    @property
    def outstanding(self) -> int:
        """Writes proposed and not yet durable."""
        return len(self.batch) + len(self.in_flight)

    def propose(self, payloads: Sequence[bytes], writes: Sequence[T]) -> None:
        """Take proposals into the batch of this turn."""
        self._extend(payloads)
        batch = self.batch
        batch += writes
        if not self._scheduled:
            self._schedule()
        elif self._flush_delay:
            self._added = self._monotonic()
            if len(batch) >= self._max_batch_size > len(batch) - len(writes):
                self._scheduler.call_soon(self.flush)

    def write_all(self, payloads: Sequence[bytes], writes: Sequence[T]) -> None:
        """Take several, and do not wait for the end of the turn unless a flush delay is set."""
        if self._flush_delay:
            self.propose(payloads, writes)
            return
        if not self.batch:
            self._started = self._monotonic()
        self._extend(payloads)
        self.batch += writes
        self.flush()

    def _schedule(self) -> None:
        self._scheduled = True
        self._started = self._added = self._monotonic()
        if not self._flush_delay or self._is_due():
            self._scheduler.call_soon(self.flush)
        else:
            self._wait()

    def _due(self) -> float:
        return min(self._flushed + self._flush_delay, self._added + self._poll_max)

    def _is_due(self) -> bool:
        full = 0 < self._max_batch_size <= len(self.batch)
        return full or self._monotonic() >= self._due()

    def _wait(self) -> None:
        """Look again when it is time to flush; what comes meanwhile may put that off."""
        if not self._waiting:
            self._waiting = True
            self._scheduler.call_later(max(self._due() - self._monotonic(), 0), self._wait_is_over)

    def _wait_is_over(self) -> None:
        self._waiting = False
        if self._scheduled:
            self._flush_or_wait()

    def _flush_or_wait(self) -> None:
        if self._is_due():
            self.flush()
        else:
            self._wait()

    def flush(self) -> None:
        """Write and sync what is there, unless a batch is on its way: then its end flushes again."""
        if self._busy or self._stopped or not self.batch:
            return
        self._scheduled = False
        writes = self.in_flight = self.batch
        self.batch = []
        self._in_flight_started = self._started
        taken = self._writer.take()
        assert taken is not None
        self.last_size = taken.size
        if not self._inline:
            self._busy = True
            self._worker.submit(partial(self._timed_write, taken), self._written)
            return
        try:
            seconds = self._timed_write(taken)
        except OSError as error:
            self.fail(_UNWRITTEN, error)
            return
        self._durable(writes, seconds)

    def _timed_write(self, taken: Batch) -> float:
        before = self._monotonic()
        self._writer.write(taken)
        return self._monotonic() - before

    def _written(self, seconds: float | None, error: BaseException | None) -> None:
        self._busy = False
        if self._stopped:
            return
        if error is not None:
            self.fail(_UNWRITTEN, error)
            return
        assert seconds is not None
        self._durable(self.in_flight, seconds)
        if self._flush_delay:
            self._flush_or_wait()
        else:
            self.flush()

    def _durable(self, writes: list[T], seconds: float) -> None:
        now = self._flushed = self._added = self._monotonic()
        self._account(seconds, len(writes), now - self._in_flight_started)
        self.in_flight = []
        try:
            self._commit(writes, self._in_flight_started)
        except Exception as error:
            _log.exception("a committed transaction could not be applied")
            self.fail("a committed transaction could not be applied", error)
        if self._writer.needs_fill and not self._filling and not self._stopped:
            self._filling = True
            self._filler.submit(self._writer.fill_ahead, self._filled)

    def _account(self, seconds: float, count: int, waited: float) -> None:
        """``count`` writes are on disk ``waited`` seconds after the first came; write and sync took ``seconds``."""
        average = self._sync_average = self._sync_average * 0.9 + seconds * 0.1
        self._inline = average < (INLINE_SYNC_MAX if self._inline else INLINE_SYNC_MAX / 2)
        metrics = self._metrics
        milliseconds = int(seconds * 1000)
        waited_ms = int(waited * 1000)
        metrics.fsynctime.add(milliseconds)
        metrics.sync_process_time.add(milliseconds)
        metrics.sync_processor_queue_flush_time_ms.add(milliseconds)
        metrics.sync_processor_batch_size.add(count)
        metrics.sync_processor_queue_size.add(len(self.batch))
        metrics.sync_processor_request_queued.value += count
        metrics.sync_processor_queue_time_ms.add_many(max(waited_ms - milliseconds, 0), count)
        metrics.sync_processor_queue_and_flush_time_ms.add_many(waited_ms, count)
        if seconds > self._sync_warning:
            self._stats.fsync_threshold_exceed_count += 1
            _log.warning("writing and syncing the transaction log took %d ms; the disk is slow", seconds * 1000)

    def _filled(self, _: object, error: BaseException | None) -> None:
        self._filling = False
        if error is not None and not self._stopped:
            self.fail(_UNWRITTEN, error)

    def fail(self, what: str, error: BaseException) -> None:
        """Memory and disk may disagree: write nothing more, end the server."""
        if not self._stopped:
            self.stop()
            self._fatal(what, error)

    def stop(self) -> None:
        """Write nothing more; what was not durable is never answered."""
        self._stopped = True
