"""Ensembles of real server processes on loopback, Apache's and ours in any mix, each on a folder of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kazoo.client import KazooClient

from compat import jute
from compat.exchange import digest_mismatches
from compat.rawclient import Client
from compat.servers import LOOPBACK, ZABRA, ServerProcess, free_port
from compat.workload import SUPER_CREDENTIAL, SUPER_DIGEST

LEADER: Final = "leader"
FOLLOWER: Final = "follower"
OBSERVER: Final = "observer"
READ_ONLY: Final = "read-only"

#: Two JVMs that start on two cores take their time; whatever is waited for is there much sooner as a rule.
LIMIT_S: Final = 40.0
#: An election and a synchronisation have 10 s; a connection that has gone silent 5 s.
CONFIG: Final = {
    "tickTime": "500",
    "initLimit": "20",
    "syncLimit": "10",
    "maxSessionTimeout": "120000",
    "maxClientCnxns": "0",
    "reconfigEnabled": "true",
    "extendedTypesEnabled": "true",
    "preAllocSize": "64",
    "DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
    "admin.enableServer": "false",
    "4lw.commands.whitelist": "*",
}
PROPERTIES: Final = {"znode.container.checkIntervalMs": "500"}
#: Every so many zxids a server notes the digest of its tree.
DIGEST_INTERVAL: Final = 128
#: Requests on their way at once when a tree is walked or filled.
WINDOW: Final = 200


@dataclass(frozen=True)
class Spec:
    """What one member is to be."""

    kind: str
    observer: bool = False
    #: More lines of zoo.cfg.
    config: Mapping[str, str] = field(default_factory=dict)
    #: More ``-D`` properties.
    properties: Mapping[str, str] = field(default_factory=dict)
    #: Where the other members find it; ports that all have the same number need an address each.
    host: str = LOOPBACK
    #: More addresses of it, under the same ports (``multiAddress.enabled``).
    more_hosts: Sequence[str] = ()


class Member(ServerProcess):
    """One server of an ensemble. ``kind`` may be changed while it is stopped: the folder stays."""

    def __init__(self, sid: int, folder: Path, spec: Spec) -> None:
        super().__init__(spec.kind, folder, properties={**PROPERTIES, **spec.properties})
        self.sid = sid
        self.spec = spec
        self.port = free_port()
        self.quorum_port = free_port()
        self.election_port = free_port()
        #: Set by the ensemble before the first start.
        self.lines: Sequence[str] = ()

    def pause(self) -> None:
        """SIGSTOP; nothing that is sent to it is read from now on, and it may only be killed."""
        os.kill(self.pid, signal.SIGSTOP)
        while "\nState:\tT" not in Path(f"/proc/{self.pid}/status").read_text():
            time.sleep(0.001)

    def line(self, *, observer: bool | None = None) -> str:
        """Its line of the membership, in the role it was made for or another."""
        role = "observer" if (self.spec.observer if observer is None else observer) else "participant"
        hosts = (self.spec.host, *self.spec.more_hosts)
        addresses = "|".join(f"{host}:{self.quorum_port}:{self.election_port}" for host in hosts)
        return f"server.{self.sid}={addresses}:{role};{LOOPBACK}:{self.port}"

    def write_config(self) -> Path:
        """Written once: with ``reconfigEnabled`` the file belongs to the server from then on."""
        config = self.folder / "zoo.cfg"
        if not config.exists():
            self.data.mkdir(parents=True, exist_ok=True)
            (self.data / "myid").write_text(f"{self.sid}\n")
            lines = {**CONFIG, "dataDir": str(self.data), **self.spec.config}
            if self.spec.observer:
                lines["peerType"] = "observer"
            config.write_text("\n".join((*(f"{name}={value}" for name, value in lines.items()), *self.lines, "")))
        return config

    def ask(self, word: str) -> str:
        """The answer to a four-letter word; nothing when nobody listens, or it does not say anything for a second."""
        try:
            return self.word(word, 1.0)
        except OSError:
            return ""

    def mode(self) -> str | None:
        """The role in which it serves; ``None`` while it does not serve."""
        return _value(self.ask("srvr"), "Mode: ")

    def zxid(self) -> int | None:
        """The last zxid that is in its tree; ``None`` while it does not serve."""
        shown = _value(self.ask("srvr"), "Zxid: ")
        return None if shown is None else int(shown, 16)

    def metrics(self) -> dict[str, str]:
        """What ``mntr`` tells, without the prefix of the names."""
        pairs = (line.partition("\t") for line in self.ask("mntr").splitlines())
        return {name.removeprefix("zk_"): value for name, _, value in pairs}

    def digests(self) -> dict[int, str]:
        """zxid -> digest of the tree there, for those that it remembers."""
        pairs = (line.split(": ") for line in self.ask("hash").splitlines())
        return {int(zxid, 16): digest for zxid, digest in pairs}


def _value(text: str, label: str) -> str | None:
    return next((line[len(label) :] for line in text.splitlines() if line.startswith(label)), None)


class Ensemble:
    """Members by id. As a context manager it kills what still runs at the end."""

    def __init__(
        self,
        folder: Path,
        specs: Mapping[int, Spec],
        *,
        config: Mapping[str, str] | None = None,
        quorums: Sequence[str] = (),
    ) -> None:
        """``config`` is more lines of every zoo.cfg, ``quorums`` the lines of groups and weights."""
        self.folder = folder
        self._config = dict(config or {})
        self._quorums = tuple(quorums)
        self.members: dict[int, Member] = {}
        for sid, spec in specs.items():
            self._make(sid, spec)
        lines = [member.line() for member in self.members.values()]
        for member in self.members.values():
            member.lines = (*lines, *self._quorums)

    def __enter__(self) -> Ensemble:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members.values():
            member.kill()

    def __getitem__(self, sid: int) -> Member:
        return self.members[sid]

    def _make(self, sid: int, spec: Spec) -> Member:
        spec = dataclasses.replace(spec, config={**self._config, **spec.config})
        member = self.members[sid] = Member(sid, self.folder / str(sid), spec)
        return member

    # -- servers come and go

    def start(self, *sids: int) -> None:
        """Start these members, or all, at once, and wait until every member that runs serves."""
        for member in (self.members[sid] for sid in sids or self.members):
            if not member.alive():
                member.spawn()
        self.wait_serving(*(sid for sid, member in self.members.items() if member.alive()))

    def start_led_by(self, leader: int) -> None:
        """Start all so that ``leader`` leads: with equal histories the largest id of the first quorum does."""
        voters = [sid for sid, member in self.members.items() if not member.spec.observer]
        first = [leader, *(sid for sid in sorted(voters) if sid < leader)][: len(voters) // 2 + 1]
        self.start(*first)
        assert self.leader().sid == leader, self.modes()
        self.start()

    def lead(self, leader: int) -> None:
        """Bring the leadership to ``leader`` by restarting whoever has it instead, as often as it takes."""
        for _ in range(5):
            present = self.leader()
            if present.sid == leader:
                return
            # An epoch without a transaction looks different on those that it has brought in step.
            self.fill(present.sid, 1)
            self.quiet()
            present.stop()
            voters = [member for member in self.members.values() if not member.spec.observer]
            if sum(member.alive() for member in voters) > len(voters) // 2:
                self.until(f"another leader than {present.sid}", lambda: LEADER in self.modes().values())
            self.start(present.sid)
        raise self.failure(f"{leader} does not get to lead")

    def restart(self, sid: int, *, kind: str | None = None) -> None:
        """Stop a member in order and start it, as a server of ``kind`` if given; wait until it serves."""
        member = self.members[sid]
        member.stop()
        if kind is not None:
            member.kind = kind
        self.start(sid)

    def add(self, sid: int, spec: Spec) -> Member:
        """A new member that lists itself beside the present ones; not started, and in nobody else's list."""
        present = [member.line() for member in self.members.values()]
        member = self._make(sid, spec)
        member.lines = (*present, member.line(), *self._quorums)
        return member

    def remove(self, sid: int) -> None:
        """Kill a member and forget it."""
        self.members.pop(sid).kill()

    # -- who does what

    def modes(self) -> dict[int, str | None]:
        """Id -> role in which the member serves."""
        return {sid: member.mode() for sid, member in self.members.items()}

    def leader(self) -> Member:
        """The member that leads; one must, though on a busy machine it may not say so at once."""
        leaders: list[int] = []

        def one_leads() -> bool:
            leaders[:] = [sid for sid, mode in self.modes().items() if mode == LEADER]
            return len(leaders) == 1

        self.until("one leads", one_leads)
        return self.members[leaders[0]]

    def followers(self) -> list[Member]:
        """The members that follow at this moment."""
        return [self.members[sid] for sid, mode in self.modes().items() if mode == FOLLOWER]

    # -- waiting

    def until(self, what: str, condition: Callable[[], Any], limit_s: float = LIMIT_S) -> None:
        """Poll until ``condition`` holds; fails with the logs of all members when it does not."""
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline:
                raise self.failure(f"not within {limit_s} s: {what}")
            time.sleep(0.02)

    def wait_serving(self, *sids: int, limit_s: float = LIMIT_S) -> None:
        """Wait until these members, or all, serve, and one leads."""
        waited = [self.members[sid] for sid in sids or self.members]

        def serve() -> bool:
            for member in waited:
                if not member.alive():
                    raise self.failure(f"server {member.sid} ({member.kind}) left")
            if any(member.mode() in (None, READ_ONLY) for member in waited):
                return False
            return LEADER in self.modes().values()

        self.until(f"{[member.sid for member in waited]} serve", serve, limit_s)

    def wait_mode(self, sid: int, mode: str | None, limit_s: float = LIMIT_S) -> None:
        """Wait until a member serves in the role ``mode``."""
        self.until(f"{sid} is {mode}", lambda: self.members[sid].mode() == mode, limit_s)

    def quiet(self) -> int:
        """Wait until every member that serves has applied the same last zxid; which."""
        zxids: set[int] = set()

        def level() -> bool:
            shown = [member.zxid() for member in self.members.values() if member.alive()]
            zxids.clear()
            zxids.update(zxid for zxid in shown if zxid is not None)
            return None not in shown and len(zxids) == 1

        self.until("all have the same last zxid", level)
        return zxids.pop()

    def failure(self, text: str) -> AssertionError:
        """An error that shows how every member is and what it printed last."""
        shown = [text, f"modes: {self.modes()}"]
        for sid, member in self.members.items():
            state = "runs" if member.alive() else "does not run"
            shown.append(f"--- {sid} ({member.kind}, {state}), {member.log}\n{member.log_tail(12)}")
        return AssertionError("\n".join(shown))

    # -- clients

    def client(self, sid: int, **handshake: Any) -> Client:
        """A client of one member, on a bare socket."""
        return Client(self.members[sid].port, **{"timeout_ms": 60000, **handshake})

    @contextlib.contextmanager
    def kazoo(self, *sids: int, timeout_s: float = 30.0, **options: Any) -> Iterator[KazooClient]:
        """A kazoo client of these members, or of all."""
        members = [self.members[sid] for sid in sids or self.members]
        hosts = ",".join(f"{LOOPBACK}:{member.port}" for member in members)
        client = KazooClient(hosts, timeout=timeout_s, **options)
        client.start(LIMIT_S)
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def fill(self, sid: int, count: int, path: str = "/fill") -> None:
        """Write ``count`` times through a member, on one node, many at once; the session ends behind it."""
        with self.client(sid) as client:
            client.call(jute.CREATE, jute.create(path, b"", jute.OPEN, 0))
            for start in range(0, count, WINDOW):
                numbers = range(start, min(start + WINDOW, count))
                for number in numbers:
                    client.post(jute.SET_DATA, jute.set_data(path, b"%d" % number * 10, -1))
                for _ in numbers:
                    answer = client.reply(jute.SET_DATA)
                    assert answer is not None, f"server {sid} closed"
                    assert answer[2] == 0, answer
            client.close_session()

    # -- judging

    def check_digests(self, *, strict: bool = False) -> None:
        """All members that serve must have had equal trees, at the zxids where several of them took the digest.

        None of ours may have come to another tree than a transaction says; ``strict``: nor one of Apache's, which
        happens to those by themselves at times when they come back in the middle of a load.
        """
        self.fill(self.leader().sid, DIGEST_INTERVAL)
        self.quiet()
        self.compare_digests(strict=strict)

    def compare_digests(self, *, strict: bool = False) -> None:
        """The same as things are: there must be a zxid at which all took a digest."""
        digests = {sid: member.digests() for sid, member in self.members.items() if member.alive()}
        common = set.intersection(*map(set, digests.values()))
        if not common:
            raise self.failure(f"no zxid at which all took a digest: {digests}")
        for zxid in sorted(set().union(*digests.values())):
            found = {sid: taken[zxid] for sid, taken in digests.items() if zxid in taken}
            if len(set(found.values())) > 1:
                raise self.failure(f"digests at 0x{zxid:x}: {found}")
        for sid, member in self.members.items():
            if member.alive() and (strict or member.kind == ZABRA) and digest_mismatches(member):
                raise self.failure(f"{sid} applied transactions and came to another tree than their digests say")

    def check_trees(self) -> None:
        """All members that serve must show the same tree, with every Stat and ACL, and digests that agree."""
        self.check_digests()
        clients = {sid: self.client(sid) for sid, member in self.members.items() if member.alive()}
        try:
            for client in clients.values():
                client.call(jute.AUTH, jute.auth("digest", SUPER_CREDENTIAL), jute.XID_AUTH)
            self.quiet()
            trees = {sid: walk(client) for sid, client in clients.items()}
            for client in clients.values():
                client.close_session()
        finally:
            for client in clients.values():
                client.link.close()
        first, *others = trees
        for other in others:
            a, b = trees[first], trees[other]
            lines = [f"{path}: {a.get(path)} / {b.get(path)}" for path in {**a, **b} if a.get(path) != b.get(path)]
            if lines:
                raise self.failure("\n".join((f"trees of {first} and {other} differ:", *lines[:10])))


def walk(client: Client) -> dict[str, tuple[Any, ...]]:
    """Every node a client can see: path -> (data, Stat), (ACL, Stat), (children, Stat).

    The times of the config node are those of the server at which it is read, not of the ensemble.
    """
    found: dict[str, tuple[Any, ...]] = {}
    questions = (
        (jute.GET_DATA, lambda path: jute.path_watch(path, False)),
        (jute.GET_ACL, jute.text),
        (jute.GET_CHILDREN2, lambda path: jute.path_watch(path, False)),
    )
    waiting = ["/"]
    while waiting:
        paths, waiting = waiting[:WINDOW], waiting[WINDOW:]
        for path in paths:
            for opcode, body in questions:
                client.post(opcode, body(path))
        for path in paths:
            answers = [client.reply(opcode) for opcode, _ in questions]
            assert None not in answers, "the server closed"
            found[path] = tuple((answer[2], _timeless(path, answer[3])) for answer in answers if answer is not None)
            listing = answers[2][3] if answers[2] is not None else None
            if listing:
                waiting += [f"{path.rstrip('/')}/{name}" for name in listing[0][1]]
    return found


def _timeless(path: str, body: Any) -> Any:
    if path != "/zookeeper/config" or body is None:
        return body
    return tuple(part._replace(mtime=jute.Time(0)) if isinstance(part, jute.Stat) else part for part in body)
