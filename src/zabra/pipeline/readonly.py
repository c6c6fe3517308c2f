"""The pipeline of a server that is cut off from its quorum: it reads what it has, and changes nothing.

Source: ``ReadOnlyZooKeeperServer``, ``ReadOnlyRequestProcessor`` (3.9.5).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zabra.errors import Code, RequestError
from zabra.pipeline.ports import Sessions
from zabra.pipeline.request import Requester
from zabra.sessions.tracker import Session

_log = logging.getLogger(__name__)

_MASK64 = (1 << 64) - 1


class ReadOnlyPipeline:
    """Refuses every write. Its sessions are local ones, in front of it, or there are none."""

    outstanding = 0

    def __init__(self, logged: Mapping[int, int]) -> None:
        """``logged`` has the sessions of the ensemble by id, which live elsewhere now."""
        self._logged = logged
        self.sessions: Sessions = self

    def get(self, session_id: int) -> Session | None:
        """No session is this server's own."""
        return None

    def touch(self, session: Session, now_ms: int) -> bool:
        """There is none to touch."""
        return True

    def stamp(self) -> int:
        """Nothing is submitted, nothing outstanding."""
        return 0

    def set_data_run(
        self, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
    ) -> tuple[int, int, int]:
        """Left to :meth:`submit`."""
        return pos, 0, 0

    def create_run(
        self, conn: Requester, session: Session, chunk: bytes, pos: int, until: int, limit: int
    ) -> tuple[int, int, int]:
        """Left to :meth:`submit`."""
        return pos, 0, 0

    def submit(self, conn: Requester, session: Session, xid: int, op: int, frame: bytes) -> None:
        """Raises RequestError."""
        raise RequestError(Code.NOT_READ_ONLY)

    def sync(self, conn: Requester, session: Session, xid: int, frame: bytes) -> bool:
        """Raises RequestError: nobody is there to sync with."""
        raise RequestError(Code.NOT_READ_ONLY)

    def create_session(self, conn: Requester, timeout_ms: int, now_ms: int) -> Session:
        """Raises RequestError: without local sessions there can be no new one."""
        raise RequestError(Code.NOT_READ_ONLY)

    def renew_session(
        self, conn: Requester, session_id: int, timeout_ms: int, now_ms: int, done: Callable[[Session | None], None]
    ) -> None:
        """A session of the ensemble goes on elsewhere or later: not here, and it is not expired either."""
        if session_id in self._logged:
            _log.info(
                "session 0x%x is no local one: it cannot be used while this server is cut off", session_id & _MASK64
            )
            conn.close()
        else:
            done(None)

    def close_session(self, conn: Requester, session: Session, xid: int) -> bool:
        """Raises RequestError."""
        raise RequestError(Code.NOT_READ_ONLY)

    def commit(self, writes: Sequence[Any], now_ms: int) -> int:
        """Nothing is committed here."""
        raise AssertionError("a server without a quorum commits nothing")
