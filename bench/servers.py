"""Starts and stops the two servers under the same settings, each with a data folder of its own on the same disk."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.procfs import Memory, memory

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
SOURCES = HERE.parent / "src"
JAVA_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
# What bin/zkServer.sh gives the JVM: its heap limit, and nothing that collects differently.
JVM_FLAGS = ("-Xmx1000m", "-XX:+HeapDumpOnOutOfMemoryError", "-Dzookeeper.log.threshold=INFO")
NAMES = ("zabra", "apache")
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
CONNECT_REQUEST = struct.pack(">iiqiqi16s?", 45, 0, 0, 10_000, 0, 16, bytes(16), False)
CLOSE_REQUEST = struct.pack(">iii", 8, 1, -11)


class BenchError(Exception):
    """The benchmark cannot go on: a tool is missing, or a server did not start, answer or stop."""


def apache_classpath() -> str:
    """Class path of Apache ZooKeeper 3.9.5: $ZABRA_ZOOKEEPER_CLASSPATH, else what Maven fetches.

    Maven is asked once; the jars stay in the build folder. Raises BenchError when there is no Java or the jars cannot
    be fetched.
    """
    if shutil.which("java") is None:
        raise BenchError("Apache ZooKeeper needs a `java` on PATH; --only zabra measures without it")
    given = os.environ.get("ZABRA_ZOOKEEPER_CLASSPATH")
    if given:
        return given
    jars = BUILD / "jars"
    if not list(jars.glob("zookeeper-3.9.5.jar")):
        if shutil.which("mvn") is None:
            raise BenchError(
                "no `mvn` on PATH to fetch Apache ZooKeeper; or name its jars in $ZABRA_ZOOKEEPER_CLASSPATH"
            )
        command = [
            "mvn",
            "-q",
            "-f",
            str(HERE / "pom.xml"),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={jars}",
        ]
        if subprocess.run(command, check=False).returncode:
            raise BenchError("Maven could not fetch Apache ZooKeeper 3.9.5")
    return f"{jars}/*"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def lasting_ports(count: int) -> list[int]:
    """Ports nobody uses, outside of the range that the system hands to outgoing connections.

    A server that is started anew, with clients reconnecting meanwhile, finds its port free.
    """
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    candidates = [port for port in range(10_000, 65_536) if not low <= port <= high]
    random.shuffle(candidates)
    ports: list[int] = []
    for port in candidates:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise BenchError(f"no {count} free ports outside of {low} to {high}")


def config_text(folder: Path, port: int, extra: Mapping[str, object]) -> str:
    """The zoo.cfg of both servers. What costs time or space stays at ZooKeeper's defaults unless `extra` changes it."""
    settings: dict[str, object] = {
        "dataDir": folder,
        "clientPort": port,
        "clientPortAddress": "127.0.0.1",
        "tickTime": 2000,
        "maxClientCnxns": 0,
        "admin.enableServer": "false",
        **extra,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


class Server:
    """One server process with its folder. `name` is "zabra" or "apache"; `extra` adds settings to zoo.cfg.

    `myid` makes it a member of the ensemble that `extra` describes.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        extra: Mapping[str, object] | None = None,
        *,
        port: int | None = None,
        myid: int | None = None,
    ) -> None:
        self.name = name
        self.folder = folder
        self.extra = dict(extra or {})
        self.port = port or free_port()
        self.myid = myid
        #: Where the samples of the process go when it stops, see sampler.py; Zabra only.
        self.samples: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._launched_at = 0.0

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    @property
    def data(self) -> Path:
        """Where the logs and snapshots lie."""
        return self.folder / "version-2"

    def wipe(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.folder.parent / f"{self.folder.name}.log"

    def start(self) -> float:
        """Starts the process and returns the seconds from there to its first accepted session.

        Raises BenchError when the process ends first or START_TIMEOUT_S pass.
        """
        self.launch()
        return self.wait_session()

    def launch(self) -> None:
        """Starts the process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.myid is not None:
            (self.folder / "myid").write_text(f"{self.myid}\n")
        config = self.folder.parent / f"{self.folder.name}.cfg"
        config.write_text(config_text(self.folder, self.port, self.extra))
        command, environment = self._command(config)
        with self.log.open("ab") as output:
            self._launched_at = time.monotonic()
            self._process = subprocess.Popen(
                command, env=environment, cwd=self.folder.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def wait_session(self) -> float:
        """Waits until the server accepts a session; the seconds since its launch."""
        with contextlib.closing(Knocker(self.port)) as door:
            while not door.granted():
                self.require_running("accepted no session")
            return time.monotonic() - self._launched_at

    def require_running(self, lacking: str) -> float:
        """The seconds since the launch. Raises BenchError when the process ended or has had START_TIMEOUT_S."""
        assert self._process is not None, "the server has not been started"
        seconds = time.monotonic() - self._launched_at
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with code {self._process.returncode} while starting, see {self.log}")
        if seconds > START_TIMEOUT_S:
            self.kill()
            raise BenchError(f"{self.name} {lacking} within {START_TIMEOUT_S:.0f} s, see {self.log}")
        return seconds

    def memory(self) -> Memory:
        return memory(self.pid)

    def stop(self) -> None:
        """Asks the process to end, and waits for it. Does nothing for a server that does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the process as a power cut would, as far as a process can."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise BenchError(f"{self.name} did not stop within {STOP_TIMEOUT_S:.0f} s") from None
        self._process = None

    def _command(self, config: Path) -> tuple[list[str], dict[str, str]]:
        environment = dict(os.environ)
        if self.name == "apache":
            return ["java", *JVM_FLAGS, "-cp", apache_classpath(), JAVA_MAIN, str(config)], environment
        paths = [str(SOURCES), str(HERE.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        program = ["zabra"] if self.samples is None else ["bench.sampler", str(self.samples)]
        return [sys.executable, "-m", *program, "server", str(config)], environment


class Knocker:
    """Asks for a session until the server grants one.

    Before they are ready servers refuse the connection, close it, keep it waiting, or (Apache ZooKeeper, now and then,
    when the request comes in the very moment of starting) never answer it. So a new attempt starts when the last was
    turned down or has waited for RETRY_S; RETAINED older ones stay open, and the first grant on any of them counts.
    """

    RETRY_S = 0.05
    RETAINED = 16

    def __init__(self, port: int) -> None:
        self._port = port
        self._attempts: list[socket.socket] = []
        self._granted: socket.socket | None = None
        self._next_attempt_at = 0.0

    def granted(self) -> bool:
        """Looks once, for a millisecond at most, whether a session has been granted."""
        now = time.monotonic()
        if not self._attempts or now >= self._next_attempt_at:
            self._attempt(now)
        ready = select.select(self._attempts, [], [], 0.001)[0] if self._attempts else []
        if not self._attempts:
            time.sleep(0.001)
        for s in ready:
            if self._is_grant(s):
                self._granted = s
                return True
            self._attempts.remove(s)
            s.close()
        return False

    def close(self) -> None:
        """Drops all attempts and closes the session that was granted."""
        if self._granted is not None:
            with contextlib.suppress(OSError):
                self._granted.sendall(CLOSE_REQUEST)
                self._granted.recv(64)
        for s in self._attempts:
            s.close()
        self._attempts.clear()

    def _attempt(self, now: float) -> None:
        try:
            s = socket.create_connection(("127.0.0.1", self._port), timeout=1)
            s.sendall(CONNECT_REQUEST)
        except OSError:
            return
        self._attempts.append(s)
        self._next_attempt_at = now + self.RETRY_S
        while len(self._attempts) > self.RETAINED:
            self._attempts.pop(0).close()

    @staticmethod
    def _is_grant(s: socket.socket) -> bool:
        try:
            reply = s.recv(64)
        except OSError:
            return False
        return len(reply) > 12 and int.from_bytes(reply[8:12], "big", signed=True) > 0
