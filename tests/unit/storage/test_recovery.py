"""From files to a tree: folders, snapshot and log together, empty folders, digests, torn ends, missing entries."""

from __future__ import annotations

import errno
import logging

import pytest
from memdisk import MemoryDisk

from zabra.consts import Op
from zabra.errors import DataError
from zabra.paths import parent_of
from zabra.storage.logformat import HEADER, frame
from zabra.storage.logreader import LogFolder
from zabra.storage.recovery import (
    EXIT_DATA_DIR,
    Folders,
    Recovered,
    open_folders,
    recover,
    remove_dead_ephemerals,
    save_snapshot,
)
from zabra.storage.snapstore import SnapshotStore
from zabra.tree.dump import Dump
from zabra.tree.tree import DataTree
from zabra.wire.records_txn import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    SetDataTxn,
)
from zabra.wire.txns import TxnBody, TxnDigest, TxnHeader, encode_txn

OPEN = ((31, "world", "anyone"),)
SESSION = 0x100


class History:
    """Makes transactions with the digest of a tree that applies them."""

    def __init__(self, zxid: int = 0) -> None:
        self.tree = DataTree()
        self.zxid = zxid
        self.entries: dict[int, bytes] = {}
        self.sessions: dict[int, int] = {}

    def add(self, type_: int, body: TxnBody | None, *, session: int = SESSION, digest: bool = True) -> int:
        self.zxid += 1
        header = TxnHeader(session, 1, self.zxid, 1_000_000 + self.zxid, type_)
        self.tree.apply(header, body)
        tail = TxnDigest(2, self.tree.digest) if digest else None
        self.entries[self.zxid] = encode_txn(header, body, tail)
        return self.zxid

    def create(self, path: bytes, data: bytes = b"", *, ephemeral: bool = False, session: int = SESSION) -> int:
        cversion = self.tree.nodes[parent_of(path)].cversion + 1
        return self.add(Op.CREATE, CreateTxn(path, data, OPEN, ephemeral, cversion), session=session)

    def log(self, first: int, last: int | None = None) -> bytes:
        """A log file with entries ``first`` to ``last``."""
        last = self.zxid if last is None else last
        return (
            HEADER + b"".join(frame(data) for zxid, data in self.entries.items() if first <= zxid <= last) + bytes(500)
        )


def some_history() -> History:
    history = History()
    history.add(Op.CREATE_SESSION, CreateSessionTxn(30000))
    history.create(b"/a", b"one")
    history.create(b"/a/e", b"", ephemeral=True)
    history.add(Op.SET_DATA, SetDataTxn(b"/a", b"two", 1))
    history.add(Op.CREATE_SESSION, CreateSessionTxn(4000), session=SESSION + 1)
    history.create(b"/b", ephemeral=True, session=SESSION + 1)
    history.add(Op.ERROR, ErrorTxn(-101))
    history.add(Op.DELETE, DeleteTxn(b"/a/e"))
    history.add(Op.CLOSE_SESSION, CloseSessionTxn((b"/b",)), session=SESSION + 1)
    history.create(b"/c")
    return history


def snapshot_at(history: History, zxid: int) -> tuple[str, bytes]:
    """The snapshot of the history's tree as of ``zxid``, written by us elsewhere."""
    disk = MemoryDisk()
    folders = open_folders(disk, "/x", "/x")
    disk.put("/x/version-2/snapshot.0", empty_snapshot())
    if zxid:
        disk.put("/x/version-2/log.1", history.log(1, zxid))
    tree = DataTree()
    store = SnapshotStore(disk, folders.snapshots)
    found = recover(disk, folders, store, tree, lambda sessions: Dump(tree, sessions))
    name = save_snapshot(store, Dump(tree, found.sessions))
    return name, disk.read(f"/x/version-2/{name}")


def empty_snapshot() -> bytes:
    disk = MemoryDisk()
    store = SnapshotStore(disk, "/y")
    return disk.read("/y/" + save_snapshot(store, Dump(DataTree(), {})))


def start(disk: MemoryDisk, **options: bool) -> tuple[DataTree, Recovered]:
    """Recover /data as a server does."""
    folders = open_folders(disk, "/data", "/data")
    tree = DataTree()
    store = SnapshotStore(disk, folders.snapshots)
    found = recover(disk, folders, store, tree, lambda sessions: Dump(tree, sessions), **options)
    return tree, found


def data_disk(files: dict[str, bytes]) -> MemoryDisk:
    disk = MemoryDisk()
    disk.makedirs("/data/version-2")
    for name, content in files.items():
        disk.put(f"/data/version-2/{name}", content)
    return disk


# -- folders


def test_folders_are_made() -> None:
    disk = MemoryDisk()
    folders = open_folders(disk, "/data/", "/logs")
    assert folders == Folders("/data/version-2", "/logs/version-2", "/data", "/logs")
    assert disk.is_dir("/data/version-2")
    assert disk.is_dir("/logs/version-2")
    assert disk.listdir("/data/version-2") == []


def test_without_autocreate_missing_folders_stop_the_start() -> None:
    disk = MemoryDisk()
    with pytest.raises(DataError, match=r"Missing data directory /logs/version-2.*datadir\.autocreate") as caught:
        open_folders(disk, "/data", "/logs", autocreate=False)
    assert caught.value.exit_code == EXIT_DATA_DIR
    disk.makedirs("/logs/version-2")
    with pytest.raises(DataError, match="Missing snap directory /data/version-2"):
        open_folders(disk, "/data", "/logs", autocreate=False)


@pytest.mark.parametrize(("call", "what"), [("makedirs", "Unable to create"), ("create", "Cannot write to")])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_folders_that_cannot_be_made_or_written(call: str, what: str, code: int) -> None:
    disk = MemoryDisk()
    disk.fail(call, code)
    with pytest.raises(DataError, match=f"{what} data directory /data/version-2") as caught:
        open_folders(disk, "/data", "/data")
    assert caught.value.exit_code == EXIT_DATA_DIR


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/logs/version-2/snapshot.5", "Log directory has snapshot files"),
        ("/data/version-2/log.5", "Snapshot directory has log files"),
    ],
)
def test_mixed_up_folders_stop_the_start(path: str, what: str) -> None:
    disk = MemoryDisk()
    disk.put(path, b"")
    with pytest.raises(DataError, match=f"{path}: {what}") as caught:
        open_folders(disk, "/data", "/logs")
    assert caught.value.exit_code == EXIT_DATA_DIR


# -- nothing there


def test_an_empty_folder_gets_snapshot_0() -> None:
    disk = data_disk({})
    tree, found = start(disk)
    assert (found.last_zxid, found.created_snapshot, found.snapshot) == (0, "snapshot.0", None)
    assert disk.read("/data/version-2/snapshot.0") == empty_snapshot()
    again, found = start(disk)
    assert (again.digest, found.created_snapshot) == (tree.digest, None)


def test_an_empty_folder_may_not_vote_without_db_autocreate_and_marker() -> None:
    disk = data_disk({})
    tree, found = start(disk, db_autocreate=False)
    assert (found.last_zxid, tree.last_zxid, found.created_snapshot) == (-1, -1, None)
    assert disk.listdir("/data/version-2") == []


@pytest.mark.parametrize("folder", ["/data", "/logs"])
def test_the_initialize_marker_lets_it_vote_and_is_taken(folder: str) -> None:
    disk = MemoryDisk()
    disk.put(f"{folder}/initialize", b"")
    folders = open_folders(disk, "/data", "/logs")
    tree = DataTree()
    store = SnapshotStore(disk, folders.snapshots)
    found = recover(disk, folders, store, tree, lambda s: Dump(tree, s), db_autocreate=False)
    assert found.created_snapshot == "snapshot.0"
    assert not disk.exists(f"{folder}/initialize")


def test_the_marker_is_taken_where_there_is_data_too() -> None:
    disk = data_disk({"snapshot.0": empty_snapshot()})
    disk.put("/data/initialize", b"")
    start(disk)
    assert not disk.exists("/data/initialize")


def test_log_entries_without_a_snapshot_stop_the_start_unless_trusted() -> None:
    """ZOOKEEPER-2325, 3056, 3644: no silent empty start, and trusting still replays the log."""
    history = some_history()
    disk = data_disk({"log.1": history.log(1)})
    before = dict(disk.inodes)
    with pytest.raises(DataError, match="No snapshot found, but there are log entries"):
        start(disk)
    assert disk.inodes == before
    tree, found = start(disk, trust_empty=True)
    assert (found.last_zxid, found.entries_replayed) == (10, 10)
    assert tree.digest == history.tree.digest


def test_trusted_logs_may_begin_anywhere() -> None:
    history = some_history()
    tree, found = start(data_disk({"log.6": history.log(6)}), trust_empty=True)
    assert (found.last_zxid, found.entries_replayed) == (10, 5)
    assert b"/c" in tree.nodes


# -- snapshot and log


@pytest.mark.parametrize("at", range(11))
def test_any_snapshot_with_the_log_gives_the_same_tree_and_sessions(at: int) -> None:
    history = some_history()
    name, content = snapshot_at(history, at)
    disk = data_disk({name: content, "log.1": history.log(1, 4), "log.5": history.log(5)})
    tree, found = start(disk)
    assert tree.digest == history.tree.digest
    assert found.last_zxid == tree.last_zxid == 10
    assert found.sessions == {SESSION: 30000}
    assert found.entries_replayed == 10 - at
    assert found.digest_mismatches == 0
    assert found.snapshot is not None
    assert found.snapshot.path.endswith(name)


def test_damaged_newest_snapshot_is_made_up_for_by_the_log() -> None:
    history = some_history()
    (old, old_content), (new, new_content) = snapshot_at(history, 2), snapshot_at(history, 8)
    bad = bytearray(new_content)
    bad[40] ^= 1
    disk = data_disk({old: old_content, new: bytes(bad), "log.1": history.log(1, 4), "log.5": history.log(5)})
    tree, found = start(disk)
    assert (tree.digest, found.entries_replayed) == (history.tree.digest, 8)
    assert found.sessions == {SESSION: 30000}


def test_progress_is_told() -> None:
    history = History()
    for number in range(20_000):
        history.create(b"/n%d" % number)
    disk = data_disk({"snapshot.0": empty_snapshot(), "log.1": history.log(1)})
    seen: list[tuple[str, int, int]] = []
    folders = open_folders(disk, "/data", "/data")
    tree = DataTree()
    store = SnapshotStore(disk, folders.snapshots)
    recover(disk, folders, store, tree, lambda s: Dump(tree, s), on_progress=lambda *told: seen.append(told))
    assert seen[0][0] == "snapshot"
    assert [told for told in seen if told[0] == "log"] == [("log", 10_000, 0), ("log", 20_000, 0)]


# -- what does not fit


@pytest.mark.parametrize("missing", [3, 7])
def test_a_hole_in_the_log_stops_the_start(missing: int) -> None:
    history = some_history()
    log = HEADER + b"".join(frame(data) for zxid, data in history.entries.items() if zxid != missing)
    disk = data_disk({"snapshot.0": empty_snapshot(), "log.1": log})
    with pytest.raises(DataError, match=rf"log\.1: offset \d+: entries are missing: zxid 0x{missing + 1:x} follows"):
        start(disk)


def test_a_log_that_begins_after_the_snapshot_stops_the_start() -> None:
    history = some_history()
    name, content = snapshot_at(history, 3)
    disk = data_disk({name: content, "log.6": history.log(6)})
    with pytest.raises(DataError, match=r"log\.6: offset 16: entries are missing: zxid 0x6 follows 0x3"):
        start(disk)


def test_a_new_epoch_begins_at_any_zxid_above() -> None:
    history = some_history()
    history.zxid = 5 << 32
    history.create(b"/later")
    disk = data_disk(
        {"snapshot.0": empty_snapshot(), "log.1": history.log(1, 10), "log.500000001": history.log(5 << 32)}
    )
    tree, found = start(disk)
    assert (found.last_zxid, tree.digest) == ((5 << 32) + 1, history.tree.digest)


def test_repeated_entries_are_passed_over() -> None:
    history = some_history()
    disk = data_disk({"snapshot.0": empty_snapshot(), "log.1": history.log(1), "log.4": history.log(4)})
    tree, found = start(disk)
    assert (tree.digest, found.entries_replayed, found.entries_passed_over) == (history.tree.digest, 10, 7)


def test_an_entry_that_is_no_transaction_names_file_and_offset() -> None:
    history = some_history()
    content = history.log(1, 2).rstrip(b"\0") + frame(history.entries[3][:12] + bytes(7) + b"\3" + bytes(40))
    with pytest.raises(DataError, match=rf"log\.1: offset {len(history.log(1, 2).rstrip(bytes(1)))}: "):
        start(data_disk({"snapshot.0": empty_snapshot(), "log.1": content}))


def test_a_torn_end_is_dropped_and_the_next_start_is_clean() -> None:
    history = some_history()
    log = history.log(1).rstrip(b"\0")[:-20] + bytes(1000)
    disk = data_disk({"snapshot.0": empty_snapshot(), "log.1": log})
    tree, found = start(disk)
    assert found.last_zxid == tree.last_zxid == 9
    assert len(found.repairs) == 1
    assert "log.1: offset" in found.repairs[0]
    assert start(disk)[1].repairs == []
    assert LogFolder(disk, "/data/version-2").last_zxid() == 9


def test_a_torn_end_before_other_logs_is_fine_only_if_nothing_is_missing() -> None:
    """Apache starts on a torn log and leaves it so; then the next log goes on with the very next zxid."""
    history = some_history()
    torn = history.log(1, 4).rstrip(b"\0")[:-20] + bytes(1000)
    snapshot = {"snapshot.0": empty_snapshot()}
    tree, _ = start(data_disk({**snapshot, "log.1": torn, "log.4": history.log(4)}))
    assert tree.digest == history.tree.digest
    with pytest.raises(DataError, match="entries are missing"):
        start(data_disk({**snapshot, "log.1": torn, "log.5": history.log(5)}))


def test_temporaries_of_a_crash_are_removed() -> None:
    disk = data_disk({"snapshot.0": empty_snapshot(), "tmp.snapshot.5": b"half"})
    start(disk)
    assert disk.listdir("/data/version-2") == ["snapshot.0"]


def test_a_full_disk_at_the_first_snapshot_is_an_error_and_leaves_nothing() -> None:
    disk = data_disk({})
    disk.fail("pwrite", errno.ENOSPC)
    with pytest.raises(OSError, match="pwrite"):
        start(disk)
    assert disk.listdir("/data/version-2") == []


# -- digests


def test_a_wrong_digest_in_the_log_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    history = some_history()
    history.tree.digest += 12345
    history.create(b"/d")
    history.create(b"/e")
    disk = data_disk({"snapshot.0": empty_snapshot(), "log.1": history.log(1)})
    _, found = start(disk)
    assert found.digest_mismatches == 2
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == [
        "the tree differs from the digest in the log from zxid 0xb on"
    ]


def test_digests_are_left_alone_when_switched_off() -> None:
    history = some_history()
    history.tree.digest += 12345
    history.create(b"/d")
    disk = data_disk({"snapshot.0": empty_snapshot(), "log.1": history.log(1)})
    assert start(disk, digest_enabled=False)[1].digest_mismatches == 0


def test_entries_without_digest_are_fine() -> None:
    history = History()
    history.add(Op.CREATE, CreateTxn(b"/a", b"", OPEN, False, 1), digest=False)
    tree, found = start(data_disk({"snapshot.0": empty_snapshot(), "log.1": history.log(1)}))
    assert (found.entries_replayed, found.digest_mismatches) == (1, 0)
    assert b"/a" in tree.nodes


def test_a_fuzzy_snapshot_is_compared_only_once_its_digest_is_reached() -> None:
    """Apache names a snapshot by the zxid at its start and stores the digest of the zxid at its end."""
    history = some_history()
    _, content = snapshot_at(history, 8)
    disk = data_disk({"snapshot.3": content, "log.1": history.log(1)})
    tree, found = start(disk)
    assert tree.digest == history.tree.digest
    assert (found.entries_replayed, found.digest_mismatches) == (7, 0)


@pytest.mark.parametrize(("taken_at", "points"), [(120, [128, 256]), (128, [256]), (200, [256])])
def test_the_digest_history_begins_behind_a_fuzzy_snapshot(taken_at: int, points: list[int]) -> None:
    """Before its digest is reached the tree is ahead of its zxid, so its digest means nothing."""
    history = History()
    history.create(b"/a")
    for version in range(1, 261):
        history.add(Op.SET_DATA, SetDataTxn(b"/a", b"", version))
    _, content = snapshot_at(history, taken_at)
    tree, _ = start(data_disk({"snapshot.3": content, "log.1": history.log(1)}))
    assert list(tree.digest_log) == points
    assert tree.digest_log[256] == history.tree.digest_log[256]


def test_a_fuzzy_snapshot_whose_end_is_not_in_the_log_is_said(caplog: pytest.LogCaptureFixture) -> None:
    history = some_history()
    _, content = snapshot_at(history, 8)
    start(data_disk({"snapshot.3": content, "log.1": history.log(1, 6)}))
    assert any("before the digest of its snapshot at 0x8" in record.message for record in caplog.records)


# -- dead sessions


def test_ephemerals_of_sessions_that_are_no_more_are_removed() -> None:
    history = some_history()
    history.create(b"/c/mine", ephemeral=True)
    history.create(b"/c/orphan", ephemeral=True, session=77)
    tree, found = start(data_disk({"snapshot.0": empty_snapshot(), "log.1": history.log(1)}))
    assert b"/c/orphan" in tree.nodes
    assert remove_dead_ephemerals(tree, found.sessions) == 1
    assert b"/c/orphan" not in tree.nodes
    assert b"/c/mine" in tree.nodes
    assert remove_dead_ephemerals(tree, found.sessions) == 0
