"""The checks of single cores notice what does not fit."""

import pytest
from zab_kit import MemoryHistory, entry, majority, z

from zabra.zab import packets
from zabra.zab.discovery import Summary
from zabra.zab.invariants import InvariantError, check_leader, check_learner
from zabra.zab.leader import Leader, LeaderOptions, Phase
from zabra.zab.learner import Learner, Stage
from zabra.zab.packets import PacketStream
from zabra.zab.quorums import make_verifier


def leader():
    verifier = majority(1, version=1)
    core = Leader(
        1,
        MemoryHistory(),
        LeaderOptions(tick_ms=100, init_limit=10, sync_limit=5),
        verifier=verifier,
        last_seen=verifier,
        make_verifier=make_verifier,
        accepted_epoch=4,
        summary=Summary(4, 0),
        now_ms=0,
    )
    core.start(0)
    core.propose([entry(5, n) for n in (1, 2, 3)])
    core.logged(z(5, 1))
    check_leader(core)
    return core


def commit_too_far(core):
    core.broadcast.last_committed = z(5, 4)


def lose_the_last(core):
    core.broadcast.proposals.outstanding.pop()


def commit_in_the_middle(core):
    core.broadcast.last_committed = z(5, 2)


def leave_a_gap(core):
    del core.broadcast.proposals.outstanding[0]
    core.broadcast.proposals.outstanding.appendleft(entry(5, 1, b"again"))
    core.broadcast.last_committed = z(5, 0)


def ack_too_far(core):
    core.broadcast.proposals.acked[2] = z(5, 4)


def go_back(core):
    core.phase = Phase.SYNCHRONIZATION


@pytest.mark.parametrize(
    "damage", [commit_too_far, lose_the_last, commit_in_the_middle, leave_a_gap, ack_too_far, go_back]
)
def test_a_damaged_leader_is_noticed(damage):
    core = leader()
    damage(core)
    with pytest.raises(InvariantError):
        check_leader(core)


def learner():
    core = Learner(
        2,
        observer=False,
        accepted_epoch=4,
        summary=Summary(4, z(4, 7)),
        config_version=0,
        floor=0,
        tick_ms=100,
        init_limit=10,
        sync_limit=5,
    )
    core.start(0)
    parts = [
        packets.leader_info(5),
        packets.encode(packets.Packet.DIFF, z(4, 7)),
        packets.new_leader(5, None),
        packets.up_to_date(),
        *(packets.proposal(*entry(5, n)) for n in (1, 2, 3)),
    ]
    core.packets(PacketStream().feed(b"".join(parts)), 0)
    assert core.stage is Stage.BROADCAST
    check_learner(core)
    return core


def know_less(core):
    core.last_zxid = z(4, 7)
    core.last_committed = z(5, 0)


def forget_the_last(core):
    core.pending.pop()


def apply_without_taking(core):
    core.last_committed = z(5, 1)


def skip_one(core):
    del core.pending[1]


def become_an_observer(core):
    core.observer = True


@pytest.mark.parametrize("damage", [know_less, forget_the_last, apply_without_taking, skip_one, become_an_observer])
def test_a_damaged_learner_is_noticed(damage):
    core = learner()
    damage(core)
    with pytest.raises(InvariantError):
        check_learner(core)
