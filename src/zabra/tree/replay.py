"""[hot] The frequent transactions of a log, applied from their bytes.

A start on a long log is millions of creates and setDatas. Taken apart into records each costs more than twice as much,
so they are parsed here by hand; whatever is not plain goes by way of :meth:`DataTree.apply`. Both plan and install
nodes with the same functions.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from zabra.consts import Op
from zabra.tree.node import OPEN_ACL, after_child_change, after_set_data, new_node
from zabra.tree.tree import DataTree
from zabra.wire.records_data import Acl, encode_acl
from zabra.wire.records_txn import CreateTxn
from zabra.wire.txns import TxnBody, TxnDigest, TxnHeader

#: session, cxid, zxid, time, type, and the length of the path that every frequent body begins with
_HEAD: Final = Struct(">qiqqii")
_PATH_AT: Final = _HEAD.size
#: Where that length stands; the type is before it.
PATH_SIZE_AT: Final = _PATH_AT - 4
_unpack_head = _HEAD.unpack_from
_unpack_int = Struct(">i").unpack_from
#: Behind a create's ACL list: ephemeral, the parent's cversion.
_unpack_tail = Struct(">?i").unpack_from
_TAIL_SIZE: Final = 5
_DIGEST_SIZE: Final = 12


class FrequentTxns:
    """Applies plain setDatas and creates to a tree."""

    def __init__(self, tree: DataTree) -> None:
        self._tree = tree
        #: Encoded ACL lists that were met -> the list.
        self._acls: dict[bytes, Acl] = {}
        #: Bytes of digest behind a create: the log of a server that keeps none has none.
        self._digest_size = _DIGEST_SIZE

    def apply(self, payload: bytes) -> int:
        """Apply a log entry; where its digest begins. -1, and nothing done, when it has to be taken apart."""
        size = len(payload)
        if size < _PATH_AT + 4:
            return -1
        session_id, _, zxid, time_ms, type_, path_size = _unpack_head(payload)
        stop = _PATH_AT + path_size
        if type_ not in (1, 5, 15) or path_size <= 1 or stop + 8 > size:
            return -1
        data_size = _unpack_int(payload, stop)[0]
        tail = stop + 4 + data_size
        if data_size < 0 or tail + 4 > size:
            return -1
        tree = self._tree
        nodes = tree.nodes
        path = payload[_PATH_AT:stop]
        data = payload[stop + 4 : tail]
        node = nodes.get(path)
        if type_ == 5:
            end: int = tail + 4
            if node is None or size - end not in (0, _DIGEST_SIZE):
                return -1
            new = after_set_data(node, path, data, _unpack_int(payload, tail)[0], zxid, time_ms)
            tree.install_set(path, new, zxid)
        else:
            end = size - self._digest_size
            acl = self._acls.get(payload[tail : end - _TAIL_SIZE])
            parent_path = path[: path.rfind(b"/")] or b"/"
            parent = nodes.get(parent_path)
            if acl is None or parent is None or node is not None:
                return -1
            ephemeral, cversion = _unpack_tail(payload, end - _TAIL_SIZE)
            if cversion == -1:
                return -1
            owner = session_id if ephemeral else 0
            new = new_node(path, data, acl, owner, tree.owners.shown(owner) if owner else 0, zxid, time_ms)
            changed = after_child_change(parent, parent_path, cversion, zxid, 1)
            tree.install_create(path, new, parent_path, changed, zxid)
        tree.applied(zxid)
        return end

    def learn(self, header: TxnHeader, body: TxnBody | None, digest: TxnDigest | None) -> None:
        """Remember the ACL list of a create that was taken apart."""
        if header.type in (Op.CREATE, Op.CREATE2) and isinstance(body, CreateTxn) and body.acl:
            acl = OPEN_ACL if body.acl == OPEN_ACL else body.acl
            self._acls[encode_acl(acl)] = acl
            self._digest_size = _DIGEST_SIZE if digest is not None else 0
