"""The log of one role: from entries that a core wants logged to the zxid that is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from zabra.pipeline.persist import Persist
from zabra.quorum.context import Context
from zabra.zab.syncplan import Entry


class RoleLog:
    """Appends to the database's log while one role lasts.

    ``logged(zxid)`` is called when everything up to ``zxid`` is on disk. After a failure it is not called any more:
    ``failed(why)`` is, once, for the role has to end, and the server ends.
    """

    def __init__(self, context: Context, logged: Callable[[int], None], failed: Callable[[str], None]) -> None:
        self._context = context
        self._logged = logged
        self._tell_failed = failed
        self._idle: list[Callable[[], None]] = []
        #: Made by the first entry: until then the log itself may still be cut or replaced.
        self._persist: Persist[Entry] | None = None
        self._failed = False
        #: Whether what is logged is acknowledged, and how old it is then of interest; what comes in a sync is old.
        self.measures = False

    def append(self, entries: Sequence[Entry]) -> None:
        """Log entries in order; ``logged`` may be called before this returns."""
        persist = self._persist
        if persist is None:
            persist = self._persist = self._new_persist()
        # Now rather than at the end of the turn: the followers' disks are at work already.
        persist.write_all([data for _, data in entries], entries)

    def _new_persist(self) -> Persist[Entry]:
        context = self._context
        return Persist(
            context.settings,
            context.db.writer,
            context.log_worker,
            context.fill_worker,
            context.runtime.clock,
            context.loop,
            self._durable,
            self._fail,
            context.stats,
        )

    def _durable(self, entries: list[Entry], _: float) -> None:
        assert self._persist is not None
        self._context.host.logged(len(entries), self._persist.last_size)
        if self.measures:
            self._context.measures.logged(entries)
        self._logged(entries[-1].zxid)
        self._tell_idle()

    def _tell_idle(self) -> None:
        while self._idle and self.outstanding == 0:
            self._idle.pop(0)()

    @property
    def outstanding(self) -> int:
        """Entries that are not on disk yet."""
        return self._persist.outstanding if self._persist is not None else 0

    def on_idle(self, call: Callable[[], None]) -> None:
        """Call once everything that was appended is on disk; at once where it is. Also behind a failure."""
        if self.outstanding == 0:
            call()
            return
        self._idle.append(call)
        assert self._persist is not None
        self._persist.flush()

    def _fail(self, what: str, error: BaseException) -> None:
        self._failed = True
        self._context.host.fatal(what, error)
        self._tell_failed(what)
        # Nobody waits for what does not come; who is called finds the role over.
        idle, self._idle = self._idle, []
        for call in idle:
            call()

    async def finish(self) -> bool:
        """Bring everything to the disk, then log nothing more; False when that failed, then the server ends."""
        if self._persist is not None:
            if not self._failed:
                finished: asyncio.Future[None] = self._context.loop.create_future()
                self.on_idle(lambda: finished.set_result(None))
                await finished
            self._persist.stop()
        return not self._failed
