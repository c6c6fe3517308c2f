"""Multi: all or nothing, checked against its own earlier operations; and what its replies look like."""

from __future__ import annotations

from struct import pack

import pytest
from rig import Client, Rig, create_body, delete_body, multi_body, path, set_acl_body, set_body, stat_of, ttl_body

from zabra.consts import Op
from zabra.errors import Code
from zabra.wire.txns import decode_sub_txn, decode_txn

END = pack(">i?i", -1, True, -1)
NULL = b"\xff\xff\xff\xff"


@pytest.fixture
def server() -> Rig:
    """TTL nodes are switched on."""
    return Rig(extended_types_enabled=True)


def check(name: str, version: int = -1) -> tuple[int, bytes]:
    return Op.CHECK, path(name) + pack(">i", version)


def ok(op: int) -> bytes:
    return pack(">i?i", op, False, 0)


def error(code: int) -> bytes:
    return pack(">i?ii", -1, False, code, code)


def test_results_of_every_operation(client: Client) -> None:
    """create a path; create2, container and TTL a path and stat under type 15; setData a stat; the rest nothing."""
    reply = client.ask(
        Op.MULTI,
        multi_body(
            (Op.CREATE, create_body("/a", b"1")),
            (Op.CREATE2, create_body("/b", b"22")),
            (Op.CREATE_CONTAINER, create_body("/c", b"333", 4)),
            (Op.CREATE_TTL, ttl_body("/d", 5, 5, b"4444")),
            (Op.CREATE, create_body("/e", b"55555", 4)),
            (Op.SET_DATA, set_body("/a", b"666666", 0)),
            check("/a", 1),
            (Op.DELETE, delete_body("/b", 0)),
        ),
    )
    assert (reply.err, reply.zxid) == (0, 2)
    now = client.rig.clock.wall

    def made(length: int) -> bytes:
        return pack(">qqqqiiiqiiq", 2, 2, now, now, 0, 0, 0, 0, length, 0, 2)

    assert reply.body == b"".join(
        (
            ok(Op.CREATE) + path("/a"),
            ok(Op.CREATE2) + path("/b") + made(2),
            ok(Op.CREATE2) + path("/c") + made(3),
            ok(Op.CREATE2) + path("/d") + made(4),
            ok(Op.CREATE2) + path("/e") + made(5),
            ok(Op.SET_DATA) + pack(">qqqqiiiqiiq", 2, 2, now, now, 1, 0, 0, 0, 6, 0, 2),
            ok(Op.CHECK),
            ok(Op.DELETE),
            END,
        )
    )
    assert list(client.rig.tree.containers) == [b"/c", b"/e"]
    assert list(client.rig.tree.ttls) == [b"/d"]


def test_a_failure_answers_for_every_operation_and_changes_nothing(client: Client) -> None:
    """0 before the one that failed, its code, -2 behind it; the reply's own error stays 0."""
    rig = client.rig
    client.call(Op.CREATE, create_body("/p"))
    nodes = dict(rig.tree.nodes)
    reply = client.ask(
        Op.MULTI,
        multi_body(
            (Op.CREATE, create_body("/p/a", b"", 1)),
            (Op.SET_DATA, set_body("/p", b"x", 0)),
            (Op.SET_DATA, set_body("/p", b"x", 0)),
            check("/none"),
            (Op.DELETE, delete_body("/p/a")),
        ),
    )
    again = Code.RUNTIME_INCONSISTENCY
    assert (reply.err, reply.zxid) == (0, 3)
    assert reply.body == error(0) * 2 + error(Code.BAD_VERSION) + error(again) * 2 + END
    assert rig.tree.nodes == nodes
    assert not rig.prep.pending.changes
    header, body, digest = decode_txn(rig.log.durable[-1])
    assert (header.type, header.zxid) == (Op.MULTI, 3)
    parts = [(sub.type, decode_sub_txn(sub)) for sub in body.txns]  # type: ignore[union-attr]
    assert parts == [(-1, (0,)), (-1, (0,)), (-1, (Code.BAD_VERSION,)), (-1, (again,)), (-1, (again,))]
    assert digest is not None
    assert digest.digest & (1 << 64) - 1 == rig.tree.digest


def test_rollback_keeps_what_was_pending_before(client: Client) -> None:
    """Also what the failed multi replaced, and the counters of sequential nodes."""
    client.request(Op.CREATE, create_body("/a", b"before"), run=False)
    client.request(
        Op.MULTI,
        multi_body(
            (Op.SET_DATA, set_body("/a", b"inside")),
            (Op.CREATE, create_body("/n", b"", 2)),
            (Op.DELETE, delete_body("/a")),
            (Op.DELETE, delete_body("/a")),
        ),
        run=False,
    )
    client.request(Op.CREATE, create_body("/n", b"", 2), run=False)
    client.request(Op.SET_DATA, set_body("/a", b"after", 0))
    replies = client.replies()
    assert [reply.err for reply in replies] == [0, 0, 0, 0]
    assert replies[2].body == path("/n0000000001")
    assert client.rig.tree.nodes[b"/a"].data == b"after"
    assert decode_txn(client.rig.log.durable[-1])[2].digest & (1 << 64) - 1 == client.rig.tree.digest  # type: ignore[union-attr]


def test_operations_see_the_earlier_ones(client: Client) -> None:
    reply = client.ask(
        Op.MULTI,
        multi_body(
            (Op.CREATE, create_body("/p")),
            (Op.CREATE, create_body("/p/n", b"", 2)),
            (Op.CREATE, create_body("/p/n", b"", 3)),
            check("/p/n0000000001", 0),
            (Op.DELETE, delete_body("/p/n0000000000")),
            (Op.CREATE, create_body("/p/n", b"", 2)),
            (Op.SET_DATA, set_body("/p", b"1", 0)),
            (Op.SET_DATA, set_body("/p", b"2", 1)),
        ),
    )
    assert reply.body.startswith(ok(Op.CREATE))
    assert list(client.rig.tree.nodes[b"/p"].children or ()) == [b"n0000000001", b"n0000000002"]
    stat = stat_of(reply.body[: -len(END)])
    assert (stat.version, stat.cversion, stat.children) == (2, 4, 2)


def test_the_zxid_moves_once_for_the_whole(client: Client) -> None:
    """One zxid, one transaction; every part carries it (ZOOKEEPER-3127)."""
    seen: list[int] = []
    tree = client.rig.tree
    tree.deliver = lambda watchers, event_type, name, zxid, acl: seen.append(tree.last_zxid)
    client.call(Op.GET_CHILDREN, path("/") + b"\1")
    client.call(Op.MULTI, multi_body((Op.CREATE, create_body("/a")), (Op.CREATE, create_body("/b"))))
    assert seen == [1]
    assert (tree.last_zxid, tree.nodes[b"/a"].czxid, tree.nodes[b"/b"].czxid) == (2, 2, 2)


def test_an_empty_multi_takes_a_zxid(client: Client) -> None:
    reply = client.ask(Op.MULTI, multi_body())
    assert (reply.err, reply.zxid, reply.body) == (0, 2, END)
    assert decode_txn(client.rig.log.durable[-1])[1] == ((),)


@pytest.mark.parametrize(
    "body",
    [
        multi_body((Op.SET_ACL, set_acl_body("/"))),
        multi_body((Op.GET_DATA, path("/") + b"\0")),
        multi_body((Op.DELETE_CONTAINER, path("/a"))),
        multi_body((Op.MULTI, multi_body())),
        multi_body((Op.CREATE, create_body("/a")), (99, b"")),
        multi_body((Op.CREATE, create_body("/a", b"", 5))),
        multi_body((Op.CREATE2, create_body("/a", b"", 9))),
        multi_body((Op.CREATE, create_body("/a", b"", 0, None))),
        multi_body((Op.CREATE, create_body("/a"))),
        multi_body((Op.CREATE, create_body("/a")), (Op.DELETE, NULL + pack(">i", -1))),
        multi_body((Op.CREATE, create_body("/a")), (Op.SET_DATA, NULL + set_body("")[4:])),
        multi_body((Op.CREATE, create_body("/a")), (Op.CHECK, NULL + pack(">i", -1))),
        multi_body((Op.CREATE, create_body("/a")), (Op.CREATE, NULL + create_body("")[4:])),
        b"",
    ],
    ids=[
        "setACL", "read", "op 20", "nested", "unknown", "ttl flag", "flags", "null ACL", "cut",
        "delete null", "set null", "check null", "create null", "empty",
    ],
)  # fmt: skip
def test_one_that_does_not_parse_fails_as_a_whole(client: Client, body: bytes, request: pytest.FixtureRequest) -> None:
    """-5, no body, but a zxid and an error transaction of its own, and nothing is left pending."""
    if request.node.callspec.id == "cut":
        body = body[:-1]
    reply = client.ask(Op.MULTI, body)
    assert (reply.err, reply.zxid, reply.body) == (Code.MARSHALLING_ERROR, 2, b"")
    header, txn, _ = decode_txn(client.rig.log.durable[-1])
    assert (header.type, header.zxid, txn) == (-1, 2, (Code.MARSHALLING_ERROR,))
    assert not client.rig.prep.pending.changes
    assert client.error(Op.CREATE, create_body("/a")) == 0


def test_an_empty_acl_in_a_multi_is_an_error_of_that_operation(client: Client) -> None:
    reply = client.ask(Op.MULTI, multi_body((Op.CREATE, create_body("/a", b"", 0, ()))))
    assert reply.body == error(Code.INVALID_ACL) + END


def test_a_ttl_mode_while_switched_off_is_an_error_of_that_operation() -> None:
    reply = Rig().client().ask(Op.MULTI, multi_body((Op.CREATE_TTL, ttl_body("/a", 5))))
    assert reply.body == error(Code.UNIMPLEMENTED) + END


def test_a_later_write_sees_a_multi_that_is_pending(client: Client) -> None:
    client.request(Op.MULTI, multi_body((Op.CREATE, create_body("/a")), (Op.SET_DATA, set_body("/a", b"1"))), run=False)
    client.request(Op.SET_DATA, set_body("/a", b"2", 1), run=False)
    client.request(Op.DELETE, delete_body("/a", 2))
    assert [reply.err for reply in client.replies()] == [0, 0, 0]
    assert b"/a" not in client.rig.tree.nodes
