"""Observers that keep no log (``syncEnabled=false``): what they have, and what a start finds."""

import errno
import logging

import pytest
from dbkit import Story
from ensemble_rig import Ensemble, line_of, membership
from played import Leader, committed
from rig import create_body, watch_body

from zabra.consts import Op
from zabra.wire.records_proto import ReconfigRequest
from zabra.zab import packets
from zabra.zab.packets import Packet, encode
from zabra.zxid import make_zxid as z


@pytest.fixture(autouse=True)
def log(caplog):
    """Everything that is logged."""
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def four():
    """Voters 1 to 3, and observer 4 without a log; all serve, and have the same."""
    made = Ensemble([1, 2, 3], [4], sync_enabled=False, reconfig_enabled=True, skip_acl=True)
    made.start()
    made.fill(made.leader, 50)
    made.level()
    yield made
    made.close()


def promote(ensemble):
    """The observer gets a vote."""
    client = ensemble.client(ensemble.leader)
    client.ok(Op.RECONFIG, ReconfigRequest(line_of(4), None, None, -1).encode())


def is_all_on_disk(ensemble):
    """What a start of server 4 finds is what the ensemble has."""
    zxid = ensemble.level()
    ensemble.kill(4)
    ensemble.boot(4)
    ensemble.wait(lambda: hasattr(ensemble[4].server, "db") and ensemble[4].server.member is not None)
    assert ensemble[4].zxid == zxid
    ensemble.check_trees()


def test_nothing_is_written(four):
    assert [four[sid].logged() != [] for sid in (1, 2, 3, 4)] == [True, True, True, False]
    assert four[4].server.db.unlogged
    client = four.client(4)
    client.ok(Op.CREATE, create_body("/a"))
    client.ok(Op.EXISTS, watch_body("/a"))
    four.check_trees()
    assert four[4].logged() == []


def test_a_start_begins_with_the_files_and_gets_the_rest(four):
    four.kill(4)
    four.boot(4)
    four.wait_serving()
    four.check_trees()


def test_what_is_in_memory_counts_while_the_server_runs(four, log):
    four.kill(four.leader)
    four.wait(lambda: four.modes()[4] == "looking")
    log.clear()
    four.wait_serving(*(sid for sid, mode in four.modes().items() if mode != "down"))
    assert [text for text in log.messages if "synchronizing 10.0.0.4" in text and "DIFF of zxid 0x100000" in text]
    assert four[4].server.db.unlogged


def test_a_snapshot_of_the_leader_goes_to_the_disk(four):
    four.kill(4)
    four.fill(four.leader, 1200)
    four.boot(4)
    four.wait_serving()
    zxid = four.level()
    assert not four[4].server.db.unlogged
    assert four[4].epochs() == (1, 1)
    four.fill(four.leader, 5)
    four.level()
    assert four[4].server.db.durable_zxid == zxid


def test_an_observer_that_gets_a_vote_begins_with_a_log(four):
    promote(four)
    four.wait(lambda: four.modes()[4] == "follower")
    is_all_on_disk(four)


def looking_beyond_an_epoch(four):
    """The observer looks for a leader; what it has in memory is of epoch 2, its files are of epoch 1."""
    old = four.leader
    four.kill(old, power=False)
    four.wait(lambda: four.modes()[4] == "looking")
    four.boot(old)
    four.wait_serving()
    four.fill(four.leader, 5)
    four.level()
    promised = []
    look = four[4].member._elector.look
    four[4].member._elector.look = lambda zxid, epoch: (promised.append((zxid, epoch)), look(zxid, epoch))
    four.isolate(4)
    four.wait(lambda: promised)
    return promised[0]


def test_a_vote_that_it_hears_of_while_looking_counts_what_is_on_disk(four, log):
    """It votes with what a start would find, and writes down the rest before it follows."""
    zxid, epoch = looking_beyond_an_epoch(four)
    assert zxid <= z(1, 0), "that of its first synchronization"
    assert epoch < 2
    promote(four)
    four.heal()
    four.wait(lambda: four.modes()[4] == "follower")
    assert [text for text in log.messages if text.startswith("writing a snapshot of zxid 0x2")]
    is_all_on_disk(four)


def test_a_snapshot_that_cannot_be_written_then_ends_the_server(four, log):
    looking_beyond_an_epoch(four)
    promote(four)
    four[4].fail("pwrite", errno.ENOSPC, "snapshot")
    four.heal()
    four.wait(lambda: four.exits[4] == [1])
    assert "stopping: what is in memory only could not be saved: " in log.text


def test_an_end_between_that_snapshot_and_its_epoch_is_no_hindrance(four):
    looking_beyond_an_epoch(four)
    promote(four)

    def plan(name, path, size):
        if name == "rename" and path.endswith("/currentEpoch.tmp"):
            raise OSError(errno.EROFS, "as the test wants it", path)

    four[4].disk.plan = plan
    four.heal()
    four.wait(lambda: four.exits[4] == [1])
    four[4].disk.plan = lambda name, path, size: None
    four.boot(4)
    four.wait_serving(4)
    assert four[4].mode == "follower"
    is_all_on_disk(four)


def test_who_is_to_vote_acknowledges_no_history_that_it_has_not_on_disk():
    """The leader counts its ack for the membership that is proposed."""
    ensemble = Ensemble([8, 9], [1], sync_enabled=False, reconfig_enabled=True)
    leader, story = Leader(ensemble, 1), Story()
    ensemble.boot(1)
    ensemble.run(0.1)
    wire = leader.discover()
    entries = [story.session(), *story.many(3)]
    proposed = membership([1, 8, 9], version=9).text().encode()
    wire.send(encode(Packet.DIFF, 0), committed(*entries), packets.new_leader(1, proposed), seconds=1)
    assert wire.lost
    assert not wire.has_unread
    leader.epoch = 2
    wire = leader.discover()
    assert wire.history == (0, 0)
    wire.send(encode(Packet.DIFF, 0), committed(*entries), packets.new_leader(2, proposed), seconds=0.5)
    assert wire.said() == ["ACK 200000000"]
    assert ensemble[1].logged(durable=True) == [entry.zxid for entry in entries]
    assert ensemble[1].epochs() == (2, 2)
    ensemble.close()


def test_a_cut_of_what_is_in_memory_begins_with_the_files_again():
    ensemble = Ensemble([8, 9], [1], sync_enabled=False)
    leader, story = Leader(ensemble, 1), Story()
    ensemble.boot(1)
    ensemble.run(0.1)
    entries = [story.session(), *story.many(3)]
    wire = leader.sync(encode(Packet.DIFF, 0), committed(*entries))
    assert ensemble[1].zxid == story.zxid
    assert ensemble[1].epochs() == (1, 0), "that of the files"
    wire.close()
    ensemble.run(1)
    leader.epoch = 2
    wire = leader.discover()
    assert wire.history == (0, z(1, 4))
    wire.send(encode(Packet.TRUNC, z(1, 2)))
    ensemble.run(1)
    assert ensemble[1].zxid == 0
    leader.epoch = 3
    wire = leader.discover()
    assert wire.history == (0, 0)
    leader.finish(wire, encode(Packet.DIFF, 0), committed(*entries[:2]))
    assert ensemble[1].zxid == z(1, 2)
    ensemble.close()
