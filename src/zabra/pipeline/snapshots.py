"""Snapshots while serving: when to take one, and how to write it without a stall.

A dump is a few dozen nodes a turn of the loop (the tree stays consistent by itself, see :mod:`zabra.tree.dump`);
its bytes go to a worker of their own, which checks, compresses, writes and syncs. When to take one is stock's rule
(``SyncRequestProcessor.shouldSnapshot``): after snapCount / 2 plus a random part of as many log entries, or the same by
bytes, so that the members of an ensemble do not all do it at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from zabra.obs.metrics import Metrics
from zabra.pipeline.ports import Scheduler
from zabra.runtime.ports import Clock, Random, Worker
from zabra.storage.snapstore import SnapshotStore, SnapshotWriter
from zabra.tree.dump import Dump, can_begin
from zabra.tree.tree import DataTree

_log = logging.getLogger(__name__)

#: Nodes written in one turn of the loop: about 60 us.
NODES_PER_TURN: Final = 48
#: Bytes handed to the worker at once, and how many may wait there.
_CHUNK: Final = 1 << 18
_WAITING_MAX: Final = 1 << 23


class SnapshotPolicy:
    """Says when the log has grown enough for a snapshot."""

    def __init__(self, random: Random, snap_count: int, size_limit_bytes: int) -> None:
        """``size_limit_bytes`` at or below 0 switches the size rule off."""
        self._random = random
        self._count = max(snap_count, 2)
        self._size = size_limit_bytes
        self.reset()

    def reset(self) -> None:
        """A snapshot was begun: count anew, with a new random part."""
        self.entries = 0
        self.bytes = 0
        self._entries_max = self._count / 2 + self._random.randrange(max(self._count // 2, 1))
        self._bytes_max = self._size / 2 + self._random.randrange(max(self._size // 2, 1))

    def due(self, entries: int, size: int) -> bool:
        """Count ``entries`` log entries of ``size`` bytes; whether it is time."""
        self.entries += entries
        self.bytes += size
        return self.entries > self._entries_max or (self._size > 0 and self.bytes > self._bytes_max)


class Snapshotter:
    """Takes one snapshot at a time."""

    def __init__(
        self,
        tree: DataTree,
        sessions: Callable[[], dict[int, int]],
        store: SnapshotStore,
        worker: Worker,
        clock: Clock,
        scheduler: Scheduler,
        metrics: Metrics,
    ) -> None:
        """``sessions()`` gives session id -> timeout in ms at the moment of the dump."""
        self._tree = tree
        self._sessions = sessions
        self._store = store
        self._worker = worker
        self._clock = clock
        self._scheduler = scheduler
        self._metrics = metrics
        self._dump: Dump | None = None
        self._writer: SnapshotWriter | None = None
        self._waiting = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._began = 0.0
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether one is being written."""
        return self._writer is not None

    def take_nowait(self) -> bool:
        """Begin a snapshot of the tree as it is now; False while another runs, or too many are sent to learners."""
        if self._writer is not None or self._stopped or not can_begin(self._tree):
            return False
        self._began = self._clock.monotonic()
        dump = self._dump = Dump(self._tree, self._sessions())
        self._writer = self._store.writer(dump.zxid, dump.digest if self._tree.digest_enabled else None)
        self._scheduler.call_soon(self._turn)
        return True

    def _turn(self) -> None:
        dump = self._dump
        if dump is None or self._stopped:
            return
        chunk = dump.next_chunk(NODES_PER_TURN)
        if chunk:
            self._parts.append(chunk)
            self._size += len(chunk)
        if self._size >= _CHUNK or not chunk:
            self._hand_over()
        if not chunk:
            self._dump = None
            writer = self._writer
            assert writer is not None
            self._worker.submit(writer.finish, self._finished)
        elif self._waiting < _WAITING_MAX:
            self._scheduler.call_soon(self._turn)

    def _hand_over(self) -> None:
        data = b"".join(self._parts)
        self._parts = []
        self._size = 0
        writer = self._writer
        assert writer is not None
        was_full = self._waiting
        self._waiting = was_full + len(data)

        def written(_: object, error: BaseException | None) -> None:
            full = self._waiting >= _WAITING_MAX
            self._waiting -= len(data)
            if error is not None:
                self._fail(error)
            elif full and self._waiting < _WAITING_MAX:
                self._scheduler.call_soon(self._turn)

        self._worker.submit(lambda: writer.write(data), written)

    def _finished(self, name: str | None, error: BaseException | None) -> None:
        if self._writer is None:
            return
        if error is not None:
            self._fail(error)
            return
        self._writer = None
        seconds = self._clock.monotonic() - self._began
        self._metrics.snapshottime.add(int(seconds * 1000))
        _log.info("wrote %s in %d ms", name, seconds * 1000)

    def _fail(self, error: BaseException) -> None:
        """A snapshot that cannot be written is given up; the log still has everything (ZOOKEEPER-3082)."""
        if self._writer is not None:
            _log.error("snapshot given up: %s", error)
            self._give_up(self._writer)

    def _give_up(self, writer: SnapshotWriter) -> None:
        self._writer = None
        if self._dump is not None:
            self._dump.close()
            self._dump = None
        self._parts = []
        self._size = 0
        self._worker.submit(writer.abort, lambda _, __: None)

    def stop(self) -> None:
        """Begin nothing more, and give up what is not with the worker yet. Its file goes, too: roles come and go."""
        self._stopped = True
        if self._dump is not None and self._writer is not None:
            self._give_up(self._writer)
