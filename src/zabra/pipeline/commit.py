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
from zabra.pipeline.request import Change, Proposal, Requester, Write
from zabra.sessions.tracker import SessionTracker
from zabra.tree.node import OPEN_ACL
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
        do it: that spares a twentieth of a write. (No frequent create has a parent below /zookeeper, whose data may
        change on its own.)
        """
        tree = self.tree
        install_set = tree.install_set
        install_create = tree.install_create
        nodes = tree.nodes
        watches = tree.watches.data
        watched = watches.by_path
        lists_watched = tree.watches.child.by_path
        changes = self.pending.changes
        plain = tree.is_plain
        for write in writes:
            if type(write) is not tuple:
                self._other(cast(Write, write))
                plain = tree.is_plain
                continue
            op, conn, xid, zxid, path, node, parent_path, parent = write
            inline = plain and path not in watched and not watches.recursive_count
            if parent is None:
                if inline:
                    old = nodes[path]
                    node.children = old.children
                    node.acl = old.acl
                    nodes[path] = node
                    data = old.data
                    tree.digest = tree.digest + node.digest - old.digest & MASK64
                    tree.data_size += len(node.data or b"") - (len(data) if data else 0)
                else:
                    install_set(path, node, zxid)
                body = node.stat
            else:
                old = nodes[parent_path]
                if inline and parent_path not in lists_watched and node.acl is OPEN_ACL and not node.owner:
                    children = parent.children = old.children if old.children is not None else {}
                    children[path[path.rfind(b"/") + 1 :]] = None
                    parent.acl = old.acl
                    nodes[parent_path] = parent
                    nodes[path] = node
                    tree.digest = tree.digest + node.digest + parent.digest - old.digest & MASK64
                    tree.data_size += len(node.data or b"") + len(path)
                else:
                    install_create(path, node, parent_path, parent, zxid)
                if changes[parent_path][0] == zxid:
                    del changes[parent_path]
                body = _pack_int(len(path)) + path
                if op == 15:
                    body += node.stat
            if changes[path][0] == zxid:
                del changes[path]
            tree.last_zxid = zxid
            if not zxid % DIGEST_LOG_INTERVAL:
                tree.log_digest(zxid)
            conn.answer_write(xid, zxid, body, 0)

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
