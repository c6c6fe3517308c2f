"""What observers that learn from this follower want of the leader: forwarded, and each answer told to who waits for it.

Writes need no answer: the observer learns of the transaction, as everybody does. A sync and a renewal do.

To the leader all of this comes from one server. So it does not see a session move when a client goes from here to an
observer, or from one observer to another, and would take writes of the old connection behind those of the new one; here
they are not forwarded any more. A session that is not logged is a local one, or gone, and cannot move: its requests are
forwarded, as its observer would have them outstanding for ever without an answer.

Source: ``ObserverMaster``, ``FollowerZooKeeperServer.sync`` (3.9.5), where all are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from zabra.consts import Op
from zabra.pipeline.forward import ForwardingPipeline
from zabra.pipeline.request import CLIENT_WRITES
from zabra.zab.packets import ForwardedRequest

#: The clients of this server itself; observers have numbers above.
_HERE: Final = 0
#: Sessions that moved are forgotten once they are gone and so many more have come.
_SLACK: Final = 64


class Relay:
    """In front of one pipeline. ``logged`` are the sessions that exist, by id."""

    def __init__(self, pipeline: ForwardingPipeline, logged: dict[int, int]) -> None:
        self._pipeline = pipeline
        self._logged = logged
        #: Session id -> where its client is, for sessions that were renewed since the role began.
        self._places: dict[int, int] = {}
        pipeline.on_renewal = self._moved_here

    def requests(self, observer: int, requests: Iterable[ForwardedRequest], synced: Callable[[], None]) -> None:
        """Forward what clients of an observer want; ``synced()`` for each sync, behind all it has to wait for."""
        place_of = self._places.get
        for request in requests:
            if request.type == Op.SYNC:
                self._pipeline.relay_sync(request, synced)
            elif (
                place_of(request.session, observer) == observer
                or request.type not in CLIENT_WRITES
                or request.session not in self._logged
            ):
                self._pipeline.relay(request)

    def revalidate(self, observer: int, session_id: int, timeout_ms: int, done: Callable[[bool], None]) -> None:
        """A client comes to an observer with this session; ``done(valid)`` when the leader has answered."""
        self._note(session_id, observer)
        self._pipeline.release_session(session_id)

        def answered(valid: bool) -> None:
            if valid:
                self._pipeline.touch_remote(session_id, timeout_ms)
            done(valid)

        self._pipeline.revalidate(session_id, timeout_ms, answered)

    def _moved_here(self, session_id: int) -> None:
        self._note(session_id, _HERE)

    def _note(self, session_id: int, place: int) -> None:
        places, logged = self._places, self._logged
        if len(places) > 2 * len(logged) + _SLACK:
            for gone in [one for one in places if one not in logged]:
                del places[gone]
        places[session_id] = place
