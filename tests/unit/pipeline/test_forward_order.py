"""The order of replies on a learner: each session sees its own requests in theirs, and holds up nobody else's."""

from __future__ import annotations

from collections import deque

import pytest
from learner_rig import LeaderRig, LearnerRig
from rig import create_body, path, set_body, watch_body

from zabra.consts import Op
from zabra.errors import Code


def test_reads_wait_behind_the_writes_of_their_session_only(leader: LeaderRig, learner: LearnerRig) -> None:
    client, other = learner.client(), learner.client()
    client.call(Op.CREATE, create_body("/a", b"old"))
    client.request(Op.SET_DATA, set_body("/a", b"new"), 11)
    client.request(Op.GET_DATA, watch_body("/a"), 12)
    client.request(Op.EXISTS, watch_body("/b"), 13)
    other.request(Op.GET_DATA, watch_body("/a"), 5)
    assert [reply.body[4:7] for reply in other.replies()] == [b"old"]
    assert client.take() == []
    learner.work()
    first, second, third = client.replies()
    assert [reply.xid for reply in (first, second, third)] == [11, 12, 13]
    assert second.body[4:7] == b"new"
    assert second.zxid == first.zxid == leader.tree.last_zxid
    assert third.err == Code.NO_NODE


def test_writes_commit_one_by_one(leader: LeaderRig, learner: LearnerRig) -> None:
    """A commit answers its own write, and the reads up to the next one."""
    client = learner.client()
    for xid in (1, 2):
        client.request(Op.CREATE, create_body(f"/a{xid}"), xid)
        client.request(Op.EXISTS, watch_body("/a2"), xid + 10)
    learner.deliver()
    leader.commit(1)
    assert [(reply.xid, reply.err) for reply in client.replies()] == [(1, 0), (11, Code.NO_NODE)]
    leader.commit(1)
    assert [(reply.xid, reply.err) for reply in client.replies()] == [(2, 0), (12, 0)]


def test_a_sync_waits_for_the_leader(leader: LeaderRig, learner: LearnerRig) -> None:
    """What was written elsewhere before is visible behind it; its reply echoes the path."""
    client, writer = learner.client(), leader.client()
    writer.request(Op.CREATE, create_body("/a"))
    client.request(Op.EXISTS, watch_body("/a"), 1)
    client.request(Op.SYNC, path("/any"), 2)
    client.request(Op.EXISTS, watch_body("/a"), 3)
    assert [(reply.xid, reply.err) for reply in client.replies()] == [(1, Code.NO_NODE)]
    assert learner.pipeline.outstanding == 1
    before = learner.stats.packets_sent
    learner.work()
    sync, read = client.replies()
    assert sync == (2, leader.tree.last_zxid, 0, path("/any"))
    assert (read.xid, read.err) == (3, 0)
    assert learner.pipeline.outstanding == 0
    assert learner.stats.packets_sent == before + 2


def test_syncs_are_answered_in_order(learner: LearnerRig) -> None:
    """One whose connection is gone still takes its turn."""
    clients = [learner.client() for _ in range(3)]
    for client in clients:
        client.request(Op.SYNC, path("/"), 5)
    learner.deliver()
    clients[0].cut()
    learner.pipeline.synced()
    learner.pipeline.synced()
    learner.run()
    assert [len(client.take()) for client in clients] == [0, 1, 0]
    assert learner.pipeline.outstanding == 1


def test_a_sync_that_a_later_write_passes_is_done(learner: LearnerRig) -> None:
    """The leader may commit in one go what came before and after it. Replies keep the order of the requests."""
    client, other = learner.client(), learner.client()
    client.request(Op.CREATE, create_body("/a"), 1, run=False)
    client.request(Op.SYNC, path("/a"), 2, run=False)
    client.request(Op.EXISTS, watch_body("/b"), 3, run=False)
    client.request(Op.SYNC, path("/b"), 3, run=False)
    client.request(Op.CREATE, create_body("/b"), 3, run=False)
    client.request(Op.EXISTS, watch_body("/b"), 4, run=False)
    other.request(Op.SYNC, path("/o"), 9)
    learner.deliver()
    answers, learner.answers = learner.answers, deque()
    learner.leader.commit()
    replies = client.replies()
    assert [(reply.xid, reply.err) for reply in replies] == [(1, 0), (2, 0), (3, Code.NO_NODE), (3, 0), (3, 0), (4, 0)]
    assert [reply.body for reply in replies[1:4]] == [path("/a"), b"", path("/b")]
    assert learner.pipeline.outstanding == 1
    for answer in answers:
        assert other.take() == []
        answer()
        learner.run()
    assert [reply.body for reply in other.replies()] == [path("/o")]
    assert client.take() == []
    assert learner.pipeline.outstanding == 0


def test_a_sync_of_a_session_that_ends(leader: LeaderRig, learner: LearnerRig) -> None:
    """Its answer comes for nobody, and for no other sync."""
    client, other = learner.client(), learner.client()
    client.request(Op.SYNC, path("/"), 2)
    other.request(Op.SYNC, path("/o"), 3)
    session = leader.sessions.get(client.session_id)
    assert session is not None
    leader.pipeline.close_session(None, session, 0)
    leader.commit()
    assert client.take() == []
    assert learner.pipeline.outstanding == 1
    learner.pipeline.synced()
    learner.run()
    assert other.take() == []
    learner.pipeline.synced()
    learner.run()
    assert [reply.xid for reply in other.replies()] == [3]


def test_an_answer_to_no_sync(learner: LearnerRig, caplog: pytest.LogCaptureFixture) -> None:
    learner.pipeline.synced()
    assert "a sync that nobody asked for" in caplog.text
    assert learner.pipeline.outstanding == 0


def test_the_servers_own_clients_sync_at_once(leader: LeaderRig) -> None:
    client = leader.client()
    client.request(Op.SYNC, path("/any"))
    (reply,) = client.replies()
    assert (reply.err, reply.body) == (0, path("/any"))
