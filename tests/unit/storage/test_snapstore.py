"""Snapshots: bytes, compression, the newest whole one, and files that are not whole."""

from __future__ import annotations

import errno
import gzip
import struct
import zlib
from collections.abc import Callable

import pytest
from memdisk import MemoryDisk

from zabra.errors import ConfigError, DataError
from zabra.storage import codecs
from zabra.storage.snapformat import HEADER, SnapshotReader, Trailer, ZxidDigest, seal
from zabra.storage.snapstore import SnapshotStore, compression_of, snapshot_name, zxid_of_snapshot
from zabra.wire.records_data import Acl

FOLDER = "/data/version-2"
STAT = bytes(range(60))
SESSIONS = {0x10000: 30000, -5: 4000}
ACLS: dict[int, Acl] = {1: ((31, "world", "anyone"), (1, "digest", "bén:x=")), 7: ()}
NODES = [
    (b"", b"", -1),
    (b"/zookeeper", None, 7),
    (b"/a", b"x" * 500, 1),
    (b"/a/\xc3\xa9", bytes(70), -1),
]


class ListTree:
    """Remembers what is loaded."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.acls: dict[int, Acl] = {}
        self.nodes: list[tuple[bytes, bytes | None, int]] = []
        self.stats: dict[bytes, None] = {}
        self.is_loaded = False

    def load_acl(self, key: int, acl: Acl) -> None:
        self.acls[key] = acl

    def load_node(self, path: bytes, data: bytes | None, acl_key: int, persisted: bytes, /) -> None:
        if path == b"/contradiction":
            raise ValueError("no parent")
        self.stats[persisted] = None
        self.nodes.append((path, data, acl_key))

    def loaded(self) -> None:
        self.is_loaded = True


def string(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def body(extra: tuple[bytes, bytes | None, int] | None = None) -> bytes:
    """Session count to end string, as a dump gives it."""
    parts = [struct.pack(">i", len(SESSIONS))]
    parts += [struct.pack(">qi", *item) for item in SESSIONS.items()]
    parts.append(struct.pack(">i", len(ACLS)))
    for key, acl in ACLS.items():
        parts.append(struct.pack(">qi", key, len(acl)))
        parts += [struct.pack(">i", p) + string(s.encode()) + string(i.encode()) for p, s, i in acl]
    for path, data, key in [*NODES, *([extra] if extra else [])]:
        parts += [string(path), b"\xff" * 4 if data is None else string(data), struct.pack(">q", key), STAT]
    parts.append(string(b"/"))
    return b"".join(parts)


def whole(*, digest: bool = True, last_zxid: bool = True, zxid: int = 5) -> bytes:
    """A plain snapshot made by hand."""
    data = HEADER + body()
    data += seal(zlib.adler32(data))
    if digest:
        data += struct.pack(">qiQ", zxid, 2, 0xFFFFFFFFFFFFFFF0)
        data += seal(zlib.adler32(data))
    if last_zxid:
        data += struct.pack(">q", zxid)
        data += seal(zlib.adler32(data))
    return data


def new_store(**options: object) -> tuple[MemoryDisk, SnapshotStore]:
    disk = MemoryDisk()
    disk.makedirs(FOLDER)
    return disk, SnapshotStore(disk, FOLDER, **options)  # type: ignore[arg-type]


def save(store: SnapshotStore, zxid: int = 5, digest: int | None = 0xFFFFFFFFFFFFFFF0) -> str:
    writer = store.writer(zxid, digest)
    content = body()
    for at in range(0, len(content), 100):
        writer.write(content[at : at + 100])
    return writer.finish()


def chunked(data: bytes, size: int) -> Callable[[], bytes]:
    chunks = iter([data[at : at + size] for at in range(0, len(data), size)])
    return lambda: next(chunks, b"")


def load(data: bytes, chunk_size: int = 1 << 20) -> tuple[ListTree, dict[int, int], Trailer]:
    tree = ListTree()
    sessions: dict[int, int] = {}
    trailer = SnapshotReader("snapshot.5", chunked(data, chunk_size), tree, sessions).load()
    return tree, sessions, trailer


DIGEST = ZxidDigest(5, 2, 0xFFFFFFFFFFFFFFF0)


def test_written_bytes() -> None:
    disk, store = new_store()
    assert save(store) == "snapshot.5"
    assert disk.read(f"{FOLDER}/snapshot.5") == whole()


@pytest.mark.parametrize("digest", [True, False])
@pytest.mark.parametrize("last_zxid", [True, False])
@pytest.mark.parametrize("chunk_size", [1, 7, 64, 1 << 20])
def test_optional_sections_are_told_apart_without_switches(digest: bool, last_zxid: bool, chunk_size: int) -> None:
    tree, sessions, trailer = load(whole(digest=digest, last_zxid=last_zxid), chunk_size)
    assert tree.nodes == NODES
    assert list(tree.stats) == [STAT]
    assert tree.acls == ACLS
    assert sessions == SESSIONS
    assert trailer == Trailer(DIGEST if digest else None, 5 if last_zxid else None)


def test_switches_of_the_writer() -> None:
    disk, store = new_store(last_zxid_section=False)
    save(store, digest=None)
    assert disk.read(f"{FOLDER}/snapshot.5") == whole(digest=False, last_zxid=False)


def test_digest_of_a_fresh_tree_is_left_empty_as_in_apache() -> None:
    disk, store = new_store()
    save(store, zxid=0)
    assert disk.read(f"{FOLDER}/snapshot.0")[-54:-34] == struct.pack(">qiQ", 0, 2, 0)


def test_digest_of_an_old_version_is_stepped_over() -> None:
    data = whole(digest=False, last_zxid=False)
    data += struct.pack(">qi", 5, 1) + string(b"12ab")
    data += seal(zlib.adler32(data))
    data += struct.pack(">q", 5)
    data += seal(zlib.adler32(data))
    assert load(data)[2] == Trailer(ZxidDigest(5, 1, 0), 5)


@pytest.mark.parametrize("compression", codecs.METHODS)
def test_round_trip_with_each_compression(compression: str) -> None:
    disk, store = new_store(compression=compression)
    name = save(store)
    assert name == snapshot_name(5, compression)
    tree = ListTree()
    sessions = {99: 99}
    seen: list[tuple[int, int]] = []
    loaded = store.load_newest(tree, sessions, lambda done, total: seen.append((done, total)))
    assert loaded is not None
    assert loaded == (5, f"{FOLDER}/{name}", Trailer(DIGEST, 5))
    assert (tree.nodes, tree.acls, sessions) == (NODES, ACLS, SESSIONS)
    assert tree.is_loaded
    size = disk.size(f"{FOLDER}/{name}")
    assert seen[-1] == (size, size)


def test_large_snapshot_in_both_compressions_crosses_blocks() -> None:
    for compression in ("gz", "snappy"):
        disk, store = new_store(compression=compression)
        writer = store.writer(9, 1)
        head, end = body()[:-5], body()[-5:]
        writer.write(head)
        node = b"".join([string(b"/n%06d"), string(b"d" * 90), struct.pack(">q", -1), STAT])
        for number in range(0, 3000, 10):
            writer.write(b"".join(node.replace(b"%06d", b"%04d" % (number + i)) for i in range(10)))
        writer.write(end)
        # A node's path shrank by two characters against its length.
        writer.abort()
        assert disk.listdir(FOLDER) == []
        writer = store.writer(9, 1)
        writer.write(head)
        for number in range(5000):
            path = b"/n%06d" % number
            writer.write(b"".join([string(path), string(b"d" * 90), struct.pack(">q", -1), STAT]))
        writer.write(end)
        writer.finish()
        tree = ListTree()
        store.load_newest(tree, {})
        assert len(tree.nodes) == len(NODES) + 5000


def test_gzip_members_and_snappy_headers_in_a_row_read_as_one() -> None:
    data = whole()
    disk, store = new_store()
    disk.put(f"{FOLDER}/snapshot.5.gz", gzip.compress(data[:200]) + gzip.compress(data[200:]))
    tree = ListTree()
    assert store.load_newest(tree, {}) is not None
    assert tree.nodes == NODES
    compressor = codecs.new_compressor("snappy")
    first = compressor.compress(data[:300]) + compressor.flush()
    compressor = codecs.new_compressor("snappy")
    second = compressor.compress(data[300:]) + compressor.flush()
    assert first.startswith(codecs.SNAPPY_MAGIC)
    assert second.startswith(codecs.SNAPPY_MAGIC)
    disk.put(f"{FOLDER}/snapshot.6.snappy", first + second)
    loaded = store.load_newest(tree, {})
    assert loaded is not None
    assert loaded.zxid == 6


def test_missing_snappy_library_is_said_and_no_older_snapshot_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, store = new_store(compression="snappy")
    disk.put(f"{FOLDER}/snapshot.4", whole(zxid=4))
    save(store)
    monkeypatch.setitem(__import__("sys").modules, "cramjam", None)
    with pytest.raises(ConfigError, match="cramjam"):
        store.load_newest(ListTree(), {})
    with pytest.raises(ConfigError, match="cramjam"):
        store.writer(7, None)


@pytest.mark.parametrize("size", [*range(40), *range(len(whole()) - 60, len(whole()))])
def test_a_cut_snapshot_is_refused_or_lacks_only_whole_optional_sections(size: int) -> None:
    data = whole()[:size]
    first_seal = len(whole(digest=False, last_zxid=False))
    with_digest = len(whole(last_zxid=False))
    tolerated = first_seal <= size < first_seal + 20 or with_digest <= size < with_digest + 8
    # 21 bytes behind the first seal read as a last zxid whose seal is wrong.
    if tolerated:
        assert load(data)[0].nodes == NODES
    else:
        with pytest.raises(DataError, match=r"snapshot\.5: offset \d+"):
            load(data)


def test_every_flipped_bit_is_refused() -> None:
    data = whole()
    for at in range(len(data)):
        if 4 <= at < 16:
            continue  # version and dbid decide nothing, but count in the sum: below
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        with pytest.raises(DataError, match=r"snapshot\.5: offset \d+"):
            load(bytes(flipped))
    flipped = bytearray(data)
    flipped[7] ^= 1
    with pytest.raises(DataError, match="checksum"):
        load(bytes(flipped))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"ZKLG" + whole()[4:], "not a snapshot"),
        (HEADER + b"\xff\xff\xff\xfe", "-2 sessions"),
        (HEADER + bytes(4) + b"\x80\0\0\0", "ACLs"),
        (HEADER + bytes(4) + struct.pack(">iqi", 1, 5, -1), "an ACL that is null"),
        (HEADER + bytes(4) + struct.pack(">iqiii", 1, 5, 1, 31, -1), "null"),
        (HEADER + bytes(8) + b"\xff\xff\xff\xff" + bytes(100), "a path of -1 bytes"),
        (HEADER + bytes(8) + string(b"/a") + b"\xff\xff\xff\xf0" + bytes(100), "data of -16 bytes"),
        (HEADER + bytes(8) + string(b"/a") + b"\x7f\xff\xff\xff" + bytes(100), "too early"),
    ],
)
def test_what_is_no_snapshot_says_why(data: bytes, why: str) -> None:
    for chunk_size in (1, 1 << 20):
        with pytest.raises(DataError, match=why):
            load(data, chunk_size)


def test_a_tree_that_refuses_a_node_makes_the_snapshot_bad() -> None:
    data = HEADER + body((b"/contradiction", b"", -1))
    with pytest.raises(DataError, match="no parent"):
        load(data + seal(zlib.adler32(data)))


def test_damaged_newest_gives_way_to_the_next_and_nothing_is_removed(caplog: pytest.LogCaptureFixture) -> None:
    disk, store = new_store()
    bad = bytearray(whole(zxid=9))
    bad[100] ^= 1
    disk.put(f"{FOLDER}/snapshot.9", bytes(bad))
    disk.put(f"{FOLDER}/snapshot.8", whole(zxid=8)[:-1])
    disk.put(f"{FOLDER}/snapshot.7.gz", gzip.compress(whole(zxid=7))[:-40])
    disk.put(f"{FOLDER}/snapshot.6", b"short")
    disk.put(f"{FOLDER}/snapshot.5", whole(zxid=5))
    before = disk.listdir(FOLDER)
    tree = ListTree()
    sessions: dict[int, int] = {}
    loaded = store.load_newest(tree, sessions)
    assert loaded is not None
    assert loaded.zxid == 5
    assert (tree.nodes, sessions) == (NODES, SESSIONS)
    assert disk.listdir(FOLDER) == before
    messages = [record.message for record in caplog.records]
    assert len([m for m in messages if "snapshot.9: offset" in m]) == 1
    assert len([m for m in messages if "snapshot.7.gz: offset" in m]) == 1


def test_no_snapshot_and_none_that_looks_whole_are_the_same() -> None:
    disk, store = new_store()
    assert store.load_newest(ListTree(), {}) is None
    for name in ("snapshot.5", "snapshot.6.gz", "snapshot.7.snappy", "snapshot.xyz", "tmp.snapshot.8"):
        disk.put(f"{FOLDER}/{name}", b"half a")
    assert store.load_newest(ListTree(), {}) is None


def test_all_that_look_whole_unreadable_is_an_error() -> None:
    disk, store = new_store()
    bad = bytearray(whole())
    bad[50] ^= 1
    disk.put(f"{FOLDER}/snapshot.5", bytes(bad))
    with pytest.raises(DataError, match="none of 1 snapshots"):
        store.load_newest(ListTree(), {})


def test_unreadable_file_gives_way_to_the_next() -> None:
    disk, store = new_store()
    disk.put(f"{FOLDER}/snapshot.4", whole(zxid=4))
    disk.put(f"{FOLDER}/snapshot.5", whole(zxid=5))

    def deny(name: str, path: str) -> None:
        if path.endswith("snapshot.5") and name == "pread":
            raise OSError(errno.EIO, "bad disk", path)

    disk.on_call = deny
    loaded = store.load_newest(ListTree(), {})
    assert loaded is not None
    assert loaded.zxid == 4


@pytest.mark.parametrize("call", ["create", "truncate", "pwrite", "sync", "rename", "sync_dir"])
def test_a_snapshot_that_cannot_be_written_leaves_nothing_to_be_found(call: str) -> None:
    """ZOOKEEPER-3082."""
    disk, store = new_store()
    save(store, 4)
    disk.fail(call, errno.ENOSPC)
    writer = store.writer(5, 1)
    with pytest.raises(OSError, match=call) as caught:  # noqa: PT012 - either of the two may be the one that fails
        writer.write(body())
        writer.finish()
    assert caught.value.errno == errno.ENOSPC
    writer.abort()
    assert [name for name in disk.listdir(FOLDER) if name.startswith("tmp.")] == []
    found = [name for _, name in store.valid_files(9)]
    assert found == (["snapshot.5", "snapshot.4"] if call == "sync_dir" else ["snapshot.4"])


def test_nothing_is_visible_before_the_whole_is_synced() -> None:
    disk, store = new_store()
    writer = store.writer(5, 1)
    writer.write(body())
    assert disk.listdir(FOLDER) == ["tmp.snapshot.5"]
    disk.calls.clear()
    writer.finish()
    assert [name for name, _ in disk.calls][-3:] == ["sync", "rename", "sync_dir"]
    writer.abort()
    assert disk.listdir(FOLDER) == ["snapshot.5"]


def test_what_a_crash_left_is_overwritten_or_removed() -> None:
    disk, store = new_store()
    disk.put(f"{FOLDER}/tmp.snapshot.5", b"x" * 100_000)
    save(store)
    assert disk.read(f"{FOLDER}/snapshot.5") == whole()
    disk.put(f"{FOLDER}/tmp.snapshot.6.gz", b"x")
    disk.put(f"{FOLDER}/tmp.other", b"x")
    store.remove_temporaries()
    assert disk.listdir(FOLDER) == ["snapshot.5", "tmp.other"]


def test_long_snapshots_are_synced_on_the_way() -> None:
    disk, store = new_store()
    writer = store.writer(5, 1)
    for _ in range(24):
        writer.write(bytes(1 << 20))
    assert [name for name, _ in disk.calls].count("sync") >= 5
    writer.abort()


def test_names() -> None:
    assert snapshot_name(0x1F) == "snapshot.1f"
    assert snapshot_name(0x1F, "gz") == "snapshot.1f.gz"
    assert snapshot_name(-1) == "snapshot.ffffffffffffffff"
    for name, zxid in (
        ("snapshot.1f", 31),
        ("snapshot.1f.snappy", 31),
        ("snapshot.5.tmp", 5),
        ("snapshot", -1),
        ("snapshot.", -1),
        ("snapshot.g", -1),
        ("snapshot.ffffffffffffffff", -1),
        ("tmp.snapshot.5", -1),
        ("log.5", -1),
    ):
        assert zxid_of_snapshot(name) == zxid, name
    assert [compression_of(n) for n in ("snapshot.1", "snapshot.1.gz", "snapshot.1.SNAPPY", "x")] == [
        "",
        "gz",
        "snappy",
        "",
    ]


def test_files_are_newest_first_by_number_not_by_text() -> None:
    disk, store = new_store()
    for zxid in (0x9, 0x10, 0xA, 0xFF):
        disk.put(f"{FOLDER}/{snapshot_name(zxid)}", whole(zxid=zxid))
    assert [zxid for zxid, _ in store.files()] == [0xFF, 0x10, 0xA, 9]
    store.discard_after(0xA)
    assert [zxid for zxid, _ in store.files()] == [0xA, 9]
