"""Clients that send nonsense, too much, too little or never listen: their connection ends, nobody else is hurt."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from compat import jute
from compat.rawclient import Client, Link
from compat.servers import LOOPBACK, ZABRA, ServerProcess

FRAME_MAX = 1048575
#: Only a server that serves nobody else is silent for so long.
SILENCE_S = 60.0
NO_NODE, MARSHALLING, UNIMPLEMENTED = -101, -5, -6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all of them, so that what one leaves behind would hurt the next."""
    config = {"tickTime": "200", "maxClientCnxns": "0", "maxSessionTimeout": "60000"}
    properties = {"zookeeper.nio.sessionlessCnxnTimeout": "300"}
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(ZABRA, folder, config=config, properties=properties).start() as process:
        yield process
        assert process.stop() == 0
    trouble = [line for line in process.log.read_text().splitlines() if " ERROR " in line or "Traceback" in line]
    assert trouble == []


@pytest.fixture
def witness(server: ServerProcess) -> Iterator[Client]:
    """A client that behaves, and must not notice."""
    with Client(server.port, SILENCE_S, timeout_ms=60000) as client:
        yield client
        work(client)
        client.close_session()


def work(client: Client) -> None:
    """A write and two reads."""
    path = f"/witness-{client.session}"
    client.call(jute.CREATE, jute.create(path, b"", jute.OPEN, 0))
    assert client.call(jute.SET_DATA, jute.set_data(path, b"here", -1))[0] == 0
    assert client.call(jute.GET_DATA, jute.path_watch(path, False))[1][0] == b"here"
    assert client.call(jute.GET_DATA, jute.path_watch("/none", False))[0] == NO_NODE


def closed(link: Link) -> bool:
    """Whether the server closes without another frame."""
    return link.receive() is None


@pytest.mark.parametrize("length", [-1, -(1 << 31), FRAME_MAX + 1, (1 << 31) - 1])
def test_a_frame_of_impossible_length_closes_the_connection(
    length: int, server: ServerProcess, witness: Client
) -> None:
    with Link(server.port) as link:
        link.send(struct.pack(">i", length) + bytes(100))
        assert closed(link)
    with Client(server.port) as client:
        client.post(jute.GET_DATA, jute.path_watch("/", False))
        client.link.send(struct.pack(">i", length) + bytes(100))
        answer = client.reply(jute.GET_DATA)
        assert answer is not None
        assert answer[2] == 0
        assert closed(client.link)


def test_a_frame_of_the_largest_length_is_read_whole(server: ServerProcess, witness: Client) -> None:
    with Client(server.port) as client:
        path = "/largest"
        room = FRAME_MAX - 8 - len(jute.set_data(path, b"", -1))
        assert client.call(jute.CREATE, jute.create(path, b"", jute.OPEN, 0))[0] == 0
        assert client.call(jute.SET_DATA, jute.set_data(path, bytes(room), -1))[0] == 0
        assert client.call(jute.GET_DATA, jute.path_watch(path, False))[1][0] == bytes(room)
        client.post(jute.SET_DATA, jute.set_data(path, bytes(room + 1), -1))
        assert client.reply(jute.SET_DATA) is None


def test_garbage(server: ServerProcess, witness: Client) -> None:
    """Before and after the handshake; what looks like the beginning of a frame waits for the rest of it."""
    rng = random.Random(1)
    for _ in range(100):
        with Link(server.port) as link:
            link.send(rng.randbytes(rng.randrange(1, 2000)))
        with Client(server.port) as client:
            for _ in range(5):
                client.link.send(jute.frame(rng.randbytes(rng.randrange(100))))
            client.link.send(rng.randbytes(100))
    work(witness)


def test_a_mutated_request_is_answered_or_ends_its_connection(server: ServerProcess, witness: Client) -> None:
    rng = random.Random(2)
    requests = [
        (jute.CREATE2, jute.create("/m", b"data", jute.OPEN, 2)),
        (jute.CREATE_TTL, jute.create_ttl("/t", b"data", jute.OPEN, 5, 1000)),
        (jute.SET_ACL, jute.set_acl("/m", jute.OPEN, -1)),
        (jute.MULTI, jute.multi([(jute.CREATE, jute.create("/x", b"", jute.OPEN, 1))])),
        (jute.MULTI_READ, jute.multi([(jute.GET_DATA, jute.path_watch("/", False))])),
        (jute.SET_WATCHES2, jute.set_watches(5, ["/a"], ["/b"], ["/c"], ["/d"], ["/e"])),
        (jute.ADD_WATCH, jute.path_int("/a", 1)),
    ]
    for number in range(600):
        opcode, body = requests[number % len(requests)]
        damaged = bytearray(body)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 1, 0x2F, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        with Client(server.port) as client:
            client.post(opcode, bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged) + 1)))]))
            client.post(jute.PING, xid=jute.XID_PING)
            while (payload := client.link.receive()) is not None:
                if payload.startswith(struct.pack(">i", jute.XID_PING)):
                    break


def test_a_record_that_does_not_parse(server: ServerProcess, witness: Client) -> None:
    whole = jute.create("/half", b"data", jute.OPEN, 0)
    with Client(server.port) as client:
        for size in range(len(whole)):
            assert client.call(jute.CREATE, whole[:size])[0] == MARSHALLING
        assert client.call(jute.CREATE, whole)[0] == 0


def test_an_unknown_request_is_answered_and_ends_the_connection(server: ServerProcess, witness: Client) -> None:
    for opcode in (10, 23, 99, 108, 1 << 30, -1, -20):
        with Client(server.port) as client:
            client.post(opcode, b"whatever")
            client.post(jute.GET_DATA, jute.path_watch("/", False))
            answer = client.reply(opcode)
            assert answer is not None
            assert answer[2] == UNIMPLEMENTED
            assert client.reply(jute.GET_DATA) is None


def test_half_a_request_and_then_silence(server: ServerProcess, witness: Client) -> None:
    """Without a session the connection is dropped soon; with one it lives as long as the session does."""
    hello = jute.frame(jute.connect(timeout_ms=400))
    with Link(server.port) as link, Link(server.port) as quiet, Client(server.port, timeout_ms=400) as client:
        link.send(hello[:-10])
        assert client.handshake.timeout_ms == 400
        client.link.send(jute.frame(jute.request(1, jute.CREATE, jute.create("/e", b"", jute.OPEN, 1)))[:-3])
        assert closed(link)
        assert closed(quiet)
        assert closed(client.link)
        # The session may outlive its connection by a tick.
        while f"0x{client.session:x}" in server.word("dump"):
            time.sleep(0.01)
        with Client(server.port, session=client.session, password=client.password) as again:
            assert again.session == 0
    assert witness.call(jute.EXISTS, jute.path_watch("/e", False))[0] == NO_NODE


def test_one_byte_at_a_time(server: ServerProcess, witness: Client) -> None:
    with Link(server.port) as link:
        requests = [
            jute.connect(timeout_ms=60000),
            jute.request(1, jute.CREATE, jute.create("/slowly", b"data", jute.OPEN, 1)),
            jute.request(2, jute.GET_DATA, jute.path_watch("/slowly", False)),
            jute.request(3, jute.CLOSE_SESSION),
        ]
        for byte in b"".join(map(jute.frame, requests)):
            link.send(bytes([byte]))
        assert link.receive()
        replies = [jute.decode_reply(link.receive() or b"", opcode) for opcode in (jute.CREATE, jute.GET_DATA, -11)]
        assert [reply[0] for reply in replies] == [1, 2, 3]
        assert replies[1][3][0] == b"data"
        assert closed(link)


def deaf_connection(server: ServerProcess) -> socket.socket:
    """A session on a socket that will not read."""
    link = socket.create_connection((LOOPBACK, server.port))
    link.sendall(jute.frame(jute.connect(timeout_ms=60000)))
    assert len(link.recv(4096)) > 20
    link.setblocking(False)
    return link


def push(link: socket.socket, data: bytes, rounds: int) -> int:
    """Send while the server takes it; how much it took."""
    taken = 0
    for _ in range(rounds):
        if not select.select([], [link], [], 0.5)[1]:
            break
        taken += link.send(data)
    return taken


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (jute.GET_DATA, jute.path_watch("/big", False)),
        (jute.GET_ACL, jute.text("/big")),
        (jute.SET_DATA, jute.set_data("/small", b"x", -1)),
        (jute.PING, b""),
    ],
    ids=["large replies", "small replies", "writes", "pings"],
)
def test_a_client_that_does_not_read_its_replies(
    opcode: int, body: bytes, server: ServerProcess, witness: Client
) -> None:
    """It is not read from either: memory stays bounded, others go on."""
    witness.call(jute.CREATE, jute.create("/big", bytes(500_000), jute.OPEN, 0))
    witness.call(jute.CREATE, jute.create("/small", b"", jute.OPEN, 0))
    work(witness)
    before = server.resident_kb()
    requests = jute.frame(jute.request(1, opcode, body)) * 1000
    with contextlib.ExitStack() as links:
        deaf = [links.enter_context(deaf_connection(server)) for _ in range(4)]
        # Replies to all this would take gigabytes, or hundreds of megabytes where they are small.
        taken = sum(push(link, requests, 4000) for link in deaf)
        assert taken < 4 * 4000 * len(requests)
        work(witness)
        assert server.resident_kb() - before < 64 << 10


def test_a_client_that_does_not_read_its_events_is_cut(server: ServerProcess, witness: Client) -> None:
    path = "/" + "p" * 900
    witness.call(jute.CREATE, jute.create(path, b"", jute.OPEN, 0))
    before = server.resident_kb()
    sent = 0
    body = jute.set_data(path, b"", -1)
    with deaf_connection(server) as link:
        link.sendall(jute.frame(jute.request(1, jute.ADD_WATCH, jute.path_int(path, 0))))
        while "Total watches:1" not in server.word("wchs"):
            time.sleep(0.01)
        while "Total watches:1" in server.word("wchs"):
            for _ in range(1000):
                witness.post(jute.SET_DATA, body)
            for _ in range(1000):
                answer = witness.reply(jute.SET_DATA)
                assert answer is not None
                assert answer[2] == 0
            sent += 1000
            assert sent <= 150_000, "events pile up without a limit"
    assert "it does not read its events" in server.log.read_text()
    assert server.resident_kb() - before < 150 << 10


def test_thousands_of_idle_connections(server: ServerProcess, witness: Client) -> None:
    before = server.resident_kb()
    hello = jute.frame(jute.connect(timeout_ms=60000))
    with contextlib.ExitStack() as links:
        idle = []
        for _ in range(3000):
            # Each says hello at once: a connection without a session is dropped soon.
            idle.append(links.enter_context(socket.create_connection((LOOPBACK, server.port))))
            idle[-1].sendall(hello)
        for link in idle:
            assert len(link.recv(4096)) > 20
        work(witness)
        per_connection = (server.resident_kb() - before) / len(idle)
        assert per_connection < 32, f"{per_connection:.1f} KiB for each connection"
    work(witness)
