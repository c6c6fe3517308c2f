"""Leaders and learners in a small world of crashes and cuts: nothing committed is lost, and each mutation is caught."""

from unittest.mock import patch

import pytest
from zab_kit import entry
from zab_sim import World

from zabra.zab import packets
from zabra.zab.broadcast import Broadcast
from zabra.zab.discovery import Summary
from zabra.zab.effects import (
    EpochFile,
    FlushLog,
    Log,
    SaveSnapshot,
    Send,
    StoreEpoch,
    Truncate,
)
from zabra.zab.leader import Leader
from zabra.zab.learner import Learner
from zabra.zab.learner import Stage as LearnerStage
from zabra.zab.proposals import Proposals

VOTERS = (3, 5, 3, 2)
STEPS = 2000


def world(seed, **given):
    return World(seed, voters=VOTERS[seed % len(VOTERS)], observers=seed % 2, **given)


#: One that needs acks of an earlier connection to be forgotten: a learner comes back, and what it acked is cut off.
REJOIN = 376


@pytest.mark.parametrize("seed", [*range(60), REJOIN])
def test_nothing_committed_is_lost_and_the_ensemble_recovers(seed):
    made = world(seed)
    made.run(STEPS)
    made.heal()


def test_the_world_has_everything_in_it():
    seen = set()
    for seed in range(12):
        made = world(seed)
        made.run(STEPS)
        seen |= made.seen
    assert seen >= {"Truncate", "LoadSnapshot", "SaveSnapshot", "Leave", "StepDown", "Close", "Synced", "AnswerPing"}


def test_the_same_seed_is_the_same_run():
    runs = []
    for _ in range(2):
        made = world(5)
        made.run(STEPS)
        runs.append([(server.tree, server.disk.epochs, server.disk.log) for server in made.servers.values()])
    assert runs[0] == runs[1]


# Mutations: each breaks one rule, and must be caught.


def without(kind):
    """Learner effects, none of them a ``kind``."""

    def mutate(effects):
        return [effect for effect in effects if not isinstance(effect, kind)]

    return mutate


def epoch_first(effects):
    """The epoch is stored, and NEWLEADER acked, before the history is on disk."""
    late = [effect for effect in effects if isinstance(effect, FlushLog | SaveSnapshot)]
    return [effect for effect in effects if effect not in late] + late


def ack_at_once(effects):
    """Proposals are acked when they are logged, not when that is on disk."""
    acks = [packets.ack(one.zxid) for effect in effects if isinstance(effect, Log) for one in effect.entries]
    return [*effects, Send(b"".join(acks))] if acks else effects


class AckEarly(Learner):
    def packets(self, arrived, now_ms):
        was_broadcast = self.stage is LearnerStage.BROADCAST
        effects = super().packets(arrived, now_ms)
        return ack_at_once(effects) if was_broadcast and self.stage is LearnerStage.BROADCAST else effects


def learner_that(mutate):
    class Mutant(Learner):
        def packets(self, arrived, now_ms):
            return mutate(super().packets(arrived, now_ms))

    return Mutant


class KeepsMemory(Learner):
    """ZOOKEEPER-3642: what a snapshot brought stays in memory, though it never was saved."""

    def _leave(self, *given):
        return [left._replace(reload=False) for left in super()._leave(*given)]


def any_epoch(epoch, accepted_epoch, summary):
    """Every epoch is acked, also twice, also an older one."""
    return [StoreEpoch(EpochFile.ACCEPTED, epoch), Send(packets.ack_epoch(*summary))]


class TrustsEverybody(Leader):
    """Learners that have more are let in while the epoch is agreed."""

    def __init__(self, *given, summary, **more):
        super().__init__(*given, summary=Summary(1 << 31, 0), **more)


def take_with_one_ack(self, upto=None):
    """One server is a quorum."""
    taken = []
    newest = max(self.acked.values(), default=-1)
    while self.outstanding and self.outstanding[0].zxid <= newest:
        taken.append(self.outstanding.popleft())
    return taken


def take_backwards(self, upto=None):
    """Commits in the order of the acks, newest first."""
    return list(reversed(take(self, upto)))


take = Proposals.take


MUTATIONS = {
    "ack before durable": {"learner": AckEarly},
    "no flush before the ack of NEWLEADER (4646)": {"learner": learner_that(without(FlushLog))},
    "currentEpoch before the history (4643)": {"learner": learner_that(epoch_first)},
    "snapshot not saved (2872)": {"learner": learner_that(without(SaveSnapshot))},
    "memory kept after a broken SNAP (3642)": {"learner": KeepsMemory},
    "forget truncate": {"learner": learner_that(without(Truncate))},
    "skip epoch check": {"patch": ("zabra.zab.learner.accept_epoch", any_epoch)},
    "learners that are ahead let in": {"leader": TrustsEverybody},
    "commit without a quorum": {"patch": (f"{Proposals.__module__}.Proposals.take", take_with_one_ack)},
    "commit out of order": {"patch": (f"{Proposals.__module__}.Proposals.take", take_backwards)},
    "acks of an earlier connection count": {
        "patch": ("zabra.zab.proposals.Proposals.forget", lambda self, sid: None),
        "first_seed": REJOIN,
    },
    "outstanding proposals not sent to who joins (P1)": {
        "patch": (f"{Broadcast.__module__}.Broadcast.missing", lambda self, after, *, observer: [])
    },
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_caught(name):
    mutation = dict(MUTATIONS[name])
    target = mutation.pop("patch", None)
    if target is not None:
        with patch(*target):
            assert caught(mutation)
    else:
        assert caught(mutation)


def caught(mutation):
    """Whether some seed fails, by an invariant or an assertion; one that needs long tells where to begin."""
    first = mutation.pop("first_seed", 0)
    for seed in range(first, first + 400):
        made = world(seed, **mutation)
        try:
            made.run(STEPS)
            made.heal()
        except AssertionError:
            return True
    return False


def test_the_invariants_of_an_ensemble_hold_a_history_together():
    made = world(0)
    ensemble = made.ensemble
    ensemble.leads(1, 1, [])
    ensemble.established(1, 1, [])
    with pytest.raises(AssertionError, match="two leaders"):
        ensemble.leads(2, 1, [])
    with pytest.raises(AssertionError, match="only"):
        ensemble.committed(entry(1, 1), {1}, [made.verifier])
    ensemble.committed(entry(1, 1), {1, 2}, [made.verifier])
    with pytest.raises(AssertionError, match="delivered after"):
        ensemble.committed(entry(1, 3), {1, 2}, [made.verifier])
    with pytest.raises(AssertionError, match="no prefix"):
        ensemble.tree(2, [entry(1, 1, b"other")])
    ensemble.leads(2, 2, [])
    with pytest.raises(AssertionError, match="lacks entries"):
        ensemble.established(2, 2, [])
