"""Reads snapshots and transaction logs, and walks a served tree: how two data folders are compared.

A second reader of the file formats, for files that one server wrote and the other must agree with.
"""

from __future__ import annotations

import gzip
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from compat import jute
from compat.rawclient import Client

SNAPSHOT_MAGIC: Final = b"ZKSN"
LOG_MAGIC: Final = b"ZKLG"
#: zxid, version, digest; seal
DIGEST_SECTION_SIZE: Final = 20 + 13


@dataclass(frozen=True)
class Snapshot:
    """The content of one snapshot file; ACL table keys, private to a server, are resolved."""

    zxid: int
    sessions: dict[int, int]
    #: path -> (data, ACL entries, 60 bytes of StatPersisted); key -1 and an open list in the table mean the same
    nodes: dict[str, tuple[bytes | None, Any, bytes]]
    #: (zxid, version, digest)
    digest: tuple[int, int, int] | None


class LogEntry(NamedTuple):
    """One record of a transaction log."""

    session: int
    cxid: int
    zxid: int
    time_ms: int
    kind: int
    #: The tree digest behind the transaction, which takes the last 12 bytes.
    digest: int


def newest_snapshot(data: Path) -> Path:
    """The snapshot file with the highest zxid."""
    return max((data / "version-2").glob("snapshot.*"), key=lambda file: int(file.name.split(".")[1], 16))


def read_snapshot(file: Path) -> Snapshot:
    """Read a plain or gzip snapshot; every seal is checked."""
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    cursor = jute.Cursor(raw)
    if raw[:4] != SNAPSHOT_MAGIC:
        raise ValueError(f"{file}: no snapshot")
    cursor.position = 16
    sessions = dict(cursor.unpack("qi") for _ in range(cursor.unpack("i")[0]))
    table: dict[int, Any] = {-1: jute.OPEN}
    for _ in range(cursor.unpack("i")[0]):
        (key,) = cursor.unpack("q")
        table[key] = cursor.vector(lambda: (cursor.unpack("i")[0], cursor.text(), cursor.text()))
    nodes = {}
    while (path := cursor.text()) != "/":
        assert path is not None
        data = cursor.buffer()
        (key,) = cursor.unpack("q")
        nodes[path] = (data, table[key], b"".join(cursor.unpack("60s")))
    _check_seal(file, cursor)
    digest = None
    if len(cursor.rest()) >= DIGEST_SECTION_SIZE:
        digest = cursor.unpack("qiq")
        _check_seal(file, cursor)
    if cursor.rest():
        (last_zxid,) = cursor.unpack("q")
        _check_seal(file, cursor)
        if last_zxid < 0 or cursor.rest():
            raise ValueError(f"{file}: {len(cursor.rest())} bytes behind the last seal")
    return Snapshot(int(file.name.split(".")[1], 16), sessions, nodes, digest)  # type: ignore[arg-type]


def _check_seal(file: Path, cursor: jute.Cursor) -> None:
    """The running Adler-32 covers everything before it, earlier seals included."""
    expected = zlib.adler32(cursor.payload[: cursor.position])
    if cursor.unpack("q") != (expected,) or cursor.text() != "/":
        raise ValueError(f"{file}: bad seal before byte {cursor.position}")


def read_logs(data: Path) -> list[LogEntry]:
    """Every record of every log file, in order; a bad checksum raises ValueError."""
    entries: list[LogEntry] = []
    for file in sorted((data / "version-2").glob("log.*"), key=lambda file: int(file.name.split(".")[1], 16)):
        raw = file.read_bytes()
        if raw[:4] != LOG_MAGIC:
            raise ValueError(f"{file}: no log")
        position = 16
        while position + 12 <= len(raw):
            checksum, length = struct.unpack_from(">qi", raw, position)
            if length == 0:
                break
            record = raw[position + 12 : position + 12 + length]
            if zlib.adler32(record) != checksum:
                raise ValueError(f"{file}: bad checksum at byte {position}")
            entries.append(LogEntry(*struct.unpack_from(">qiqqi", record), *struct.unpack(">q", record[-8:])))
            position += 12 + length + 1
    return entries


def append_set_data(data: Path, zxid: int, path: str, value: bytes) -> None:
    """Put a setData behind the last record of a stopped server's newest log, as if it had been proposed only to it."""
    file = max((data / "version-2").glob("log.*"), key=lambda file: int(file.name.split(".")[1], 16))
    raw = file.read_bytes()
    position = 16
    while position + 12 <= len(raw) and (length := struct.unpack_from(">i", raw, position + 8)[0]):
        position += 12 + length + 1
    header = struct.pack(">qiqqi", 0, 0, zxid, int(time.time() * 1000), jute.SET_DATA)
    record = header + jute.set_data(path, value, 1 << 30)
    with file.open("r+b") as log:
        log.seek(position)
        log.write(struct.pack(">qi", zlib.adler32(record), len(record)) + record + b"B")


def walk(client: Client) -> dict[str, tuple[Any, ...]]:
    """Every node a client can see: path -> (data, Stat, ACL entries, error codes)."""
    found: dict[str, tuple[Any, ...]] = {}
    queue = ["/"]
    while queue:
        path = queue.pop()
        data_err, data = client.call(jute.GET_DATA, jute.path_watch(path, False))
        acl_err, acl = client.call(jute.GET_ACL, jute.text(path))
        list_err, listing = client.call(jute.GET_CHILDREN2, jute.path_watch(path, False))
        found[path] = (data, acl, listing, (data_err, acl_err, list_err))
        if listing:
            queue += [f"{path.rstrip('/')}/{name}" for name in listing[0][1]]
    return found
