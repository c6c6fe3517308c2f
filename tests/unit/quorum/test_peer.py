"""Three whole servers in virtual time: the loop of a member through elections and roles, and how it ends."""

import errno
import logging

import pytest
from ensemble_rig import (
    CLIENT_PORT,
    ELECTION_PORT,
    INIT_LIMIT,
    SYNC_LIMIT,
    TICK_S,
    address_of,
    line_of,
)
from rig import create_body, set_body, watch_body

from zabra.consts import Op
from zabra.quorum.elector import Elector
from zabra.sim.loop import Process
from zabra.wire.primitives import pack_buffer
from zabra.zxid import epoch_of
from zabra.zxid import make_zxid as z


@pytest.fixture
def three(made):
    """Three servers that serve; 3 leads."""
    ensemble = made()
    ensemble.start()
    assert ensemble.leader == 3
    return ensemble


@pytest.fixture(autouse=True)
def log(caplog):
    """Everything that is logged."""
    caplog.set_level(logging.INFO)
    return caplog


def states(log):
    """The lines that tell of a server's state."""
    names = ("LOOKING", "FOLLOWING", "LEADING", "OBSERVING")
    return [record.getMessage() for record in log.records if record.getMessage().startswith(names)]


def looks(ensemble, sid):
    ensemble.wait(lambda: ensemble[sid].mode == "looking")


# -- elections and roles


def test_servers_elect_and_serve(made, log):
    three = made()
    three.start()
    lines = states(log)
    assert lines[:3] == ["LOOKING at zxid 0x0 of epoch 0x0: the server has started"] * 3
    assert sorted(lines[3:]) == [
        "FOLLOWING under server 3: elected in round 1",
        "FOLLOWING under server 3: elected in round 1",
        "LEADING under server 3: elected in round 1",
    ]
    assert {sid: three[sid].epochs() for sid in (1, 2, 3)} == dict.fromkeys((1, 2, 3), (1, 1))
    clients = {sid: three.client(sid) for sid in (1, 2, 3)}
    for sid, client in clients.items():
        client.ok(Op.CREATE, create_body(f"/from-{sid}"))
    three.check_trees()
    for sid, client in clients.items():
        for other in clients:
            assert client.ok(Op.EXISTS, watch_body(f"/from-{other}")), (sid, other)
    # Three sessions and three nodes: on every disk.
    everything = [z(1, counter) for counter in range(1, 7)]
    assert [three[sid].logged(durable=True) for sid in (1, 2, 3)] == [everything] * 3


def test_the_others_go_on_without_their_leader_and_it_follows_them_later(three):
    three.fill(3, 5)
    three.kill(3, power=False)
    assert three.wait_led(1, 2) == 2
    client = three.client(1)
    client.ok(Op.CREATE, create_body("/without-3"))
    three.start(3)
    assert three.modes() == {1: "follower", 2: "leader", 3: "follower"}
    three.check_trees()
    assert epoch_of(three[3].zxid) == 2


def test_one_process_takes_every_role_again_and_again(three, log):
    """Each leads in turn; nothing of an earlier role is left."""
    client = three.client(1)
    client.ok(Op.CREATE, create_body("/n"))
    for _ in range(3):
        leader = three.leader
        three.isolate(leader)
        others = [sid for sid in (1, 2, 3) if sid != leader]
        three.wait(lambda others=others: any(three[sid].mode == "leader" for sid in others))
        looks(three, leader)
        three.heal()
        three.wait_serving()
        three.fill(three.leader, 3)
    three.check_trees()
    assert all(machine.boots == 1 for machine in three.machines.values())
    assert epoch_of(three[1].zxid) == 4
    assert {role for line in states(log) for role in ("FOLLOWING", "LEADING") if line.startswith(role)} == {
        "FOLLOWING",
        "LEADING",
    }


def test_without_a_quorum_nobody_is_served(three):
    client = three.client(1)
    three.kill(2, 3)
    looks(three, 1)
    three.run(1)
    assert client.lost
    assert not three.stranger().connect(1)
    three.boot(2)
    three.wait_serving(1, 2)
    assert client.connect(1), "its session lives on"


@pytest.mark.parametrize("stop", [False, True])
def test_all_at_once(three, stop):
    three.fill(2, 20)
    before = three.level()
    if stop:
        for sid in (1, 2, 3):
            three[sid].stop()
        three.wait(lambda: not any(machine.running for machine in three.machines.values()))
        assert three.exits == {1: [0], 2: [0], 3: [0]}
    else:
        three.kill(1, 2, 3, power=False)
    three.start()
    assert all(machine.zxid >= before for machine in three.machines.values())
    three.fill(1, 1)
    three.check_trees()


@pytest.mark.parametrize("role", ["looking", "follower", "leader"])
def test_a_stop_is_quick_in_every_state(made, role):
    ensemble = made()
    if role == "looking":
        ensemble.boot(1)
        ensemble.run(1)
    else:
        ensemble.start()
    sid = next(sid for sid, mode in ensemble.modes().items() if mode == role)
    began = ensemble.loop.now
    ensemble.stop(sid)
    assert ensemble.loop.now - began < 0.2
    assert ensemble.exits[sid] == [0]
    for port in (CLIENT_PORT, ELECTION_PORT, 2888):
        assert (address_of(sid), port) not in ensemble.network.listeners


# -- what was logged and not committed


def lonely_writes(ensemble):
    """The leader is cut off with writes that only it has; its client heard nothing of them."""
    leader = ensemble.leader
    client = ensemble.client(leader)
    ensemble.isolate(leader)
    client.post(Op.CREATE, create_body("/lonely"), create_body("/lonely/too"))
    ensemble.run(0.1)
    assert client.replies() == []
    assert ensemble[leader].logged()[-1] == ensemble[leader].zxid + 2
    return leader


def test_what_only_a_deposed_leader_had_is_cut_off(three):
    """At the end of its term it applies what it has logged: so it is told what to cut (ZOOKEEPER-2845)."""
    three.fill(3, 3)
    leader = lonely_writes(three)
    looks(three, leader)
    assert b"/lonely/too" in three[leader].server.tree.nodes
    three.wait(lambda: "leader" in three.modes().values())
    client = three.client(1)
    client.ok(Op.CREATE, create_body("/meanwhile"))
    three.heal()
    three.wait_serving()
    three.check_trees()
    assert b"/lonely" not in three[leader].server.tree.nodes
    assert all(epoch_of(zxid) == 1 or zxid > z(2, 0) for zxid in three[leader].logged())
    three.stop(leader)
    three.start(leader)
    three.check_trees()


def test_what_only_a_deposed_leader_had_is_kept_when_it_leads_again(three):
    """Nobody else had moved on: it has the most, so all get it."""
    three.fill(3, 3)
    leader = lonely_writes(three)
    three.kill(1, 2)
    looks(three, leader)
    three.heal()
    three.start(1)
    three.wait_serving(1, leader)
    assert three.leader == leader
    three.start(2)
    three.check_trees()
    assert b"/lonely/too" in three[2].server.tree.nodes


def test_what_a_quorum_had_logged_outlives_its_leader(three):
    """It was not committed, and may have been: the next leader commits it."""
    client = three.client(3)
    three[1].disk.sync_seconds = three[2].disk.sync_seconds = lambda: 0.2
    client.post(Op.CREATE, create_body("/a"))
    three.run(0.1)
    three.kill(3)
    assert client.replies() == []
    three[1].disk.sync_seconds = three[2].disk.sync_seconds = lambda: 0
    three.wait_led(1, 2)
    three.fill(1, 1)
    assert b"/a" in three[1].server.tree.nodes
    three.check_trees()


# -- how far behind


#: Logs of which several are longer than a snapshot.
SHORT_LOGS = {"txn_log_size_limit_kb": 64}


@pytest.mark.parametrize(
    ("writes", "settings", "how"),
    [(100, {}, "DIFF"), (700, {}, "DIFF"), (1500, SHORT_LOGS, "SNAP")],
    ids=["in memory", "in the log", "too long a log"],
)
def test_a_server_that_was_away_is_brought_back(made, log, writes, settings, how):
    three = made(**settings)
    three.start()
    three.fill(3, 1)
    three.level()
    three.stop(1)
    three.fill(3, writes, size=200)
    log.clear()
    three.start(1)
    assert f"by {how} of zxid" in log.text
    three.check_trees()
    three.stop(1)
    three.start(1)
    three.check_trees()


def test_an_observer_takes_part_without_a_vote(made):
    ensemble = made([1, 2], [5])
    ensemble.start()
    assert ensemble[5].mode == "observer"
    client = ensemble.client(5)
    client.ok(Op.CREATE, create_body("/seen"))
    ensemble.check_trees()
    ensemble.kill(1)
    ensemble.wait(lambda: ensemble[5].mode == "looking")
    ensemble.run(10)
    assert "leader" not in ensemble.modes().values(), "an observer makes no quorum"
    ensemble.start(1)
    ensemble.wait_serving()


# -- the membership


@pytest.fixture
def flexible(made):
    ensemble = made(reconfig_enabled=True, skip_acl=True)
    ensemble.start()
    return ensemble


def reconfigure(client, joining="", leaving=""):
    """Ask for another membership; the answer may be lost with the connection."""
    parts = [pack_buffer(text.encode() or None) for text in (joining, leaving, "")]
    return client.ask(Op.RECONFIG, b"".join(parts) + (-1).to_bytes(8, "big", signed=True))


def test_a_leader_that_loses_its_vote_hands_over_without_an_election(flexible, log):
    log.clear()
    client = flexible.client(1)
    reconfigure(client, line_of(3, observer=True))
    flexible.wait(lambda: flexible[3].mode == "observer")
    flexible.wait_serving()
    assert flexible.leader in (1, 2)
    assert "the new membership wants server" in log.text
    assert any(line.startswith("OBSERVING under server") for line in states(log))
    flexible.fill(3, 3)
    flexible.check_trees()
    shown = flexible.client(2).ok(Op.GET_DATA, watch_body("/zookeeper/config"))
    assert b"server.3=10.0.0.3:2888:3888:observer" in shown


def test_who_was_removed_goes_on_without_a_vote(flexible):
    reconfigure(flexible.client(2), leaving="1")
    flexible.run(2)
    flexible.wait_serving()
    assert list(flexible[2].member.context.membership.config.members) == [2, 3]
    client = flexible.client(1)
    client.ok(Op.CREATE, create_body("/still-here"))
    flexible.check_trees()


def test_a_moved_election_port_is_listened_on(flexible):
    new = line_of(1).replace(str(ELECTION_PORT), "3999")
    reconfigure(flexible.client(2), new)
    flexible.run(1)
    listeners = flexible.network.listeners
    assert (address_of(1), 3999) in listeners
    assert (address_of(1), ELECTION_PORT) not in listeners
    # And dialled by the others.
    flexible.kill(3)
    flexible.wait_led(1, 2)


def test_a_moved_election_port_that_is_taken_is_told(flexible, log):
    flexible.network.listen(Process(address_of(1)), lambda: None, None, 3999)
    reconfigure(flexible.client(2), line_of(1).replace(str(ELECTION_PORT), "3999"))
    flexible.run(5)
    assert "cannot listen on 10.0.0.1:3999" in log.text
    assert flexible[1].serving


def test_a_membership_that_was_missed_is_heard_of_in_the_election(flexible):
    """It was away when server 2 moved its client port."""
    flexible.stop(1)
    moved = line_of(1).replace(f";{address_of(1)}:{CLIENT_PORT}", f";{address_of(1)}:2199")
    reconfigure(flexible.client(2), moved)
    flexible.run(1)
    flexible.boot(1)
    flexible.wait_serving(1)
    membership = flexible[1].member.context.membership
    assert membership.config.version == flexible[2].member.context.membership.config.version > 0
    assert (address_of(1), 2199) in flexible.network.listeners
    flexible.check_trees()


# -- ends


def test_what_nobody_expected_in_the_main_loop_ends_the_server(three, log, monkeypatch):
    def breaks(self, *args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Elector, "look", breaks)
    three.kill(3)
    three.run(1)
    assert three.exits[1] == three.exits[2] == [1]
    assert log.text.count("stopping: the member's main loop broke off: a bug") == 2


@pytest.fixture
def halfway(made):
    """Server 3 leads, and 1 has the first part of a snapshot of it."""
    ensemble = made(**SHORT_LOGS)
    ensemble.start()
    client = ensemble.client(3)
    client.post(Op.CREATE, *(create_body(f"/n{number}", bytes(900)) for number in range(300)))
    ensemble.wait(lambda: len(client.frames) == 300)
    ensemble.level()
    ensemble.stop(1)
    ensemble.fill(3, 1500, size=200)
    ensemble.level()
    ensemble.network.link(address_of(3), address_of(1)).lag = 0.2
    ensemble.boot(1)
    ensemble.wait(lambda: ensemble[1].mode == "follower" and ensemble[1].following._loader is not None)
    assert ensemble[1].server.tree.node_count < 300
    return ensemble


def test_an_interrupted_snapshot_is_asked_for_again(halfway):
    halfway.kill(3)
    halfway.network.heal()
    assert halfway.wait_led(1, 2) == 2
    halfway.start(3)
    halfway.fill(1, 1)
    halfway.check_trees()


def test_data_that_cannot_be_loaded_again_ends_the_server(halfway, log):
    """The tree is half a snapshot, and what the disk has cannot be read."""
    halfway.kill(3)
    halfway[1].fail("pread", errno.EIO, "/version-2/")
    halfway.run(5)
    assert halfway.exits[1] == [0, 1]
    assert "stopping: the data could not be loaded again" in log.text


def test_a_leader_that_cannot_write_its_log_ends_and_the_others_go_on(three, log):
    """ZOOKEEPER-2247."""
    client = three.client(1)
    three[3].fail("sync", errno.EIO, "/log.")
    client.post(Op.SET_DATA, set_body("/", b"x"))
    three.wait(lambda: three.exits[3] == [1])
    assert three.wait_led(1, 2) == 2
    three[3].disk.plan = lambda name, path, size: None
    three.start(3)
    three.fill(3, 1)
    three.check_trees()


def test_a_leader_that_cannot_be_told_apart_from_a_dead_one_is_replaced_in_time(three):
    """It stands still, or its network does: after syncLimit the others look, and elect within a second."""
    began = three.loop.now
    three.isolate(3)
    three.wait(lambda: "leader" in (three[1].mode, three[2].mode))
    three.wait_led(1, 2)
    assert SYNC_LIMIT * TICK_S - TICK_S < three.loop.now - began < SYNC_LIMIT * TICK_S + 1
    looks(three, 3)
    assert three.loop.now - began < (SYNC_LIMIT + 2) * TICK_S
    assert not three[3].serving
    three.run(INIT_LIMIT * TICK_S)
    three.heal()
    three.wait_serving()
    three.fill(3, 1)
    three.check_trees()
