"""kill -9 under load, again and again: nothing acknowledged is lost, nothing unasked appears, sessions live on."""

from __future__ import annotations

import os
import random
import re
import time
from pathlib import Path

import pytest

from compat.rawclient import Client
from compat.servers import ZABRA, ServerProcess
from faults.writers import Writer, write_until

#: Rounds of each kind; what is rare takes some hundred.
ROUNDS = int(os.environ.get("ZABRA_KILL_ROUNDS", "100"))
SEED = os.environ.get("ZABRA_KILL_SEED", "1")
WRITERS = 5
#: Writers that have ended and whose nodes are still there. The others are removed: a round costs the same, however many
#: there are.
RETIRED = 8

#: Snapshots every few hundred writes, new logs all the time.
RESTLESS = {"snapCount": "300", "preAllocSize": "64", "txnLogSizeLimitInKb": "128"}
#: Each start leaves a log of 64 MiB, so each purges too, and may be killed meanwhile.
PURGED = {"autopurge.purgeInterval": "1", "autopurge.snapRetainCount": "3"}


@pytest.mark.parametrize("config", [{}, RESTLESS], ids=["default", "restless"])
def test_no_acknowledged_write_is_lost(config: dict[str, str], tmp_path: Path) -> None:
    rng = random.Random(f"{SEED} {sorted(config)}")
    retired: list[Writer] = []
    writers: list[Writer] = []
    made = acknowledged = beyond = 0
    always = {"tickTime": "15000", "maxClientCnxns": "0", "extendedTypesEnabled": "true", **PURGED}
    server = ServerProcess(ZABRA, tmp_path, config={**always, **config})
    with server:
        for round_ in range(ROUNDS):
            if round_ and rng.random() < 0.3:
                # Killed once more while it starts.
                server.spawn()
                time.sleep(rng.random() * 0.4)
                server.kill()
            server.start()
            with Client(server.port) as reader:
                for writer in writers:
                    beyond += writer.check(reader)
                for writer in retired[:-RETIRED]:
                    writer.check_persistent(reader)
                    writer.remove(reader)
                del retired[:-RETIRED]
                assert "zk_digest_mismatches_count\t0\n" in server.word("mntr")
            for writer in writers[:]:
                if writer.closing or rng.random() < 0.3:
                    writer.retire()
                    retired.append(writer)
                    writers.remove(writer)
            while len(writers) < WRITERS:
                made += 1
                writers.append(Writer(f"w{made}", f"{SEED} {made} {sorted(config)}"))
            for writer in writers:
                writer.connect(server.port)
            before = sum(writer.acknowledged for writer in writers)
            # Of every size: some are killed among their first writes.
            write_until(writers, int(2000 ** rng.random()), server.kill)
            server.kill()
            acknowledged += sum(writer.acknowledged for writer in writers) - before
        server.start()
        with Client(server.port) as reader:
            for writer in writers:
                beyond += writer.check(reader)
            for writer in retired:
                writer.check_persistent(reader)
        assert server.stop() == 0
    log = server.log.read_text()
    print(f"{ROUNDS} rounds, {acknowledged} writes acknowledged, {beyond} done though not acknowledged")
    print(f"{len(re.findall('wrote snapshot', log))} snapshots, {len(list(server.data.rglob('log.*')))} logs")
    assert acknowledged > 0
