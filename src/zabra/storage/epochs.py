"""Small files beside the data: the two epochs, and the ``initialize`` marker (``QuorumPeer``)."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from zabra.errors import DataError
from zabra.runtime.ports import Disk
from zabra.zxid import epoch_of

_log = logging.getLogger(__name__)

ACCEPTED_EPOCH: Final = "acceptedEpoch"
CURRENT_EPOCH: Final = "currentEpoch"
INITIALIZE: Final = "initialize"
#: What an interrupted atomic replace leaves (``AtomicFileOutputStream``).
_TMP: Final = ".tmp"
_LONG_MAX: Final = (1 << 63) - 1
_REMEDY: Final = "restore the file, or empty the data folders: then the ensemble sends everything anew"


class Epochs(NamedTuple):
    """The newest epoch promised to a leader, and the newest one this server's history belongs to."""

    accepted: int
    current: int


def read_epoch(disk: Disk, folder: str, name: str) -> int | None:
    """An epoch file; None when missing. Raises :class:`DataError` when it holds no number."""
    return _read_number(disk, f"{folder}/{name}")


def write_epoch(disk: Disk, folder: str, name: str, epoch: int) -> None:
    """Replace an epoch file, durably, before anyone is told of the epoch (ZOOKEEPER-2307).

    Only the temporary file of the current epoch may explain a snapshot that is on disk. An ordinary replace would empty
    it before it is written anew, and whoever stops just then could start no more; so here it is whole at any time.
    """
    path = f"{folder}/{name}"
    if name != CURRENT_EPOCH:
        disk.write_atomic(path, b"%d" % epoch)
        return
    disk.write_atomic(path + _TMP, b"%d" % epoch)
    disk.rename(path + _TMP, path)
    disk.sync_dir(folder)


def load_epochs(disk: Disk, folder: str, last_zxid: int) -> Epochs:
    """Read both epochs, writing those that are missing (``QuorumPeer.loadDataBase``).

    ``folder`` is ``<dataDir>/version-2``. Raises :class:`DataError` when the history has moved beyond the current
    epoch, unless an interrupted change of epoch explains it, or when less was accepted than is current.
    """
    from_zxid = epoch_of(last_zxid)
    current = read_epoch(disk, folder, CURRENT_EPOCH)
    if current is None:
        current = from_zxid
        write_epoch(disk, folder, CURRENT_EPOCH, current)
    if from_zxid > current:
        begun = read_epoch(disk, folder, CURRENT_EPOCH + _TMP)
        if begun is None:
            raise DataError(
                f"{folder}/{CURRENT_EPOCH}: the current epoch 0x{current:x} is older than the last zxid"
                f" 0x{last_zxid:x}: {_REMEDY}"
            )
        _log.info("%s/%s%s: finishing a change to epoch %d", folder, CURRENT_EPOCH, _TMP, begun)
        current = begun
        write_epoch(disk, folder, CURRENT_EPOCH, current)
    accepted = read_epoch(disk, folder, ACCEPTED_EPOCH)
    if accepted is None:
        accepted = from_zxid
        write_epoch(disk, folder, ACCEPTED_EPOCH, accepted)
    if accepted < current:
        raise DataError(
            f"{folder}/{ACCEPTED_EPOCH}: the accepted epoch 0x{accepted:x} is less than the current epoch"
            f" 0x{current:x}: {_REMEDY}"
        )
    return Epochs(accepted, current)


def take_initialize_marker(disk: Disk, data_log_dir: str, data_dir: str) -> bool:
    """Remove the marker that lets an empty server vote; whether there was one.

    The server of Apache looks into dataLogDir, its ``zkServer-initialize.sh`` writes to dataDir; both count here.
    """
    found = False
    for folder in dict.fromkeys((data_log_dir, data_dir)):
        path = f"{folder}/{INITIALIZE}"
        if disk.exists(path):
            disk.unlink(path)
            found = True
    return found


def _read_number(disk: Disk, path: str) -> int | None:
    try:
        content = disk.read(path)
    except FileNotFoundError:
        return None
    line = content.split(b"\n", 1)[0].rstrip(b"\r")
    digits = line[1:] if line[:1] in (b"-", b"+") else line
    if not digits.isdigit() or not -_LONG_MAX <= int(line) <= _LONG_MAX:
        raise DataError(f"{path}: expected a number on the first line, found {line[:40]!r}: {_REMEDY}")
    return int(line)
