"""A failing disk and lost power: the server stops and says why; what was acknowledged is there after the next start."""

from __future__ import annotations

import errno
import os
import random
import re
from pathlib import Path

import pytest

from compat.rawclient import Client
from compat.servers import ZABRA, ServerProcess, require
from faults.faulty import compile_faulty_disk, faulty, missing_cc
from faults.writers import Writer, write_to_the_end, write_until

ROUNDS = int(os.environ.get("ZABRA_POWER_ROUNDS", "12"))
SEED = os.environ.get("ZABRA_KILL_SEED", "1")
CONFIG = {"tickTime": "15000", "extendedTypesEnabled": "true"}
#: Snapshots and new logs all the time.
RESTLESS = {"snapCount": "200", "preAllocSize": "64", "txnLogSizeLimitInKb": "128"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require(missing_cc())
    return compile_faulty_disk(tmp_path_factory.mktemp("library"))


def check_after_restart(folder: Path, writers: list[Writer], config: dict[str, str]) -> int:
    """How many writes were done though not acknowledged."""
    with ServerProcess(ZABRA, folder, config=config).start() as server, Client(server.port) as reader:
        beyond = sum(writer.check(reader) for writer in writers)
        for writer in writers:
            writer.connect(server.port)
            writer.disconnect()
        assert "zk_digest_mismatches_count\t0\n" in server.word("mntr")
    return beyond


@pytest.mark.parametrize("after", [1, 30])
@pytest.mark.parametrize(
    ("call", "code"),
    [("sync", errno.EIO), ("write", errno.EIO), ("write", errno.ENOSPC)],
    ids=["sync", "write", "full"],
)
def test_a_log_that_cannot_be_written_stops_the_server(
    call: str, code: int, after: int, library: Path, tmp_path: Path
) -> None:
    """What the failed call lost was not acknowledged; the next call would succeed, and must not be asked."""
    wrapper = faulty(library, call=call, path="/log.", after=after, errno=code)
    writers = [Writer(f"w{number}", f"{number}", closes=False) for number in range(3)]
    with ServerProcess(ZABRA, tmp_path, config=CONFIG, wrapper=wrapper).start() as server:
        write_to_the_end(writers, server.port)
        assert server.wait() == 1
        (line,) = [line for line in server.log.read_text().splitlines() if " CRITICAL " in line]
        assert f"[Errno {code}]" in line
        assert f"{server.data}/version-2/log.1" in line
    check_after_restart(tmp_path, writers, CONFIG)


def test_power_lost_again_and_again(library: Path, tmp_path: Path) -> None:
    """At any write and any sync of logs and snapshots; of what was not synced any sectors survive."""
    rng = random.Random(SEED)
    config = {**CONFIG, **RESTLESS}
    writers = [Writer(f"w{number}", f"{SEED} {number}", closes=False) for number in range(4)]
    beyond = 0
    for round_ in range(ROUNDS):
        path, most = rng.choice((("/log.", 100), ("/log.", 100), ("snapshot.", 30)))
        wrapper = faulty(
            library, call=rng.choice(("write", "sync")), path=path, after=rng.randrange(1, most), seed=round_
        )
        with ServerProcess(ZABRA, tmp_path, config=config, wrapper=wrapper) as server:
            try:
                server.start()
            except AssertionError:
                # Power may go while the server starts.
                assert not server.alive(), server.log_tail()
            else:
                write_to_the_end(writers, server.port)
            assert server.wait() == -9, server.log_tail()
        beyond += check_after_restart(tmp_path, writers, config)
    print(f"{ROUNDS} rounds, {sum(w.acknowledged for w in writers)} writes acknowledged, {beyond} more found")
    print(f"{len(list(tmp_path.rglob('torn.*')))} torn ends")
    assert any(writer.acknowledged for writer in writers)


def test_a_snapshot_that_cannot_be_written_is_given_up(library: Path, tmp_path: Path) -> None:
    """ZOOKEEPER-3082: the log has everything; no part of the snapshot is left to be found."""
    wrapper = faulty(library, call="sync", path="tmp.snapshot.", after=1, errno=errno.EIO)
    config = {**CONFIG, "snapCount": "100"}
    writers = [Writer("w", "1", closes=False)]
    codes: list[int] = []
    with ServerProcess(ZABRA, tmp_path, config=config, wrapper=wrapper).start() as server:
        writers[0].connect(server.port)
        write_until(writers, 1000, lambda: codes.append(server.stop()))
    assert codes == [0]
    (name,) = re.findall(r"snapshot given up: \[Errno 5\] .*/tmp\.(snapshot\.\w+)'", server.log.read_text())
    assert not list(tmp_path.rglob(f"*{name}"))
    check_after_restart(tmp_path, writers, config)
