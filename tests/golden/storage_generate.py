"""Makes tests/golden/storage with Apache ZooKeeper: a session's worth of everything that can stand in its files.

    ZABRA_ZOOKEEPER_CLASSPATH='/path/to/jars/*' python tests/golden/storage_generate.py

Only run to make them anew; ids, times and zxids change, and the tests read whatever is there.
"""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OPEN_ACL = (31, b"world", b"anyone")


def text(value: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if value is None else struct.pack(">i", len(value)) + value


def acl(*entries: tuple[int, bytes, bytes]) -> bytes:
    return struct.pack(">i", len(entries)) + b"".join(
        struct.pack(">i", perms) + text(scheme) + text(id_) for perms, scheme, id_ in entries
    )


class Client:
    """A raw client: one request at a time."""

    def __init__(self, port: int, timeout_ms: int = 30000) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.xid = 0
        try:
            self.send(struct.pack(">iqiq", 0, 0, timeout_ms, 0) + text(bytes(16)) + b"\0")
            self.receive()
        except BaseException:
            self.socket.close()
            raise

    def send(self, body: bytes) -> None:
        self.socket.sendall(struct.pack(">i", len(body)) + body)

    def receive(self) -> bytes:
        data = b""
        want = 4
        while len(data) < want:
            more = self.socket.recv(want - len(data))
            if not more:
                raise EOFError
            data += more
            if want == 4 == len(data):
                want += struct.unpack(">i", data)[0]
        return data[4:]

    def call(self, type_: int, body: bytes = b"", xid: int | None = None) -> int:
        """Send a request; the error code of its reply."""
        self.xid += 1
        self.send(struct.pack(">ii", self.xid if xid is None else xid, type_) + body)
        return struct.unpack(">iqi", self.receive()[:16])[2]

    def create(self, path: bytes, data: bytes | None = b"", flags: int = 0, acls: bytes = acl(OPEN_ACL)) -> int:
        return self.call(1, text(path) + text(data) + acls + struct.pack(">i", flags))

    def create_ttl(self, path: bytes, ttl: int, flags: int = 5) -> int:
        return self.call(21, text(path) + text(b"ttl") + acl(OPEN_ACL) + struct.pack(">iq", flags, ttl))

    def create_container(self, path: bytes) -> int:
        return self.call(19, text(path) + text(b"box") + acl(OPEN_ACL) + struct.pack(">i", 4))

    def set_data(self, path: bytes, data: bytes | None, version: int = -1) -> int:
        return self.call(5, text(path) + text(data) + struct.pack(">i", version))

    def set_acl(self, path: bytes, acls: bytes, version: int = -1) -> int:
        return self.call(7, text(path) + acls + struct.pack(">i", version))

    def delete(self, path: bytes, version: int = -1) -> int:
        return self.call(2, text(path) + struct.pack(">i", version))

    def multi(self, *operations: tuple[int, bytes]) -> int:
        parts = [struct.pack(">ibi", type_, 0, -1) + body for type_, body in operations]
        return self.call(14, b"".join(parts) + struct.pack(">ibi", -1, 1, -1))

    def auth(self, scheme: bytes, secret: bytes) -> int:
        return self.call(100, struct.pack(">i", 0) + text(scheme) + text(secret), xid=-4)

    def close(self) -> None:
        self.call(-11)
        self.socket.close()


class Server:
    """Apache ZooKeeper on a folder."""

    def __init__(self, folder: Path, *properties: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / "zoo.cfg"
        config.write_text(
            f"dataDir={folder}\nclientPort={self.port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
            "tickTime=2000\nextendedTypesEnabled=true\npreAllocSize=64\n"
        )
        options = ["-Xmx256m", "-Dzookeeper.extendedTypesEnabled=true", "-Dzookeeper.preAllocSize=64", *properties]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        command = ["java", "-cp", os.environ["ZABRA_ZOOKEEPER_CLASSPATH"], *options, main, str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.clients: list[Client] = []
        deadline = time.monotonic() + 30
        # What is sent while Apache starts may stay unanswered for ever: ask again, and connect only when it serves.
        while not self.word("srvr").startswith("Zookeeper version"):
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise RuntimeError(f"Apache does not serve {folder}")
            time.sleep(0.05)
        self.client = self.client_again()

    def word(self, word: str) -> str:
        """The answer to a four-letter word, empty when there is none within a second."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as link:
                link.sendall(word.encode())
                return b"".join(iter(lambda: link.recv(4096), b"")).decode()
        except OSError:
            return ""

    def client_again(self, timeout_ms: int = 30000) -> Client:
        self.clients.append(Client(self.port, timeout_ms))
        return self.clients[-1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process; sessions stay as they are."""
        self.process.send_signal(number)
        self.process.wait()
        for client in self.clients:
            client.socket.close()


def first_life(server: Server) -> None:
    """Creates of all kinds, changes, failures, sessions that end and stay."""
    client = server.client
    lasting = server.client_again()
    assert client.auth(b"digest", b"user:secret") == 0
    assert client.create(b"/a", b"one") == 0
    assert client.create(b"/a/null", None) == 0
    assert client.create(b"/a/empty", b"") == 0
    assert client.create(b"/a/zeros", bytes(2000)) == 0
    assert client.create(b"/a/\xc3\xa9\xe2\x82\xac", b"utf-8") == 0
    assert client.create(b"/a/s-", b"seq", 2) == 0
    assert client.create(b"/a/s-", b"seq", 2) == 0
    assert client.create(b"/a/e", b"gone with its session", 1) == 0
    assert client.create(b"/a/es-", b"", 3) == 0
    assert lasting.create(b"/a/stays", b"ephemeral", 1) == 0
    assert client.create_container(b"/box") == 0
    assert client.create(b"/box/in", b"") == 0
    assert client.create_ttl(b"/ttl", 3_600_000) == 0
    assert client.create_ttl(b"/ttl-", 60_000, 6) == 0
    assert client.create(b"/own", b"", 0, acl((31, b"auth", b""))) == 0
    assert client.create(b"/read", b"", 0, acl((1, b"world", b"anyone"), (31, b"digest", b"u:1Vtsd0LpQNK9wQ="))) == 0
    assert client.set_acl(b"/a", acl((31, b"world", b"anyone"), (31, b"ip", b"127.0.0.1"))) == 0
    assert client.set_data(b"/a", b"two", 0) == 0
    assert client.set_data(b"/a", None) == 0
    assert client.set_data(b"/a", b"x" * 700, 2) == 0
    assert client.set_data(b"/a", b"", 77) == -103
    assert client.delete(b"/missing") == -101
    assert client.delete(b"/box") == -111
    assert client.create(b"/a", b"") == -110
    assert client.delete(b"/a/s-0000000004") == 0
    body = text(b"/m") + text(b"multi") + acl(OPEN_ACL) + struct.pack(">i", 0)
    change = text(b"/m") + text(b"changed") + struct.pack(">i", 0)
    check = text(b"/a") + struct.pack(">i", 3)
    assert client.multi((1, body), (5, change), (13, check), (2, text(b"/read") + struct.pack(">i", -1))) == 0
    assert client.multi((1, body.replace(b"/m", b"/n")), (2, text(b"/none") + struct.pack(">i", -1))) == 0
    assert client.create(b"/zookeeper/quota/a", b"") == 0
    assert client.create(b"/zookeeper/quota/a/zookeeper_limits", b"count=100,bytes=-1") == 0
    assert client.create(b"/zookeeper/quota/a/zookeeper_stats", b"count=0,bytes=0") == 0
    assert client.create(b"/a/counted", b"12345") == 0
    client.close()


def second_life(server: Server) -> None:
    """A few more on top of a snapshot; both sessions stay."""
    client = server.client
    assert client.set_data(b"/m", b"second life") == 0
    assert client.delete(b"/a/null") == 0
    assert client.create(b"/a/later", b"", 1) == 0


def main() -> None:
    target = Path(__file__).parent / "storage"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for life, properties in (
            (first_life, ()),
            (second_life, ()),
            (lambda server: None, ("-Dzookeeper.snapshot.compression.method=gz",)),
            (lambda server: None, ("-Dzookeeper.snapshot.compression.method=snappy",)),
        ):
            server = Server(folder, *properties)
            try:
                life(server)
            finally:
                server.stop()
        for file in sorted((folder / "version-2").iterdir()):
            data = file.read_bytes()
            if file.name.startswith("log."):
                data = data.rstrip(b"\0")
            (target / f"{file.name}.packed").write_bytes(gzip.compress(data, mtime=0))
            print(file.name, len(data), file=sys.stderr)


if __name__ == "__main__":
    main()
