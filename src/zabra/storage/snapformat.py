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

from collections.abc import Callable, Generator, Iterator
from struct import Struct
from typing import Final, NamedTuple, Protocol
from zlib import adler32

from zabra.errors import DataError, MarshallingError
from zabra.wire.primitives import Reader
from zabra.wire.records_data import Acl, AclEntry

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
#: An entry with empty texts.
_ACL_ENTRY_MIN: Final = 12
#: ACL key and stat behind a node's data.
_NODE_TAIL: Final = 68
_DIGEST_VERSION_WITH_STRING: Final = 2
_INT_MAX: Final = (1 << 31) - 1
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


class BodyParser:
    """Puts the body of a snapshot, as it comes, into a tree and a map of session id -> timeout in ms.

    Iterate :meth:`body`: each number it gives is how many bytes are missing, at the least, behind those in ``buffer``;
    append to that and go on. What lies before ``position`` is used up and may be cut off. Raises ValueError for all
    that is no body; tree and sessions hold rubbish then.
    """

    def __init__(self, tree: TreeLoader, sessions: dict[int, int], limit: int | None = None) -> None:
        """``limit``: the longest path, data or text accepted."""
        self.buffer = b""
        self.position = 0
        self._tree = tree
        self._sessions = sessions
        self._limit = limit if limit is not None else _INT_MAX

    def body(self) -> Iterator[int]:
        """Take the body: session count to end string."""
        yield from self._load_sessions()
        yield from self._load_acls()
        yield from self._load_nodes()

    def need(self, size: int) -> Iterator[int]:
        """Wait until ``size`` bytes are there behind the position, which may move within the buffer."""
        while (missing := size - (len(self.buffer) - self.position)) > 0:
            yield missing

    def _load_sessions(self) -> Iterator[int]:
        count = yield from self._count("sessions")
        sessions = self._sessions
        for _ in range(count):
            if len(self.buffer) - self.position < _SESSION.size:
                yield from self.need(_SESSION.size)
            id_, timeout = _SESSION.unpack_from(self.buffer, self.position)
            self.position += _SESSION.size
            sessions[id_] = timeout

    def _load_acls(self) -> Iterator[int]:
        count = yield from self._count("ACLs")
        for _ in range(count):
            yield from self.need(_ACL_HEAD.size)
            key, entries = _ACL_HEAD.unpack_from(self.buffer, self.position)
            self.position += _ACL_HEAD.size
            if entries < 0:
                raise ValueError("an ACL that is null")
            self._check_length(entries * _ACL_ENTRY_MIN)
            acl: list[AclEntry] = []
            for _ in range(entries):
                acl += ((yield from self._acl_entry()),)
            self._tree.load_acl(key, tuple(acl))

    def _acl_entry(self) -> Generator[int, None, AclEntry]:
        yield from self.need(4)
        (perms,) = _int_at(self.buffer, self.position)
        self.position += 4
        scheme = yield from self._text()
        id_ = yield from self._text()
        return perms, scheme, id_

    def _text(self) -> Generator[int, None, str]:
        yield from self.need(4)
        (length,) = _int_at(self.buffer, self.position)
        self._check_length(length)
        yield from self.need(4 + max(length, 0))
        end = self.position + 4 + max(length, 0)
        try:
            text = Reader(self.buffer[self.position : end], limit=end).read_text()
        except MarshallingError as error:
            raise ValueError(str(error)) from error
        if text is None:
            raise ValueError("an ACL entry that is null")
        self.position = end
        return text

    def _count(self, of: str) -> Generator[int, None, int]:
        yield from self.need(4)
        count: int = _int_at(self.buffer, self.position)[0]
        if count < 0:
            raise ValueError(f"{count} {of}")
        self.position += 4
        return count

    def _load_nodes(self) -> Iterator[int]:
        """The nodes and the end string. One node costs 0.5 us here besides what ``load_node`` does (150 bytes)."""
        int_at = _int_at
        long_at = _long_at
        load_node = self._tree.load_node
        limit = self._limit
        while True:
            buffer = self.buffer
            at = self.position
            size = len(buffer)
            try:
                while True:
                    # Lengths are looked at before they are known to be sound; what is not goes the slow way below.
                    if at + 4 > size:
                        break
                    data_at = at + 8 + int_at(buffer, at)[0]
                    if not at + 8 <= data_at <= size:
                        break
                    length = int_at(buffer, data_at - 4)[0]
                    end = data_at + _NODE_TAIL + (length if length > 0 else 0)
                    if end > size or length < -1 or length > limit or data_at - at - 8 > limit:
                        break
                    path = buffer[at + 4 : data_at - 4]
                    tail = end - _NODE_TAIL
                    data = buffer[data_at:tail] if length >= 0 else None
                    if path == b"/":
                        at += 5
                        return
                    load_node(path, data, long_at(buffer, tail)[0], buffer[tail + 8 : end])
                    at = end
            finally:
                # Of the node that is not whole, or that cannot be taken.
                self.position = at
            if (yield from self._is_end()):
                return
            yield from self._need_node()

    def _is_end(self) -> Generator[int, None, bool]:
        """Step over the end string if it is next."""
        yield from self.need(5)
        if not self.buffer.startswith(END_STRING, self.position):
            return False
        self.position += 5
        return True

    def _need_node(self) -> Iterator[int]:
        """Wait for one whole node, or say why there is none."""
        (length,) = _int_at(self.buffer, self.position)
        if length < 0:
            raise ValueError(f"a path of {length} bytes")
        self._check_length(length)
        yield from self.need(8 + length)
        (data,) = _int_at(self.buffer, self.position + 4 + length)
        if data < -1:
            raise ValueError(f"data of {data} bytes")
        self._check_length(data)
        yield from self.need(8 + length + max(data, 0) + _NODE_TAIL)

    def _check_length(self, length: int) -> None:
        if length > self._limit:
            raise ValueError(f"a length of {length} bytes, more than the {self._limit} of jute.maxbuffer and its extra")


class SnapshotReader(BodyParser):
    """Loads one snapshot from plain chunks of any size.

    Raises :class:`DataError`, with file name and offset in the plain bytes, for all that is not a whole snapshot.
    """

    def __init__(self, name: str, next_chunk: Callable[[], bytes], tree: TreeLoader, sessions: dict[int, int]) -> None:
        """``next_chunk()`` gives the next bytes, empty at the end; it may raise :class:`DataError` itself."""
        super().__init__(tree, sessions)
        self._name = name
        self._next_chunk = next_chunk
        self._base = 0
        self._checksum = 1
        self._summed = 0  # position in the buffer up to which the checksum reaches

    @property
    def offset(self) -> int:
        """Plain bytes used so far."""
        return self._base + self.position

    def load(self) -> Trailer:
        """Fill tree and sessions (id -> timeout in ms); after an error both hold rubbish."""
        self._fetch(HEADER_SIZE)
        if self.buffer[:4] != MAGIC:
            raise self._error(f"not a snapshot (magic {self.buffer[:4]!r}, expected {MAGIC!r})")
        self.position = HEADER_SIZE
        try:
            for missing in self.body():
                self._fetch(missing)
        except ValueError as error:
            raise self._error(str(error)) from error
        self._check_seal()
        return self._load_trailer()

    def _load_trailer(self) -> Trailer:
        while len(self.buffer) - self.position <= _TRAILER_MAX and self._more():
            pass
        digest = last_zxid = None
        if self._left() != _LAST_ZXID.size + SEAL_SIZE:
            digest = self._digest()
        if self._left() >= _LAST_ZXID.size:
            (last_zxid,) = _LAST_ZXID.unpack_from(self.buffer, self.position)
            self.position += _LAST_ZXID.size
            self._check_seal()
        return Trailer(digest, last_zxid)

    def _digest(self) -> ZxidDigest | None:
        if self._left() < _DIGEST.size:
            self.position = len(self.buffer)
            return None
        zxid, version, digest = _DIGEST.unpack_from(self.buffer, self.position)
        if version < _DIGEST_VERSION_WITH_STRING:
            # Of a version whose sums nobody compares any more; the bytes still have to be stepped over.
            length = max(digest >> 32, 0) if digest >> 63 == 0 else 0
            if self._left() < 16 + length:
                self.position = len(self.buffer)
                return None
            self.position += 16 + length
            digest = 0
        else:
            self.position += _DIGEST.size
        self._check_seal()
        return ZxidDigest(zxid, version, digest)

    def _left(self) -> int:
        return len(self.buffer) - self.position

    def _check_seal(self) -> None:
        expected = self._sum()
        for missing in self.need(SEAL_SIZE):
            self._fetch(missing)
        checksum, end = _SEAL.unpack_from(self.buffer, self.position)
        if checksum != expected:
            raise self._error(f"checksum 0x{checksum:x} does not match the contents, 0x{expected:x}")
        if end != END_STRING:
            raise self._error("a seal without its end")
        self.position += SEAL_SIZE

    def _sum(self) -> int:
        """Adler-32 of everything used so far."""
        self._checksum = adler32(memoryview(self.buffer)[self._summed : self.position], self._checksum)
        self._summed = self.position
        return self._checksum

    def _fetch(self, missing: int) -> None:
        """Append ``missing`` bytes, or some more, to the buffer."""
        self._drop_used()
        parts = [self.buffer]
        while missing > 0:
            chunk = self._next_chunk()
            if not chunk:
                raise self._error(f"the file ends {missing} bytes too early")
            parts.append(chunk)
            missing -= len(chunk)
        self.buffer = b"".join(parts)

    def _more(self) -> bool:
        """One chunk more, if there is one."""
        chunk = self._next_chunk()
        self._drop_used()
        self.buffer += chunk
        return bool(chunk)

    def _drop_used(self) -> None:
        self._sum()
        self._base += self.position
        self.buffer = self.buffer[self.position :]
        self.position = self._summed = 0

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._name}: offset {self.offset}: {what}")
