"""From files to a tree: the newest snapshot that is whole, then every later log entry (``FileTxnSnapLog``).

The order is stock's: folders are made or refused, contents checked for dataDir and dataLogDir mixed up; the snapshot is
loaded, the ``initialize`` marker taken, and the log replayed from the snapshot's zxid on. Differences, all on the side
of not losing what was acknowledged:

* The last log may end in the remains of an interrupted write (:mod:`zabra.storage.torn`). They are put aside in a file
  ``torn.<log>.<offset>`` and cut off, so that Apache reads the log as well.
* A zxid missing between the snapshot and the log, as well as within it, stops the start: Apache sees only the latter.
* An entry at or below what is already in the tree is passed over; Apache applies it again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Final, NamedTuple, Protocol

from zabra.consts import Op
from zabra.errors import DataError, MarshallingError
from zabra.runtime.ports import Disk
from zabra.storage.epochs import take_initialize_marker
from zabra.storage.logformat import LOG_PREFIX
from zabra.storage.logreader import LogFolder, LogScan, cut
from zabra.storage.snapformat import ZxidDigest
from zabra.storage.snapstore import SNAPSHOT_PREFIX, Loaded, SnapshotStore, SnapshotWriter
from zabra.tree.node import DIGEST_VERSION
from zabra.tree.replay import FrequentTxns
from zabra.tree.tree import DataTree
from zabra.wire.records_txn import CreateSessionTxn
from zabra.wire.txns import decode_txn
from zabra.zxid import epoch_of

_log = logging.getLogger(__name__)

#: Sub-folder that holds the files of this format (``FileTxnSnapLog.version``).
VERSION_FOLDER: Final = "version-2"
#: ``ExitCode.UNABLE_TO_ACCESS_DATADIR``.
EXIT_DATA_DIR: Final = 3
_PROBE: Final = "tmp.writable"
#: Entries between two calls of ``on_progress``.
_PROGRESS_EVERY: Final = 10_000
#: Version and digest behind a transaction.
_digest_at = Struct(">iQ").unpack_from

#: Called with "snapshot", bytes read and bytes in all; then with "log", entries replayed and 0.
OnProgress = Callable[[str, int, int], None]


class Dumping(Protocol):
    """A tree as snapshot bytes (:class:`zabra.tree.dump.Dump`)."""

    zxid: int
    digest: int

    def next_chunk(self, max_nodes: int) -> bytes:
        """The next bytes, empty at the end."""


class Folders(NamedTuple):
    """Where the files are: the ``version-2`` folders, and what they lie in."""

    snapshots: str
    logs: str
    data_dir: str
    data_log_dir: str


@dataclass(slots=True)
class Recovered:
    """What was found."""

    #: Zxid of the tree; -1 for an empty server that may not vote.
    last_zxid: int
    #: Session id -> timeout in ms.
    sessions: dict[int, int]
    #: The snapshot that was loaded; None when there was none.
    snapshot: Loaded | None = None
    entries_replayed: int = 0
    #: Their zxids, as (first, last) of each run without a gap.
    runs: list[tuple[int, int]] = field(default_factory=list)
    entries_passed_over: int = 0
    digest_mismatches: int = 0
    #: How long the snapshot took to load, and the log to replay.
    snapshot_seconds: float = 0.0
    log_seconds: float = 0.0
    #: Name of the first snapshot of a fresh folder.
    created_snapshot: str | None = None
    #: Messages for the operator: torn tails, removed empty logs.
    repairs: list[str] = field(default_factory=list)


def open_folders(disk: Disk, data_dir: str, data_log_dir: str, *, autocreate: bool = True) -> Folders:
    """Make and check the folders. Raises :class:`DataError` with exit code 3 where they cannot be used."""
    data_dir = data_dir.rstrip("/") or "/"
    data_log_dir = data_log_dir.rstrip("/") or "/"
    folders = Folders(f"{data_dir}/{VERSION_FOLDER}", f"{data_log_dir}/{VERSION_FOLDER}", data_dir, data_log_dir)
    _open_folder(disk, folders.logs, "data", autocreate)
    if folders.snapshots != folders.logs:
        _open_folder(disk, folders.snapshots, "snap", autocreate)
        _refuse_names(disk, folders.logs, SNAPSHOT_PREFIX, "Log directory has snapshot files")
        _refuse_names(disk, folders.snapshots, LOG_PREFIX, "Snapshot directory has log files")
    return folders


def _open_folder(disk: Disk, path: str, kind: str, autocreate: bool) -> None:
    if not disk.is_dir(path):
        if not autocreate:
            raise DataError(
                f"Missing {kind} directory {path}, automatic data directory creation is disabled "
                "(zookeeper.datadir.autocreate is false). Please create this directory manually.",
                EXIT_DATA_DIR,
            )
        try:
            disk.makedirs(path)
        except OSError as error:
            raise DataError(f"Unable to create {kind} directory {path}: {error}", EXIT_DATA_DIR) from error
    try:
        disk.open(f"{path}/{_PROBE}", create=True, write=True).close()
        disk.unlink(f"{path}/{_PROBE}")
    except OSError as error:
        raise DataError(f"Cannot write to {kind} directory {path}: {error}", EXIT_DATA_DIR) from error


def lock_folder(disk: Disk, path: str) -> Callable[[], None]:
    """Keep other servers out of a folder until the returned call. Raises :class:`DataError` when one is in."""
    try:
        return disk.lock(path)
    except BlockingIOError as error:
        raise DataError(f"{path}: another server is running on this folder", EXIT_DATA_DIR) from error


def _refuse_names(disk: Disk, path: str, prefix: str, what: str) -> None:
    for name in disk.listdir(path):
        if name.startswith(f"{prefix}."):
            message = f"{path}/{name}: {what}. Check if dataLogDir and dataDir configuration is correct."
            raise DataError(message, EXIT_DATA_DIR)


def recover(
    disk: Disk,
    folders: Folders,
    store: SnapshotStore,
    tree: DataTree,
    new_dump: Callable[[dict[int, int]], Dumping],
    *,
    trust_empty: bool = False,
    db_autocreate: bool = True,
    digest_enabled: bool = True,
    oldest_snapshot: int = 0,
    upto: int | None = None,
    newest: deque[tuple[int, bytes]] | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
    monotonic: Callable[[], float] = lambda: 0.0,
) -> Recovered:
    """Load a fresh ``tree`` from the files. ``new_dump(sessions)`` dumps it, for the first snapshot of an empty folder.

    No snapshot before ``oldest_snapshot`` is looked at. With ``upto`` the tree becomes that of this zxid, or of the
    last one before it, and no file is changed. ``newest`` gets the (zxid, payload) of the entries that are replayed.

    Raises :class:`DataError` where the files cannot be trusted, ``OSError`` where they cannot be read or written.
    """
    began = monotonic()
    logs = LogFolder(disk, folders.logs)
    sessions: dict[int, int] = {}
    loaded = store.load_newest(
        tree,
        sessions,
        lambda done, total: on_progress("snapshot", done, total),
        oldest=oldest_snapshot,
        newest=upto,
    )
    found = Recovered(0, sessions, loaded)
    found.snapshot_seconds = monotonic() - began
    may_vote = True
    if upto is None:
        store.remove_temporaries()
        may_vote = take_initialize_marker(disk, folders.data_log_dir, folders.data_dir) or db_autocreate
    if loaded is None:
        if upto is None and not logs.files():
            return _begin_empty(found, store, tree, new_dump if may_vote else None, digest_enabled)
        if not trust_empty:
            raise DataError(f"{folders.snapshots}: No snapshot found, but there are log entries. Something is broken!")
        _log.warning("%s: no snapshot found, but there are log entries; trusted as set", folders.snapshots)
    else:
        tree.last_zxid = loaded.zxid
    scan = logs.scan(tree.last_zxid + 1)
    _Replay(tree, found, scan, loaded, digest_enabled, on_progress).run(upto, newest)
    if upto is None:
        found.repairs += cut_torn_tail(disk, scan)
        _make_durable(disk, folders, scan)
    found.log_seconds = monotonic() - began - found.snapshot_seconds
    found.last_zxid = tree.last_zxid
    found.digest_mismatches = tree.digest_mismatches
    return found


def _make_durable(disk: Disk, folders: Folders, scan: LogScan) -> None:
    """Sync what was read before anything is built on it.

    What a killed server had written and not synced may be in the system's cache only; a power failure would take it
    from under the entries that follow.
    """
    if scan.path and scan.path != scan.unstarted:
        file = disk.open(scan.path, write=True)
        try:
            file.sync()
        finally:
            file.close()
    for folder in dict.fromkeys((folders.logs, folders.snapshots)):
        disk.sync_dir(folder)


def _begin_empty(
    found: Recovered,
    store: SnapshotStore,
    tree: DataTree,
    new_dump: Callable[[dict[int, int]], Dumping] | None,
    digest_enabled: bool,
) -> Recovered:
    """Nothing on disk: snapshot.0, or the zxid of a server that may have lost its data."""
    if new_dump is None:
        _log.warning("unexpected empty data tree; this server may not vote until it has data")
        tree.last_zxid = found.last_zxid = -1
        return found
    found.created_snapshot = save_snapshot(store, new_dump(found.sessions), digest_enabled)
    return found


def save_snapshot(store: SnapshotStore, dump: Dumping, digest_enabled: bool = True) -> str:
    """Write a whole dump at once, blocking; the file's name. Raises ``OSError``, leaving nothing behind."""
    writer = seal_snapshot(store, dump, digest_enabled)
    try:
        writer.show()
    except BaseException:
        writer.abort()
        raise
    return writer.name


def seal_snapshot(store: SnapshotStore, dump: Dumping, digest_enabled: bool = True) -> SnapshotWriter:
    """Write a whole dump under its temporary name. Raises ``OSError``, leaving nothing behind."""
    writer = store.writer(dump.zxid, dump.digest if digest_enabled else None)
    try:
        while chunk := dump.next_chunk(1000):
            writer.write(chunk)
        writer.seal()
    except BaseException:
        writer.abort()
        raise
    return writer


def remove_dead_ephemerals(tree: DataTree, sessions: dict[int, int]) -> int:
    """Remove the ephemerals of sessions that are no more (``ZooKeeperServer.loadData``); how many sessions."""
    dead = [session_id for session_id in tree.ephemerals if session_id not in sessions]
    for session_id in dead:
        tree.close_session(session_id, (), tree.last_zxid)
    return len(dead)


def cut_torn_tail(disk: Disk, scan: LogScan) -> list[str]:
    """After a scan: remove an empty last log, put a torn tail aside and cut it off. Says what was done."""
    done = []
    if scan.unstarted is not None:
        disk.unlink(scan.unstarted)
        done.append(f"{scan.unstarted}: removed, a crash came before its first entry")
    torn = scan.torn
    if torn is not None:
        folder, _, name = torn.path.rpartition("/")
        file = disk.open(torn.path)
        try:
            remains = file.pread(torn.end - torn.offset, torn.offset)
        finally:
            file.close()
        aside = f"{folder}/torn.{name}.{torn.offset:x}"
        disk.write_atomic(aside, remains)
        cut(disk, torn.path, torn.offset)
        done.append(
            f"{torn.path}: offset {torn.offset}: cut off {len(remains)} bytes of a write that a crash interrupted; "
            f"nobody was told it was done; the bytes are kept in {aside}"
        )
    return done


def _drop(entry: tuple[int, bytes]) -> None:
    """Nobody wants the entries."""


class _Replay:
    """Applies log entries to the tree."""

    def __init__(
        self,
        tree: DataTree,
        found: Recovered,
        scan: LogScan,
        loaded: Loaded | None,
        digest_enabled: bool,
        on_progress: OnProgress,
    ) -> None:
        self._tree = tree
        self._found = found
        self._scan = scan
        self._digest_enabled = digest_enabled
        self._on_progress = on_progress
        #: Digest of a snapshot that was taken while writes went on: until its zxid is reached digests mean nothing.
        self._settles_at: ZxidDigest | None = None
        # Without a snapshot nobody knows where the log begins.
        self._any_start = loaded is None
        if loaded is not None and digest_enabled:
            self._begin_digest(loaded)

    def _begin_digest(self, loaded: Loaded) -> None:
        digest = loaded.trailer.digest
        if digest is None or digest.zxid <= 0 or digest.zxid < loaded.zxid:
            return
        self._settles_at = digest
        self._settle(loaded.zxid)

    def _settle(self, zxid: int) -> None:
        """Compare with the snapshot's digest once the tree has reached it."""
        digest = self._settles_at
        if digest is None or zxid < digest.zxid:
            return
        self._settles_at = None
        self._tree.digest_log.clear()  # so far the tree was ahead of its zxid
        if zxid == digest.zxid and not self._tree.digest_matches(digest.version, digest.digest):
            _log.error("the tree at zxid 0x%x differs from the digest in its snapshot", zxid)

    def run(self, upto: int | None, newest: deque[tuple[int, bytes]] | None) -> None:
        """Apply the entries, up to and with that of zxid ``upto``; they are also added to ``newest``."""
        scan = self._scan
        keep = newest.append if newest is not None else _drop
        found = self._found
        tree = self._tree
        sessions = found.sessions
        apply = tree.apply
        frequent = FrequentTxns(tree)
        last = tree.last_zxid
        first = last + 1
        replayed = 0
        for entry in scan:
            zxid, payload = entry
            if upto is not None and zxid > upto:
                break
            if zxid != last + 1 or self._any_start:
                if not self._follows(zxid, last):
                    found.entries_passed_over += 1
                    continue
                self._any_start = False
                if first <= last:
                    found.runs.append((first, last))
                first = zxid
            last = zxid
            replayed += 1
            keep(entry)
            if not replayed % _PROGRESS_EVERY:
                self._on_progress("log", replayed, 0)
            end = frequent.apply(payload)
            if end >= 0:
                if end < len(payload):
                    if self._settles_at is not None or _digest_at(payload, end) != (DIGEST_VERSION, tree.digest):
                        self._check(zxid, *_digest_at(payload, end))
                elif self._settles_at is not None:
                    self._settle(zxid)
                continue
            try:
                header, body, digest = decode_txn(payload)
                type_ = header.type
                if type_ == Op.CREATE_SESSION:
                    assert isinstance(body, CreateSessionTxn)
                    sessions[header.session_id] = body.timeout
                elif type_ == Op.CLOSE_SESSION:
                    sessions.pop(header.session_id, None)
                apply(header, body)
            except MarshallingError as error:
                raise DataError(f"{scan.path}: offset {scan.offset}: {error}") from error
            frequent.learn(header, body, digest)
            if digest is not None:
                self._check(zxid, *digest)
            elif self._settles_at is not None:
                self._settle(zxid)
        if first <= last:
            found.runs.append((first, last))
        found.entries_replayed = replayed
        if self._settles_at is not None:
            _log.warning(
                "the log ends at zxid 0x%x, before the digest of its snapshot at 0x%x", last, self._settles_at.zxid
            )

    def _follows(self, zxid: int, last: int) -> bool:
        """Whether an entry that is not the very next one is to be applied. Raises where entries are missing."""
        if zxid <= last:
            _log.warning("%s: offset %d: zxid 0x%x again", self._scan.path, self._scan.offset, zxid)
            return False
        if epoch_of(zxid) == epoch_of(last) and not self._any_start:
            raise DataError(
                f"{self._scan.path}: offset {self._scan.offset}: entries are missing: "
                f"zxid 0x{zxid:x} follows 0x{last:x}"
            )
        return True

    def _check(self, zxid: int, version: int, digest: int) -> None:
        """Compare the tree with the digest that came with a transaction."""
        if not self._digest_enabled:
            return
        if self._settles_at is not None:
            self._settle(zxid)
            return
        if self._tree.digest_matches(version, digest) or self._tree.digest_mismatches > 1:
            return
        _log.error("the tree differs from the digest in the log from zxid 0x%x on", zxid)
