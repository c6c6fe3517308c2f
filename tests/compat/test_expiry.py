"""What time does to nodes, at Apache's server and at ours: sessions expire, containers and TTL nodes are swept."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from compat import datafiles, jute
from compat.rawclient import Client
from compat.servers import APACHE, ZABRA, ServerProcess, missing_java, require

pytestmark = pytest.mark.java

PROPERTIES: Final = {"zookeeper.extendedTypesEnabled": "true", "znode.container.checkIntervalMs": "500"}
DELETED: Final = 2
GOING: Final = ("/container", "/ttl", "/parent/a", "/parent/b", "/parent/c0000000002")
STAYING: Final = ("/parent", "/unused", "/busy", "/busy/kid", "/full", "/full/kid", "/mine")
TIMEOUT_S: Final = 30.0


class Aftermath:
    """One server, from the scene to the end of what shall go."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.server = ServerProcess(kind, folder, properties=PROPERTIES)
        self.client: Client | None = None
        #: (type, path) -> how often
        self.events: Counter[tuple[int, str]] = Counter()
        self.tree: dict[str, tuple[Any, ...]] = {}
        self.words: list[str] = []

    def begin(self) -> None:
        """Set the scene and leave one session to itself."""
        self.server.start()
        self.client = Client(self.server.port)
        call = self.client.call
        assert call(jute.ADD_WATCH, jute.path_int("/", 1))[0] == 0
        for path in ("/container", "/unused", "/full"):
            assert call(jute.CREATE_CONTAINER, jute.create(path, b"", jute.OPEN, 4))[0] == 0
        for path in ("/ttl", "/busy"):
            assert call(jute.CREATE_TTL, jute.create_ttl(path, b"", jute.OPEN, 5, 1000))[0] == 0
        for path in ("/container/kid", "/full/kid", "/busy/kid", "/parent"):
            assert call(jute.CREATE, jute.create(path, b"", jute.OPEN, 0))[0] == 0
        assert call(jute.CREATE, jute.create("/mine", b"", jute.OPEN, 1))[0] == 0
        with Client(self.server.port, timeout_ms=4000) as brief:
            for path, flags in (("/parent/a", 1), ("/parent/b", 1), ("/parent/c", 3)):
                assert brief.call(jute.CREATE, jute.create(path, b"", jute.OPEN, flags))[0] == 0
        assert call(jute.DELETE, jute.path_version("/container/kid", -1))[0] == 0

    def __enter__(self) -> Aftermath:
        return self

    def __exit__(self, *_: object) -> None:
        if self.client is not None:
            self.client.link.close()
        self.server.kill()

    def wait(self) -> None:
        """Listen until everything that shall go is gone, then look around."""
        assert self.client is not None
        deadline = time.monotonic() + TIMEOUT_S
        while not all(self.events[DELETED, path] for path in GOING):
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.server.kind} still has some of {GOING}: {self.events}")
            time.sleep(0.1)
            self.client.call(jute.PING, xid=jute.XID_PING)
            self.events += Counter((event[3], event[5]) for event in self.client.events)
            self.client.events.clear()
        self.tree = datafiles.walk(self.client)
        wanted = ("zk_global_sessions", "zk_stale_sessions_expired", "zk_ephemerals_count", "zk_znode_count")
        self.words = sorted(line for line in self.server.word("mntr").splitlines() if line.startswith(wanted))


def test_what_expires_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    require(missing_java())
    with Aftermath(APACHE, tmp_path / APACHE) as stock, Aftermath(ZABRA, tmp_path / ZABRA) as ours:
        stock.begin()
        ours.begin()
        stock.wait()
        ours.wait()
        assert ours.events == stock.events
        assert ours.words == stock.words
        assert sorted(ours.tree) == sorted(stock.tree)
        assert set(STAYING) <= set(ours.tree)
        zxids = [[line for line in side.server.word("srvr").splitlines() if "Zxid" in line] for side in (stock, ours)]
        assert zxids[1] == zxids[0]
