"""What connections share: the turn that writes once each, delivery of events, and the counts of both."""

from __future__ import annotations

from struct import pack

from rig import OPEN, Client, Rig, create_body, path, set_body, watch_body

from zabra.consts import Op
from zabra.tree.node import OPEN_ACL


def request(xid: int, op: int, body: bytes = b"") -> bytes:
    return pack(">iii", 8 + len(body), xid, op) + body


def count_writes(client: Client) -> list[int]:
    sizes: list[int] = []
    client.transport.write = lambda data: sizes.append(len(data))  # type: ignore[assignment, method-assign]
    return sizes


def test_a_batch_writes_once_to_each_connection(server: Rig) -> None:
    """Replies of all its writes and the events of all of them together."""
    writer, watcher, idle = server.client(), server.client(), server.client()
    watcher.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    sizes = [count_writes(client) for client in (writer, watcher, idle)]
    writer.send(b"".join(request(xid, Op.SET_DATA, set_body("/")) for xid in range(10)))
    assert [len(each) for each in sizes] == [1, 1, 0]


def test_an_event_of_a_read_is_written_too(client: Client) -> None:
    """setWatches answers events outside of any commit."""
    client.request(Op.SET_WATCHES, pack(">q", 0) + pack(">i", 1) + path("/none") + pack(">ii", 0, 0), xid=-8)
    assert [reply.xid for reply in client.replies()] == [-1, -8]


def test_only_who_may_read_gets_an_event(server: Rig) -> None:
    """CVE-2024-23944; the ACL at the time of the change decides, whoever set the watch when."""
    near, far = server.client("10.0.0.1"), server.client("10.0.0.2")
    acl = ((1, "ip", "10.0.0.1"), (2, "world", "anyone"))
    near.call(Op.CREATE, create_body("/a", b"", 0, OPEN))
    for client in (near, far):
        client.call(Op.GET_DATA, watch_body("/a", True))
    near.call(Op.SET_ACL, path("/a") + pack(">i", 2) + b"".join(
        pack(">i", perms) + path(scheme) + path(id_) for perms, scheme, id_ in acl
    ) + pack(">i", -1))  # fmt: skip
    server.client().call(Op.SET_DATA, set_body("/a"))
    assert [event.path for event in near.events()] == [b"/a"]
    assert far.events() == []


def test_counts(server: Rig) -> None:
    """Packets and events that were sent; an event that was withheld is none."""
    near, far = server.client("10.0.0.1"), server.client("10.0.0.2")
    server.stats.settle()
    before = server.stats.packets_sent
    server.hub.deliver([near.connection, far.connection], 3, b"/a", 7, ((1, "ip", "10.0.0.1"),))
    server.hub.deliver([near.connection, far.connection], 1, b"/a", 7, OPEN_ACL)
    server.run()
    metrics = server.stats.metrics
    assert server.stats.packets_sent - before == 3
    assert metrics.watch_bytes.value == 3 * (16 + 12 + 2)
    assert len(near.events()) == 2
    assert len(far.events()) == 1


def test_latency_is_that_of_the_whole_write(client: Client) -> None:
    """From the first proposal of the batch to its commit."""
    client.request(Op.CREATE, create_body("/a"), run=False)
    client.rig.clock.now += 0.5
    client.rig.run()
    client.rig.stats.settle()
    assert client.rig.stats.max_latency_ms == 500
    assert client.connection.latency_max_ms == 500


def test_a_halt_closes_every_connection(server: Rig) -> None:
    """Also those without a session. What was queued goes out; watches are gone; nothing more is served."""
    client, other, fresh = server.client(), server.client(), Client(server)
    client.call(Op.GET_DATA, watch_body("/", True))
    other.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    fresh.send(b"\0\0")
    client.connection.send_event(3, b"/", 5)
    server.hub.halt()
    assert [one.transport.closed for one in (client, other, fresh)] == [True] * 3
    assert [event.path for event in client.events()] == [b"/"]
    assert server.tree.watches.count == 0
    client.request(Op.EXISTS, watch_body("/"))
    server.run()
    assert client.take() == []
    assert not server.hub.connections


def test_a_halt_forgets_who_was_held_back() -> None:
    server = Rig(sync_seconds=0.1, global_outstanding_limit=0)
    server.client()
    client = server.client()
    client.request(Op.CREATE, create_body("/a"))
    client.request(Op.CREATE, create_body("/b"))
    assert server.hub.held == [client.connection]
    server.hub.halt()
    assert server.hub.held == []
    server.work()
    assert client.take() == []


def test_a_new_role_serves_new_connections(server: Rig) -> None:
    client = server.client()
    server.hub.halt()
    late = Client(server)
    late.send(b"ruok")
    assert bytes(late.transport.written) == b"ruok!"
    server.start()
    assert client.transport.closed
    again = Client(server)
    assert again.connect(session_id=client.session_id, password=client.password) == (10000, client.session_id)


def test_a_member_without_a_role_closes_who_comes() -> None:
    """Its clients shall try another server; a starting standalone server has them wait. Four-letter words are
    answered."""
    server = Rig(running=False)
    waiting = Client(server)
    waiting.send(b"\0\0\0\1")
    assert not waiting.transport.closed
    server.hub.waits = False
    client, word = Client(server), Client(server)
    client.send(b"\0\0")
    assert not client.transport.closed
    client.send(b"\0\1")
    assert client.transport.closed
    assert client.take() == []
    word.send(b"ruok")
    assert bytes(word.transport.written) == b"ruok!"
