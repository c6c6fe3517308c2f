"""SIGTERM and SIGINT: exit code 0 at once, at rest, under load and while starting; nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from compat import jute
from compat.rawclient import Client
from compat.servers import ZABRA, ServerProcess
from faults.writers import Writer, write_until

CONFIG = {"tickTime": "15000", "extendedTypesEnabled": "true"}
#: Much more than it takes; a supervisor that has to use SIGKILL waits about ten seconds.
LEAVE_MAX_S = 5.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_rest(number: signal.Signals, tmp_path: Path) -> None:
    with ServerProcess(ZABRA, tmp_path, config=CONFIG).start() as server, Client(server.port) as client:
        os.kill(server.pid, number)
        assert server.wait(LEAVE_MAX_S) == 0
        assert client.link.receive() is None
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load(number: signal.Signals, tmp_path: Path) -> None:
    """Also with a snapshot on its way, and with a second signal behind the first."""
    writers = [Writer(f"w{count}", f"{count}", closes=False) for count in range(4)]
    with ServerProcess(ZABRA, tmp_path, config={**CONFIG, "snapCount": "200"}).start() as server:
        for writer in writers:
            writer.connect(server.port)

        def stop() -> None:
            os.kill(server.pid, number)
            os.kill(server.pid, number)

        write_until(writers, 3000, stop)
        assert server.wait(LEAVE_MAX_S) == 0
        assert "Traceback" not in server.log.read_text()
        server.start()
        with Client(server.port) as reader:
            for writer in writers:
                writer.check(reader)
        for writer in writers:
            writer.connect(server.port)
            writer.disconnect()
        assert server.stop() == 0


def test_a_signal_while_starting(tmp_path: Path) -> None:
    """Whenever it comes: as the default of a process that is not set up yet, or with exit code 0."""
    with ServerProcess(ZABRA, tmp_path, config=CONFIG) as server:
        for tenth in range(8):
            server.spawn()
            time.sleep(tenth * 0.05)
            assert server.stop(LEAVE_MAX_S) in (0, -signal.SIGTERM)
        server.start()
        assert server.stop(LEAVE_MAX_S) == 0


def test_a_client_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    with ServerProcess(ZABRA, tmp_path, config=CONFIG).start() as server, Client(server.port) as client:
        request = jute.frame(jute.request(1, jute.GET_DATA, jute.path_watch("/zookeeper", False)))
        sender = threading.Thread(target=client.link.send, args=(request * 500_000,))
        sender.start()
        time.sleep(0.5)
        assert server.stop(LEAVE_MAX_S) == 0
        sender.join()
