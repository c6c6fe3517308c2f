"""Which client here a committed transaction answers, while sessions end, come back and move between servers."""

from __future__ import annotations

from struct import pack

import pytest
from learner_rig import LeaderRig, LearnerRig
from rig import Client, create_body, delete_body, path, set_body, stat_of, watch_body

from zabra.consts import Op
from zabra.errors import Code
from zabra.zab.packets import revalidate


def test_other_servers_sessions_are_applied_without_a_reply(leader: LeaderRig, learner: LearnerRig) -> None:
    """Whatever their cxids are."""
    client, far = learner.client(), leader.client()
    client.request(Op.CREATE, create_body("/a"), 1)
    far.request(Op.CREATE, create_body("/far"), 1)
    leader.commit(1)
    assert client.take() == []
    assert learner.pipeline.outstanding == 1
    learner.work()
    assert [reply.xid for reply in client.replies()] == [1]
    assert learner.stats.packets_sent == 2


def test_requests_left_behind_are_answered_to_nobody(leader: LeaderRig, learner: LearnerRig) -> None:
    """The session comes back to this server while they are on their way, and uses their cxids again."""
    client = learner.client()
    client.request(Op.CREATE, create_body("/old"), 1)
    client.request(Op.CREATE, create_body("/older"), 2)
    learner.deliver()
    client.cut()
    again = learner.comes_back(client)
    learner.deliver()
    learner.answers.popleft()()
    learner.run()
    assert len(again.take()) == 1
    again.request(Op.CREATE, create_body("/new"), 1)
    again.request(Op.CREATE, create_body("/old"), 2)
    assert learner.pipeline.outstanding == 4
    leader.commit()
    assert again.take() == []
    assert learner.pipeline.outstanding == 2
    learner.work()
    assert [(reply.xid, reply.err) for reply in again.replies()] == [(1, 0), (2, Code.NODE_EXISTS)]
    assert learner.pipeline.outstanding == 0


def test_what_was_left_behind_on_another_server_answers_nobody(leader: LeaderRig, learner: LearnerRig) -> None:
    """The same cxid of the same session, proposed before the session moved here."""
    other = LearnerRig(leader, server_id=3)
    client = other.client()
    assert client.error(Op.CREATE, create_body("/a")) == 0
    client.request(Op.SET_DATA, set_body("/a"), 1)
    client.request(Op.DELETE, delete_body("/none"), 2)
    other.deliver()
    here = learner.comes_back(client)
    learner.deliver()
    learner.answers.popleft()()
    learner.run()
    assert len(here.take()) == 1
    here.request(Op.SET_DATA, set_body("/a"), 1)
    here.request(Op.DELETE, delete_body("/a"), 2)
    leader.commit()
    assert here.take() == []
    learner.work()
    first, second = here.replies()
    assert [(reply.xid, reply.err) for reply in (first, second)] == [(1, 0), (2, 0)]
    assert stat_of(first.body).version == 2
    assert learner.pipeline._learned._floors == {}


def test_what_is_asked_elsewhere_answers_no_later_request_here(leader: LeaderRig, learner: LearnerRig) -> None:
    """The session has moved, and its old connection does not know yet."""
    other = LearnerRig(leader, server_id=3)
    client = learner.client()
    client.call(Op.CREATE, create_body("/a"))
    client.request(Op.CREATE, create_body("/b"), 11)
    client.request(Op.SET_DATA, set_body("/a"), 12)
    there = other.comes_back(client)
    other.deliver()
    other.answers.popleft()()
    there.request(Op.SET_DATA, set_body("/a"), 12)
    other.deliver()
    leader.commit()
    assert [reply.xid for reply in there.replies()[1:]] == [12]
    assert client.take() == []
    assert learner.pipeline.outstanding == 2
    learner.work()
    assert client.take() == []
    assert client.transport.closed


@pytest.fixture
def observer(leader: LeaderRig) -> LearnerRig:
    return LearnerRig(leader, server_id=4, observer=True)


def test_what_was_left_behind_on_an_observer_answers_nobody(observer: LearnerRig) -> None:
    client = observer.client()
    client.request(Op.CREATE, create_body("/old"), 1)
    observer.deliver()
    client.cut()
    again = observer.moved_client(client)
    again.request(Op.CREATE, create_body("/old"), 1)
    observer.work()
    assert [(reply.xid, reply.err) for reply in again.replies()] == [(1, Code.NODE_EXISTS)]


def test_an_observer_takes_a_client_when_all_it_asked_elsewhere_is_committed(
    leader: LeaderRig, learner: LearnerRig, observer: LearnerRig
) -> None:
    """It is not told of proposals: it would take the old request 1 for the one it is asked."""
    client = learner.client()
    client.request(Op.CREATE, create_body("/a"), 1)
    learner.deliver()
    again = observer.comes_back(client)
    observer.deliver()
    # The leader has answered that the session lives.
    observer.answers.popleft()()
    assert again.take() == []
    leader.commit()
    assert len(again.take()) == 1
    again.request(Op.CREATE, create_body("/a"), 1)
    observer.work()
    assert [(reply.xid, reply.err) for reply in again.replies()] == [(1, Code.NODE_EXISTS)]


def test_an_observer_refuses_a_client_whose_session_is_gone(leader: LeaderRig, observer: LearnerRig) -> None:
    client = observer.client()
    client.cut()
    leader.sessions.remove(client.session_id)
    again = Client(observer)  # type: ignore[arg-type]
    assert again.connect(session_id=client.session_id, password=client.password) == (0, 0)
    assert again.transport.closed


def test_what_is_never_answered_holds_up_no_new_connection(learner: LearnerRig) -> None:
    client = learner.client()
    client.request(Op.CREATE, create_body("/lost"), 1)
    client.request(Op.SYNC, path("/"), 2)
    client.request(Op.CREATE, create_body("/lost"), 3)
    learner.requests()
    client.cut()
    again = learner.moved_client(client)
    again.xid = 10
    assert again.error(Op.CREATE, create_body("/a")) == 0
    assert learner.pipeline.outstanding == 0


def test_a_session_that_ends_takes_its_requests_along(leader: LeaderRig, learner: LearnerRig) -> None:
    client = learner.client()
    client.request(Op.CREATE, create_body("/lost"), 1)
    learner.requests()
    client.cut()
    session = leader.sessions.get(client.session_id)
    assert session is not None
    leader.pipeline.close_session(None, session, 0)
    learner.work()
    assert learner.pipeline.outstanding == 0


# -- renewals


def test_a_session_comes_back_when_the_leader_says_so(leader: LeaderRig, learner: LearnerRig) -> None:
    client = learner.client()
    client.cut()
    again = learner.comes_back(client, 20000)
    assert learner.sent == [revalidate(client.session_id, 20000)]
    assert again.take() == []
    learner.work()
    (reply,) = again.take()
    assert reply == pack(">iiqi", 0, 20000, client.session_id, 16) + client.password + b"\0"
    session = leader.sessions.get(client.session_id)
    assert session is not None
    assert session.timeout_ms == 20000
    assert leader.sessions.logged() == {client.session_id: 10000}
    learner.pipeline.take_touched()
    assert again.error(Op.EXISTS, watch_body("/")) == 0
    assert learner.pipeline.take_touched() == [(client.session_id, 20000)]


def test_a_session_that_has_not_come_this_far_can_come_back(leader: LeaderRig, learner: LearnerRig) -> None:
    """It began on another server, and this one is behind."""
    leader.learners.remove(learner)
    client = leader.client()
    leader.learners.append(learner)
    assert learner.logged == {}
    assert learner.moved_client(client).error(Op.EXISTS, watch_body("/")) == 0


@pytest.mark.parametrize("how", ["unknown", "closing"])
def test_a_session_that_the_leader_does_not_have_is_refused(leader: LeaderRig, learner: LearnerRig, how: str) -> None:
    client = learner.client()
    client.cut()
    session = leader.sessions.get(client.session_id)
    assert session is not None
    if how == "closing":
        leader.sessions.close(session)
    else:
        leader.sessions.remove(session.id)
    again = Client(learner)  # type: ignore[arg-type]
    assert again.connect(session_id=client.session_id, password=client.password) == (0, 0)
    assert again.transport.closed


def test_the_older_connection_is_closed_first(learner: LearnerRig) -> None:
    """Also one that still waits for the leader's word; each word finds its own."""
    client = learner.client()
    first = learner.comes_back(client)
    assert client.transport.closed
    second = learner.comes_back(client, 20000)
    assert first.transport.closed
    learner.work()
    assert first.take() == []
    assert len(second.take()) == 1
    session = learner.sessions.get(client.session_id)
    assert session is not None
    assert (session.owner, session.timeout_ms) == (second.connection, 20000)
    assert learner.hub.attach._renewing == {}


def test_a_wrong_password_asks_nobody(learner: LearnerRig) -> None:
    """But, as in Apache, the connection with the right one is gone."""
    client = learner.client()
    learner.sent.clear()
    again = Client(learner)  # type: ignore[arg-type]
    assert again.connect(session_id=client.session_id, password=bytes(16)) == (0, 0)
    assert client.transport.closed
    assert learner.sent == []


def test_a_client_that_left_before_the_word(learner: LearnerRig) -> None:
    client = learner.client()
    client.cut()
    again = learner.comes_back(client)
    again.cut()
    learner.work()
    assert again.take() == []
    learner.moved_client(client)


def test_a_word_about_a_session_nobody_asked_for(learner: LearnerRig, caplog: pytest.LogCaptureFixture) -> None:
    learner.pipeline.revalidated(5, True)
    assert "session 0x5, of which nobody asked" in caplog.text


def test_a_renewal_ends_with_the_role(learner: LearnerRig) -> None:
    client = learner.client()
    client.cut()
    again = learner.comes_back(client)
    pipeline = learner.pipeline
    pipeline.stop()
    learner.hub.halt()
    assert again.transport.closed
    assert again.take() == []
    pipeline.revalidated(client.session_id, True)
    assert again.take() == []


def test_a_session_moves_to_the_leader_and_back(leader: LeaderRig, learner: LearnerRig) -> None:
    client = learner.client()
    there = Client(leader)
    assert there.connect(session_id=client.session_id, password=client.password) == (10000, client.session_id)
    assert there.error(Op.CREATE, create_body("/a")) == 0
    assert not client.transport.closed
    client.request(Op.CREATE, create_body("/b"))
    learner.work()
    assert client.take() == []
    assert client.transport.closed
    again = learner.moved_client(client)
    assert there.transport.closed
    assert again.error(Op.CREATE, create_body("/b")) == 0
