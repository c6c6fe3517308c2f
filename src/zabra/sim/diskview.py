"""What the disk of one machine holds of the history: entries of its logs and snapshots, by their bytes and names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import Final

from zabra.sim.disk import Inode, MachineDisk
from zabra.sim.logtap import LogTap

#: clientId, cxid, zxid: the beginning of a transaction's header.
_HEADER: Final = Struct(">qiq")


def zxid_of(payload: bytes) -> int:
    """The zxid of a log entry."""
    zxid: int = _HEADER.unpack_from(payload)[2]
    return zxid


class DiskView:
    """Looks at a disk again and again, reading only what is new, unless something was taken away."""

    def __init__(self, disk: MachineDisk, logs: str, snapshots: str) -> None:
        """``logs`` and ``snapshots`` are folders with the files in them."""
        #: Entries of the logs as the running system sees them, in the order of the files.
        self.entries: dict[int, bytes] = {}
        #: Those that a power cut would leave for sure.
        self.durable: dict[int, bytes] = {}
        self._disk = disk
        self._snapshots = f"{snapshots}/snapshot."
        self._seen = LogTap(disk, logs)
        self._safe = LogTap(disk, logs, durable=True)
        self._rewrites = disk.rewrites

    def refresh(self) -> list[bytes]:
        """Look again; the entries that are new, or all of them after something was taken away."""
        if self._disk.rewrites != self._rewrites:
            self._rewrites = self._disk.rewrites
            self._seen.restart()
            self._safe.restart()
            self.entries.clear()
            self.durable.clear()
        new = self._seen.new_entries()
        for payload in new:
            self.entries[zxid_of(payload)] = payload
        for payload in self._safe.new_entries():
            self.durable[zxid_of(payload)] = payload
        return new

    def snapshots(self) -> list[int]:
        """The zxids of the snapshots there are, newest first."""
        return sorted(self._zxids(self._disk.names), reverse=True)

    def holds(self, zxid: int, payload: bytes) -> bool:
        """Whether the entry survives a power cut, in a log or within a snapshot; as of the last :meth:`refresh`."""
        return self.durable.get(zxid) == payload or any(one >= zxid for one in self._zxids(self._disk.durable_names))

    def last_zxid(self) -> int:
        """Where the history on this disk ends."""
        return max((*self.entries, *self.snapshots()), default=0)

    def _zxids(self, names: Mapping[str, Inode]) -> Iterable[int]:
        prefix = self._snapshots
        for name in names:
            digits = name[len(prefix) :].split(".")[0]
            if name.startswith(prefix) and digits and all(digit in "0123456789abcdef" for digit in digits):
                yield int(digits, 16)
