"""Writes that are refused where their client is connected, and those that are the leader's to judge."""

from __future__ import annotations

import pytest
from learner_rig import LeaderRig, LearnerRig
from rig import (
    Client,
    Reply,
    create_body,
    delete_body,
    multi_body,
    path,
    set_acl_body,
    set_body,
    ttl_body,
    watch_body,
)

from zabra.consts import Op
from zabra.errors import Code

READ_ONLY = ((1, "world", "anyone"),)
AUTH = ((31, "auth", ""),)
NONSENSE = ((31, "nonsense", "x"),)

#: Opcode and body of what the ACLs of /no forbid: below it, or of it.
FORBIDDEN = [
    (Op.CREATE, create_body("/no/a")),
    (Op.CREATE2, create_body("/no/a")),
    (Op.DELETE, delete_body("/no/child")),
    (Op.SET_DATA, set_body("/no")),
    (Op.SET_ACL, set_acl_body("/no")),
]


@pytest.fixture
def eager(leader: LeaderRig) -> LearnerRig:
    """A follower that checks; everybody may read /no and its child, and do nothing else."""
    owner = leader.client()
    for name in ("/no", "/no/child", "/yes"):
        owner.call(Op.CREATE, create_body(name))
    for name in ("/no/child", "/no"):
        owner.call(Op.SET_ACL, set_acl_body(name, READ_ONLY))
    learner = LearnerRig(leader, eager_checks=True)
    learner.tree.last_zxid = leader.tree.last_zxid
    return learner


@pytest.fixture
def client(eager: LearnerRig) -> Client:
    return eager.client()


def refused(eager: LearnerRig, client: Client, op: int, body: bytes) -> Reply | None:
    """The reply that comes at once; None: it went to the leader."""
    eager.requests()
    client.request(op, body)
    if eager.requests():
        return None
    (reply,) = client.replies()
    return reply


@pytest.mark.parametrize(("op", "body"), FORBIDDEN)
def test_what_the_tree_forbids_is_refused_at_once(
    leader: LeaderRig, eager: LearnerRig, client: Client, op: int, body: bytes
) -> None:
    zxid = leader.last_proposed
    reply = refused(eager, client, op, body)
    assert reply is not None
    assert (reply.xid, reply.zxid, reply.err, reply.body) == (client.xid, 0, Code.NO_AUTH, b"")
    assert leader.last_proposed == zxid


@pytest.mark.parametrize("acl", [NONSENSE, AUTH, (), None])
@pytest.mark.parametrize("op", [Op.CREATE, Op.CREATE2, Op.SET_ACL])
def test_a_list_that_may_not_be_stored_is_refused_at_once(
    eager: LearnerRig, client: Client, op: int, acl: tuple[tuple[int, str, str], ...] | None
) -> None:
    body = set_acl_body("/yes", acl) if op == Op.SET_ACL else create_body("/yes/a", acl=acl)
    reply = refused(eager, client, op, body)
    assert reply is not None
    assert (reply.zxid, reply.err) == (0, Code.INVALID_ACL)


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.CREATE, create_body("/yes/a")),
        (Op.CREATE, create_body("/yes/a", acl=READ_ONLY)),
        (Op.CREATE2, create_body("/yes/b")),
        (Op.DELETE, delete_body("/yes")),
        (Op.SET_DATA, set_body("/yes")),
        (Op.SET_ACL, set_acl_body("/yes", READ_ONLY)),
        # What is wrong with these, or whether anything is, is not a matter of rights.
        (Op.CREATE, create_body("/none/a")),
        (Op.CREATE, create_body("")),
        (Op.CREATE, create_body("/")),
        (Op.CREATE, create_body("/zookeeper/quota", acl=NONSENSE)),
        (Op.CREATE, b"\xff\xff\xff\xff" + create_body("/a")[6:]),
        (Op.DELETE, delete_body("/none/a")),
        (Op.DELETE, delete_body("none")),
        (Op.SET_DATA, set_body("/none")),
        (Op.SET_DATA, b"\xff\xff\xff\xff" + set_body("/a")[6:]),
        (Op.SET_ACL, set_acl_body("/none")),
        # Nor are these looked into.
        (Op.MULTI, multi_body((Op.SET_DATA, set_body("/no")))),
        (Op.CREATE_CONTAINER, create_body("/no/a", flags=4)),
        (Op.CREATE_TTL, ttl_body("/no/a", 1000)),
    ],
)
def test_the_rest_is_the_leaders_to_judge(eager: LearnerRig, client: Client, op: int, body: bytes) -> None:
    assert refused(eager, client, op, body) is None


def test_what_does_not_parse_is_refused_as_ever(eager: LearnerRig, client: Client) -> None:
    reply = refused(eager, client, Op.DELETE, path("/no"))
    assert reply is not None
    assert (reply.zxid, reply.err) == (eager.tree.last_zxid, Code.MARSHALLING_ERROR)


def test_who_has_the_right_is_let_through(leader: LeaderRig, eager: LearnerRig, client: Client) -> None:
    client.call(Op.CREATE, create_body("/mine", acl=((31, "ip", "127.0.0.1"),)))
    assert client.error(Op.SET_DATA, set_body("/mine")) == 0
    assert client.error(Op.CREATE, create_body("/mine/a")) == 0
    stranger = eager.client(address="10.0.0.9")
    assert refused(eager, stranger, Op.SET_DATA, set_body("/mine")) is not None


def test_a_refusal_keeps_its_place_among_the_replies(leader: LeaderRig, eager: LearnerRig, client: Client) -> None:
    """Apache answers at once, which no client that has sent more understands."""
    zxid = leader.last_proposed
    client.request(Op.SET_DATA, set_body("/yes"), 11)
    client.request(Op.SET_DATA, set_body("/no"), 12)
    client.request(Op.EXISTS, watch_body("/no"), 13)
    client.request(Op.SET_DATA, set_body("/yes"), 14)
    assert client.replies() == []
    eager.work()
    assert [(reply.xid, reply.err) for reply in client.replies()] == [(11, 0), (12, Code.NO_AUTH), (13, 0), (14, 0)]
    assert leader.last_proposed == zxid + 2


@pytest.mark.parametrize(
    ("op", "body", "judged"),
    [
        (Op.SET_ACL, set_acl_body("/yes", READ_ONLY), True),
        (Op.DELETE, delete_body("/yes"), True),
        (Op.MULTI, multi_body((Op.SET_DATA, set_body("/yes"))), True),
        (Op.SET_DATA, set_body("/yes"), False),
        (Op.CREATE, create_body("/yes/a"), False),
        (Op.SYNC, path("/"), False),
    ],
)
def test_behind_an_own_write_that_may_change_rights_the_leader_judges(
    eager: LearnerRig, client: Client, op: int, body: bytes, judged: bool
) -> None:
    client.request(op, body)
    client.request(Op.SET_DATA, set_body("/no"))
    assert len(eager.requests()) == 1 + judged
    # Of another session it does not matter.
    other = eager.client()
    reply = refused(eager, other, Op.SET_DATA, set_body("/no"))
    assert reply is not None


def test_a_right_that_was_given_just_now_counts(eager: LearnerRig, client: Client) -> None:
    client.call(Op.CREATE, create_body("/a", acl=((25, "world", "anyone"),)))
    client.request(Op.SET_ACL, set_acl_body("/a"), 21)
    client.request(Op.SET_DATA, set_body("/a"), 22)
    eager.work()
    assert [(reply.xid, reply.err) for reply in client.replies()] == [(21, 0), (22, 0)]
