"""Bugs that were reproduced with Apache ZooKeeper 3.9.5, and others that no single module's tests would show.

The table of all is docs/known-bugs.md.
"""

from __future__ import annotations

import logging

import pytest
from memdisk import MemoryDisk
from rig import Client, Rig, create_body, delete_body, path, set_acl_body, set_body

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.pipeline.snapshots import Snapshotter
from zabra.storage.snapstore import SnapshotStore
from zabra.tree.tree import DataTree
from zabra.wire.txns import decode_txn

LIMITS = "/zookeeper/quota/q/zookeeper_limits"
STATS = "/zookeeper/quota/q/zookeeper_stats"
GARBAGE = [None, b"", b"hello", b"count=many,bytes=1", b"\xff\xfe", b"count=1,bytes=" + b"9" * 99, b"=" * 5000]


def replayed(rig: Rig) -> DataTree:
    """What a restart makes of the log."""
    tree = DataTree()
    for payload in rig.log.durable:
        tree.apply(*decode_txn(payload)[:2])
    return tree


def reloaded(rig: Rig) -> DataTree:
    """What a restart makes of a snapshot."""
    disk = MemoryDisk()
    disk.makedirs("/snap")
    store = SnapshotStore(disk, "/snap")
    snapshotter = Snapshotter(
        rig.tree, rig.sessions.logged, store, rig.worker, rig.clock, rig.scheduler, rig.stats.metrics
    )
    assert snapshotter.take_nowait()
    rig.work()
    tree = DataTree()
    assert store.load_newest(tree, {}) is not None
    return tree


@pytest.mark.parametrize("text", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("name", [LIMITS, STATS])
@pytest.mark.parametrize("enforced", [False, True])
def test_text_that_is_no_quota_stops_nobody(name: str, text: bytes | None, enforced: bool) -> None:
    """Apache stops at the next create below, and cannot start on that folder again."""
    client = Rig(enforce_quota=enforced).client()
    for node in ("/q", "/zookeeper/quota/q", STATS):
        assert client.error(Op.CREATE, create_body(node)) == 0
    assert client.error(Op.CREATE, create_body(LIMITS, b"count=9,bytes=9")) == 0
    assert client.error(Op.SET_DATA, set_body(name, text)) == 0
    assert client.error(Op.CREATE, create_body("/q/a", b"1")) == 0
    assert client.error(Op.SET_DATA, set_body("/q/a", b"22")) == 0
    assert client.error(Op.DELETE, delete_body("/q/a")) == 0
    for tree in (replayed(client.rig), reloaded(client.rig)):
        assert tree.digest == client.rig.tree.digest
        assert tree.nodes.keys() == client.rig.tree.nodes.keys()


def test_acl_ids_beyond_the_basic_plane_survive_a_restart(client: Client) -> None:
    """Apache's writer and reader disagree about such characters, so each restart damages the id."""
    user = "user\U0001f600name"
    acl = ((31, "digest", f"{user}:hash"), (31, "world", "anyone"))
    for body in (create_body("/a", b"", 0, acl), create_body("/b")):
        assert client.error(Op.CREATE, body) == 0
    assert client.error(Op.SET_ACL, set_acl_body("/b", acl)) == 0
    stored = ((31, "digest", f"{user}:hash"), (31, "world", "anyone"))
    for tree in (client.rig.tree, replayed(client.rig), reloaded(client.rig)):
        assert tree.nodes[b"/a"].acl == tree.nodes[b"/b"].acl == stored
    client.auth("digest", f"{user}:secret".encode())
    shown = client.ask(Op.WHO_AM_I).body
    assert path(user) in shown


def test_a_bucket_that_nobody_used_for_years_is_full() -> None:
    """ZOOKEEPER-4933: a counter that overflows meanwhile refuses everybody."""
    rig = Rig(
        connection_throttle_tokens=3, connection_throttle_fill_time_ms=1, connection_throttle_fill_count=1_000_000
    )
    rig.clock.now += 50 * 365 * 86400
    assert [rig.client().session_id > 0 for _ in range(3)] == [True] * 3


def test_settings_do_not_show_their_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """CVE-2026-24308: what is logged of a configuration has no password in it."""
    settings = Settings(
        data_dir="/nowhere",
        super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        properties={"zookeeper.ssl.keyStore.password": "geheim"},
    )
    logging.getLogger("zabra").warning("started with %s", settings)
    for secret in ("D/InIHSb7yEE", "geheim"):
        assert secret not in repr(settings) + caplog.text


def test_a_session_id_of_another_server_is_no_container(client: Client) -> None:
    """ZOOKEEPER-2901: ids of servers above 127 are negative, and their ephemerals are still ephemerals."""
    session = client.rig.sessions.get(client.session_id)
    assert session is not None
    negative = session.id - (1 << 63)
    client.rig.sessions.sessions[negative] = session
    session.id = negative
    assert client.error(Op.CREATE, create_body("/e", b"", 1)) == 0
    assert client.rig.tree.nodes[b"/e"].owner == negative
    assert list(client.rig.tree.ephemerals[negative]) == [b"/e"]
    assert not client.rig.tree.containers
    assert replayed(client.rig).ephemerals == client.rig.tree.ephemerals
