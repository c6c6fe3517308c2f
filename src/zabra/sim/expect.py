"""What a request must do, given the tree it meets: the transaction, the error, the reply.

A second statement of ZooKeeper's rules, over the :class:`~zabra.sim.model.Model`; nothing of the server's validation is
used. Bodies of replies are compared as bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from zabra.consts import Mode, Op, Perm
from zabra.errors import Code
from zabra.sim.calls import CREATES, Call
from zabra.sim.model import Model, ModelNode, parent_of
from zabra.wire.multi import encode_error_result, encode_multi_end, encode_result
from zabra.wire.records_data import Acl, Identity, encode_acl
from zabra.wire.records_txn import (
    CheckVersionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    SetAclTxn,
    SetDataTxn,
)
from zabra.wire.txns import TxnBody

_INT: Final = Struct(">i")
_EPHEMERAL: Final = (Mode.EPHEMERAL, Mode.EPHEMERAL_SEQUENTIAL)
#: The rights that a server may check by itself.
_CHECKED_EARLY: Final = {
    Op.CREATE: Perm.CREATE,
    Op.CREATE2: Perm.CREATE,
    Op.DELETE: Perm.DELETE,
    Op.SET_DATA: Perm.WRITE,
    Op.SET_ACL: Perm.ADMIN,
}
_SEQUENTIAL: Final = (Mode.PERSISTENT_SEQUENTIAL, Mode.EPHEMERAL_SEQUENTIAL, Mode.TTL_SEQUENTIAL)


class Refused(Exception):
    """The request is answered with this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def may(acl: Acl, perm: int, identities: tuple[Identity, ...]) -> bool:
    """Whether somebody may."""
    for perms, scheme, id_ in acl:
        if perms & perm and ((scheme, id_) == ("world", "anyone") or (scheme, id_) in identities):
            return True
    return False


class View:
    """A model as it is while a multi is on its way: its own earlier parts included."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._nodes: dict[bytes, ModelNode | None] = {}
        self._counts: dict[bytes, int] = {}

    def get(self, path: bytes) -> ModelNode:
        """The node, which must exist."""
        node = self._nodes[path] if path in self._nodes else self._model.nodes.get(path)
        if node is None:
            raise Refused(Code.NO_NODE)
        return node

    def exists(self, path: bytes) -> bool:
        """Whether it does."""
        return (self._nodes[path] if path in self._nodes else self._model.nodes.get(path)) is not None

    def count(self, path: bytes) -> int:
        """How many children."""
        return self._counts[path] if path in self._counts else len(self._model.names.get(path, ()))

    def put(self, path: bytes, node: ModelNode | None) -> None:
        """Change a node."""
        self._nodes[path] = node

    def add(self, path: bytes, delta: int) -> None:
        """Change the number of children."""
        self._counts[path] = self.count(path) + delta


def plan(view: View, call: Call) -> tuple[int, TxnBody]:
    """Type and body of the transaction that a single write must become. Raises Refused."""
    if call.op in CREATES:
        return call.op, _plan_create(view, call)
    path = call.path
    who = call.identities
    if call.op == Op.DELETE:
        if path in (b"/", b"/zookeeper", b"/zookeeper/quota", b"/zookeeper/config"):
            raise Refused(Code.BAD_ARGUMENTS)
        above = parent_of(path)
        parent = view.get(above)
        _need(parent, Perm.DELETE, who)
        node = view.get(path)
        _check_version(node.version, call.version)
        if view.count(path):
            raise Refused(Code.NOT_EMPTY)
        view.put(path, None)
        view.add(above, -1)
        return Op.DELETE, DeleteTxn(path)
    if call.op == Op.SET_ACL:
        if not call.acl:
            raise Refused(Code.INVALID_ACL)
        node = view.get(path)
        _need(node, Perm.ADMIN, who)
        _check_version(node.aversion, call.version)
        view.put(path, node._replace(acl=call.acl, aversion=node.aversion + 1))
        return Op.SET_ACL, SetAclTxn(path, call.acl, node.aversion + 1)
    node = view.get(path)
    _need(node, Perm.WRITE if call.op == Op.SET_DATA else Perm.READ, who)
    _check_version(node.version, call.version)
    if call.op == Op.CHECK:
        return Op.CHECK, CheckVersionTxn(path, node.version + 1)
    view.put(path, node._replace(data=call.data, version=node.version + 1))
    return Op.SET_DATA, SetDataTxn(path, call.data, node.version + 1)


def may_refuse_early(model: Model, call: Call, code: int) -> bool:
    """Whether the server of a client may refuse its write with ``code`` before it goes to the leader.

    What it knows is as of any zxid from the newest one that the client had seen on.
    """
    if call.op not in _CHECKED_EARLY:
        return False
    if code == Code.INVALID_ACL:
        return call.op in (*CREATES, Op.SET_ACL) and not call.acl
    above = call.op != Op.SET_DATA and call.op != Op.SET_ACL
    nodes = model.nodes_since(parent_of(call.path) if above else call.path, call.seen_before)
    right = _CHECKED_EARLY[call.op]
    return code == Code.NO_AUTH and any(
        node is not None and not may(node.acl, right, call.identities) for node in nodes
    )


def _plan_create(view: View, call: Call) -> TxnBody:
    if not call.acl:
        raise Refused(Code.INVALID_ACL)
    path = call.path
    above = parent_of(path)
    parent = view.get(above)
    _need(parent, Perm.CREATE, call.identities)
    if call.flags in _SEQUENTIAL:
        path += b"%010d" % parent.cversion
    if view.exists(path):
        raise Refused(Code.NODE_EXISTS)
    if parent.owner > 0:
        raise Refused(Code.NO_CHILDREN_FOR_EPHEMERALS)
    cversion = parent.cversion + 1
    ephemeral = call.flags in _EPHEMERAL
    owner = call.session_id if ephemeral else 0
    view.put(path, ModelNode(call.data, call.acl, 0, 0, 0, 0, 0, 0, 0, owner, 0))
    view.put(above, parent._replace(cversion=cversion))
    view.add(above, 1)
    if call.op == Op.CREATE_TTL:
        return CreateTtlTxn(path, call.data, call.acl, cversion, call.ttl)
    if call.op == Op.CREATE_CONTAINER:
        return CreateContainerTxn(path, call.data, call.acl, cversion)
    return CreateTxn(path, call.data, call.acl, ephemeral, cversion)


def plan_multi(model: Model, call: Call) -> tuple[list[tuple[int, TxnBody]], list[int]]:
    """The parts of a multi's transaction; or nothing and the codes of a failed one."""
    view = View(model)
    parts: list[tuple[int, TxnBody]] = []
    for sub in call.subs:
        sub.session_id = call.session_id
        sub.identities = call.identities
        try:
            parts.append(plan(view, sub))
        except Refused as refused:
            after = len(call.subs) - len(parts) - 1
            return [], [0] * len(parts) + [refused.code] + [Code.RUNTIME_INCONSISTENCY] * after
    return parts, []


def _need(node: ModelNode, perm: int, who: tuple[Identity, ...]) -> None:
    if not may(node.acl, perm, who):
        raise Refused(Code.NO_AUTH)


def _check_version(current: int, wanted: int) -> None:
    if wanted not in (-1, current):
        raise Refused(Code.BAD_VERSION)


def write_reply(model: Model, op: int, body: TxnBody | None) -> bytes:
    """The body of the reply to a write that the model has just applied."""
    if isinstance(body, (CreateTxn, CreateTtlTxn, CreateContainerTxn)):
        path = body.path or b""
        return _buffer(path) + (b"" if op == Op.CREATE else model.stat(path))
    if isinstance(body, (SetDataTxn, SetAclTxn)):
        return model.stat(body.path or b"")
    return b""


def multi_reply(parts: list[tuple[int, bytes]], codes: list[int]) -> bytes:
    """The body of the reply to a multi; ``parts`` are (type, reply) of a good one."""
    results = [encode_error_result(code) for code in codes]
    results += [encode_result(Op.CREATE2 if op in CREATES and op != Op.CREATE else op, body) for op, body in parts]
    return b"".join(results) + encode_multi_end()


def read_reply(model: Model, call: Call, zxid: int) -> bytes:
    """The body of the reply to a read served at ``zxid``; children in sorted order. Raises Refused."""
    path = call.path
    if call.op == Op.MULTI_READ:
        return _multi_read_reply(model, call, zxid)
    if call.op == Op.GET_EPHEMERALS:
        own = [
            other for other, node in model.nodes_at(zxid) if node.owner == call.session_id and other.startswith(path)
        ]
        return _INT.pack(len(own)) + b"".join(map(_buffer, sorted(own)))
    node = model.node_at(path, zxid)
    if node is None:
        raise Refused(Code.NO_NODE)
    names = model.names_at(path, zxid)
    if call.op == Op.GET_ACL:
        _need(node, Perm.READ | Perm.ADMIN, call.identities)
        acl = node.acl if may(node.acl, Perm.ADMIN, call.identities) else _masked(node.acl)
        return encode_acl(acl) + node.stat(len(names))
    _need(node, Perm.READ, call.identities)
    if call.op == Op.GET_ALL_CHILDREN_NUMBER:
        prefix = path.rstrip(b"/") + b"/"
        return _INT.pack(sum(other.startswith(prefix) and other != prefix for other, _ in model.nodes_at(zxid)))
    stat = node.stat(len(names))
    if call.op == Op.EXISTS:
        return stat
    if call.op == Op.GET_DATA:
        return _buffer(node.data) + stat
    listed = _INT.pack(len(names)) + b"".join(map(_buffer, sorted(names)))
    return listed + stat if call.op == Op.GET_CHILDREN2 else listed


def _multi_read_reply(model: Model, call: Call, zxid: int) -> bytes:
    parts = b""
    for sub in call.subs:
        sub.identities = call.identities
        try:
            parts += encode_result(sub.op, read_reply(model, sub, zxid))
        except Refused as refused:
            parts += encode_error_result(refused.code)
    return parts + encode_multi_end()


def _masked(acl: Acl) -> Acl:
    return tuple((perms, scheme, id_.split(":")[0] + ":x" if scheme == "digest" else id_) for perms, scheme, id_ in acl)


def sorted_children(op: int, body: bytes) -> bytes:
    """A reply with its list of names sorted: their order is the server's own affair."""
    if op not in (Op.GET_CHILDREN, Op.GET_CHILDREN2, Op.GET_EPHEMERALS):
        return body
    (count,) = _INT.unpack_from(body)
    at = 4
    names = []
    for _ in range(count):
        (size,) = _INT.unpack_from(body, at)
        names.append(body[at + 4 : at + 4 + size])
        at += 4 + size
    return _INT.pack(count) + b"".join(map(_buffer, sorted(names))) + body[at:]


def _buffer(data: bytes | None) -> bytes:
    return _INT.pack(-1) if data is None else _INT.pack(len(data)) + data
