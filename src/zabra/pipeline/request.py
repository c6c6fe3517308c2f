"""A write on its way from validation to its reply, and what a connection must offer for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from zabra.config.dynamic import EnsembleConfig
from zabra.consts import Op
from zabra.sessions.tracker import Session
from zabra.tree.node import Node
from zabra.wire.records_data import Identity

#: The writes that a client may send, besides its closeSession.
CLIENT_WRITES: Final = frozenset(
    {
        Op.CREATE,
        Op.CREATE2,
        Op.CREATE_CONTAINER,
        Op.CREATE_TTL,
        Op.DELETE,
        Op.SET_DATA,
        Op.SET_ACL,
        Op.MULTI,
        Op.RECONFIG,
    }
)


class Change(NamedTuple):
    """One planned change, ready to be installed; ``node`` is None for a removal."""

    #: The transaction type: one of the creates, deletes, SET_DATA, SET_ACL, CHECK, ERROR.
    type: int
    path: bytes
    node: Node | None = None
    parent_path: bytes = b""
    parent: Node | None = None
    #: Error code, for the parts of a failed multi.
    err: int = 0


class Requester(Protocol):
    """What the pipeline needs of a client connection."""

    session: Session | None
    identities: tuple[Identity, ...]

    def answer_write(self, xid: int, zxid: int, body: bytes, err: int) -> None:
        """Queue the reply of a committed write, then run the reads that waited behind it."""

    def answer_sync(self, xid: int, body: bytes) -> None:
        """The same for a sync that a leader has answered; it has no zxid."""

    def session_opened(self, session: Session) -> None:
        """The createSession of this connection committed."""

    def session_closed(self, write: Write) -> None:
        """The closeSession that this connection asked for committed: reply, then close."""

    def close(self) -> None:
        """Write what is queued, then close."""


#: A validated setData, create or create2 that stands alone, the writes that come by the thousand: opcode, who waits for
#: the reply, xid, zxid, path, node, and for creates the parent's path and node. A plain tuple costs a fifth of an
#: object.
Plain = tuple[int, Requester, int, int, bytes, Node, bytes, Node | None]


class Write:
    """Any other validated write: what its commit installs and whom it answers."""

    __slots__ = ("changes", "config", "conn", "err", "op", "session", "xid", "zxid")

    def __init__(self, conn: Requester | None, xid: int, op: int, zxid: int) -> None:
        #: Who waits for the reply; None for the server's own writes.
        self.conn = conn
        self.xid = xid
        #: The request's type; a failed one keeps it and has ``err``.
        self.op = op
        self.zxid = zxid
        self.err = 0
        self.changes: Sequence[Change] = ()
        self.session: Session | None = None
        #: The membership that a reconfig proposes: from its proposal on, the quorums of this one decide as well.
        self.config: EnsembleConfig | None = None


#: What travels from validation through the log to commit.
Proposal = Plain | Write
