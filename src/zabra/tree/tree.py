"""[hot] The tree: every znode by its path, and how a transaction changes it.

Two steps make a change. *Planning* computes the nodes as they will be (:mod:`zabra.tree.node`), from what a view shows:
the tree itself during replay and on learners, the tree plus pending writes while a request is validated. *Installing*
puts planned nodes into the tree and keeps everything beside it in step: children, ephemerals per session, container
and TTL lists, ACL counts, digest, data size, quotas, a running dump; then it fires the watches. A request that was
planned at validation is installed at commit without planning again; ``apply`` does both for a decoded transaction.

Source of the behaviour: ``DataTree`` and ``NodeHashMapImpl`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from zabra.consts import CONTAINER_OWNER, EventType, Op
from zabra.errors import Code
from zabra.tree.acl_table import AclTable
from zabra.tree.node import (
    DIGEST_VERSION,
    OPEN_ACL,
    PERSISTED,
    READ_ACL,
    STAT,
    Node,
    after_child_change,
    after_set_acl,
    after_set_data,
    digest_of,
    digest_of_persisted,
    make_node,
    new_node,
    wrap32,
)
from zabra.tree.owner import OwnerKind, OwnerRules, ttl_owner
from zabra.tree.quota import Quotas
from zabra.tree.watches import Watches
from zabra.wire.records_data import Acl
from zabra.wire.records_txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
)
from zabra.wire.txns import TxnBody, TxnHeader, decode_sub_txn

if TYPE_CHECKING:
    from zabra.tree.dump import Dumps

MASK64: Final = (1 << 64) - 1
#: One point of the digest history for so many zxids, and how many are kept (``DataTree.DIGEST_LOG_INTERVAL``,
#: ``_LIMIT``).
DIGEST_LOG_INTERVAL: Final = 128
DIGEST_LOG_LIMIT: Final = 1024

_ZERO4: Final = bytes(4)
_ZERO8: Final = bytes(8)
_pack_two: Final = Struct(">ii").pack

_CHILD_EVENT: Final = EventType.CHILDREN_CHANGED


class Applied(NamedTuple):
    """What applying one transaction did: the result a client may be told."""

    err: int
    type: int
    path: bytes | None = None
    #: The packed client stat, where the reply has one.
    stat: bytes | None = None
    parts: tuple[Applied, ...] = ()


#: Called with watchers, event type, path, zxid and the ACL that decides who may know.
Deliver = Callable[[Iterable[object], int, bytes, int, Acl], None]


def _nobody(watchers: Iterable[object], event_type: int, path: bytes, zxid: int, acl: Acl) -> None:
    """No connections yet: a tree that is only replayed has no watchers."""


class DataTree:
    """The znodes of one server and what hangs on them."""

    def __init__(self, owners: OwnerRules | None = None, *, digest_enabled: bool = True) -> None:
        self.owners = owners or OwnerRules()
        self.digest_enabled = digest_enabled
        self.watches = Watches()
        self.deliver: Deliver = _nobody
        self.digest_mismatches = 0
        #: The mark of a node that all running dumps know; the dumps, or None.
        self.dump_number = 0
        self.dump: Dumps | None = None
        self._reset()
        self._plant()

    def _reset(self) -> None:
        self.nodes: dict[bytes, Node] = {}
        #: session id -> paths of its ephemerals, in order of creation.
        self.ephemerals: dict[int, dict[bytes, None]] = {}
        self.containers: dict[bytes, None] = {}
        self.ttls: dict[bytes, None] = {}
        self.acls = AclTable()
        self.quotas = Quotas()
        #: Sum of the nodes' digests modulo 2^64.
        self.digest = 0
        self.last_zxid = 0
        #: Characters of paths plus bytes of data (``approximate_data_size``).
        self.data_size = 0
        #: (zxid, digest) for zxids divisible by 128, oldest first.
        self.digest_log: dict[int, int] = {}

    def _plant(self) -> None:
        """The nodes every fresh tree has; all their stats are zero."""
        blank = STAT.pack(*[0] * 11)
        for path, names, acl in (
            (b"/", (b"zookeeper",), OPEN_ACL),
            (b"/zookeeper", (b"quota", b"config"), OPEN_ACL),
            (b"/zookeeper/quota", (), OPEN_ACL),
            (b"/zookeeper/config", (), READ_ACL),
        ):
            node = make_node(b"", blank, self.acls.acquire(acl), 0, 0, 0)
            for _ in names:
                node = after_child_change(node, path, 0, 0, 1)
            node.children = dict.fromkeys(names) if names else None
            # READ_ACL is set through setACL in Apache, with aversion -1.
            if acl is READ_ACL:
                node.stat = node.stat[:40] + (-1).to_bytes(4, "big", signed=True) + node.stat[44:]
            self._add_loaded(path, node)

    # -- lookups

    def lookup(self, path: bytes | None) -> Node | None:
        """The node at ``path``; the empty path names the root as in Apache."""
        if path:
            return self.nodes.get(path)
        return self.nodes[b"/"] if path is not None else None

    @property
    def node_count(self) -> int:
        """Entries of Apache's node table, which holds the root twice."""
        return len(self.nodes) + 1

    @property
    def ephemeral_count(self) -> int:
        """Ephemeral znodes."""
        return sum(map(len, self.ephemerals.values()))

    def descendant_count(self, path: bytes) -> int:
        """Nodes below ``path`` (``getAllChildrenNumber``). Asked of the root's other name, stock counts "/" too."""
        if path in {b"", b"/"}:
            return self.node_count - 2 + (not path)
        total = 0
        stack = [path]
        nodes = self.nodes
        while stack:
            base = stack.pop()
            children = nodes[base].children
            if children:
                total += len(children)
                prefix = base + b"/"
                stack.extend(child for name in children if nodes[child := prefix + name].children)
        return total

    # -- installing

    def install_set(self, path: bytes, new: Node, zxid: int) -> None:
        """Put the outcome of a setData in place and tell its watchers."""
        nodes = self.nodes
        old = nodes[path]
        if self.dump is not None:
            self.dump.before_change(path, old)
            new.mark = self.dump_number
        new.children = old.children
        new.acl = old.acl
        nodes[path] = new
        self.digest = (self.digest + new.digest - old.digest) & MASK64
        data = new.data
        before = old.data
        difference = (len(data) if data else 0) - (len(before) if before else 0)
        self.data_size += difference
        if self.quotas.active:
            self.quotas.on_set(self, path, difference)
        table = self.watches.data
        if path in table.by_path or table.recursive_count:
            self._fire_data(EventType.DATA_CHANGED, path, zxid, old.acl)

    def install_acl(self, path: bytes, new: Node) -> None:
        """Put the outcome of a setACL in place; no watch tells of it."""
        old = self.nodes[path]
        if self.dump is not None:
            self.dump.before_change(path, old)
            new.mark = self.dump_number
        if new.data is not old.data:
            _carry_data(new, old)
        new.acl = self.acls.acquire(new.acl)
        self.acls.release(old.acl)
        new.children = old.children
        self.nodes[path] = new
        self.digest = (self.digest + new.digest - old.digest) & MASK64

    def install_create(self, path: bytes, new: Node, parent_path: bytes, parent: Node, zxid: int) -> None:
        """Add a node with its changed parent and tell the watchers of both."""
        nodes = self.nodes
        old_parent = nodes[parent_path]
        if self.dump is not None:
            self.dump.before_change(parent_path, old_parent)
            parent.mark = new.mark = self.dump_number
        children = old_parent.children
        parent.acl = old_parent.acl
        if parent.data is not old_parent.data:
            _carry_data(parent, old_parent)
        name = path[path.rfind(b"/") + 1 :]
        if children is None:
            parent.children = {name: None}
        else:
            parent.children = children
            children[name] = None
        nodes[parent_path] = parent
        nodes[path] = new
        acl = new.acl
        if acl is not OPEN_ACL:
            acl = new.acl = self.acls.acquire(acl)
        owner = new.owner
        if owner:
            self.own(path, owner)
        self.digest = (self.digest + new.digest + parent.digest - old_parent.digest) & MASK64
        data = new.data
        length = len(data) if data else 0
        self.data_size += length + len(path)
        if self.quotas.active or parent_path.startswith(b"/zookeeper"):
            self.quotas.on_create(self, path, length)
        table = self.watches.data
        if path in table.by_path or table.recursive_count:
            self._fire_data(EventType.CREATED, path, zxid, acl)
        if parent_path in self.watches.child.by_path:
            self._fire_child(parent_path, zxid, old_parent.acl)

    def install_delete(self, path: bytes, parent_path: bytes, parent: Node, zxid: int) -> None:
        """Remove a node, with its changed parent, and tell the watchers of both."""
        nodes = self.nodes
        old_parent = nodes[parent_path]
        old = nodes[path]
        if self.dump is not None:
            self.dump.before_change(parent_path, old_parent)
            self.dump.before_change(path, old)
            parent.mark = self.dump_number
        children = parent.children = old_parent.children
        parent.acl = old_parent.acl
        if parent.data is not old_parent.data:
            _carry_data(parent, old_parent)
        assert children is not None
        del children[path[path.rfind(b"/") + 1 :]]
        nodes[parent_path] = parent
        del nodes[path]
        owner = old.owner
        if owner:
            self._disown(path, owner)
        self.acls.release(old.acl)
        self.digest = (self.digest - old.digest + parent.digest - old_parent.digest) & MASK64
        data = old.data
        length = len(data) if data else 0
        self.data_size -= length + len(path)
        if self.quotas.active:
            self.quotas.on_delete(self, path, length)
        data_table = self.watches.data
        child_table = self.watches.child
        if path in data_table.by_path or data_table.recursive_count or path in child_table.by_path:
            told = data_table.trigger(EventType.DELETED, path)
            if told:
                self.deliver(told, EventType.DELETED, path, zxid, old.acl)
            rest = child_table.trigger(EventType.DELETED, path, told)
            if rest:
                self.deliver(rest, EventType.DELETED, path, zxid, old.acl)
        if parent_path in child_table.by_path:
            self._fire_child(parent_path, zxid, old_parent.acl)

    def _fire_data(self, event_type: int, path: bytes, zxid: int, acl: Acl) -> None:
        watchers = self.watches.data.trigger(event_type, path)
        if watchers:
            self.deliver(watchers, event_type, path, zxid, acl)

    def _fire_child(self, path: bytes, zxid: int, acl: Acl) -> None:
        watchers = self.watches.child.trigger(_CHILD_EVENT, path)
        if watchers:
            self.deliver(watchers, _CHILD_EVENT, path, zxid, acl)

    def own(self, path: bytes, owner: int) -> None:
        """Note a new node that has an owner."""
        kind = self.owners.kind(owner)
        if kind is OwnerKind.SESSION:
            self.ephemerals.setdefault(owner, {})[path] = None
        elif kind is OwnerKind.CONTAINER:
            self.containers[path] = None
        else:
            self.ttls[path] = None

    def _disown(self, path: bytes, owner: int) -> None:
        self.containers.pop(path, None)
        self.ttls.pop(path, None)
        own = self.ephemerals.get(owner)
        if own is not None:
            own.pop(path, None)
            if not own:
                del self.ephemerals[owner]

    def applied(self, zxid: int) -> None:
        """Record that everything up to ``zxid`` is in the tree; call once per transaction, after its last part.

        The zxid moves only with a whole multi (ZOOKEEPER-3127).
        """
        self.last_zxid = zxid
        if not zxid % DIGEST_LOG_INTERVAL:
            self.log_digest(zxid)

    def log_digest(self, zxid: int) -> None:
        """Add a point to the digest history; as in stock it is 0 when digests are switched off."""
        self.digest_log[zxid] = self.digest if self.digest_enabled else 0
        if len(self.digest_log) > DIGEST_LOG_LIMIT:
            del self.digest_log[next(iter(self.digest_log))]

    # -- applying decoded transactions

    def apply(self, header: TxnHeader, body: TxnBody | None) -> Applied:
        """Apply a logged or committed transaction. Deterministic; nothing is checked again, nothing is refused.

        Idempotent where replay onto a fuzzy snapshot needs it: a create of an existing node repairs its ACL and the
        parent's counters, a delete of a missing one still raises the parent's pzxid, a missing parent is an error
        result and changes nothing.
        """
        result = self._apply(header, body)
        if header.zxid > self.last_zxid:
            self.applied(header.zxid)
        return result

    def _apply(self, header: TxnHeader, body: TxnBody | None) -> Applied:
        type_ = header.type
        if type_ in (Op.SET_DATA, Op.RECONFIG):
            return self._apply_set(header, cast(SetDataTxn, body))
        if type_ in (Op.CREATE, Op.CREATE2):
            create = cast(CreateTxn, body)
            owner = header.session_id if create.ephemeral else 0
            return self._apply_create(header, create.path, create.data, create.acl, owner, create.parent_cversion)
        if type_ == Op.CREATE_CONTAINER:
            box = cast(CreateContainerTxn, body)
            return self._apply_create(header, box.path, box.data, box.acl, CONTAINER_OWNER, box.parent_cversion)
        if type_ == Op.CREATE_TTL:
            ttl = cast(CreateTtlTxn, body)
            return self._apply_create(header, ttl.path, ttl.data, ttl.acl, ttl_owner(ttl.ttl), ttl.parent_cversion)
        if type_ in (Op.DELETE, Op.DELETE_CONTAINER):
            return self._apply_delete(header, cast(DeleteTxn, body).path)
        if type_ == Op.SET_ACL:
            return self._apply_acl(header, cast(SetAclTxn, body))
        if type_ == Op.MULTI:
            return self._apply_multi(header, cast(MultiTxn, body))
        if type_ == Op.CLOSE_SESSION:
            self._apply_close(header, cast("CloseSessionTxn | None", body))
            return Applied(0, type_)
        if type_ == Op.ERROR:
            return Applied(cast(ErrorTxn, body).err, type_)
        if type_ == Op.CHECK:
            return Applied(0, type_, cast(CheckVersionTxn, body).path)
        return Applied(0, type_)

    def _apply_set(self, header: TxnHeader, txn: SetDataTxn) -> Applied:
        path = txn.path
        node = self.lookup(path)
        if node is None or path is None:
            return Applied(Code.NO_NODE, header.type, path)
        new = after_set_data(node, path, txn.data, txn.version, header.zxid, header.time_ms)
        self.install_set(path, new, header.zxid)
        return Applied(0, header.type, path, new.stat)

    def _apply_acl(self, header: TxnHeader, txn: SetAclTxn) -> Applied:
        path = txn.path
        node = self.lookup(path)
        if node is None or path is None:
            return Applied(Code.NO_NODE, header.type, path)
        new = after_set_acl(node, path, txn.acl if txn.acl is not None else OPEN_ACL, txn.version)
        self.install_acl(path, new)
        return Applied(0, header.type, path, new.stat)

    def _apply_create(
        self,
        header: TxnHeader,
        path: bytes | None,
        data: bytes | None,
        acl: Acl | None,
        owner: int,
        parent_cversion: int,
    ) -> Applied:
        assert path is not None
        type_ = header.type
        parent_path = path[: path.rfind(b"/")] or b"/"
        parent = self.nodes.get(parent_path)
        if parent is None:
            return Applied(Code.NO_NODE, type_, path)
        acl = OPEN_ACL if acl is None or acl == OPEN_ACL else acl
        if parent_cversion == -1:
            parent_cversion = wrap32(parent.cversion + 1)
        zxid = header.zxid
        existing = self.nodes.get(path)
        if existing is not None:
            repaired = after_set_acl(existing, path, acl, existing.aversion)
            self.install_acl(path, repaired)
            # Apache repairs the parent for opcode 1 only, and hands out used sequence numbers after the others.
            self._repair_parent(parent_path, parent_cversion, zxid)
            return Applied(Code.NODE_EXISTS, type_, path)
        new = new_node(path, data, acl, owner, self.owners.shown(owner), zxid, header.time_ms)
        self.install_create(
            path, new, parent_path, after_child_change(parent, parent_path, parent_cversion, zxid, 1), zxid
        )
        return Applied(0, type_, path, new.stat)

    def _repair_parent(self, path: bytes, cversion: int, zxid: int) -> None:
        old = self.nodes[path]
        if cversion > old.cversion:
            self._replace_quietly(path, old, after_child_change(old, path, cversion, zxid, 0))

    def _replace_quietly(self, path: bytes, old: Node, new: Node) -> None:
        if self.dump is not None:
            self.dump.before_change(path, old)
            new.mark = self.dump_number
        new.children = old.children
        new.acl = old.acl
        self.nodes[path] = new
        self.digest = (self.digest + new.digest - old.digest) & MASK64

    def _apply_delete(self, header: TxnHeader, path: bytes | None) -> Applied:
        assert path is not None
        err = self._delete(path, header.zxid)
        return Applied(err, header.type, path)

    def _delete(self, path: bytes, zxid: int) -> int:
        parent_path = path[: path.rfind(b"/")] or b"/"
        parent = self.nodes.get(parent_path)
        if parent is None:
            return Code.NO_NODE
        if path not in self.nodes:
            if zxid > parent.pzxid:
                fields = list(STAT.unpack(parent.stat))
                fields[10] = zxid
                new = make_node(parent.data, STAT.pack(*fields), parent.acl, parent.owner, parent.cversion, 0)
                new.digest = digest_of(parent_path, new)
                self._replace_quietly(parent_path, parent, new)
            return Code.NO_NODE
        children = self.nodes[path].children
        if children:
            # Replay of a fuzzy snapshot: they are of a later node of this name, and will be made again with it.
            for name in list(children):
                self._delete(path + b"/" + name, zxid)
        self.install_delete(path, parent_path, after_child_change(parent, parent_path, 0, zxid, -1), zxid)
        return 0

    def _apply_close(self, header: TxnHeader, txn: CloseSessionTxn | None) -> None:
        paths = txn.paths if txn is not None and txn.paths is not None else ()
        self.close_session(header.session_id, paths, header.zxid)

    def close_session(self, session_id: int, paths: Iterable[bytes | None], zxid: int) -> None:
        """Remove the listed ephemerals, then any that the session still owns here (``DataTree.killSession``)."""
        for path in paths:
            if path is not None:
                self._delete(path, zxid)
        for path in list(self.ephemerals.get(session_id, ())):
            self._delete(path, zxid)

    def _apply_multi(self, header: TxnHeader, txn: MultiTxn) -> Applied:
        subs = txn.txns or ()
        failed = any(sub.type == Op.ERROR for sub in subs)
        parts: list[Applied] = []
        past_error = False
        for sub in subs:
            if sub.type == Op.ERROR:
                past_error = True
            elif failed:
                parts.append(Applied(Code.RUNTIME_INCONSISTENCY if past_error else 0, Op.ERROR))
                continue
            body = decode_sub_txn(sub)
            parts.append(self._apply(header._replace(type=sub.type), body))
        err = next((part.err for part in parts if part.err), 0)
        return Applied(err, Op.MULTI, None, None, tuple(parts))

    # -- loading a snapshot

    def clear(self) -> None:
        """Empty the tree for a snapshot to be loaded; watches stay."""
        assert self.dump is None
        self._reset()

    def load_acl(self, key: int, acl: Acl) -> None:
        """Take one entry of the snapshot's ACL table."""
        self.acls.load(key, acl)

    def load_node(self, path: bytes, data: bytes | None, acl_key: int, persisted: bytes) -> None:
        """Add a node of a snapshot; parents come first, the root is the empty path.

        Raises ValueError when the parent or the ACL is missing, or the node is there already.
        """
        size = len(data) if data else 0
        owner = cversion = 0
        if persisted[36:40] == _ZERO4 and persisted[44:52] == _ZERO8:
            # Never had a child, nobody's ephemeral: the client's stat has the same fields in the same places.
            stat = persisted[:52] + _pack_two(size, 0) + persisted[52:]
        else:
            czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = PERSISTED.unpack(persisted)
            shown = owner if owner >= 0 else self.owners.shown(owner)
            visible = wrap32(2 * cversion)
            stat = STAT.pack(czxid, mzxid, ctime, mtime, version, visible, aversion, shown, size, 0, pzxid)
        acl = self.acls.loaded(acl_key)
        if acl is None:
            raise ValueError(f"node {path!r} names ACL {acl_key}, which the table lacks")
        if acl is not OPEN_ACL:
            acl = self.acls.acquire(acl)
        node = make_node(data, stat, acl, owner, cversion, digest_of_persisted(path, data, persisted))
        nodes = self.nodes
        if not path:
            path = b"/"
        else:
            slash = path.rfind(b"/")
            name = path[slash + 1 :]
            parent = nodes.get(path[:slash] or b"/")
            if parent is None or slash < 0 or not name:
                raise ValueError(f"node {path!r} has no parent")
            if parent.children is None:
                parent.children = {}
            parent.children[name] = None
            if owner:
                self.own(path, owner)
        if nodes.setdefault(path, node) is not node:
            raise ValueError(f"node {path!r} is there already")
        self.data_size += len(path) + size

    def loaded(self) -> None:
        """Finish loading: child counts, digest, quotas, unused ACLs."""
        total = 0
        for node in self.nodes.values():
            children = node.children
            if children:
                count = len(children)
                fields = list(STAT.unpack(node.stat))
                fields[5] = wrap32(2 * node.cversion - count)
                fields[9] = count
                node.stat = STAT.pack(*fields)
            total += node.digest
        self.digest = total & MASK64
        self.acls.finish_loading()
        self.quotas.rebuild(self)

    def _add_loaded(self, path: bytes, node: Node) -> None:
        node.digest = digest_of(path, node)
        self.nodes[path] = node
        self.digest = (self.digest + node.digest) & MASK64
        self.data_size += len(path)

    def replace_data(self, path: bytes, data: bytes) -> None:
        """Put data in place without a transaction: quota statistics, which every server keeps by itself."""
        old = self.nodes[path]
        fields = list(STAT.unpack(old.stat))
        fields[8] = len(data)
        new = make_node(data, STAT.pack(*fields), old.acl, old.owner, old.cversion, old.digest)
        self.data_size += len(data) - (len(old.data) if old.data else 0)
        self._replace_quietly(path, old, new)

    def digest_matches(self, version: int, digest: int) -> bool:
        """Compare with the digest a transaction carries; a mismatch is counted, never fatal."""
        if not self.digest_enabled or version != DIGEST_VERSION or digest & MASK64 == self.digest:
            return True
        self.digest_mismatches += 1
        return False


def _carry_data(planned: Node, installed: Node) -> None:
    """Give a node planned earlier the data that :meth:`DataTree.replace_data` put in place since."""
    planned.data = installed.data
    planned.stat = planned.stat[:52] + installed.stat[52:56] + planned.stat[56:]
