"""Creates of every mode: what is stored, what is answered, and which of two errors wins."""

from __future__ import annotations

from struct import pack

import pytest
from rig import (
    OPEN,
    Client,
    Rig,
    acl_body,
    create_body,
    delete_body,
    multi_body,
    path,
    set_acl_body,
    set_body,
    stat_of,
    ttl_body,
    watch_body,
)

from zabra.consts import CONTAINER_OWNER, TTL_OWNER_MASK, Op
from zabra.errors import Code
from zabra.wire.primitives import pack_buffer
from zabra.wire.txns import decode_txn

CLOSED_ACL = ((31, "ip", "10.0.0.1"),)


@pytest.fixture
def server() -> Rig:
    """TTL nodes are switched on."""
    return Rig(extended_types_enabled=True)


def test_create_answers_the_path_alone(client: Client) -> None:
    reply = client.ask(Op.CREATE, create_body("/a", b"data"))
    assert (reply.err, reply.body, reply.zxid) == (0, path("/a"), 2)


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.CREATE2, create_body("/a", b"data")),
        (Op.CREATE_CONTAINER, create_body("/a", b"data", 4)),
        (Op.CREATE_TTL, ttl_body("/a", 5000, 5, b"data")),
    ],
)
def test_the_others_answer_path_and_stat(client: Client, op: int, body: bytes) -> None:
    reply = client.ask(op, body)
    now = client.rig.clock.wall
    assert reply.body[:6] == path("/a")
    assert len(reply.body) == 6 + 68
    assert stat_of(reply.body) == (2, 2, now, now, 0, 0, 0, 0, 4, 0, 2)


@pytest.mark.parametrize("op", [Op.CREATE, Op.CREATE2])
@pytest.mark.parametrize(("flags", "suffix"), [(0, ""), (1, ""), (2, "0000000000"), (3, "0000000000")])
def test_plain_modes(client: Client, op: int, flags: int, suffix: str) -> None:
    """Persistent, ephemeral, sequential and both, on either opcode, with a new and with a known ACL list."""
    client.call(Op.CREATE, create_body("/one", b"", 0, ((31, "ip", "127.0.0.1"),)))
    client.call(Op.CREATE, create_body("/two", b"", 0, ((31, "ip", "127.0.0.1"),)))
    for parent in ("/one", "/two"):
        made = f"{parent}/a{suffix}"
        code, body = client.call(op, create_body(f"{parent}/a", b"", flags))
        assert (code, body[: 4 + len(made)]) == (0, path(made))
        owner = client.session_id if flags & 1 else 0
        assert client.rig.tree.nodes[made.encode()].owner == owner
        assert (made.encode() in client.rig.tree.ephemerals.get(client.session_id, {})) is bool(owner)
        if op == Op.CREATE2:
            assert stat_of(body).owner == owner


def test_owners_of_containers_and_ttl_nodes(client: Client) -> None:
    """The stored owner says what a node is; clients see 0."""
    tree = client.rig.tree
    client.call(Op.CREATE_CONTAINER, create_body("/box", b"", 4))
    client.call(Op.CREATE_TTL, ttl_body("/ttl", 7))
    code, body = client.call(Op.CREATE_TTL, ttl_body("/ttl", 7, 6))
    assert (code, body[4:18]) == (0, b"/ttl0000000002")
    assert tree.nodes[b"/box"].owner == CONTAINER_OWNER
    assert tree.nodes[b"/ttl"].owner == TTL_OWNER_MASK | 7
    assert list(tree.containers) == [b"/box"]
    assert list(tree.ttls) == [b"/ttl", b"/ttl0000000002"]


def test_the_suffix_counts_every_create_and_survives_deletes(client: Client) -> None:
    """Ten digits of the parent's counter of creates, whatever their mode."""
    client.call(Op.CREATE, create_body("/p"))
    client.call(Op.CREATE, create_body("/p/x"))
    client.call(Op.DELETE, delete_body("/p/x"))
    assert client.call(Op.CREATE, create_body("/p/n-", b"", 2))[1] == path("/p/n-0000000001")
    assert client.call(Op.CREATE, create_body("/p/", b"", 2))[1] == path("/p/0000000002")
    assert client.call(Op.CREATE, create_body("/p/n-", b"", 3))[1] == path("/p/n-0000000003")


def test_the_suffix_of_a_wrapped_counter_is_negative(client: Client) -> None:
    """The counter is a Java int: after 2^31-1 it goes on at the other end, printed with its sign."""
    client.call(Op.CREATE, create_body("/p"))
    client.rig.tree.nodes[b"/p"].cversion = 0x7FFFFFFF
    assert client.call(Op.CREATE, create_body("/p/", b"", 2))[1] == path("/p/2147483647")
    client.rig.tree.nodes[b"/p"].cversion = -0x80000000
    assert client.call(Op.CREATE, create_body("/p/", b"", 2))[1] == path("/p/-2147483648")


def test_pending_creates_count_too(client: Client) -> None:
    """Requests of one turn see each other: two sequential creates get two numbers, a duplicate is refused."""
    for _ in range(2):
        client.request(Op.CREATE, create_body("/n", b"", 2), run=False)
    client.request(Op.CREATE, create_body("/n0000000001"), run=False)
    client.request(Op.CREATE, create_body("/n0000000001/child"))
    replies = client.replies()
    assert [(reply.err, reply.body) for reply in replies] == [
        (0, path("/n0000000000")),
        (0, path("/n0000000001")),
        (Code.NODE_EXISTS, b""),
        (0, path("/n0000000001/child")),
    ]
    assert [reply.zxid for reply in replies] == [2, 3, 4, 5]


def test_the_parent_moves(client: Client) -> None:
    """A create raises the parent's counter and pzxid, nothing else; clients see 2 * counter - children."""
    client.call(Op.CREATE, create_body("/p", b"data"))
    before = stat_of(client.ask(Op.EXISTS, watch_body("/p")).body)
    client.call(Op.CREATE, create_body("/p/a"))
    zxid = client.rig.tree.last_zxid
    after = stat_of(client.ask(Op.EXISTS, watch_body("/p")).body)
    assert after == before._replace(cversion=1, children=1, pzxid=zxid)
    client.call(Op.DELETE, delete_body("/p/a"))
    assert stat_of(client.ask(Op.EXISTS, watch_body("/p")).body) == before._replace(cversion=2, pzxid=zxid + 1)


def test_null_and_empty_data_differ(client: Client) -> None:
    for name, data in (("/null", None), ("/empty", b"")):
        for box in ("", "/null"):
            assert client.call(Op.CREATE2, create_body(box + name, data))[0] == 0
            assert client.rig.tree.nodes[(box + name).encode()].data == data


def test_a_failed_create_takes_a_zxid_and_is_logged(client: Client) -> None:
    """The client hears of it when the error transaction commits."""
    reply = client.ask(Op.CREATE, create_body("/a/b"))
    assert (reply.zxid, reply.err, reply.body) == (2, Code.NO_NODE, b"")
    header, body, digest = decode_txn(client.rig.log.durable[-1])
    assert (header.type, header.zxid, header.session_id, header.cxid) == (-1, 2, client.session_id, reply.xid)
    assert (body, digest) == ((Code.NO_NODE,), None)


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.CREATE, create_body("no-slash", b"", 7)),
        (Op.CREATE, create_body("/a", b"", -1)),
        (Op.CREATE2, create_body("/a", b"", 7)),
        (Op.CREATE_CONTAINER, create_body("/a", b"", 7)),
        (Op.CREATE_TTL, ttl_body("/a", 1, 7)),
    ],
)
def test_unknown_flags(client: Client, op: int, body: bytes) -> None:
    assert client.error(op, body) == Code.BAD_ARGUMENTS


@pytest.mark.parametrize("op", [Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER])
@pytest.mark.parametrize("flags", [5, 6])
def test_ttl_modes_need_an_op_with_a_ttl(client: Client, op: int, flags: int) -> None:
    assert client.error(op, create_body("/a", b"", flags)) == Code.BAD_ARGUMENTS


@pytest.mark.parametrize("ttl_ms", [0, -1, 1 << 40, -5])
def test_ttl_out_of_range(client: Client, ttl_ms: int) -> None:
    assert client.error(Op.CREATE_TTL, ttl_body("/a", ttl_ms)) == Code.BAD_ARGUMENTS


def test_the_longest_ttl(client: Client) -> None:
    assert client.error(Op.CREATE_TTL, ttl_body("/a", (1 << 40) - 1)) == 0
    assert client.rig.tree.nodes[b"/a"].owner == TTL_OWNER_MASK | (1 << 40) - 1


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.CREATE_TTL, ttl_body("/a", 5)),
        (Op.CREATE_TTL, ttl_body("no-slash", -5, 6)),
        (Op.CREATE, create_body("/a", b"", 5)),
        (Op.CREATE2, create_body("/a", b"", 6)),
    ],
)
def test_ttl_switched_off_wins_over_all_but_flags(op: int, body: bytes) -> None:
    assert Rig().client().error(op, body) == Code.UNIMPLEMENTED


@pytest.mark.parametrize("flags", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("ttl_ms", [-1, 0, 5])
def test_create_ttl_with_another_mode_is_refused(client: Client, flags: int, ttl_ms: int) -> None:
    """With ttl -1 Apache lets it pass and then cannot apply it, not even on restart."""
    assert client.error(Op.CREATE_TTL, ttl_body("/a", ttl_ms, flags)) == Code.BAD_ARGUMENTS


@pytest.mark.parametrize("op", [Op.CREATE, Op.CREATE2])
def test_the_container_flag_on_a_plain_create_is_refused(client: Client, op: int) -> None:
    """Apache stores an ordinary node and computes the digest of a container."""
    assert client.error(op, create_body("/a", b"", 4)) == Code.BAD_ARGUMENTS


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_create_container_with_another_flag_is_refused(client: Client, flags: int) -> None:
    """The reverse of the above."""
    assert client.error(Op.CREATE_CONTAINER, create_body("/a", b"", flags)) == Code.BAD_ARGUMENTS


#: Requests that each have two things wrong, and the one that counts. The order is that of PrepRequestProcessor.
BOTH_WRONG = [
    ("flags before path", create_body("no-slash", b"", 9), Code.BAD_ARGUMENTS),
    ("path shape before ACL", create_body("no-slash", b"", 0, ()), Code.BAD_ARGUMENTS),
    ("NUL before ACL", create_body("/a\0", b"", 0, ()), Code.BAD_ARGUMENTS),
    ("ACL before parent", create_body("/none/a", b"", 0, ()), Code.INVALID_ACL),
    ("parent before its rights", create_body("/closed/none/a"), Code.NO_NODE),
    ("parent before full path", create_body("/none/./a"), Code.NO_NODE),
    ("rights before full path", create_body("/closed/."), Code.NO_AUTH),
    ("rights before exists", create_body("/closed/child"), Code.NO_AUTH),
    ("full path before exists", create_body("/box/../box"), Code.NO_NODE),
    ("full path", create_body("/box/.."), Code.BAD_ARGUMENTS),
    ("exists", create_body("/box"), Code.NODE_EXISTS),
    ("full path before ephemeral parent", create_body("/e/."), Code.BAD_ARGUMENTS),
    ("ephemeral parent", create_body("/e/a"), Code.NO_CHILDREN_FOR_EPHEMERALS),
    ("ephemeral parent before quota", create_body("/full/e/a", b"x" * 99), Code.NO_CHILDREN_FOR_EPHEMERALS),
    ("exists before quota", create_body("/full/e", b"x" * 99), Code.NODE_EXISTS),
    ("quota", create_body("/full/a", b"x" * 99), Code.QUOTA_EXCEEDED),
    ("root", create_body("/"), Code.NODE_EXISTS),
    ("empty path", create_body(""), Code.BAD_ARGUMENTS),
    ("slash at the end", create_body("/box/"), Code.BAD_ARGUMENTS),
    ("null path", b"\xff\xff\xff\xff" + create_body("", b"")[4:], Code.MARSHALLING_ERROR),
    ("a null path after unknown flags", b"\xff\xff\xff\xff" + create_body("", b"", 9)[4:], Code.BAD_ARGUMENTS),
]


@pytest.mark.parametrize("known", [False, True], ids=["first", "known ACL"])
@pytest.mark.parametrize(("body", "code"), [row[1:] for row in BOTH_WRONG], ids=[row[0] for row in BOTH_WRONG])
def test_order_of_errors(body: bytes, code: int, known: bool) -> None:
    client = Rig(enforce_quota=True).client()
    client.call(Op.CREATE, create_body("/zookeeper/quota/full"))
    limits = b"count=-1,bytes=-1=;byteHardLimit=50;countHardLimit=-1"
    client.call(Op.CREATE, create_body("/zookeeper/quota/full/zookeeper_limits", limits))
    client.call(Op.CREATE, create_body("/zookeeper/quota/full/zookeeper_stats", b""))
    for name in ("/box", "/closed", "/closed/child", "/full"):
        assert client.error(Op.CREATE, create_body(name)) == 0
    for name in ("/e", "/full/e"):
        assert client.error(Op.CREATE, create_body(name, b"", 1)) == 0
    assert client.error(Op.SET_ACL, set_acl_body("/closed", CLOSED_ACL)) == 0
    if not known:
        client.rig.prep.acl_cache.known.clear()
    assert client.error(Op.CREATE, body) == code
    assert client.error(Op.CREATE2, body) == code


@pytest.mark.parametrize(
    "acl",
    [
        None,
        (),
        ((31, "world", "someone"),),
        ((31, "nobody", "x"),),
        ((31, "digest", "no-colon"),),
        ((31, "ip", "300.1.1.1"),),
        ((31, "super", ""),),
        ((31, "auth", ""),),
        (*OPEN, (31, "nobody", "x")),
    ],
)
def test_acls_that_are_refused(client: Client, acl: tuple[tuple[int, str, str], ...] | None) -> None:
    for _ in range(2):
        assert client.error(Op.CREATE, create_body("/a", b"", 0, acl)) == Code.INVALID_ACL


def test_the_acl_is_stored_in_canonical_form(client: Client) -> None:
    """Duplicates go, order and bits above the five stay, auth becomes the caller's identities."""
    client.auth("digest", b"me:secret")
    digest_id = client.connection.identities[1][1]
    assert digest_id.startswith("me:")
    acl = ((1, "world", "anyone"), (255, "ip", "10.0.0.0/8"), (1, "world", "anyone"), (3, "auth", "whatever"))
    client.call(Op.CREATE, create_body("/a", b"", 0, acl))
    stored = ((1, "world", "anyone"), (255, "ip", "10.0.0.0/8"), (3, "digest", digest_id))
    assert client.rig.tree.nodes[b"/a"].acl == stored
    _, body = client.call(Op.GET_ACL, path("/a"))
    assert body[:-68] == acl_body(((1, "world", "anyone"), (255, "ip", "10.0.0.0/8"), (3, "digest", "me:x")))


def test_an_auth_entry_is_expanded_for_each_caller_anew(server: Rig) -> None:
    """A list that was parsed before is not reused when it depends on who asks."""
    acl = ((31, "auth", ""),)
    for user in (b"one:1", b"two:2"):
        client = server.client()
        client.auth("digest", user)
        name = "/" + user[:3].decode()
        assert client.error(Op.CREATE, create_body(name, b"", 0, acl)) == 0
        assert server.tree.nodes[name.encode()].acl == ((31, "digest", client.connection.identities[1][1]),)
    assert server.client().error(Op.CREATE, create_body("/three", b"", 0, acl)) == Code.INVALID_ACL


def test_the_list_of_known_acls_is_bounded(client: Client) -> None:
    """A client that makes up lists cannot make it grow."""
    for number in range(1100):
        client.request(Op.CREATE, create_body("/a", b"", 0, ((number, "world", "anyone"),)), run=False)
    client.rig.run()
    assert len(client.rig.prep.acl_cache.known) == 1024


def test_null_parts_are_refused_under_a_zxid_of_their_own(client: Client) -> None:
    """The list of known ACLs must not trip over what it cannot keep."""
    nothing = pack(">i", -1)
    flags = pack(">i", 0)
    null_path = nothing + pack_buffer(b"") + acl_body(((31, "world", "anyone"),)) + flags
    assert client.error(Op.CREATE, null_path) == Code.MARSHALLING_ERROR
    assert client.rig.prep.zxid == client.rig.tree.last_zxid == 2
    for scheme, id_ in ((nothing, path("anyone")), (path("world"), nothing)):
        acl = pack(">ii", 1, 31) + scheme + id_
        assert client.error(Op.CREATE, path("/a") + pack_buffer(b"") + acl + flags) == Code.INVALID_ACL
    assert client.rig.prep.zxid == client.rig.tree.last_zxid == 4


def test_surplus_bytes_are_ignored(client: Client) -> None:
    for _ in range(2):
        assert client.error(Op.CREATE, create_body("/a", b"", 2) + b"surplus") == 0


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_both_ways_of_preparing_write_the_same_transaction(flags: int) -> None:
    """The short way for known lists, and the records."""
    payloads = []
    for known in (False, True):
        client = Rig().client()
        client.call(Op.CREATE, create_body("/p"))
        if not known:
            client.rig.prep.acl_cache.known.clear()
        client.call(Op.CREATE2, create_body("/p/ä", b"some data", flags))
        assert client.call(Op.CREATE, create_body("/p/none/a"))[0] == Code.NO_NODE
        payloads.append(client.rig.log.durable)
    assert payloads[0] == payloads[1]
    assert decode_txn(payloads[0][-2])[0].type == Op.CREATE2


def test_quota_counts_before_bytes_and_soft_limits_only_warn() -> None:
    """Checked against what is applied; a multi sees its own earlier writes only in the data it replaces."""
    client = Rig(enforce_quota=True).client()
    client.call(Op.CREATE, create_body("/q"))
    client.call(Op.CREATE, create_body("/zookeeper/quota/q"))
    limits = "/zookeeper/quota/q/zookeeper_limits"
    client.call(Op.CREATE, create_body(limits, b"count=1,bytes=1=;byteHardLimit=10;countHardLimit=2"))
    client.call(Op.CREATE, create_body("/zookeeper/quota/q/zookeeper_stats"))
    assert client.error(Op.CREATE, create_body("/q/a", b"12345")) == 0
    assert client.error(Op.CREATE, create_body("/q/b")) == Code.QUOTA_EXCEEDED
    assert client.error(Op.SET_DATA, set_body("/q/a", b"x" * 11)) == Code.QUOTA_EXCEEDED
    assert client.error(Op.SET_DATA, set_body("/q/a", b"x" * 11, 99)) == Code.QUOTA_EXCEEDED
    assert client.error(Op.SET_DATA, set_body("/q/a", b"x" * 10, 99)) == Code.BAD_VERSION
    assert client.error(Op.SET_DATA, set_body("/q/a", b"x" * 10)) == 0
    client.call(Op.SET_DATA, set_body(limits, b"count=1,bytes=1"))
    assert client.error(Op.CREATE, create_body("/q/b", b"x" * 100)) == 0
    stats = client.rig.tree.nodes[b"/zookeeper/quota/q/zookeeper_stats"].data
    assert stats == b"count=3,bytes=110"


def test_without_enforcement_hard_limits_refuse_nothing(client: Client) -> None:
    client.call(Op.CREATE, create_body("/q"))
    client.call(Op.CREATE, create_body("/zookeeper/quota/q"))
    client.call(Op.CREATE, create_body("/zookeeper/quota/q/zookeeper_limits", b"count=-1,bytes=-1=;countHardLimit=1"))
    client.call(Op.CREATE, create_body("/zookeeper/quota/q/zookeeper_stats"))
    assert client.error(Op.CREATE, create_body("/q/a")) == 0


def test_a_quota_does_not_break_a_multi() -> None:
    """ZOOKEEPER-4219: the check of a setData looks at the data the multi itself put there."""
    client = Rig(enforce_quota=True).client()
    client.call(Op.CREATE, create_body("/q"))
    client.call(Op.CREATE, create_body("/zookeeper/quota/q"))
    limits = b"count=-1,bytes=-1=;byteHardLimit=10"
    client.call(Op.CREATE, create_body("/zookeeper/quota/q/zookeeper_limits", limits))
    client.call(Op.CREATE, create_body("/zookeeper/quota/q/zookeeper_stats"))
    body = multi_body((Op.CREATE, create_body("/q/a", b"12345678")), (Op.SET_DATA, set_body("/q/a", b"87654321")))
    code, result = client.call(Op.MULTI, body)
    assert code == 0
    assert result[:9] == b"\0\0\0\1\0\0\0\0\0"
    assert client.rig.tree.nodes[b"/q/a"].data == b"87654321"
