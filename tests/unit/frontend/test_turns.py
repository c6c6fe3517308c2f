"""A client with many requests on their way takes turns with the others, and no turn lifts a limit."""

from __future__ import annotations

from struct import pack

from rig import Client, Rig, set_body, watch_body

from zabra.consts import Op

#: What uvloop hands over at once.
CHUNK = 256_000


def chunk_of(op: int, body: bytes = b"") -> tuple[bytes, int]:
    """A chunk of requests with xids from 1 on, and how many they are."""
    size = 12 + len(body)
    count = CHUNK // size
    return b"".join([pack(">iii", size - 4, xid, op) + body for xid in range(1, count + 1)]), count


def xids(client: Client) -> list[int]:
    return [reply.xid for reply in client.replies()]


def test_a_flood_waits_for_others_between_its_turns(server: Rig) -> None:
    client, other = server.client(), server.client()
    flood, count = chunk_of(Op.EXISTS, watch_body("/"))
    client.send(flood, run=False)
    first = xids(client)
    assert 0 < len(first) < count / 2
    assert not client.transport.reading
    other.request(Op.EXISTS, watch_body("/"), run=False)
    assert xids(other) == [1]
    assert xids(client) == []
    server.run()
    assert first + xids(client) == list(range(1, count + 1))
    assert client.transport.reading


def test_half_a_request_at_the_end_of_a_flood_is_completed_by_the_next_chunk(server: Rig) -> None:
    client = server.client()
    flood, count = chunk_of(Op.EXISTS, watch_body("/"))
    more = pack(">iii", 8 + len(watch_body("/")), count + 1, Op.EXISTS) + watch_body("/")
    client.send(flood + more[:7])
    assert client.transport.reading
    client.send(more[7:])
    assert xids(client) == list(range(1, count + 2))


def test_chunks_that_end_near_the_end_of_a_turn(server: Rig) -> None:
    """With any number of bytes of a request left over there."""
    ping = pack(">iii", 8, -2, Op.PING)
    for left in range(13):
        body = watch_body("/" + "x" * ((1 << 16) - 18 - left))
        flood = pack(">iii", 8 + len(body), 1, Op.EXISTS) + body + ping * 3
        for size in range((1 << 16) - 4, (1 << 16) + 8):
            client = server.client()
            client.send(flood[:size])
            client.send(flood[size:])
            assert xids(client) == [1, -2, -2, -2]
            client.cut()


def test_a_large_request_needs_no_turn_of_its_own(server: Rig) -> None:
    """What is not whole yet is nothing to hold back for."""
    client = server.client()
    request = pack(">iii", 8 + len(set_body("/", bytes(CHUNK))), 1, Op.SET_DATA) + set_body("/", bytes(CHUNK))
    client.send(request[:-1], run=False)
    assert client.transport.reading
    client.send(request[-1:])
    server.work()
    assert xids(client) == [1]


def test_a_chunk_that_ends_just_beyond_the_line_gives_others_their_turn_too(server: Rig) -> None:
    client = server.client()
    large = set_body("/", bytes(CHUNK))
    client.send(pack(">iii", 8 + len(large), 1, Op.SET_DATA) + large, run=False)
    assert not client.transport.reading
    server.work()
    assert client.transport.reading
    assert xids(client) == [1]


def test_a_flood_of_writes_is_held_by_the_limit_on_outstanding_ones() -> None:
    """While the disk is busy no turn brings more of them."""
    rig = Rig(sync_seconds=0.1, global_outstanding_limit=10)
    rig.client()
    client = rig.client()
    flood, count = chunk_of(Op.SET_DATA, set_body("/"))
    client.send(flood, run=False)
    outstanding = rig.pipeline.outstanding
    assert 10 < outstanding < count / 2
    rig.run()
    assert rig.pipeline.outstanding == outstanding
    assert not client.transport.reading
    rig.work()
    assert xids(client) == list(range(1, count + 1))
    assert client.transport.reading
