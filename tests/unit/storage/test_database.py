"""One member's data: load, apply, cut the end off, take over another history, and what is there for learners."""

from __future__ import annotations

import errno
import gzip
import logging

import pytest
from dbkit import (
    FOLDER,
    SESSION,
    Story,
    log,
    new_database,
    receive,
    snapshot,
    some_story,
    state,
    story_state,
    take,
    z,
)
from memdisk import MemoryDisk

from zabra.consts import Op
from zabra.errors import DataError, ProtocolError
from zabra.storage.database import HISTORY_BASE
from zabra.storage.logformat import HEADER, frame
from zabra.wire.txns import decode_txn
from zabra.zab.packets import Packet
from zabra.zab.syncplan import Entry, LogChangedError, choose_sync
from zabra.zxid import epoch_of

#: Calls that change something.
CHANGES = ("pwrite", "truncate", "create", "rename", "unlink", "write_atomic")


class Killed(BaseException):
    """The process died."""


def died_at(disk, number):
    """Die before the ``number``-th change; tells how many were done."""
    done = []

    def on_call(name, path):
        if name in CHANGES:
            if len(done) == number:
                raise Killed
            done.append(name)

    disk.on_call = on_call
    return done


def loaded(disk, **options):
    database = new_database(disk, **options)
    database.load()
    return database


def fresh(disk=None, **options):
    return loaded(disk or MemoryDisk(), **options)


def zxids(entries):
    return [entry.zxid for entry in entries]


# -- loading and applying


def test_an_empty_folder_is_an_empty_tree_with_a_snapshot():
    disk = MemoryDisk()
    database = fresh(disk)
    assert (database.last_processed, database.log_base, database.floor) == (0, 0, 0)
    assert database.sessions == {}
    assert list(database.committed) == []
    assert "snapshot.0" in disk.listdir(FOLDER)


def test_what_was_logged_is_there_after_a_load():
    disk = MemoryDisk()
    story = some_story()
    database = fresh(disk)
    take(database, story.entries)
    assert state(database) == story_state(story)
    assert state(loaded(disk)) == state(database)
    assert database.sessions == {SESSION: 30_000}
    assert database.tree.digest == story.tree.digest


def test_a_load_puts_new_objects_in_place_and_the_log_goes_on():
    disk = MemoryDisk()
    story = some_story()
    database = fresh(disk)
    take(database, story.entries)
    tree, sessions, writer = database.tree, database.sessions, database.writer
    database.load()
    assert database.tree is not tree
    assert database.sessions is not sessions
    assert writer.failed
    take(database, story.many(3))
    assert state(loaded(disk)) == story_state(story)


def test_an_entry_tells_what_it_was_and_did_unless_it_is_a_plain_one():
    story = some_story()
    database = fresh()
    told = [database.apply(entry) for entry in story.entries]
    for entry, other in zip(story.entries, told, strict=True):
        header, body, _ = decode_txn(entry.data)
        if other is None:
            assert header.type in (Op.CREATE, Op.CREATE2, Op.SET_DATA)
        else:
            assert other[0] == header
            assert other[1].type == header.type
            assert other[1].path == getattr(body, "path", None)
    assert None in told
    assert [other for other in told if other is not None]


def test_each_entry_in_its_place():
    story = some_story()
    database = fresh()
    database.apply(story.entries[0])
    for wrong in (story.entries[0], story.entries[2]):
        with pytest.raises(AssertionError, match="cannot be applied after"):
            database.apply(wrong)
    database.apply(story.entries[1])
    assert database.last_processed == z(1, 2)


def test_frequent_transactions_are_not_taken_apart(monkeypatch):
    story = Story()
    entries = [*story.many(3), story.set(story.paths()[0], b"x")]
    database = fresh()
    database.apply(entries[0])
    monkeypatch.delattr("zabra.storage.database.decode_txn")
    for entry in entries[1:]:
        database.apply(entry)
    assert database.tree.digest == story.tree.digest


def test_a_digest_that_differs_is_counted_and_told_once(caplog):
    story = Story()
    entries = story.many(4)
    database = fresh()
    database.apply(entries[0])
    for entry in entries[1:]:
        database.apply(Entry(entry.zxid, entry.data[:-8] + bytes(8)))
    assert database.tree.digest_mismatches == 3
    assert database._metrics.digest_mismatches_count.value == 3
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in told] == [
        "the tree differs from the digest of the leader from zxid 0x100000002 on"
    ]


# -- the committed window


def test_the_window_has_the_newest_entries_of_a_load_and_those_applied_since():
    disk = MemoryDisk()
    story = some_story()
    take(fresh(disk), story.entries)
    database = loaded(disk, window=4)
    assert list(database.committed) == story.entries[-4:]
    more = story.many(2)
    take(database, more[:1])
    log(database, more[1:])
    database.committed_entries(more[1:2])
    assert list(database.committed) == story.entries[-4:]


# -- cutting


@pytest.mark.parametrize("counter", range(1, 10))
def test_truncate_is_the_tree_of_then(counter):
    disk = MemoryDisk()
    story = some_story()
    database = fresh(disk)
    take(database, story.entries[:4])
    snapshot(database)
    take(database, story.entries[4:8])
    snapshot(database)
    take(database, story.entries[8:])
    writer = database.writer
    database.truncate(z(1, counter))
    assert writer.failed
    assert database.writer.last_zxid == z(1, counter)
    assert state(database) == story_state(story, z(1, counter))
    assert zxids(database.committed)[-1:] in ([z(1, counter)], [])
    assert state(loaded(disk)) == state(database)
    # The log goes on, in this epoch or the next one.
    other = Story()
    other.epoch(3)
    take(database, other.many(2, b"/other"))
    assert loaded(disk).last_processed == z(3, 2)


def test_truncate_to_a_zxid_between_epochs():
    disk = MemoryDisk()
    story = some_story()
    database = fresh(disk)
    take(database, story.entries)
    database.truncate(z(2, 0))
    assert database.last_processed == z(1, 10)


def test_truncate_below_the_oldest_snapshot_changes_nothing():
    disk = MemoryDisk()
    story = some_story()
    database = fresh(disk)
    take(database, story.entries[:5])
    snapshot(database)
    take(database, story.entries[5:])
    disk.unlink(f"{FOLDER}/snapshot.0")
    database = loaded(disk)
    assert database.floor == z(1, 5)
    before = {path: bytes(inode.data) for path, inode in disk.inodes.items()}
    with pytest.raises(DataError):
        database.truncate(z(1, 4))
    assert {path: bytes(inode.data) for path, inode in disk.inodes.items()} == before


def test_truncate_to_what_the_history_lacks_changes_nothing():
    disk = MemoryDisk()
    story = some_story()
    database = fresh(disk)
    take(database, story.entries)
    before = {path: bytes(inode.data) for path, inode in disk.inodes.items()}
    with pytest.raises(DataError, match="cannot be cut to zxid 0x10000000b: the last one is 0x10000000a"):
        database.truncate(z(1, 11))
    assert {path: bytes(inode.data) for path, inode in disk.inodes.items()} == before


def cut_disk():
    """Three log files and three snapshots."""
    disk = MemoryDisk()
    story = some_story()
    database = fresh(disk)
    take(database, story.entries[:4])
    snapshot(database)
    take(database, story.entries[4:8])
    snapshot(database)
    take(database, story.entries[8:])
    return disk, story, database


def test_a_truncate_that_is_interrupted_leaves_a_history_that_has_been():
    number = 0
    while True:
        disk, story, database = cut_disk()
        done = died_at(disk, number)
        try:
            database.truncate(z(1, 6))
        except Killed:
            pass
        else:
            break
        disk.on_call = lambda name, path: None
        again = loaded(disk)
        assert z(1, 6) <= again.last_processed <= z(2, 5)
        assert state(again) == story_state(story, again.last_processed)
        again.truncate(z(1, 6))
        assert state(again) == state(loaded(disk)) == story_state(story, z(1, 6))
        number += 1
    assert number == len(done) == 3


# -- another history


def other_history(after=6):
    """A story that shares the first entries, and a member that has all of it."""
    story = some_story()
    other = Story()
    for entry in story.entries[:after]:
        other.replay(entry)
    other.epoch(3)
    other.many(4, b"/other")
    source = fresh()
    for entry in other.entries:
        source.apply(entry)
    return other, source


def test_a_streamed_snapshot_replaces_the_tree_and_is_what_a_start_loads():
    disk, _, database = cut_disk()
    other, source = other_history()
    base = source.last_processed
    receive(database, source, base)
    assert list(database.committed) == []
    for entry in other.many(2, b"/late"):
        database.apply(entry)
    database.save_snapshot(base)
    assert state(database) == story_state(other)
    assert zxids(database.committed) == [base + 1, base + 2]
    assert database.log_base == database.floor == database.writer.last_zxid == base + 2
    assert state(loaded(disk)) == state(database)
    more = other.many(2, b"/more")
    take(database, more)
    again = loaded(disk)
    assert state(again) == story_state(other)
    assert (again.log_base, again.floor) == (base + 2, base + 2)


def test_what_is_in_no_log_is_lost_by_a_load_and_kept_by_a_snapshot():
    disk, story, database = cut_disk()
    end = database.last_processed
    assert (database.unlogged, database.durable_zxid) == (False, end)
    for entry in story.many(3, b"/late"):
        database.leave_log()
        database.apply(entry)
    assert (database.unlogged, database.durable_zxid) == (True, end)
    assert loaded(disk).last_processed == end
    database.save_snapshot(story.zxid)
    assert (database.unlogged, database.durable_zxid) == (False, story.zxid)
    assert state(loaded(disk)) == story_state(story)
    # And the log goes on behind it.
    take(database, story.many(2, b"/more"))
    assert state(loaded(disk)) == story_state(story)


def test_what_is_newer_than_the_base_is_gone_and_what_is_older_is_never_loaded():
    disk, _, database = cut_disk()
    other = Story()
    other.many(6, b"/other")
    source = fresh()
    for entry in other.entries:
        source.apply(entry)
    receive(database, source, z(1, 6))
    database.save_snapshot(z(1, 6))
    names = disk.listdir(FOLDER)
    assert [name for name in names if name.startswith("snapshot")] == [
        "snapshot.0",
        "snapshot.100000004",
        "snapshot.100000006",
    ]
    assert disk.read(f"{FOLDER}/{HISTORY_BASE}") == b"4294967302"
    assert state(loaded(disk)) == story_state(other)
    disk.inodes[f"{FOLDER}/snapshot.100000006"].data[40] ^= 1
    with pytest.raises(DataError, match="none of 1 snapshots"):
        loaded(disk)
    disk.unlink(f"{FOLDER}/snapshot.100000006")
    with pytest.raises(DataError, match="lack the snapshot of zxid 0x100000006"):
        loaded(disk)


def test_a_change_of_history_that_is_interrupted_is_either():
    number = 0
    outcomes = []
    while True:
        disk, story, database = cut_disk()
        other, source = other_history()
        base = source.last_processed
        receive(database, source, base)
        died_at(disk, number)
        try:
            database.save_snapshot(base)
        except Killed:
            pass
        else:
            break
        disk.on_call = lambda name, path: None
        again = loaded(disk)
        is_new = state(again) == story_state(other)
        assert is_new or state(again) == story_state(story)
        outcomes.append(is_new)
        take(again, other.many(2) if is_new else story.many(2))
        assert state(loaded(disk)) == state(again)
        number += 1
    assert outcomes == sorted(outcomes)
    assert len(outcomes) > 5
    assert True in outcomes


def test_no_other_snapshot_of_the_same_zxid_is_left():
    """One history was compressed, the other is not: both names tell of one zxid."""
    disk, _, database = cut_disk()
    content = disk.read(f"{FOLDER}/snapshot.100000004")
    disk.put(f"{FOLDER}/snapshot.100000006.gz", gzip.compress(content))
    other, source = other_history()
    receive(database, source, z(1, 6))
    database.save_snapshot(z(1, 6))
    names = [name for name in disk.listdir(FOLDER) if name.startswith("snapshot")]
    assert names == ["snapshot.0", "snapshot.100000004", "snapshot.100000006"]
    assert state(loaded(disk)) == (z(1, 6), *story_state(other)[1:])


def test_an_own_snapshot_of_the_base_is_of_the_other_history_too():
    disk, _, database = cut_disk()
    other, source = other_history()
    receive(database, source, z(1, 4))
    for entry in other.entries[4:]:
        database.apply(entry)
    database.save_snapshot(z(1, 4))
    assert "snapshot.100000004" in disk.listdir(FOLDER)
    disk.inodes[f"{FOLDER}/snapshot.300000004"].data[40] ^= 1
    with pytest.raises(DataError, match="none of 1 snapshots"):
        loaded(disk)


def test_a_leader_that_goes_on_while_it_sends_makes_no_digest_wrong():
    """What it applied meanwhile is in the snapshot, and comes again behind it."""
    disk = MemoryDisk()
    story = some_story()
    leader, learner = fresh(), fresh(disk)
    for entry in story.entries:
        leader.apply(entry)
    receive(learner, leader, z(1, 6))
    for entry in story.entries[6:]:
        learner.apply(entry)
    assert learner.tree.digest_mismatches == 0
    learner.save_snapshot(z(1, 6))
    assert state(learner) == story_state(story)
    # From here on it counts again.
    more = story.many(2)
    learner.apply(Entry(more[0].zxid, more[0].data[:-8] + bytes(8)))
    learner.apply(more[1])
    assert learner.tree.digest_mismatches == 1


def test_a_folder_that_was_emptied_begins_anew():
    disk, _, database = cut_disk()
    _, source = other_history()
    receive(database, source, z(1, 6))
    database.save_snapshot(z(1, 6))
    for name in disk.listdir(FOLDER):
        if name != HISTORY_BASE:
            disk.unlink(f"{FOLDER}/{name}")
    database = loaded(disk)
    assert database.last_processed == 0
    assert HISTORY_BASE not in disk.listdir(FOLDER)
    assert loaded(disk).last_processed == 0


@pytest.mark.parametrize(
    "content", [b"", b"x", b"1 2", b"1 2 3", b"5 4 snapshot.6", b"5 4 snapshot.5 x", b"5 4 ../snapshot.5"]
)
def test_a_history_base_that_says_nothing_stops_the_start(content):
    disk, _, _ = cut_disk()
    disk.put(f"{FOLDER}/{HISTORY_BASE}", content)
    with pytest.raises(DataError, match="historyBase: expected a zxid"):
        loaded(disk)


def test_what_an_interrupted_dump_left_is_no_hindrance():
    disk, _, database = cut_disk()
    other, source = other_history()
    receive(database, source, z(1, 6))
    for entry in other.many(1100):
        database.apply(entry)
    disk.fail("pwrite")
    with pytest.raises(OSError, match="pwrite"):
        database.save_snapshot(z(1, 6))
    assert database.tree.dump is None
    disk.on_call = lambda name, path: None
    disk.put(f"{FOLDER}/tmp.snapshot.7", b"left by a crash")
    database.save_snapshot(z(1, 6))
    assert not [name for name in disk.listdir(FOLDER) if name.startswith("tmp.")]
    assert state(loaded(disk)) == story_state(other)


def test_a_snapshot_beyond_the_limit_of_this_server_is_refused():
    source = fresh()
    for entry in Story().many(1):
        source.apply(entry)
    database = fresh(jute_max_buffer=8, jute_max_buffer_extra=2)
    with pytest.raises(ProtocolError, match="more than the 10 of jute"):
        receive(database, source, z(1, 1))
    database.load()
    assert database.last_processed == 0


# -- for learners


def test_the_log_is_read_from_the_newest_file_that_begins_below():
    _, story, database = cut_disk()
    assert zxids(database.read_log(z(1, 6))) == zxids(story.entries[4:])
    assert zxids(database.read_log(z(1, 5))) == zxids(story.entries)
    assert zxids(database.read_log(0)) == zxids(story.entries)
    assert list(database.read_log(z(1, 5))) == story.entries
    assert database.log_size(z(1, 9)) == 64 << 10
    assert database.log_size(z(2, 1)) == 0
    assert database.log_size(0) == 128 << 10
    assert database.snapshot_size == database._disk.size(f"{FOLDER}/snapshot.100000008")


def test_runs_are_what_reading_would_give():
    disk, story, database = cut_disk()
    for here in (database, loaded(disk)):
        for peer in (0, z(1, 4), z(1, 5), z(1, 8), z(1, 9), z(2, 0), z(2, 1), z(2, 5), z(3, 0)):
            read = [zxid for zxid in zxids(here.read_log(peer)) if zxid >= here.log_base]
            runs = [zxid for first, last in here.log_runs(peer) for zxid in range(first, last + 1)]
            assert runs == read, f"{peer:x}"
    assert database.log_runs(0) == [(z(1, 1), z(1, 10)), (z(2, 1), z(2, 5))]
    take(database, story.many(1))
    assert database.log_runs(z(2, 0))[-1] == (z(2, 1), z(2, 6))
    log(database, story.many(1))
    assert database.log_runs(z(2, 0))[-1] == (z(2, 1), z(2, 6))


def test_a_header_without_entries_is_no_beginning():
    disk, story, database = cut_disk()
    story.epoch(3)
    disk.put(f"{FOLDER}/log.200000006", HEADER + bytes(500))
    take(database, story.many(2))
    assert zxids(database.read_log(z(3, 0))) == zxids(story.entries[8:])
    assert database.log_runs(z(3, 0))[0] == (z(1, 9), z(1, 10))


def test_the_log_is_read_while_a_write_is_on_its_way():
    """Bytes behind what is written may be anything: pieces of entries, or entries whose first bytes are not there."""
    disk, story, database = cut_disk()
    path = database.writer.path
    before = list(database.read_log(0))
    inode = disk.inodes[path]
    end = database.writer.file_bytes
    for garbage in (b"\xff" * 200, bytes(4) + b"\x01" * 600, frame(story.many(1)[0].data)[:50]):
        inode.data[end : end + len(garbage)] = garbage
        assert list(database.read_log(0)) == before


def test_a_damaged_entry_is_told_and_not_passed_over():
    disk, _, database = cut_disk()
    disk.inodes[f"{FOLDER}/log.100000005"].data[100] ^= 1
    with pytest.raises(LogChangedError, match=r"log\.100000005: offset 16: an entry that does not verify"):
        list(database.read_log(z(1, 5)))


@pytest.mark.parametrize("call", ["open", "size"])
def test_a_log_that_is_purged_just_now_is_told(call, monkeypatch):
    disk, _, database = cut_disk()
    real = getattr(disk, call)

    def purged(path, **mode):
        if "/log." in path:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return real(path, **mode)

    monkeypatch.setattr(disk, call, purged)
    with pytest.raises(LogChangedError):
        database.log_size(0 if call == "size" else z(2, 1))
    if call == "open":
        with pytest.raises(LogChangedError):
            database.log_runs(z(2, 1))


def test_what_is_logged_and_not_applied_is_not_read():
    _, story, database = cut_disk()
    log(database, story.many(3))
    assert zxids(database.read_log(0))[-1] == z(2, 5)


def test_files_that_a_purge_took_are_told():
    disk, _, database = cut_disk()
    reading = database.read_log(z(1, 5))
    next(reading)
    disk.unlink(f"{FOLDER}/log.100000005")
    with pytest.raises(LogChangedError):
        list(reading)
    assert epoch_of(next(database.read_log(z(1, 9))).zxid) == 1


def test_a_learner_that_lacks_entries_gets_them_from_the_disk():
    disk, story, _ = cut_disk()
    database = loaded(disk, window=2)
    plan = choose_sync(database, z(1, 9), size_factor=1000.0)
    assert plan[:4] == (Packet.DIFF, z(2, 5), z(2, 5), (z(1, 9), z(2, 4)))
    packets = b"".join(plan.packets(database))
    assert all(entry.data in packets for entry in story.entries[9:])


def test_nobody_is_sent_a_log_that_may_lack_entries():
    """What is older than the snapshot that this run began with may have come from elsewhere (ZOOKEEPER-2099)."""
    disk, _, _ = cut_disk()
    database = loaded(disk, window=2)
    assert database.log_base == z(1, 8)
    assert choose_sync(database, z(1, 7), size_factor=1000.0).op == Packet.SNAP
    assert choose_sync(database, z(1, 8), size_factor=1000.0).op == Packet.DIFF


def test_a_purge_keeps_what_a_load_needs():
    disk, story, database = cut_disk()
    for _ in range(3):
        take(database, story.many(3))
        snapshot(database)
    removed = []
    database.purge(3, removed.append)
    logs = ["log.100000001", "log.100000005"]
    snapshots = ["snapshot.0", "snapshot.100000004", "snapshot.100000008"]
    assert [path.rpartition("/")[2] for path in removed] == [*logs, *snapshots]
    assert state(loaded(disk)) == story_state(story)


def test_a_purge_ends_where_a_change_begins():
    """It would take the only snapshot that a TRUNC can go back to, after the TRUNC has taken the others."""
    disk, story, database = cut_disk()
    for _ in range(3):
        take(database, story.many(3))
        snapshot(database)
    removed = []

    def on_removed(path):
        removed.append(path)
        if len(removed) == 1:
            database.truncate(z(1, 9))

    database.purge(3, on_removed)
    assert len(removed) == 1
    assert state(loaded(disk)) == story_state(story, z(1, 9))
