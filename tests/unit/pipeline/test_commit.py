"""Commit: what was planned becomes the tree, events go out, clients are answered, in zxid order."""

from __future__ import annotations

from struct import pack

from rig import (
    Client,
    Rig,
    create_body,
    delete_body,
    event_of,
    multi_body,
    path,
    set_acl_body,
    set_body,
    stat_of,
    watch_body,
)

from zabra.consts import Op
from zabra.errors import Code
from zabra.wire.txns import decode_txn


def test_every_write_is_committed_once_and_in_order(client: Client) -> None:
    """Failures too; the zxid of the tree is that of the last one."""
    zxids = [
        client.ask(op, body).zxid
        for op, body in (
            (Op.CREATE, create_body("/a")),
            (Op.CREATE2, create_body("/a")),
            (Op.SET_DATA, set_body("/a", None)),
            (Op.SET_DATA, set_body("/a", b"1")),
            (Op.SET_ACL, set_acl_body("/a")),
            (Op.MULTI, multi_body()),
            (Op.DELETE, delete_body("/a")),
        )
    ]
    assert zxids == [2, 3, 4, 5, 6, 7, 8]
    assert [decode_txn(payload)[0].zxid for payload in client.rig.log.durable] == list(range(1, 9))
    assert client.rig.tree.last_zxid == 8


def test_nothing_is_visible_before_it_is_durable() -> None:
    """Neither to others, nor in the tree; the validation of the next write does see it."""
    rig = Rig(sync_seconds=0.1)
    rig.client()
    client, other = rig.client(), rig.client()
    client.request(Op.CREATE, create_body("/a"))
    assert b"/a" not in rig.tree.nodes
    assert other.error(Op.EXISTS, watch_body("/none")) == Code.NO_NODE
    other.request(Op.CREATE, create_body("/a"))
    rig.work()
    assert [reply.err for reply in client.replies()] == [0]
    assert [reply.err for reply in other.replies()] == [Code.NODE_EXISTS]


def test_pending_changes_are_forgotten_at_commit_unless_newer_ones_came() -> None:
    """A write that was validated while an earlier one was on its way stays pending."""
    rig = Rig(sync_seconds=0.1)
    rig.client()
    client = rig.client()
    for body in (create_body("/a"), create_body("/a/b"), create_body("/c", b"", 4)):
        client.request(Op.CREATE if body[-1] == 0 else Op.CREATE_CONTAINER, body)
        client.request(Op.SET_DATA, set_body("/a", b"1"))
        client.request(Op.SET_DATA, set_body("/a", None))
    rig.worker.step()
    client.request(Op.DELETE, delete_body("/a/b"))
    assert rig.prep.pending.changes
    rig.work()
    assert not rig.prep.pending.changes
    assert [reply.err for reply in client.replies()] == [0] * 10
    assert rig.prep.pending.digest == rig.tree.digest


def test_the_digest_history_grows_by_both_ways_of_committing(client: Client) -> None:
    for number in range(2, 130):
        op, body = (Op.SET_DATA, set_body("/", b"x")) if number % 2 else (Op.SET_ACL, set_acl_body("/"))
        client.request(op, body, run=False)
        if number == 128:
            client.rig.run()
            assert list(client.rig.tree.digest_log.items()) == [(128, client.rig.tree.digest)]
    client.rig.run()
    for _ in range(127):
        client.request(Op.SET_DATA, set_body("/", b"x"), run=False)
    client.rig.run()
    assert list(client.rig.tree.digest_log) == [128, 256]


def test_close_session_tells_of_every_ephemeral_before_its_reply(client: Client) -> None:
    """A delete each, in the order of creation, all with the zxid of the closeSession."""
    watcher = client.rig.client()
    watcher.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    client.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    for name in ("/b", "/a"):
        client.call(Op.CREATE, create_body(name, b"", 1))
    watcher.take()
    client.take()
    client.request(Op.CLOSE_SESSION)
    *events, reply = client.replies()
    assert [event_of(event)[:2] for event in events] == [(2, b"/b"), (2, b"/a")]
    assert reply.zxid == client.rig.tree.last_zxid
    assert {event.zxid for event in events} == {reply.zxid}
    assert [event[:2] for event in watcher.events()] == [(2, b"/b"), (2, b"/a")]


def test_an_expired_session_ends_like_a_closed_one_but_without_a_word(client: Client) -> None:
    session = client.rig.sessions.get(client.session_id)
    assert session is not None
    client.call(Op.CREATE, create_body("/e", b"", 1))
    client.rig.pipeline.close_session(None, session, 0)
    client.rig.run()
    assert client.take() == []
    assert client.transport.closed
    assert b"/e" not in client.rig.tree.nodes
    assert client.rig.sessions.get(client.session_id) is None
    header, body, _ = decode_txn(client.rig.log.durable[-1])
    assert (header.type, header.session_id, header.cxid) == (Op.CLOSE_SESSION, client.session_id, 0)
    assert body == ((b"/e",),)


def test_the_events_of_a_multi_come_in_the_order_of_its_operations(client: Client) -> None:
    client.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    client.call(Op.GET_CHILDREN, watch_body("/", True))
    client.request(
        Op.MULTI,
        multi_body((Op.CREATE, create_body("/a")), (Op.SET_DATA, set_body("/a")), (Op.DELETE, delete_body("/a"))),
    )
    *events, reply = client.replies()
    assert [event_of(event)[:2] for event in events] == [(1, b"/a"), (4, b"/"), (3, b"/a"), (2, b"/a")]
    assert {event.zxid for event in events} == {reply.zxid}


def test_a_failed_write_fires_nothing(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    client.call(Op.GET_CHILDREN, watch_body("/", True))
    for op, body in (
        (Op.CREATE, create_body("/a")),
        (Op.SET_DATA, set_body("/a", b"", 7)),
        (Op.DELETE, delete_body("/a", 7)),
        (Op.MULTI, multi_body((Op.CREATE, create_body("/b")), (Op.DELETE, delete_body("/none")))),
    ):
        client.request(op, body)
    assert [reply.xid > 0 for reply in client.replies()] == [True] * 4


def test_the_sweepers_delete_fires_like_any_other() -> None:
    rig = Rig(extended_types_enabled=True)
    client = rig.client()
    client.call(Op.CREATE_CONTAINER, create_body("/box", b"", 4))
    client.call(Op.EXISTS, watch_body("/box", True))
    client.call(Op.GET_CHILDREN, watch_body("/", True))
    rig.pipeline.delete_container(b"/box")
    rig.run()
    assert client.events() == [(2, b"/box", 3), (4, b"/", 3)]


def test_statistics_that_were_counted_meanwhile_are_kept(client: Client) -> None:
    """Writes to the statistics node that were planned before it changed do not bring its old text back."""
    stats = "/zookeeper/quota/q/zookeeper_stats"
    for name in ("/q", "/zookeeper/quota/q", stats, f"{stats}/old"):
        assert client.error(Op.CREATE, create_body(name)) == 0
    assert client.error(Op.CREATE, create_body("/zookeeper/quota/q/zookeeper_limits", b"count=9,bytes=9")) == 0
    for number, (op, body) in enumerate(
        [
            (Op.SET_ACL, set_acl_body(stats)),
            (Op.CREATE, create_body(f"{stats}/new")),
            (Op.DELETE, delete_body(f"{stats}/old")),
        ]
    ):
        client.request(Op.CREATE, create_body(f"/q/{number}", b"12"), run=False)
        client.request(op, body)
        assert [reply.err for reply in client.replies()] == [0, 0]
        node = client.rig.tree.nodes[stats.encode()]
        assert node.data == b"count=%d,bytes=%d" % (2 + number, 2 + 2 * number)
        assert client.ask(Op.GET_DATA, watch_body(stats)).body == pack(">i", len(node.data)) + node.data + node.stat
        assert stat_of(node.stat).length == len(node.data)
    tree = type(client.rig.tree)()
    for payload in client.rig.log.durable:
        tree.apply(*decode_txn(payload)[:2])
    for name, node in tree.nodes.items():
        live = client.rig.tree.nodes[name]
        assert (node.data, node.stat, node.acl) == (live.data, live.stat, live.acl)
