"""Three servers, Apache's and ours in every mix: a client must not notice which is which.

Each mix is started once; the tests leave it as they found it. Needs Java and ZABRA_ZOOKEEPER_CLASSPATH (the jars of
Apache ZooKeeper 3.9.5). ``ZABRA_MIXES`` names the mixes to run, separated by commas: ``apache-only`` and
``apache-with-observer``, which prove the tests themselves, run only when named.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final

import pytest

from compat import datafiles, jute
from compat.ensembles import FOLLOWER, LEADER, OBSERVER, Ensemble, Spec
from compat.load import Load
from compat.rawclient import Client
from compat.servers import APACHE, LOOPBACK, ZABRA, free_port, missing_java, require
from compat.workload import SUPER_CREDENTIAL

pytestmark = pytest.mark.java

#: Name -> what the servers 1 to 3 are, the one that is to lead, and whether 3 is an observer.
MIXES: Final = {
    "zabra-leads": ((APACHE, APACHE, ZABRA), 3, False),
    "apache-leads": ((ZABRA, ZABRA, APACHE), 3, False),
    "zabra-observes": ((APACHE, APACHE, ZABRA), 2, True),
    "apache-observes": ((ZABRA, ZABRA, APACHE), 2, True),
    "zabra-only": ((ZABRA, ZABRA, ZABRA), 3, False),
    "apache-only": ((APACHE, APACHE, APACHE), 3, False),
    "apache-with-observer": ((APACHE, APACHE, APACHE), 2, True),
}
RUN: Final = os.environ.get("ZABRA_MIXES", "zabra-leads,apache-leads,zabra-observes,apache-observes,zabra-only")
#: A log rolls after 10 to 20 MB and not before. However small the log behind the one where a learner's history ends,
#: it is longer than this part of a snapshot.
CONFIG: Final = {"snapSizeLimitInKb": "20480", "snapshotSizeFactor": "0.001"}
ROLL_BYTES: Final = 20480 * 1024
#: What a server keeps in memory of committed transactions.
COMMITTED_MAX: Final = 500

NO_AUTH, NO_NODE, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS = -102, -101, -103, -108
NODE_EXISTS, NOT_EMPTY, INVALID_ACL, BAD_ARGUMENTS, NO_QUORUM = -110, -111, -114, -8, -13
MARSHALLING, UNIMPLEMENTED = -5, -6
CREATED, DELETED, CHANGED, CHILD = 1, 2, 3, 4
PERSISTENT_RECURSIVE: Final = 1
EPHEMERAL, SEQUENTIAL, CONTAINER, TTL = 1, 2, 4, 5


class Mix:
    """An ensemble that runs, and how it is meant to be."""

    def __init__(self, name: str, ensemble: Ensemble) -> None:
        kinds, self.leader, self.observed = MIXES[name]
        self.ensemble = ensemble
        #: Why nothing more can be tested with it.
        self.broken = ""
        self.voters = 2 if self.observed else 3
        #: Two servers that are brought back in step by the leader, of the other kind where there are such.
        others = [sid for sid in (1, 2, 3) if sid != self.leader]
        self.learners = [3, 3] if self.observed else others
        self.stranger = next((kind for kind in kinds if kind != kinds[self.leader - 1]), kinds[0])

    def home(self) -> None:
        """All run, serve, and the right one leads."""
        self.ensemble.start()
        self.ensemble.lead(self.leader)

    @contextmanager
    def clients(self, **handshake: Any) -> Iterator[dict[int, Client]]:
        """A client of every server; their sessions end behind it."""
        with ExitStack() as stack:
            clients = {
                sid: stack.enter_context(self.ensemble.client(sid, **handshake)) for sid in self.ensemble.members
            }
            yield clients
            for client in clients.values():
                client.close_session()

    def syncs(self) -> tuple[int, int]:
        """How often the leader has sent (DIFF or TRUNC, SNAP)."""
        metrics = self.ensemble[self.leader].metrics()
        return int(metrics["diff_count"]), int(metrics["snap_count"])


@pytest.fixture(scope="module", params=[name for name in RUN.split(",") if name])
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mix]:
    """One mix, started once for all tests."""
    kinds, leader, observed = MIXES[request.param]
    if APACHE in kinds:
        require(missing_java())
    specs = {sid: Spec(kind, observer=observed and sid == 3) for sid, kind in enumerate(kinds, 1)}
    with Ensemble(tmp_path_factory.mktemp(request.param), specs, config=CONFIG) as ensemble:
        ensemble.start_led_by(leader)
        yield Mix(request.param, ensemble)


@pytest.fixture
def mix(started: Mix) -> Mix:
    """The mix as it should be, whatever the test before did to it."""
    assert not started.broken, f"not to be had after an earlier failure: {started.broken}"
    try:
        started.home()
    except AssertionError as error:
        started.broken = str(error).splitlines()[0]
        raise
    return started


def ok(answer: tuple[int, Any]) -> Any:
    """The body of a reply that must not be an error."""
    assert answer[0] == 0, answer
    return answer[1]


def create(client: Client, path: str, data: bytes = b"", flags: int = 0, acl: list[jute.Entry] = jute.OPEN) -> str:
    """Create a node; its path."""
    return str(ok(client.call(jute.CREATE, jute.create(path, data, acl, flags))))


def synced(client: Client) -> Client:
    """The client, once its server has everything that was acknowledged anywhere before.

    A leader of Apache's answers a sync before it has applied what a follower has acknowledged already; a write stands
    behind that, one that fails, too.
    """
    ok(client.call(jute.SYNC, jute.text("/")))
    assert client.call(jute.DELETE, jute.path_version("/never-made", -1))[0] == NO_NODE
    return client


def read(client: Client, path: str) -> Any:
    """(data, Stat), or the error."""
    err, body = client.call(jute.GET_DATA, jute.path_watch(path, False))
    return body if err == 0 else err


def event(client: Client) -> tuple[int, str | None, int]:
    """The next event: (type, path, zxid)."""
    while not client.events:
        payload = client.link.receive()
        assert payload is not None, "the server closed"
        assert payload.startswith(b"\xff\xff\xff\xff"), payload
        client.events.append(jute.decode_event(payload))
    _, zxid, _, kind, _, path, _ = client.events.pop(0)
    return kind, path, zxid


# ---- what clients see


def test_every_server_tells_its_role(mix: Mix) -> None:
    ensemble = mix.ensemble
    role_of = dict.fromkeys((1, 2, 3), FOLLOWER) | ({3: OBSERVER} if mix.observed else {}) | {mix.leader: LEADER}
    with mix.clients() as clients:
        membership = read(clients[1], "/zookeeper/config")[0].decode()
        for sid, role in role_of.items():
            member = ensemble[sid]
            labels = [line.partition(":")[0] for line in member.word("srvr").splitlines()]
            assert ("Proposal sizes last/min/max" in labels) == (role == LEADER)
            assert member.mode() == role
            assert member.word("ruok") == "imok"
            assert member.word("isro") == "rw"
            metrics = member.metrics()
            doing = {LEADER: "leading", FOLLOWER: "following", OBSERVER: "observing"}[role]
            assert metrics["server_state"] == role
            assert metrics["peer_state"] == f"{doing} - broadcast"
            assert metrics["quorum_size"] == str(mix.voters)
            if role == LEADER:
                names = ("learners", "synced_followers", "synced_observers", "synced_non_voting_followers")
                counts = [int(metrics[name]) for name in names]
                assert counts == [2, mix.voters - 1, 3 - mix.voters, 0]
                assert metrics["pending_syncs"] == "0"
                least, most = int(metrics["min_proposal_size"]), int(metrics["max_proposal_size"])
                assert 0 < least <= int(metrics["last_proposal_size"]) <= most
            conf, _, listed = member.word("conf").partition("membership: \n")
            assert listed.rstrip("\n") == membership
            assert conf.splitlines()[-6:] == [
                *("initLimit=20", "syncLimit=10", "electionAlg=3"),
                *(f"electionPort={member.election_port}", f"quorumPort={member.quorum_port}"),
                f"peerType={int(role == OBSERVER)}",
            ]
            assert f"serverId={sid}" in conf.splitlines()
            assert read(clients[sid], "/zookeeper/config")[0].decode() == membership
    assert re.fullmatch(r"(server\.\d=.*\n){3}version=[1-9a-f][0-9a-f]*", membership)


def test_writes_through_every_server_are_read_through_every_other(mix: Mix) -> None:
    with mix.clients() as clients:
        for sid, writer in clients.items():
            root = f"/through-{sid}"
            create(writer, root)
            path, made = ok(writer.call(jute.CREATE2, jute.create(f"{root}/a", b"1", jute.OPEN, 0)))
            assert path == f"{root}/a"
            changed = ok(writer.call(jute.SET_DATA, jute.set_data(path, b"2", 0)))
            assert (changed.czxid, changed.mzxid > made.mzxid, changed.version) == (made.czxid, True, 1)
            for number in range(2):
                assert create(writer, f"{root}/q-", flags=SEQUENTIAL) == f"{root}/q-{number + 1:010d}"
            ok(writer.call(jute.SET_ACL, jute.set_acl(f"{root}/q-0000000001", [(1, "world", "anyone")], 0)))
            create(writer, f"{root}/e", flags=EPHEMERAL)
            create(writer, f"{root}/gone")
            ok(writer.call(jute.DELETE, jute.path_version(f"{root}/gone", 0)))
            assert read(writer, path) == (b"2", changed)
            seen = set()
            for reader in clients.values():
                synced(reader)
                assert read(reader, path) == (b"2", changed)
                assert read(reader, f"{root}/e")[1].owner == writer.session
                assert read(reader, f"{root}/gone") == NO_NODE
                listing = ok(reader.call(jute.GET_CHILDREN2, jute.path_watch(root, False)))
                acl = ok(reader.call(jute.GET_ACL, jute.text(f"{root}/q-0000000001")))
                assert acl[0] == [(1, "world", "anyone")]
                seen.add(repr((listing, acl)))
            assert len(seen) == 1
            assert ok(writer.call(jute.GET_EPHEMERALS, jute.text(root))) == ("names", [f"{root}/e"])


def test_sync_brings_what_was_acknowledged_elsewhere(mix: Mix) -> None:
    with mix.clients() as clients:
        create(clients[1], "/synced")
        pairs = itertools.cycle(itertools.permutations(clients.values(), 2))
        for turn, (writer, reader) in enumerate(itertools.islice(pairs, 120)):
            written = ok(writer.call(jute.SET_DATA, jute.set_data("/synced", b"%d" % turn, -1)))
            reader.post(jute.SYNC, jute.text("/synced"))
            reader.post(jute.GET_DATA, jute.path_watch("/synced", False))
            sync, data = reader.reply(jute.SYNC), reader.reply(jute.GET_DATA)
            assert sync is not None
            assert data is not None
            assert (sync[2], sync[3]) == (0, "/synced")
            if reader is clients[mix.leader] and mix.ensemble[mix.leader].kind == APACHE:
                assert read(synced(reader), "/synced") == (b"%d" % turn, written)
            else:
                assert data[3] == (b"%d" % turn, written)
                assert data[1] >= written.mzxid


def test_errors_are_the_same_through_every_server(mix: Mix) -> None:
    leaf = jute.create("/errors/leaf", b"", jute.OPEN, 0)
    cases = [
        (NODE_EXISTS, jute.CREATE, jute.create("/errors", b"", jute.OPEN, 0)),
        (NO_NODE, jute.CREATE, jute.create("/none/x", b"", jute.OPEN, 0)),
        (NO_CHILDREN_FOR_EPHEMERALS, jute.CREATE2, jute.create("/errors/e/x", b"", jute.OPEN, 0)),
        (INVALID_ACL, jute.CREATE, jute.create("/errors/x", b"", [], 0)),
        (BAD_ARGUMENTS, jute.CREATE, jute.create("errors", b"", jute.OPEN, 0)),
        (NO_NODE, jute.SET_DATA, jute.set_data("/none", b"", -1)),
        (BAD_VERSION, jute.SET_DATA, jute.set_data("/errors", b"", 7)),
        (NO_AUTH, jute.SET_DATA, jute.set_data("/errors/closed", b"", -1)),
        (NOT_EMPTY, jute.DELETE, jute.path_version("/errors", -1)),
        (NO_NODE, jute.DELETE, jute.path_version("/none", -1)),
        (BAD_VERSION, jute.SET_ACL, jute.set_acl("/errors", jute.OPEN, 7)),
        (NO_AUTH, jute.RECONFIG, jute.reconfig(None, "9", None)),
    ]
    if mix.ensemble[mix.leader].kind == ZABRA:
        # A leader of Apache's proposes what it cannot parse under a zxid it has used, and commits nothing any more.
        cases.append((MARSHALLING, jute.SET_DATA, b"\0\0"))
    with mix.clients() as clients:
        create(clients[1], "/errors")
        create(clients[1], "/errors/closed", acl=[(1, "world", "anyone")])
        create(clients[1], "/errors/e", flags=EPHEMERAL)
        for client in clients.values():
            synced(client)
            zxids = []
            for expected, opcode, body in cases:
                client.post(opcode, body)
                answer = client.reply(opcode)
                assert answer is not None, f"closed on {opcode}"
                assert answer[2:4] == (expected, None), (opcode, body, answer)
                if expected != MARSHALLING:
                    zxids.append(answer[1])
            assert zxids == sorted(set(zxids)), "each error has a zxid of its own"
            # All or nothing.
            operations = [(jute.CREATE, leaf), (jute.DELETE, jute.path_version("/none", 0))]
            results = client.call(jute.MULTI, jute.multi(operations))[1]
            assert [result[1:] for result in results[:-1]] == [(0, (0,)), (NO_NODE, (NO_NODE,))], results
            assert read(client, "/errors/leaf") == NO_NODE
            # Reads do not leave their server.
            assert client.call(jute.GET_CHILDREN, jute.path_watch("/none", False))[0] == NO_NODE
    for sid in mix.ensemble.members:
        for opcode in (jute.CHECK, 99):
            with mix.ensemble.client(sid) as client:
                client.post(opcode, jute.path_version("/errors", 0))
                assert client.reply(opcode) == (1, -1, UNIMPLEMENTED, None, b"")
                assert client.link.receive() is None


def test_multi_through_every_server(mix: Mix) -> None:
    with mix.clients() as clients:
        for sid, client in clients.items():
            root = f"/multi-{sid}"
            operations = [
                (jute.CREATE, jute.create(root, b"", jute.OPEN, 0)),
                (jute.CREATE2, jute.create(f"{root}/a", b"1", jute.OPEN, 0)),
                (jute.CREATE, jute.create(f"{root}/q-", b"", jute.OPEN, SEQUENTIAL)),
                (jute.SET_DATA, jute.set_data(root, b"x", 0)),
                (jute.CHECK, jute.path_version(f"{root}/a", 0)),
                (jute.DELETE, jute.path_version(f"{root}/a", 0)),
            ]
            results = ok(client.call(jute.MULTI, jute.multi(operations)))
            assert [result[1] for result in results[:-1]] == [0] * 6
            assert results[2][2] == (f"{root}/q-0000000001",)
            for other in clients.values():
                data, stat = read(synced(other), root)
                assert (data, stat.version, stat.children, stat.czxid) == (b"x", 1, 1, stat.mzxid)
                questions = [(opcode, jute.path_watch(root, False)) for opcode in (jute.GET_DATA, jute.GET_CHILDREN)]
                answers = ok(other.call(jute.MULTI_READ, jute.multi(questions)))
                assert [answer[2] for answer in answers[:-1]] == [(b"x", stat), ("names", ["q-0000000001"])]


def test_identities_count_on_every_server(mix: Mix) -> None:
    with mix.clients() as clients:
        for sid, owner in clients.items():
            path = f"/owned-{sid}"
            ok(owner.call(jute.AUTH, jute.auth("digest", b"user-%d:secret" % sid), jute.XID_AUTH))
            create(owner, path, b"mine", acl=[(31, "auth", "")])
            for other_sid, other in clients.items():
                mine = other_sid == sid
                assert (read(synced(other), path) == NO_AUTH) != mine
                assert other.call(jute.SET_DATA, jute.set_data(path, b"", -1))[0] == (0 if mine else NO_AUTH)


def test_watches_see_what_other_servers_write(mix: Mix) -> None:
    with mix.clients() as clients:
        create(clients[1], "/watched")
        for (watcher_sid, watcher), (writer_sid, writer) in itertools.permutations(clients.items(), 2):
            path = f"/watched/{watcher_sid}-{writer_sid}"
            synced(watcher)
            assert watcher.call(jute.EXISTS, jute.path_watch(path, True))[0] == NO_NODE
            ok(watcher.call(jute.GET_CHILDREN, jute.path_watch("/watched", True)))
            create(writer, path)
            zxid = read(writer, path)[1].czxid
            assert sorted((event(watcher), event(watcher))) == [(CREATED, path, zxid), (CHILD, "/watched", zxid)]
            ok(watcher.call(jute.GET_DATA, jute.path_watch(path, True)))
            zxid = ok(writer.call(jute.SET_DATA, jute.set_data(path, b"1", -1))).mzxid
            assert event(watcher) == (CHANGED, path, zxid)
            ok(watcher.call(jute.ADD_WATCH, jute.path_int(path, PERSISTENT_RECURSIVE)))
            stats = [ok(writer.call(jute.SET_DATA, jute.set_data(path, data, -1))) for data in (b"2", b"3")]
            create(writer, f"{path}/deep")
            zxids = [*(stat.mzxid for stat in stats), read(writer, f"{path}/deep")[1].czxid]
            ok(writer.call(jute.DELETE, jute.path_version(f"{path}/deep", -1)))
            ok(writer.call(jute.DELETE, jute.path_version(path, -1)))
            seen = [event(watcher) for _ in range(5)]
            assert [what[:2] for what in seen] == [
                (CHANGED, path),
                (CHANGED, path),
                (CREATED, f"{path}/deep"),
                (DELETED, f"{path}/deep"),
                (DELETED, path),
            ]
            assert [what[2] for what in seen[:3]] == zxids
            # What was read behind the event is at least as new as the event.
            assert read(watcher, path) == NO_NODE
            ok(watcher.call(jute.REMOVE_WATCHES, jute.path_int(path, 3)))
            assert watcher.events == []


def test_containers_and_nodes_that_expire_are_cleared_by_the_leader(mix: Mix) -> None:
    with mix.clients() as clients:
        for sid, client in clients.items():
            ok(client.call(jute.CREATE_CONTAINER, jute.create(f"/container-{sid}", b"", jute.OPEN, CONTAINER)))
            create(client, f"/container-{sid}/child")
            ok(client.call(jute.DELETE, jute.path_version(f"/container-{sid}/child", -1)))
            ok(client.call(jute.CREATE_TTL, jute.create_ttl(f"/ttl-{sid}", b"", jute.OPEN, TTL, 300)))
        paths = [f"/{what}-{sid}" for what in ("container", "ttl") for sid in clients]

        def gone() -> bool:
            return all(read(client, path) == NO_NODE for client in clients.values() for path in paths)

        mix.ensemble.until(f"{paths} are gone", gone)


# ---- sessions


def test_sessions_move_between_servers(mix: Mix) -> None:
    ensemble = mix.ensemble
    with mix.clients() as clients:
        create(clients[1], "/moved", b"old")
        for a, b in itertools.permutations(ensemble.members, 2):
            path = f"/ephemeral-{a}-{b}"
            first = ensemble.client(a)
            create(first, path, flags=EPHEMERAL)
            seen_zxid = read(synced(first), "/moved")[1].mzxid
            first.link.close()
            new = b"%d %d" % (a, b)
            ok(clients[a].call(jute.SET_DATA, jute.set_data("/moved", new, -1)))
            with ensemble.client(b, session=first.session, password=first.password, last_zxid=seen_zxid) as second:
                assert (second.session, second.password) == (first.session, first.password)
                # It finds its node, is told what it missed, and writes on.
                assert read(synced(second), path)[1].owner == first.session
                body = jute.set_watches(seen_zxid, ["/moved"], [], [])
                assert second.call(jute.SET_WATCHES, body, jute.XID_SET_WATCHES)[0] == 0
                assert event(second)[:2] == (CHANGED, "/moved")
                create(second, f"{path}-more", flags=EPHEMERAL)
                # It goes on to the first server again while the connection here is open: a write here ends it.
                with ensemble.client(a, session=first.session, password=first.password) as third:
                    assert third.session == first.session
                    create(third, f"{path}-third", flags=EPHEMERAL)
                    second.post(jute.CREATE, jute.create(f"{path}-never", b"", jute.OPEN, 0))
                    assert second.reply(jute.CREATE) is None
                    third.close_session()
            for client in clients.values():
                names = ok(synced(client).call(jute.GET_CHILDREN, jute.path_watch("/", False)))[1]
                assert [name for name in names if name.startswith(path[1:])] == []


def test_a_session_needs_its_password_and_must_exist_on_every_server(mix: Mix) -> None:
    with mix.clients() as clients:
        for a, b in itertools.permutations(clients, 2):
            owner = clients[a]
            with mix.ensemble.client(b, session=owner.session, password=bytes(16)) as thief:
                assert (thief.session, thief.handshake.timeout_ms) == (0, 0)
                assert thief.link.receive() is None
            with mix.ensemble.client(b, session=owner.session ^ 0x5555, password=owner.password) as stranger:
                assert stranger.session == 0
            assert read(owner, "/") == read(owner, "/")


def test_sessions_expire_once_for_all(mix: Mix) -> None:
    ensemble = mix.ensemble
    leader = ensemble[mix.leader]
    # Watchers as short-lived as the others, but they ping.
    with mix.clients(timeout_ms=2000) as watchers:
        assert all(watcher.handshake.timeout_ms == 2000 for watcher in watchers.values())
        silent = {sid: ensemble.client(sid, timeout_ms=1000) for sid in ensemble.members}
        begun = time.monotonic()
        for sid, client in silent.items():
            create(client, f"/expires-{sid}", flags=EPHEMERAL)
        sessions = [client.session for client in silent.values()]
        for sid, member in ensemble.members.items():
            listed = member.word("dump").partition("ephemeral nodes dump")[0].splitlines()
            if sid == mix.leader:
                assert listed[1].startswith("Session Sets (")
                assert {f"\t0x{session:x}" for session in sessions} <= set(listed)
            else:
                synced(watchers[sid])
                known = {f"0x{watcher.session:x}\t2000ms" for watcher in watchers.values()}
                known |= {f"0x{session:x}\t1000ms" for session in sessions}
                assert listed[1] == f"Global Sessions({len(listed) - 2}):"
                assert known <= set(listed), listed

        def names() -> dict[int, list[str]]:
            found = {}
            for sid, watcher in watchers.items():
                watcher.call(jute.PING, xid=jute.XID_PING)
                children = ok(watcher.call(jute.GET_CHILDREN, jute.path_watch("/", False)))[1]
                found[sid] = [name for name in children if name.startswith("expires-")]
            return found

        ensemble.until("all have expired", lambda: not any(names().values()), 10)
        assert time.monotonic() - begun > 0.9
        for client in silent.values():
            with client:
                assert client.link.receive() is None, "the connection of an expired session stays open"
        for sid, (session, client) in itertools.product(ensemble.members, zip(sessions, silent.values(), strict=True)):
            with ensemble.client(sid, session=session, password=client.password) as late:
                assert late.session == 0
        listed = leader.word("dump")
        assert not any(f"0x{session:x}" in listed for session in sessions)
        # They pinged through followers and observers for longer than they may be silent.
        ensemble.until("the watchers are old", lambda: names() and time.monotonic() - begun > 3.5, 10)
        assert all(f"0x{watcher.session:x}" in leader.word("dump") for watcher in watchers.values())
    ensemble.quiet()
    for member in ensemble.members.values():
        closed = [entry.session for entry in datafiles.read_logs(member.data) if entry.kind == jute.CLOSE_SESSION]
        assert [closed.count(session) for session in sessions] == [1, 1, 1], member.sid


# ---- histories


def test_load_on_every_server(mix: Mix) -> None:
    with Load(mix.ensemble, 6) as load:
        load.go_on(1500)
        assert load.moves == 0
    mix.ensemble.check_digests(strict=True)
    for sid, member in mix.ensemble.members.items():
        metrics = member.metrics()
        names = ("proposal_count", "commit_count") if sid == mix.leader else ("learner_commit_received_count",)
        if metrics["server_state"] == FOLLOWER:
            names = (*names, "learner_proposal_received_count")
        for name in names:
            assert int(metrics[name]) > 1500, (sid, name)


@contextmanager
def away(mix: Mix, sid: int, *, diff: int = 0, snap: int = 0) -> Iterator[None]:
    """Stop a learner, and start it again behind the block; so many DIFF (or TRUNC) and SNAP must bring it back."""
    ensemble = mix.ensemble
    before = mix.syncs()
    ensemble[sid].stop()
    yield
    ensemble.start(sid)
    after = mix.syncs()
    assert (after[0] - before[0], after[1] - before[1]) == (diff, snap)
    ensemble.check_digests()


def test_diff_from_memory(mix: Mix) -> None:
    with away(mix, mix.learners[0], diff=1):
        mix.ensemble.fill(mix.leader, 50)


def test_diff_from_the_log_on_disk(mix: Mix) -> None:
    with away(mix, mix.learners[1], diff=1):
        mix.ensemble.fill(mix.leader, COMMITTED_MAX + 100)


def test_snap(mix: Mix) -> None:
    sid = mix.learners[0]
    with away(mix, sid, snap=1):
        with mix.ensemble.client(mix.leader) as client:
            create(client, "/large")
            create(client, "/sessions-too", flags=EPHEMERAL)
            for _ in range(ROLL_BYTES // 900_000 + 2):
                ok(client.call(jute.SET_DATA, jute.set_data("/large", b"x" * 900_000, -1)))
            ok(client.call(jute.SET_DATA, jute.set_data("/large", b"small", -1)))
            client.link.close()
        mix.ensemble.fill(mix.leader, COMMITTED_MAX + 100)
    # The session came with the snapshot: it can be taken up where it was not known before, and ends there.
    with mix.ensemble.client(sid, session=client.session, password=client.password) as again:
        assert again.session == client.session
        assert read(synced(again), "/sessions-too")[1].owner == client.session
        again.close_session()
    # What was received is on disk: it serves the same after another start.
    mix.ensemble.restart(sid)
    mix.ensemble.check_digests()


def test_trunc(mix: Mix) -> None:
    ensemble = mix.ensemble
    sid = mix.learners[1]
    ensemble.fill(mix.leader, 10)
    last = ensemble.quiet()
    data = ensemble[sid].data
    with away(mix, sid, diff=1):
        assert datafiles.read_logs(data)[-1].zxid == last
        datafiles.append_set_data(data, last + 1, "/fill", b"only here")
        datafiles.append_set_data(data, last + 2, "/fill", b"only here, too")
    with mix.clients() as clients:
        for client in clients.values():
            assert not read(synced(client), "/fill")[0].startswith(b"only here")
    sessions = {entry.session for entry in datafiles.read_logs(data) if entry.zxid in (last + 1, last + 2)}
    assert 0 not in sessions, "it is still in the log"


def test_a_server_comes_back_under_load(mix: Mix) -> None:
    ensemble = mix.ensemble
    with Load(ensemble) as load:
        for sid in dict.fromkeys(mix.learners):
            load.go_on()
            ensemble[sid].kill()
            load.go_on()
            ensemble.start(sid)
            load.go_on()
        assert load.moves > 0
    ensemble.check_digests()


# ---- membership


def membership(client: Client) -> str:
    """The text of the config node."""
    return str(read(synced(client), "/zookeeper/config")[0].decode())


def reconfig(mix: Mix, asked: int, joining: str | None = None, leaving: str | None = None) -> str:
    """Change the membership through a server and wait until all serve and know the new one; its text.

    The answer may be lost: a server that gets another role or leader leaves its clients.
    """
    ensemble = mix.ensemble
    with ensemble.client(asked) as client:
        before = membership(client)
        ok(client.call(jute.AUTH, jute.auth("digest", SUPER_CREDENTIAL), jute.XID_AUTH))
        with suppress(ConnectionError):
            data, stat = ok(client.call(jute.RECONFIG, jute.reconfig(joining, leaving, None)))
            assert int(data.decode().rpartition("version=")[2], 16) == stat.mzxid
    found: dict[int, str] = {}

    def known() -> bool:
        found.clear()
        for sid in ensemble.members:
            try:
                with ensemble.client(sid) as client:
                    found[sid] = membership(client)
                    client.close_session()
            except OSError:
                return False
        return len(set(found.values())) == 1 and before not in found.values()

    ensemble.until(f"all know of {joining or leaving}: {found}", known)
    return found[asked]


def test_what_a_reconfiguration_is_refused_for(mix: Mix) -> None:
    with mix.clients() as clients:
        version = int(membership(clients[1]).rpartition("version=")[2], 16)
        nobody = "\n".join(f"server.{sid}={LOOPBACK}:{sid}:9{sid}" for sid in (1, 7, 8, 9))
        for client in clients.values():
            ok(client.call(jute.AUTH, jute.auth("digest", SUPER_CREDENTIAL), jute.XID_AUTH))
            for expected, body in (
                (BAD_VERSION, jute.reconfig(None, "9", None, version + 1)),
                (BAD_ARGUMENTS, jute.reconfig("server.9=nonsense", None, None)),
                (BAD_ARGUMENTS, jute.reconfig(None, "1,2", None)),
                (NO_QUORUM, jute.reconfig(None, None, nobody)),
            ):
                assert client.call(jute.RECONFIG, body)[0] == expected, body


def test_a_fourth_server_comes_votes_and_goes(mix: Mix) -> None:
    ensemble = mix.ensemble
    leader = ensemble[mix.leader]
    with Load(ensemble) as load:
        fourth = ensemble.add(4, Spec(mix.stranger, observer=True))
        try:
            ensemble.start(4)
            pid = fourth.pid
            assert fourth.line() in reconfig(mix, 1, fourth.line())
            ensemble.wait_mode(4, OBSERVER)
            with ensemble.client(4) as client, ensemble.client(1) as other:
                create(client, "/through-the-fourth")
                assert read(synced(other), "/through-the-fourth") == read(client, "/through-the-fourth")
            voting = fourth.line(observer=False)
            assert voting in reconfig(mix, 2, voting)
            ensemble.wait_mode(4, FOLLOWER)
            assert leader.metrics()["quorum_size"] == str(mix.voters + 1)
            load.go_on()
            reconfig(mix, 3, fourth.line())
            ensemble.wait_mode(4, OBSERVER)
            assert "server.4=" not in reconfig(mix, 4, leaving="4")
            assert leader.metrics()["quorum_size"] == str(mix.voters)
            load.go_on()
            assert fourth.pid == pid
        finally:
            ensemble.remove(4)
        load.go_on()
    ensemble.check_digests()


def test_servers_change_roles_and_ports(mix: Mix) -> None:
    ensemble = mix.ensemble
    pids = [member.pid for member in ensemble.members.values()]
    with Load(ensemble) as load:
        if mix.observed:
            reconfig(mix, 1, ensemble[3].line(observer=False))
            ensemble.wait_mode(3, FOLLOWER)
        else:
            learner = ensemble[mix.learners[0]]
            reconfig(mix, mix.leader, learner.line(observer=True))
            ensemble.wait_mode(learner.sid, OBSERVER)
            load.go_on()
            reconfig(mix, learner.sid, learner.line())
            ensemble.wait_mode(learner.sid, FOLLOWER)
        load.go_on()
        # The leader loses its vote, so another must lead.
        leader = ensemble[mix.leader]
        reconfig(mix, 1, leader.line(observer=True))
        ensemble.wait_mode(leader.sid, OBSERVER)
        assert ensemble.leader() is not leader
        load.go_on()
        reconfig(mix, leader.sid, leader.line(observer=False))
        ensemble.wait_mode(leader.sid, FOLLOWER)
        if mix.observed:
            ensemble.lead(mix.leader)
            reconfig(mix, 1, ensemble[3].line(observer=True))
            ensemble.wait_mode(3, OBSERVER)
        load.go_on()
        # A client port changes at once, and whoever is connected stays.
        sid = mix.learners[0]
        old_port = ensemble[sid].port
        with ensemble.client(sid) as client:
            for port in (free_port(), old_port):
                before, ensemble[sid].port = ensemble[sid].port, port
                reconfig(mix, 2 if sid == 1 else 1, ensemble[sid].line())
                with pytest.raises(ConnectionRefusedError):
                    Client(before)
            create(client, "/still-connected")
    if not mix.observed:
        assert [member.pid for member in ensemble.members.values()] == pids
    ensemble.check_digests()


# ---- the leader dies


def test_what_only_a_dead_leader_has_is_gone_when_it_comes_back(mix: Mix) -> None:
    """It logs what nobody else gets, and dies; the others agree on a leader without it, who cuts its log."""
    if mix.observed:
        pytest.skip("of two voters both are needed for another leader")
    ensemble = mix.ensemble
    old = ensemble[mix.leader]
    ensemble.fill(old.sid, 3)
    last = ensemble.quiet()
    with ensemble.client(old.sid) as client:
        followers = ensemble.followers()
        for follower in followers:
            follower.pause()
        for number in range(3):
            client.post(jute.SET_DATA, jute.set_data("/fill", b"only here %d" % number, -1))
        ensemble.until("it logs them", lambda: datafiles.read_logs(old.data)[-1].zxid >= last + 4)
        for member in (old, *followers):
            member.kill()
    ensemble.start(*(follower.sid for follower in followers))
    leader = ensemble.leader()
    before = int(leader.metrics()["diff_count"])
    ensemble.start(old.sid)
    assert int(leader.metrics()["diff_count"]) == before + 1, "no DIFF or TRUNC"
    assert datafiles.read_logs(old.data)[-1].zxid <= last + 1
    with mix.clients() as clients:
        for member_client in clients.values():
            assert not read(synced(member_client), "/fill")[0].startswith(b"only here")
    ensemble.check_digests()


def test_leader_killed(mix: Mix) -> None:
    ensemble = mix.ensemble
    killed = ensemble[mix.leader]
    with Load(ensemble) as load:
        load.go_on()
        killed.kill()
        if mix.observed:
            ensemble.until("nobody serves", lambda: not any(ensemble.modes().values()))
        else:
            ensemble.until("another leads", lambda: LEADER in ensemble.modes().values())
            load.go_on()
        ensemble.start(killed.sid)
        load.go_on()
        assert load.moves > 0
    ensemble.check_digests()


def test_trees_are_equal_at_the_end(mix: Mix) -> None:
    mix.ensemble.check_trees()
