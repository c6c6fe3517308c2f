"""What the tree must be at every zxid, computed by other means than the server's.

The model applies the transactions it is given, one zxid after another, to plain dicts, and remembers every version of
every node, so that a reply which says "zxid 17" can be held against the tree of zxid 17 however late it arrives. It
also lists every change that somebody could watch, and keeps its own digest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from struct import Struct
from typing import Final, Generic, NamedTuple, TypeVar
from zlib import crc32

from zabra.consts import CONTAINER_OWNER, EventType, Op
from zabra.wire.records_data import Acl
from zabra.wire.records_txn import (
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
)
from zabra.wire.txns import TxnBody, TxnHeader, decode_sub_txn

V = TypeVar("V")

OPEN: Final[Acl] = ((31, "world", "anyone"),)
READ_ONLY: Final[Acl] = ((1, "world", "anyone"),)
_MASK64: Final = (1 << 64) - 1
_STAT: Final = Struct(">qqqqiiiqiiq")
_DIGEST: Final = Struct(">qqqqqiiiq")


class ModelError(AssertionError):
    """A transaction that is impossible in the state it meets."""


class ModelNode(NamedTuple):
    """A znode; ``cversion`` and ``owner`` as stored."""

    data: bytes | None
    acl: Acl
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int
    pzxid: int

    def stat(self, children: int) -> bytes:
        """The 68 bytes that clients see."""
        owner = self.owner if self.owner > 0 else 0
        return _STAT.pack(
            *(
                self.czxid,
                self.mzxid,
                self.ctime,
                self.mtime,
                self.version,
                2 * self.cversion - children,
                self.aversion,
            ),
            *(owner, len(self.data or b""), children, self.pzxid),
        )

    def digest(self, path: bytes) -> int:
        """Its share of the tree digest."""
        if path.startswith(b"/zookeeper/"):
            return 0
        tail = _DIGEST.pack(
            *(self.czxid, self.mzxid, self.pzxid, self.ctime, self.mtime),
            *(self.version, self.cversion, self.aversion, self.owner),
        )
        return crc32((path if path != b"/" else b"") + (self.data or b"") + tail)


class Change(NamedTuple):
    """Something that watches may fire for; ``acl`` decides who may hear of it."""

    zxid: int
    type: int
    path: bytes
    acl: Acl


class History(Generic[V]):
    """A value at every zxid."""

    __slots__ = ("values", "zxids")

    def __init__(self) -> None:
        self.zxids: list[int] = []
        self.values: list[V | None] = []

    def put(self, zxid: int, value: V | None) -> None:
        """From ``zxid`` on."""
        if self.zxids and self.zxids[-1] == zxid:
            self.values[-1] = value
        else:
            self.zxids.append(zxid)
            self.values.append(value)

    def at(self, zxid: int) -> V | None:
        """As of ``zxid``."""
        index = bisect_right(self.zxids, zxid)
        return self.values[index - 1] if index else None

    def since(self, zxid: int) -> list[V | None]:
        """As of ``zxid``, and all that came after."""
        return self.values[max(bisect_right(self.zxids, zxid) - 1, 0) :]

    def cut(self, zxid: int) -> V | None:
        """Forget what came after ``zxid``; the value now."""
        while self.zxids and self.zxids[-1] > zxid:
            self.zxids.pop()
            self.values.pop()
        return self.values[-1] if self.values else None


def parent_of(path: bytes) -> bytes:
    """The path above."""
    return path[: path.rfind(b"/")] or b"/"


class Model:
    """The tree and the sessions, now and at every earlier zxid."""

    def __init__(self) -> None:
        self.zxid = 0
        self.nodes: dict[bytes, ModelNode] = {}
        #: Children by parent, as a tuple: histories share them.
        self.names: dict[bytes, tuple[bytes, ...]] = {}
        self.sessions: dict[int, int] = {}
        self.digest = 0
        self.changes: list[Change] = []
        self._node_history: dict[bytes, History[ModelNode]] = {}
        self._name_history: dict[bytes, History[tuple[bytes, ...]]] = {}
        self._session_history: History[dict[int, int]] = History()
        self._digest_history: History[int] = History()
        for path, acl, aversion in (
            (b"/", OPEN, 0),
            (b"/zookeeper", OPEN, 0),
            (b"/zookeeper/quota", OPEN, 0),
            (b"/zookeeper/config", READ_ONLY, -1),
        ):
            self._put(0, path, ModelNode(b"", acl, 0, 0, 0, 0, 0, 0, aversion, 0, 0))
        self._put_names(0, b"/", (b"zookeeper",))
        self._put_names(0, b"/zookeeper", (b"quota", b"config"))
        self._session_history.put(0, {})
        self._digest_history.put(0, self.digest)

    # -- then

    def node_at(self, path: bytes, zxid: int) -> ModelNode | None:
        """The node as of ``zxid``."""
        history = self._node_history.get(path)
        return history.at(zxid) if history is not None else None

    def nodes_since(self, path: bytes, zxid: int) -> list[ModelNode | None]:
        """The node as of ``zxid``, and all that it became since."""
        history = self._node_history.get(path)
        return history.since(zxid) if history is not None else []

    def names_at(self, path: bytes, zxid: int) -> tuple[bytes, ...]:
        """Its children as of ``zxid``."""
        history = self._name_history.get(path)
        return (history.at(zxid) or ()) if history is not None else ()

    def sessions_at(self, zxid: int) -> dict[int, int]:
        """Session id -> timeout as of ``zxid``."""
        return self._session_history.at(zxid) or {}

    def digest_at(self, zxid: int) -> int:
        """The tree digest as of ``zxid``."""
        return self._digest_history.at(zxid) or 0

    def nodes_at(self, zxid: int) -> list[tuple[bytes, ModelNode]]:
        """Every node as of ``zxid``."""
        found = [(path, history.at(zxid)) for path, history in self._node_history.items()]
        return [(path, node) for path, node in found if node is not None]

    def position(self, zxid: int) -> int:
        """How many changes there are up to ``zxid``."""
        return bisect_right(self.changes, zxid, key=lambda change: change.zxid)

    def rollback(self, zxid: int) -> None:
        """Everything after ``zxid`` never happened."""
        self.nodes = {}
        for path, history in self._node_history.items():
            node = history.cut(zxid)
            if node is not None:
                self.nodes[path] = node
        self.names = {}
        for path, names in self._name_history.items():
            self.names[path] = names.cut(zxid) or ()
        self.sessions = dict(self._session_history.cut(zxid) or {})
        self.digest = self._digest_history.cut(zxid) or 0
        del self.changes[self.position(zxid) :]
        self.zxid = zxid

    # -- now

    def stat(self, path: bytes) -> bytes:
        """The client stat of an existing node."""
        return self.nodes[path].stat(len(self.names.get(path, ())))

    def ephemerals(self, session_id: int) -> list[bytes]:
        """The paths that a session owns."""
        return [path for path, node in self.nodes.items() if node.owner == session_id]

    def apply(
        self, header: TxnHeader, body: TxnBody | None, on_part: Callable[[TxnBody], None] = lambda part: None
    ) -> None:
        """The next transaction; ``on_part`` is told after each part of a multi. Raises ModelError when it cannot be."""
        self.zxid = header.zxid
        if isinstance(body, MultiTxn):
            subs = body.txns or ()
            if not any(sub.type == Op.ERROR for sub in subs):
                for sub in subs:
                    part = decode_sub_txn(sub)
                    self._apply(header, sub.type, part)
                    on_part(part)
        else:
            self._apply(header, header.type, body)
        self._digest_history.put(header.zxid, self.digest)

    def _apply(self, header: TxnHeader, type_: int, body: TxnBody | None) -> None:
        zxid = header.zxid
        if isinstance(body, (CreateTxn, CreateTtlTxn, CreateContainerTxn)):
            owner = 0
            if isinstance(body, CreateTtlTxn):
                owner = body.ttl - (1 << 56)
            elif isinstance(body, CreateContainerTxn):
                owner = CONTAINER_OWNER
            elif body.ephemeral:
                owner = header.session_id
            node = ModelNode(
                body.data, body.acl or OPEN, zxid, zxid, header.time_ms, header.time_ms, 0, 0, 0, owner, zxid
            )
            self._create(zxid, body.path or b"", node, body.parent_cversion)
        elif isinstance(body, DeleteTxn):
            self._delete(zxid, body.path or b"")
        elif isinstance(body, SetDataTxn):
            path = body.path or b""
            old = self._existing(path)
            new = old._replace(data=body.data, mzxid=zxid, mtime=header.time_ms, version=body.version)
            self._put(zxid, path, new)
            self.changes.append(Change(zxid, EventType.DATA_CHANGED, path, old.acl))
        elif isinstance(body, SetAclTxn):
            path = body.path or b""
            self._put(zxid, path, self._existing(path)._replace(acl=body.acl or OPEN, aversion=body.version))
        elif type_ == Op.CREATE_SESSION:
            assert isinstance(body, CreateSessionTxn)
            self.sessions[header.session_id] = body.timeout
            self._session_history.put(zxid, dict(self.sessions))
        elif type_ == Op.CLOSE_SESSION:
            self._close(header, body if isinstance(body, CloseSessionTxn) else None)

    def _close(self, header: TxnHeader, body: CloseSessionTxn | None) -> None:
        """A closeSession lists the ephemerals of the session, each once and all of them."""
        own = self.ephemerals(header.session_id)
        if body is not None and sorted(body.paths or ()) != sorted(own):  # type: ignore[type-var]
            raise ModelError(f"closeSession lists {body.paths}, the session owns {own}")
        if self.sessions.pop(header.session_id, None) is None:
            raise ModelError("closeSession of a session that does not exist")
        listed = [path for path in body.paths or () if path is not None] if body is not None else own
        for path in listed:
            self._delete(header.zxid, path)
        self._session_history.put(header.zxid, dict(self.sessions))

    def _existing(self, path: bytes) -> ModelNode:
        node = self.nodes.get(path)
        if node is None:
            raise ModelError(f"{path!r} does not exist")
        return node

    def _create(self, zxid: int, path: bytes, node: ModelNode, parent_cversion: int) -> None:
        if path in self.nodes:
            raise ModelError(f"{path!r} exists already")
        above = parent_of(path)
        parent = self._existing(above)
        if parent_cversion != parent.cversion + 1:
            raise ModelError(f"cversion of {above!r} goes from {parent.cversion} to {parent_cversion}")
        self._put(zxid, path, node)
        self._put(zxid, above, parent._replace(cversion=parent_cversion, pzxid=zxid))
        self._put_names(zxid, above, (*self.names.get(above, ()), path[path.rfind(b"/") + 1 :]))
        self.changes.append(Change(zxid, EventType.CREATED, path, node.acl))
        self.changes.append(Change(zxid, EventType.CHILDREN_CHANGED, above, parent.acl))

    def _delete(self, zxid: int, path: bytes) -> None:
        node = self._existing(path)
        if self.names.get(path):
            raise ModelError(f"{path!r} is deleted and has children")
        above = parent_of(path)
        parent = self._existing(above)
        name = path[path.rfind(b"/") + 1 :]
        self._put(zxid, path, None)
        self._put(zxid, above, parent._replace(pzxid=zxid))
        self._put_names(zxid, above, tuple(other for other in self.names[above] if other != name))
        self.changes.append(Change(zxid, EventType.DELETED, path, node.acl))
        self.changes.append(Change(zxid, EventType.CHILDREN_CHANGED, above, parent.acl))

    def _put(self, zxid: int, path: bytes, node: ModelNode | None) -> None:
        old = self.nodes.get(path)
        if old is not None:
            self.digest -= old.digest(path)
        if node is None:
            del self.nodes[path]
        else:
            self.nodes[path] = node
            self.digest += node.digest(path)
        self.digest &= _MASK64
        history = self._node_history.get(path)
        if history is None:
            history = self._node_history[path] = History()
        history.put(zxid, node)

    def _put_names(self, zxid: int, path: bytes, names: tuple[bytes, ...]) -> None:
        self.names[path] = names
        history = self._name_history.get(path)
        if history is None:
            history = self._name_history[path] = History()
        history.put(zxid, names)
