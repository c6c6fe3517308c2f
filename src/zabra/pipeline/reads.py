"""Requests that change nothing in the tree: every read but the getData that the connection serves by itself.

Each function answers one opcode with the reply's body or raises RequestError; ``conn`` is the asking connection, which
is also the watcher that a watch flag registers. Source: ``FinalRequestProcessor`` (3.9.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, Protocol

from zabra.auth.access import mask_digests
from zabra.auth.rights import Rights
from zabra.consts import Op, Perm
from zabra.errors import Code, RequestError
from zabra.sessions.tracker import Session
from zabra.tree.node import Node
from zabra.tree.tree import DataTree
from zabra.tree.watches import ONE_SHOT, Rearm, set_watches
from zabra.wire.multi import decode_multi_read, encode_error_result, encode_multi_end, encode_result
from zabra.wire.primitives import Reader, pack_buffer, pack_path, pack_text
from zabra.wire.records_data import ClientInfo, Identity, encode_acl
from zabra.wire.records_proto import (
    AddWatchRequest,
    CheckWatchesRequest,
    ExistsRequest,
    GetAclRequest,
    GetAllChildrenNumberRequest,
    GetChildrenRequest,
    GetDataRequest,
    GetEphemeralsRequest,
    RemoveWatchesRequest,
    SetWatches,
    SetWatches2,
    WhoAmIResponse,
)

_pack_int: Final = Struct(">i").pack
#: What ``String.trim`` takes off: everything up to the blank.
_JAVA_BLANKS: Final = bytes(range(0x21))


class Watcher(Protocol):
    """The asking connection as reads see it."""

    session: Session | None

    def send_event(self, event_type: int, path: bytes, zxid: int) -> None:
        """Queue a watch event."""


def sync_body(reader: Reader) -> bytes:
    """The body of the reply to a sync: its path, as text of a ``SyncRequest``. Raises MarshallingError."""
    return pack_text(reader.read_text())


class Reads:
    """Answers reads from one tree."""

    def __init__(self, tree: DataTree, access: Rights, limit: int) -> None:
        self.tree = tree
        self.access = access
        self._limit = limit
        self._handlers: dict[int, Callable[[Watcher, Reader, Sequence[Identity]], bytes]] = {
            Op.EXISTS: self._exists,
            Op.GET_DATA: self._get_data,
            Op.GET_ACL: self._get_acl,
            Op.GET_CHILDREN: self._get_children,
            Op.GET_CHILDREN2: self._get_children2,
            Op.SYNC: self._sync,
            Op.CHECK_WATCHES: self._check_watches,
            Op.REMOVE_WATCHES: self._remove_watches,
            Op.MULTI_READ: self._multi_read,
            Op.SET_WATCHES: self._set_watches,
            Op.SET_WATCHES2: self._set_watches2,
            Op.ADD_WATCH: self._add_watch,
            Op.GET_EPHEMERALS: self._get_ephemerals,
            Op.GET_ALL_CHILDREN_NUMBER: self._get_all_children_number,
            Op.WHO_AM_I: self._who_am_i,
            Op.PING: lambda conn, reader, identities: b"",
        }

    def knows(self, op: int) -> bool:
        """Whether ``op`` is a read."""
        return op in self._handlers

    def serve(self, conn: Watcher, op: int, frame: bytes, identities: Sequence[Identity]) -> bytes:
        """The body of the reply. Raises RequestError, or MarshallingError when the record does not parse."""
        return self._handlers[op](conn, Reader(frame, 8, limit=self._limit), identities)

    def _readable(self, path: bytes | None, identities: Sequence[Identity], perm: int = Perm.READ) -> Node:
        if path is None:
            raise RequestError(Code.MARSHALLING_ERROR, "null path")
        node = self.tree.lookup(path)
        if node is None:
            raise RequestError(Code.NO_NODE)
        if not self.access.permits(node.acl, perm, identities, path):
            raise RequestError(Code.NO_AUTH)
        return node

    def _exists(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = ExistsRequest.decode(reader)
        path = request.path
        if path is None:
            raise RequestError(Code.MARSHALLING_ERROR, "null path")
        if b"\0" in path:
            raise RequestError(Code.BAD_ARGUMENTS)
        node = self.tree.lookup(path)
        if node is not None and not self.access.permits(node.acl, Perm.READ, identities, path):
            raise RequestError(Code.NO_AUTH)
        if request.watch:
            self.tree.watches.data.add(path, conn, ONE_SHOT)
        if node is None:
            raise RequestError(Code.NO_NODE)
        return node.stat

    def _get_data(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = GetDataRequest.decode(reader)
        return self._data_of(conn, request.path, request.watch, identities)

    def _data_of(self, conn: Watcher, path: bytes | None, watch: bool, identities: Sequence[Identity]) -> bytes:
        node = self._readable(path, identities)
        if watch and path is not None:
            self.tree.watches.data.add(path, conn, ONE_SHOT)
        return pack_buffer(node.data) + node.stat

    def _get_acl(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = GetAclRequest.decode(reader)
        node = self._readable(request.path, identities, Perm.READ | Perm.ADMIN)
        acl = node.acl
        if not self.access.permits(acl, Perm.ADMIN, identities, request.path or b""):
            acl = mask_digests(acl)
        return encode_acl(acl) + node.stat

    def _children_of(
        self, conn: Watcher, path: bytes | None, watch: bool, identities: Sequence[Identity]
    ) -> tuple[bytes, Node]:
        node = self._readable(path, identities)
        if watch and path is not None:
            self.tree.watches.child.add(path, conn, ONE_SHOT)
        children = node.children
        if not children:
            return b"\0\0\0\0", node
        parts = [_pack_int(len(children))]
        for name in children:
            parts += (_pack_int(len(name)), name)
        return b"".join(parts), node

    def _get_children(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = GetChildrenRequest.decode(reader)
        return self._children_of(conn, request.path, request.watch, identities)[0]

    def _get_children2(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = GetChildrenRequest.decode(reader)
        names, node = self._children_of(conn, request.path, request.watch, identities)
        return names + node.stat

    def _sync(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        return sync_body(reader)

    def _check_watches(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = CheckWatchesRequest.decode(reader)
        found = self.tree.watches.contains(request.path or b"", conn, request.type)
        if request.path is None or not found:
            raise RequestError(Code.NO_WATCHER)
        return b""

    def _remove_watches(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = RemoveWatchesRequest.decode(reader)
        if request.path is None:
            self.tree.watches.contains(b"", conn, request.type)  # refuses an unknown type
            raise RequestError(Code.NO_WATCHER)
        if not self.tree.watches.remove(request.path, conn, request.type):
            raise RequestError(Code.NO_WATCHER)
        return b""

    def _multi_read(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        parts: list[bytes] = []
        for op, record in decode_multi_read(reader):
            try:
                if isinstance(record, GetDataRequest):
                    body = self._data_of(conn, record.path, record.watch, identities)
                else:
                    body, _ = self._children_of(conn, record.path, record.watch, identities)
            except RequestError as error:
                if error.code == Code.MARSHALLING_ERROR:
                    raise
                parts.append(encode_error_result(error.code))
            else:
                parts.append(encode_result(op, body))
        parts.append(encode_multi_end())
        return b"".join(parts)

    def _zxids(self, path: bytes) -> tuple[int, int] | None:
        node = self.tree.lookup(path)
        return None if node is None else (node.mzxid, node.pzxid)

    def _rearm(self, conn: Watcher, relative_zxid: int, lists: Rearm) -> bytes:
        for event_type, path in set_watches(self.tree.watches, conn, relative_zxid, lists, self._zxids):
            conn.send_event(event_type, path, -1)
        return b""

    def _set_watches(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = SetWatches.decode(reader)
        lists = Rearm(request.data_watches, request.exist_watches, request.child_watches)
        return self._rearm(conn, request.relative_zxid, lists)

    def _set_watches2(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = SetWatches2.decode(reader)
        return self._rearm(conn, request.relative_zxid, Rearm(*request[1:]))

    def _add_watch(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        request = AddWatchRequest.decode(reader)
        if request.path is None:
            raise RequestError(Code.MARSHALLING_ERROR, "null path")
        self.tree.watches.add_persistent(request.path, conn, request.mode)
        return b"\0\0\0\0"

    def _get_ephemerals(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        prefix = GetEphemeralsRequest.decode(reader).prefix_path
        assert conn.session is not None
        own = self.tree.ephemerals.get(conn.session.id, {})
        everything = prefix is None or prefix.strip(_JAVA_BLANKS) in (b"", b"/")
        paths = [path for path in own if everything or path.startswith(prefix or b"")]
        return _pack_int(len(paths)) + b"".join(map(pack_path, paths))

    def _get_all_children_number(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        path = GetAllChildrenNumberRequest.decode(reader).path
        self._readable(path, identities)
        assert path is not None
        return _pack_int(self.tree.descendant_count(path))

    def _who_am_i(self, conn: Watcher, reader: Reader, identities: Sequence[Identity]) -> bytes:
        infos = tuple(ClientInfo(scheme, user) for scheme, user in self.access.users(identities))
        return WhoAmIResponse(infos).encode()
