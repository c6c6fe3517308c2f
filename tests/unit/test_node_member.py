"""What a member does around its roles: clients come and go with them, snapshots, timed work, the client port."""

import logging

import pytest
from ensemble_rig import CLIENT_PORT, TICK_S, Ensemble, address_of, line_of
from rig import create_body, event_of, set_body, watch_body

from zabra import node_serving
from zabra.consts import Op
from zabra.sim.loop import Process
from zabra.storage.snapstore import zxid_of_snapshot
from zabra.wire.primitives import pack_buffer
from zabra.zxid import make_zxid as z


@pytest.fixture
def made():
    """Ensembles made by a test."""
    ensembles = []

    def make(*args, **settings):
        ensembles.append(Ensemble(*args, **settings))
        ensembles[-1].start()
        return ensembles[-1]

    yield make
    for ensemble in ensembles:
        ensemble.close()


@pytest.fixture
def three(made):
    """Three servers that serve; 3 leads."""
    return made()


@pytest.fixture(autouse=True)
def log(caplog):
    """Everything that is logged."""
    caplog.set_level(logging.INFO)
    return caplog


def snapshots(machine):
    """The zxids of its snapshots."""
    names = (name.rpartition("/")[2] for name in machine.disk.names)
    return sorted(zxid for name in names if (zxid := zxid_of_snapshot(name)) >= 0)


# -- clients


def test_clients_leave_with_the_role_and_their_sessions_go_on_elsewhere(three):
    clients = {sid: three.client(sid) for sid in (1, 2, 3)}
    for sid, client in clients.items():
        client.ok(Op.CREATE, create_body(f"/e{sid}", flags=1))
    three.kill(3)
    three.wait_led(1, 2)
    three.run(0.1)
    assert all(client.lost for client in clients.values())
    for sid, client in clients.items():
        assert client.connect(1 if sid != 1 else 2)
        assert client.ok(Op.EXISTS, watch_body(f"/e{sid}"))


def test_whoever_comes_while_there_is_no_role_is_hung_up_on(three):
    three.kill(2, 3)
    three.wait(lambda: three[1].mode == "looking")
    client = three.stranger()
    client.greet(1)
    three.run(0.1)
    assert client.lost


def test_requests_on_their_way_when_the_leader_dies_are_not_answered_twice(three):
    client = three.client(1)
    client.post(Op.CREATE, *(create_body(f"/n{number}") for number in range(10)))
    three.kill(3)
    three.wait_led(1, 2)
    three.run(0.1)
    first = client.replies()
    assert client.connect(2)
    client.post(Op.CREATE, *(create_body(f"/n{number}") for number in range(len(first), 10)))
    three.run(0.5)
    second = client.replies()
    assert len(first) + len(second) == 10
    assert {reply.err for reply in first} <= {0}
    assert {reply.err for reply in second} <= {0, -110}


def test_a_watch_is_told_of_what_another_servers_client_does(three):
    watcher, writer = three.client(1), three.client(2)
    watcher.ok(Op.CREATE, create_body("/w"))
    watcher.ok(Op.GET_DATA, watch_body("/w", True))
    writer.ok(Op.SET_DATA, set_body("/w", b"x"))
    three.run(0.1)
    (event,) = watcher.replies()
    assert event_of(event)[:2] == (3, b"/w")


def test_a_session_expires_once_for_all(three):
    """Only a leader expires; every server sees the ephemeral go with the same transaction."""
    client, other = three.client(1, 2000), three.client(2)
    client.ok(Op.CREATE, create_body("/e", flags=1))
    client.leave()
    other.ok(Op.EXISTS, watch_body("/e"))
    for _ in range(8):
        other.ok(Op.EXISTS, watch_body("/"))
        three.run(TICK_S)
    assert other.ask(Op.EXISTS, watch_body("/e")).err == -101
    three.check_trees()
    assert not client.connect(3, 2000)


def test_a_leader_without_a_quorum_expires_nobody(three):
    """Its sessions have their whole time again under the next leader."""
    client = three.client(1, 2000)
    client.ok(Op.CREATE, create_body("/e", flags=1))
    three.kill(1, 2)
    three.wait(lambda: three[3].mode == "looking")
    three.run(20)
    three.start(1, 2)
    three.wait_led(1, 2, 3)
    three.run(1)
    assert client.connect(2, 2000)
    assert client.ok(Op.EXISTS, watch_body("/e"))


# -- snapshots


def test_a_leader_leaves_a_snapshot_of_what_it_begins_with(three):
    three.run(0.1)
    assert snapshots(three[3]) == [0, z(1, 0)]


def test_every_server_takes_snapshots_as_its_log_grows(made):
    three = made(snap_count=100)
    for _ in range(4):
        three.fill(1, 100)
        three.run(0.5)
    three.level()
    for machine in three.machines.values():
        assert len([zxid for zxid in snapshots(machine) if zxid > z(1, 0)]) >= 2
        assert len([name for name in machine.disk.names if "/log." in name]) >= 2
    three.kill(1, 2, 3, power=False)
    three.start()
    three.fill(1, 1)
    three.check_trees()


def test_a_snapshot_that_a_role_left_unfinished_hurts_nobody(made):
    """The next role begins with the same tree, and can take its own."""
    three = made(snap_count=100)
    client = three.client(3)
    client.post(Op.CREATE, *(create_body(f"/n{number}", bytes(100)) for number in range(900)))
    three.wait(lambda: three[1].server.tree.dump is not None)
    three.kill(3)
    three.wait(lambda: three[1].mode == "looking")
    assert three[1].server.tree.dump is None
    three.wait_led(1, 2)
    three.fill(1, 300)
    three.run(0.5)
    assert snapshots(three[1])[-1] > z(2, 0)
    three.start(3)
    three.fill(3, 1)
    three.check_trees()


def test_what_is_applied_is_left_to_no_collector(three, monkeypatch):
    calls = []
    monkeypatch.setattr(node_serving, "_FREEZE_EVERY", 50)
    monkeypatch.setattr(node_serving.gc, "freeze", lambda: calls.append(1))
    three.fill(1, 40)
    assert not calls
    three.fill(1, 40)
    assert len(calls) == 3, "once on each server"


# -- timed work


def test_only_a_leader_sweeps(made, log):
    three = made(container_check_interval_ms=500)
    client = three.client(1)
    client.ok(Op.CREATE_CONTAINER, create_body("/c", flags=4))
    client.ok(Op.CREATE, create_body("/c/x"))
    client.ok(Op.DELETE, pack_buffer(b"/c/x") + (-1).to_bytes(4, "big", signed=True))
    three.wait(lambda: all(b"/c" not in machine.server.tree.nodes for machine in three.machines.values()), 5)
    before = three.level()
    three.run(5)
    assert three[3].zxid == before, "nobody sweeps what is gone"


# -- globalOutstandingLimit


def limits(ensemble):
    return [machine.server.hub.outstanding_limit for machine in ensemble.machines.values()]


def test_voters_share_what_may_be_outstanding_and_observers_have_all_of_it(made):
    assert limits(made([1, 2, 3, 4], [5], global_outstanding_limit=100)) == [33, 33, 33, 33, 100]
    assert limits(made([1, 2], global_outstanding_limit=100)) == [100, 100]


def test_another_membership_means_other_shares(made):
    three = made([1, 2, 3], [4], reconfig_enabled=True, skip_acl=True, global_outstanding_limit=100)
    assert limits(three) == [50, 50, 50, 100]
    parts = [pack_buffer(text.encode() or None) for text in (line_of(4), "", "")]
    three.client(2).ask(Op.RECONFIG, b"".join(parts) + (-1).to_bytes(8, "big", signed=True))
    three.wait_serving(4)
    three.run(1)
    assert limits(three) == [33, 33, 33, 33]


# -- the client port


def moved(three, host=None, port=2199):
    """Server 1 gets another client address."""
    line = line_of(1).replace(f";{address_of(1)}:{CLIENT_PORT}", f";{host or address_of(1)}:{port}")
    parts = [pack_buffer(text.encode() or None) for text in (line, "", "")]
    client = three.client(2)
    client.ask(Op.RECONFIG, b"".join(parts) + (-1).to_bytes(8, "big", signed=True))
    three.run(1)


@pytest.fixture
def flexible(made):
    return made(reconfig_enabled=True, skip_acl=True)


def test_a_moved_client_port_is_listened_on_and_who_is_connected_stays(flexible, log):
    client = flexible.client(1)
    moved(flexible)
    assert (address_of(1), 2199) in flexible.network.listeners
    assert (address_of(1), CLIENT_PORT) not in flexible.network.listeners
    assert not client.lost
    client.ok(Op.CREATE, create_body("/stays"))
    assert "clients connect to port 2199 from now on" in log.text
    assert flexible[1].server.client_port == 2199


def test_a_client_port_that_is_taken_is_told_and_the_old_one_stays(flexible, log):
    flexible.network.listen(Process(address_of(1)), lambda: None, None, 2199)
    moved(flexible)
    assert "cannot listen on the client address of the new membership" in log.text
    assert flexible.client(1).session_id


def test_a_membership_with_the_same_client_port_changes_nothing(flexible, log):
    before = flexible.network.listeners[address_of(1), CLIENT_PORT]
    moved(flexible, port=CLIENT_PORT)
    assert flexible.network.listeners[address_of(1), CLIENT_PORT] is before
