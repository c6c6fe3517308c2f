"""The checkers of ensembles bite: each deliberate bug of the protocol is caught within so many seeds."""

import re
from pathlib import Path

import pytest

from zabra.pipeline.forward import ForwardingPipeline
from zabra.quorum.rolelog import RoleLog
from zabra.sim.ensemble_run import run_ensemble
from zabra.storage.database import Database
from zabra.zab import learner as learner_module
from zabra.zab.discovery import LeaderDiscovery
from zabra.zab.effects import FlushLog, SaveSnapshot, Serve, StoreEpoch
from zabra.zab.leader import Leader
from zabra.zab.learner import Learner
from zabra.zab.proposals import Proposals
from zabra.zab.quorums import AckTracker, Majority
from zabra.zab.syncplan import SyncPlan
from zabra.zab.types import Vote


def acknowledge_before_sync(patch):
    append = RoleLog.append

    def early(self, entries):
        self._logged(entries[-1].zxid)
        append(self, entries)

    patch.setattr(RoleLog, "append", early)


def skip_the_epoch_check(patch):
    """An election of the largest id alone does no harm: a leader sends away who knows more."""
    patch.setattr(Vote, "rank", property(lambda self: (0, 0, self.leader)))
    epoch_ack = LeaderDiscovery.epoch_ack
    patch.setattr(
        LeaderDiscovery,
        "epoch_ack",
        lambda self, conn, sid, summary: epoch_ack(self, conn, sid, summary._replace(current_epoch=0)),
    )


def forget_the_accepted_epoch(patch):
    accept = learner_module.accept_epoch

    def mutant(*given):
        return [effect for effect in accept(*given) if not isinstance(effect, StoreEpoch)]

    patch.setattr(learner_module, "accept_epoch", mutant)


def commit_out_of_order(patch):
    take = Proposals.take
    patch.setattr(Proposals, "take", lambda self, upto=None: take(self, upto)[::-1])


def forget_to_truncate(patch):
    patch.setattr(Database, "truncate", lambda self, zxid: None)


def commit_without_a_quorum(patch):
    def take(self, upto=None):
        taken = []
        newest = max(self.acked.values(), default=-1)
        while self.outstanding and self.outstanding[0].zxid <= newest:
            taken.append(self.outstanding.popleft())
        return taken

    patch.setattr(Proposals, "take", take)


def without(patch, *kinds):
    """Learners leave out these effects."""
    one = Learner.packets

    def mutant(self, arrived, now_ms):
        return [effect for effect in one(self, arrived, now_ms) if not isinstance(effect, kinds)]

    patch.setattr(Learner, "packets", mutant)


def acknowledge_newleader_before_the_sync_is_on_disk(patch):
    without(patch, FlushLog)


def store_the_epoch_before_the_history(patch):
    one = Learner.packets

    def epoch_first(self, arrived, now_ms):
        effects = one(self, arrived, now_ms)
        late = [effect for effect in effects if isinstance(effect, FlushLog | SaveSnapshot)]
        return [effect for effect in effects if effect not in late] + late

    patch.setattr(Learner, "packets", epoch_first)


def do_not_save_the_snapshot(patch):
    without(patch, SaveSnapshot)


def serve_before_uptodate(patch):
    new_leader, up_to_date = Learner._new_leader, Learner._up_to_date
    patch.setattr(Learner, "_new_leader", lambda self, packet: [*new_leader(self, packet), Serve(self.epoch)])
    patch.setattr(
        Learner,
        "_up_to_date",
        lambda self: [effect for effect in up_to_date(self) if not isinstance(effect, Serve)],
    )


def lead_on_without_a_quorum(patch):
    patch.setattr(Leader, "_has_quorum", lambda self: True)


def follow_on_without_a_leader(patch):
    patch.setattr(Learner, "timeout", lambda self, now_ms: [])


def forward_in_another_order(patch):
    flush = ForwardingPipeline._flush

    def backwards(self):
        self._out.reverse()
        flush(self)

    patch.setattr(ForwardingPipeline, "_flush", backwards)


def lose_a_forwarded_request(patch):
    flush = ForwardingPipeline._flush

    def shorter(self):
        if len(self._out) > 1:
            self._out.pop()
        flush(self)

    patch.setattr(ForwardingPipeline, "_flush", shorter)


def leave_one_out_of_a_diff(patch):
    each = SyncPlan._each_packet

    def shorter(self, history):
        held = list(each(self, history))
        return iter(held[:-1] if len(held) > 1 else held)

    patch.setattr(SyncPlan, "_each_packet", shorter)


def count_observers_in_a_quorum(patch):
    """Wherever servers count who is with them: discovery, NEWLEADER, who still follows. Nobody else is fooled."""
    patch.setattr(
        Majority, "contains_quorum", lambda self, acks: len(acks & self.config.members.keys()) > len(self.voters) // 2
    )

    def add_ack(self, sid):
        known = [acks for verifier, acks in self._acks if sid in verifier.config.members]
        for acks in known:
            acks.add(sid)
        return bool(known)

    patch.setattr(AckTracker, "add_ack", add_ack)


def revalidate_every_session(patch):
    revalidated = Leader.revalidated
    patch.setattr(Leader, "revalidated", lambda self, conn, session, valid: revalidated(self, conn, session, True))


#: Each bug, and the seeds among which one must catch it. docs/testing.md says what each breaks.
MUTATIONS = [
    (acknowledge_before_sync, range(1, 21)),
    (acknowledge_newleader_before_the_sync_is_on_disk, range(1, 41)),
    (store_the_epoch_before_the_history, range(1, 41)),
    (do_not_save_the_snapshot, range(1, 41)),
    (commit_without_a_quorum, range(1, 21)),
    (commit_out_of_order, range(1, 21)),
    (forget_the_accepted_epoch, range(1, 21)),
    (skip_the_epoch_check, range(1, 41)),
    (forget_to_truncate, range(1, 101)),
    (leave_one_out_of_a_diff, range(1, 41)),
    (serve_before_uptodate, range(1, 41)),
    (lead_on_without_a_quorum, range(1, 41)),
    (follow_on_without_a_leader, range(1, 41)),
    (forward_in_another_order, range(1, 21)),
    (lose_a_forwarded_request, range(1, 21)),
    (revalidate_every_session, range(1, 41)),
    (count_observers_in_a_quorum, range(1, 41)),
]


@pytest.mark.parametrize(("mutation", "seeds"), MUTATIONS, ids=[mutation.__name__ for mutation, _ in MUTATIONS])
def test_a_mutation_is_caught(monkeypatch, caplog, mutation, seeds):
    mutation(monkeypatch)
    caplog.set_level("CRITICAL")
    failures = ((seed, run_ensemble(seed).failure) for seed in seeds)
    caught = next((pair for pair in failures if pair[1] is not None), None)
    assert caught is not None, f"{mutation.__name__}: seeds {seeds.start} to {seeds.stop - 1} are clean"


def test_the_table_in_the_docs_is_complete():
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text("utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| .* \| (\d+)\.\.(\d+) \|$", page.split("### Mutations of the protocol")[1], re.MULTILINE
    )
    assert rows == [(mutation.__name__, str(seeds.start), str(seeds.stop - 1)) for mutation, seeds in MUTATIONS]
