"""The same random requests to two servers in lockstep: every reply and event must be equal.

Zxids must differ by a constant, times must be those of their transactions, session ids are mapped one to one; all else
is compared byte for byte. Then both servers stop, each data folder is opened by both kinds of server, and whole trees,
digests and snapshots are compared; at last the random requests go on with the folders swapped.

``python -m compat.differential --seeds 1..20 --left apache --right zabra`` runs it by hand.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from compat import jute
from compat.exchange import compare_served
from compat.jute import Session, Stat, Time
from compat.rawclient import Link
from compat.servers import APACHE, ZABRA, ServerProcess, copy_data, missing_java
from compat.workload import SUPER_DIGEST, Connect, Raw, Send, Step, Workload

CONFIG: Final = {
    "minSessionTimeout": "30000",
    "maxSessionTimeout": "60000",
    "enforceQuota": "true",
    "maxClientCnxns": "0",
}
PROPERTIES: Final = {
    "zookeeper.DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
    "zookeeper.extendedTypesEnabled": "true",
    "zookeeper.preAllocSize": "1024",
    # No sweeper: when it runs differs.
    "znode.container.checkIntervalMs": "86400000",
}
#: Further properties; each seed has one of these sets.
VARIANTS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"zookeeper.skipACL": "yes"},
    {"zookeeper.snapshot.compression.method": "gz", "zookeeper.closeSessionTxn.enabled": "false"},
    {"zookeeper.extendedTypesEnabled": "false"},
    {"zookeeper.digest.enabled": "false"},
)
#: Two servers that ran in lockstep prepare the same request within this time.
CLOCK_TOLERANCE_MS: Final = 10000
UNIMPLEMENTED: Final = -6
AUTH_FAILED: Final = -115
SHOWN_STEPS: Final = 8


def session_password(session: int) -> bytes:
    """What ZooKeeper derives from a session id: 16 bytes of java.util.Random (``SessionTrackerImpl``)."""
    mask = (1 << 48) - 1
    state = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & mask
    password = b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & mask
        password += (state >> 16).to_bytes(4, "little")
    return password


@dataclass
class Folder:
    """What is known about the content of one data folder, whoever serves it."""

    #: zxid -> wall-clock milliseconds of that transaction
    times: dict[int, int] = field(default_factory=dict)
    #: session number -> (id, password)
    sessions: dict[int, tuple[int, bytes]] = field(default_factory=dict)


@dataclass
class Observation:
    """What one server did in one step."""

    items: list[tuple[Any, ...]] = field(default_factory=list)
    replies: list[tuple[Any, ...]] = field(default_factory=list)
    closed: bool = False


class Side:
    """One server of the pair and its connections."""

    def __init__(self, server: ServerProcess, folder: Folder) -> None:
        self.server = server
        self.folder = folder
        self.links: dict[int, Link] = {}

    def close(self) -> None:
        """Close every connection without a word."""
        for link in self.links.values():
            link.close()
        self.links.clear()

    def begin(self, step: Step) -> None:
        """Send what the step sends."""
        if isinstance(step, Send):
            self.links[step.slot].send(b"".join(request.wire() for request in step.requests))
        elif isinstance(step, Raw):
            self.links[step.slot].send(step.raw)
            if step.end_output:
                self.links[step.slot].end_output()

    def finish(self, step: Step) -> Observation:
        """Observe until the end of the step."""
        seen = Observation()
        if isinstance(step, Connect):
            self._connect(step, seen)
        elif isinstance(step, Send):
            self._read(self.links[step.slot], [request.opcode for request in step.requests], seen)
        elif isinstance(step, Raw):
            self._read(self.links[step.slot], [], seen, until_closed=True)
        else:
            seen.closed = True
        if seen.closed:
            self.links.pop(step.slot).close()
        return seen

    def _connect(self, step: Connect, seen: Observation) -> None:
        session, password = 0, bytes(16)
        if step.renew:
            session, password = self.folder.sessions[step.number]
        if step.unknown_session:
            session = 0x0123456789ABCDEF
        if not step.password_good:
            password = password[:-1] + bytes([password[-1] ^ 1])
        link = self.links[step.slot] = Link(self.server.port)
        greeting = jute.connect(
            session=session,
            password=password,
            timeout_ms=step.timeout_ms,
            last_zxid=step.last_zxid,
            read_only=step.read_only,
            protocol=step.protocol,
        )
        link.send(jute.frame(greeting))
        payload = link.receive()
        if payload is None:
            seen.closed = True
            return
        answer = jute.decode_handshake(payload)
        given = Session(answer.session)
        good = answer.password == (session_password(given) if given else bytes(16))
        seen.items.append(("handshake", answer.protocol, answer.timeout_ms, given, good, answer.surplus))
        if given and step.number >= 0:
            self.folder.sessions[step.number] = (answer.session, answer.password or b"")
        if not given:
            self._read(link, [], seen, until_closed=True)

    def _read(self, link: Link, opcodes: list[int], seen: Observation, *, until_closed: bool = False) -> None:
        """Read the replies to ``opcodes`` and the events before them; on to the end when the server closes."""
        while until_closed or len(seen.replies) < len(opcodes):
            try:
                payload = link.receive()
            except TimeoutError:
                seen.items.append(("silence",))
                seen.closed = True
                return
            if payload is None:
                seen.closed = True
                return
            if payload.startswith(b"\xff\xff\xff\xff"):
                seen.items.append(jute.decode_event(payload))
                continue
            opcode = opcodes[len(seen.replies)] if len(seen.replies) < len(opcodes) else 0
            reply = jute.decode_reply(payload, opcode)
            seen.replies.append(reply)
            seen.items.append(("reply", *reply))
            refused = reply[2] == AUTH_FAILED or (reply[2] == UNIMPLEMENTED and reply[1] == -1)
            until_closed = until_closed or refused or opcode == jute.CLOSE_SESSION


class Comparison:
    """Compares what two servers said, with sessions mapped and times checked against their zxids."""

    def __init__(self, left: Folder, right: Folder) -> None:
        self.left = left
        self.right = right
        #: ids of the same session, left -> right
        self.sessions = {0: 0} | {left.sessions[n][0]: right.sessions[n][0] for n in left.sessions}
        #: Events of one closeSession come in no particular order; their zxids.
        self.unordered: set[int] = set()

    def differences(self, a: Any, b: Any, where: str = "") -> Iterator[str]:
        """A line for each place where ``a`` and ``b`` are not the same."""
        if type(a) is not type(b):
            yield f"{where}: {a!r} / {b!r}"
        elif isinstance(a, Stat):
            yield from self._stats(a, b, where)
        elif isinstance(a, Session):
            if self.sessions.setdefault(int(a), int(b)) != b:
                yield f"{where}: session 0x{a:x} / 0x{b:x}"
        elif isinstance(a, tuple | list):
            for number, (x, y) in enumerate(zip(a, b, strict=False)):
                yield from self.differences(x, y, f"{where}[{number}]")
            if len(a) != len(b):
                common = min(len(a), len(b))
                yield f"{where}[{common}:]: {a[common:]!r} / {b[common:]!r}"
        elif a != b:
            yield f"{where}: {a!r} / {b!r}"

    def _stats(self, a: Stat, b: Stat, where: str) -> Iterator[str]:
        for name, x, y in zip(Stat._fields, a, b, strict=True):
            if not isinstance(x, Time):
                yield from self.differences(x, y, f"{where}.{name}")
        for folder, stat in ((self.left, a), (self.right, b)):
            for zxid, moment in ((stat.czxid, stat.ctime), (stat.mzxid, stat.mtime)):
                if zxid and folder.times.setdefault(zxid, moment) != moment:
                    yield f"{where}: two times for zxid {zxid}: {folder.times[zxid]} and {moment} in {stat}"
        if abs(a.mtime - b.mtime) > CLOCK_TOLERANCE_MS or abs(a.ctime - b.ctime) > CLOCK_TOLERANCE_MS:
            yield f"{where}: times {a.ctime}, {a.mtime} / {b.ctime}, {b.mtime}"

    def observations(self, step: Step, a: Observation, b: Observation) -> list[str]:
        """The differences of one step."""
        if isinstance(step, Send):
            closing = [reply[1] for reply in a.replies[-1:] if step.requests[-1].opcode == jute.CLOSE_SESSION]
            self.unordered.update(closing)
        lines = list(self.differences(self._sorted(a.items), self._sorted(b.items)))
        if a.closed != b.closed:
            lines.append(f"closed: {a.closed} / {b.closed}")
        return lines

    def _sorted(self, items: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """The items, with the events of a closeSession sorted among themselves."""
        result: list[tuple[Any, ...]] = []
        for zxid, group in itertools.groupby(items, key=lambda item: item[1] if item[0] == "event" else None):
            members = list(group)
            result += sorted(members, key=repr) if zxid in self.unordered else members
        return result


class Lockstep:
    """Drives two servers through one workload."""

    def __init__(self, left: Side, right: Side, workload: Workload) -> None:
        self.left = left
        self.right = right
        self.workload = workload
        self.comparison = Comparison(left.folder, right.folder)
        self.history: list[str] = []
        self.count = 0

    def run(self, steps: int, opening: list[Step]) -> list[str]:
        """``steps`` random steps behind the opening ones; the differences of the first step that has any."""
        pending = list(opening)
        while self.count < steps or pending:
            if not pending:
                pending = self.workload.next()
                continue
            lines = self._do(pending.pop(0))
            if lines:
                return ["after:", *self.history[-SHOWN_STEPS:], "differs (left / right):", *lines]
        for step in self.workload.barriers():
            if lines := self._do(step):
                return ["at the end:", *lines]
        return []

    def _do(self, step: Step) -> list[str]:
        self.count += 1
        self.history.append(f"  {self.count} {describe(step)}")
        self.left.begin(step)
        self.right.begin(step)
        a, b = self.left.finish(step), self.right.finish(step)
        self.history.append(f"      {a.items!r:.600}")
        self.workload.saw(step, a.replies, a.closed)
        return self.comparison.observations(step, a, b)


def describe(step: Step) -> str:
    """A step as text that can be typed into a test."""
    if isinstance(step, Send):
        shown = ", ".join(f"op {r.opcode} xid {r.xid} {r.body!r:.300}" for r in step.requests)
        return f"slot {step.slot}: {shown}"
    return repr(step)


class Experiment:
    """One seed: lockstep, exchange of the data folders, lockstep again."""

    def __init__(self, seed: int, left: str, right: str, folder: Path) -> None:
        self.kinds = (left, right)
        self.home = folder
        # Few snapshots: a long replay, whose digest history the servers show; many: replays from fuzzy snapshots.
        self.properties = {**PROPERTIES, "zookeeper.snapCount": "100000" if seed % 2 else "300"}
        self.properties |= VARIANTS[seed % len(VARIANTS)]
        self.workload = Workload(seed)
        self.folders = (Folder(), Folder())
        self.servers: list[ServerProcess] = []
        self.sides: list[Side] = []

    def run(self, steps: int) -> list[str]:
        """The differences found, with what led to them; empty when there is none."""
        try:
            return self._run(steps)
        finally:
            for side in self.sides:
                side.close()
            for server in self.servers:
                server.kill()

    def _run(self, steps: int) -> list[str]:
        first = [self._server(kind, f"first-{n}-{kind}") for n, kind in enumerate(self.kinds)]
        if lines := self._lockstep([server.start() for server in first]).run(steps, self.workload.opening()):
            return lines
        for server in first:
            server.stop()
        exchanged = []
        for number, origin in enumerate(first):
            pair = [self._copy(origin, kind, f"folder-{number}-{n}-{kind}") for n, kind in enumerate(self.kinds)]
            if lines := compare_served(pair):
                return [f"folder of {self.kinds[number]}, served by {self.kinds[0]} / {self.kinds[1]}:", *lines]
            exchanged.append(pair[1 - number])
            pair[number].stop()
        opening = self.workload.reopening(self.workload.last_zxid)
        lines = self._lockstep(exchanged).run(steps // 2, opening)
        return ["with the folders exchanged (left serves what right wrote):", *lines] if lines else []

    def _lockstep(self, servers: list[ServerProcess]) -> Lockstep:
        for side in self.sides:
            side.close()
        self.sides = [Side(server, folder) for server, folder in zip(servers, self.folders, strict=True)]
        return Lockstep(self.sides[0], self.sides[1], self.workload)

    def _server(self, kind: str, name: str, data: Path | None = None) -> ServerProcess:
        server = ServerProcess(kind, self.home / name, config=CONFIG, properties=self.properties, data=data)
        self.servers.append(server)
        return server

    def _copy(self, origin: ServerProcess, kind: str, name: str) -> ServerProcess:
        data = copy_data(origin, self.home / name)
        return self._server(kind, name, data).start()


def main() -> int:
    """Command line; exit code 1 when a seed shows a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1", help="N or A..B")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--left", choices=(APACHE, ZABRA), default=APACHE)
    parser.add_argument("--right", choices=(APACHE, ZABRA), default=ZABRA)
    parser.add_argument("--keep", action="store_true", help="keep the folders of the servers")
    options = parser.parse_args()
    if APACHE in (options.left, options.right) and (missing := missing_java()):
        parser.error(missing)
    low, _, high = options.seeds.partition("..")
    failed = 0
    for seed in range(int(low), int(high or low) + 1):
        folder = Path(tempfile.mkdtemp(prefix=f"differential-{seed}-"))
        started = time.monotonic()
        lines = Experiment(seed, options.left, options.right, folder).run(options.steps)
        failed += bool(lines)
        print(f"seed {seed}: {'differs' if lines else 'equal'} ({time.monotonic() - started:.1f} s)", flush=True)
        for line in lines:
            print(f"  {line}")
        if options.keep:
            print(f"  folders: {folder}")
        else:
            shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
