"""Start, stop and kill a real server process, Apache's or ours, on a folder of its own."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

REPOSITORY: Final = Path(__file__).resolve().parents[2]
#: Names the jars of Apache ZooKeeper 3.9.5, as ``java -cp`` wants them.
CLASSPATH_VARIABLE: Final = "ZABRA_ZOOKEEPER_CLASSPATH"
APACHE_MAIN: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
#: A short start matters more here than speed later.
JAVA_FLAGS: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xmx512m")
LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = range(10000, 26000)

APACHE: Final = "apache"
ZABRA: Final = "zabra"

_handed_out: set[int] = set()


def missing_java() -> str | None:
    """What keeps Apache's server from running here, or ``None``."""
    if shutil.which("java") is None:
        return "no `java` on PATH"
    if not os.environ.get(CLASSPATH_VARIABLE):
        return f"{CLASSPATH_VARIABLE} does not name the jars of Apache ZooKeeper 3.9.5"
    return None


def require(missing: str | None) -> None:
    """Skip the test when its peer is missing, naming it; under ``CI=true`` a missing peer is a failure."""
    if missing is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this: {missing}", pytrace=False)
    pytest.skip(missing)


def free_port() -> int:
    """A loopback port that nobody listens on, for this process alone.

    It is below those that the system gives to clients, so that it stays free while its server is down. Test processes
    that run side by side (pytest-xdist) have ports of their own.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = random.randrange(_PORTS.start + worker, _PORTS.stop, workers)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _handed_out.add(port)
        return port


def command_of(kind: str, properties: Mapping[str, str], config: Path) -> list[str]:
    """The command line that starts a server of ``kind`` with ``-D`` properties and its configuration file."""
    defines = [f"-D{name}={value}" for name, value in properties.items()]
    if kind == APACHE:
        return ["java", *JAVA_FLAGS, "-cp", os.environ[CLASSPATH_VARIABLE], *defines, APACHE_MAIN, str(config)]
    return [sys.executable, "-m", "zabra", "server", *defines, str(config)]


def environment() -> dict[str, str]:
    """The environment of a server process: ours, with the sources of this repository importable."""
    paths = [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


class ServerProcess:
    """One server process on ``folder``: ``zoo.cfg``, ``data/`` and ``server.log`` lie there."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        *,
        config: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        data: Path | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        """``config`` is more lines of zoo.cfg, ``data`` another data folder, ``wrapper`` a prefix of the command."""
        self.kind = kind
        self.folder = folder
        self.data = data if data is not None else folder / "data"
        self.log = folder / "server.log"
        self.port = free_port()
        self._config = dict(config or {})
        self._properties = dict(properties or {})
        self.wrapper = wrapper
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> ServerProcess:
        """Start the process without waiting for anything."""
        command = [*self.wrapper, *command_of(self.kind, self._properties, self.write_config())]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), cwd=self.folder)
        return self

    def write_config(self) -> Path:
        """Write ``zoo.cfg``; where it is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = {
            "tickTime": "2000",
            "dataDir": str(self.data),
            "clientPortAddress": LOOPBACK,
            "clientPort": str(self.port),
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **self._config,
        }
        config = self.folder / "zoo.cfg"
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        return config

    def start(self, timeout_s: float = 30.0) -> ServerProcess:
        """Start the process and wait until it answers ``ruok``."""
        self.spawn()
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError):
                if self.word("srvr").startswith("Zookeeper version"):
                    return self
            code = self._process.poll()
            if code is not None:
                raise AssertionError(f"{self.kind} left at start with code {code}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.kind} did not serve within {timeout_s} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait until the process has left; its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._process = None
        return code

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    def word(self, word: str, timeout_s: float = 5.0) -> str:
        """The answer to a four-letter word."""
        with socket.create_connection((LOOPBACK, self.port), timeout_s) as link:
            link.sendall(word.encode())
            chunks = []
            while chunk := link.recv(65536):
                chunks.append(chunk)
        return b"".join(chunks).decode(errors="replace")

    def resident_kb(self) -> int:
        """Resident memory of the process in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("the process has no memory any more")

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that the process printed."""
        if not self.log.exists():
            return ""
        shown = self.log.read_text(errors="replace").splitlines()
        # Stock without a logging library says only that.
        return "\n".join([line for line in shown if not line.startswith("SLF4J(W)")][-lines:])


def copy_data(server: ServerProcess, folder: Path) -> Path:
    """Copy the data folder of a stopped server to ``folder/data``; log padding is not copied."""
    target = folder / "data"
    shutil.copytree(server.data, target, copy_function=_copy_sparse)
    return target


def _copy_sparse(source: str, target: str) -> str:
    """Copy a file and leave holes where 64 KiB blocks are zero: logs are preallocated by 64 MiB."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while block := reader.read(65536):
            if block.strip(b"\0"):
                writer.write(block)
            else:
                writer.seek(len(block), os.SEEK_CUR)
        writer.truncate()
    return target
