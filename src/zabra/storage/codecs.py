"""Compression of snapshots as Apache's streams do it (``SnapStream``): gzip, and the snappy stream of snappy-java.

::

    snappy file = header chunk*
    header      = 0x82 "SNAPPY" 0x00, int version 1, int oldest compatible version 1
    chunk       = int size, size bytes of raw snappy holding up to 32 KiB
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from struct import Struct
from types import ModuleType
from typing import Final, Protocol

from zabra.errors import ConfigError, DataError

GZIP: Final = "gz"
SNAPPY: Final = "snappy"
#: Values of ``snapshot.compression.method``; the file's extension is the same word.
METHODS: Final = ("", GZIP, SNAPPY)

GZIP_MAGIC: Final = b"\x1f\x8b"
SNAPPY_MAGIC: Final = b"\x82SNAPPY\x00"
_SNAPPY_VERSIONS: Final = b"\x00\x00\x00\x01\x00\x00\x00\x01"
_SNAPPY_BLOCK: Final = 32 << 10
#: A block decompresses to at most 64 times its size; more than this is no snapshot chunk.
_SNAPPY_CHUNK_MAX: Final = 64 << 20
_GZIP_WINDOW: Final = 31
#: Plain bytes handed on at once by the gzip reader.
_PIECE: Final = 4 << 20

_INT: Final = Struct(">i")

#: Gives the next raw bytes of a file, empty at its end.
Source = Callable[[], bytes]


class Compressor(Protocol):
    """Turns plain bytes into the file's bytes."""

    def compress(self, data: bytes, /) -> bytes:
        """Take ``data``; may keep some of it back."""

    def flush(self) -> bytes:
        """The rest."""


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _SnappyCompressor:
    def __init__(self) -> None:
        self._snappy = _snappy()
        self._kept = b""
        self._head = SNAPPY_MAGIC + _SNAPPY_VERSIONS

    def compress(self, data: bytes, /) -> bytes:
        data = self._kept + data
        whole = len(data) // _SNAPPY_BLOCK * _SNAPPY_BLOCK
        self._kept = data[whole:]
        return self._frames(data[:whole])

    def flush(self) -> bytes:
        kept, self._kept = self._kept, b""
        return self._frames(kept)

    def _frames(self, data: bytes) -> bytes:
        parts = [self._head]
        self._head = b""
        for at in range(0, len(data), _SNAPPY_BLOCK):
            block = bytes(self._snappy.compress_raw(data[at : at + _SNAPPY_BLOCK]))
            parts += (_INT.pack(len(block)), block)
        return b"".join(parts)


def _snappy() -> ModuleType:
    try:
        from cramjam import snappy
    except ImportError as error:
        raise ConfigError("snappy snapshots need the package cramjam: pip install 'zabra[snappy]'") from error
    return snappy


def new_compressor(method: str) -> Compressor:
    """The compressor of a method of :data:`METHODS`. Raises :class:`ConfigError` when its library is missing."""
    if method == GZIP:
        return zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _GZIP_WINDOW)
    return _SnappyCompressor() if method == SNAPPY else _Plain()


def plain_chunks(name: str, method: str, source: Source) -> Source:
    """``source`` decompressed. Its chunks raise :class:`DataError` naming the file for what does not decompress."""
    if method == GZIP:
        return _GzipReader(name, source)
    return _SnappyReader(name, source) if method == SNAPPY else source


class _GzipReader:
    """Several gzip members in a row read as one, as in Java."""

    def __init__(self, name: str, source: Source) -> None:
        self._name = name
        self._source = source
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._input = b""
        self._used = 0

    def __call__(self) -> bytes:
        while True:
            if not self._input:
                self._input = self._source()
                self._used += len(self._input)
                if not self._input:
                    return b""
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            try:
                data = self._inflate.decompress(self._input, _PIECE)
            except zlib.error as error:
                raise DataError(f"{self._name}: offset {self._used}: not gzip: {error}") from error
            self._input = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if data:
                return data


class _SnappyReader:
    def __init__(self, name: str, source: Source) -> None:
        self._name = name
        self._source = source
        self._snappy = _snappy()
        self._buffer = b""
        self._used = 0
        if self._take(len(SNAPPY_MAGIC)) != SNAPPY_MAGIC:
            raise self._error("not a snappy stream")
        self._take(len(_SNAPPY_VERSIONS))

    def __call__(self) -> bytes:
        while True:
            head = self._take(4)
            if not head:
                return b""
            if head == SNAPPY_MAGIC[:4]:
                # Streams put one behind the other repeat the header.
                self._take(len(SNAPPY_MAGIC) - 4 + len(_SNAPPY_VERSIONS))
                continue
            (size,) = _INT.unpack(head.ljust(4, b"\0"))
            if not 0 < size <= _SNAPPY_CHUNK_MAX:
                raise self._error(f"a chunk of {size} bytes")
            chunk = self._take(size)
            if len(chunk) < size:
                raise self._error("the file ends within a chunk")
            try:
                data = bytes(self._snappy.decompress_raw(chunk))
            except Exception as error:
                raise self._error(f"not snappy: {error}") from error
            if data:
                return data

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = self._source()
            if not more:
                break
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        self._used += len(taken)
        return taken

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._name}: offset {self._used}: {what}")
