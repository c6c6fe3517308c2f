"""The checkers bite: each deliberate bug is caught within so many seeds."""

import errno
import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from zabra.frontend.connection import Connection
from zabra.frontend.hub import Hub
from zabra.pipeline import chores
from zabra.pipeline import reads as reads_module
from zabra.pipeline.commit import Commit
from zabra.pipeline.pending import Pending
from zabra.pipeline.persist import Persist
from zabra.sessions.tracker import SessionTracker
from zabra.sim import run as run_module
from zabra.sim.run import run_seed
from zabra.storage import recovery
from zabra.storage.logwriter import LogWriter
from zabra.storage.snapstore import SnapshotStore
from zabra.tree.dump import Dumps
from zabra.tree.tree import DataTree
from zabra.tree.watches import WatchTable


def acknowledge_before_sync(patch):
    def flush(self):
        if self._stopped or not self.batch:
            return
        self._scheduled = False
        writes, self.batch = self.batch, []
        taken = self._writer.take()

        def write():
            try:
                self._writer.write(taken)
            except OSError as error:
                self._fail(error)

        self._scheduler.call_later(0.001, write)
        self._commit(writes, self._started)

    patch.setattr(Persist, "flush", flush)


def never_sync(patch):
    draw = run_module.draw_settings
    patch.setattr(run_module, "draw_settings", lambda rng: replace(draw(rng), force_sync=False))


def go_on_after_a_failed_write(patch):
    write = LogWriter.write

    def write_anyway(self, batch):
        try:
            write(self, batch)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self.failed = False

    patch.setattr(LogWriter, "write", write_anyway)


def leave_a_torn_tail(patch):
    patch.setattr(recovery, "cut_torn_tail", lambda disk, scan: [])


def fill_over_entries(patch):
    fill = LogWriter.fill_ahead

    def fill_ahead(self):
        self._filled = max(self._filled - 40, 0)
        return fill(self)

    patch.setattr(LogWriter, "fill_ahead", fill_ahead)


def name_a_snapshot_too_new(patch):
    writer = SnapshotStore.writer
    patch.setattr(SnapshotStore, "writer", lambda self, zxid, digest: writer(self, zxid + 1, digest))


def forget_sessions_at_a_start(patch):
    make = SessionTracker.__init__

    def forget(self, *args):
        make(self, *args)
        for session in [session for session_id, session in self.sessions.items() if not session_id % 3]:
            self.release(session)

    patch.setattr(SessionTracker, "__init__", forget)


def expire_early(patch):
    touch = SessionTracker.touch

    def touch_once(self, session, now_ms):
        return True if session.deadline_ms > 0 else touch(self, session, now_ms)

    patch.setattr(SessionTracker, "touch", touch_once)


def never_expire(patch):
    patch.setattr(SessionTracker, "expired", lambda self, now_ms: [])


def leave_ephemerals_behind(patch):
    ephemerals = Pending.ephemerals
    patch.setattr(Pending, "ephemerals", lambda self, session_id: ephemerals(self, session_id)[1:])
    patch.setattr(DataTree, "close_session", lambda self, session_id, paths, zxid: None)


def commit_out_of_order(patch):
    batch = Commit.batch
    patch.setattr(Commit, "batch", lambda self, writes: batch(self, writes[::-1]))


def apply_half_a_multi(patch):
    def keep(self, digest):
        self.journal = None

    patch.setattr(Pending, "rollback", keep)


def reply_before_the_event(patch):
    deliver = Hub.deliver

    def later(self, *args):
        self._scheduler.call_soon(deliver, self, *args)

    patch.setattr(Hub, "deliver", later)


def tell_everybody(patch):
    def deliver(self, watchers, event_type, path, zxid, acl):
        for watcher in watchers:
            watcher.send_event(event_type, path, zxid)

    patch.setattr(Hub, "deliver", deliver)


def fire_twice(patch):
    fire = WatchTable._fire

    def keep(self, path, entry):
        told = fire(self, path, entry)
        for watcher in told:
            self.add(path, watcher, 1)
        return told

    patch.setattr(WatchTable, "_fire", keep)


def miss_events_of_a_reconnect(patch):
    set_watches = reads_module.set_watches
    patch.setattr(reads_module, "set_watches", lambda *args: set_watches(*args)[1:])


def answer_a_wrong_request(patch):
    answer = Connection.answer_writes

    def answer_writes(self, replies, zxid):
        def wrong(reply):
            xid = int.from_bytes(reply[4:8], "big", signed=True)
            return reply[:4] + (xid - (xid % 7 == 0)).to_bytes(4, "big", signed=True) + reply[8:]

        answer(self, list(map(wrong, replies)), zxid)

    patch.setattr(Connection, "answer_writes", answer_writes)


def overtake_a_write(patch):
    later = Connection._later_or_now

    def now(self, item):
        self._read(*item) if item[0] > 0 else later(self, item)

    patch.setattr(Connection, "_later_or_now", now)
    drain = Connection._drain
    patch.setattr(Connection, "_drain", lambda self, waiting: drain(self, type(waiting)(reversed(waiting))))


def forget_the_digest_of_a_removal(patch):
    delete = DataTree.install_delete

    def install_delete(self, path, *args):
        digest = self.nodes[path].digest
        delete(self, path, *args)
        self.digest += digest

    patch.setattr(DataTree, "install_delete", install_delete)


def lose_the_last_entry_of_a_start(patch):
    scan = recovery.LogFolder.scan

    def shorter(self, zxid):
        found = scan(self, zxid)
        entries = type(found).__iter__

        class Shorter(type(found)):
            def __iter__(self):
                held = list(entries(self))
                return chain(held[:-1])

        found.__class__ = Shorter
        return found

    patch.setattr(recovery.LogFolder, "scan", shorter)


def write_a_fuzzy_snapshot(patch):
    patch.setattr(Dumps, "before_change", lambda self, path, node: None)


def sweep_too_early(patch):
    patch.setattr(chores, "candidates", lambda tree, *rest: list(tree.ttls))
    patch.setattr(chores, "is_due", lambda tree, path, *rest: path in tree.ttls and not tree.nodes[path].children)


def build_on_entries_that_are_not_synced(patch):
    patch.setattr(recovery, "_make_durable", lambda disk, folders, scan: None)


#: Each bug, and the seeds among which one must catch it. docs/testing.md says what each breaks.
MUTATIONS = [
    (acknowledge_before_sync, range(1, 41)),
    (never_sync, range(1, 41)),
    (go_on_after_a_failed_write, range(1, 61)),
    (leave_a_torn_tail, range(1, 41)),
    (fill_over_entries, range(1, 61)),
    (name_a_snapshot_too_new, range(1, 11)),
    (forget_sessions_at_a_start, range(1, 21)),
    (expire_early, range(1, 21)),
    (never_expire, range(1, 11)),
    (leave_ephemerals_behind, range(1, 21)),
    (commit_out_of_order, range(1, 21)),
    (apply_half_a_multi, range(1, 21)),
    (reply_before_the_event, range(1, 21)),
    (tell_everybody, range(1, 41)),
    (fire_twice, range(1, 21)),
    (miss_events_of_a_reconnect, range(1, 21)),
    (answer_a_wrong_request, range(1, 11)),
    (overtake_a_write, range(1, 21)),
    (forget_the_digest_of_a_removal, range(1, 11)),
    (lose_the_last_entry_of_a_start, range(1, 21)),
    (write_a_fuzzy_snapshot, range(1, 41)),
    (sweep_too_early, range(1, 11)),
    (build_on_entries_that_are_not_synced, range(20, 30)),
]


@pytest.mark.parametrize(("mutation", "seeds"), MUTATIONS, ids=[mutation.__name__ for mutation, _ in MUTATIONS])
def test_a_mutation_is_caught(monkeypatch, caplog, mutation, seeds):
    mutation(monkeypatch)
    caplog.set_level("CRITICAL")
    failures = ((seed, run_seed(seed).failure) for seed in seeds)
    caught = next((pair for pair in failures if pair[1] is not None), None)
    assert caught is not None, f"{mutation.__name__}: seeds {seeds.start} to {seeds.stop - 1} are clean"


def test_the_table_in_the_docs_is_complete():
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
    part = page.split("### Do the checkers bite?")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d+)\.\.(\d+) \|$", part, re.MULTILINE)
    assert rows == [(mutation.__name__, str(seeds.start), str(seeds.stop - 1)) for mutation, seeds in MUTATIONS]
