"""A follower and its observers as a dialogue: what arrives, and what the follower does."""

import pytest
from zab_kit import MemoryHistory, entry, majority, reconfig_entry, said, z

from zabra.wire.records_quorum import QuorumPacket
from zabra.zab import packets
from zabra.zab.effects import Close, Forwarded, Revalidate, SendTo, SyncLearner, Touched
from zabra.zab.observer_master import MasterOptions, ObserverMaster
from zabra.zab.packets import ForwardedRequest, Packet, PacketStream
from zabra.zab.syncplan import SyncPlan

OLD = [entry(4, n) for n in range(1, 8)]
OPTIONS = MasterOptions(tick_ms=1000, init_limit=10, sync_limit=5)


class Memberships:
    def __init__(self):
        self.verifier = self.last_seen = majority(1, 2, 3, observers=(4, 5), version=7)


class Follower:
    """In epoch 5, with a history of 4_1..4_7; observers are named by connection 10 * sid."""

    def __init__(self, history=None, **options):
        self.history = history or MemoryHistory(OLD, [OLD])
        self.memberships = Memberships()
        self.core = ObserverMaster(self.history, self.memberships, OPTIONS._replace(**options), epoch=5, now_ms=0)
        self.now = 0

    def feed(self, sid, *raw, conn=None):
        arrived = PacketStream().feed(b"".join(raw))
        return self.core.packets(conn or 10 * sid, arrived, self.now)

    def hello(self, sid, conn=None, accepted=5, version=7, observer=True):
        self.core.connected(conn or 10 * sid, self.now)
        return self.feed(sid, packets.learner_info(observer, accepted, sid, version), conn=conn)

    def sync(self, sid, last=OLD[-1].zxid, conn=None):
        """Up to the sync being sent."""
        self.hello(sid, conn)
        return self.send_syncs(self.feed(sid, packets.ack_epoch(-1, last), conn=conn))

    def send_syncs(self, effects):
        for effect in list(effects):
            if isinstance(effect, SyncLearner):
                effects = effects + self.core.sync_sent(effect.conn, self.now)
        return effects

    def join(self, sid, **given):
        return self.sync(sid, **given) + self.feed(sid, packets.ack(z(5, 0)), conn=given.get("conn"))

    def commit(self, *counters, designated=None, kind=entry):
        """These are applied here."""
        entries = [entry(5, n) for n in counters]
        self.history.committed += entries
        self.history.last_processed = entries[-1].zxid
        return self.core.committed(entries, designated)

    def wait(self, until_ms):
        """Let time pass; what happens, with its times."""
        effects = []
        while self.core.deadline_ms <= until_ms:
            self.now = self.core.deadline_ms
            effects += [(self.now, effect) for effect in said(self.core.timeout(self.now))]
        self.now = until_ms
        return effects


@pytest.fixture
def follower():
    """With observer 4."""
    made = Follower()
    made.join(4)
    return made


def closed(effects):
    return [effect.reason for effect in effects if isinstance(effect, Close)]


def test_an_observer_is_brought_up_to_date_without_waiting_for_anybody():
    follower = Follower()
    assert said(follower.hello(4)) == ["to 40: LEADERINFO 500000000"]
    assert follower.feed(4, packets.ack_epoch(4, z(4, 5))) == [
        SyncLearner(40, SyncPlan(Packet.DIFF, z(4, 7), z(4, 7), None, tuple(OLD[5:])))
    ]
    (send,) = follower.core.sync_sent(40, 0)
    text = follower.memberships.last_seen.config.text().encode()
    assert PacketStream().feed(send.data) == [QuorumPacket(Packet.NEWLEADER, z(5, 0), text, None)]
    assert said(follower.feed(4, packets.ack(z(5, 0)))) == ["to 40: UPTODATE -1"]
    assert follower.feed(4, packets.ack(z(5, 0))) == []


@pytest.mark.parametrize(
    ("last", "plan"),
    [
        (z(4, 7), SyncPlan(Packet.DIFF, z(4, 7), z(4, 7))),
        (z(4, 9), SyncPlan(Packet.TRUNC, z(4, 7), z(4, 7))),
        (z(3, 2), SyncPlan(Packet.SNAP, z(4, 7), z(4, 7))),
        # It got a snapshot from the leader when the epoch began: nothing is missing here.
        (z(5, 0), SyncPlan(Packet.DIFF, z(5, 0), z(5, 0))),
    ],
)
def test_how_an_observer_is_synchronized(last, plan):
    assert Follower().sync(4, last)[0] == SyncLearner(40, plan)


def test_snapshots_may_be_forced():
    assert Follower(force_snapshot_sync=True).sync(4)[0].plan.op == Packet.SNAP


def test_everything_committed_goes_to_all_who_have_joined(follower):
    follower.join(5)
    assert follower.commit(1, 2) == [
        SendTo((40, 50), packets.inform(*entry(5, 1)) + packets.inform(*entry(5, 2))),
    ]
    follower.core.disconnected(40)
    assert said(follower.commit(3)) == ["to 50: INFORM 500000003"]
    assert follower.core.attached == 1
    follower.core.disconnected(50)
    assert follower.commit(4) == []


def test_what_is_committed_during_a_sync_goes_behind_it():
    follower = Follower()
    follower.hello(4)
    assert follower.commit(1) == []
    (sync,) = follower.feed(4, packets.ack_epoch(4, z(4, 7)))
    assert sync.plan.last == z(5, 1)
    assert said(follower.commit(2)) == ["to 40: INFORM 500000002"]
    assert said(follower.core.sync_sent(40, 0)) == ["to 40: NEWLEADER 500000000"]
    assert said(follower.commit(3)) == ["to 40: INFORM 500000003"]


def test_a_new_membership_is_told_with_who_shall_lead(follower):
    new = follower.memberships.verifier.config.with_version(9)
    change = reconfig_entry(5, 1, new)
    assert follower.core.committed([change], 2) == [
        SendTo((40,), packets.inform_and_activate(*change[:1], 2, change.data))
    ]
    assert said(follower.commit(2)) == ["to 40: INFORM 500000002"]


def test_an_observer_that_is_ahead_is_waited_for():
    """It was at a master that was faster. What it has is committed, and must not be cut off."""
    follower = Follower()
    follower.hello(4)
    assert follower.feed(4, packets.ack_epoch(-1, z(5, 3))) == []
    assert follower.commit(1, 2) == []
    (sync,) = follower.commit(3)
    assert sync == SyncLearner(40, SyncPlan(Packet.DIFF, z(5, 3), z(5, 3)))
    assert said(follower.core.sync_sent(40, 0)) == ["to 40: NEWLEADER 500000000"]


def test_an_observer_that_stays_ahead_is_sent_away():
    follower = Follower()
    follower.hello(4)
    follower.feed(4, packets.ack_epoch(-1, z(5, 3)))
    follower.commit(1)
    assert follower.wait(20_000) == [
        (10_000, Close(40, "server 4 has 0x500000003, which did not come here behind 0x500000001"))
    ]


def test_requests_of_its_clients_are_handed_on(follower):
    requests = [ForwardedRequest(7, n, 1, b"record", ()) for n in range(3)]
    sync = ForwardedRequest(7, 3, 9, b"record", ())
    touches = packets.ping_answer(0, [(7, 4000)])
    assert follower.feed(4, *map(packets.request, requests), touches, packets.request(sync)) == [
        Forwarded(40, requests),
        Touched(40, [(7, 4000)]),
        Forwarded(40, [sync]),
    ]
    assert follower.feed(4, packets.ping_answer(0, [])) == []
    assert follower.feed(4, packets.revalidate(7, 4000)) == [Revalidate(40, 7, 4000)]


def test_answers_of_the_leader_go_to_who_asked(follower):
    assert follower.core.synced(40) == [SendTo((40,), packets.sync_answer())]
    assert follower.core.revalidated(40, 7, False) == [SendTo((40,), packets.revalidated(7, False))]
    follower.core.disconnected(40)
    assert follower.core.synced(40) == []
    assert follower.core.revalidated(40, 7, True) == []


def test_observers_are_pinged_from_newleader_on(follower):
    follower.sync(5)
    follower.hello(6)
    assert follower.wait(1000) == [
        (500, "to 40,50: PING 400000007"),
        (1000, "to 40,50: PING 400000007"),
    ]


@pytest.mark.parametrize(
    ("step", "limit_ms", "why"),
    [
        (lambda follower: follower.core.connected(40, 0), 10_000, "server None is silent in stage hello"),
        (lambda follower: follower.hello(4), 10_000, "server 4 is silent in stage ackepoch"),
        (lambda follower: follower.sync(4), 10_000, "server 4 is silent in stage newleader"),
        (lambda follower: follower.join(4), 5000, "server 4 is silent in stage active"),
    ],
)
def test_the_silent_are_cut_in_time(step, limit_ms, why):
    follower = Follower()
    step(follower)
    happened = [(when, what.reason) for when, what in follower.wait(30_000) if isinstance(what, Close)]
    assert happened == [(limit_ms, why)]


def test_a_long_sync_is_not_silence():
    follower = Follower()
    follower.hello(4)
    follower.feed(4, packets.ack_epoch(-1, z(4, 7)))
    assert follower.wait(30_000) == []


def test_any_packet_proves_that_an_observer_lives(follower):
    for _ in range(5):
        follower.wait(follower.now + 4000)
        assert follower.feed(4, packets.ping_answer(0, [])) == []
    assert closed([effect for _, effect in follower.wait(follower.now + 4000)]) == []


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (packets.learner_info(False, 5, 4, 7), "server 4 is no observer"),
        (packets.learner_info(True, 5, 4, 8), "server 4 has a later configuration: version 8"),
        (packets.encode(Packet.OBSERVERINFO, 0, bytes(7) + b"\4"), "server 4 does not know LEADERINFO"),
        (packets.encode(Packet.OBSERVERINFO, z(5, 0)), "server None does not know LEADERINFO"),
        (packets.ack(z(5, 0)), "first packet is ACK, not FOLLOWERINFO or OBSERVERINFO"),
    ],
)
def test_who_is_sent_away_at_the_door(hello, why):
    follower = Follower()
    follower.core.connected(40, 0)
    assert follower.feed(4, hello) == [Close(40, why)]
    assert follower.feed(4, hello) == [], "the connection is forgotten"


@pytest.mark.parametrize(
    ("step", "packet", "why"),
    [
        (Follower.hello, packets.ack(z(5, 0)), "ACK from server 4 in stage ackepoch"),
        (Follower.sync, packets.ping_answer(0, []), "PING from server 4 in stage newleader"),
        (Follower.join, packets.ack(z(5, 1)), "ACK from server 4 in stage active"),
        (Follower.join, packets.commit(z(5, 1)), "COMMIT from server 4 in stage active"),
        (Follower.join, packets.encode(Packet.REQUEST, -1, b""), "REQUEST with 0 bytes of data"),
        (Follower.join, packets.encode(Packet.PING, 0, b"1"), "PING with 1 bytes of data"),
    ],
)
def test_who_says_what_is_not_its_turn_is_sent_away(step, packet, why):
    follower = Follower()
    step(follower, 4)
    good = packets.request(ForwardedRequest(7, 1, 1, b"", ()))
    effects = follower.feed(4, packet, good)
    assert effects == [Close(40, why)]
    assert follower.core.attached == 0


def test_requests_before_a_bad_packet_count(follower):
    request = ForwardedRequest(7, 1, 1, b"", ())
    effects = follower.feed(4, packets.request(request), packets.commit(1))
    assert effects == [Forwarded(40, [request]), Close(40, "COMMIT from server 4 in stage active")]


def test_the_newer_connection_of_a_server_counts(follower):
    follower.hello(4, conn=41)
    assert follower.core.attached == 1
    effects = follower.join(4, conn=42)
    assert effects[0] == Close(40, "server 4 is connected anew")
    assert effects[1] == Close(41, "server 4 is connected anew")
    assert said(follower.commit(1)) == ["to 42: INFORM 500000001"]


@pytest.mark.parametrize(
    ("last", "option"), [(z(4, 7), "max_concurrent_diff_syncs"), (z(3, 2), "max_concurrent_snap_syncs")]
)
def test_only_so_many_syncs_at_once(last, option):
    follower = Follower(**{option: 1})
    follower.sync(4, last)
    assert closed(follower.sync(5, last)) == ["too many syncs in progress for observer 5"]
    # The other kind has a limit of its own; and with the ack of NEWLEADER a sync is over.
    assert closed(follower.sync(6, z(3, 2) if last == z(4, 7) else z(4, 7))) == []
    follower.feed(4, packets.ack(z(5, 0)))
    assert closed(follower.sync(7, last)) == []


def test_what_happens_to_a_connection_that_is_gone_is_ignored(follower):
    follower.core.disconnected(40)
    assert follower.core.sync_sent(40, 0) == []
    assert follower.feed(4, packets.ping_answer(0, [])) == []
