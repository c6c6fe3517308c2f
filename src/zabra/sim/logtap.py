"""Follows the log files of a folder by their bytes, with a parser of its own."""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import adler32

from zabra.sim.disk import MachineDisk
from zabra.sim.violation import Violation

_ENTRY: Final = Struct(">qi")
_FILE_HEADER: Final = 16


class LogTap:
    """Entries as the running system sees them, or those that are ``durable``."""

    def __init__(self, disk: MachineDisk, folder: str, *, durable: bool = False) -> None:
        self._disk = disk
        self._prefix = f"{folder}/log."
        self._durable = durable
        self._path = ""
        self._offset = 0

    def files(self) -> list[str]:
        """Paths of the logs, oldest first."""
        names = self._disk.durable_names if self._durable else self._disk.names
        start = len(self._prefix)
        return sorted((path for path in names if path.startswith(self._prefix)), key=lambda path: int(path[start:], 16))

    def restart(self) -> None:
        """Begin with the first file again."""
        self._path = ""
        self._offset = 0

    def new_entries(self) -> list[bytes]:
        """The payloads that were added since the last call."""
        found: list[bytes] = []
        files = self.files()
        if self._path in files:
            files = files[files.index(self._path) :]
        for path in files:
            if path != self._path:
                self._path = path
                self._offset = _FILE_HEADER
            data = self._bytes(path)
            while (payload := _entry_at(data, self._offset)) is not None:
                found.append(payload)
                self._offset += _ENTRY.size + len(payload) + 1
        return found

    def check_tails(self) -> None:
        """Behind the last entry of each file is nothing: what a crash left there was cut off, Apache can read on."""
        for path in self.files():
            data = self._bytes(path)
            at = _FILE_HEADER
            while (payload := _entry_at(data, at)) is not None:
                at += _ENTRY.size + len(payload) + 1
            if data.count(0, at) != len(data) - at:
                raise Violation(f"{path} has the remains of a write at {at}")

    def _bytes(self, path: str) -> bytearray:
        return self._disk.durable_names[path].durable if self._durable else self._disk.names[path].data


def _entry_at(data: bytearray, at: int) -> bytes | None:
    """The payload of a whole entry, or None."""
    if at + _ENTRY.size > len(data):
        return None
    checksum, length = _ENTRY.unpack_from(data, at)
    start = at + _ENTRY.size
    payload = bytes(data[start : start + length])
    if (
        length <= 0
        or len(payload) < length
        or adler32(payload) != checksum
        or data[start + length : start + length + 1] != b"B"
    ):
        return None
    return payload
