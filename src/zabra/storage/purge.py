"""Removing old snapshots and logs (``PurgeTxnLog``): what goes, as a list; and doing it.

Kept are the newest snapshots that look whole, every file newer than the oldest of these, and the logs they need: the
last log that starts at or before that snapshot, since it may reach beyond it, and all after it. A file that does not
look whole is no reason to drop an older one (ZOOKEEPER-3231, 1797), and files of other names are never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zabra.runtime.ports import Disk
from zabra.storage.logreader import LogFolder
from zabra.storage.snapstore import SnapshotStore

#: Fewer snapshots than this are never kept (``autopurge.snapRetainCount``).
KEEP_MIN: Final = 3


def files_to_purge(disk: Disk, log_folder: str, snapshot_folder: str, keep: int) -> list[str]:
    """Paths that a purge keeping ``keep`` snapshots removes, logs first, oldest first. Changes nothing.

    Folders are the ``version-2`` ones. Raises ValueError when ``keep`` is below 3.
    """
    if keep < KEEP_MIN:
        raise ValueError(f"count should be greater than or equal to {KEEP_MIN}")
    store = SnapshotStore(disk, snapshot_folder)
    kept = store.valid_files(keep)
    if not kept:
        return []
    oldest = kept[-1][0]
    logs = LogFolder(disk, log_folder)
    needed = dict.fromkeys(logs.files_from(oldest))
    old_logs = [path for zxid, path in logs.files() if zxid < oldest and path not in needed]
    old_snapshots = [f"{snapshot_folder}/{name}" for zxid, name in reversed(store.files()) if zxid < oldest]
    return old_logs + old_snapshots


def purge(disk: Disk, paths: list[str], on_removed: Callable[[str], None] = lambda path: None) -> None:
    """Remove ``paths``, telling of each. A file that is already gone is no error; others are ``OSError``."""
    for path in paths:
        try:
            disk.unlink(path)
        except FileNotFoundError:
            continue
        on_removed(path)
