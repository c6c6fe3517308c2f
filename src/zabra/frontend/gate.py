"""What stands before a request: auth packets, SASL packets, and the rule that a connection must authenticate first.

Auth packets take effect when they arrive, so that a later write in the same chunk has the new identity; their replies
keep their place among the others (Apache lets them overtake). Source: ``ZooKeeperServer.processPacket``,
``processSasl``, ``AuthenticationHelper.enforceAuthentication`` (3.9.5).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from zabra.auth.access import Enforcement, with_identities
from zabra.auth.provider import ConnectionInfo
from zabra.auth.registry import Registry
from zabra.consts import Op
from zabra.errors import Code, MarshallingError, ProtocolError, RequestError
from zabra.frontend.replies import pack_reply
from zabra.tree.tree import DataTree
from zabra.wire.primitives import Reader, pack_buffer
from zabra.wire.records_proto import AuthPacket, GetSaslRequest

if TYPE_CHECKING:
    from zabra.frontend.connection import Connection

_log = logging.getLogger(__name__)


class Gate:
    """Lets requests in."""

    def __init__(self, registry: Registry, enforcement: Enforcement) -> None:
        self._registry = registry
        self._enforcement = enforcement
        #: The tree that schemes may look at; set once there is one.
        self.tree: DataTree | None = None

    @property
    def guarded(self) -> bool:
        """Whether every request has to be looked at."""
        return self._enforcement.enabled

    def refuses(self, conn: Connection, xid: int) -> bool:
        """Whether the connection has to authenticate first; then it was told so and is closing."""
        if self._enforcement.satisfied(conn.identities):
            return False
        _log.warning("closing %s:%d: it has none of the identities %s", *conn.peer, self._enforcement.schemes)
        conn.say_goodbye(pack_reply(16, xid, 0, Code.SESSION_CLOSED_REQUIRE_SASL_AUTH))
        return True

    def authenticate(self, conn: Connection, op: int, xid: int, frame: bytes) -> None:
        """Take an auth or SASL packet. One that does not parse closes the connection."""
        try:
            if op == Op.SASL:
                GetSaslRequest.decode(Reader(frame, 8))
                # Without a login configuration Apache has no SASL server and answers an empty token.
                conn.reply_in_order(pack_reply(20, xid, 0, 0) + pack_buffer(None))
                return
            packet = AuthPacket.decode(Reader(frame, 8))
        except MarshallingError as error:
            _log.warning("closing %s:%d: bad auth packet: %s", *conn.peer, error)
            conn.close()
            return
        info = ConnectionInfo(conn.identities[0][1], self._read_node)
        try:
            earned = self._registry.authenticate(packet.scheme, info, packet.auth)
        except RequestError as error:
            _log.warning("authentication of %s:%d with scheme %s failed", *conn.peer, packet.scheme)
            conn.say_goodbye(pack_reply(16, xid, 0, error.code))
            return
        except ProtocolError as error:
            _log.warning("closing %s:%d: %s", *conn.peer, error)
            conn.close()
            return
        conn.identities = with_identities(conn.identities, earned)
        conn.reply_in_order(pack_reply(16, xid, 0, 0))

    def _read_node(self, path: bytes) -> bytes | None:
        node = self.tree.nodes.get(path) if self.tree is not None else None
        return node.data if node is not None else None
