"""Sessions meet connections: connect requests, renewals, refusals (``ZooKeeperServer.processConnectRequest``)."""

from __future__ import annotations

import logging
from typing import cast

from zabra.errors import ProtocolError
from zabra.frontend.connection import Connection
from zabra.frontend.hub import Hub
from zabra.frontend.limits import ConnectionThrottle
from zabra.sessions.password import is_password, password_of
from zabra.sessions.tracker import Session
from zabra.wire.handshake import ConnectRequest, encode_connect_response, parse_connect

_log = logging.getLogger(__name__)

_NO_PASSWORD = bytes(16)


class Attach:
    """Gives each connection its session, or refuses it."""

    def __init__(self, hub: Hub, throttle: ConnectionThrottle) -> None:
        self._hub = hub
        self._throttle = throttle
        #: Connections whose createSession is on its way -> their request.
        self._opening: dict[Connection, ConnectRequest] = {}

    def connect(self, conn: Connection, frame: bytes) -> None:
        """Handle the first frame of a connection. Refusals close it, most without a reply, as in Apache."""
        hub = self._hub
        try:
            request = parse_connect(frame)
        except ProtocolError as error:
            _log.warning("closing %s:%d: bad connect request: %s", *conn.peer, error)
            conn.close()
            return
        now_ms = int(hub.clock.monotonic() * 1000)
        metrics = hub.stats.metrics
        if not self._throttle.admit(renewal=request.session_id != 0, now_ms=now_ms):
            metrics.connection_rejected.add()
            conn.close()
            return
        metrics.connection_token_deficit.add(self._throttle.deficit)
        metrics.connection_request_count.add()
        if request.last_zxid_seen > hub.tree.last_zxid:
            _log.info(
                "closing %s:%d: it has seen zxid 0x%x, this server is at 0x%x",
                *conn.peer,
                request.last_zxid_seen,
                hub.tree.last_zxid,
            )
            conn.close()
            return
        settings = hub.settings
        timeout_ms = min(max(request.timeout_ms, settings.min_session_timeout_ms), settings.max_session_timeout_ms)
        self._opening[conn] = request
        if request.session_id == 0:
            conn.session = hub.pipeline.create_session(conn, timeout_ms, now_ms)
            conn.session.owner = conn
        else:
            self._renew(conn, request, timeout_ms, now_ms)

    def _renew(self, conn: Connection, request: ConnectRequest, timeout_ms: int, now_ms: int) -> None:
        hub = self._hub
        session = hub.pipeline.sessions.get(request.session_id)
        if session is not None and session.owner is not None and session.owner is not conn:
            # Apache closes the older connection before it looks at the password.
            cast(Connection, session.owner).close()
        hub.stats.metrics.connection_revalidate_count.add()
        hub.stats.packets_sent += 1  # of a new session, its commit counts the reply
        if (
            session is None
            or not is_password(session.id, request.password)
            or not hub.pipeline.sessions.renew(session, timeout_ms, now_ms)
        ):
            self._refuse(conn)
        else:
            self.finish(conn, session)

    def finish(self, conn: Connection, session: Session) -> None:
        """The session is there: reply and start serving."""
        request = self._opening.pop(conn)
        reply = encode_connect_response(
            session.timeout_ms, session.id, password_of(session.id), read_only=False if request.has_read_only else None
        )
        conn.opened(session, reply)

    def forget(self, conn: Connection) -> None:
        """The connection is gone."""
        self._opening.pop(conn, None)

    def _refuse(self, conn: Connection) -> None:
        request = self._opening.pop(conn)
        _log.info("refusing session 0x%x of %s:%d", request.session_id & (1 << 64) - 1, *conn.peer)
        conn.write(encode_connect_response(0, 0, _NO_PASSWORD, read_only=False if request.has_read_only else None))
        conn.close()
