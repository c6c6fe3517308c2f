"""A whole server under a leader that the test plays: what the shell of a learner does with what its core wants."""

import errno
import logging

import pytest
from dbkit import Story, new_database, stream, take
from ensemble_rig import INIT_LIMIT, QUORUM_PORT, SYNC_LIMIT, TICK_S, Ensemble, address_of, line_of
from memdisk import MemoryDisk
from played import Leader, committed
from rig import create_body, path, watch_body

from zabra.config.dynamic import parse_config
from zabra.consts import Op
from zabra.quorum.following import Following
from zabra.storage.database import Database
from zabra.wire.records_txn import SetDataTxn
from zabra.zab import packets
from zabra.zab.packets import Packet, encode, parse_request, parse_revalidate, parse_touches
from zabra.zxid import make_zxid as z

SNAPSHOT_END = b"\x00\x00\x00\x0aBenWasHere"


class World:
    """Server 1 of the ensemble of 1, 8 and 9, and 9, its leader, which is played."""

    def __init__(self, config=None, **settings):
        self.ensemble = Ensemble([1, 8, 9], config=config, **settings)
        self.machine = self.ensemble[1]
        self.leader = Leader(self.ensemble, 1)
        self.story = Story()

    def boot(self):
        self.ensemble.boot(1)
        self.ensemble.run(0.1)

    def serve(self, *entries):
        """Boot, and bring it up by a DIFF of these entries; the leader's connection."""
        self.boot()
        wire = self.leader.sync(encode(Packet.DIFF, 0), committed(*entries))
        assert self.machine.mode == "follower"
        return wire

    def next_leader(self, epoch, zxid):
        """The leader comes back with another epoch; its connection, behind the ACKEPOCH."""
        self.looks()
        self.leader.epoch = epoch
        return self.leader.discover(zxid)

    def looks(self, seconds=20):
        self.ensemble.wait(lambda: self.machine.mode == "looking", seconds)

    def client(self, wire):
        """A client with a session that the leader grants."""
        client = self.ensemble.stranger()
        client.greet(1)
        self.ensemble.wait(lambda: wire.has_unread)
        request = parse_request(wire.packets()[-1])
        assert request.type == Op.CREATE_SESSION
        wire.send(committed(answering(self.story.session(request.session, 10_000), request.cxid)))
        assert client.greeted()
        wire.packets()
        return client

    def nodes(self):
        return {name.decode() for name in self.machine.server.tree.nodes}

    def sync_takes(self, seconds):
        self.machine.disk.sync_seconds = lambda: seconds

    def snapshot(self):
        """A SNAP of the story."""
        database = new_database(MemoryDisk())
        database.load()
        take(database, self.story.entries)
        return encode(Packet.SNAP, database.last_processed) + stream(database) + SNAPSHOT_END

    def is_the_story(self):
        """Tree and sessions are those of the story."""
        server = self.machine.server
        return (server.tree.last_zxid, server.tree.digest, server.db.sessions) == (
            self.story.zxid,
            self.story.tree.digest,
            self.story.sessions,
        )

    @property
    def exits(self):
        return self.ensemble.exits[1]


@pytest.fixture
def world():
    made = World()
    yield made
    made.ensemble.close()


@pytest.fixture(autouse=True)
def log(caplog):
    """Everything that is logged."""
    caplog.set_level(logging.INFO)
    return caplog


def answering(entry, xid):
    """The same transaction, for the request of this cxid."""
    return entry._replace(data=entry.data[:8] + xid.to_bytes(4, "big") + entry.data[12:])


def criticals(log):
    return [record.getMessage() for record in log.records if record.levelno == logging.CRITICAL]


# -- the connection


@pytest.mark.parametrize("observer", [False, True])
def test_a_learner_says_who_it_is(observer):
    ensemble = Ensemble([8, 9] if observer else [1, 8, 9], [1] if observer else [])
    leader = Leader(ensemble, 1)
    ensemble.boot(1)
    ensemble.run(0.1)
    assert leader.accept().hello == (observer, 0, 1, packets.PROTOCOL_VERSION, 0)
    ensemble.close()


def test_a_leader_that_refuses_is_tried_a_few_times(world, log):
    world.boot()
    world.leader.deaf()
    world.leader.elect()
    world.looks(1)
    tries = [record for record in log.records if "cannot reach server 9, the leader" in record.getMessage()]
    assert len(tries) == 8, "three quick ones, and five as in Java"
    assert "server 9, the leader, cannot be reached" in log.text
    # Tenths of a second lie between them.
    assert world.machine.server.state.value == "running"


def test_a_leader_that_comes_late_is_found(world):
    world.boot()
    world.leader.deaf()
    world.leader.elect()
    world.ensemble.run(0.15)
    world.leader.listen()
    world.leader.hello(0)


def test_a_leader_that_does_not_answer_is_given_up_in_time(world, log):
    """Within initLimit, or connectToLearnerMasterLimit."""
    world.boot()
    world.ensemble.network.block(address_of(1), address_of(9))
    world.leader.elect()
    began = world.ensemble.loop.now
    world.looks()
    assert world.ensemble.loop.now - began == pytest.approx(INIT_LIMIT * TICK_S, abs=0.3)
    assert "at 10.0.0.9:2888: no answer in time" in log.text


def test_a_server_that_dials_stops_at_once(world):
    world.boot()
    world.ensemble.network.block(address_of(1), address_of(9))
    world.leader.elect()
    world.ensemble.run(0.5)
    began = world.ensemble.loop.now
    world.ensemble.stop(1)
    assert world.ensemble.loop.now - began < 0.2
    assert world.exits == [0]


@pytest.mark.parametrize("dead", ["10.0.0.9", "10.0.0.19", None])
def test_of_several_addresses_the_first_that_answers_counts(dead):
    """The others are hung up on."""
    config = parse_config(
        f"{line_of(1)}\n{line_of(8)}\nserver.9=10.0.0.9:2888:3888|10.0.0.19:2888:3888\n", multi_address=True
    )
    world = World(config, multi_address_enabled=True)
    world.leader.listen("10.0.0.19")
    world.boot()
    if dead:
        world.ensemble.network.block(address_of(1), dead)
    world.leader.elect()
    world.ensemble.run(1)
    alive = [wire for wire in world.leader.wires if not wire.lost]
    assert [bool(wire.data) for wire in alive] == [True]
    assert len(world.leader.wires) == (1 if dead else 2)
    world.ensemble.close()


def test_a_leader_that_no_membership_has_is_not_looked_for(world, log):
    world.boot()
    context = world.machine.member.context

    def follow():
        return Following(context, 77, observer=False, snapshot_epoch=None).run()

    assert world.ensemble.do(follow, 1).reason == "server 77, the leader, cannot be reached"
    assert "no membership has server 77" in log.text


def test_garbage_ends_the_connection(world, log):
    wire = world.serve()
    wire.send(b"\x00\x00\x00\x63" + bytes(20))
    assert wire.lost
    world.looks()
    assert "LOOKING at zxid 0x0 of epoch 0x1: the leader sent garbage: unknown packet type 99" in log.text
    assert world.next_leader(2, 0).history == (1, 0)


@pytest.mark.parametrize("what", ["proposal", "diff"])
def test_a_transaction_that_cannot_be_replayed_never_gets_to_the_disk(world, log, what):
    """Logged it would keep the server from ever starting again; so the connection ends, and says why once."""
    session = world.story.session()
    good = world.story.create(b"/a")
    zxid = good.zxid + 1
    bad = good._replace(zxid=zxid, data=good.data[:12] + zxid.to_bytes(8, "big") + good.data[20:-20])
    if what == "diff":
        world.boot()
        wire = world.leader.discover()
        wire.send(encode(Packet.DIFF, 0), committed(session, good, bad))
    else:
        wire = world.serve(session)
        wire.send(packets.proposal(*good), packets.proposal(*bad))
    assert wire.lost
    world.looks()
    assert world.exits == []
    assert log.text.count("PROPOSAL 0x100000003 cannot be replayed: truncated") == 1
    assert world.machine.logged() == [session.zxid, good.zxid]
    assert world.is_the_story(), "what is in the log is in memory"
    world.ensemble.kill(1)
    world.ensemble.boot(1)
    world.ensemble.run(0.5)
    assert world.machine.mode == "looking"
    assert world.is_the_story()


def test_a_packet_that_is_too_long_ends_the_connection(world, log):
    wire = world.serve()
    wire.send(packets._HEAD.pack(Packet.PROPOSAL, z(1, 1), 1 << 30))
    assert wire.lost
    assert "PROPOSAL with 1073741824 bytes of data, the limit is" in log.text


@pytest.mark.parametrize("pings", [0, 1, 20])
def test_a_silent_leader_is_left(world, log, pings):
    """After syncLimit, also where the longer limit of the sync has not passed yet."""
    wire = world.serve()
    for _ in range(pings):
        wire.send(packets.ping(0), seconds=TICK_S / 2)
    began = world.ensemble.loop.now
    world.looks()
    assert world.ensemble.loop.now - began < SYNC_LIMIT * TICK_S + 0.2
    assert "the leader is silent, waiting for broadcast" in log.text


@pytest.mark.parametrize("stage", ["leaderinfo", "start of the sync", "snapshot", "sync", "uptodate"])
def test_a_leader_that_falls_silent_in_the_sync_is_left(world, log, stage):
    world.story.session()
    world.boot()
    steps = {
        "leaderinfo": [],
        "start of the sync": [packets.leader_info(1)],
        "snapshot": [packets.leader_info(1), world.snapshot()[:-20]],
        "sync": [packets.leader_info(1), encode(Packet.DIFF, 0)],
        "uptodate": [packets.leader_info(1), encode(Packet.DIFF, 0) + world.leader.new_leader()],
    }
    wire = world.leader.accept()
    for step in steps[stage]:
        wire.send(step)
    limit = SYNC_LIMIT if stage == "uptodate" else INIT_LIMIT
    began = world.ensemble.loop.now
    world.looks()
    assert world.ensemble.loop.now - began == pytest.approx(limit * TICK_S, abs=0.2)
    world.ensemble.run(0.5)
    assert f"the leader is silent, waiting for {stage}" in log.text


def test_who_stood_still_reads_before_it_blames_its_leader(world):
    """Its timers are due and what the leader sent lies in its socket: after SIGCONT, or behind a sync that hung."""
    wire = world.serve()
    ensemble = world.ensemble
    still = 3 * SYNC_LIMIT * TICK_S

    def stand_still():
        ensemble.loop.block(still)

    handle = ensemble.loop.world_soon(stand_still)
    handle.process = world.machine.process
    for _ in range(11):
        wire.send(packets.ping(0), seconds=still / 10)
    ensemble.run(0.5)
    assert world.machine.mode == "follower"
    assert not wire.lost
    world.looks()


def test_what_a_leader_said_before_it_hung_up_counts(world):
    wire = world.serve(world.story.session())
    entry = world.story.create(b"/a")
    wire.send(committed(entry), seconds=0)
    wire.close()
    world.looks()
    assert "/a" in world.nodes()


# -- the sync


def test_a_diff_is_on_disk_before_newleader_is_acknowledged(world):
    """And served after UPTODATE."""
    entries = [world.story.session(), world.story.create(b"/a", b"one")]
    world.boot()
    wire = world.leader.discover()
    assert world.machine.epochs() == (1, 0), "an epoch is promised before it is acknowledged"
    wire.send(encode(Packet.DIFF, 0), committed(*entries), world.leader.new_leader())
    assert wire.said() == ["ACK 100000000"]
    assert world.machine.logged(durable=True) == [z(1, 1), z(1, 2)]
    assert world.machine.epochs() == (1, 1)
    assert not world.machine.serving
    wire.send(packets.up_to_date())
    assert wire.said() == ["ACK 100000000"]
    assert world.machine.serving
    assert world.is_the_story()


def test_a_diff_in_small_pieces():
    world = World(chop=0.9)
    entries = [world.story.session(), *world.story.many(30)]
    world.serve(*entries)
    assert world.is_the_story()
    world.ensemble.close()


def test_on_a_slow_disk_newleader_waits_for_the_log(world):
    """Nothing that comes meanwhile is lost, and elections and four-letter words go on."""
    world.boot()
    wire = world.leader.discover()
    entries = [world.story.session(), *world.story.many(3)]
    world.sync_takes(0.3)
    wire.send(encode(Packet.DIFF, 0), committed(*entries), world.leader.new_leader(), packets.up_to_date())
    late = world.story.create(b"/late")
    wire.send(packets.proposal(*late), seconds=0.3)
    assert not wire.has_unread
    assert len(world.machine.logged(durable=True)) < 4
    world.ensemble.wait(lambda: wire.has_unread)
    assert world.machine.logged(durable=True) == [entry.zxid for entry in entries]
    world.ensemble.wait_serving(1)
    world.ensemble.run(0.4)
    assert wire.said() == ["ACK 100000000", "ACK 100000000", f"ACK {late.zxid:x}"]


def test_a_disk_that_fails_while_newleader_waits_for_it_ends_the_server(world, log):
    world.boot()
    wire = world.leader.discover()
    entries = [world.story.session(), *world.story.many(3)]
    world.sync_takes(0.3)
    wire.send(encode(Packet.DIFF, 0), committed(*entries), world.leader.new_leader(), seconds=0.35)
    world.machine.fail("sync", errno.EIO, "/log.")
    world.ensemble.run(2)
    assert world.exits == [1]
    assert not wire.has_unread, "nothing is acknowledged"
    assert len(criticals(log)) == 1


def test_a_stop_while_the_disk_works_waits_for_it(world):
    world.boot()
    wire = world.leader.discover()
    entries = [world.story.session(), *world.story.many(3)]
    world.sync_takes(0.3)
    wire.send(encode(Packet.DIFF, 0), committed(*entries), world.leader.new_leader())
    world.ensemble.stop(1)
    assert world.exits == [0]
    assert world.machine.logged(durable=True) == [entry.zxid for entry in entries]


@pytest.mark.parametrize("what", ["truncate", "snapshot"])
def test_a_stop_while_files_are_changed_waits_for_that(world, what):
    world.serve(world.story.session(), *world.story.many(3)).close()
    wire = world.next_leader(2, z(1, 9))
    world.sync_takes(0.3)
    if what == "truncate":
        wire.send(encode(Packet.TRUNC, z(1, 2)))
    else:
        world.story.create(b"/more")
        wire.send(world.snapshot(), world.leader.new_leader())
    world.ensemble.stop(1)
    assert world.exits == [0]
    world.sync_takes(0)
    world.boot()
    assert world.machine.zxid == (z(1, 2) if what == "truncate" else world.story.zxid)


def test_a_leader_that_hangs_up_while_the_disk_works_is_noticed_afterwards(world, log):
    world.boot()
    wire = world.leader.discover()
    entries = [world.story.session(), *world.story.many(3)]
    world.sync_takes(0.3)
    wire.send(encode(Packet.DIFF, 0), committed(*entries), world.leader.new_leader())
    wire.close()
    assert world.machine.mode == "follower"
    world.looks(3)
    assert world.machine.logged(durable=True) == [entry.zxid for entry in entries]
    assert world.machine.epochs() == (1, 1)
    assert "the other side closed" in log.text
    assert world.is_the_story()


def test_trunc_cuts_the_log_and_the_tree(world):
    kept = [world.story.session(), world.story.create(b"/kept")]
    wire = world.serve(*kept)
    other = Story()
    for entry in kept:
        other.replay(entry)
    wire.send(committed(world.story.create(b"/gone"), world.story.create(b"/gone/too")))
    wire.close()
    wire = world.next_leader(2, z(1, 9))
    assert wire.history == (1, z(1, 4))
    other.epoch(2)
    new = other.create(b"/new")
    world.leader.finish(wire, encode(Packet.TRUNC, z(1, 2)), committed(new))
    assert world.machine.logged() == [z(1, 1), z(1, 2), z(2, 1)]
    world.story = other
    assert world.is_the_story()
    world.ensemble.stop(1)
    world.boot()
    assert world.is_the_story()


def ahead(world):
    """It has four entries in epoch 1 and one in epoch 2, of which the next leader does not know."""
    wire = world.serve(world.story.session(), *world.story.many(3))
    wire.close()
    wire = world.next_leader(2, z(1, 9))
    world.story.epoch(2)
    world.leader.finish(wire, encode(Packet.DIFF, z(1, 4)), committed(world.story.create(b"/second")))
    wire.close()
    return world.next_leader(3, z(2, 9))


def test_a_log_that_cannot_be_cut_there_ends_the_server_with_13(world, log):
    wire = ahead(world)
    wire.send(encode(Packet.TRUNC, z(1, 7)), seconds=0.5)
    assert world.exits == [13]
    (line,) = criticals(log)
    assert line.startswith("stopping: could not cut the log: ")
    assert "cannot be cut to zxid 0x100000007: the last one is 0x100000004" in line
    assert world.machine.logged()[-1] == z(2, 1), "nothing is lost"


def test_a_disk_that_fails_while_the_log_is_cut_ends_the_server(world, log):
    """ZOOKEEPER-3701: two histories must not live on."""
    wire = ahead(world)
    world.machine.fail("truncate", errno.ENOSPC, "/log.")
    wire.send(encode(Packet.TRUNC, z(1, 2)), world.leader.new_leader(), packets.up_to_date(), seconds=0.5)
    assert world.exits == [1]
    assert not wire.has_unread, "nothing is acknowledged"
    (line,) = criticals(log)
    assert line.startswith("stopping: could not cut the log: ")


def test_a_snapshot_replaces_everything(world):
    wire = world.serve(world.story.session(), world.story.create(b"/old"))
    wire.close()
    wire = world.next_leader(2, z(1, 9))
    world.story = Story()
    world.story.session(0x77)
    world.story.many(20)
    snapshot = world.snapshot()
    more = [world.story.create(b"/more"), world.story.create(b"/even-more")]
    world.leader.finish(wire, snapshot, committed(*more))
    assert world.is_the_story()
    assert world.machine.epochs() == (2, 2)
    world.ensemble.stop(1)
    world.boot()
    assert world.is_the_story()


def test_a_snapshot_in_small_pieces_with_packets_right_behind_it():
    world = World(chop=0.95)
    world.story.session()
    world.story.many(20)
    world.boot()
    wire = world.leader.discover()
    snapshot = world.snapshot()
    world.leader.finish(wire, snapshot, committed(world.story.create(b"/more")))
    assert world.is_the_story()
    world.ensemble.close()


@pytest.mark.parametrize("end", ["hangs up", "garbage", "silence"])
def test_a_snapshot_that_was_interrupted_leaves_what_there_was(world, end, log):
    """ZOOKEEPER-3642: the tree came from the leader, the disk does not know it."""
    before = world.story
    wire = world.serve(world.story.session(), world.story.create(b"/old"))
    wire.close()
    wire = world.next_leader(2, z(1, 9))
    world.story = Story()
    world.story.session()
    world.story.many(20)
    snapshot = world.snapshot()
    if end == "garbage":
        wire.send(snapshot[: -len(SNAPSHOT_END)] + b"\xff" * 100)
        assert "the leader's snapshot is damaged" in log.text
    else:
        wire.send(snapshot[:-5])
        if end == "hangs up":
            wire.close()
    world.looks()
    world.story = before
    world.ensemble.wait(world.is_the_story)
    assert world.next_leader(3, z(1, 9)).history == (1, z(1, 2))


def test_a_whole_snapshot_without_newleader_is_thrown_away(world):
    before = world.story
    wire = world.serve(world.story.session(), world.story.create(b"/old"))
    wire.close()
    wire = world.next_leader(2, z(1, 9))
    world.story = Story()
    world.story.session()
    world.story.many(20)
    snapshot = world.snapshot()
    wire.send(snapshot, committed(world.story.create(b"/more")))
    assert "/more" in world.nodes()
    wire.close()
    world.looks()
    world.story = before
    world.ensemble.wait(world.is_the_story)


def test_a_snapshot_that_cannot_be_saved_ends_the_server(world, log):
    world.story.session()
    world.story.many(20)
    world.boot()
    wire = world.leader.discover()
    world.machine.fail("pwrite", errno.ENOSPC, "snapshot.")
    wire.send(world.snapshot(), world.leader.new_leader(), packets.up_to_date(), seconds=0.5)
    assert world.exits == [1]
    assert not wire.has_unread, "nothing is acknowledged"
    (line,) = criticals(log)
    assert line.startswith("stopping: could not save the leader's snapshot: ")


def test_a_leader_that_waits_for_our_disk_is_not_blamed_for_its_silence(world):
    world.story.session()
    world.story.many(5)
    world.boot()
    wire = world.leader.discover()
    snapshot = world.snapshot()
    world.sync_takes(INIT_LIMIT * TICK_S)
    wire.send(snapshot, world.leader.new_leader())
    world.ensemble.wait(lambda: wire.has_unread, 100)
    assert world.ensemble.loop.now > 2 * INIT_LIMIT * TICK_S
    assert wire.said() == ["ACK 100000000"]
    world.sync_takes(0)
    wire.send(packets.up_to_date())
    assert world.machine.serving


def test_a_cut_below_the_oldest_snapshot_asks_for_a_snapshot_next_time(world, log):
    world.story.session()
    world.story.many(4)
    world.boot()
    world.leader.sync(world.snapshot()).close()
    wire = world.next_leader(2, z(1, 9))
    assert wire.history == (1, z(1, 5))
    wire.send(encode(Packet.TRUNC, z(1, 2)))
    assert wire.lost
    assert "TRUNC to 0x100000002, the oldest snapshot is of 0x100000005" in log.text
    wire = world.next_leader(2, z(1, 9))
    assert wire.history == (packets.NO_EPOCH, 0), "as if there was nothing here; it is no ack"
    world.story = Story()
    world.story.session()
    world.leader.finish(wire, world.snapshot())
    assert world.is_the_story()


def test_a_leader_that_insists_on_cutting_ends_the_server_with_13(world, log):
    world.story.session()
    world.story.many(4)
    world.boot()
    world.leader.sync(world.snapshot()).close()
    world.next_leader(2, z(1, 9)).send(encode(Packet.TRUNC, z(1, 2)))
    world.next_leader(2, z(1, 9)).send(encode(Packet.TRUNC, z(1, 2)), seconds=0.5)
    assert world.exits == [13]
    assert criticals(log) == ["stopping: TRUNC instead of SNAP: the log cannot be cut"]


@pytest.mark.parametrize("file", ["acceptedEpoch", "currentEpoch"])
def test_an_epoch_that_cannot_be_stored_ends_the_server(world, file, log):
    world.boot()
    world.machine.fail("rename", errno.EROFS, file)
    wire = world.leader.accept()
    wire.send(packets.leader_info(1))
    if file == "currentEpoch":
        assert [packet.type for packet in wire.packets()] == [Packet.ACKEPOCH]
        wire.send(encode(Packet.DIFF, 0), world.leader.new_leader())
    world.ensemble.run(0.5)
    assert world.exits == [1]
    assert not wire.has_unread, "nothing is acknowledged"
    (line,) = criticals(log)
    assert line.startswith("stopping: the learner's state could not be stored: ")
    assert file in line


def test_an_older_epoch_than_was_accepted_is_refused(world, log):
    world.serve().close()
    world.looks()
    world.leader.epoch = 0
    wire = world.leader.accept()
    wire.send(packets.leader_info(0))
    assert wire.lost
    assert "the leader's epoch 0x0 is less than the accepted epoch 0x1" in log.text


# -- while it follows


def test_entries_that_are_not_committed_are_acknowledged_after_uptodate(world):
    entry = world.story.session()
    world.boot()
    wire = world.leader.discover()
    wire.send(encode(Packet.DIFF, 0), packets.proposal(*entry), world.leader.new_leader())
    assert wire.said() == ["ACK 100000000"]
    assert world.machine.logged() == []
    wire.send(packets.up_to_date())
    assert wire.said() == ["ACK 100000000", "ACK 100000001"]
    assert world.machine.zxid == 0
    wire.send(packets.commit(entry.zxid))
    assert world.machine.zxid == entry.zxid


def test_proposals_are_on_disk_when_they_are_acknowledged_and_applied_when_committed(world):
    wire = world.serve(world.story.session())
    a, b = world.story.create(b"/a"), world.story.create(b"/b")
    wire.send(packets.proposals((a, b)))
    assert wire.said() == ["ACK 100000002", "ACK 100000003"]
    assert world.machine.logged(durable=True)[-2:] == [a.zxid, b.zxid]
    assert "/a" not in world.nodes()
    wire.send(packets.commits(a.zxid, b.zxid))
    assert world.is_the_story()


def test_a_commit_out_of_turn_ends_the_server_with_12(world, log):
    wire = world.serve(world.story.session())
    a, b = world.story.create(b"/a"), world.story.create(b"/b")
    wire.send(packets.proposals((a, b)), packets.commit(b.zxid), seconds=0.5)
    assert world.exits == [12]
    assert criticals(log) == ["stopping: COMMIT of 0x100000003, the next pending one is 0x100000002"]


def test_a_gap_in_the_proposals_ends_the_connection(world, log):
    wire = world.serve(world.story.session())
    world.story.create(b"/missing")
    wire.send(packets.proposal(*world.story.create(b"/b")))
    assert wire.lost
    assert "PROPOSAL 0x100000003 after 0x100000001: a gap" in log.text
    assert world.machine.logged() == [z(1, 1)]


def test_what_was_logged_is_applied_when_the_role_ends(world):
    """ZOOKEEPER-2845: this server has it and votes with it."""
    wire = world.serve(world.story.session())
    wire.send(packets.proposals((world.story.create(b"/a"), world.story.create(b"/b"))))
    assert "/a" not in world.nodes()
    wire.close()
    world.looks()
    assert world.is_the_story()
    assert world.next_leader(2, z(1, 9)).history == (1, world.story.zxid)


def test_what_is_on_its_way_to_a_slow_disk_is_applied_when_the_role_ends(world):
    wire = world.serve(world.story.session())
    world.sync_takes(0.3)
    for name in (b"/a", b"/b", b"/c", b"/d"):
        wire.send(packets.proposal(*world.story.create(name)))
    wire.close()
    assert len(world.machine.logged(durable=True)) < 5
    world.looks()
    assert world.machine.logged(durable=True)[-1] == world.story.zxid
    assert world.is_the_story()


def test_a_log_that_fails_at_a_stop_ends_the_server_with_1(world, log):
    wire = world.serve(world.story.session())
    world.sync_takes(0.3)
    for name in (b"/a", b"/b", b"/c"):
        wire.send(packets.proposal(*world.story.create(name)), seconds=0.35)
    world.machine.fail("sync", errno.EIO, "/log.")
    wire.send(packets.proposal(*world.story.create(b"/d")))
    wire.send(packets.proposal(*world.story.create(b"/e")))
    world.ensemble.stop(1)
    assert world.exits == [1]
    assert len(criticals(log)) == 1


def test_a_log_that_fails_ends_the_server(world, log):
    wire = world.serve(world.story.session())
    world.machine.fail("sync", errno.EIO, "/log.")
    wire.send(packets.proposal(*world.story.create(b"/a")), seconds=0.5)
    assert world.exits == [1]
    assert not wire.has_unread
    (line,) = criticals(log)
    assert line.startswith("stopping: the transaction log could not be written: ")


def test_pings_are_answered_with_the_sessions_that_were_used(world):
    wire = world.serve(world.story.session())
    client = world.client(wire)
    wire.send(packets.ping(world.story.zxid))
    wire.packets()
    client.ok(Op.EXISTS, watch_body("/"))
    wire.send(packets.ping(world.story.zxid))
    (answer,) = wire.packets()
    assert (answer.type, answer.zxid, parse_touches(answer)) == (
        Packet.PING,
        world.story.zxid,
        [(client.session_id, 10_000)],
    )
    wire.send(packets.ping(world.story.zxid))
    assert parse_touches(wire.packets()[0]) == []


def test_a_write_is_answered_when_the_leader_has_committed_it(world):
    wire = world.serve(world.story.session())
    client = world.client(wire)
    xid = client.post(Op.CREATE, create_body("/mine"))
    world.ensemble.run(0.1)
    (packet,) = wire.packets()
    request = parse_request(packet)
    assert (request.session, request.cxid, request.type) == (client.session_id, xid, Op.CREATE)
    entry = answering(world.story.create(b"/mine", session=client.session_id), xid)
    wire.send(packets.proposal(*entry))
    assert client.replies() == []
    wire.send(packets.commit(entry.zxid))
    (reply,) = client.replies()
    assert (reply.xid, reply.zxid, reply.err, reply.body) == (xid, entry.zxid, 0, path("/mine"))


def test_a_sync_and_a_session_that_moves_here_are_asked_of_the_leader(world):
    wire = world.serve(world.story.session())
    client = world.client(wire)
    xid = client.post(Op.SYNC, path("/"))
    world.ensemble.run(0.1)
    assert [parse_request(packet).type for packet in wire.packets()] == [Op.SYNC]
    wire.send(packets.sync_answer())
    assert [reply.xid for reply in client.replies()] == [xid]
    client.leave()
    world.ensemble.run(0.1)
    for valid in (True, False):
        client.greet(1)
        world.ensemble.run(0.1)
        (packet,) = wire.packets()
        assert parse_revalidate(packet) == (client.session_id, 10_000)
        assert not client.frames
        wire.send(packets.revalidated(client.session_id, valid))
        assert client.greeted() is valid
        if valid:
            client.leave()
            world.ensemble.run(0.1)


def test_clients_are_hung_up_on_when_the_leader_is_gone(world):
    wire = world.serve(world.story.session())
    client = world.client(wire)
    wire.close()
    world.looks()
    world.ensemble.run(0.1)
    assert client.lost
    assert not world.ensemble.stranger().connect(1), "nobody is let in while it looks"


def test_what_nobody_expected_ends_the_server(world, log, monkeypatch):
    """Half of what the core wants was done: no more can be trusted."""

    def breaks(self, entries):
        raise RuntimeError("a bug")

    wire = world.serve(world.story.session())
    monkeypatch.setattr(Following, "_commit", breaks)
    wire.send(committed(world.story.create(b"/a")), seconds=0.5)
    assert world.exits == [1]
    assert criticals(log) == ["stopping: the learner broke off: a bug"]


# -- the membership


def reconfigured(text, version):
    return SetDataTxn(b"/zookeeper/config", f"{text}\nversion={version:x}".encode(), -1)


@pytest.fixture
def flexible():
    made = World(reconfig_enabled=True)
    yield made
    made.ensemble.close()


def test_a_proposed_membership_is_known_and_a_committed_one_shown(flexible):
    world = flexible
    wire = world.serve(world.story.session())
    lines = "\n".join(map(line_of, (1, 2, 8, 9)))
    entry = world.story.add(Op.RECONFIG, reconfigured(lines, 0x100000002))
    wire.send(packets.proposal(*entry))
    membership = world.machine.member.context.membership
    assert (membership.config.version, membership.last_seen.version) == (0, 0x100000002)
    assert 2 in world.machine.member.election.voters, "its votes are wanted already"
    wire.send(packets.commit_and_activate(entry.zxid, 9))
    assert membership.config.version == 0x100000002
    assert world.machine.server.tree.nodes[b"/zookeeper/config"].data.endswith(b"version=100000002")
    assert world.machine.mode == "follower", "its role is the same"
    assert not wire.lost


@pytest.mark.parametrize("change", ["role", "leader"])
def test_who_gets_another_role_or_leader_follows_it_without_an_election(flexible, change, log):
    world = flexible
    wire = world.serve(world.story.session())
    lines = [line_of(1, observer=change == "role"), line_of(8), line_of(9)]
    designated = 8 if change == "leader" else 9
    world.leader.listen(address_of(8))
    entry = world.story.add(Op.RECONFIG, reconfigured("\n".join(lines), 0x100000002))
    wire.send(packets.proposal(*entry), packets.commit_and_activate(entry.zxid, designated), seconds=0)
    again = world.leader.hello(1)
    assert wire.lost
    assert world.machine.zxid == entry.zxid, "the change itself is applied first"
    assert again.hello.observer is (change == "role")
    assert again.hello.config_version == 0x100000002
    assert again.transport.get_extra_info("sockname") == (address_of(designated), QUORUM_PORT)
    assert log.text.count("LOOKING") == 1


def test_a_leader_that_has_another_address_now_is_followed_there_if_it_is_elected(flexible, log):
    world = flexible
    world.boot()
    wire = world.leader.discover()
    world.leader.listen(port=2999)
    lines = "\n".join((line_of(1), line_of(8), line_of(9, quorum_port=2999), "version=5"))
    wire.send(encode(Packet.DIFF, 0), packets.new_leader(1, lines.encode()), packets.up_to_date())
    assert wire.lost
    assert world.machine.mode == "looking"
    world.leader.elect()
    again = world.leader.hello(1)
    assert again.transport.get_extra_info("sockname") == (address_of(9), 2999)
    assert log.text.count("LOOKING") == 2


@pytest.mark.parametrize("change", ["role", "leader"])
def test_who_is_sent_elsewhere_before_its_snapshot_is_saved_has_what_it_had_before(flexible, change):
    """Its next leader must not count on a history that only memory has."""
    world = flexible
    for name in (b"/a", b"/b"):
        world.story.create(name)
    world.boot()
    wire = world.leader.discover()
    wire.send(world.snapshot())
    assert world.machine.zxid == world.story.zxid
    lines = [line_of(1, observer=change == "role"), line_of(8), line_of(9)]
    designated = 8 if change == "leader" else 9
    world.leader.listen(address_of(8))
    entry = world.story.add(Op.RECONFIG, reconfigured("\n".join(lines), 0x100000002))
    wire.send(packets.proposal(*entry), packets.commit_and_activate(entry.zxid, designated), seconds=0)
    again = world.leader.hello(1)
    assert world.machine.zxid == 0
    assert world.machine.logged() == []
    again.send(packets.leader_info(2))
    (told,) = again.packets()
    assert (told.type, told.zxid) == (Packet.ACKEPOCH, 0)


def test_a_membership_that_does_not_parse_ends_the_connection_only(flexible, log):
    world = flexible
    world.boot()
    wire = world.leader.discover()
    wire.send(encode(Packet.DIFF, 0), packets.new_leader(1, b"server.1=nonsense\nversion=5"))
    assert wire.lost
    world.ensemble.run(1)
    assert world.exits == []
    assert world.machine.mode == "looking"
    assert "the leader sent a membership that cannot be used: membership: expected host:quorumPort" in log.text
    assert world.machine.epochs() == (1, 0)


def test_an_entry_that_cannot_be_applied_ends_the_server(world, log, monkeypatch):
    """It is in the log: what follows cannot be trusted, and is not applied on the way out."""
    session, bad, after = world.story.session(), world.story.create(b"/a"), world.story.create(b"/b")
    apply = Database.apply

    def breaks(self, entry):
        if entry.zxid == bad.zxid:
            raise ValueError("a bug")
        return apply(self, entry)

    monkeypatch.setattr(Database, "apply", breaks)
    wire = world.serve(session)
    wire.send(packets.proposals((bad, after)), packets.commit(bad.zxid), seconds=0.5)
    assert world.exits == [1]
    assert criticals(log) == ["stopping: the learner broke off: a bug"]
    assert world.machine.zxid == z(1, 1)
