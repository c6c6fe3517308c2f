"""[hot] Bytes of a snapshot (``FileSnap``, ``SerializeUtils.serializeSnapshot``, ``DataTree.serialize``).

::

    file     = header body seal [digest seal] [lastZxid seal]
    header   = int "ZKSN", int version 2, long dbid -1
    body     = int count, {long session, int timeout}*, int count, {long key, vector<ACL>}*, node*, string "/"
    node     = string path, buffer data, long aclKey, long czxid, long mzxid, long ctime, long mtime,
               int version, int cversion, int aversion, long ephemeralOwner, long pzxid
    seal     = long adler32 of every byte of the file before it, string "/"
    digest   = long zxid, int version, long treeDigest   (versions below 2: string treeDigest, hex)
    lastZxid = long zxid

The root's path is empty, parents come before their children, and a body ends where a node would be called "/". A string
or buffer is an int length, -1 for null, and its bytes. Compression wraps the whole; sums are over the plain bytes.

Apache reads the optional sections by its own switches, so a file written under other switches may be misread. Here the
number of bytes behind the first seal says what is there; like Apache a section cut short by the end is taken as absent.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple, Protocol
from zlib import adler32

from zabra.errors import DataError, MarshallingError
from zabra.wire.primitives import Reader
from zabra.wire.records_data import Acl

MAGIC: Final = b"ZKSN"
HEADER: Final = MAGIC + (2).to_bytes(4, "big") + b"\xff" * 8
HEADER_SIZE: Final = 16
#: The string "/" that ends the nodes and every seal.
END_STRING: Final = b"\x00\x00\x00\x01/"
SEAL_SIZE: Final = 13
_DIGEST: Final = Struct(">qiQ")
_LAST_ZXID: Final = Struct(">q")
_SEAL: Final = Struct(">Q5s")
_INT: Final = Struct(">i")
_INT_LONG: Final = Struct(">iq")
_SESSION: Final = Struct(">qi")
_ACL_HEAD: Final = Struct(">qi")
#: ACL key and stat behind a node's data.
_NODE_TAIL: Final = 68
_DIGEST_VERSION_WITH_STRING: Final = 2
#: More bytes than this behind the first seal are no sections; they are not read.
_TRAILER_MAX: Final = 4096

_int_at = _INT.unpack_from
_long_at = Struct(">q").unpack_from


class TreeLoader(Protocol):
    """What a snapshot is loaded into."""

    def load_acl(self, key: int, acl: Acl) -> None:
        """One entry of the ACL table; all come before the nodes."""

    def load_node(self, path: bytes, data: bytes | None, acl_key: int, persisted: bytes, /) -> None:
        """One node, after its parent. May raise ValueError: the snapshot contradicts itself."""


class ZxidDigest(NamedTuple):
    """Digest of the tree as it was at ``zxid``."""

    zxid: int
    version: int
    digest: int


class Trailer(NamedTuple):
    """The optional sections; None where absent."""

    digest: ZxidDigest | None
    last_zxid: int | None


def seal(checksum: int) -> bytes:
    """The seal after bytes whose Adler-32 is ``checksum``."""
    return _SEAL.pack(checksum, END_STRING)


def digest_section(digest: ZxidDigest) -> bytes:
    """The digest section."""
    return _DIGEST.pack(*digest)


def last_zxid_section(zxid: int) -> bytes:
    """The last section."""
    return _LAST_ZXID.pack(zxid)


class SnapshotReader:
    """Loads one snapshot from plain chunks of any size.

    Raises :class:`DataError`, with file name and offset in the plain bytes, for all that is not a whole snapshot.
    """

    def __init__(self, name: str, next_chunk: Callable[[], bytes]) -> None:
        """``next_chunk()`` gives the next bytes, empty at the end; it may raise :class:`DataError` itself."""
        self._name = name
        self._next_chunk = next_chunk
        self._buffer = b""
        self._position = 0
        self._base = 0
        self._checksum = 1
        self._summed = 0  # position in the buffer up to which the checksum reaches

    @property
    def offset(self) -> int:
        """Plain bytes used so far."""
        return self._base + self._position

    def load(self, tree: TreeLoader, sessions: dict[int, int]) -> Trailer:
        """Fill ``tree`` and ``sessions`` (id -> timeout in ms); after an error both hold rubbish."""
        self._need(HEADER_SIZE)
        if self._buffer[:4] != MAGIC:
            raise self._error(f"not a snapshot (magic {self._buffer[:4]!r}, expected {MAGIC!r})")
        self._position = HEADER_SIZE
        self._load_sessions(sessions)
        self._load_acls(tree)
        self._load_nodes(tree)
        self._check_seal()
        return self._load_trailer()

    def _load_sessions(self, sessions: dict[int, int]) -> None:
        for _ in range(self._count("sessions")):
            self._need(12)
            id_, timeout = _SESSION.unpack_from(self._buffer, self._position)
            self._position += 12
            sessions[id_] = timeout

    def _load_acls(self, tree: TreeLoader) -> None:
        for _ in range(self._count("ACLs")):
            self._need(12)
            key, entries = _ACL_HEAD.unpack_from(self._buffer, self._position)
            self._position += 12
            if entries < 0:
                raise self._error("an ACL that is null")
            tree.load_acl(key, tuple([self._acl_entry() for _ in range(entries)]))

    def _acl_entry(self) -> tuple[int, str, str]:
        self._need(4)
        (perms,) = _int_at(self._buffer, self._position)
        self._position += 4
        return perms, self._text(), self._text()

    def _text(self) -> str:
        self._need(4)
        (length,) = _int_at(self._buffer, self._position)
        self._need(4 + max(length, 0))
        end = self._position + 4 + max(length, 0)
        try:
            text = Reader(self._buffer[self._position : end], limit=end).read_text()
        except MarshallingError as error:
            raise self._error(str(error)) from error
        if text is None:
            raise self._error("an ACL entry that is null")
        self._position = end
        return text

    def _count(self, of: str) -> int:
        self._need(4)
        count: int = _int_at(self._buffer, self._position)[0]
        if count < 0:
            raise self._error(f"{count} {of}")
        self._position += 4
        return count

    def _load_nodes(self, tree: TreeLoader) -> None:
        """The nodes and the end string. One node costs 0.5 us here besides what ``load_node`` does (150 bytes)."""
        int_at = _int_at
        long_at = _long_at
        load_node = tree.load_node
        buffer = self._buffer
        at = self._position
        limit = len(buffer)
        try:
            while True:
                # Lengths are looked at before they are known to be sound; what is not goes the slow way below.
                data_at = end = 0
                if at + 4 <= limit:
                    data_at = at + 8 + int_at(buffer, at)[0]
                    if at + 8 <= data_at <= limit:
                        length = int_at(buffer, data_at - 4)[0]
                        end = data_at + _NODE_TAIL + (length if length > 0 else 0)
                        if end <= limit and length >= -1:
                            path = buffer[at + 4 : data_at - 4]
                            tail = end - _NODE_TAIL
                            data = buffer[data_at:tail] if length >= 0 else None
                            if path == b"/":
                                self._position = at + 5
                                return
                            load_node(path, data, long_at(buffer, tail)[0], buffer[tail + 8 : end])
                            at = end
                            continue
                self._position = at
                if self._is_end():
                    return
                self._need_node()
                buffer = self._buffer
                at = self._position
                limit = len(buffer)
        except ValueError as error:
            self._position = at
            raise self._error(str(error)) from error

    def _is_end(self) -> bool:
        """Step over the end string if it is next."""
        self._need(5)
        if not self._buffer.startswith(END_STRING, self._position):
            return False
        self._position += 5
        return True

    def _need_node(self) -> None:
        """Bring one whole node into the buffer, or say why there is none."""
        self._need(4)
        (length,) = _int_at(self._buffer, self._position)
        if length < 0:
            raise self._error(f"a path of {length} bytes")
        self._need(8 + length)
        (data,) = _int_at(self._buffer, self._position + 4 + length)
        if data < -1:
            raise self._error(f"data of {data} bytes")
        self._need(8 + length + max(data, 0) + _NODE_TAIL)

    def _load_trailer(self) -> Trailer:
        while len(self._buffer) - self._position <= _TRAILER_MAX and self._more():
            pass
        digest = last_zxid = None
        if self._left() != _LAST_ZXID.size + SEAL_SIZE:
            digest = self._digest()
        if self._left() >= _LAST_ZXID.size:
            (last_zxid,) = _LAST_ZXID.unpack_from(self._buffer, self._position)
            self._position += _LAST_ZXID.size
            self._check_seal()
        return Trailer(digest, last_zxid)

    def _digest(self) -> ZxidDigest | None:
        if self._left() < _DIGEST.size:
            self._position = len(self._buffer)
            return None
        zxid, version, digest = _DIGEST.unpack_from(self._buffer, self._position)
        if version < _DIGEST_VERSION_WITH_STRING:
            # Of a version whose sums nobody compares any more; the bytes still have to be stepped over.
            length = max(digest >> 32, 0) if digest >> 63 == 0 else 0
            if self._left() < 16 + length:
                self._position = len(self._buffer)
                return None
            self._position += 16 + length
            digest = 0
        else:
            self._position += _DIGEST.size
        self._check_seal()
        return ZxidDigest(zxid, version, digest)

    def _left(self) -> int:
        return len(self._buffer) - self._position

    def _check_seal(self) -> None:
        expected = self._sum()
        self._need(SEAL_SIZE)
        checksum, end = _SEAL.unpack_from(self._buffer, self._position)
        if checksum != expected:
            raise self._error(f"checksum 0x{checksum:x} does not match the contents, 0x{expected:x}")
        if end != END_STRING:
            raise self._error("a seal without its end")
        self._position += SEAL_SIZE

    def _sum(self) -> int:
        """Adler-32 of everything used so far."""
        self._checksum = adler32(memoryview(self._buffer)[self._summed : self._position], self._checksum)
        self._summed = self._position
        return self._checksum

    def _need(self, size: int) -> None:
        """Make ``size`` bytes available behind the position, which may move within the buffer."""
        missing = size - self._left()
        if missing <= 0:
            return
        self._drop_used()
        parts = [self._buffer]
        while missing > 0:
            chunk = self._next_chunk()
            if not chunk:
                raise self._error(f"the file ends {missing} bytes too early")
            parts.append(chunk)
            missing -= len(chunk)
        self._buffer = b"".join(parts)

    def _more(self) -> bool:
        """One chunk more, if there is one."""
        chunk = self._next_chunk()
        self._drop_used()
        self._buffer += chunk
        return bool(chunk)

    def _drop_used(self) -> None:
        self._sum()
        self._base += self._position
        self._buffer = self._buffer[self._position :]
        self._position = self._summed = 0

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._name}: offset {self.offset}: {what}")
