"""What one operation costs in each hot file: `python bench/micro.py [name...]`, in ns of the thread's CPU time.

No socket and no sync takes part: connections write into nothing, and the log is written with forceSync=no. The smallest
of several repeats is shown, which other load on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]  # so that the file runs as a script

from bench import micro_zab
from bench.micro_zab import Case
from bench.servers import CONNECT_REQUEST, free_port
from zabra.consts import Op
from zabra.frontend.connection import Connection
from zabra.main import configure
from zabra.node import Server
from zabra.pipeline import persist as log_stage
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.request import Proposal, Write
from zabra.runtime.real import real_runtime, run
from zabra.sessions.tracker import Session
from zabra.storage.logformat import frame_all
from zabra.tree.dump import Dump
from zabra.wire.frames import split
from zabra.wire.records_data import Identity

CONNECTIONS = 20
IN_FLIGHT = 64
ZNODES = 1000
REPEATS = 30
VALUE = b"v" * 100
ACL = struct.pack(">ii", 1, 31) + b"\0\0\0\5world\0\0\0\6anyone"


class Nowhere(asyncio.Transport):
    """A transport whose other side takes everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.last = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.last = bytes(data)

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default


class Nobody:
    """Whoever asked for a write that is only validated or committed here."""

    session: Session | None = None
    identities: tuple[Identity, ...] = (("ip", "127.0.0.1"),)

    def answer_write(self, xid: int, zxid: int, body: bytes, err: int) -> None:
        assert not err, f"a write was refused with {err}"

    def answer_writes(self, replies: list[bytes], zxid: int) -> None:
        pass

    def answer_sync(self, xid: int, body: bytes) -> None:
        pass

    def session_opened(self, session: Session) -> None:
        pass

    def session_closed(self, write: Write) -> None:
        pass

    def close(self) -> None:
        pass


def string(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


def frame(body: bytes) -> bytes:
    return string(body)


def get_request(index: int) -> bytes:
    return struct.pack(">ii", 1, Op.GET_DATA) + string(b"/bench/n%06d" % (index % ZNODES)) + b"\0"


def set_request(index: int) -> bytes:
    return struct.pack(">ii", 1, Op.SET_DATA) + string(b"/bench/n%06d" % (index % ZNODES)) + string(VALUE) + b"\xff" * 4


def create_request(path: bytes) -> bytes:
    return struct.pack(">ii", 1, Op.CREATE) + string(path) + string(VALUE) + ACL + bytes(4)


class Workbench:
    """A server with sessions and znodes, and the cases to time on it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connections: list[Connection] = []
        self._fresh = 0
        self._planned: list[Proposal] = []
        assert isinstance(server.pipeline, LocalPipeline)
        self._prep_stage = server.pipeline.prep
        self._propose = self._prep_stage.propose

    async def prepare(self) -> None:
        sides = [Nowhere() for _ in range(CONNECTIONS)]
        for side in sides:
            connection = Connection(self.server.hub)
            connection.connection_made(side)
            connection.data_received(CONNECT_REQUEST)
            self.connections.append(connection)
        while not all(side.last for side in sides):
            await asyncio.sleep(0.001)
        paths = [b"/bench", b"/fresh", *(b"/bench/n%06d" % index for index in range(ZNODES))]
        for path in paths:
            self.connections[0].data_received(frame(create_request(path)))
            self.end_turn()

    def end_turn(self) -> None:
        """What the loop does after the reads of a turn: write the log, commit, answer."""
        assert isinstance(self.server.pipeline, LocalPipeline)
        persist = self.server.pipeline.outbox
        assert isinstance(persist, log_stage.Persist)
        persist.flush()
        assert not persist.outstanding

    def fresh_paths(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            self._fresh += 1
            yield b"/fresh/n%09d" % self._fresh

    # -- cases; a call prepares one repeat

    def split(self) -> Case:
        chunk = b"".join(frame(get_request(index)) for index in range(IN_FLIGHT))
        return lambda: split(chunk, 1 << 20), IN_FLIGHT

    def get_chunk(self) -> Case:
        return self._reads(IN_FLIGHT)

    def get_single(self) -> Case:
        return self._reads(1)

    def _reads(self, in_flight: int) -> Case:
        chunk = b"".join(frame(get_request(index)) for index in range(in_flight))
        connection = self.connections[0]

        def work() -> None:
            for _ in range(20):
                connection.data_received(chunk)

        return work, in_flight * 20

    def set_prep(self) -> Case:
        return self._prep(Op.SET_DATA, [set_request(index) for index in range(ZNODES)])

    def create_prep(self) -> Case:
        return self._prep(Op.CREATE, [create_request(path) for path in self.fresh_paths(ZNODES)])

    def _prep(self, op: int, requests: list[bytes]) -> Case:
        """Validates; the first thing a repeat does is to commit what the one before has planned."""
        self._commit_planned()
        prep = self._prep_stage
        frames = [frame(request) for request in requests]
        chunks = [b"".join(frames[at : at + IN_FLIGHT]) for at in range(0, len(frames), IN_FLIGHT)]
        session = self.connections[0].session
        assert session is not None
        nobody = Nobody()
        planned = self._planned

        def work() -> None:
            prep.propose = lambda _payloads, writes: planned.extend(writes)
            for chunk in chunks:
                plan = prep.set_data_run if op == Op.SET_DATA else prep.create_run
                assert plan(nobody, session, chunk, 0, len(chunk) - 16, 1 << 20)[0] == len(chunk)
            prep.propose = self._propose

        return work, len(requests)

    def _commit_planned(self) -> None:
        self.server.pipeline.commit(self._planned, int(time.monotonic() * 1000))
        self._planned.clear()

    def set_commit(self) -> Case:
        return self._commit(Op.SET_DATA, [set_request(index) for index in range(ZNODES)])

    def create_commit(self) -> Case:
        return self._commit(Op.CREATE, [create_request(path) for path in self.fresh_paths(ZNODES)])

    def _commit(self, op: int, requests: list[bytes]) -> Case:
        plan, count = self._prep(op, requests)
        plan()
        return self._commit_planned, count

    def log_frames(self) -> Case:
        payloads = [bytes(32) + set_request(index)[8:] + bytes(12) for index in range(ZNODES)]
        return lambda: frame_all(payloads), ZNODES

    def set_turn(self) -> Case:
        return self._turn([set_request(index) for index in range(CONNECTIONS * IN_FLIGHT)])

    def create_turn(self) -> Case:
        return self._turn([create_request(path) for path in self.fresh_paths(CONNECTIONS * IN_FLIGHT)])

    def set_turn_single(self) -> Case:
        return self._turn([set_request(index) for index in range(CONNECTIONS)])

    def _turn(self, requests: list[bytes]) -> Case:
        share = len(requests) // CONNECTIONS
        chunks = [
            (connection, b"".join(map(frame, requests[at * share : (at + 1) * share])))
            for at, connection in enumerate(self.connections)
        ]

        def work() -> None:
            for connection, chunk in chunks:
                connection.data_received(chunk)
            self.end_turn()

        return work, len(requests)

    def watch_events(self) -> Case:
        tree = self.server.tree
        watching = frame(get_request(0)[:-1] + b"\1")
        for connection in self.connections:
            connection.data_received(watching)
        node = tree.nodes[b"/bench/n000000"]

        def work() -> None:
            tree.install_set(b"/bench/n000000", node, tree.last_zxid)
            self.server.hub.end_turn()

        return work, CONNECTIONS

    def dump(self) -> Case:
        tree = self.server.tree
        count = tree.node_count

        def work() -> None:
            dump = Dump(tree, {})
            while dump.next_chunk(48):
                pass

        return work, count


CASES = {
    "split": "wire/frames.py: cut a chunk of 64 requests",
    "get_chunk": "frontend/connection.py: getData, 64 in a chunk, to the joined replies",
    "get_single": "frontend/connection.py: getData, one in a chunk",
    "set_prep": "pipeline/prep.py: validate a setData, make its transaction",
    "create_prep": "pipeline/prep_create.py: the same for a create",
    "set_commit": "pipeline/commit.py, tree/tree.py: install a setData",
    "create_commit": "the same for a create",
    "log_frames": "storage/logformat.py: checksum and frame a log entry",
    "set_turn": "all of it: a turn of 20 connections with 64 setData each",
    "set_turn_single": "all of it: a turn of 20 connections with one setData each",
    "create_turn": "all of it: a turn of 20 connections with 64 creates each",
    "watch_events": "tree/watches.py, frontend: one event to one of 20 watchers",
    "dump": "tree/dump.py: a node of a snapshot",
}


def measure(make: Callable[[], Case], repeats: int) -> float:
    """The smallest time of one operation, in nanoseconds."""
    best = float("inf")
    for _ in range(repeats):
        work, operations = make()
        before = time.thread_time_ns()
        work()
        best = min(best, (time.thread_time_ns() - before) / operations)
    return best


async def measure_all(names: Sequence[str], repeats: int, folder: str) -> dict[str, float]:
    """Runs the named cases on one server; name to nanoseconds."""
    config = Path(folder, "zoo.cfg")
    config.write_text(
        f"dataDir={folder}/data\nclientPort={free_port()}\nclientPortAddress=127.0.0.1\nforceSync=no\nsnapCount=100000000\n"
    )
    # A busy machine would make the log look slow and be written by its worker, beside the measurement.
    log_stage.INLINE_SYNC_MAX = float("inf")  # type: ignore[misc]
    server = Server(configure([str(config)], [], {}).settings, real_runtime())
    await server.start()
    bench = Workbench(server)
    await bench.prepare()
    try:
        return {name: measure(getattr(bench, name), repeats) for name in names if name in CASES}
    finally:
        await server.stop()


def measure_cores(names: Sequence[str], repeats: int, batch: int) -> dict[str, float]:
    """The named cases of leader and learner."""
    term = micro_zab.Term(batch)
    return {name: measure(getattr(term, name), repeats) for name in names if name in micro_zab.CASES}


def main(argv: Sequence[str] | None = None) -> int:
    texts = {**CASES, **micro_zab.CASES}
    parser = argparse.ArgumentParser(description="Measures the hot files one by one.")
    parser.add_argument("names", nargs="*", choices=[*texts, []], help="cases (default all)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"default {REPEATS}")
    parser.add_argument(
        "--batch",
        type=int,
        default=micro_zab.BATCH,
        help=f"entries in a turn of an ensemble (default {micro_zab.BATCH})",
    )
    args = parser.parse_args(argv)
    names = args.names or list(texts)
    figures = {}
    if CASES.keys() & set(names):
        with tempfile.TemporaryDirectory() as folder:
            figures = run(measure_all(names, args.repeats, folder))
    figures |= measure_cores(names, args.repeats, args.batch)
    for name, nanoseconds in figures.items():
        print(f"{nanoseconds:9,.0f} ns  {name:17} {texts[name]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
