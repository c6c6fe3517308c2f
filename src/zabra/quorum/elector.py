"""One server's election on the loop: the core of :mod:`zabra.zab.election`, its timer, and its mesh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from zabra.config.dynamic import EnsembleConfig
from zabra.errors import ProtocolError
from zabra.quorum.mesh import Mesh
from zabra.zab.election import Election
from zabra.zab.notification import encode_notification, parse_notification
from zabra.zab.types import AdoptConfig, Effect, Elected, PeerLooking, Reconnect, Send, SetTimer

_log = logging.getLogger(__name__)


class Elector:
    """Performs what the election asks for, and tells its owner what came of it.

    ``elected`` is called when a role is to be taken, ``adopt_config`` with a newer membership, which the owner stores
    and hands to :meth:`Mesh.set_configs` before it returns, ``peer_looking`` with the id of a voter that looks while
    this server leads. :meth:`look` starts; until its first call messages are dropped.
    """

    def __init__(
        self,
        election: Election,
        elected: Callable[[Elected], None],
        adopt_config: Callable[[EnsembleConfig], None],
        peer_looking: Callable[[int], None],
        *,
        multi_address: bool = False,
    ) -> None:
        self.election = election
        self.mesh: Mesh
        self._elected = elected
        self._adopt_config = adopt_config
        self._peer_looking = peer_looking
        self._multi_address = multi_address
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._has_looked = False

    def look(self, last_zxid: int, current_epoch: int) -> None:
        """Look for a leader, with the newest zxid in the log and the current epoch."""
        self._has_looked = True
        self._perform(self.election.look(last_zxid, current_epoch, self._now_ms()))

    def received(self, sid: int, message: bytes) -> None:
        """A message of the mesh; one that does not parse is dropped, as in Java."""
        if not self._has_looked:
            return
        try:
            notification = parse_notification(message, multi_address=self._multi_address)
        except ProtocolError as error:
            _log.warning("an election message of server %d is dropped: %s", sid, error)
            return
        self._perform(self.election.notification(sid, notification, self._now_ms()))

    def close(self) -> None:
        """No more timeouts."""
        self._set_timer(None)

    def _timeout(self) -> None:
        self._perform(self.election.timeout(self._now_ms(), delivered=self.mesh.have_delivered()))

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message):
                    data = encode_notification(message)
                    for sid in to:
                        self.mesh.send(sid, data)
                case SetTimer(at_ms):
                    self._set_timer(at_ms)
                case AdoptConfig(config):
                    self._adopt_config(config)
                case Reconnect():
                    self.mesh.connect_all()
                case PeerLooking(sid):
                    self._peer_looking(sid)
                case Elected():
                    self._elected(effect)

    def _set_timer(self, at_ms: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_ms is not None:
            self._timer = self._loop.call_at(at_ms / 1000, self._timeout)

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1000)
