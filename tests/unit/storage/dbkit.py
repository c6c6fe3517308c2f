"""A Database on a disk in memory, and entries for it as a leader would make them."""

from __future__ import annotations

from typing import Any

from memdisk import MemoryDisk

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.obs.metrics import Metrics
from zabra.paths import parent_of
from zabra.runtime.ports import Disk
from zabra.storage.database import Database
from zabra.storage.recovery import open_folders
from zabra.storage.snapstore import SnapshotStore
from zabra.storage.snapstream import SIGNATURE
from zabra.tree.dump import Dump
from zabra.tree.tree import DataTree
from zabra.wire.records_txn import CloseSessionTxn, CreateSessionTxn, CreateTxn, SetDataTxn
from zabra.wire.txns import TxnBody, TxnDigest, TxnHeader, decode_txn, encode_txn
from zabra.zab.packets import Packet, PacketStream
from zabra.zab.syncplan import Entry, choose_sync
from zabra.zxid import counter_of
from zabra.zxid import make_zxid as z

OPEN = ((31, "world", "anyone"),)
SESSION = 0x100
FOLDER = "/data/version-2"


class FakeClock:
    def monotonic(self) -> float:
        return 0.0

    def wall_ms(self) -> int:
        return 0


class Story:
    """A leader's history: ``entries`` by zxid, with the digests of a tree that applies them."""

    def __init__(self, epoch: int = 1) -> None:
        self.tree = DataTree()
        self.sessions: dict[int, int] = {}
        self.zxid = z(epoch, 0)
        self.entries: list[Entry] = []

    def epoch(self, epoch: int) -> None:
        """The next entry is the first of this one."""
        self.zxid = self.tree.last_zxid = z(epoch, 0)

    def add(self, type_: int, body: TxnBody | None, session: int = SESSION) -> Entry:
        self.zxid += 1
        header = TxnHeader(session, 1, self.zxid, 1_000_000 + self.zxid, type_)
        self.tree.apply(header, body)
        entry = Entry(self.zxid, encode_txn(header, body, TxnDigest(2, self.tree.digest)))
        self.entries.append(entry)
        return entry

    def replay(self, entry: Entry) -> None:
        """Take over an entry of another story."""
        header, body, _ = decode_txn(entry.data)
        if isinstance(body, CreateSessionTxn):
            self.sessions[header.session_id] = body.timeout
        self.tree.apply(header, body)
        self.zxid = entry.zxid
        self.entries.append(entry)

    def session(self, session: int = SESSION, timeout_ms: int = 30_000) -> Entry:
        self.sessions[session] = timeout_ms
        return self.add(Op.CREATE_SESSION, CreateSessionTxn(timeout_ms), session)

    def end_session(self, session: int = SESSION) -> Entry:
        del self.sessions[session]
        paths = tuple(self.tree.ephemerals.get(session, ()))
        return self.add(Op.CLOSE_SESSION, CloseSessionTxn(paths), session)

    def create(self, path: bytes, data: bytes = b"", *, ephemeral: bool = False, session: int = SESSION) -> Entry:
        cversion = self.tree.nodes[parent_of(path)].cversion + 1
        return self.add(Op.CREATE, CreateTxn(path, data, OPEN, ephemeral, cversion), session)

    def set(self, path: bytes, data: bytes) -> Entry:
        return self.add(Op.SET_DATA, SetDataTxn(path, data, 1 + self.version(path)))

    def paths(self) -> list[bytes]:
        """All but those of a fresh tree."""
        return [path for path in self.tree.nodes if path != b"/" and not path.startswith(b"/zookeeper")]

    def version(self, path: bytes) -> int:
        return int.from_bytes(self.tree.nodes[path].stat[32:36], "big")

    def many(self, count: int, prefix: bytes = b"/n") -> list[Entry]:
        return [self.create(b"%s%d" % (prefix, self.zxid + 1)) for _ in range(count)]


def some_story() -> Story:
    """Epoch 1: 10 entries; epoch 2: 5. Sessions, an ephemeral, sets."""
    story = Story()
    story.session()
    story.create(b"/a", b"one")
    story.create(b"/a/e", ephemeral=True)
    story.session(SESSION + 1, 4000)
    story.create(b"/mine", ephemeral=True, session=SESSION + 1)
    story.set(b"/a", b"two")
    story.many(2)
    story.end_session(SESSION + 1)
    story.set(b"/a", b"three")
    story.epoch(2)
    story.many(5)
    return story


def state(database: Database) -> tuple[object, ...]:
    """What two servers of one history agree on."""
    tree = database.tree
    nodes = {path: (node.data, node.stat, node.acl, node.owner) for path, node in tree.nodes.items()}
    return tree.last_zxid, tree.digest, dict(sorted(database.sessions.items())), nodes, tree.ephemerals


def story_state(story: Story, upto: int | None = None) -> tuple[object, ...]:
    """The same of a story, up to and with the entry of this zxid."""
    database = new_database(MemoryDisk())
    database.load()
    for entry in story.entries:
        if upto is None or entry.zxid <= upto:
            database.apply(entry)
    return state(database)


def new_database(disk: Disk, window: int = 500, data_dir: str = "/data", **settings: object) -> Database:
    options = Settings(data_dir=data_dir, prealloc_kb=64, commit_log_count=window, **settings)  # type: ignore[arg-type]
    folders = open_folders(disk, options.data_dir, options.data_log_dir)
    store = SnapshotStore(disk, folders.snapshots)
    return Database(options, disk, folders, store, FakeClock(), Metrics())


def log(database: Database, entries: list[Entry]) -> None:
    """Append and write."""
    for entry in entries:
        database.writer.append(entry.data)
    batch = database.writer.take()
    if batch is not None:
        database.writer.write(batch)


def take(database: Database, entries: list[Entry]) -> None:
    """Log and apply."""
    log(database, entries)
    for entry in entries:
        database.apply(entry)


def snapshot(database: Database) -> str:
    """A snapshot of its own, as while serving."""
    store = SnapshotStore(database._disk, database._folders.snapshots)
    writer = store.writer(database.tree.last_zxid, database.tree.digest)
    dump = Dump(database.tree, database.sessions)
    while chunk := dump.next_chunk(100):
        writer.write(chunk)
    database.writer.roll()
    return writer.finish()


def stream(database: Database) -> bytes:
    """The body of a SNAP of this one's tree."""
    dump = Dump(database.tree, database.sessions)
    parts = []
    while chunk := dump.next_chunk(100):
        parts.append(chunk)
    return b"".join(parts)


def receive(database: Database, source: Database, base: int) -> None:
    """The snapshot of a leader comes in; it is that of ``base``, or later."""
    left = database.receive_snapshot(base).feed(stream(source) + SIGNATURE)
    assert left == b""


def bring_up(leader: Database, learner: Database, **options: Any) -> int:
    """Sync a learner as their cores would have it done; the packet that it began with."""
    plan = choose_sync(leader, learner.last_processed, **options)
    if plan.op == Packet.SNAP:
        receive(learner, leader, plan.zxid)
        learner.save_snapshot(plan.zxid)
        return plan.op
    packets = PacketStream().feed(b"".join(plan.packets(leader)))
    assert (packets[0].type, packets[0].zxid) == (plan.op, plan.zxid)
    if plan.op == Packet.TRUNC:
        learner.truncate(plan.zxid)
    take(learner, [Entry(one.zxid, one.data or b"") for one in packets if one.type == Packet.PROPOSAL])
    assert learner.last_processed == plan.last or not counter_of(plan.last)
    return plan.op
