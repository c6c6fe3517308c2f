"""[hot] The simple types of jute records: integers, texts, buffers, vectors.

::

    int, long = 4, 8 bytes, big endian, signed      boolean = 1 byte, any but 0 is true
    buffer    = int length, bytes; length -1 is null
    ustring   = a buffer of UTF-8                   vector  = int count, elements; count -1 is null

Apache writes characters beyond U+FFFF as two surrogates of three bytes each, but reads real UTF-8, so that its own
texts come back damaged. Here such pairs are joined when read and written as the four bytes that everyone else writes.

Source: ``BinaryInputArchive``, ``BinaryOutputArchive`` (3.9.5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final, TypeVar

from zabra.consts import JUTE_MAX_BUFFER
from zabra.errors import MarshallingError

T = TypeVar("T")

#: Default of ``zookeeper.jute.maxbuffer.extrasize``, what a buffer inside a record may have above ``jute.maxbuffer``.
EXTRA_SIZE: Final = JUTE_MAX_BUFFER
NULL: Final = b"\xff\xff\xff\xff"

_INT: Final = Struct(">i")
_LONG: Final = Struct(">q")
_pack_int = _INT.pack
_int_at = _INT.unpack_from
_long_at = _LONG.unpack_from

#: Surrogates as three bytes each: a pair, or one alone. 0xED begins a character wherever it stands.
_SURROGATES = re.compile(rb"\xed([\xa0-\xaf])([\x80-\xbf])\xed([\xb0-\xbf])([\x80-\xbf])|\xed[\xa0-\xbf][\x80-\xbf]")


class TruncatedError(MarshallingError):
    """The bytes end inside the record (``EOFException``); for some old records that is a legal shorter form."""


class Reader:
    """A cursor over the bytes of records.

    ``limit`` is the longest buffer or text accepted, whatever ``buf`` holds. After an error ``pos`` means nothing.
    """

    __slots__ = ("buf", "end", "limit", "pos")

    def __init__(
        self, buf: bytes, pos: int = 0, end: int | None = None, limit: int = JUTE_MAX_BUFFER + EXTRA_SIZE
    ) -> None:
        self.buf = buf
        self.pos = pos
        self.end = len(buf) if end is None else end
        self.limit = limit

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        """The adjacent fixed-width fields that ``layout`` describes."""
        pos = self.pos
        after = pos + layout.size
        if after > self.end:
            raise self._truncated(layout.size)
        self.pos = after
        return layout.unpack_from(self.buf, pos)

    def read_int(self) -> int:
        """4 bytes, signed."""
        pos = self.pos
        if pos + 4 > self.end:
            raise self._truncated(4)
        self.pos = pos + 4
        number: int = _int_at(self.buf, pos)[0]
        return number

    def read_long(self) -> int:
        """8 bytes, signed."""
        pos = self.pos
        if pos + 8 > self.end:
            raise self._truncated(8)
        self.pos = pos + 8
        number: int = _long_at(self.buf, pos)[0]
        return number

    def read_bool(self) -> bool:
        """1 byte."""
        pos = self.pos
        if pos >= self.end:
            raise self._truncated(1)
        self.pos = pos + 1
        return self.buf[pos] != 0

    def read_buffer(self) -> bytes | None:
        """Length and bytes."""
        start = self.pos + 4
        if start > self.end:
            raise self._truncated(4)
        length = _int_at(self.buf, start - 4)[0]
        after = start + length
        if length < 0:
            if length != -1:
                raise MarshallingError(f"negative length {length} at byte {start - 4}")
            self.pos = start
            return None
        if length > self.limit:
            raise MarshallingError(f"length {length} at byte {start - 4} is over the limit of {self.limit}")
        if after > self.end:
            self.pos = start
            raise self._truncated(length)
        self.pos = after
        return self.buf[start:after]

    #: A path stays the bytes it came as.
    read_path = read_buffer

    def read_text(self) -> str | None:
        """A ustring; bytes that are no UTF-8 become U+FFFD, as in Java."""
        raw = self.read_buffer()
        if raw is None:
            return None
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return _SURROGATES.sub(_join_surrogates, raw).decode("utf-8", "replace")

    def read_vector(self, read: Callable[[Reader], T]) -> tuple[T, ...] | None:
        """Count and elements, each read by ``read(self)``. A count below -1 reads as empty, as in Java.

        A count that promises more than there is fails at the first missing element: every element has a byte at least.
        """
        count = self.read_int()
        if count > 0:
            return tuple([read(self) for _ in range(count)])
        return None if count == -1 else ()

    def _truncated(self, wanted: int) -> TruncatedError:
        return TruncatedError(f"truncated: {wanted} bytes wanted at byte {self.pos}, {self.end - self.pos} there")


def _join_surrogates(match: re.Match[bytes]) -> bytes:
    high1, high2, low1, low2 = match.groups()
    if high1 is None:
        return b"\xef\xbf\xbd"
    high = (high1[0] & 0x0F) << 6 | high2[0] & 0x3F
    low = (low1[0] & 0x0F) << 6 | low2[0] & 0x3F
    return chr(0x10000 + (high << 10) + low).encode()


def pack_buffer(data: bytes | None) -> bytes:
    """A buffer."""
    return NULL if data is None else _pack_int(len(data)) + data


#: A path is written like any other bytes.
pack_path = pack_buffer


def pack_text(text: str | None) -> bytes:
    """A ustring. Half a surrogate pair, which has no UTF-8, is written as Java would and reads back as U+FFFD."""
    if text is None:
        return NULL
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogatepass")
    return _pack_int(len(raw)) + raw


def pack_vector(items: Sequence[T] | None, pack: Callable[[T], bytes]) -> bytes:
    """A vector whose elements ``pack`` encodes."""
    return NULL if items is None else _pack_int(len(items)) + b"".join(map(pack, items))
