"""What one server knows, in memory and on disk: tree, sessions, log and snapshots (``ZKDatabase``, ``FileTxnSnapLog``).

Who owns what: the files belong to one Database, and the tree to whoever runs the loop. :meth:`Database.load`,
:meth:`~Database.truncate` and :meth:`~Database.receive_snapshot` put a *new* tree and a *new* map of sessions in place,
so pipelines, trackers and connections are made anew after them; everything else changes those that are there.

The files are one history, or refuse to be loaded. Two changes need more than one step, and a crash may come between any
two of them:

*Cutting the end off* (TRUNC). The tree as it will be is loaded first, so that nothing is lost where that cannot be.
Then newer snapshots go, newest first, then newer log files, newest first, then the end of the last one: every state in
between is a history that has been, and doing it again ends it.

*Another history* (SNAP). The log of before does not lead to the new snapshot; neither its entries behind it nor its
snapshots may ever be mixed with what follows. A file ``historyBase`` in the snapshot folder tells::

    zxid               snapshots before zxid are of another history, and are never loaded
    zxid base name     the same, and the change has begun: tmp.<name> is the whole snapshot, durably. What is in the
                       files after base has to go, then the snapshot gets its name. A start finishes this first.

Apache knows no such file: it loads the newest snapshot, which is the right one, and finds what it leaves behind itself.
"""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from struct import Struct
from typing import Final, NamedTuple

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.errors import DataError
from zabra.obs.metrics import Metrics
from zabra.runtime.disk import new_lock
from zabra.runtime.ports import Clock, Disk
from zabra.storage.logreader import LogFolder
from zabra.storage.logwriter import LogWriter
from zabra.storage.purge import files_to_purge, purge
from zabra.storage.recovery import Folders, OnProgress, Recovered, recover, seal_snapshot
from zabra.storage.snapstore import TMP_PREFIX, SnapshotStore, zxid_of_snapshot
from zabra.storage.snapstream import SnapStreamLoader
from zabra.tree.dump import Dump
from zabra.tree.node import DIGEST_VERSION
from zabra.tree.owner import OwnerRules
from zabra.tree.replay import FrequentTxns
from zabra.tree.tree import Applied, DataTree
from zabra.wire.records_txn import CreateSessionTxn
from zabra.wire.txns import TxnHeader, decode_txn
from zabra.zab.syncplan import Entry, LogChangedError, follows
from zabra.zxid import counter_of

_log = logging.getLogger(__name__)

HISTORY_BASE: Final = "historyBase"
#: Version and digest behind a transaction.
_digest_at = Struct(">iQ").unpack_from


class _Base(NamedTuple):
    """What ``historyBase`` says."""

    zxid: int
    #: Of a change that has begun: what is after it goes, and the name of the snapshot.
    base: int | None = None
    name: str = ""


class Database:
    """One server's data. Blocking methods say so; they run beside the loop, or before anything does."""

    #: Made by :meth:`load`, and anew by :meth:`truncate` and :meth:`save_snapshot`.
    writer: LogWriter

    def __init__(
        self,
        settings: Settings,
        disk: Disk,
        folders: Folders,
        store: SnapshotStore,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._disk = disk
        self._folders = folders
        self._store = store
        self._monotonic = clock.monotonic
        self._metrics = metrics
        self._logs = LogFolder(disk, folders.logs)
        self._marker = f"{folders.snapshots}/{HISTORY_BASE}"
        #: Odd while files are changed for a new history, and never the same again; held while a purge removes a file.
        self._changes = 0
        self._lock = new_lock()
        #: Snapshots before this are of another history.
        self._base = 0
        self._committed: deque[Entry] = deque(maxlen=settings.commit_log_count)
        #: What the log has from its base on, as (first, last) of runs without a gap, but for the last run; where that
        #: began, and what would be next in it.
        self._runs: list[tuple[int, int]] = []
        self._run_first = self._run_next = self._log_base = 0
        #: The tree comes from a leader that went on while it sent it: digests mean nothing yet.
        self._ahead = False
        #: Where the log ends, while memory goes on without it.
        self._log_end: int | None = None
        self._new_tree({})

    # -- from files

    def load(self, on_progress: OnProgress | None = None) -> Recovered:
        """Blocking: tree and sessions as the files have them, all of the log included.

        Raises :class:`DataError` where the files cannot be trusted, ``OSError`` where they cannot be read or written.
        What the log writer has not written is dropped; no write may be on its way.
        """
        self.close()
        self._base = self._open_history()
        recovered = self._recover(None, on_progress)
        self._open_writer()
        return recovered

    def _recover(self, upto: int | None, on_progress: OnProgress | None = None) -> Recovered:
        settings = self._settings
        began = self._monotonic()
        # Before the new tree is made, which may need as much memory.
        self._new_tree({})
        tree = self.tree
        newest: deque[tuple[int, bytes]] = deque(maxlen=self._committed.maxlen)
        # Nothing that is loaded is garbage: looking for some again and again takes a fifth of the time.
        collects = gc.isenabled()
        gc.disable()
        try:
            found = recover(
                self._disk,
                self._folders,
                self._store,
                tree,
                lambda sessions: Dump(tree, sessions),
                trust_empty=settings.snapshot_trust_empty,
                db_autocreate=settings.db_autocreate,
                digest_enabled=settings.digest_enabled,
                oldest_snapshot=self._base,
                upto=upto,
                newest=newest,
                on_progress=on_progress or _Progress(self._monotonic),
                monotonic=self._monotonic,
            )
        finally:
            if collects:
                gc.enable()
        # What is loaded stays: the collector need not look at it again.
        gc.freeze()
        self.sessions = found.sessions
        self._committed.extend(map(Entry._make, newest))
        # Entries before the snapshot are in the log too, but nobody knows whether all of them are: the server that
        # wrote it may have got the snapshot from a leader (ZOOKEEPER-2099).
        self._begin_log(found.snapshot.zxid if found.snapshot is not None else tree.last_zxid)
        for first, last in found.runs:
            if first != self._run_next:
                self._begin_run(first)
            self._run_next = last + 1
        self._report(found, int((self._monotonic() - began) * 1000))
        return found

    def _report(self, found: Recovered, milliseconds: int) -> None:
        for repair in found.repairs:
            _log.warning("%s", repair)
        metrics = self._metrics
        metrics.dbinittime.add(milliseconds)
        metrics.startup_snap_load_time.add(int(found.snapshot_seconds * 1000))
        metrics.startup_txns_load_time.add(int(found.log_seconds * 1000))
        metrics.startup_txns_loaded.add(found.entries_replayed)
        metrics.digest_mismatches_count.add(found.digest_mismatches)
        _log.info(
            "loaded %d znodes and %d sessions in %d ms: zxid 0x%x, %d log entries replayed",
            self.tree.node_count,
            len(found.sessions),
            milliseconds,
            self.tree.last_zxid,
            found.entries_replayed,
        )

    def _new_tree(self, sessions: dict[int, int]) -> None:
        settings = self._settings
        #: The znodes; a new object after a load, a TRUNC and a SNAP.
        self.tree = DataTree(
            OwnerRules(extended=settings.extended_types_enabled, emulate_353=settings.emulate_353_ttl_nodes),
            digest_enabled=settings.digest_enabled,
        )
        #: Session id -> timeout in ms of every applied createSession; a new object whenever the tree is one. Trackers
        #: share it.
        self.sessions = sessions
        self._frequent = FrequentTxns(self.tree)
        self._committed.clear()
        self._ahead = False
        self._log_end = None

    def _begin_log(self, base: int) -> None:
        """The log is complete after this zxid."""
        self._log_base = base
        self._runs = []
        self._run_first = base
        self._run_next = base + 1

    def _begin_run(self, first: int) -> None:
        """A new epoch began."""
        self._runs.append((self._run_first, self._run_next - 1))
        self._run_first = first

    def _open_writer(self) -> None:
        settings = self._settings
        self.writer = LogWriter(
            self._disk,
            self._folders.logs,
            prealloc_bytes=settings.prealloc_kb * 1024,
            force_sync=settings.force_sync,
            size_limit_bytes=settings.txn_log_size_limit_kb * 1024 if settings.txn_log_size_limit_kb > 0 else None,
            last_zxid=self.tree.last_zxid,
        )

    def close(self) -> None:
        """Release the log file; what was not written is dropped. Fine at any time, and more than once."""
        writer = getattr(self, "writer", None)
        if writer is not None:
            writer.close()

    # -- changing the files

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """No purge removes anything: it may keep just the snapshots that have to go."""
        with self._lock:
            self._changes += 1
        try:
            yield
        finally:
            with self._lock:
                self._changes += 1

    def truncate(self, zxid: int) -> None:
        """Blocking: nothing after ``zxid`` has ever been; tree and sessions are those of then.

        The files are changed once it is clear that they hold that tree; after that any failure leaves a state that a
        start, or the same call, copes with. Raises :class:`DataError` or ``OSError``: the server must stop, memory and
        disk may differ (ZOOKEEPER-3701, 5094).
        """
        self.close()
        with self._changing():
            self._recover(zxid)
            last = self.tree.last_zxid
            # A zxid between epochs needs no entry of its own.
            if last != zxid and (last > zxid or counter_of(zxid)):
                raise DataError(f"{self._folders.logs}: cannot be cut to zxid 0x{zxid:x}: the last one is 0x{last:x}")
            self._store.discard_after(zxid)
            if self._logs.files():
                self._logs.truncate(zxid)
        self._open_writer()

    def receive_snapshot(self, zxid: int) -> SnapStreamLoader:
        """A new tree for the snapshot of ``zxid`` that a leader sends; feed the loader until that is whole.

        The disk knows nothing of it before :meth:`save_snapshot`: if that does not come, load again (ZOOKEEPER-3642).
        """
        self._new_tree({})
        settings = self._settings
        limit = settings.jute_max_buffer + settings.jute_max_buffer_extra
        loader = SnapStreamLoader(self.tree, self.sessions, limit)
        self.tree.last_zxid = zxid
        self._ahead = True
        return loader

    def save_snapshot(self, base: int) -> None:
        """Blocking: the tree in memory, which began as a snapshot of ``base`` from elsewhere, is what a start loads.

        What the files have after ``base`` is gone, what they have before is never loaded again, and the log is complete
        from here on. Raises ``OSError`` or :class:`DataError`: the server must stop; the files then load as either.
        """
        tree = self.tree
        assert tree.last_zxid >= base, "the tree began at its base"
        self.close()
        with self._changing():
            self._store.remove_temporaries()
            dump = Dump(tree, self.sessions)
            try:
                snapshot = seal_snapshot(self._store, dump, tree.digest_enabled)
            finally:
                dump.close()
            self._disk.sync_dir(self._folders.snapshots)
            begun = _Base(dump.zxid, base, snapshot.name)
            self._disk.write_atomic(self._marker, b"%d %d %s" % (begun.zxid, base, begun.name.encode()))
            self._replace_history(begun)
        self._base = begun.zxid
        self._begin_log(begun.zxid)
        self._ahead = False
        self._log_end = None
        self._open_writer()

    def _replace_history(self, begun: _Base) -> None:
        """Go on with a change of history, from wherever it was interrupted."""
        base = begun.base
        assert base is not None
        store = self._store
        temporary, final = (f"{store.path}/{name}" for name in (TMP_PREFIX + begun.name, begun.name))
        is_named = not self._disk.exists(temporary)
        if is_named and not self._disk.exists(final):
            raise DataError(f"{self._marker}: names {begun.name}, which is missing")
        # The log first: the other way round a newer entry of another history would stand behind the snapshot.
        if self._logs.files():
            self._logs.truncate(base)
        if not is_named:
            self._disk.rename(temporary, final)
            self._disk.sync_dir(store.path)
        gone = [name for zxid, name in store.files() if (zxid > base or zxid == begun.zxid) and name != begun.name]
        store.discard(gone)
        self._disk.write_atomic(self._marker, b"%d" % begun.zxid)

    def _open_history(self) -> int:
        """Finish what was interrupted; the zxid that no snapshot may be older than."""
        marker = self._read_marker()
        if marker is None:
            return 0
        if marker.base is not None:
            _log.warning("%s: finishing the change to the history of %s", self._marker, marker.name)
            with self._changing():
                self._replace_history(marker)
        snapshots = self._store.files()
        if not snapshots and not self._logs.files():
            self._disk.unlink(self._marker)
            return 0
        if not snapshots or snapshots[0][0] < marker.zxid:
            raise DataError(
                f"{self._marker}: the files lack the snapshot of zxid 0x{marker.zxid:x}, and what is older belongs to "
                "another history. Once the data folders are empty the ensemble will send everything anew"
            )
        return marker.zxid

    def _read_marker(self) -> _Base | None:
        try:
            content = self._disk.read(self._marker)
        except FileNotFoundError:
            return None
        fields = content.split()
        try:
            if len(fields) == 1:
                return _Base(int(fields[0]))
            zxid, base, name = int(fields[0]), int(fields[1]), fields[2].decode()
            if len(fields) == 3 and zxid_of_snapshot(name) == zxid:
                return _Base(zxid, base, name)
        except (ValueError, IndexError):
            pass
        raise DataError(f"{self._marker}: expected a zxid, found {content[:60]!r}")

    def purge(self, keep: int, on_removed: Callable[[str], None] = lambda path: None) -> None:
        """Blocking: remove what is older than the newest ``keep`` snapshots, and not needed by them.

        It ends where a TRUNC or SNAP begins: those change what is to be kept.
        """
        changes = self._changes
        removed: list[str] = []
        for path in files_to_purge(self._disk, self._folders.logs, self._folders.snapshots, keep):
            with self._lock:
                if changes % 2 or changes != self._changes:
                    return
                purge(self._disk, [path], removed.append)
            while removed:
                on_removed(removed.pop())

    @property
    def floor(self) -> int:
        """Zxid of the oldest snapshot that can be loaded: the files cannot be cut to one below it."""
        for zxid, name in reversed(self._store.files()):
            if zxid >= self._base and self._store.looks_whole(name):
                return zxid
        return 0

    # -- applying what is committed, without clients

    def leave_log(self) -> None:
        """What is applied from here on is in no log: a load loses it again, :meth:`save_snapshot` does not."""
        if self._log_end is None:
            self._log_end = self.tree.last_zxid

    @property
    def unlogged(self) -> bool:
        """Whether memory has more than the files."""
        return self._log_end is not None

    @property
    def durable_zxid(self) -> int:
        """The last zxid that a start would load, when all that was logged is on disk."""
        return self.tree.last_zxid if self._log_end is None else self._log_end

    def apply(self, entry: Entry) -> tuple[TxnHeader, Applied] | None:
        """[hot] Apply a committed entry, and keep it for learners. Raises MarshallingError.

        None for a plain setData or create; of any other transaction what it was and did.
        """
        zxid, payload = entry
        tree = self.tree
        last = tree.last_zxid
        assert zxid == last + 1 or follows(zxid, last), f"0x{zxid:x} cannot be applied after 0x{last:x}"
        end = self._frequent.apply(payload)
        other = None
        if end < 0:
            other = self._apply_other(payload)
        elif end < len(payload):
            version, digest = _digest_at(payload, end)
            if digest != tree.digest or version != DIGEST_VERSION:
                self._compare(zxid, version, digest)
        # As committed_entries, without the call.
        if zxid != self._run_next:
            self._begin_run(zxid)
        self._run_next = zxid + 1
        self._committed.append(entry)
        return other

    def _apply_other(self, payload: bytes) -> tuple[TxnHeader, Applied]:
        header, body, digest = decode_txn(payload)
        if header.type == Op.CREATE_SESSION:
            assert isinstance(body, CreateSessionTxn)
            self.sessions[header.session_id] = body.timeout
        elif header.type == Op.CLOSE_SESSION:
            self.sessions.pop(header.session_id, None)
        result = self.tree.apply(header, body)
        self._frequent.learn(header, body, digest)
        if digest is not None:
            self._compare(header.zxid, *digest)
        return header, result

    def _compare(self, zxid: int, version: int, digest: int) -> None:
        """Compare the tree with the digest behind a transaction; a difference is counted and told, never fatal."""
        if self._ahead or self.tree.digest_matches(version, digest):
            return
        self._metrics.digest_mismatches_count.add()
        if self.tree.digest_mismatches == 1:
            _log.error("the tree differs from the digest of the leader from zxid 0x%x on", zxid)

    # -- what a leader has for its learners: zabra.zab.syncplan.History

    def committed_entries(self, entries: Sequence[Entry]) -> None:
        """[hot] Keep successive entries that were logged, and applied by other means than :meth:`apply`."""
        first, last = entries[0].zxid, entries[-1].zxid
        assert last - first == len(entries) - 1, f"not successive from 0x{first:x} to 0x{last:x}"
        if first != self._run_next:
            self._begin_run(first)
        self._run_next = last + 1
        self._committed.extend(entries)

    @property
    def last_processed(self) -> int:
        """The last zxid that is in the tree; epoch << 32 after an epoch began."""
        return self.tree.last_zxid

    @property
    def committed(self) -> Sequence[Entry]:
        """The newest applied entries, oldest first, without a gap."""
        return self._committed

    @property
    def log_base(self) -> int:
        """The log on disk has every entry after this zxid: that of the snapshot this run began with, or got since."""
        return self._log_base

    @property
    def snapshot_size(self) -> int:
        """Bytes of the newest snapshot file; 0 without one."""
        files = self._store.files()
        return self._disk.size(f"{self._store.path}/{files[0][1]}") if files else 0

    def log_runs(self, zxid: int) -> Sequence[tuple[int, int]]:
        """The zxids of ``read_log(zxid)`` from the base on, as (first, last) of runs without a gap. Reads no log.

        Raises :class:`LogChangedError` when a purge removes files just now, as the next does.
        """
        files = self._files_below(zxid)
        runs = [*self._runs, (self._run_first, self._run_next - 1)]
        return [(max(first, files[0][0]), last) for first, last in runs if last >= files[0][0]] if files else []

    def log_size(self, zxid: int) -> int:
        """Bytes of the log files behind the one that ``read_log(zxid)`` begins with."""
        try:
            return sum(self._disk.size(path) for _, path in self._files_below(zxid)[1:])
        except OSError as error:
            raise LogChangedError(str(error)) from error

    def _files_below(self, zxid: int) -> list[tuple[int, str]]:
        try:
            return self._logs.files_below(zxid)
        except OSError as error:
            raise LogChangedError(str(error)) from error

    def read_log(self, zxid: int) -> Iterator[Entry]:
        """Applied entries on disk, from the newest log file that begins below ``zxid``; without one, from the first.

        Read as they are wanted, while the writer goes on. Raises :class:`LogChangedError` when files are gone, after a
        purge, or damaged.
        """
        try:
            for entry in self._logs.read(zxid, self.tree.last_zxid, self.writer.written):
                yield Entry._make(entry)
        except (OSError, DataError) as error:
            raise LogChangedError(str(error)) from error


class _Progress:
    """Says how far a long load is, every two seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._next = monotonic() + 2

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self._monotonic()
        if now >= self._next:
            self._next = now + 2
            _log.info("loading the %s: %d of %d MiB", stage, done >> 20, total >> 20)
