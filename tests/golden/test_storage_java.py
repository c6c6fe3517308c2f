"""Apache ZooKeeper starts on files we wrote: logs, snapshots in each compression, a log after a crash.

Needs Java and ZABRA_ZOOKEEPER_CLASSPATH (the jars of Apache ZooKeeper 3.9).
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from storage_files import golden_files
from storage_generate import Server

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.obs.metrics import Metrics
from zabra.runtime.disk import RealDisk
from zabra.runtime.real import real_runtime
from zabra.storage.database import Database
from zabra.storage.logreader import LogFolder
from zabra.storage.logwriter import LogWriter
from zabra.storage.recovery import Recovered, open_folders, recover, save_snapshot
from zabra.storage.snapstore import SnapshotStore
from zabra.storage.snapstream import SIGNATURE
from zabra.tree.dump import Dump
from zabra.tree.owner import OwnerRules
from zabra.tree.tree import DataTree
from zabra.wire.records_txn import SetDataTxn, TxnHeader
from zabra.wire.txns import decode_txn, encode_txn
from zabra.zab.syncplan import Entry

pytestmark = pytest.mark.java
DISK = RealDisk()


@pytest.fixture(autouse=True)
def apache() -> None:
    """Apache can be run; with ``CI=true`` it must be there."""
    if os.environ.get("ZABRA_ZOOKEEPER_CLASSPATH") and shutil.which("java") is not None:
        return
    missing = "Apache starts on no file of ours: set ZABRA_ZOOKEEPER_CLASSPATH to its jars, have java on the path"
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


def start(data_dir: Path, compression: str = "") -> tuple[DataTree, Recovered, SnapshotStore]:
    folders = open_folders(DISK, str(data_dir), str(data_dir))
    tree = DataTree(OwnerRules(extended=True))
    store = SnapshotStore(DISK, folders.snapshots, compression=compression)
    return tree, recover(DISK, folders, store, tree, lambda sessions: Dump(tree, sessions)), store


def golden_payloads(folder: Path) -> list[tuple[int, bytes]]:
    """Every entry Apache logged, first to last."""
    folder.mkdir()
    for name, content in golden_files().items():
        if name.startswith("log."):
            (folder / name).write_bytes(content)
    return list(LogFolder(DISK, str(folder)).scan(0))


def apache_digest(data_dir: Path) -> tuple[int, int]:
    """(zxid, digest) that Apache recovers from a folder: one write, and what its digest says.

    Apache logs the digest with the session that the client opens; our recovery checks it against our tree.
    """
    server = Server(data_dir)
    server.stop()
    _, payload = list(LogFolder(DISK, f"{data_dir}/version-2").scan(0))[-1]
    header, _, digest = decode_txn(payload)
    assert digest is not None
    return header.zxid - 1, digest.digest


@pytest.mark.parametrize("prealloc", [0, 64 << 10])
def test_apache_starts_on_our_log(prealloc: int, tmp_path: Path) -> None:
    payloads = golden_payloads(tmp_path / "source")
    data = tmp_path / "data"
    start(data)
    writer = LogWriter(DISK, f"{data}/version-2", prealloc_bytes=prealloc)
    for index, (_, payload) in enumerate(payloads):
        writer.append(payload)
        if index % 7 == 0:
            writer.roll()
        if index % 5 == 0:
            batch = writer.take()
            assert batch is not None
            writer.write(batch)
            writer.fill_ahead()
    batch = writer.take()
    assert batch is not None
    writer.write(batch)
    writer.close()
    tree, _, _ = start(data)
    assert apache_digest(data) == (tree.last_zxid, tree.digest)


@pytest.mark.parametrize("compression", ["", "gz", "snappy"])
def test_apache_starts_on_our_snapshot(compression: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    folder = data / "version-2"
    folder.mkdir(parents=True)
    for name, content in golden_files().items():
        if name.startswith("log.") or name == "snapshot.0":
            (folder / name).write_bytes(content)
    tree, found, store = start(data, compression)
    save_snapshot(store, Dump(tree, found.sessions))
    for name in os.listdir(folder):
        if name.startswith("log.") or name == "snapshot.0":
            (folder / name).unlink()
    assert len(os.listdir(folder)) == 1
    assert apache_digest(data) == (tree.last_zxid, tree.digest)


def test_apache_starts_after_we_cut_a_torn_end(tmp_path: Path) -> None:
    data = tmp_path / "data"
    start(data)
    log = data / "version-2" / "log.1"
    content = bytearray(golden_files()["log.1"])
    content[4096:4608] = bytes(512)
    log.write_bytes(content)
    tree, found, _ = start(data)
    assert len(found.repairs) == 1
    assert apache_digest(data) == (tree.last_zxid, tree.digest)


def member(data: Path, payloads: list[tuple[int, bytes]]) -> Database:
    """A member of an ensemble that has logged these, with a snapshot of its own in the middle."""
    folders = open_folders(DISK, str(data), str(data))
    settings = Settings(data_dir=str(data), extended_types_enabled=True, prealloc_kb=64)
    store = SnapshotStore(DISK, folders.snapshots)
    database = Database(settings, DISK, folders, store, real_runtime().clock, Metrics())
    database.load()
    for number, (zxid, payload) in enumerate(payloads):
        if number == len(payloads) // 2:
            save_snapshot(store, Dump(database.tree, database.sessions))
            database.writer.roll()
        database.writer.append(payload)
        database.apply(Entry(zxid, payload))
    batch = database.writer.take()
    if batch is not None:
        database.writer.write(batch)
    return database


@pytest.mark.parametrize("part", [0.2, 0.7])
def test_apache_starts_where_a_leader_had_us_cut(part: float, tmp_path: Path) -> None:
    payloads = golden_payloads(tmp_path / "source")
    database = member(tmp_path / "data", payloads)
    database.truncate(payloads[int(len(payloads) * part)][0])
    database.close()
    assert apache_digest(tmp_path / "data") == (database.tree.last_zxid, database.tree.digest)


@pytest.mark.parametrize("part", [0.2, 0.7])
def test_apache_starts_on_the_history_that_a_leader_gave_us(part: float, tmp_path: Path) -> None:
    payloads = golden_payloads(tmp_path / "source")
    count = int(len(payloads) * part)
    leader = member(tmp_path / "leader", payloads[:count])
    database = member(tmp_path / "data", payloads)
    base = leader.last_processed
    loader = database.receive_snapshot(base)
    dump = Dump(leader.tree, leader.sessions)
    while chunk := dump.next_chunk(3):
        assert loader.feed(chunk) is None
    assert loader.feed(SIGNATURE) == b""
    database.save_snapshot(base)
    # The log goes on behind it.
    for zxid, payload in payloads[count : count + 3]:
        database.writer.append(payload)
        database.apply(Entry(zxid, payload))
    batch = database.writer.take()
    assert batch is not None
    database.writer.write(batch)
    database.close()
    leader.close()
    assert apache_digest(tmp_path / "data") == (database.tree.last_zxid, database.tree.digest)


def test_both_take_turns_on_one_folder(tmp_path: Path) -> None:
    """Apache writes, we append, Apache goes on, we read it all."""
    data = tmp_path / "data"
    data.mkdir()
    server = Server(data)
    for number in range(20):
        assert server.client.create(b"/n%d" % number, b"x") == 0
    server.stop()
    tree, found, store = start(data)
    save_snapshot(store, Dump(tree, found.sessions))
    writer = LogWriter(DISK, f"{data}/version-2", last_zxid=tree.last_zxid)
    header = TxnHeader(max(found.sessions), 1, tree.last_zxid + 1, 1_700_000_000_000, Op.SET_DATA)
    writer.append(encode_txn(header, SetDataTxn(b"/n1", b"ours", 1), None))
    batch = writer.take()
    assert batch is not None
    writer.write(batch)
    writer.close()
    server = Server(data)
    assert server.client.set_data(b"/n1", b"theirs", 0) == -103
    assert server.client.set_data(b"/n1", b"theirs", 1) == 0
    assert server.client.create(b"/n19", b"x") == -110
    assert server.client.set_data(b"/n0", b"y") == 0
    assert "Node count: 25\n" in server.word("srvr")
    server.stop(signal.SIGKILL)
    tree, found, _ = start(data)
    assert (tree.nodes[b"/n0"].data, tree.nodes[b"/n1"].data) == (b"y", b"theirs")
    assert found.digest_mismatches == 0
