"""Connections whose every request is looked at before it is served: enforced authentication, limits on requests.

Where none of that is on, which is the default, connections are plain ones and know nothing of it. Here no request takes
the short way through a chunk.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from zabra.consts import Op
from zabra.errors import Code
from zabra.frontend.connection import Connection
from zabra.frontend.connection_out import CLOSED, CLOSING
from zabra.frontend.throttle import Serve, Verdict
from zabra.pipeline.request import CLIENT_WRITES

if TYPE_CHECKING:
    from zabra.frontend.hub import Hub
    from zabra.wire.records_data import Identity

_log = logging.getLogger(__name__)


def new_connection(hub: Hub) -> Connection:
    """The protocol object for an accepted socket."""
    return GuardedConnection(hub) if hub.is_guarded else Connection(hub)


class GuardedConnection(Connection):
    """A connection with a guard before its requests."""

    __slots__ = ("_large", "invalid")

    #: More than a chunk has bytes: every request is looked at.
    frequent_min = 1 << 62

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        #: A request of it was dropped by the throttle.
        self.invalid = False
        #: Bytes that each request in ``_waiting`` counts for among the large ones.
        self._large: deque[int] = deque()

    # -- as the throttle sees it

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed."""
        return self.state == CLOSED

    def drop(self) -> None:
        """Become invalid: close, without an answer to what is held."""
        self.invalid = True
        self.close()

    def hold(self, op: int, serve: Serve) -> None:
        """Serve something that the throttle may hold back."""
        throttle = self.hub.throttle
        if throttle is None:
            serve(Verdict.SERVE)
        else:
            throttle.submit(self, op, serve)

    # -- requests

    def _keep(self, chunk: bytes, pos: int, needed: int) -> None:
        """A frame that is not whole yet: its length is known, and may already be too much."""
        large = self.hub.large
        if large is not None and 8 < needed < 1 << 32 and not large.admits(needed - 4):
            self._refuse_large(needed - 4)
            return
        super()._keep(chunk, pos, needed)

    def _request(self, op: int, xid: int, frame: bytes) -> int:
        hub = self.hub
        serve = partial(super()._request, op, xid, frame)
        if op in (Op.AUTH, Op.SASL):
            return self._tracked(0, serve)
        if hub.gate.guarded and self._tracked(0, partial(hub.gate.refuses, self, xid)):
            return 0
        size = 0
        if hub.large is not None:
            size = hub.large.take(len(frame) - 8) if hub.large.admits(len(frame)) else -1
            if size < 0:
                self._refuse_large(len(frame))
                return 0
        if hub.throttle is None:
            return self._tracked(size, serve)
        self.hold(op, partial(self._serve_held, op, xid, serve, self.identities, size))
        if len(hub.throttle):
            self._hold_if_crowded(hub.crowd)
        return 0

    def _serve_held(
        self,
        op: int,
        xid: int,
        serve: Callable[[], int],
        identities: tuple[Identity, ...],
        size: int,
        verdict: Verdict,
    ) -> None:
        """A request comes from the throttle, maybe after its connection has closed."""
        hub = self.hub
        session = self.session
        assert session is not None
        gone = self.state == CLOSED
        if (
            verdict is Verdict.DROPPED
            or self.state == CLOSING
            or (gone and not self._counts_still(op, verdict))
            or not hub.touch(session, int(hub.monotonic() * 1000))
        ):
            self._give_back(size)
            return
        if verdict is Verdict.TOO_LATE:
            serve = partial(self._refuse_late, xid)
        present, self.identities = self.identities, identities
        self._tracked(size, serve)
        self.identities = present
        if gone:
            self.state = CLOSED
            self._waiting.clear()
            self._settle()
        elif self.out:
            self.touch_dirty()

    def _counts_still(self, op: int, verdict: Verdict) -> bool:
        """Whether a request of a closed connection is to be served: a write, unless the session is in other hands."""
        session = self.session
        return (
            verdict is Verdict.SERVE
            and session is not None
            and session.owner is None
            and op in (Op.CLOSE_SESSION, *CLIENT_WRITES)
        )

    def _refuse_late(self, xid: int) -> int:
        self._refuse(xid, Code.THROTTLED_OP)
        return 0

    def answer_write(self, xid: int, zxid: int, body: bytes, err: int) -> None:
        super().answer_write(xid, zxid, body, err)
        self._settle()

    def answer_writes(self, replies: list[bytes], zxid: int) -> None:
        super().answer_writes(replies, zxid)
        self._settle()

    def _end(self) -> None:
        super()._end()
        self._settle()

    # -- bytes of large requests

    def _refuse_large(self, size: int) -> None:
        _log.warning("closing %s:%d: a request of %d bytes, and too many large ones on their way", *self.peer, size)
        self.close()

    def _tracked(self, size: int, serve: Callable[[], int]) -> int:
        """Serve a request; its ``size`` is given back at once if it was answered, with its reply if it waits."""
        before = len(self._waiting)
        result = serve()
        if len(self._waiting) > before:
            self._large.append(size)
        else:
            self._give_back(size)
        return result

    def _settle(self) -> None:
        """What waits no longer counts no longer."""
        while len(self._large) > len(self._waiting):
            self._give_back(self._large.popleft())

    def _give_back(self, size: int) -> None:
        if size:
            assert self.hub.large is not None
            self.hub.large.give_back(size)
