"""delete, setData, setACL, reconfig, the sweeper's delete and sessions: transactions, and which of two errors wins."""

from __future__ import annotations

from struct import pack

import pytest
from rig import (
    OPEN,
    Client,
    Rig,
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

from zabra.consts import Op
from zabra.errors import Code
from zabra.wire.records_txn import CheckVersionTxn, DeleteTxn, SetAclTxn, SetDataTxn
from zabra.wire.txns import decode_sub_txn, decode_txn

NULL = b"\xff\xff\xff\xff"
ME = ((31, "ip", "127.0.0.1"),)


def nobody(perms_for_all: int) -> tuple[tuple[int, str, str], ...]:
    """Everyone has these bits, somebody else all of them."""
    return ((perms_for_all, "world", "anyone"), (31, "ip", "10.0.0.1"))


@pytest.fixture
def tree_client(client: Client) -> Client:
    """/open/child, /closed/child, /closed below which nothing is allowed."""
    for name in ("/open", "/open/child", "/closed", "/closed/child"):
        assert client.error(Op.CREATE, create_body(name)) == 0
    assert client.error(Op.SET_ACL, set_acl_body("/closed", nobody(0))) == 0
    assert client.error(Op.SET_ACL, set_acl_body("/closed/child", nobody(0))) == 0
    return client


def logged(client: Client) -> tuple[object, ...]:
    """Type and body of the last transaction."""
    header, body, digest = decode_txn(client.rig.log.durable[-1])
    assert digest is None or digest.digest & (1 << 64) - 1 == client.rig.tree.digest
    return header.type, body


def test_set_data_answers_the_new_stat(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a", b"old"))
    client.rig.clock.wall += 5
    before = stat_of(client.ask(Op.EXISTS, watch_body("/a")).body)
    reply = client.ask(Op.SET_DATA, set_body("/a", b"newer", 0))
    assert (reply.err, len(reply.body)) == (0, 68)
    now = client.rig.clock.wall
    assert stat_of(reply.body) == before._replace(mzxid=reply.zxid, mtime=now, version=1, length=5)
    assert logged(client) == (Op.SET_DATA, SetDataTxn(b"/a", b"newer", 1))
    assert client.ask(Op.GET_DATA, watch_body("/a")).body == b"\0\0\0\5newer" + reply.body


def test_set_data_null_stores_null(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a", b"old"))
    reply = client.ask(Op.SET_DATA, set_body("/a", None, 0))
    assert (stat_of(reply.body).length, stat_of(reply.body).version) == (0, 1)
    assert logged(client) == (Op.SET_DATA, SetDataTxn(b"/a", None, 1))
    assert client.ask(Op.GET_DATA, watch_body("/a")).body == NULL + reply.body


@pytest.mark.parametrize(("current", "after"), [(0x7FFFFFFE, 0x7FFFFFFF), (0x7FFFFFFF, -0x80000000), (-2, -1), (-1, 0)])
@pytest.mark.parametrize("data", [b"x", None])
def test_versions_wrap_as_in_3_9_5(client: Client, current: int, after: int, data: bytes | None) -> None:
    """At 2^31-1 a version becomes negative, and goes through -1."""
    client.call(Op.CREATE, create_body("/a"))
    node = client.rig.tree.nodes[b"/a"]
    node.stat = node.stat[:32] + pack(">i", current) + node.stat[36:]
    assert stat_of(client.ask(Op.SET_DATA, set_body("/a", data, current)).body).version == after


def test_set_acl_moves_only_aversion(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a", b"data"))
    before = stat_of(client.ask(Op.EXISTS, watch_body("/a")).body)
    reply = client.ask(Op.SET_ACL, set_acl_body("/a", ME, 0))
    assert (reply.err, len(reply.body)) == (0, 68)
    assert stat_of(reply.body) == before._replace(aversion=1)
    assert logged(client) == (Op.SET_ACL, SetAclTxn(b"/a", ME, 1))
    assert client.rig.tree.nodes[b"/a"].acl == ME


def test_delete_has_an_empty_body_and_moves_the_parent(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.CREATE, create_body("/a/b"))
    reply = client.ask(Op.DELETE, delete_body("/a/b", 0))
    assert (reply.err, reply.body) == (0, b"")
    assert logged(client) == (Op.DELETE, DeleteTxn(b"/a/b"))
    assert stat_of(client.ask(Op.EXISTS, watch_body("/a")).body)[5:] == (2, 0, 0, 0, 0, reply.zxid)


def test_delete_needs_the_right_on_the_parent_only(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a", b"", 0, nobody(8 | 4)))
    client.call(Op.CREATE, create_body("/a/b", b"", 0, nobody(0)))
    assert client.error(Op.DELETE, delete_body("/a/b")) == 0
    client.call(Op.CREATE, create_body("/c", b"", 0, nobody(31 - 8)))
    client.call(Op.CREATE, create_body("/c/d"))
    assert client.error(Op.DELETE, delete_body("/c/d")) == Code.NO_AUTH


#: Requests that mostly have two things wrong, and the one that counts. The order is that of PrepRequestProcessor.
BOTH_WRONG = [
    ("delete the root", Op.DELETE, delete_body("/", 7), Code.BAD_ARGUMENTS),
    ("delete /zookeeper", Op.DELETE, delete_body("/zookeeper"), Code.BAD_ARGUMENTS),
    ("delete the quotas", Op.DELETE, delete_body("/zookeeper/quota", 7), Code.BAD_ARGUMENTS),
    ("delete the configuration", Op.DELETE, delete_body("/zookeeper/config", 7), Code.BAD_ARGUMENTS),
    ("delete nothing", Op.DELETE, delete_body(""), Code.BAD_ARGUMENTS),
    ("delete: no slash", Op.DELETE, delete_body("open"), Code.BAD_ARGUMENTS),
    ("delete: NUL before parent", Op.DELETE, delete_body("/none/a\0"), Code.BAD_ARGUMENTS),
    ("delete: parent missing", Op.DELETE, delete_body("/none/a"), Code.NO_NODE),
    ("delete: rights before node", Op.DELETE, delete_body("/closed/none"), Code.NO_AUTH),
    ("delete: rights before version", Op.DELETE, delete_body("/closed/child", 7), Code.NO_AUTH),
    ("delete: node missing", Op.DELETE, delete_body("/open/none", 7), Code.NO_NODE),
    ("delete: an illegal path is just missing", Op.DELETE, delete_body("/open/."), Code.NO_NODE),
    ("delete: version before children", Op.DELETE, delete_body("/open", 7), Code.BAD_VERSION),
    ("delete: children", Op.DELETE, delete_body("/open"), Code.NOT_EMPTY),
    ("delete: null path", Op.DELETE, NULL + pack(">i", 7), Code.MARSHALLING_ERROR),
    ("set: illegal path before node", Op.SET_DATA, set_body("/none/."), Code.BAD_ARGUMENTS),
    ("set: no slash", Op.SET_DATA, set_body("open"), Code.BAD_ARGUMENTS),
    ("set: empty path", Op.SET_DATA, set_body(""), Code.BAD_ARGUMENTS),
    ("set: slash at the end", Op.SET_DATA, set_body("/open/"), Code.BAD_ARGUMENTS),
    ("set: missing", Op.SET_DATA, set_body("/none", b"", 7), Code.NO_NODE),
    ("set: rights before version", Op.SET_DATA, set_body("/closed", b"", 7), Code.NO_AUTH),
    ("set: version", Op.SET_DATA, set_body("/open", b"", 7), Code.BAD_VERSION),
    ("set: null data, version", Op.SET_DATA, set_body("/open", None, 7), Code.BAD_VERSION),
    ("set: null data, missing", Op.SET_DATA, set_body("/none", None, 7), Code.NO_NODE),
    ("set: null path", Op.SET_DATA, NULL + set_body("", b"", 7)[4:], Code.BAD_ARGUMENTS),
    ("acl: illegal path before list", Op.SET_ACL, set_acl_body("/none/.", ()), Code.BAD_ARGUMENTS),
    ("acl: list before node", Op.SET_ACL, set_acl_body("/none", ()), Code.INVALID_ACL),
    ("acl: null list", Op.SET_ACL, set_acl_body("/none", None), Code.INVALID_ACL),
    ("acl: missing before version", Op.SET_ACL, set_acl_body("/none", OPEN, 7), Code.NO_NODE),
    ("acl: rights before version", Op.SET_ACL, set_acl_body("/closed", OPEN, 7), Code.NO_AUTH),
    ("acl: version", Op.SET_ACL, set_acl_body("/open", OPEN, 7), Code.BAD_VERSION),
    ("acl: the data version does not count", Op.SET_ACL, set_acl_body("/open/child", OPEN, 1), Code.BAD_VERSION),
    ("acl: null path", Op.SET_ACL, NULL + set_acl_body("", OPEN, 7)[4:], Code.BAD_ARGUMENTS),
]


@pytest.mark.parametrize(("op", "body", "code"), [row[1:] for row in BOTH_WRONG], ids=[row[0] for row in BOTH_WRONG])
def test_order_of_errors(tree_client: Client, op: int, body: bytes, code: int) -> None:
    client = tree_client
    assert client.error(Op.SET_DATA, set_body("/open/child")) == 0
    last = client.rig.tree.last_zxid
    reply = client.ask(op, body)
    assert (reply.err, reply.body, reply.zxid) == (code, b"", last + 1)
    assert logged(client) == (Op.ERROR, (code,))


#: In a multi, where check is legal too; its own rules are those of setData with READ instead of WRITE.
CHECKS = [
    ("illegal path", "/none/.", -1, Code.BAD_ARGUMENTS),
    ("missing before version", "/none", 7, Code.NO_NODE),
    ("rights before version", "/closed", 7, Code.NO_AUTH),
    ("version", "/open", 7, Code.BAD_VERSION),
    ("any version", "/open", -1, 0),
    ("this version", "/open", 0, 0),
]


@pytest.mark.parametrize(("name", "version", "code"), [row[1:] for row in CHECKS], ids=[row[0] for row in CHECKS])
def test_check_in_a_multi(tree_client: Client, name: str, version: int, code: int) -> None:
    reply = tree_client.ask(Op.MULTI, multi_body((Op.CHECK, path(name) + pack(">i", version))))
    result = pack(">i?i", Op.CHECK, False, 0) if code == 0 else pack(">i?ii", -1, False, code, code)
    assert (reply.err, reply.body) == (0, result + pack(">i?i", -1, True, -1))


def test_a_check_is_logged_with_the_version_after_the_one_it_found(client: Client) -> None:
    """``checkAndIncVersion`` is used for checks as well."""
    client.call(Op.MULTI, multi_body((Op.CHECK, path("/") + pack(">i", 0))))
    _, body = logged(client)
    assert decode_sub_txn(body.txns[0]) == CheckVersionTxn(b"/", 1)  # type: ignore[attr-defined]


def test_writes_see_what_is_pending(client: Client) -> None:
    """Requests of one turn are checked as if the earlier ones were done already."""
    for op, body in (
        (Op.CREATE, create_body("/a")),
        (Op.SET_DATA, set_body("/a", b"1", 0)),
        (Op.SET_DATA, set_body("/a", b"2", 0)),
        (Op.SET_DATA, set_body("/a", None, 1)),
        (Op.SET_ACL, set_acl_body("/a", nobody(31 - 2))),
        (Op.SET_DATA, set_body("/a", b"3")),
        (Op.DELETE, delete_body("/a", 1)),
        (Op.DELETE, delete_body("/a", 2)),
        (Op.DELETE, delete_body("/a", 2)),
        (Op.CREATE, create_body("/a/b")),
        (Op.CREATE, create_body("/a")),
        (Op.SET_DATA, set_body("/a", b"again", 0)),
    ):
        client.request(op, body, run=False)
    assert client.transport.written == b""
    client.rig.run()
    assert [reply.err for reply in client.replies()] == [
        0,
        0,
        Code.BAD_VERSION,
        0,
        0,
        Code.NO_AUTH,
        Code.BAD_VERSION,
        0,
        Code.NO_NODE,
        Code.NO_NODE,
        0,
        0,
    ]
    assert not client.rig.prep.pending.changes
    assert client.rig.log.writes == 2


def test_header_fields(client: Client) -> None:
    """Session, xid, wall clock of the preparation."""
    client.rig.clock.wall = 1234567890123
    xid = client.request(Op.CREATE, create_body("/a"))
    header, _, _ = decode_txn(client.rig.log.durable[-1])
    assert header == (client.session_id, xid, 2, 1234567890123, Op.CREATE)


def test_reconfig_of_a_standalone_server() -> None:
    """Disabled wins; enabled there is still nothing to change. Both take a zxid."""
    body = NULL + NULL + NULL + pack(">q", -1)
    for enabled, code in ((False, Code.RECONFIG_DISABLED), (True, Code.UNIMPLEMENTED)):
        client = Rig(reconfig_enabled=enabled).client()
        reply = client.ask(Op.RECONFIG, body)
        assert (reply.err, reply.zxid, reply.body) == (code, 2, b"")
        assert not client.transport.closed


@pytest.mark.parametrize(
    ("op", "body"),
    [
        (Op.CREATE, create_body("/a")[:-1]),
        (Op.CREATE, b""),
        (Op.CREATE, pack(">i", 1 << 30)),
        (Op.CREATE2, path("/a") + pack(">i", -2)),
        (Op.CREATE_TTL, create_body("/a", b"", 5)),
        (Op.CREATE_CONTAINER, path("/a")),
        (Op.DELETE, path("/a")),
        (Op.SET_DATA, b""),
        (Op.SET_DATA, pack(">i", -5)),
        (Op.SET_DATA, path("/a") + pack(">i", 99)),
        (Op.SET_DATA, set_body("/a", b"data")[:-1]),
        (Op.SET_ACL, path("/a") + pack(">i", 5)),
        (Op.RECONFIG, b"\0"),
    ],
)
def test_a_plain_write_that_does_not_parse(client: Client, op: int, body: bytes) -> None:
    """It gets -5 in its turn, no zxid, no transaction; the connection goes on."""
    client.call(Op.CREATE, create_body("/zz"))
    count = len(client.rig.log.durable)
    client.request(Op.CREATE, create_body("/b"), run=False)
    client.request(op, body, run=False)
    client.request(Op.EXISTS, watch_body("/b"))
    replies = client.replies()
    assert [(reply.xid, reply.err) for reply in replies] == [
        (2, 0),
        (3, Code.MARSHALLING_ERROR),
        (4, 0),
    ]
    assert replies[1].body == b""
    assert len(client.rig.log.durable) == count + 1


def test_the_sweepers_delete(client: Client) -> None:
    """Opcode 20 from inside: empty containers and TTL nodes go, whatever was used again stays."""
    rig = Rig(extended_types_enabled=True)
    client = rig.client()
    client.call(Op.CREATE_CONTAINER, create_body("/box", b"", 4))
    client.call(Op.CREATE_TTL, ttl_body("/ttl", 5))
    client.call(Op.CREATE_CONTAINER, create_body("/used", b"", 4))
    client.call(Op.CREATE, create_body("/used/child"))
    client.call(Op.CREATE, create_body("/plain"))
    client.call(Op.CREATE, create_body("/e", b"", 1))
    codes = []
    for name in (b"/box", b"/ttl", b"/used", b"/plain", b"/e", b"/none", b"/zookeeper"):
        rig.pipeline.delete_container(name)
        rig.run()
        header, body, _ = decode_txn(rig.log.durable[-1])
        assert (header.session_id, header.cxid) == (0, 0)
        codes.append(0 if body == DeleteTxn(name) and header.type == Op.DELETE_CONTAINER else body.err)  # type: ignore[union-attr]
    assert codes == [
        0,
        0,
        Code.NOT_EMPTY,
        Code.BAD_VERSION,
        Code.BAD_VERSION,
        Code.NO_NODE,
        Code.BAD_ARGUMENTS,
    ]
    assert list(rig.tree.nodes[b"/"].children or ()) == [b"zookeeper", b"used", b"plain", b"e"]
    assert not client.take()


def test_the_sweeper_sees_a_child_that_is_still_pending(client: Client) -> None:
    client.call(Op.CREATE_CONTAINER, create_body("/box", b"", 4))
    client.request(Op.CREATE, create_body("/box/child"), run=False)
    client.rig.pipeline.delete_container(b"/box")
    client.rig.run()
    assert b"/box/child" in client.rig.tree.nodes


def test_one_close_session_lists_the_ephemerals_as_they_will_be(client: Client) -> None:
    """Ephemerals that are still pending are in, those whose delete is pending are not (ZOOKEEPER-3145)."""
    rig = client.rig
    client.call(Op.CREATE, create_body("/p"))
    for name in ("/p/one", "/p/two", "/three"):
        client.call(Op.CREATE, create_body(name, b"", 1))
    client.request(Op.DELETE, delete_body("/p/one"), run=False)
    client.request(Op.CREATE, create_body("/p/four", b"", 3), run=False)
    client.request(Op.DELETE, delete_body("/three"), run=False)
    client.request(Op.CREATE, create_body("/three"), run=False)
    client.request(Op.CLOSE_SESSION)
    header, body, digest = decode_txn(rig.log.durable[-1])
    assert header.type == Op.CLOSE_SESSION
    assert body == ((b"/p/two", b"/p/four0000000002"),)
    assert digest is not None
    assert digest.digest & (1 << 64) - 1 == rig.tree.digest
    assert list(rig.tree.nodes[b"/p"].children or ()) == []
    assert b"/three" in rig.tree.nodes
    assert not rig.tree.ephemerals
    assert rig.tree.nodes[b"/p"].pzxid == header.zxid


def test_a_close_session_without_its_list() -> None:
    """closeSessionTxn.enabled=false writes the body of the old versions: none."""
    rig = Rig(close_session_txn_enabled=False)
    client = rig.client()
    client.call(Op.CREATE, create_body("/e", b"", 1))
    client.request(Op.CLOSE_SESSION)
    header, body, _ = decode_txn(rig.log.durable[-1])
    assert (header.type, body) == (Op.CLOSE_SESSION, None)
    assert b"/e" not in rig.tree.nodes


def test_without_digests_no_transaction_carries_one() -> None:
    rig = Rig(digest_enabled=False)
    client = rig.client()
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.SET_DATA, set_body("/a", b"1"))
    client.call(Op.SET_DATA, set_body("/a", None))
    client.call(Op.DELETE, delete_body("/a"))
    assert [decode_txn(payload)[2] for payload in rig.log.durable] == [None] * 5
    with_digest = Rig().client()
    with_digest.call(Op.CREATE, create_body("/a"))
    assert decode_txn(with_digest.rig.log.durable[-1])[2] is not None


def test_a_pipelined_write_to_the_root_keeps_the_digest_right(client: Client) -> None:
    """In Apache 3.9.5 the root's digest is then taken from the wrong path, and replay disagrees with the log."""
    client.request(Op.SET_DATA, set_body("/", b"root"), run=False)
    client.request(Op.CREATE, create_body("/a"), run=False)
    client.request(Op.CREATE, create_body("/b"), run=False)
    client.request(Op.SET_ACL, set_acl_body("/", ME), run=False)
    client.request(Op.DELETE, delete_body("/a"))
    digests = [decode_txn(payload)[2] for payload in client.rig.log.durable]
    tree = type(client.rig.tree)()
    for payload, digest in zip(client.rig.log.durable, digests, strict=True):
        header, body, _ = decode_txn(payload)
        tree.apply(header, body)
        assert digest is not None
        assert tree.digest_matches(digest.version, digest.digest)
    assert tree.digest == client.rig.tree.digest
