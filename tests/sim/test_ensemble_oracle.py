"""The oracle of an ensemble, over disks and trees that are made by hand."""

import random
from struct import pack
from types import SimpleNamespace
from zlib import adler32

import pytest

from zabra.consts import Op
from zabra.errors import Code
from zabra.sim.calls import Call
from zabra.sim.cluster import membership
from zabra.sim.disk import MachineDisk, ProcessDisk
from zabra.sim.diskview import DiskView
from zabra.sim.ensemble_oracle import EnsembleOracle
from zabra.sim.loop import Process, new_loop
from zabra.sim.trace import Trace
from zabra.sim.violation import Violation
from zabra.wire.records_txn import CreateSessionTxn, CreateTxn, ErrorTxn, SetAclTxn, SetDataTxn
from zabra.wire.txns import TxnHeader, encode_txn
from zabra.zxid import make_zxid

LOG = "/data/version-2/log.1"


def z(epoch, counter):
    return make_zxid(epoch, counter)


def session(zxid, session_id):
    header = TxnHeader(session_id, 0, zxid, 0, Op.CREATE_SESSION)
    return encode_txn(header, CreateSessionTxn(4000), None)


class Machine:
    """Its log holds what a test writes; its server is at ``tree.last_zxid``."""

    def __init__(self, sid, loop):
        self.sid = sid
        self.disk = MachineDisk(loop, random.Random(sid))
        self.files = ProcessDisk(self.disk, Process("test"))
        self.files.makedirs("/data/version-2")
        self.file = self.files.open(LOG, create=True, write=True)
        self.file.pwrite(bytes(16), 0)
        self.files.sync_dir("/data/version-2")
        self.view = DiskView(self.disk, "/data/version-2", "/data/version-2")
        self.tree = SimpleNamespace(last_zxid=0, digest_enabled=False)
        self.role = None
        self.leads = None
        self.membership = membership(0)

    def log(self, *payloads, sync=True):
        for payload in payloads:
            self.file.pwrite(pack(">qi", adler32(payload), len(payload)) + payload + b"B", self.file.size())
        if sync:
            self.file.sync()

    def snapshot(self, zxid):
        self.files.write_atomic(f"/data/version-2/snapshot.{zxid:x}", b"")

    def lead(self, epoch):
        self.role, self.leads, self.tree.last_zxid = object(), epoch, z(epoch, 0)

    def follow(self, zxid):
        self.role, self.leads, self.tree.last_zxid = object(), None, zxid


class World:
    def __init__(self, voters=3):
        self.loop = new_loop(Trace())
        self.config = membership(voters)
        self.machines = [Machine(sid, self.loop) for sid in self.config.members]
        self.began = []
        self.oracle = EnsembleOracle(self.machines, self.config, lambda: self.loop.now, tick_ms=100)
        self.oracle.on_serving = lambda machine: self.began.append(machine.sid)

    def everywhere(self, *payloads):
        for machine in self.machines:
            machine.log(*payloads)

    def refuses(self, text):
        with pytest.raises(Violation, match=text):
            self.oracle.catch_up()


@pytest.fixture
def world():
    """Server 1 leads epoch 1 and has committed one entry there."""
    made = World()
    made.machines[0].lead(1)
    made.oracle.catch_up()
    made.everywhere(session(z(1, 1), 7))
    made.machines[0].tree.last_zxid = z(1, 1)
    made.oracle.catch_up()
    return made


def test_what_a_server_has_applied_is_history(world):
    assert world.oracle.model.sessions == {7: 4000}
    world.machines[1].follow(z(1, 1))
    world.oracle.catch_up()
    assert world.began == [1, 2]
    world.machines[1].role = None
    world.oracle.catch_up()
    world.machines[1].follow(z(1, 1))
    world.oracle.catch_up()
    assert world.began == [1, 2, 2]


def test_a_commit_needs_a_quorum_of_disks(world):
    world.machines[0].log(session(z(1, 2), 8))
    world.machines[1].log(session(z(1, 2), 8), sync=False)
    world.machines[0].tree.last_zxid = z(1, 2)
    world.refuses(r"only servers \[1\] have on disk")


def test_a_snapshot_that_is_newer_counts_as_having_it(world):
    world.machines[0].log(session(z(1, 2), 8))
    world.machines[2].snapshot(z(1, 2))
    world.machines[0].tree.last_zxid = z(1, 2)
    world.oracle.catch_up()
    assert 8 in world.oracle.model.sessions


def test_an_entry_that_is_in_no_log_cannot_be_committed(world):
    world.machines[1].follow(z(1, 2))
    world.refuses("in no log")


def test_two_entries_of_one_number(world):
    world.machines[0].log(session(z(1, 2), 8))
    world.machines[1].log(session(z(1, 2), 9))
    world.machines[2].log(session(z(1, 2), 8))
    world.machines[0].tree.last_zxid = z(1, 2)
    world.refuses("differs")


def test_two_leaders_of_one_epoch(world):
    world.machines[1].lead(1)
    world.refuses("servers 1 and 2 both lead epoch 0x1")


def test_a_leader_without_what_was_committed(world):
    lacking = Machine(4, world.loop)
    world.machines.append(lacking)
    lacking.lead(2)
    world.refuses("0x100000001 was committed")


def test_what_a_new_leader_brings_is_committed_by_that(world):
    for machine in world.machines[1:]:
        machine.log(session(z(1, 2), 8))
    world.machines[1].lead(2)
    world.oracle.catch_up()
    assert sorted(world.oracle.model.sessions) == [7, 8]
    assert world.oracle.leaders == {1: 1, 2: 2}


def test_what_a_new_leader_did_not_bring_can_never_be_committed(world):
    world.machines[0].log(session(z(1, 2), 8))
    world.machines[1].lead(2)
    world.oracle.catch_up()
    world.machines[2].log(session(z(1, 2), 8))
    world.machines[0].tree.last_zxid = z(1, 2)
    world.refuses("which epoch 0x2 began without")


def test_a_leader_may_hear_late_that_it_has_been_established(world):
    world.machines[1].lead(3)
    world.oracle.catch_up()
    world.machines[2].lead(2)
    world.oracle.catch_up()
    assert world.oracle.epoch == 3


def test_an_epoch_that_nobody_led(world):
    world.machines[1].follow(z(2, 0))
    world.refuses("nobody has led epoch 0x2")


def test_a_follower_may_be_looked_at_before_its_leader(world):
    world.machines[0].follow(z(2, 0))
    world.machines[2].lead(2)
    world.oracle.catch_up()
    assert world.oracle.epoch == 2


def test_a_tree_with_another_digest(world):
    tree = SimpleNamespace(last_zxid=z(1, 1), digest_enabled=True, digest=world.oracle.model.digest)
    world.machines[1].follow(z(1, 1))
    world.machines[1].tree = tree
    world.oracle.catch_up()
    world.machines[2].follow(z(1, 1))
    world.machines[2].tree = SimpleNamespace(last_zxid=z(1, 1), digest_enabled=True, digest=tree.digest + 1)
    world.refuses("server 3 at 0x100000001 has digest")


def test_a_client_that_is_told_of_what_nobody_has(world):
    world.oracle.seen(z(1, 1))
    with pytest.raises(Violation, match="in no log"):
        world.oracle.seen(z(1, 2))


def test_a_new_membership_needs_both_quorums_and_then_counts(world):
    bigger = membership(5)
    wanted = []
    world.oracle.on_membership = wanted.append
    for sid in (4, 5):
        world.machines.append(Machine(sid, world.loop))
    world.oracle.calls[7, 1] = Call(Op.RECONFIG, config=bigger)
    payload = encode_txn(
        TxnHeader(7, 1, z(1, 2), 0, Op.RECONFIG),
        SetDataTxn(b"/zookeeper/config", bigger.with_version(z(1, 2)).text().encode(), -1),
        None,
    )
    for machine in world.machines[:2]:
        machine.log(payload)
    world.machines[0].tree.last_zxid = z(1, 2)
    world.refuses("only servers")
    world.machines[3].log(payload)
    world.machines[1].follow(z(1, 2))
    world.oracle.catch_up()
    assert [config.version for config in wanted] == [z(1, 2)]
    for machine in world.machines[:2]:
        machine.log(session(z(1, 3), 9))
    world.machines[0].tree.last_zxid = z(1, 3)
    world.refuses("only servers")


def test_an_epoch_completes_a_change_whose_transaction_is_lost(world):
    """Two of four voters are no quorum; without the fourth's vote they are one of three."""
    world = World(4)
    told = []
    world.oracle.on_membership = told.append
    leader, follower, *_ = world.machines
    leader.membership = membership(3, 1).with_version(z(1, 1))
    leader.lead(2)
    world.oracle.catch_up()
    assert told == [leader.membership]
    for machine in (leader, follower):
        machine.log(session(z(2, 1), 1))
    leader.follow(z(2, 1))
    world.oracle.catch_up()
    leader.log(session(z(2, 2), 2))
    leader.follow(z(2, 2))
    with pytest.raises(Violation, match="only servers"):
        world.oracle.catch_up()


def refusal(zxid, code):
    return encode_txn(TxnHeader(7, 1, zxid, 0, Op.ERROR), ErrorTxn(code), None)


@pytest.mark.parametrize("moved", [True, False])
def test_requests_are_refused_for_moving_only_when_the_session_moved(world, moved):
    call = Call(Op.CREATE, b"/a", sent_at=5.0)
    call.session_id = 7
    world.oracle.calls[7, 1] = call
    world.loop.run_until(6.0 if moved else 4.0)
    world.oracle.attaching(7)
    world.everywhere(refusal(z(1, 2), Code.SESSION_MOVED))
    world.machines[0].tree.last_zxid = z(1, 2)
    if moved:
        world.oracle.catch_up()
    else:
        world.refuses("never moved")


@pytest.mark.parametrize("calm", [True, False])
def test_a_session_is_not_said_to_have_expired_soon_after_its_last_request_unless_something_broke(world, calm):
    call = Call(Op.CREATE, b"/a")
    call.session_id = 7
    world.oracle.calls[7, 1] = call
    world.oracle.touched[7] = (0.0, 4000)
    world.oracle.is_calm = lambda since: calm
    world.loop.run_until(1.0)
    world.everywhere(refusal(z(1, 2), Code.SESSION_EXPIRED))
    world.machines[0].tree.last_zxid = z(1, 2)
    if calm:
        world.refuses("is refused 1.000 s after")
    else:
        world.oracle.catch_up()


def test_a_write_is_newer_than_everything_that_was_known_when_it_was_sent(world):
    call = Call(Op.CREATE, b"/a")
    call.session_id, call.xid, call.acked_before = 7, 1, z(1, 2)
    world.oracle.calls[7, 1] = call
    body = CreateTxn(b"/a", b"", call.acl, False, 1)
    world.everywhere(encode_txn(TxnHeader(7, 1, z(1, 2), 0, Op.CREATE), body, None))
    world.machines[0].tree.last_zxid = z(1, 2)
    with pytest.raises(Violation, match="was acknowledged before it was sent"):
        world.oracle.write_acked(call, z(1, 2), 0, pack(">i", 2) + b"/a")


@pytest.mark.parametrize(
    ("call", "code", "right"),
    [
        (Call(Op.SET_DATA, b"/a"), Code.NO_AUTH, "was closed once"),
        (Call(Op.SET_DATA, b"/a", seen_before=z(1, 4)), Code.NO_AUTH, "has been seen open again"),
        (Call(Op.SET_DATA, b"/a"), Code.INVALID_ACL, "brings none"),
        (Call(Op.CREATE, b"/a/b", acl=()), Code.INVALID_ACL, "brings none that is valid"),
        (Call(Op.DELETE, b"/a"), Code.NO_AUTH, "may change the root"),
        (Call(Op.CREATE_CONTAINER, b"/a/b"), Code.NO_AUTH, "is none of those that are checked early"),
        (Call(Op.SET_DATA, b"/none"), Code.NO_AUTH, "concerns nothing that is there"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_write_is_refused_early_only_if_some_tree_that_its_client_may_see_forbids_it(world, call, code, right):
    closed, opened = ((17, "world", "anyone"),), ((31, "world", "anyone"),)
    world.oracle.checks_early = True
    for counter, body in enumerate(
        (CreateTxn(b"/a", b"", opened, False, 1), SetAclTxn(b"/a", closed, 1), SetAclTxn(b"/a", opened, 2)), start=2
    ):
        kind = Op.CREATE if counter == 2 else Op.SET_ACL
        asked = Call(kind, b"/a", acl=body.acl)
        asked.session_id = 7
        world.oracle.calls[7, counter] = asked
        world.everywhere(encode_txn(TxnHeader(7, counter, z(1, counter), 0, kind), body, None))
    world.machines[0].tree.last_zxid = z(1, 4)
    call.session_id, call.xid = 8, 1
    world.oracle.calls[8, 1] = call
    if right in ("was closed once", "brings none that is valid"):
        world.oracle.refused_early(call, code)
        assert (8, 1) not in world.oracle.calls, "it must not be done all the same"
    else:
        with pytest.raises(Violation, match="and it has the right"):
            world.oracle.refused_early(call, code)


def test_no_write_is_refused_early_where_that_is_not_wanted(world):
    with pytest.raises(Violation, match="no transaction says so"):
        world.oracle.refused_early(Call(Op.SET_DATA, b"/a"), Code.NO_AUTH)


def test_a_local_session_is_refused_ephemerals_before_there_is_any_transaction():
    """The zxid of the reply is 0, as that of an early refusal, which it is not."""
    fresh = World()
    oracle = EnsembleOracle(fresh.machines, fresh.config, lambda: fresh.loop.now, tick_ms=100, local_sessions=True)
    oracle.session_acked(8)
    call = Call(Op.CREATE, b"/a")
    call.session_id = 8
    oracle.write_acked(call, 0, Code.EPHEMERAL_ON_LOCAL_SESSION, b"")
    with pytest.raises(Violation, match="is not in the log"):
        oracle.write_acked(call, 0, Code.NO_AUTH, b"")
