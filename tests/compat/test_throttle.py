"""Limits on requests, the same on Apache's server and on ours.

``flushDelay`` keeps a write in process for as long as a test needs, on both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat import jute
from compat.rawclient import Client, Link
from compat.servers import APACHE, ZABRA, ServerProcess, missing_java, require

#: Seconds a write stays in process, and how long another may be held back for it.
DELAY_S = 1.0
WAIT_S = 0.3
PROPERTIES = {
    "zookeeper.flushDelay": str(int(DELAY_S * 1000)),
    "zookeeper.maxWriteQueuePollTime": str(int(DELAY_S * 1000)),
    "zookeeper.request_throttle_max_requests": "1",
    "zookeeper.request_throttle_stall_time": "50",
    "zookeeper.throttled_op_wait_time": str(int(WAIT_S * 1000)),
    "zookeeper.largeRequestThreshold": "1000",
    "zookeeper.largeRequestMaxBytes": "3000",
}
WHITELIST = {"4lw.commands.whitelist": "*"}
THROTTLED = -127


@pytest.fixture(scope="module", params=[ZABRA, pytest.param(APACHE, marks=pytest.mark.java)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    if request.param == APACHE:
        require(missing_java())
    folder: Path = tmp_path_factory.mktemp(request.param)
    with ServerProcess(request.param, folder, config=WHITELIST, properties=PROPERTIES) as server:
        yield server.start()


def metric(server: ServerProcess, name: str) -> int:
    with Link(server.port) as link:
        link.send(b"mntr")
        text = b""
        while chunk := link._socket.recv(65536):
            text += chunk
    values = dict(line.split("\t") for line in text.decode().splitlines() if "\t" in line)
    return int(values[f"zk_{name}"])


def create(name: str, data: bytes = b"") -> bytes:
    return jute.create(name, data, jute.OPEN, 0)


def exists(client: Client, name: str) -> bool:
    """Asked by a client that nobody is in front of."""
    err, _ = client.call(jute.EXISTS, jute.path_watch(name, False))
    return err == 0


def test_a_request_that_is_held_too_long_is_refused_and_not_executed(server: ServerProcess) -> None:
    before = metric(server, "throttled_ops")
    with Client(server.port) as busy, Client(server.port) as client:
        busy.post(jute.CREATE, create("/busy"))
        time.sleep(WAIT_S / 3)
        client.post(jute.CREATE, create("/late"))
        client.post(jute.PING, xid=jute.XID_PING)
        late, ping = client.reply(jute.CREATE), client.reply(jute.PING)
        assert late is not None
        assert ping is not None
        assert (late[0], late[2]) == (1, THROTTLED)
        assert (ping[0], ping[2]) == (jute.XID_PING, 0)
        done = busy.reply(jute.CREATE)
        assert done is not None
        assert done[2] == 0
        assert not exists(client, "/late")
        assert exists(client, "/busy")
    assert metric(server, "throttled_ops") == before + 1


def test_what_a_client_that_left_had_asked_is_dropped(server: ServerProcess) -> None:
    before = metric(server, "stale_requests_dropped")
    with Client(server.port) as busy, Client(server.port) as client:
        leaver = Client(server.port)
        busy.post(jute.CREATE, create("/busy2"))
        time.sleep(WAIT_S / 3)
        leaver.post(jute.CREATE, create("/left"))
        leaver.link.close()
        done = busy.reply(jute.CREATE)
        assert done is not None
        assert done[2] == 0
        assert not exists(client, "/left")
    assert metric(server, "stale_requests_dropped") == before + 1


def test_too_many_bytes_of_large_requests_close_the_connection(server: ServerProcess) -> None:
    """One alone may have all of them; a small one is never refused."""
    before = metric(server, "large_requests_rejected")
    with Client(server.port) as fits, Client(server.port) as client:
        assert fits.call(jute.CREATE, create("/fits", bytes(2900)))[0] == 0
        fits.post(jute.CREATE, create("/fits2", bytes(2000)))
        time.sleep(WAIT_S / 3)
        client.post(jute.CREATE, create("/too-much", bytes(1000)))
        assert client.reply(jute.CREATE) is None
        done = fits.reply(jute.CREATE)
        assert done is not None
        assert done[2] == 0
        assert not exists(fits, "/too-much")
        with pytest.raises(ConnectionError):
            fits.call(jute.CREATE, create("/alone-too-much", bytes(3001)))
    with Client(server.port) as small:
        assert small.call(jute.CREATE, create("/small", bytes(900)))[0] == 0
    assert metric(server, "large_requests_rejected") == before + 2
