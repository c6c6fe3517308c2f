"""Apache's snapshots of a tree that changes meanwhile: we read them, and the log behind them, to the same tree."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import pytest

from compat import jute
from compat.exchange import compare_served, digest_mismatches
from compat.rawclient import Client
from compat.servers import APACHE, ZABRA, ServerProcess, copy_data, missing_java, require

PROPERTIES: Final = {
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.snapCount": "400",
    "zookeeper.preAllocSize": "1024",
}
NEAR: Final = [(31, "ip", "127.0.0.1")]
#: So many nodes take a snapshot long enough to be overtaken.
BIG: Final = 10_000
ROUNDS: Final = 40

Call = tuple[int, bytes]


def burst(*calls: tuple[Client, list[Call]]) -> None:
    """Send everything at once, then wait for every reply."""
    for client, some in calls:
        for opcode, body in some:
            client.post(opcode, body)
    for client, some in calls:
        for opcode, _ in some:
            assert client.reply(opcode) is not None


def draw(r: random.Random) -> Call:
    """A write below /r, where few names are, so that nodes come and go all the time."""
    path, other = ("/r/" + "/".join(r.choices("abcde", k=r.choice((1, 1, 1, 2, 2, 3)))) for _ in range(2))
    removal = jute.DELETE, jute.path_version(path, -1)
    change = jute.SET_DATA, jute.set_data(path, r.randbytes(8), -1)
    kind = r.choice((jute.CREATE, jute.CREATE, jute.CREATE2, jute.CREATE_CONTAINER, jute.CREATE_TTL))
    if kind == jute.CREATE_TTL:
        made = kind, jute.create_ttl(path, b"t", jute.OPEN, r.choice((5, 6)), 10**9)
    elif kind == jute.CREATE_CONTAINER:
        made = kind, jute.create(path, b"c", jute.OPEN, 4)
    else:
        made = kind, jute.create(path, r.randbytes(5), r.choice((jute.OPEN, NEAR)), r.choice((0, 0, 0, 1, 2, 3)))
    acl = jute.SET_ACL, jute.set_acl(path, r.choice((jute.OPEN, NEAR)), -1)
    multi = jute.MULTI, jute.multi([change, (jute.CREATE, jute.create(other, b"", jute.OPEN, 0))])
    return r.choices((made, removal, change, acl, multi), (7, 6, 3, 1, 3))[0]


def fill(server: ServerProcess, r: random.Random) -> None:
    """Change a few nodes of a big tree as fast as can be; sessions end meanwhile."""
    first, second = Client(server.port), Client(server.port)
    nodes = [(jute.CREATE, jute.create(f"/big/{n}", b"x" * 100, jute.OPEN, 0)) for n in range(BIG)]
    roots = [(jute.CREATE, jute.create(path, b"", jute.OPEN, 0)) for path in ("/r", "/big")]
    for start in range(0, BIG, 1000):
        burst((first, roots + nodes[start : start + 1000]))
        roots = []
    for _ in range(ROUNDS):
        burst((first, [draw(r) for _ in range(50)]), (second, [draw(r) for _ in range(50)]))
        if r.random() < 0.2:
            second.close_session()
            second = Client(server.port)
    first.link.close()
    second.link.close()


@pytest.mark.java
@pytest.mark.parametrize("seed", [1, 8])
def test_a_snapshot_that_was_overtaken(seed: int, tmp_path: Path) -> None:
    """With and without lists of ephemerals in the log; stock itself sometimes misreads what it wrote."""
    require(missing_java())
    properties = {**PROPERTIES, "zookeeper.closeSessionTxn.enabled": str(seed % 2 == 0).lower()}
    with ServerProcess(APACHE, tmp_path / "first", properties=properties) as server:
        fill(server.start(), random.Random(seed))
        server.kill()
        data = [copy_data(server, tmp_path / kind) for kind in (APACHE, ZABRA)]
    with (
        ServerProcess(APACHE, tmp_path / APACHE, properties=properties, data=data[0]) as stock,
        ServerProcess(ZABRA, tmp_path / ZABRA, properties=properties, data=data[1]) as ours,
    ):
        assert compare_served([stock.start(), ours.start()], walk=False) == []
        assert digest_mismatches(ours) == 0
