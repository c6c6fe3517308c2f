"""Two servers on copies of one data folder: what they made of it must be the same."""

from __future__ import annotations

import time
from typing import Any, Final

from compat import datafiles, jute
from compat.rawclient import Client
from compat.servers import APACHE, ZABRA, ServerProcess
from compat.workload import SUPER_CREDENTIAL

#: What stock writes when it has applied nothing since it read a snapshot.
NO_DIGEST_YET: Final = (0, 2, 0)
SNAPSHOT_TIMEOUT_S: Final = 20.0


def compare_served(pair: list[ServerProcess], walk: bool = True) -> list[str]:
    """Two servers that started on the same data: snapshots, trees, digests, counts must be equal as they are.

    ``walk``: also as a client sees them. Nothing is compared when stock finds that it misread the data itself, as it
    does after some changes to a node while its snapshot was being written: then only we can be right.
    """
    lines: list[str] = []
    mismatches = {server.kind: digest_mismatches(server) for server in pair}
    if mismatches.get(ZABRA):
        lines.append(f"{ZABRA} finds {mismatches[ZABRA]} digests other than the log says")
    elif mismatches.get(APACHE):
        return []
    snapshots = [_start_snapshot(server) for server in pair]
    for name in ("zxid", "sessions", "digest"):
        a, b = (getattr(snapshot, name) for snapshot in snapshots)
        if a != b and not (name == "digest" and NO_DIGEST_YET in (a, b) and pair[a != NO_DIGEST_YET].kind == APACHE):
            lines.append(f"snapshot {name}: {a!r} / {b!r}")
    lines += _compare_maps("snapshot", snapshots[0].nodes, snapshots[1].nodes)
    if walk:
        trees = [_walk_as_super(server) for server in pair]
        lines += _compare_maps("tree", trees[0], trees[1])
    # Stock logs what does not parse as an error under the zxid before it, and then lists that zxid's digest again.
    hashes = [list(dict.fromkeys(server.word("hash").splitlines())) for server in pair]
    if hashes[0] != hashes[1]:
        lines.append(f"hash: {hashes[0]!r} / {hashes[1]!r}")
    for label in ("Zxid:", "Node count:"):
        shown = [[line for line in server.word("srvr").splitlines() if line.startswith(label)] for server in pair]
        if shown[0] != shown[1]:
            lines.append(f"srvr: {shown[0]} / {shown[1]}")
    return lines


def digest_mismatches(server: ServerProcess) -> int:
    """How often the tree was not what the log said, while it was read."""
    lines = [line for line in server.word("mntr").splitlines() if line.startswith("zk_digest_mismatches_count\t")]
    return int(lines[0].split("\t")[1])


def _start_snapshot(server: ServerProcess) -> datafiles.Snapshot:
    """What a server dumps at its start; ours does that while it serves already."""
    zxid = next(line for line in server.word("srvr").splitlines() if line.startswith("Zxid: 0x"))[8:]
    deadline = time.monotonic() + SNAPSHOT_TIMEOUT_S
    while (file := datafiles.newest_snapshot(server.data)).name.split(".")[1] != zxid:
        if time.monotonic() > deadline:
            raise AssertionError(f"{server.kind} serves zxid 0x{zxid}, its newest snapshot is {file}")
        time.sleep(0.01)
    return datafiles.read_snapshot(file)


def _walk_as_super(server: ServerProcess) -> dict[str, tuple[Any, ...]]:
    with Client(server.port) as client:
        client.call(jute.AUTH, jute.auth("digest", SUPER_CREDENTIAL), jute.XID_AUTH)
        tree = datafiles.walk(client)
        client.close_session()
    return tree


def _compare_maps(name: str, a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [f"{name} {path}: {a.get(path)!r} / {b.get(path)!r}" for path in {**a, **b} if a.get(path) != b.get(path)][
        :20
    ]
