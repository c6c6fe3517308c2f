"""Sessions meet connections: connect requests, renewals, refusals (``ZooKeeperServer.processConnectRequest``)."""

from __future__ import annotations

import logging
from functools import partial
from typing import cast

from zabra.consts import Op
from zabra.errors import ProtocolError, RequestError
from zabra.frontend.connection import Connection
from zabra.frontend.hub import Hub
from zabra.frontend.limits import ConnectionThrottle
from zabra.frontend.replies import pack_reply
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
        #: Connections whose session is on its way -> their request.
        self._opening: dict[Connection, ConnectRequest] = {}
        #: Session id -> the connection that waits for its renewal.
        self._renewing: dict[int, Connection] = {}

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
        local = hub.settings.local_sessions_enabled
        if not self._throttle.admit(renewal=request.session_id != 0, now_ms=now_ms, local=local):
            metrics.connection_rejected.add()
            conn.close()
            return
        metrics.connection_token_deficit.add(self._throttle.deficit)
        metrics.connection_request_count.add()
        if hub.read_only and not request.read_only:
            _log.info("closing %s:%d: it did not ask for a server without a quorum", *conn.peer)
            conn.close()
            return
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
            conn.hold(Op.CREATE_SESSION, lambda _: self._create(conn, timeout_ms))
        else:
            self._renew(conn, request, timeout_ms, now_ms)

    def _create(self, conn: Connection, timeout_ms: int) -> None:
        if conn not in self._opening:
            return  # closed meanwhile
        now_ms = int(self._hub.clock.monotonic() * 1000)
        try:
            conn.session = self._hub.pipeline.create_session(conn, timeout_ms, now_ms)
        except RequestError as error:
            # As in Apache, which leaves the connection there.
            self._take(conn)
            conn.write(pack_reply(16, 0, self._hub.tree.last_zxid, error.code))
            return
        conn.session.owner = conn

    def _renew(self, conn: Connection, request: ConnectRequest, timeout_ms: int, now_ms: int) -> None:
        hub = self._hub
        session_id = request.session_id
        session = hub.pipeline.sessions.get(session_id)
        older = session.owner if session is not None else None
        # Apache closes the older connection before it looks at the password.
        for other in (older, self._renewing.get(session_id)):
            if other is not None:
                cast(Connection, other).close()
        hub.stats.metrics.connection_revalidate_count.add()
        if is_password(session_id, request.password):
            self._renewing[session_id] = conn
            hub.pipeline.renew_session(conn, session_id, timeout_ms, now_ms, partial(self._renewed, conn))
        else:
            self._refuse(conn)

    def _renewed(self, conn: Connection, session: Session | None) -> None:
        """The session of a renewal is known to live, or not to."""
        if conn not in self._opening:
            return  # closed meanwhile
        if session is None:
            self._refuse(conn)
        else:
            self._hub.stats.packets_sent += 1  # of a new session, its commit counts the reply
            self.finish(conn, session)

    def finish(self, conn: Connection, session: Session) -> None:
        """The session is there: reply and start serving."""
        request = self._take(conn)
        reply = encode_connect_response(
            session.timeout_ms,
            session.id,
            password_of(session.id),
            read_only=self._hub.read_only if request.has_read_only else None,
        )
        conn.opened(session, reply)

    def forget(self, conn: Connection) -> None:
        """The connection is gone."""
        if conn in self._opening:
            self._take(conn)

    def _take(self, conn: Connection) -> ConnectRequest:
        request = self._opening.pop(conn)
        if self._renewing.get(request.session_id) is conn:
            del self._renewing[request.session_id]
        return request

    def _refuse(self, conn: Connection) -> None:
        self._hub.stats.packets_sent += 1
        request = self._take(conn)
        _log.info("refusing session 0x%x of %s:%d", request.session_id & (1 << 64) - 1, *conn.peer)
        conn.write(
            encode_connect_response(
                0, 0, _NO_PASSWORD, read_only=self._hub.read_only if request.has_read_only else None
            )
        )
        conn.close()
