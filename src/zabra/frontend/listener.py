"""The client port: accept, and drop connections that have been silent for too long (``NIOServerCnxnFactory``)."""

from __future__ import annotations

import asyncio
import logging

from zabra.frontend.connection import Connection
from zabra.frontend.connection_out import CLOSED
from zabra.frontend.guarded import new_connection
from zabra.frontend.hub import Hub

_log = logging.getLogger(__name__)


class Listener:
    """One listening socket for plain clients."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        #: The port in use, once bound.
        self.port = 0

    async def bind(self, host: str | None, port: int, backlog: int) -> None:
        """Listen; ``host`` None is every address, port 0 any free one. Raises OSError."""
        server = await self._listen(host, port, backlog)
        ports = list(dict.fromkeys(sock.getsockname()[1] for sock in server.sockets))
        if len(ports) > 1:
            # Any free port, of IPv4 and of IPv6: each was given one of its own.
            server.close()
            server = await self._listen(host, ports[0], backlog)
        self._server = server
        self.port = ports[0]
        self._sweep()

    async def _listen(self, host: str | None, port: int, backlog: int) -> asyncio.Server:
        return await self._loop.create_server(
            self._accept, host, port, backlog=backlog if backlog > 0 else 1024, reuse_address=True
        )

    def _accept(self) -> Connection:
        return new_connection(self._hub)

    def _sweep(self) -> None:
        """Close what has been silent for longer than its timeout; a connection without a session gets 10 s.

        One that was closed and still is there does not take its last bytes: it is cut.
        """
        hub = self._hub
        now = hub.clock.monotonic()
        for connection in list(hub.connections):
            if now - connection.last_seen > connection.timeout_ms / 1000 and not connection.waiting:
                if connection.state == CLOSED:
                    connection.abort()
                    continue
                if connection.session is None:
                    hub.stats.metrics.sessionless_connections_expired.add()
                _log.info("closing %s:%d: silent for %d ms", *connection.peer, connection.timeout_ms)
                connection.close()
        interval = hub.settings.sessionless_cnxn_timeout_ms / 1000
        self._timer = self._loop.call_later(max(interval, 0.1), self._sweep)

    def stop_listening(self) -> None:
        """Stop accepting; connections stay."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Stop accepting, and close every connection."""
        self.stop_listening()
        for connection in list(self._hub.connections):
            connection.close()
