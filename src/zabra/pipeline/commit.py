"""[hot] Commit: install what was planned, fire the watches, answer the client.

Called in zxid order, once the log says the write is durable (and, in an ensemble, a quorum does). The events of a write
leave before its reply: installing delivers them. Source: ``FinalRequestProcessor`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final, cast

from zabra.consts import Op
from zabra.pipeline.pending import Pending
from zabra.pipeline.request import Change, Family, Proposal, Requester, Write
from zabra.sessions.tracker import SessionTracker
from zabra.tree.node import OPEN_ACL, Node, after_child_change
from zabra.tree.tree import DIGEST_LOG_INTERVAL, MASK64, DataTree
from zabra.wire.multi import encode_error_result, encode_multi_end, encode_result

_pack_int: Final = Struct(">i").pack

#: The creates among the types of transactions.
CREATES: Final = frozenset({Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL})
_DELETES: Final = frozenset({Op.DELETE, Op.DELETE_CONTAINER})


class Commit:
    """Applies committed writes to the tree and the sessions."""

    def __init__(self, tree: DataTree, pending: Pending, sessions: SessionTracker) -> None:
        self.tree = tree
        self.pending = pending
        self.sessions = sessions
        #: Monotonic ms of the turn, for sessions that start now.
        self.now_ms = 0

    def batch(self, writes: Sequence[Proposal]) -> None:
        """Commit writes in zxid order.

        A frequent one that nobody watches is installed right here, as ``DataTree.install_set`` and ``install_create``
        do it. What those of a run add up to reaches the tree, and their client, in :meth:`_end_run`: nothing looks at
        the tree in between. (No frequent create has a parent below /zookeeper, whose data may change on its own.)
        """
        tree = self.tree
        nodes = tree.nodes
        watches = tree.watches.data
        watched = watches.by_path
        lists_watched = tree.watches.child.by_path
        changes = self.pending.changes
        quotas = tree.quotas
        plain = not (quotas.active or watches.recursive_count)
        dump = tree.dump
        # Of the run that is not ended: whom to answer and how, the last zxid, what was added to digest and data size;
        # the family of its creates and how many there were.
        conn: Requester | None = None
        replies: list[bytes] = []
        zxid = digest = size = grown = 0
        family: Family | None = None
        children: dict[bytes, None] = {}
        for write in writes:
            if conn is not None and (type(write) is not tuple or not write[5] or write[7] is not family):
                self._end_run(conn, replies, zxid, digest, size, family, grown)
                conn = None
                plain = not (quotas.active or watches.recursive_count)
                dump = tree.dump
            if type(write) is not tuple:
                self._other(cast(Write, write))
                plain = not (quotas.active or watches.recursive_count)
                dump = tree.dump
                continue
            if conn is None:
                replies = []
                digest = size = grown = 0
            zxid, node, path, conn, reply, _, difference, family = write
            if not plain or path in watched or (family is not None and family.path in lists_watched):
                if replies:
                    self._end_run(conn, replies, zxid - 1, digest, size, family, grown)
                    replies = []
                    digest = size = grown = 0
                if family is None:
                    tree.install_set(path, node, zxid)
                else:
                    tree.install_create(path, node, family.path, self._parent(zxid, family, 1), zxid)
            elif family is None:
                old = nodes[path]
                if dump is not None:
                    dump.before_change(path, old)
                    node.mark = tree.dump_number
                node.children = old.children
                node.acl = old.acl
                nodes[path] = node
                digest += difference
                data = old.data
                size += len(node.data or b"") - (len(data) if data else 0)
            else:
                if not grown:
                    old = nodes[family.path]
                    if dump is not None:
                        dump.before_change(family.path, old)
                    if old.children is None:
                        old.children = {}
                    children = old.children
                if dump is not None:
                    node.mark = tree.dump_number
                if node.acl is not OPEN_ACL:
                    node.acl = tree.acls.acquire(node.acl)
                if node.owner:
                    tree.own(path, node.owner)
                children[path[path.rfind(b"/") + 1 :]] = None
                nodes[path] = node
                grown += 1
                digest += difference
                size += len(node.data or b"") + len(path)
            if changes[path] is write:
                del changes[path]
            if not zxid % DIGEST_LOG_INTERVAL:
                tree.digest = tree.digest + digest & MASK64
                digest = 0
                tree.log_digest(zxid)
            replies.append(reply)
        if conn is not None:
            self._end_run(conn, replies, zxid, digest, size, family, grown)

    def _end_run(
        self,
        conn: Requester,
        replies: list[bytes],
        zxid: int,
        digest: int,
        size: int,
        family: Family | None,
        grown: int,
    ) -> None:
        """Show the tree and then the client what the writes of a run, up to ``zxid``, have done.

        ``digest`` and ``size`` are what they add, ``grown`` is the number of creates below the family's parent.
        """
        tree = self.tree
        tree.digest = tree.digest + digest & MASK64
        tree.data_size += size
        if grown:
            assert family is not None
            parent = self._parent(zxid, family, grown)
            old = tree.nodes[family.path]
            parent.children = old.children
            parent.acl = old.acl
            if tree.dump is not None:
                parent.mark = tree.dump_number
            tree.nodes[family.path] = parent
        tree.last_zxid = zxid
        conn.answer_writes(replies, zxid)

    def _parent(self, zxid: int, family: Family, grown: int) -> Node:
        """The parent after the create at ``zxid``, the last of ``grown`` that are not in the tree's parent yet."""
        path = family.path
        if zxid == family.last_zxid:
            if self.pending.changes[path][0] == zxid:
                del self.pending.changes[path]
            return family.parent
        old = self.tree.nodes[path]
        return after_child_change(old, path, old.cversion + grown, zxid, grown)

    def _other(self, write: Write) -> None:
        for change in write.changes:
            self._install(change, write.zxid)
        op = write.op
        if op == Op.CLOSE_SESSION and not write.err:
            self._close_session(write)
            return
        self.tree.applied(write.zxid)
        if op == Op.CREATE_SESSION and not write.err:
            self._create_session(write)
        elif write.conn is not None:
            write.conn.answer_write(write.xid, write.zxid, b"" if write.err else self._body(write), write.err)

    def _install(self, change: Change, zxid: int) -> None:
        tree = self.tree
        type_, path, node, parent_path, parent, _ = change
        if type_ in CREATES:
            assert node is not None
            assert parent is not None
            tree.install_create(path, node, parent_path, parent, zxid)
            self.pending.committed(zxid, parent_path)
        elif type_ in _DELETES:
            assert parent is not None
            tree.install_delete(path, parent_path, parent, zxid)
            self.pending.committed(zxid, parent_path)
        elif type_ == Op.SET_DATA:
            assert node is not None
            tree.install_set(path, node, zxid)
        elif type_ == Op.SET_ACL:
            assert node is not None
            tree.install_acl(path, node)
        else:
            return
        self.pending.committed(zxid, path)

    def _create_session(self, write: Write) -> None:
        session = write.session
        assert session is not None
        self.sessions.track(session.id, session.timeout_ms, self.now_ms)
        if write.conn is not None:
            write.conn.session_opened(session)

    def _close_session(self, write: Write) -> None:
        session = write.session
        assert session is not None
        # Ephemerals that no proposal listed would outlive their session: none should be left.
        self.tree.close_session(session.id, (), write.zxid)
        self.tree.applied(write.zxid)
        self.sessions.remove(session.id)
        if write.conn is not None:
            write.conn.session_closed(write)
        if session.owner is not None and session.owner is not write.conn:
            # Expired, or closed by somebody else: whoever uses it is cut without a word.
            cast(Requester, session.owner).close()

    def _body(self, write: Write) -> bytes:
        op = write.op
        if op == Op.MULTI:
            return self._multi_body(write)
        change = write.changes[0] if write.changes else None
        if change is None or op in _DELETES:
            return b""
        if op == Op.CREATE:
            return _pack_int(len(change.path)) + change.path
        assert change.node is not None
        if op in CREATES:
            return _pack_int(len(change.path)) + change.path + change.node.stat
        if op == Op.RECONFIG:
            text = change.node.data or b""
            return _pack_int(len(text)) + text + change.node.stat
        return change.node.stat

    def _multi_body(self, write: Write) -> bytes:
        parts: list[bytes] = []
        for change in write.changes:
            type_ = change.type
            if type_ == Op.ERROR:
                parts.append(encode_error_result(change.err))
                continue
            body = b""
            if type_ in CREATES:
                body = _pack_int(len(change.path)) + change.path
                if type_ != Op.CREATE:
                    assert change.node is not None
                    type_, body = Op.CREATE2, body + change.node.stat
            elif type_ == Op.SET_DATA:
                assert change.node is not None
                body = change.node.stat
            parts.append(encode_result(type_, body))
        parts.append(encode_multi_end())
        return b"".join(parts)
