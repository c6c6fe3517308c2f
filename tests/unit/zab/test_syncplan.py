"""Which sync a learner gets, case by case of ``LearnerHandler.syncFollower``."""

import pytest
from zab_kit import MemoryHistory, entry, packets_in, z

from zabra.zab import syncplan
from zabra.zab.packets import Packet
from zabra.zab.syncplan import Entry, LogChangedError, SyncPlan, choose_sync, number_entries

DIFF, TRUNC, SNAP = Packet.DIFF, Packet.TRUNC, Packet.SNAP
#: Two epochs: 1_1..1_4, 2_1..2_3.
ALL = [entry(1, n) for n in range(1, 5)] + [entry(2, n) for n in range(1, 4)]
CACHED = ALL[2:]
FILES = [ALL[:2], ALL[2:5], ALL[5:]]


def plan(peer, history=None, **options):
    return choose_sync(history or MemoryHistory(CACHED, FILES), peer, **options)


def zxids(chosen, history=None):
    """The zxids of the entries that the plan sends, whose packets must be PROPOSAL and COMMIT of each."""
    texts = [text for data in chosen.packets(history or MemoryHistory(CACHED, FILES)) for text in packets_in(data)]
    proposed = [text.split()[1] for text in texts[1:] if text.startswith("PROPOSAL")]
    assert texts[1:] == [f"{kind} {zxid}" for zxid in proposed for kind in ("PROPOSAL", "COMMIT")]
    return [int(zxid, 16) for zxid in proposed]


def test_who_has_everything_gets_an_empty_diff():
    chosen = plan(z(2, 3))
    assert chosen == SyncPlan(DIFF, z(2, 3), z(2, 3))
    assert [packets_in(data) for data in chosen.packets(MemoryHistory())] == [["DIFF 200000003"]]


def test_who_has_more_is_cut_to_the_last_committed_entry():
    assert plan(z(2, 9)) == SyncPlan(TRUNC, z(2, 3), z(2, 3))


def test_who_lacks_entries_in_memory_gets_them_and_the_newest_zxid():
    chosen = plan(z(1, 4))
    assert chosen[:3] == (DIFF, z(2, 3), z(2, 3))
    assert zxids(chosen) == [z(2, 1), z(2, 2), z(2, 3)]


def test_the_oldest_entry_in_memory_is_enough():
    assert zxids(plan(z(1, 3))) == [z(1, 4), z(2, 1), z(2, 2), z(2, 3)]


def test_an_unknown_zxid_inside_an_epoch_is_cut_to_the_entry_before_it():
    history = MemoryHistory([entry(2, 1), entry(2, 2), entry(2, 5), entry(2, 6)])
    chosen = choose_sync(history, z(2, 4))
    assert chosen[:3] == (TRUNC, z(2, 2), z(2, 6))
    assert zxids(chosen, history) == [z(2, 5), z(2, 6)]


def test_an_unknown_zxid_at_the_end_of_an_epoch_gets_a_snapshot():
    assert plan(z(1, 9)) == SyncPlan(SNAP, z(2, 3), z(2, 3))


def test_an_epoch_without_transactions_counts_as_known():
    chosen = plan(z(2, 0))
    assert chosen[:2] == (DIFF, z(2, 3))
    assert zxids(chosen) == [z(2, 1), z(2, 2), z(2, 3)]


def test_a_new_epoch_beyond_all_entries_gets_a_snapshot_unless_it_is_ours():
    assert plan(z(3, 0)).op == SNAP
    assert plan(z(3, 0), MemoryHistory(CACHED, last_processed=z(3, 0))) == SyncPlan(DIFF, z(3, 0), z(3, 0))


def test_in_a_new_epoch_the_followers_of_the_old_one_have_everything():
    assert plan(z(2, 3), MemoryHistory(CACHED, last_processed=z(3, 0))) == SyncPlan(DIFF, z(2, 3), z(2, 3))


def test_older_ones_come_from_the_log_and_then_from_memory():
    chosen = plan(z(1, 1))
    assert chosen[:4] == (DIFF, z(2, 3), z(2, 3), (z(1, 1), z(1, 3)))
    assert [one.zxid for one in chosen.entries] == [z(1, 4), z(2, 1), z(2, 2), z(2, 3)]
    assert zxids(chosen) == [z(1, 2), z(1, 3), z(1, 4), z(2, 1), z(2, 2), z(2, 3)]


def test_a_leader_without_anything_in_memory_reads_the_log():
    history = MemoryHistory((), FILES, last_processed=z(2, 3))
    assert zxids(choose_sync(history, z(1, 4)), history) == [z(2, 1), z(2, 2), z(2, 3)]


def test_an_unknown_zxid_inside_an_epoch_of_the_log_is_a_hole_of_ours():
    # Java cuts the learner to 1_2 and goes on with 1_5, which loses 1_3 and 1_4.
    history = MemoryHistory([entry(1, 6)], [[entry(1, 1), entry(1, 2), entry(1, 5), entry(1, 6)]])
    assert choose_sync(history, z(1, 4)) == SyncPlan(SNAP, z(1, 6), z(1, 6))


def test_a_log_that_does_not_reach_back_gives_a_snapshot():
    assert plan(z(1, 1), MemoryHistory(CACHED, FILES[1:])).op == SNAP
    assert plan(0, MemoryHistory(CACHED, FILES)).op == SNAP


@pytest.mark.parametrize(("snapshot_size", "op"), [(1000, SNAP), (6061, DIFF), (0, DIFF)])
def test_a_log_of_over_a_third_of_the_snapshot_gives_a_snapshot(snapshot_size, op):
    # Two files behind the first: 2000 bytes against 0.33 of the snapshot; without a snapshot there is no limit.
    assert plan(z(1, 1), MemoryHistory(CACHED, FILES, snapshot_size=snapshot_size, file_size=1000)).op == op


def test_the_log_can_be_switched_off():
    assert plan(z(1, 1), size_factor=-1).op == SNAP


def test_a_gap_between_log_and_memory_gives_a_snapshot():
    assert plan(z(1, 1), MemoryHistory(ALL[5:], [ALL[:3]])).op == SNAP


def test_a_gap_inside_the_log_gives_a_snapshot():
    # ZOOKEEPER-2099: this leader was itself brought up by SNAP once.
    holed = [ALL[0], *ALL[2:]]
    assert plan(z(1, 1), MemoryHistory(ALL[4:], [holed])).op == SNAP


def test_a_history_that_came_as_a_snapshot_is_not_given_from_the_log():
    # The numbers show no gap: 1_2 may have been the end of epoch 1, or not.
    holed = [ALL[0], ALL[1], *ALL[4:]]
    assert plan(z(1, 1), MemoryHistory(ALL[5:], [holed])).op == DIFF
    assert plan(z(1, 1), MemoryHistory(ALL[5:], [holed], log_base=z(2, 0))).op == SNAP


def test_a_cut_to_before_a_snapshot_that_came_from_elsewhere_is_not_tried():
    # 2_1 to 2_3 came as a snapshot; the learner at 2_4 may well have them.
    history = MemoryHistory([entry(2, 6)], [[entry(1, 2), entry(2, 5), entry(2, 6)]], log_base=z(2, 3))
    assert choose_sync(history, z(2, 4)).op == SNAP


def test_an_empty_learner_gets_a_snapshot_from_a_leader_that_began_with_one():
    # ZOOKEEPER-4352.
    history = MemoryHistory((), (), last_processed=z(1, 5), log_base=z(1, 5))
    assert choose_sync(history, 0) == SyncPlan(SNAP, z(1, 5), z(1, 5))


def test_a_snapshot_can_be_forced():
    assert plan(z(2, 3), force_snapshot=True) == SyncPlan(SNAP, z(2, 3), z(2, 3))


@pytest.mark.parametrize("files", [FILES[2:], FILES[:1], []], ids=["beginning", "end", "all"])
def test_a_log_that_is_purged_while_it_is_sent_is_noticed(files):
    history = MemoryHistory(CACHED, FILES)
    chosen = choose_sync(history, z(1, 1))
    history.files = files
    with pytest.raises(LogChangedError):
        list(chosen.packets(history))


def test_entries_that_are_read_late_are_still_only_those_of_the_plan():
    history = MemoryHistory(CACHED, FILES)
    chosen = choose_sync(history, z(1, 1))
    history.files[2].append(entry(2, 4))
    history.committed.append(entry(2, 4))
    assert zxids(chosen, history)[-1] == z(2, 3)


def test_payloads_are_numbered_without_a_gap():
    assert number_entries(z(5, 7), [b"a", b"b"]) == [Entry(z(5, 7), b"a"), Entry(z(5, 8), b"b")]
    assert type(number_entries(z(5, 7), [b"a"])[0]) is Entry


def test_a_long_sync_goes_in_pieces_of_some_size(monkeypatch):
    monkeypatch.setattr(syncplan, "_PIECE", 100)
    entries = [entry(1, n, bytes(50)) for n in range(1, 10)]
    plan = SyncPlan(Packet.DIFF, z(1, 9), z(1, 9), None, tuple(entries))
    pieces = list(plan.packets(MemoryHistory()))
    assert all(100 <= len(piece) < 300 for piece in pieces[:-1])
    assert len(pieces[-1]) > 0
    named = packets_in(b"".join(pieces))
    assert named == ["DIFF 100000009"] + [
        f"{kind} 10000000{n}" for n in range(1, 10) for kind in ("PROPOSAL", "COMMIT")
    ]


@pytest.mark.parametrize("method", ["log_runs", "log_size"])
def test_a_purge_that_comes_in_between_means_a_snapshot(method):
    class Purged(MemoryHistory):
        pass

    def gone(self, zxid):
        raise LogChangedError("log.1: no such file")

    entries = [entry(1, n) for n in range(1, 10)]
    assert choose_sync(Purged(entries[5:], [entries]), z(1, 2)).op == Packet.DIFF
    setattr(Purged, method, gone)
    assert choose_sync(Purged(entries[5:], [entries]), z(1, 2)) == SyncPlan(Packet.SNAP, z(1, 9), z(1, 9))
