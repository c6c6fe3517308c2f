"""What a follower makes of the requests of observers that learn from it."""

from __future__ import annotations

import pytest
from learner_rig import LeaderRig, LearnerRig
from rig import Client, create_body, path

from zabra.consts import Op
from zabra.errors import Code
from zabra.pipeline.relay import Relay
from zabra.sessions.password import password_of
from zabra.zab import packets
from zabra.zab.packets import ForwardedRequest

#: Observers, and the session of a client of theirs.
FOUR, FIVE = 4, 5
SESSION = 0x400000000000001
WHO = (("ip", "10.0.0.4"),)


class Master:
    """A follower with two observers."""

    def __init__(self, leader: LeaderRig, learner: LearnerRig) -> None:
        self.leader = leader
        self.learner = learner
        self.relay = Relay(learner.pipeline, learner.logged)
        self.told: list[object] = []

    def ask(self, *requests: ForwardedRequest, observer: int = FOUR) -> None:
        self.relay.requests(observer, requests, lambda: self.told.append(observer))

    def create(self, cxid: int, name: str = "/a", session: int = SESSION, observer: int = FOUR) -> None:
        self.ask(ForwardedRequest(session, cxid, Op.CREATE, create_body(name), WHO), observer=observer)

    def come(self, observer: int, session: int = SESSION, timeout_ms: int = 4000) -> None:
        self.relay.revalidate(observer, session, timeout_ms, lambda valid: self.told.append((observer, valid)))

    def begin(self, session: int = SESSION) -> None:
        """A client of observer 4 has its session."""
        self.ask(ForwardedRequest(session, 0, Op.CREATE_SESSION, b"\x00\x00\x20\x00", None))
        self.learner.work()
        assert session in self.learner.logged

    def wants(self, op: int, cxid: int = 9, observer: int = FOUR) -> list[int]:
        """The types of what is forwarded when an observer asks for this."""
        self.learner.run()
        self.learner.sent.clear()
        self.ask(ForwardedRequest(SESSION, cxid, op, b"", WHO), observer=observer)
        return [request.type for request in self.learner.requests()]


@pytest.fixture
def master(leader: LeaderRig, learner: LearnerRig) -> Master:
    return Master(leader, learner)


def test_requests_are_forwarded_as_they_came(master: Master) -> None:
    requests = [
        ForwardedRequest(SESSION, 0, Op.CREATE_SESSION, b"\x00\x00\x10\x00", None),
        ForwardedRequest(SESSION, 1, Op.MULTI, b"whatever", WHO),
        ForwardedRequest(SESSION, 2, Op.CLOSE_SESSION, b"", WHO),
    ]
    master.ask(*requests)
    master.learner.run()
    assert master.learner.sent == [b"".join(map(packets.request, requests))], "one write for all of a turn"
    assert master.learner.pipeline.outstanding == 0, "nobody here waits for them"


def test_a_client_of_an_observer_can_write(master: Master) -> None:
    master.begin()
    master.create(1)
    master.learner.work()
    assert b"/a" in master.learner.tree.nodes
    assert master.learner.stats.packets_sent == 0


def test_each_sync_is_answered_to_who_asked_in_the_order_of_all(master: Master) -> None:
    client = master.learner.client()
    sync = ForwardedRequest(SESSION, 1, Op.SYNC, path("/"), WHO)
    master.ask(sync)
    client.request(Op.SYNC, path("/"), 1)
    master.ask(sync, observer=FIVE)
    master.learner.deliver()
    for expected, replies in (([FOUR], []), ([FOUR], [1]), ([FOUR, FIVE], [])):
        master.learner.pipeline.synced()
        master.learner.run()
        assert master.told == expected
        assert [reply.xid for reply in client.replies()] == replies


def test_each_renewal_is_answered_to_who_asked(master: Master) -> None:
    """Also several of one session."""
    master.begin()
    master.learner.pipeline.take_touched()
    master.come(FOUR)
    master.come(FIVE, timeout_ms=6000)
    master.come(FIVE, session=1)
    master.learner.work()
    assert master.told == [(FOUR, True), (FIVE, True), (FIVE, False)]
    assert master.learner.pipeline.take_touched() == [(SESSION, 6000)], "as the leader does with its own"


def test_sessions_that_clients_of_observers_use_are_told_with_the_next_ping(master: Master) -> None:
    master.learner.pipeline.touch_remote(SESSION, 4000)
    assert master.learner.pipeline.take_touched() == [(SESSION, 4000)]
    assert master.learner.pipeline.take_touched() == []


def moves_here(master: Master) -> Client:
    """The client of observer 4 comes to the follower itself."""
    again = Client(master.learner)  # type: ignore[arg-type]
    master.begin()
    again.connect(session_id=SESSION, password=password_of(SESSION))
    assert not again.transport.closed
    return again


def test_writes_of_a_client_that_moved_to_another_observer_go_no_further(master: Master) -> None:
    master.begin()
    assert master.wants(Op.SET_DATA) == [Op.SET_DATA]
    master.come(FIVE)
    assert master.wants(Op.SET_DATA) == []
    assert master.wants(Op.SET_DATA, observer=FIVE) == [Op.SET_DATA]
    # As on a leader, which lets any server close any session.
    assert master.wants(Op.CLOSE_SESSION) == [Op.CLOSE_SESSION]
    assert master.wants(Op.SYNC) == [Op.SYNC], "the next answer would be taken for that of this one"
    master.come(FOUR)
    assert master.wants(Op.SET_DATA) == [Op.SET_DATA]


def test_writes_of_a_client_that_moved_here_go_no_further(master: Master) -> None:
    """They would answer what it asks here: the leader sees one server."""
    client = moves_here(master)
    client.request(Op.CREATE, create_body("/here"), 1)
    master.create(1, "/there")
    master.learner.work()
    assert [(reply.xid, reply.body) for reply in client.replies()] == [(1, path("/here"))]
    assert b"/there" not in master.learner.tree.nodes


def test_a_client_that_moved_to_an_observer_is_hung_up_on(master: Master) -> None:
    client = moves_here(master)
    master.come(FOUR)
    assert client.transport.closed
    assert master.wants(Op.SET_DATA) == [Op.SET_DATA]


def test_writes_of_a_session_that_cannot_move_are_answered_wherever_its_client_tries_to_go(master: Master) -> None:
    """A local session of the observer: nobody else knows it, and its observer waits for an answer to each write."""
    assert SESSION not in master.learner.logged
    master.come(FIVE)
    master.learner.work()
    assert master.told == [(FIVE, False)]
    assert master.wants(Op.SET_DATA) == [Op.SET_DATA]


def test_where_clients_are_is_forgotten_with_their_sessions(master: Master) -> None:
    master.begin()
    for number in range(1000):
        master.come(FOUR, session=number)
        master.learner.work()
    master.come(FIVE)
    for number in range(1000):
        master.come(FOUR, session=number)
    assert len(master.relay._places) < 100
    assert master.wants(Op.SET_DATA) == [], "of a session that lives it is remembered"


def test_a_refusal_is_a_transaction_like_any_other(master: Master) -> None:
    master.create(1)
    master.learner.work()
    (entry,) = master.learner.db.committed
    assert entry.data.endswith(Code.SESSION_EXPIRED.to_bytes(4, "big", signed=True))
