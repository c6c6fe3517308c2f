"""Whole servers in virtual time: observers that learn from followers, real ones and such as the test plays."""

import logging

import pytest
from ensemble_rig import TICK_S, Ensemble, address_of, line_of
from played import dial
from rig import create_body, path, set_body, watch_body

from zabra.consts import Op
from zabra.sim.loop import Process
from zabra.wire.records_proto import ReconfigRequest
from zabra.zab import packets
from zabra.zab.packets import ForwardedRequest
from zabra.zxid import make_zxid

PORT = 2191
SESSION = 0x900000000000001


@pytest.fixture
def ensemble():
    made = []

    def make(*args, **settings):
        made.append(Ensemble(*args, **{"observer_master_port": PORT, **settings}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def log(caplog):
    """Everything that is logged."""
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def five(ensemble):
    """Voters 1 to 3, observers 4 and 5, which all serve."""
    made = ensemble([1, 2, 3], [4, 5])
    made.start()
    return made


def master_of(ensemble, observer):
    """The id of the server that an observer learns from."""
    return ensemble[observer].following.master_id


def followers(ensemble):
    return {sid for sid, mode in ensemble.modes().items() if mode == "follower"}


def gauges(machine):
    return machine.server.stats.metrics.dump()


# -- real observers


def test_observers_learn_from_followers(five):
    assert {master_of(five, 4), master_of(five, 5)} <= followers(five)
    leader = five[five.leader]
    assert leader.leading.core.statistics().observers == 0
    assert gauges(leader)["synced_observers"] == 0
    assert sum(gauges(five[sid])["synced_observers"] for sid in followers(five)) == 2
    assert "synced_observers" not in gauges(five[4])
    assert five[4].server.status.member.observer_master == master_of(five, 4)
    client = five.client(4)
    client.ok(Op.CREATE, create_body("/a", b"1"))
    assert client.ok(Op.GET_DATA, watch_body("/a", True)).startswith(b"\0\0\0\1\x31")
    other = five.client(5)
    assert other.ask(Op.SYNC, path("/")).body == path("/")
    other.ok(Op.SET_DATA, set_body("/a", b"2"))
    client.ok(Op.SYNC, path("/"))
    assert client.ok(Op.GET_DATA, watch_body("/a")).startswith(b"\0\0\0\1\x32")
    assert client.ask(Op.CREATE, create_body("/a")).err == -110
    five.check_trees()


def test_a_follower_without_the_port_takes_none(ensemble):
    made = ensemble([1, 2, 3], [4], observer_master_port=0)
    made.start()
    assert master_of(made, 4) == made.leader
    assert all("synced_observers" not in gauges(made[sid]) for sid in followers(made))


def test_sessions_live_while_clients_of_observers_use_them(five):
    used, unused = five.client(4, timeout_ms=4000), five.client(5, timeout_ms=4000)
    for _ in range(10):
        five.run(2)
        used.ok(Op.EXISTS, watch_body("/"))
    assert unused.lost
    assert not used.lost
    sessions = five[five.leader].server.db.sessions
    assert used.session_id in sessions
    assert unused.session_id not in sessions


def test_a_session_moves_between_observers_followers_and_the_leader(five):
    """Each time with a write on its way, of which nothing may answer what the new connection asks."""
    client = five.client(4)
    client.ok(Op.CREATE, create_body("/mine", b"", 1))
    for sid in (1, 2, 3):
        # So commits come late.
        five[sid].disk.sync_seconds = lambda: 0.1
    before = 4
    for step, sid in enumerate([5, master_of(five, 5), 4, five.leader, 5, *followers(five), 5, 4]):
        client.xid = 0
        client.post(Op.SET_DATA, set_body("/mine", b"old"), set_body("/mine", b"old"))
        moved = five.stranger()
        moved.session_id, moved.password = client.session_id, client.password
        assert moved.connect(sid), f"step {step} to {sid}"
        if not client.lost and {before, sid} <= {4, 5, *(master_of(five, observer) for observer in (4, 5))}:
            # The leader does not see this move, and would not refuse it.
            client.xid = 0
            client.post(Op.SET_DATA, set_body("/mine", b"late"))
        before = sid
        names = [f"/step{step}.{number}" for number in range(3)]
        moved.post(Op.CREATE, *map(create_body, names))
        five.wait(lambda moved=moved: len(moved.frames) == 3)
        assert [reply.body for reply in moved.replies()] == list(map(path, names))
        if not client.lost:
            client.leave()
        client = moved
    assert client.ok(Op.EXISTS, watch_body("/mine"))
    client.ok(Op.CLOSE_SESSION)
    five.check_trees()
    assert b"/mine" not in five[4].server.tree.nodes


def test_a_session_that_is_gone_cannot_move_to_an_observer(five):
    client = five.client(4)
    client.ok(Op.CLOSE_SESSION)
    assert not client.connect(5)


def test_when_its_master_dies_an_observer_goes_to_another_follower(five):
    client = five.client(five.leader)
    client.ok(Op.CREATE, create_body("/a"))
    master = master_of(five, 4)
    (other,) = followers(five) - {master}
    leader = five.leader
    five.kill(master, power=False)
    client.ok(Op.CREATE, create_body("/b"))
    five.wait(lambda: five.modes()[4] == "looking")
    five.wait_serving(4, 5)
    assert {master_of(five, 4), master_of(five, 5)} == {other}
    assert five.leader == leader
    assert b"/b" in five[4].server.tree.nodes
    five.boot(master)
    five.check_trees()


def test_observers_come_back_under_a_new_leader(five):
    client = five.client(4, timeout_ms=20_000)
    client.ok(Op.CREATE, create_body("/mine", b"", 1))
    old = five.leader
    five.kill(old)
    five.wait(lambda: "leader" in five.modes().values())
    five.wait_serving(*{1, 2, 3, 4, 5} - {old})
    assert client.connect(5)
    assert {master_of(five, 4), master_of(five, 5)} == followers(five)
    client.ok(Op.CREATE, create_body("/more"))
    five.boot(old)
    five.wait_serving()
    client.ok(Op.EXISTS, watch_body("/mine"))
    five.check_trees()


@pytest.mark.parametrize(
    ("settings", "op"),
    [({}, "DIFF"), ({"force_snapshot_sync": True}, "SNAP"), ({"snapshot_size_factor": -1.0}, "SNAP")],
)
def test_an_observer_that_was_away(five, ensemble, log, settings, op):
    if settings:
        five = ensemble([1, 2, 3], [4, 5], **settings)
        five.start()
    five.fill(five.leader, 10)
    five.stop(4)
    five.fill(five.leader, 1200)
    log.clear()
    five.start(4)
    (line,) = [text for text in log.messages if text.startswith("synchronizing")]
    assert line.startswith(f"synchronizing {address_of(4)}")
    assert f" by {op} " in line
    five.check_trees()


def test_writes_go_on_while_an_observer_is_synchronized(five):
    five.stop(4)
    five.fill(five.leader, 1200)
    client = five.client(five.leader)
    five.boot(4)
    for number in range(200):
        client.ok(Op.CREATE, create_body(f"/n{number}"))
    five.wait_serving(4)
    five.check_trees()


def test_an_observer_that_was_faster_than_its_master_loses_nothing(five, log):
    """Commits reach its new master late. They are waited for, not cut off."""
    (slow,) = followers(five) - {master_of(five, 4)}
    fast = master_of(five, 4)
    five.network.block(address_of(five.leader), address_of(slow))
    five.fill(five.leader, 20)
    five.wait(lambda: five[4].zxid == five[five.leader].zxid)
    assert five[slow].zxid < five[4].zxid
    five.kill(fast)
    log.clear()
    five.run(0.3)
    five.heal()
    five.wait_serving(4)
    assert master_of(five, 4) == slow
    assert not [text for text in log.messages if "TRUNC" in text]
    five.boot(fast)
    five.check_trees()


def test_without_another_voter_there_is_only_the_leader(ensemble):
    """Alone it has no followers; where Apache's observers would try its observerMasterPort for ever."""
    made = ensemble([1], [2])
    made.start()
    assert master_of(made, 2) == 1


def test_a_port_that_is_taken_keeps_nobody_from_following(ensemble, log):
    made = ensemble([1, 2, 3], [4])
    for sid in (1, 2):
        made.network.listen(Process(address_of(sid)), lambda: None, None, PORT)
    made.start(1, 2, 3)
    assert sorted(made.modes().values()) == ["down", "follower", "follower", "leader"]
    errors = [record.getMessage() for record in log.records if record.levelno == logging.ERROR]
    assert errors
    assert all(text.startswith("cannot listen for observers: 10.0.0.") for text in errors)


def test_the_port_is_given_back(five):
    def ports():
        return {host for host, port in five.network.listeners if port == PORT}

    assert ports() == {address_of(sid) for sid in followers(five)}
    five.kill(five.leader)
    five.wait(lambda: "leader" in five.modes().values())
    five.wait(lambda: ports() == {address_of(sid) for sid in followers(five)})


# -- memberships


def test_a_new_membership_reaches_observers_through_their_master(ensemble):
    made = ensemble([1, 2, 3], [4, 5], reconfig_enabled=True, skip_acl=True)
    made.start()
    client = made.client(4)
    # An observer asks for a vote. It may be gone before its answer is.
    client.post(Op.RECONFIG, ReconfigRequest(line_of(4), None, None, -1).encode())
    made.wait(lambda: made.modes()[4] == "follower")
    made.wait(lambda: made[5].member.context.membership.config.voters.keys() == {1, 2, 3, 4})
    made.wait_serving()
    assert made.modes()[5] == "observer"
    made.check_trees()


# -- observers that are played


def observed(ensemble, observer=9):
    """The first follower, as ``master``, and the connection of a played observer to it, as ``wire``."""
    ensemble.master = sid = min(followers(ensemble))
    ensemble.client(ensemble.leader)
    ensemble.run(0.1)
    epoch = ensemble[sid].following.core.epoch
    wire = dial(ensemble, sid, PORT, packets.learner_info(True, epoch, observer, 0), address_of(observer))
    assert wire.said() == [f"LEADERINFO {make_zxid(epoch, 0):x}"]
    zxid = ensemble[sid].zxid
    wire.send(packets.ack_epoch(-1, zxid))
    ack = packets.ack(make_zxid(epoch, 0))
    assert wire.said() == [f"DIFF {zxid:x}", f"NEWLEADER {make_zxid(epoch, 0):x}"]
    wire.send(ack)
    assert wire.said() == ["UPTODATE -1"]
    wire.send(ack)
    ensemble.wire = wire
    return ensemble


@pytest.fixture
def three(ensemble):
    """Three voters, and a played observer of one of them."""
    made = ensemble([1, 2, 3], [9])
    made.start(1, 2, 3)
    return observed(made)


def test_a_played_observer_is_informed_and_pinged(three):
    client = three.client(three.leader)
    client.ok(Op.CREATE, create_body("/a"))
    three.run(0.1)
    zxid = three[three.master].zxid
    assert three.wire.said() == [f"INFORM {zxid - 1:x}", f"INFORM {zxid:x}"]
    pings = three.wire.pings
    for _ in range(4):
        three.wire.send(packets.ping_answer(zxid, []), seconds=TICK_S)
    three.wire.packets()
    assert three.wire.pings == pings + 8, "half a tick apart"


def test_a_sync_is_answered_behind_what_was_committed_before(three):
    begin = ForwardedRequest(SESSION, 0, Op.CREATE_SESSION, b"\x00\x00\x20\x00", None)
    write = ForwardedRequest(SESSION, 1, Op.CREATE, create_body("/a"), ())
    sync = ForwardedRequest(SESSION, 2, Op.SYNC, path("/"), ())
    zxid = three[three.master].zxid
    three.wire.send(*map(packets.request, (begin, write, sync)), seconds=0.2)
    assert three.wire.said() == [f"INFORM {zxid + 1:x}", f"INFORM {zxid + 2:x}", "SYNC 0"]
    three.wire.send(packets.revalidate(SESSION, 5000), packets.revalidate(1, 5000), seconds=0.2)
    answers = [packets.parse_revalidated(packet) for packet in three.wire.packets()]
    assert answers == [(SESSION, True), (1, False)]


def test_an_observer_that_falls_behind_is_cut(ensemble, log):
    made = ensemble([1, 2, 3], [9], observer_master_size_limit=100_000)
    made.start(1, 2, 3)
    observed(made)
    made.do(made.wire.transport.pause_reading)
    made.fill(made.leader, 500, size=1000)
    assert made.wire.lost
    assert "is gone: it does not read" in log.text
    assert made[made.master].mode == "follower"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (packets.learner_info(False, 1, 9, 0), "server 9 is no observer"),
        (packets.learner_info(True, 1, 9, 9), "server 9 has a later configuration: version 9"),
        (b"\x00\x00\x00\x63" + bytes(20), "unknown packet type 99"),
    ],
)
def test_who_begins_with_nonsense_is_hung_up_on_in_one_line(three, log, data, why):
    log.clear()
    wire = dial(three, three.master, PORT, data, address_of(9))
    assert wire.lost
    (line,) = [record.getMessage() for record in log.records if record.levelno == logging.WARNING]
    assert line.startswith(f"closing the quorum connection with {address_of(9)}:")
    assert line.endswith(f": {why}")
    assert not three.wire.lost


def test_a_silent_observer_is_cut(three, log):
    three.run(3)
    assert three.wire.lost
    assert "server 9 is silent in stage active" in log.text


def test_observers_are_hung_up_on_when_the_follower_follows_no_more(three):
    three.stop(three.master)
    three.run(0.1)
    assert three.wire.lost


def test_what_nobody_expected_ends_the_server(three, monkeypatch, log):
    def breaks(*_):
        raise ValueError("as the test wants it")

    monkeypatch.setattr(three[three.master].following.informing._relay, "requests", breaks)
    three.wire.send(packets.request(ForwardedRequest(SESSION, 2, Op.SYNC, path("/"), ())), seconds=0.5)
    assert three.exits[three.master] == [1]
    assert "the observer master broke off" in log.text
