"""Bugs of others in bringing a server up to date, at the level of what is in memory and on disk.

Each test is called by the number of the bug; ``docs/known-bugs.md`` tells of them.
"""

from __future__ import annotations

import random

import pytest
from dbkit import (
    SESSION,
    Story,
    bring_up,
    log,
    new_database,
    receive,
    snapshot,
    some_story,
    state,
    story_state,
    stream,
    take,
    z,
)
from memdisk import MemoryDisk

from zabra.errors import DataError
from zabra.zab.packets import Packet
from zabra.zab.syncplan import choose_sync
from zabra.zxid import epoch_of

FOLDER = "/data/version-2"
DIFF, TRUNC, SNAP = Packet.DIFF, Packet.TRUNC, Packet.SNAP


def server(entries=(), disk=None, window=500):
    """A server that has these entries, in one log file."""
    database = new_database(disk or MemoryDisk(), window)
    database.load()
    take(database, list(entries))
    return database


def restarted(database, window=500):
    again = new_database(database._disk, window)
    again.load()
    return again


def branch(story, count, epoch):
    """The first ``count`` entries of a story, then those of another epoch."""
    other = Story()
    for entry in story.entries[:count]:
        other.replay(entry)
    other.epoch(epoch)
    other.many(3, b"/branch")
    return other


def test_5094_after_a_trunc_that_failed_nothing_is_written():
    """Memory stayed ahead of the log, and the next sync left a gap on disk."""
    story = some_story()
    database = server(story.entries)
    database._disk.fail("truncate")
    with pytest.raises(OSError, match="truncate"):
        database.truncate(z(1, 6))
    database._disk.on_call = lambda name, path: None
    with pytest.raises(OSError, match="not written after an earlier failure"):
        log(database, story.many(1))
    assert state(restarted(database)) == story_state(story, z(2, 5))


def test_3642_a_snapshot_that_was_not_saved_is_forgotten():
    """The leader died between SNAP and NEWLEADER; what it had sent stayed, in memory only."""
    story = some_story()
    other = branch(story, 6, 3)
    leader, learner = server(other.entries), server(story.entries)
    receive(learner, leader, other.entries[5].zxid)
    learner.apply(other.entries[6])
    assert learner.last_processed == z(3, 1)
    learner.load()
    assert state(learner) == story_state(story)
    assert learner.log_base == 0
    assert bring_up(server([*story.entries, *story.many(2)]), learner) == DIFF
    assert state(restarted(learner)) == story_state(story)


def test_2872_a_snapshot_that_came_half_is_forgotten():
    story = some_story()
    leader, learner = server(branch(story, 6, 3).entries), server(story.entries)
    body = stream(leader)
    assert learner.receive_snapshot(z(3, 3)).feed(body[: len(body) // 2]) is None
    assert state(restarted(learner)) == story_state(story)
    learner.load()
    assert state(learner) == story_state(story)


def test_2845_what_only_the_log_has_counts_in_the_next_election():
    """A proposal that was logged and never committed came back on one server, after a restart.

    At the end of a role its shell applies what was logged: from then on it counts, or is cut off.
    """
    story = some_story()
    old_leader = server(story.entries)
    proposed = Story()
    for entry in story.entries:
        proposed.replay(entry)
    take(old_leader, proposed.many(2, b"/never"))
    assert state(old_leader) == state(restarted(old_leader))
    other = branch(story, 15, 3)
    new_leader = server(other.entries)
    assert bring_up(new_leader, old_leader, size_factor=1000.0) == SNAP
    assert state(old_leader) == state(restarted(old_leader)) == state(new_leader)
    # The same before the new epoch has begun.
    old_leader, new_leader = server(story.entries), server(story.entries)
    take(old_leader, proposed.entries[15:])
    assert bring_up(new_leader, old_leader) == TRUNC
    assert state(old_leader) == state(restarted(old_leader)) == state(new_leader)


@pytest.mark.parametrize("call", ["unlink", "truncate", "sync", "sync_dir"])
def test_3701_a_trunc_that_cannot_be_done_is_told(call):
    story = some_story()
    database = server(story.entries[:4])
    snapshot(database)
    take(database, story.entries[4:])
    database._disk.fail(call)
    with pytest.raises(OSError, match=call):
        database.truncate(z(1, 2))


def test_3701_a_trunc_to_where_no_snapshot_reaches_is_told():
    story = some_story()
    database = server(story.entries[:4])
    snapshot(database)
    take(database, story.entries[4:])
    database._disk.unlink(f"{FOLDER}/snapshot.0")
    with pytest.raises(DataError):
        database.truncate(z(1, 2))
    assert state(restarted(database)) == story_state(story)


@pytest.mark.parametrize("again", [False, True])
def test_2099_who_got_a_snapshot_does_not_serve_the_log_before_it(again):
    """Its log lacks what the snapshot brought, and the next epoch hides the gap."""
    story = some_story()
    far_behind, behind = server(story.entries[:3]), server(story.entries[:6])
    leader = server(story.entries)
    # The end of an epoch is what nobody can see missing: 1_7 to 1_10.
    one = server([entry for entry in story.entries if epoch_of(entry.zxid) == 1])
    assert choose_sync(one, behind.last_processed, force_snapshot=True).op == SNAP
    assert bring_up(one, behind, force_snapshot=True) == SNAP
    take(behind, [entry for entry in story.entries if epoch_of(entry.zxid) == 2])
    assert state(behind) == state(leader)
    if again:
        behind = restarted(behind, window=2)
    names = behind._disk.listdir(FOLDER)
    assert "log.100000001" in names
    assert "log.200000001" in names
    assert choose_sync(behind, far_behind.last_processed, size_factor=1000.0).op == SNAP
    assert choose_sync(behind, z(1, 6), size_factor=1000.0).op == SNAP
    assert bring_up(behind, far_behind, size_factor=1000.0) == SNAP
    assert state(far_behind) == state(leader)


def test_2099_a_folder_of_apache_may_have_the_same_gap():
    """Nothing tells of a snapshot that its server got from a leader: what is before the newest one is not served."""
    story = some_story()
    leader = server(story.entries)
    database = server(story.entries[:6])
    snapshot_of_leader = server([entry for entry in story.entries if epoch_of(entry.zxid) == 1])
    name = snapshot(snapshot_of_leader)
    database._disk.put(f"{FOLDER}/{name}", snapshot_of_leader._disk.read(f"{FOLDER}/{name}"))
    database = restarted(database)
    take(database, story.entries[10:])
    database = restarted(database, window=2)
    assert state(database) == state(leader)
    assert choose_sync(database, z(1, 3), size_factor=1000.0).op == SNAP
    assert choose_sync(database, z(1, 6), size_factor=1000.0).op == SNAP


def test_2418_no_entry_is_left_out_of_what_comes_from_the_disk():
    """Every place to begin at, in a log of several files, with as much in memory as there is."""
    story = some_story()
    disk = MemoryDisk()
    leader = server(disk=disk, window=3)
    for at in range(0, 15, 4):
        take(leader, story.entries[at : at + 4])
        leader.writer.roll()
    for count in range(1, 16):
        learner = server(story.entries[:count])
        assert bring_up(leader, learner, size_factor=1000.0) == DIFF
        assert state(learner) == state(restarted(learner)) == story_state(story)


@pytest.mark.parametrize("peer", [0, z(1, 1), z(1, 5)])
def test_4352_a_fresh_leader_without_entries_in_memory_sends_a_snapshot(peer):
    """The oldest entry in memory was 0, so that everybody seemed to have everything before."""
    story = some_story()
    database = server(story.entries)
    snapshot(database)
    leader = restarted(database)
    assert not leader.committed
    assert choose_sync(leader, peer).op == SNAP
    leader.tree.last_zxid = z(3, 0)
    assert choose_sync(leader, peer).op == SNAP
    learner = server(story.entries[: peer & 0xFF])
    assert bring_up(leader, learner) == SNAP
    assert learner.tree.digest == leader.tree.digest


def test_4837_what_a_newer_snapshot_knew_does_not_come_back_with_a_trunc():
    """Ephemerals of a session that the cut took away were loaded from a snapshot beyond it."""
    story = Story()
    story.create(b"/a")
    kept = len(story.entries)
    story.session(SESSION + 7)
    story.create(b"/dead", ephemeral=True, session=SESSION + 7)
    database = server(story.entries)
    snapshot(database)
    database.truncate(story.entries[kept - 1].zxid)
    for here in (database, restarted(database)):
        assert b"/dead" not in here.tree.nodes
        assert here.sessions == {}
        assert not here.tree.ephemerals
    assert database.floor == 0


def test_1489_what_is_logged_after_a_trunc_is_there():
    """The log stayed open across the cut, and what was appended later was lost."""
    story = some_story()
    database = server(story.entries)
    writer = database.writer
    database.truncate(z(1, 9))
    writer.append(story.many(1)[0].data)
    batch = writer.take()
    with pytest.raises(OSError, match="not written"):
        writer.write(batch)
    other = branch(story, 9, 3)
    take(database, other.entries[9:])
    assert state(database) == state(restarted(database)) == story_state(other)


@pytest.mark.parametrize("seed", range(40))
def test_any_two_servers_agree_after_a_sync(seed):
    """Servers that stopped anywhere, with logs cut, purged and begun anew, get the leader's history, and keep it."""
    rng = random.Random(seed)
    story = Story()
    servers = [server(window=rng.choice((1, 3, 500))) for _ in range(3)]
    leader = servers[0]
    for epoch in range(1, 9):
        story.epoch(epoch)
        for at, one in enumerate(servers):
            if one is leader:
                continue
            force = rng.random() < 0.2
            bring_up(leader, one, size_factor=rng.choice((-1, 0.3, 1000.0)), force_snapshot=force)
            assert state(one)[1:] == state(leader)[1:], f"server {at} in epoch {epoch}"
        follows = [one for one in servers if one is not leader and rng.random() < 0.7]
        for _ in range(rng.randrange(4)):
            entries = story.many(rng.randrange(1, 4))
            take(leader, entries)
            for one in follows:
                if rng.random() < 0.9:
                    take(one, entries)
                else:
                    follows = [other for other in follows if other is not one]
            for one in servers:
                if rng.random() < 0.3:
                    snapshot(one)
                if rng.random() < 0.1:
                    one.purge(3)
        # Some is proposed and seen by nobody else.
        if rng.random() < 0.5:
            lost = Story()
            lost.epoch(epoch)
            lost.tree.last_zxid = lost.zxid = leader.last_processed
            take(leader, lost.many(rng.randrange(1, 3), b"/lost"))
        servers = [restarted(one, rng.choice((1, 3, 500))) if rng.random() < 0.5 else one for one in servers]
        committed = story.entries[-1].zxid if story.entries else 0
        leader = rng.choice([one for one in servers if one.last_processed >= committed])
        if leader.last_processed > committed:
            # It was seen by the one that leads now: then it counts.
            for entry in leader.read_log(committed):
                if entry.zxid > max(committed, story.zxid) or entry.zxid not in {one.zxid for one in story.entries}:
                    story.replay(entry)
