"""[hot] The frequent transactions of a log, applied from their bytes.

A start on a long log is millions of creates and setDatas. Taken apart into records each costs more than twice as much,
so they are parsed here by hand; whatever is not plain goes by way of :meth:`DataTree.apply`. Both plan and install
nodes with the same functions.
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

from zabra.consts import Op
from zabra.tree.node import (
    CVERSION_MAX,
    DIGEST_INPUT,
    NEW_DIGEST_INPUT,
    NEW_STAT,
    OPEN_ACL,
    PARENT,
    PARENT_DIGEST_INPUT,
    PARENT_KEPT,
    STAT,
    Node,
    after_child_change,
    after_set_data,
    new_node,
)
from zabra.tree.tree import DIGEST_LOG_INTERVAL, MASK64, DataTree
from zabra.wire.records_data import Acl, encode_acl
from zabra.wire.records_txn import CreateTxn
from zabra.wire.txns import TxnBody, TxnDigest, TxnHeader

#: Behind session and cxid: zxid, time, type, and the length of the path that every frequent body begins with.
_HEAD: Final = Struct(">12xqqii")
_PATH_AT: Final = _HEAD.size
#: Where that length stands; the type is before it.
PATH_SIZE_AT: Final = _PATH_AT - 4
_unpack_head = _HEAD.unpack_from
_unpack_int = Struct(">i").unpack_from
_unpack_long = Struct(">q").unpack_from
#: Behind a create's ACL list: ephemeral, the parent's cversion.
_unpack_tail = Struct(">?i").unpack_from
_TAIL_SIZE: Final = 5
_unpack_stat = STAT.unpack
_pack_stat = STAT.pack
_pack_digest = DIGEST_INPUT.pack
_pack_new_stat = NEW_STAT.pack
_pack_new_digest = NEW_DIGEST_INPUT.pack
_unpack_parent = PARENT_KEPT.unpack
_pack_parent = PARENT.pack
_pack_parent_digest = PARENT_DIGEST_INPUT.pack
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
        zxid, time_ms, type_, path_size = _unpack_head(payload)
        stop = _PATH_AT + path_size
        if path_size <= 1 or stop + 8 > size or type_ not in (5, 1, 15):
            return -1
        data_size = _unpack_int(payload, stop)[0]
        tail = stop + 4 + data_size
        if data_size < 0 or tail + 4 > size:
            return -1
        tree = self._tree
        path = payload[_PATH_AT:stop]
        data = payload[stop + 4 : tail]
        node = tree.nodes.get(path)
        if type_ != 5:
            digest_at = size - self._digest_size
            if node is not None or not self._create(payload, path, data, tail, digest_at, zxid, time_ms):
                return -1
            tree.applied(zxid)
            return digest_at
        end: int = tail + 4
        if node is None or size - end not in (_DIGEST_SIZE, 0):
            return -1
        version = _unpack_int(payload, tail)[0]
        watches = tree.watches.data
        if tree.dump is not None or path in watches.by_path or watches.recursive_count or tree.quotas.active:
            tree.install_set(path, after_set_data(node, path, data, version, zxid, time_ms), zxid)
            tree.applied(zxid)
            return end
        # A new node is needed only where somebody keeps the old one: a dump, or a proposal that may fail. So this is
        # after_set_data, install_set and applied in one, without it, in 0.8 of the time.
        czxid, _, ctime, _, _, cversion, aversion, shown, _, count, pzxid = _unpack_stat(node.stat)
        before = node.data
        node.data = data
        node.stat = _pack_stat(czxid, zxid, ctime, time_ms, version, cversion, aversion, shown, data_size, count, pzxid)
        tree.data_size += data_size - (len(before) if before else 0)
        digest = node.digest
        # A zero digest nearly always means "below /zookeeper"; testing it first spares the prefix test.
        if digest or not path.startswith(b"/zookeeper/"):
            text = _pack_digest(czxid, zxid, pzxid, ctime, time_ms, version, node.cversion, aversion, node.owner)
            # One checksum of a copy takes two thirds of the time of three.
            after = node.digest = crc32(path + data + text)
            tree.digest = tree.digest + after - digest & MASK64
        tree.last_zxid = zxid
        if not zxid % DIGEST_LOG_INTERVAL:
            tree.log_digest(zxid)
        return end

    def _create(self, payload: bytes, path: bytes, data: bytes, tail: int, end: int, zxid: int, time_ms: int) -> bool:
        """Apply a create whose ACL list is at ``tail`` and whose digest is at ``end``; False: take it apart."""
        tree = self._tree
        nodes = tree.nodes
        acl = self._acls.get(payload[tail : end - _TAIL_SIZE])
        slash = path.rfind(b"/")
        text = path[:slash]
        parent = nodes.get(text or b"/")
        if acl is None or parent is None:
            return False
        ephemeral, cversion = _unpack_tail(payload, end - _TAIL_SIZE)
        if cversion == -1:
            return False
        watches = tree.watches
        if (
            ephemeral
            or acl is not OPEN_ACL
            or parent.owner
            or not parent.cversion < cversion < CVERSION_MAX
            or tree.dump is not None
            or path in watches.data.by_path
            or (text or b"/") in watches.child.by_path
            or watches.data.recursive_count
            or tree.quotas.active
            or path.startswith(b"/zookeeper")
        ):
            owner = _unpack_long(payload)[0] if ephemeral else 0
            new = new_node(path, data, acl, owner, tree.owners.shown(owner) if owner else 0, zxid, time_ms)
            changed = after_child_change(parent, text or b"/", cversion, zxid, 1)
            tree.install_create(path, new, text or b"/", changed, zxid)
            return True
        # new_node, after_child_change and install_create in one, with the parent changed where it is: see above.
        size = len(data)
        new = Node()
        new.data = data
        new.stat = _pack_new_stat(zxid, zxid, time_ms, time_ms, 0, size, zxid)
        new.acl = acl
        new.owner = 0
        new.cversion = 0
        new.children = None
        new.mark = 0
        added = new.digest = crc32(path + data + _pack_new_digest(zxid, zxid, zxid, time_ms, time_ms, 0))
        ids, times, rest, length, count = _unpack_parent(parent.stat)
        count += 1
        parent.stat = _pack_parent(ids, times, 2 * cversion - count, rest, length, count, zxid)
        parent.cversion = cversion
        before = parent.digest
        inputs = _pack_parent_digest(zxid, times, cversion, rest)
        after = parent.digest = crc32(text + (parent.data or b"") + ids + inputs)
        children = parent.children
        if children is None:
            children = parent.children = {}
        children[path[slash + 1 :]] = None
        nodes[path] = new
        tree.digest = tree.digest + added + after - before & MASK64
        tree.data_size += size + len(path)
        return True

    def learn(self, header: TxnHeader, body: TxnBody | None, digest: TxnDigest | None) -> None:
        """Remember the ACL list of a create that was taken apart."""
        if header.type in (Op.CREATE, Op.CREATE2) and isinstance(body, CreateTxn) and body.acl:
            acl = OPEN_ACL if body.acl == OPEN_ACL else body.acl
            self._acls[encode_acl(acl)] = acl
            self._digest_size = _DIGEST_SIZE if digest is not None else 0
