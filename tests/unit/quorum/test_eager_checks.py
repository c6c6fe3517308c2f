"""``enableEagerACLCheck`` on whole servers: what is refused costs no zxid, wherever the client is."""

import pytest
from ensemble_rig import Ensemble
from rig import create_body, set_acl_body, set_body

from zabra.consts import Op
from zabra.errors import Code

READ_ONLY = ((1, "world", "anyone"),)
ALL = ((31, "world", "anyone"),)


@pytest.fixture
def make():
    made = []

    def make(**settings):
        ensemble = Ensemble([1, 2], [3], **settings)
        made.append(ensemble)
        ensemble.start()
        client = ensemble.client(ensemble.leader)
        client.ok(Op.CREATE, create_body("/no"))
        client.ok(Op.SET_ACL, set_acl_body("/no", READ_ONLY))
        ensemble.run(0.2)
        return ensemble

    yield make
    for ensemble in made:
        ensemble.close()


@pytest.mark.parametrize("sid", [1, 2, 3])
@pytest.mark.parametrize("local", [False, True])
def test_a_forbidden_write_takes_no_zxid(make, sid, local):
    ensemble = make(enable_eager_acl_check=True, local_sessions_enabled=local)
    assert sorted(ensemble.modes().values()) == ["follower", "leader", "observer"]
    client = ensemble.client(sid)
    zxid = ensemble[ensemble.leader].zxid
    reply = client.ask(Op.SET_DATA, set_body("/no"))
    assert (reply.err, reply.zxid) == (Code.NO_AUTH, 0)
    assert ensemble[ensemble.leader].zxid == zxid
    client.ok(Op.CREATE, create_body("/a"))
    assert ensemble[ensemble.leader].zxid == zxid + 1


@pytest.mark.parametrize("sid", [1, 2, 3])
def test_without_it_the_refusal_is_a_transaction(make, sid):
    ensemble = make()
    client = ensemble.client(sid)
    zxid = ensemble[ensemble.leader].zxid
    reply = client.ask(Op.SET_DATA, set_body("/no"))
    assert (reply.err, reply.zxid) == (Code.NO_AUTH, zxid + 1)


def test_a_leader_knows_what_is_on_its_way(make):
    """Not only of the same session."""
    ensemble = make(enable_eager_acl_check=True)
    client = ensemble.client(ensemble.leader)
    client.ok(Op.CREATE, create_body("/b", acl=((25, "world", "anyone"),)))
    bodies = (set_acl_body("/b", ALL), set_acl_body("/b", READ_ONLY))
    for body, err in zip(bodies, (0, Code.NO_AUTH), strict=True):
        first = client.post(Op.SET_ACL, body)
        client.post(Op.SET_DATA, set_body("/b"))
        ensemble.wait(lambda: len(client.frames) == 2)
        assert [(reply.xid, reply.err) for reply in client.replies()] == [(first, 0), (first + 1, err)]


def test_what_is_not_committed_refuses_nothing_by_itself(make):
    """Rights that are on their way may never come: whoever lacks them then waits for that to be known."""
    ensemble = make(enable_eager_acl_check=True)
    leader = ensemble.leader
    ensemble.client(leader).ok(Op.CREATE, create_body("/b"))
    first, second = ensemble.client(leader), ensemble.client(leader)
    ensemble.isolate(leader)
    first.post(Op.SET_ACL, set_acl_body("/b", READ_ONLY))
    second.post(Op.SET_DATA, set_body("/b"))
    ensemble.run(0.1)
    assert second.replies() == []
    ensemble.heal()
    ensemble.wait(lambda: len(second.frames) == 1)
    (reply,) = second.replies()
    assert reply.err == Code.NO_AUTH
    assert reply.zxid == ensemble[leader].zxid
