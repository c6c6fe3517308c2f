"""A whole server that leads learners which the test plays: what the shell of a leader does with what its core wants."""

import errno
import logging

import pytest
from ensemble_rig import INIT_LIMIT, QUORUM_PORT, SYNC_LIMIT, TICK_S, Ensemble, address_of, line_of
from played import Learners, notify
from rig import create_body, path, set_body, watch_body

from zabra.config.dynamic import parse_config
from zabra.consts import Op
from zabra.quorum.leading import Leading
from zabra.sim.loop import Process
from zabra.storage.snapstore import zxid_of_snapshot
from zabra.storage.snapstream import SnapStreamLoader
from zabra.tree.tree import DataTree
from zabra.zab import packets
from zabra.zab.packets import PACKET_NAMES, Packet, PacketStream, encode, singly
from zabra.zab.types import ServerState
from zabra.zxid import make_zxid as z

EPOCH = z(1, 0)
NODES = 1200


class World:
    """Server 1 of the ensemble of 1, 8 and 9; 8 and 9 are played."""

    def __init__(self, observers=(), **settings):
        self.ensemble = Ensemble([1, 8, 9], observers, **settings)
        self.machine = self.ensemble[1]
        self.learners = Learners(self.ensemble)

    def boot(self):
        self.ensemble.boot(1)
        self.ensemble.run(0.1)

    def lead(self):
        """Booted and elected."""
        self.boot()
        self.learners.elect()

    def serve(self):
        """Leading 8; its connection."""
        self.lead()
        wire = self.learners.join()
        assert self.machine.serving
        return wire

    def join(self, sid, **more):
        """One more learner, which has what there is."""
        return self.learners.join(sid, 1, EPOCH, **more)

    def client(self, wire, timeout_ms=10000):
        """A client of the leader; 8 acknowledges its session."""
        client = self.ensemble.stranger()
        client.greet(1, timeout_ms)
        self.ensemble.run(0.05)
        acknowledge(wire)
        assert client.greeted()
        return client

    @property
    def exits(self):
        return self.ensemble.exits[1]


def acknowledge(wire, seconds=0.05):
    """Acknowledge every proposal that came; their zxids."""
    zxids = [packet.zxid for packet in wire.packets() if packet.type == Packet.PROPOSAL]
    wire.send(*map(packets.ack, zxids), seconds=seconds)
    return zxids


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


def warnings(log):
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


def criticals(log):
    return [record.getMessage() for record in log.records if record.levelno == logging.CRITICAL]


# -- from the election to the first client


def test_a_term_from_the_election_to_the_first_write(world):
    world.lead()
    machine = world.machine
    wire = world.learners.hello()
    assert wire.said() == ["LEADERINFO 100000000"]
    assert machine.epochs() == (1, 0)
    wire.send(packets.ack_epoch(0, 0))
    assert machine.epochs() == (1, 1)
    assert wire.said() == ["DIFF 0", "NEWLEADER 100000000"]
    assert not machine.serving
    wire.send(packets.ack(EPOCH))
    assert wire.said() == ["UPTODATE -1"]
    assert machine.serving
    assert machine.zxid == EPOCH
    assert machine.member.election.current_vote.epoch == 1
    client = world.client(wire)
    client.post(Op.CREATE, create_body("/a"))
    world.ensemble.run(0.05)
    (zxid,) = acknowledge(wire, 0)
    assert (zxid, client.replies()) == (z(1, 2), [])
    world.ensemble.run(0.05)
    assert [reply.body for reply in client.replies()] == [path("/a")]
    assert wire.said() == ["COMMIT 100000002"]


def test_a_leader_that_nobody_joins_steps_down(world, log):
    world.lead()
    began = world.ensemble.loop.now
    world.ensemble.wait(lambda: world.machine.mode == "looking")
    assert world.ensemble.loop.now - began == pytest.approx(INIT_LIMIT * TICK_S, abs=0.3)
    assert "no quorum in 5000 ms waiting for epoch, only of [1]" in log.text


def test_a_leader_that_its_voters_have_given_up_steps_down(log):
    """Within leader.maxTimeToWaitForEpoch, where that is set: well before initLimit."""
    world = World(leader_max_time_to_wait_for_epoch_ms=1000)
    world.lead()
    for seconds, mode in ((0.5, "leader"), (1.0, "looking")):
        world.ensemble.run(seconds)
        notify(world.ensemble, 1, 8, ServerState.LOOKING, 8, 0, 2)
        assert world.machine.mode == mode
    assert "server 8, which voted for this one, looks for another leader" in log.text
    assert world.machine.server.stats.metrics.quit_leading_due_to_disloyal_voter.value == 1
    world.ensemble.close()


def test_pings_begin_with_the_term(world):
    """Though nothing more comes from anybody."""
    world.lead()
    wire = world.learners.hello()
    world.learners.agree(wire)
    wire.send(packets.ack(EPOCH), seconds=1.2 * TICK_S)
    wire.packets()
    assert wire.pings == 2


def test_a_leader_whose_learners_are_silent_steps_down(world, log):
    wire = world.serve()
    client = world.client(wire)
    world.ensemble.wait(lambda: world.machine.mode == "looking", (SYNC_LIMIT + 2) * TICK_S)
    assert "server 8 is silent in stage active" in log.text
    assert "no quorum of learners is in sync, only [1]" in log.text
    world.ensemble.run(0.05)
    assert client.lost
    assert wire.lost
    # Again, in the same process.
    world.learners.elect()
    again = world.learners.join(epoch=1, zxid=world.machine.zxid)
    assert world.machine.serving
    assert world.client(again).ok(Op.EXISTS, watch_body("/"))


def test_pings_keep_it(world):
    wire = world.serve()
    for _ in range(10):
        wire.send(packets.ping_answer(EPOCH, []), seconds=TICK_S)
    assert world.machine.mode == "leader"
    assert wire.said() == []
    assert wire.pings == 20, "half a tick apart"


def test_a_quorum_port_that_is_taken_ends_the_term(world, log):
    world.ensemble.network.listen(Process(address_of(1)), lambda: None, None, QUORUM_PORT)
    world.boot()
    with pytest.raises(AssertionError):
        world.learners.elect()
    assert world.machine.mode == "looking"
    assert "cannot listen for learners: 10.0.0.1:2888: [Errno 98] address already in use" in log.text
    assert world.exits == []


def test_the_quorum_port_is_given_back(world):
    world.lead()
    world.ensemble.wait(lambda: world.machine.mode == "looking")
    assert (address_of(1), QUORUM_PORT) not in world.ensemble.network.listeners
    world.learners.elect()


def test_only_one_of_several_addresses_need_be_free():
    config = parse_config(
        f"server.1=10.0.0.1:2888:3888|10.0.0.1:2889:3889\n{line_of(8)}\n{line_of(9)}", multi_address=True
    )
    world = World(config=config, multi_address_enabled=True)
    world.ensemble.network.listen(Process(address_of(1)), lambda: None, None, QUORUM_PORT)
    world.lead()
    assert (address_of(1), 2889) in world.ensemble.network.listeners
    world.ensemble.close()


def test_all_addresses_are_listened_on_where_that_is_wanted():
    config = Ensemble([1, 8, 9]).config
    world = World(config=config, quorum_listen_on_all_ips=True)
    hosts = []
    listen = world.ensemble.network.listen

    def note(process, factory, host, port):
        hosts.append((host, port))
        return listen(process, factory, host, port)

    world.ensemble.network.listen = note
    world.lead()
    assert hosts[1:] == [(None, 3888), (None, QUORUM_PORT)]
    world.ensemble.close()


@pytest.mark.parametrize("file", ["acceptedEpoch", "currentEpoch"])
def test_an_epoch_that_cannot_be_stored_ends_the_server(world, file, log):
    world.lead()
    world.machine.fail("rename", errno.EROFS, file)
    wire = world.learners.hello()
    if file == "currentEpoch":
        world.learners.agree(wire)
    world.ensemble.run(0.5)
    assert world.exits == [1]
    assert not wire.has_unread, "nobody is told of it"
    (line,) = criticals(log)
    assert line.startswith("stopping: the leader's state could not be stored: ")


# -- writes


def test_the_writes_of_a_turn_are_proposed_together_and_answered_in_order(world):
    wire = world.serve()
    client = world.client(wire)
    wire.packets()
    client.post(Op.CREATE, *(create_body(f"/n{number}") for number in range(5)))
    world.ensemble.run(0.05)
    assert acknowledge(wire) == [z(1, number) for number in range(2, 7)]
    assert [reply.body for reply in client.replies()] == [path(f"/n{number}") for number in range(5)]


def test_nothing_is_answered_before_a_quorum_has_it_on_disk(world):
    """The own disk counts as one of the quorum, and is no quorum."""
    wire = world.serve()
    nine = world.join(9)
    client = world.client(wire)
    client.post(Op.CREATE, create_body("/a"))
    world.ensemble.run(0.2)
    assert world.machine.logged(durable=True)[-1] == z(1, 2)
    assert client.replies() == []
    # Two learners are a quorum without it.
    world.machine.disk.sync_seconds = lambda: 0.2
    client.post(Op.CREATE, create_body("/b"))
    client.post(Op.CREATE, create_body("/c"))
    world.ensemble.run(0.5)
    acknowledge(nine)
    assert acknowledge(wire)[-1] == z(1, 4)
    assert len(client.replies()) == 3


def test_a_slow_disk_holds_up_neither_reads_nor_learners(world):
    wire = world.serve()
    client, reader = world.client(wire), world.client(wire)
    world.machine.disk.sync_seconds = lambda: 0.4
    client.post(Op.CREATE, create_body("/a"))
    world.ensemble.run(0.5)
    acknowledge(wire)
    client.post(Op.CREATE, create_body("/b"))
    world.ensemble.run(0.05)
    assert [packet.zxid for packet in wire.packets() if packet.type == Packet.PROPOSAL] == [z(1, 4)]
    assert reader.ok(Op.EXISTS, watch_body("/a"))
    assert world.machine.logged(durable=True)[-1] == z(1, 3)


def test_what_a_disk_that_fails_did_not_take_is_not_answered(world, log):
    wire = world.serve()
    client = world.client(wire)
    world.machine.fail("sync", errno.EIO, "/log.")
    client.post(Op.CREATE, create_body("/a"))
    world.ensemble.run(0.5)
    assert world.exits == [1]
    assert client.replies() == []
    assert len(criticals(log)) == 1


def test_what_was_logged_is_applied_when_the_term_ends(world):
    """ZOOKEEPER-2845: this server has it and votes with it."""
    wire = world.serve()
    client = world.client(wire)
    client.post(Op.CREATE, create_body("/a"))
    client.post(Op.CREATE, create_body("/b"))
    world.ensemble.run(0.05)
    assert b"/a" not in world.machine.server.tree.nodes
    wire.close()
    world.ensemble.wait(lambda: world.machine.mode == "looking")
    assert client.replies() == []
    assert world.machine.zxid == z(1, 3)
    assert b"/b" in world.machine.server.tree.nodes
    world.learners.elect()
    again = world.learners.hello(accepted=1)
    world.learners.agree(again, 1, z(1, 1))
    assert again.said()[:5] == [
        "DIFF 100000003",
        "PROPOSAL 100000002",
        "COMMIT 100000002",
        "PROPOSAL 100000003",
        "COMMIT 100000003",
    ]


def test_acks_are_measured_from_the_time_of_the_transaction():
    world = World(leader_ack_logging_frequency=1)
    wire = world.serve()
    client = world.client(wire)
    before = world.machine.server.stats.metrics.dump()
    client.post(Op.CREATE, create_body("/a"))
    world.ensemble.run(0.3)
    acknowledge(wire)
    after = world.machine.server.stats.metrics.dump()
    assert after["sum_8_ack_latency"] - before["sum_8_ack_latency"] == pytest.approx(300, abs=10)
    assert after["sum_1_ack_latency"] - before["sum_1_ack_latency"] == pytest.approx(0, abs=10)
    # A clock that was set back meanwhile measures nothing.
    client.post(Op.CREATE, create_body("/b"))
    world.ensemble.run(0.1)
    world.machine.clock.wall_offset_ms = -10_000
    acknowledge(wire)
    assert world.machine.server.stats.metrics.dump()["cnt_8_ack_latency"] == after["cnt_8_ack_latency"]
    world.ensemble.close()


@pytest.mark.parametrize("acked", [0, 2, 4])
def test_a_stop_brings_to_the_disk_what_was_proposed(world, log, acked):
    wire = world.serve()
    client = world.client(wire)
    wire.packets()
    world.machine.disk.sync_seconds = lambda: 0.1
    for number in range(4):
        client.post(Op.CREATE, create_body(f"/n{number}"))
        world.ensemble.run(0.001)
    world.ensemble.run(0.1)
    wire.send(*(packets.ack(z(1, 2 + number)) for number in range(acked)), seconds=0.001)
    assert world.machine.logged(durable=True)[-1] < z(1, 5)
    world.ensemble.stop(1)
    assert world.exits == [0]
    assert world.machine.logged()[-1] == z(1, 5)
    assert world.machine.zxid == z(1, 5)
    assert not [record for record in log.records if record.levelno >= logging.ERROR]


def test_what_nobody_expected_ends_the_server(world, log, monkeypatch):
    """Half of what the core wants was done: no more can be trusted, and nothing more is applied."""

    def breaks(self, entries):
        raise RuntimeError("a bug")

    wire = world.serve()
    client = world.client(wire)
    client.post(Op.CREATE, create_body("/a"), create_body("/b"))
    world.ensemble.run(0.05)
    monkeypatch.setattr(Leading, "_commit", breaks)
    wire.send(packets.ack(z(1, 2)), seconds=0.5)
    assert world.exits == [1]
    assert criticals(log) == ["stopping: the leader broke off: a bug"]
    assert world.machine.zxid == z(1, 1)


def test_an_epoch_that_runs_out_of_zxids_ends(log):
    world = World(initial_counter=0xFFFFFFFC)
    wire = world.serve()
    client = world.client(wire)
    client.post(Op.CREATE, create_body("/last"))
    world.ensemble.run(0.05)
    acknowledge(wire)
    assert len(client.replies()) == 1
    client.post(Op.CREATE, create_body("/over"))
    world.ensemble.wait(lambda: world.machine.mode == "looking")
    assert "zxid lower 32 bits have rolled over, a new epoch must begin" in log.text
    world.ensemble.run(0.05)
    assert wire.lost, "its learners are hung up on"
    world.learners.elect()
    world.learners.join(epoch=1, zxid=world.machine.zxid)
    assert world.machine.zxid == z(2, 0xFFFFFFFC)
    world.ensemble.close()


# -- learners


def large(world, wire):
    """A tree that is sent in several pieces, none of which a full socket takes whole; a client."""
    client = world.client(wire)
    client.post(Op.CREATE, *(create_body(f"/n{number}", bytes(300)) for number in range(NODES)))
    while len(client.frames) < NODES:
        world.ensemble.run(0.1)
        assert acknowledge(wire)
    client.replies()
    return client


def far_behind(world):
    """A learner that needs a snapshot, and takes nothing of it."""
    nine = world.learners.hello(9)
    nine.packets()
    world.ensemble.do(nine.transport.pause_reading)
    nine.send(packets.ack_epoch(0, z(0, 5)))
    return nine


def test_a_snapshot_for_a_learner_is_the_tree_of_that_moment(world):
    """What is written meanwhile follows it."""
    wire = world.serve()
    client = large(world, wire)
    nine = far_behind(world)
    client.post(Op.SET_DATA, set_body("/n1199", b"meanwhile"))
    world.ensemble.run(0.05)
    (zxid,) = acknowledge(wire)
    world.ensemble.do(nine.transport.resume_reading)
    world.ensemble.run(1)
    data = nine.rest()
    snap = encode(Packet.SNAP, z(1, 1 + NODES))
    assert data.startswith(snap)
    tree, sessions = DataTree(), {}
    rest = SnapStreamLoader(tree, sessions, 1 << 24).feed(data[len(snap) :])
    assert tree.nodes[b"/n1199"].data == bytes(300)
    assert sessions == {client.session_id: 10000}
    assert packets_of(rest)[:3] == [f"PROPOSAL {zxid:x}", f"COMMIT {zxid:x}", f"NEWLEADER {EPOCH:x}"]


def packets_of(data):
    return [f"{PACKET_NAMES[packet.type]} {packet.zxid:x}" for packet in singly(PacketStream().feed(data))]


def test_a_term_begins_while_a_snapshot_is_sent(world, log):
    """And has its own for the disk all the same."""
    wire = world.serve()
    large(world, wire)
    wire.close()
    world.ensemble.wait(lambda: world.machine.mode == "looking")
    world.learners.elect()
    slow = world.learners.hello(9)
    eight = world.learners.hello(8, 1)
    slow.packets()
    world.ensemble.do(slow.transport.pause_reading)
    slow.send(packets.ack_epoch(0, z(0, 5)))
    eight.packets()
    eight.send(packets.ack_epoch(1, world.machine.zxid))
    assert world.machine.server.tree.dump is not None
    assert eight.said()[-1] == "NEWLEADER 200000000"
    eight.send(packets.ack(z(2, 0)), seconds=0.5)
    assert world.machine.serving
    assert criticals(log) == []
    assert any(name.endswith("/snapshot.200000000") for name in world.machine.disk.names)
    world.ensemble.do(slow.transport.resume_reading)
    world.ensemble.run(0.5)
    assert b"BenWasHere" in slow.rest()


def test_a_slow_learner_delays_no_other_snapshot():
    """Each learner gets the tree of its own moment, and so does the disk."""
    world = World(observers=[7], snap_count=2)
    wire = world.serve()
    client = large(world, wire)
    slow = far_behind(world)
    for data in (b"later", b"still later"):
        client.post(Op.SET_DATA, set_body("/n1199", data))
        world.ensemble.run(0.05)
        (zxid,) = acknowledge(wire)
    quick = world.learners.hello(7, observer=True)
    quick.packets()
    quick.send(packets.ack_epoch(0, z(0, 5)), seconds=0.5)
    data = quick.rest()
    assert data.startswith(encode(Packet.SNAP, zxid))
    assert b"BenWasHere" in data
    taken = [zxid_of_snapshot(name.rpartition("/")[2]) for name in world.machine.disk.names]
    assert z(1, 1 + NODES) < max(taken) <= zxid
    assert world.machine.server.tree.dump is not None, "that of the slow one"
    world.ensemble.do(slow.transport.resume_reading)
    world.ensemble.run(1)
    data = slow.rest()
    snap = encode(Packet.SNAP, z(1, 1 + NODES))
    assert data.startswith(snap)
    tree = DataTree()
    SnapStreamLoader(tree, {}, 1 << 24).feed(data[len(snap) :])
    assert tree.nodes[b"/n1199"].data == bytes(300)
    assert world.machine.server.tree.dump is None
    world.ensemble.close()


def test_a_learner_that_takes_nothing_of_its_sync_is_cut(world, log):
    wire = world.serve()
    large(world, wire)
    nine = far_behind(world)
    assert world.machine.server.tree.dump is not None
    for _ in range(INIT_LIMIT + 1):
        wire.send(packets.ping_answer(EPOCH, []), seconds=TICK_S)
    assert "it took nothing of its sync for 5 s" in log.text
    assert world.machine.server.tree.dump is None, "nobody holds on to the tree"
    world.ensemble.do(nine.transport.resume_reading)
    world.ensemble.run(0.1)
    assert nine.lost
    assert world.machine.mode == "leader"


def test_requests_of_learners_are_proposed(world):
    wire = world.serve()
    session = 0x0800000000000007
    create_session = packets.ForwardedRequest(session, 0, Op.CREATE_SESSION, (10_000).to_bytes(4, "big"), None)
    create = packets.ForwardedRequest(session, 1, Op.CREATE, create_body("/theirs"), None)
    wire.send(packets.request(create_session), packets.request(create))
    assert acknowledge(wire) == [z(1, 1), z(1, 2)]
    assert wire.said() == ["COMMIT 100000001", "COMMIT 100000002"]
    assert b"/theirs" in world.machine.server.tree.nodes


@pytest.mark.parametrize("end", ["closes", "garbage", "wrong packet"])
def test_a_learner_that_is_gone_leaves_nothing_behind(world, end):
    wire = world.serve()
    nine = world.join(9)
    session = 0x0900000000000007
    nine.send(packets.request(packets.ForwardedRequest(session, 0, Op.CREATE_SESSION, bytes(4), None)))
    assert acknowledge(wire)
    assert len(world.machine.leading.pipeline._remotes) == 1
    if end == "closes":
        nine.close()
    else:
        nine.send(b"\xff" * 40 if end == "garbage" else packets.up_to_date())
    assert world.machine.leading.pipeline._remotes == {}
    assert session in world.machine.server.db.sessions, "its session may come back elsewhere"


def test_a_sync_is_answered_behind_what_was_proposed_before(world):
    wire = world.serve()
    session = 0x0800000000000007
    create_session = packets.ForwardedRequest(session, 0, Op.CREATE_SESSION, (10_000).to_bytes(4, "big"), None)
    sync = packets.ForwardedRequest(session, 1, Op.SYNC, path("/"), None)
    wire.send(packets.request(create_session), packets.request(sync))
    assert wire.said() == ["PROPOSAL 100000001"]
    wire.send(packets.ack(z(1, 1)))
    assert wire.said() == ["COMMIT 100000001", "SYNC 0"]
    wire.send(packets.request(sync._replace(cxid=2)))
    assert wire.said() == ["SYNC 0"]


def test_a_session_moves_to_a_learner_behind_what_its_client_had_asked_here(world):
    wire = world.serve()
    client = world.client(wire)
    wire.packets()
    client.post(Op.CREATE, create_body("/last"))
    wire.send(packets.revalidate(client.session_id, 5000), packets.revalidate(0x77, 5000), seconds=0.0002)
    world.ensemble.run(0.05)
    said = wire.packets()
    assert [packet.type for packet in said] == [Packet.PROPOSAL, Packet.REVALIDATE, Packet.REVALIDATE]
    assert [packets.parse_revalidated(packet) for packet in said[1:]] == [(client.session_id, True), (0x77, False)]
    assert client.lost


def test_sessions_that_learners_touch_live_on(world):
    wire = world.serve()
    client = world.client(wire, 2000)
    client.leave()
    for _ in range(10):
        wire.send(packets.ping_answer(EPOCH, [(client.session_id, 2000)]), seconds=TICK_S)
        acknowledge(wire)
    assert client.session_id in world.machine.server.db.sessions
    for _ in range(8):
        wire.send(packets.ping_answer(EPOCH, []), seconds=TICK_S)
        acknowledge(wire)
    assert client.session_id not in world.machine.server.db.sessions


def test_sessions_have_their_whole_time_again_under_a_new_leader(world):
    wire = world.serve()
    client = world.client(wire, 2000)
    wire.close()
    world.ensemble.wait(lambda: world.machine.mode == "looking")
    world.ensemble.run(3)
    world.learners.elect()
    again = world.learners.join(epoch=1, zxid=world.machine.zxid)
    world.ensemble.run(1)
    client.greet(1, 2000)
    assert client.greeted()
    del again


def test_an_observer_is_informed():
    world = World(observers=[7])
    wire = world.serve()
    seven = world.join(7, observer=True)
    client = world.client(wire)
    assert client.session_id
    assert seven.said() == ["INFORM 100000001"]
    world.ensemble.close()


def test_a_leader_without_clients():
    world = World(leader_serves=False)
    world.lead()
    wire = world.learners.join()
    world.ensemble.run(0.1)
    assert world.machine.mode == "leader"
    assert not world.ensemble.stranger().connect(1)
    request = packets.ForwardedRequest(0x77, 0, Op.CREATE_SESSION, (10_000).to_bytes(4, "big"), None)
    wire.packets()
    wire.send(packets.request(request))
    assert acknowledge(wire) == [z(1, 1)]
    assert world.machine.zxid == z(1, 1)
    world.ensemble.close()


# -- bad learners


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n" * 3, "unknown packet type 1195725856"),
        (b"\x00" * 40, "unknown packet type 0"),
        (packets._HEAD.pack(Packet.REQUEST, -1, 1 << 30), "REQUEST with 1073741824 bytes of data, the limit is "),
        (packets._HEAD.pack(Packet.REQUEST, -1, -5), "REQUEST with -5 bytes of data, the limit is "),
        (packets.ack(EPOCH), "first packet is ACK, not FOLLOWERINFO or OBSERVERINFO"),
        (packets.learner_info(False, 0, 8, 77), "server 8 has a later configuration: version 4d"),
    ],
    ids=["words", "zeros", "too long", "negative", "no hello", "later configuration"],
)
def test_who_begins_with_nonsense_is_hung_up_on_in_one_line(world, log, data, why):
    wire = world.serve()
    log.clear()
    bad = world.learners.dial(data, source=77)
    assert bad.lost
    (line,) = warnings(log)
    assert line.startswith("closing the quorum connection with 10.0.0.77:")
    assert why in line
    wire.send(packets.ping_answer(EPOCH, []))
    assert not wire.lost
    assert world.machine.mode == "leader"


@pytest.mark.parametrize("data", [b"", packets.learner_info(False, 0, 8, 0)[:-3]], ids=["nothing", "half"])
def test_who_says_nothing_whole_is_hung_up_on_in_time(world, log, data):
    wire = world.serve()
    log.clear()
    bad = world.learners.dial(data, source=77)
    for _ in range(INIT_LIMIT + 1):
        wire.send(packets.ping_answer(EPOCH, []), seconds=TICK_S)
    assert bad.lost
    (line,) = warnings(log)
    assert line.endswith("server 0 is silent in stage hello")
    assert world.machine.mode == "leader"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (packets.up_to_date(), "UPTODATE from server 9"),
        (b"\xff" * 40, "unknown packet type -1"),
        (encode(Packet.REVALIDATE, -1, b"short"), "REVALIDATE with 5 bytes of data"),
        (encode(Packet.PING, -1, b"short"), "PING with 5 bytes of data"),
        (encode(Packet.REQUEST, -1, b"short"), "REQUEST with 5 bytes of data"),
    ],
)
def test_a_learner_that_turns_bad_is_hung_up_on_in_one_line(world, log, data, why):
    wire = world.serve()
    nine = world.join(9)
    log.clear()
    nine.send(data)
    assert nine.lost
    (line,) = warnings(log)
    assert line.startswith("closing the quorum connection with 10.0.0.9:")
    assert line.endswith(why)
    wire.send(packets.ping_answer(EPOCH, []))
    assert not wire.lost


def test_a_learner_that_is_ahead_is_sent_away(world, log):
    """It should have been elected."""
    world.lead()
    bad = world.learners.hello()
    world.learners.agree(bad, 0, 77)
    assert bad.lost
    assert "server 8 is ahead of the leader" in log.text
    good = world.learners.join(9)
    assert world.machine.serving
    assert not good.lost


def test_requests_of_a_learner_that_are_no_requests_are_refused(world):
    """As error transactions: its client gets an answer."""
    wire = world.serve()
    for op, record in ((Op.CREATE_SESSION, b""), (77, b"?"), (Op.MULTI, b"\x00"), (Op.CREATE, b"\xff" * 9)):
        wire.send(packets.request(packets.ForwardedRequest(0x77, 1, op, record, None)))
    assert len(acknowledge(wire)) == 4
    assert not wire.lost
    assert world.machine.mode == "leader"


def test_one_id_twice(world, log):
    """The newer connection counts, in one line."""
    wire = world.serve()
    log.clear()
    twin = world.join(8)
    assert wire.lost
    (line,) = warnings(log)
    assert line.endswith("server 8 is connected anew")
    assert world.machine.leading.core.synced_followers == {1, 8}
    assert world.client(twin).session_id
