"""Damaged files: the start is refused with file and offset, or the valid older state is used, and nothing is deleted.

Each kind of damage is also shown to Apache ZooKeeper. Where it starts on less than there was, we refuse; where all that
was acknowledged can be read, we start.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from compat import jute
from compat.rawclient import Client
from compat.servers import APACHE, ZABRA, ServerProcess, missing_java, require

CONFIG = {"preAllocSize": "64"}
NODES = 40
REFUSED = -1


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two lives: 20 nodes in a log, a snapshot of them, 20 more in a second log."""
    folder = tmp_path_factory.mktemp("whole")
    server = ServerProcess(ZABRA, folder, config=CONFIG)
    for life in range(2):
        with server.start(), Client(server.port) as client:
            for number in range(life * 20, life * 20 + 20):
                path = f"/n{number:02d}"
                assert client.call(jute.CREATE, jute.create(path, b"data" * 30, jute.OPEN, 0))[0] == 0
            client.close_session()
            assert server.stop() == 0
    names = [file.name for file in sorted(server.data.joinpath("version-2").iterdir())]
    assert names == ["log.1", "log.17", "snapshot.0", "snapshot.16"]
    return folder


Change = Callable[[Path], None]


def edit(name: str, change: Callable[[bytearray], bytes | bytearray]) -> Change:
    def apply(folder: Path) -> None:
        file = folder / name
        file.write_bytes(change(bytearray(file.read_bytes())))

    return apply


def flip(name: str, at: int, bit: int = 1) -> Change:
    """Flip a bit; a negative offset counts from the end of what is not padding."""

    def change(content: bytearray) -> bytearray:
        end = len(content.rstrip(b"\0"))
        content[at if at >= 0 else end + at] ^= bit
        return content

    return edit(name, change)


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def both(first: Change, second: Change) -> Change:
    def apply(folder: Path) -> None:
        first(folder)
        second(folder)

    return apply


def put(name: str, content: bytes) -> Change:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return apply


def entry(content: bytes, number: int) -> int:
    """Offset of an entry of a log."""
    at = 16
    for _ in range(number):
        at += 13 + struct.unpack_from(">i", content, at + 8)[0]
    return at


def cut_last_entry(content: bytearray) -> bytearray:
    """The closeSession is the last; this cuts the create before it, and that."""
    return content[: entry(content, 20) + 50]


def lengthen_entry_10(content: bytearray) -> bytearray:
    content[entry(content, 10) + 10] ^= 0x40
    return content


def rot_in_entry_10(content: bytearray) -> bytearray:
    content[entry(content, 10) + 100] ^= 1
    return content


def lose_a_sector(content: bytearray) -> bytearray:
    """As a power cut does in the middle of the last write: its first half is not there, its end is."""
    end = len(content.rstrip(b"\0"))
    start = (end - 1) // 512 * 512 - 512
    content[start : start + 512] = bytes(512)
    return content


@dataclass(frozen=True)
class Damage:
    name: str
    change: Change
    #: Nodes of the 40 after the start, or REFUSED; Apache's where it differs.
    ours: int
    apache: int | None = None
    #: What our refusal or warning says, after the folder's name.
    says: str = ""


DAMAGES = (
    Damage("none", lambda folder: None, NODES),
    Damage("log cut", edit("log.17", cut_last_entry), NODES - 1, says="/log.17: offset 4276: cut off 50 bytes"),
    Damage("log torn", edit("log.17", lose_a_sector), 35, says="/log.17: offset 3392: cut off 1166 bytes"),
    Damage("log rotten at its end", flip("log.17", -20), REFUSED, says="/log.17: offset 4497: damaged entry"),
    Damage("log rotten inside", edit("log.17", rot_in_entry_10), REFUSED, says="/log.17: offset 2066: damaged entry"),
    # Apache takes it for the end of the log, and drops ten acknowledged writes.
    Damage("rotten length", edit("log.17", lengthen_entry_10), REFUSED, 29, "/log.17: offset 2066: damaged entry"),
    Damage("log of another magic", flip("log.17", 0), REFUSED, says="/log.17: offset 0: not a transaction log"),
    Damage("log of another version", flip("log.17", 7), NODES),
    Damage("empty last log", put("log.30", b""), NODES, says="/log.30: removed"),
    # Nothing was acknowledged in it.
    Damage("last log without a header", put("log.30", b"ZKLG\0"), NODES, REFUSED, "/log.30: removed"),
    # Apache reads it though everything in it is in the snapshot.
    Damage("older log rotten", flip("log.1", 100), NODES, REFUSED),
    Damage("snapshot cut", edit("snapshot.16", lambda content: content[:-40]), NODES),
    Damage("snapshot empty", put("snapshot.16", b""), NODES),
    Damage("snapshot rotten", flip("snapshot.16", 500), NODES, says="/snapshot.16: offset "),
    Damage("snapshot of another magic", flip("snapshot.16", 0), NODES, says="/snapshot.16: offset 0: not a snapshot"),
    Damage("snapshot of another version", flip("snapshot.16", 7), NODES),
    Damage(
        "both snapshots rotten", both(flip("snapshot.16", 500), flip("snapshot.0", 100)), REFUSED, says=": none of 2"
    ),
    Damage("no snapshot", both(remove("snapshot.16"), remove("snapshot.0")), REFUSED, says=": No snapshot found"),
    # Apache starts without the writes of the log that is missing.
    Damage("missing writes", both(remove("snapshot.16"), remove("log.1")), REFUSED, 20, "/log.17: offset 16: entr"),
    Damage("strange files", both(put("log.1.bak", b"?"), put("snapshot.zz", b"?")), NODES),
)


def nodes_after_start(kind: str, folder: Path) -> tuple[int, str]:
    """Start a server on a folder; how many of the nodes it has, or REFUSED, and what it printed."""
    with ServerProcess(kind, folder, config=CONFIG) as server:
        try:
            server.start()
        except AssertionError:
            assert server.wait() == 1, server.log_tail()
            return REFUSED, server.log.read_text()
        with Client(server.port) as client:
            listing = client.call(jute.GET_CHILDREN, jute.path_watch("/", False))[1][1]
            client.close_session()
        server.kill()
    return len([name for name in listing if name.startswith("n")]), server.log.read_text()


def damaged(damage: Damage, whole: Path, folder: Path) -> Path:
    shutil.copytree(whole / "data", folder / "data")
    damage.change(folder / "data" / "version-2")
    return folder / "data" / "version-2"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damaged_files(damage: Damage, whole: Path, tmp_path: Path) -> None:
    files = damaged(damage, whole, tmp_path)
    before = {file.name: file.read_bytes() for file in files.iterdir()}
    nodes, printed = nodes_after_start(ZABRA, tmp_path)
    assert nodes == damage.ours, printed
    assert f"{files}{damage.says}" in printed or not damage.says, printed
    assert printed.count(damage.says) == 1 or not damage.says
    after = {file.name: file.read_bytes() for file in files.iterdir()}
    if nodes == REFUSED:
        assert after == before
        assert [line for line in printed.splitlines() if line.startswith("zabra: ")] == printed.splitlines()[-1:]
    elif "removed" not in damage.says:
        assert before.keys() <= after.keys()
    if "cut off" in damage.says:
        (aside,) = files.glob("torn.*")
        assert after["log.17"].rstrip(b"\0") + aside.read_bytes() == before["log.17"].rstrip(b"\0")


@pytest.mark.java
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_apache_on_damaged_files(damage: Damage, whole: Path, tmp_path: Path) -> None:
    """Why each start of ours is as it is: Apache does the same, or loses what was acknowledged."""
    require(missing_java())
    damaged(damage, whole, tmp_path)
    nodes, printed = nodes_after_start(APACHE, tmp_path)
    assert nodes == (damage.ours if damage.apache is None else damage.apache), printed
