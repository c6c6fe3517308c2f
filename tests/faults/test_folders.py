"""Data folders that cannot be used, disks that fill up, ports and folders that are taken: one message, an exit code."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from compat.rawclient import Client
from compat.servers import LOOPBACK, ZABRA, ServerProcess
from faults.writers import Writer, write_to_the_end, write_until

CONFIG = {"tickTime": "15000", "extendedTypesEnabled": "true"}


def refused(server: ServerProcess) -> tuple[int, str]:
    """The exit code of a start that fails, and the one line it prints."""
    with server.spawn():
        code = server.wait()
    lines = [line for line in server.log.read_text().splitlines() if " INFO " not in line]
    assert len(lines) == 1, lines
    return code, lines[0]


def check_after_restart(server: ServerProcess, writers: list[Writer]) -> None:
    with server.start(), Client(server.port) as reader:
        for writer in writers:
            writer.check(reader)


def test_a_disk_that_fills_up_stops_the_server(small_disk: Callable[[str], Path], tmp_path: Path) -> None:
    """With room again everything acknowledged is there."""
    disk = small_disk("size=6m")
    writers = [Writer(f"w{number}", f"{number}", closes=False) for number in range(3)]
    with ServerProcess(ZABRA, tmp_path, config=CONFIG, data=disk / "data").start() as server:
        write_to_the_end(writers, server.port)
        assert server.wait() == 1
    (line,) = [line for line in server.log.read_text().splitlines() if " CRITICAL " in line]
    assert f"No space left on device: '{disk}/data/version-2/log.1'" in line
    small_disk("size=64m")
    check_after_restart(server, writers)


def test_a_file_that_may_not_grow_stops_the_server(tmp_path: Path) -> None:
    """The same with a limit on the size of files, which needs no rights."""
    writers = [Writer(f"w{number}", f"{number}", closes=False) for number in range(3)]
    config = {**CONFIG, "preAllocSize": "64"}
    with ServerProcess(ZABRA, tmp_path, config=config, wrapper=("prlimit", "--fsize=1000000")).start() as server:
        write_to_the_end(writers, server.port)
        assert server.wait() == 1
    (line,) = [line for line in server.log.read_text().splitlines() if " CRITICAL " in line]
    assert f"File too large: '{server.data}/version-2/log.1'" in line
    check_after_restart(ServerProcess(ZABRA, tmp_path, config=config), writers)


def test_a_disk_full_at_the_first_start(small_disk: Callable[[str], Path], tmp_path: Path) -> None:
    disk = small_disk("size=64k")
    (disk / "version-2").mkdir()
    with (disk / "other").open("wb", buffering=0) as other, contextlib.suppress(OSError):
        while other.write(bytes(4096)):
            pass
    code, line = refused(ServerProcess(ZABRA, tmp_path, config=CONFIG, data=disk))
    assert code == 1
    assert line == f"zabra: {disk}/version-2/tmp.snapshot.0: No space left on device"
    assert os.listdir(disk / "version-2") == []


def test_a_read_only_disk(small_disk: Callable[[str], Path], tmp_path: Path) -> None:
    disk = small_disk("size=1m")
    (disk / "version-2").mkdir()
    small_disk("ro")
    code, line = refused(ServerProcess(ZABRA, tmp_path, config=CONFIG, data=disk))
    assert code == 3
    assert line.startswith(f"zabra: Cannot write to data directory {disk}/version-2: ")
    assert "Read-only file system" in line


def test_a_missing_folder_is_made_unless_that_is_switched_off(tmp_path: Path) -> None:
    server = ServerProcess(ZABRA, tmp_path, properties={"zookeeper.datadir.autocreate": "false"})
    code, line = refused(server)
    assert code == 3
    assert line.startswith(f"zabra: Missing data directory {server.data}/version-2, ")
    assert not server.data.exists()
    with ServerProcess(ZABRA, tmp_path).start() as server:
        assert server.stop() == 0


@pytest.mark.parametrize("name", ["data", "data/version-2"])
def test_a_file_where_the_folder_should_be(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    code, line = refused(ServerProcess(ZABRA, tmp_path))
    assert code == 3
    assert line.startswith(f"zabra: Unable to create data directory {tmp_path}/data/version-2: ")
    assert file.read_text() == "mine"


def test_data_and_log_folder_mixed_up(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with ServerProcess(ZABRA, tmp_path, config={"dataLogDir": str(logs)}).start() as server:
        with Client(server.port) as client:
            client.close_session()
        assert server.stop() == 0
    mixed = ServerProcess(ZABRA, tmp_path, config={"dataLogDir": str(server.data)}, data=logs)
    mixed.log = tmp_path / "mixed.log"
    code, line = refused(mixed)
    assert code == 3
    assert "Check if dataLogDir and dataDir configuration is correct" in line


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        server = ServerProcess(ZABRA, tmp_path)
        server.port = taken.getsockname()[1]
        code, line = refused(server)
        assert code == 1
        assert f"{LOOPBACK}" in line
        assert str(server.port) in line
        assert "address already in use" in line.lower()


@pytest.mark.parametrize("shared", ["data", "log"])
def test_two_servers_on_one_folder(shared: str, tmp_path: Path) -> None:
    """Apache starts both, and each loses what the other acknowledged. The lock ends with its process, however."""
    config = CONFIG if shared == "data" else {**CONFIG, "dataLogDir": str(tmp_path / "logs")}
    other = tmp_path / ("data" if shared == "data" else "other")
    first = ServerProcess(ZABRA, tmp_path / "first", config=config, data=tmp_path / "data")
    second = ServerProcess(ZABRA, tmp_path / "second", config=config, data=other)
    taken = tmp_path / ("data" if shared == "data" else "logs") / "version-2"
    writers = [Writer("w", "1", closes=False)]
    with first.start():
        writers[0].connect(first.port)
        code, line = refused(second)
        assert code == 3
        assert line == f"zabra: {taken}: another server is running on this folder"
        write_until(writers, 500, first.kill)
    check_after_restart(second if shared == "data" else first, writers)
