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

    def answer_writes(self, replies: list[bytes], zxid: int) -> None:
        """The same for finished replies of writes between which no read waits; ``zxid`` is that of the last."""

    def answer_sync(self, xid: int, body: bytes) -> None:
        """The same for a sync that a leader has answered; it has no zxid."""

    def session_opened(self, session: Session) -> None:
        """The createSession of this connection committed."""

    def session_closed(self, write: Write) -> None:
        """The closeSession that this connection asked for committed: reply, then close."""

    def close(self) -> None:
        """Write what is queued, then close."""


class Family:
    """Creates that stand in a row below one parent.

    Only the state after the last of them is planned. Those between are looked at only where a commit ends with one of
    them, or a watch fires.
    """

    __slots__ = ("last_zxid", "parent", "path")

    #: The parent as the last create leaves it, and the zxid of that; there as soon as the creates are proposed.
    parent: Node
    last_zxid: int

    def __init__(self, path: bytes) -> None:
        #: The parent's.
        self.path = path


#: A validated setData, create or create2 that stands alone, the writes that come by the thousand: zxid, node, path, who
#: waits for the reply, the reply, whether it stands right behind the write before it in a run of one client, what it
#: adds to the tree's digest, and for creates their family. A plain tuple costs a fifth of an object. It begins like an
#: entry of ``Pending.changes``, and is one.
Plain = tuple[int, Node, bytes, Requester, bytes, bool, int, Family | None]


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
