"""Election connections between all servers (``QuorumCnxManager`` of 3.9.5).

Between two servers there is one connection, and the one with the larger id dials it. Who has the smaller id and wants
to talk dials too, introduces itself and hangs up; then the other one dials back. A newer connection takes the place of
an older one. Each server is sent at most one message at a time: a newer one takes the place of one that still waits,
and the last one is repeated on a new connection, for it may have been lost with the old one.

A connection that brought nothing since something was sent on it ten seconds ago may be dead without telling so. The
next message is sent on a new one. In Java only the system's quarter of an hour ends such a connection, which keeps a
server out so long.

Ids that no membership has are let in, for that is how servers join; there may be ``STRANGERS_MAX`` of them.
Messages are handed on as they arrive, so that none wait here (Java keeps the newest 100).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zabra.config.dynamic import EnsembleConfig
from zabra.errors import ZabraError
from zabra.quorum.link import Link, Owner
from zabra.quorum.meshwire import Address, Introduction, encode_frame, encode_introduction

_log = logging.getLogger(__name__)

#: Connections that have not introduced themselves, and likewise servers that no membership knows.
STRANGERS_MAX: Final = 100
#: Observers of old releases introduce themselves so (``QuorumPeer.OBSERVER_ID``).
_OLD_OBSERVER: Final = (1 << 63) - 1
_BIND_PAUSE_S: Final = 1.0
_UNANSWERED_S_MAX: Final = 10.0


class BindError(ZabraError):
    """No election address could be bound; ``exit_code`` is ``ExitCode.UNABLE_TO_BIND_QUORUM_PORT``."""

    exit_code: Final = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshOptions:
    """Settings of election connections."""

    #: ``multiAddress.enabled``: introduce with every address.
    multi_address: bool = False
    #: ``quorumListenOnAllIPs``.
    listen_on_all_ips: bool = False
    #: ``cnxTimeout``, for each address that is dialled.
    connect_timeout_s: float = 5.0
    #: ``quorumCnxnTimeoutMs``, else syncLimit ticks: how long who dials may take to introduce itself.
    introduction_timeout_s: float = 10.0
    #: ``tcpKeepAlive``.
    keep_alive: bool = False
    #: ``electionPortBindRetry``; 0: for ever.
    bind_tries: int = 3


@dataclass(slots=True)
class _Peer:
    """Another server."""

    link: Link | None = None
    #: The frame that waits to be sent.
    waiting: bytes | None = None
    #: The frame that was sent last.
    last: bytes | None = None
    #: When the first frame was sent on ``link`` after the last one that it brought; None without one.
    unanswered_since: float | None = None


class Mesh:
    """The election connections of one server. Everything but :meth:`listen` returns at once."""

    def __init__(
        self,
        my_id: int,
        config: EnsembleConfig,
        received: Callable[[int, bytes], None],
        *,
        proposed: EnsembleConfig | None = None,
        options: MeshOptions | None = None,
    ) -> None:
        """``received(sid, message)`` is called with what arrives. ``config`` must have ``my_id``."""
        self.my_id = my_id
        self._received = received
        self._options = options or MeshOptions()
        self._loop = asyncio.get_running_loop()
        self._own = config.members[my_id]
        self._configs: tuple[EnsembleConfig, ...] = ()
        self._servers: dict[tuple[str | None, int], asyncio.Server] = {}
        self._peers: dict[int, _Peer] = {}
        self._dials: dict[int, asyncio.Task[None]] = {}
        #: Accepted links that have not introduced themselves, and what ends their time to do so.
        self._nameless: dict[Link, asyncio.TimerHandle] = {}
        self._closed = False
        self._owner = Owner(self._opened, self._introduced, self._frame_received, self._flush_link, self._link_closed)
        self.set_configs(config, proposed)

    # -- membership

    def set_configs(self, config: EnsembleConfig, proposed: EnsembleConfig | None = None) -> None:
        """The committed and the last proposed membership, from now on; whom only the latter has is dialled.

        Call :meth:`listen` afterwards: the own addresses may be others.
        """
        self._own = config.members.get(self.my_id, self._own)
        self._configs = (config,) if proposed is None else (config, proposed)
        for sid, peer in list(self._peers.items()):
            self._forget_stranger(sid, peer)
        if proposed is not None:
            for sid in proposed.members:
                if sid not in config.members and sid != self.my_id:
                    self.connect(sid)

    async def listen(self) -> None:
        """Listen on the own election addresses, and on no others. Raises :class:`BindError` when none can be bound."""
        wanted = dict.fromkeys(
            (None if self._options.listen_on_all_ips else host, port) for host, port in self._own_addresses()
        )
        for address in [address for address in self._servers if address not in wanted]:
            self._servers.pop(address).close()
        binding = (self._bind(*address) for address in wanted if address not in self._servers)
        await asyncio.gather(*binding)
        if not self._servers and not self._closed:
            places = ", ".join(f"{host or '*'}:{port}" for host, port in wanted)
            raise BindError(
                f"cannot listen on {places}: free an election port, or give server {self.my_id} another in its line"
            )

    async def _bind(self, host: str | None, port: int) -> None:
        tries = self._options.bind_tries
        tried = 0
        while not self._closed:
            try:
                server = await self._loop.create_server(self._accept, host, port, reuse_address=True)
            except (OSError, ValueError) as error:
                tried += 1
                _log.error("cannot listen on election address %s:%d: %s", host or "*", port, error)
                if tried == tries:
                    return
                await asyncio.sleep(_BIND_PAUSE_S)
            else:
                self._servers[host, port] = server
                _log.info("listening for elections on %s:%d", host or "*", port)
                break
        if self._closed:
            self.close()

    def _own_addresses(self) -> list[Address]:
        return [(host, election) for host, _, election in self._own.addresses]

    def _addresses_of(self, sid: int) -> list[Address]:
        lines = [config.members[sid] for config in self._configs if sid in config.members]
        return list(dict.fromkeys((host, election) for line in lines for host, _, election in line.addresses))

    def _is_member(self, sid: int) -> bool:
        return any(sid in config.members for config in self._configs)

    # -- messages

    def send(self, sid: int, message: bytes) -> None:
        """Send ``message``, now or when there is a connection; it takes the place of one that still waits."""
        assert sid != self.my_id
        peer = self._peers.setdefault(sid, _Peer())
        peer.waiting = encode_frame(message)
        since = peer.unanswered_since
        if since is not None and self._loop.time() - since > _UNANSWERED_S_MAX:
            self._drop_link(sid)
        self._flush(peer)
        self.connect(sid)

    def connect(self, sid: int) -> None:
        """Dial ``sid`` unless there is a connection."""
        peer = self._peers.get(sid)
        if sid in self._dials or (peer is not None and peer.link is not None):
            return
        addresses = self._addresses_of(sid)
        if addresses:
            self._dial(sid, addresses)
        else:
            _log.warning("server %d cannot be dialled: no membership has it", sid)
            self._peers.pop(sid, None)

    def connect_all(self) -> None:
        """Dial everybody who was ever sent something and is not connected."""
        for sid in list(self._peers):
            self.connect(sid)

    def have_delivered(self) -> bool:
        """Whether to some server everything was sent (``haveDelivered``)."""
        return any(peer.waiting is None for peer in self._peers.values())

    def connected(self) -> list[int]:
        """The servers there is a connection with."""
        return sorted(sid for sid, peer in self._peers.items() if peer.link is not None)

    def close(self) -> None:
        """Stop listening and dialling, and close every connection."""
        self._closed = True
        for server in self._servers.values():
            server.close()
        for task in self._dials.values():
            task.cancel()
        links = [peer.link for peer in self._peers.values() if peer.link is not None]
        for link in (*links, *self._nameless):
            link.abort()

    def _flush(self, peer: _Peer) -> None:
        if peer.waiting is not None and peer.link is not None and peer.link.is_writable:
            peer.link.write(peer.waiting)
            peer.last, peer.waiting = peer.waiting, None
            if peer.unanswered_since is None:
                peer.unanswered_since = self._loop.time()

    def _adopt(self, link: Link, sid: int) -> None:
        """Talk with ``sid`` over ``link`` from now on."""
        peer = self._peers.setdefault(sid, _Peer())
        before, peer.link = peer.link, link
        peer.unanswered_since = None
        if before is not None:
            before.abort()
        if peer.waiting is None:
            peer.waiting = peer.last
        self._flush(peer)

    def _drop_link(self, sid: int) -> None:
        peer = self._peers.get(sid)
        if peer is not None and peer.link is not None:
            before, peer.link = peer.link, None
            before.abort()

    def _forget_stranger(self, sid: int, peer: _Peer) -> None:
        if peer.link is None and not self._is_member(sid):
            del self._peers[sid]

    # -- dialling

    def _dial(self, sid: int, addresses: list[Address]) -> None:
        if sid not in self._dials and not self._closed:
            task = self._loop.create_task(self._try_addresses(sid, addresses), name=f"election dial to {sid}")
            self._dials[sid] = task
            task.add_done_callback(lambda task: self._dial_ended(sid, task))

    async def _try_addresses(self, sid: int, addresses: list[Address]) -> None:
        """Dial one address after the other until one answers; names are resolved anew each time."""
        for host, port in addresses:
            try:
                async with asyncio.timeout(self._options.connect_timeout_s):
                    await self._loop.create_connection(lambda: self._link(sid), host, port)
                return
            except (OSError, ValueError) as error:
                why = str(error) or "no answer in time"
                _log.warning("cannot reach server %d at election address %s:%d: %s", sid, host, port, why)

    def _dial_ended(self, sid: int, task: asyncio.Task[None]) -> None:
        if self._dials.get(sid) is task:
            del self._dials[sid]
        if sid in self._peers:
            self._forget_stranger(sid, self._peers[sid])
        if not task.cancelled():
            task.result()

    # -- links

    def _link(self, sid: int | None) -> Link:
        return Link(self._owner, sid, keep_alive=self._options.keep_alive)

    def _accept(self) -> Link:
        return self._link(None)

    def _opened(self, link: Link) -> None:
        if self._closed:
            link.abort()
        elif link.sid is None:
            if len(self._nameless) >= STRANGERS_MAX:
                link.refuse(f"{STRANGERS_MAX} others have not introduced themselves either")
                return
            seconds = self._options.introduction_timeout_s
            why = f"it did not introduce itself within {seconds:g} s"
            self._nameless[link] = self._loop.call_later(seconds, link.refuse, why)
        else:
            # The dial is over now, not when its task is: what arrives in between may call for another one.
            self._dials.pop(link.sid, None)
            multi_address = self._options.multi_address
            link.write(encode_introduction(self.my_id, self._own_addresses(), multi_address=multi_address))
            if link.sid > self.my_id:
                link.close()
            else:
                self._adopt(link, link.sid)

    def _introduced(self, link: Link, introduction: Introduction) -> None:
        sid, addresses = introduction
        self._name(link)
        if sid == self.my_id:
            link.refuse(f"it has our own id {sid}: two servers are configured as the same one")
        elif not self._is_member(sid) and (sid < 0 or sid == _OLD_OBSERVER or self._strangers() >= STRANGERS_MAX):
            link.refuse(f"no membership has its id {sid}")
        elif sid > self.my_id:
            link.sid = sid
            self._adopt(link, sid)
        else:
            self._drop_link(sid)
            found = list(dict.fromkeys((*addresses, *self._addresses_of(sid))))
            if found:
                link.abort()
                self._dial(sid, found)
            else:
                link.refuse(f"its id {sid} is the smaller one, and there is no address to dial it back")

    def _strangers(self) -> int:
        return sum(not self._is_member(sid) for sid in dict.fromkeys((*self._peers, *self._dials)))

    def _frame_received(self, link: Link, frame: bytes) -> None:
        assert link.sid is not None
        peer = self._peers.get(link.sid)
        if peer is not None and not self._closed:
            peer.unanswered_since = None
            self._received(link.sid, frame)

    def _flush_link(self, link: Link) -> None:
        peer = self._peers.get(link.sid) if link.sid is not None else None
        if peer is not None and peer.link is link:
            self._flush(peer)

    def _link_closed(self, link: Link) -> None:
        self._name(link)
        peer = self._peers.get(link.sid) if link.sid is not None else None
        if peer is not None and peer.link is link and link.sid is not None:
            peer.link = None
            self._forget_stranger(link.sid, peer)

    def _name(self, link: Link) -> None:
        """It has introduced itself, or is gone."""
        timer = self._nameless.pop(link, None)
        if timer is not None:
            timer.cancel()
