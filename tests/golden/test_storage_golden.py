"""Files written by Apache ZooKeeper 3.9.5: read, compared digest by digest, and written again byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from storage_files import golden, golden_files

from zabra.consts import CONTAINER_OWNER
from zabra.runtime.disk import RealDisk
from zabra.storage.logformat import HEADER, frame
from zabra.storage.logreader import LogFolder
from zabra.storage.logwriter import LogWriter
from zabra.storage.recovery import Recovered, open_folders, recover
from zabra.storage.snapstore import SnapshotStore
from zabra.tree.dump import Dump
from zabra.tree.owner import OwnerRules
from zabra.tree.tree import DataTree
from zabra.wire.txns import decode_txn, encode_txn

DISK = RealDisk()
LOGS = [name for name in golden_files() if name.startswith("log.")]


def start(data_dir: Path, names: list[str]) -> tuple[DataTree, Recovered]:
    """Recover a folder that holds the named golden files."""
    folders = open_folders(DISK, str(data_dir), str(data_dir))
    for name in names:
        Path(folders.logs, name).write_bytes(golden_files()[name])
    tree = DataTree(OwnerRules(extended=True))
    store = SnapshotStore(DISK, folders.snapshots)
    found = recover(DISK, folders, store, tree, lambda sessions: Dump(tree, sessions))
    return tree, found


def snapshot_names() -> list[str]:
    """Oldest first."""
    names = [name for name in golden_files() if name.startswith("snapshot.")]
    return sorted(names, key=lambda name: int(name.split(".")[1], 16))


@pytest.mark.parametrize("newest", range(4))
def test_each_snapshot_with_the_logs_gives_the_same_tree(newest: int, tmp_path: Path) -> None:
    """Also plain, gzip and snappy; every transaction's digest is compared on the way."""
    tree, found = start(tmp_path, LOGS + snapshot_names()[: newest + 1])
    assert found.snapshot is not None
    assert found.snapshot.path.endswith(snapshot_names()[newest])
    assert found.digest_mismatches == 0
    last = decode_txn(list(LogFolder(DISK, f"{tmp_path}/version-2").scan(0))[-1][1])
    assert last[2] is not None
    assert (tree.last_zxid, tree.digest) == (last[0].zxid, last[2].digest)
    assert tree.nodes[b"/m"].data == b"second life"
    assert list(tree.containers) == [b"/box"]
    assert tree.nodes[b"/box"].owner == CONTAINER_OWNER
    assert sorted(tree.ttls) == [b"/ttl", b"/ttl-0000000003"]
    assert len(found.sessions) == 4
    assert sorted(path for paths in tree.ephemerals.values() for path in paths) == [b"/a/later", b"/a/stays"]
    assert tree.nodes["/a/é€".encode()].data == b"utf-8"


@pytest.mark.parametrize("name", LOGS)
def test_log_entries_decode_and_encode_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(golden_files()[name])
    again = HEADER
    for _, payload in LogFolder(DISK, str(tmp_path)).scan(0):
        header, body, digest = decode_txn(payload)
        assert encode_txn(header, body, digest) == payload
        again += frame(payload)
    assert again == golden_files()[name]


@pytest.mark.parametrize("name", LOGS)
def test_our_writer_writes_the_same_log(name: str, tmp_path: Path) -> None:
    """Padding included: Apache ran with 64 KiB blocks."""
    source = tmp_path / "apache"
    source.mkdir()
    (source / name).write_bytes(golden_files()[name])
    ours = tmp_path / "ours"
    ours.mkdir()
    writer = LogWriter(DISK, str(ours), prealloc_bytes=64 << 10)
    for _, payload in LogFolder(DISK, str(source)).scan(0):
        writer.append(payload)
    batch = writer.take()
    assert batch is not None
    writer.write(batch)
    writer.close()
    assert (ours / name).read_bytes() == golden_files()[name].ljust(64 << 10, b"\0")


def split_body(data: bytes) -> tuple[bytes, bytes]:
    """A plain snapshot's body up to the end string, and what follows."""
    trailer = 13 + 20 + 13 + 8 + 13
    return data[16:-trailer], data[-trailer:]


@pytest.mark.parametrize("name", [name for name in snapshot_names() if name.count(".") == 1])
def test_our_writer_writes_the_same_snapshot_around_apaches_body(name: str, tmp_path: Path) -> None:
    data = golden(name)
    body, trailer = split_body(data)
    zxid = int(name.split(".")[1], 16)
    digest = struct.unpack_from(">qiQ", trailer, 13)
    assert digest[:2] == (zxid, 2)
    writer = SnapshotStore(DISK, str(tmp_path)).writer(zxid, digest[2])
    writer.write(body)
    assert writer.finish() == name
    assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("name", snapshot_names())
def test_our_dump_of_apaches_tree_holds_the_same_sessions_acls_and_nodes(name: str, tmp_path: Path) -> None:
    """Order of siblings, sessions and ACLs is a hash table's in Apache; all else is equal byte for byte."""
    (tmp_path / name).write_bytes(golden_files()[name])
    store = SnapshotStore(DISK, str(tmp_path))
    theirs, ours = Listing(), Listing()
    their_sessions: dict[int, int] = {}
    store.load(name, theirs, their_sessions)
    tree = DataTree(OwnerRules(extended=True))
    sessions: dict[int, int] = {}
    loaded = store.load_newest(tree, sessions)
    assert loaded is not None
    tree.last_zxid = loaded.zxid
    dump = Dump(tree, sessions)
    writer = SnapshotStore(DISK, str(tmp_path)).writer(dump.zxid + 1000, dump.digest)
    while chunk := dump.next_chunk(3):
        writer.write(chunk)
    our_sessions: dict[int, int] = {}
    store.load(writer.finish(), ours, our_sessions)
    assert (ours.nodes, our_sessions) == (theirs.nodes, their_sessions)


class Listing:
    """What a snapshot holds, with ACL keys resolved."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.acls: dict[int, object] = {-1: ((31, "world", "anyone"),)}
        self.nodes: dict[bytes, tuple[object, ...]] = {}

    def load_acl(self, key: int, acl: object) -> None:
        self.acls[key] = acl

    def load_node(self, path: bytes, data: bytes | None, acl_key: int, persisted: bytes, /) -> None:
        self.nodes[path] = (data, self.acls[acl_key], persisted)

    def loaded(self) -> None:
        pass
