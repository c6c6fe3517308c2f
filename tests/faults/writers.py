"""Pipelining writers that know what must be on disk: every acknowledged write, and of the others a prefix in order.

Each writer has a session and a subtree of its own, and plans its operations against a model. Whatever happens to the
server, its subtree must afterwards be what the model was after some operation at or behind the last acknowledged one.
"""

from __future__ import annotations

import random
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from compat import jute
from compat.rawclient import Client
from compat.servers import LOOPBACK

TIMEOUT_MS: Final = 300_000
#: A fault that has not come after so many writes does not come.
_WRITES_MAX: Final = 200_000
NODE_EXISTS: Final = -110
BAD_VERSION: Final = -103

#: path -> (data, version, whether it is ephemeral)
Nodes = dict[str, tuple[bytes, int, bool]]


@dataclass(frozen=True)
class Operation:
    """One request, and what it does to the writer's subtree."""

    opcode: int
    body: bytes
    apply: Callable[[Nodes], None]
    err: int = 0
    #: Path that the reply must name, for sequential nodes.
    path: str | None = None


class Writer:
    """One session. ``sent`` grows as operations are planned, ``acknowledged`` counts those answered."""

    def __init__(self, name: str, seed: str, *, closes: bool = True, window: int = 32) -> None:
        """``closes``: now and then it ends its session; ``window``: requests on their way at once."""
        self.root = f"/{name}"
        self.session = 0
        self.password = bytes(16)
        #: Whether its closeSession was sent.
        self.closing = False
        self.connection: socket.socket | None = None
        self.acknowledged = 0
        #: The subtree as it is when all that was sent is done.
        self._ahead: Nodes = {}
        #: The subtree after the operations that are known to be done, and those behind them.
        self._known: Nodes = {}
        self._operations: deque[Operation] = deque()
        self._rng = random.Random(seed)
        self._closes = closes
        self._window = window
        self._number = 0
        self._sequence = 0
        self._xid = 0
        self._first_xid = 1
        self._buffer = b""

    # -- planning

    def _plan(self, opcode: int, body: bytes, apply: Callable[[Nodes], None], err: int = 0, path: str = "") -> bytes:
        operation = Operation(opcode, body, apply, err, path or None)
        if err == 0:
            apply(self._ahead)
        self._operations.append(operation)
        self._xid += 1
        return jute.frame(jute.request(self._xid, opcode, body))

    def _create(self, path: str, data: bytes, *, ephemeral: bool = False, opcode: int = jute.CREATE) -> bytes:
        body = jute.create(path, data, jute.OPEN, 4 if opcode == jute.CREATE_CONTAINER else int(ephemeral))

        def apply(nodes: Nodes) -> None:
            nodes[path] = (data, 0, ephemeral)

        return self._plan(opcode, body, apply)

    def _create_sequential(self, data: bytes) -> bytes:
        path = f"{self.root}/s/q-{self._sequence:010d}"
        self._sequence += 1

        def apply(nodes: Nodes) -> None:
            nodes[path] = (data, 0, False)

        body = jute.create(f"{self.root}/s/q-", data, jute.OPEN, 2)
        return self._plan(jute.CREATE2, body, apply, path=path)

    def _set(self, path: str, data: bytes) -> bytes:
        version = self._ahead[path][1]

        def apply(nodes: Nodes) -> None:
            nodes[path] = (data, version + 1, nodes[path][2])

        return self._plan(jute.SET_DATA, jute.set_data(path, data, version), apply)

    def _delete(self, path: str) -> bytes:
        def apply(nodes: Nodes) -> None:
            del nodes[path]

        return self._plan(jute.DELETE, jute.path_version(path, self._ahead[path][1]), apply)

    def _multi(self, path: str, data: bytes) -> bytes:
        """A node made and the counter set, together or not at all."""
        counter = f"{self.root}/counter"
        version = self._ahead[counter][1]
        fails = self._rng.random() < 0.3
        operations = [
            (jute.CREATE, jute.create(path, data, jute.OPEN, 0)),
            (jute.SET_DATA, jute.set_data(counter, data, version + fails)),
        ]

        def apply(nodes: Nodes) -> None:
            nodes[path] = (data, 0, False)
            nodes[counter] = (data, version + 1, False)

        return self._plan(jute.MULTI, jute.multi(operations), apply, BAD_VERSION if fails else 0)

    def _create_again(self, path: str) -> bytes:
        return self._plan(jute.CREATE, jute.create(path, b"", jute.OPEN, 0), lambda nodes: None, NODE_EXISTS)

    def _close(self) -> bytes:
        def apply(nodes: Nodes) -> None:
            for path in [path for path, (_, _, ephemeral) in nodes.items() if ephemeral]:
                del nodes[path]

        self.closing = True
        return self._plan(jute.CLOSE_SESSION, b"", apply)

    def next_request(self) -> bytes:
        """Plan one more operation; its frame."""
        for path in (self.root, f"{self.root}/s", f"{self.root}/counter"):
            if path not in self._ahead:
                return self._create(path, b"")
        rng = self._rng
        data = rng.randbytes(rng.choice((0, 10, 100, 100, 100, 4000)))
        self._number += 1
        path = f"{self.root}/n{self._number}"
        mine = [path for path in islice(reversed(self._ahead), 30) if path.startswith(f"{self.root}/n")]
        dice = rng.random()
        if self._closes and dice < 0.0005:
            return self._close()
        if dice < 0.2:
            return self._create(path, data)
        if dice < 0.25:
            return self._create(path, data, opcode=jute.CREATE_CONTAINER)
        if dice < 0.4:
            return self._create_sequential(data)
        if dice < 0.5:
            return self._create(path, data, ephemeral=True)
        if dice < 0.65:
            return self._multi(path, data)
        if not mine or dice < 0.7:
            return self._create_again(self.root)
        if dice < 0.85:
            return self._set(rng.choice(mine), data)
        return self._delete(rng.choice(mine))

    # -- talking

    def connect(self, port: int, *, silence_s: float = 30.0) -> None:
        """Open the session, or find it again: acknowledged and not closed it must still be there.

        Raises ConnectionError when the server leaves meanwhile, TimeoutError when it is silent for so long.
        """
        request = jute.connect(session=self.session, password=self.password, timeout_ms=TIMEOUT_MS)
        link = socket.create_connection((LOOPBACK, port), silence_s)
        try:
            link.sendall(jute.frame(request))
            (length,) = struct.unpack(">i", _exactly(link, 4))
            answer = jute.decode_handshake(_exactly(link, length))
        except BaseException:
            link.close()
            raise
        self.connection = link
        assert answer.session != 0, f"the session of {self.root} is gone"
        assert self.session in (0, answer.session)
        assert answer.password is not None
        self.session, self.password = answer.session, answer.password
        self._buffer = b""

    def fill(self) -> None:
        """Send until the window is full. A server that has gone is noticed when reading."""
        frames = []
        while len(self._operations) < self._window and not self.closing:
            frames.append(self.next_request())
        assert self.connection is not None
        if frames:
            try:
                self.connection.sendall(b"".join(frames))
            except ConnectionError:
                return

    def take(self) -> bool:
        """Take what has come; false once the server has closed."""
        assert self.connection is not None
        try:
            chunk = self.connection.recv(1 << 16)
        except ConnectionError:
            chunk = b""
        buffer = self._buffer + chunk
        position = 0
        while len(buffer) - position >= 4:
            (length,) = struct.unpack_from(">i", buffer, position)
            if len(buffer) - position - 4 < length:
                break
            self._acknowledge(buffer[position + 4 : position + 4 + length])
            position += 4 + length
        self._buffer = buffer[position:]
        return bool(chunk)

    def _acknowledge(self, payload: bytes) -> None:
        operation = self._operations.popleft()
        xid, _, err, body, _ = jute.decode_reply(payload, operation.opcode)
        if operation.opcode == jute.MULTI and err == 0:
            # The reply as a whole succeeds; its last result has the error.
            err = body[-2][2][0] if body[-2][0] == -1 else 0
        assert (xid, err) == (self._first_xid, operation.err), f"{self.root}: op {operation.opcode}"
        if operation.path is not None:
            assert body[0] == operation.path
        self._first_xid += 1
        self.acknowledged += 1
        if err == 0:
            operation.apply(self._known)

    @property
    def waiting(self) -> bool:
        """Whether something that was sent is not answered."""
        return bool(self._operations)

    def disconnect(self) -> None:
        """Drop the connection; the session stays."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    # -- judging

    def check(self, client: Client) -> int:
        """Compare with the server, and go on from what is there. How many unacknowledged operations were done."""
        found = subtree(client, self.root)
        nodes = self._known
        wanted = dict(nodes)
        done = 0
        while found != {path: (*node[:2], self.session * node[2]) for path, node in nodes.items()}:
            if not self._operations:
                raise AssertionError(f"{self.root}: {_difference(wanted, found, self.session)}")
            operation = self._operations.popleft()
            done += 1
            if operation.err == 0:
                operation.apply(nodes)
        # A closeSession need not change the subtree; whether it was done is asked with the next connect.
        self._ahead = dict(nodes)
        self._operations.clear()
        self._first_xid = self._xid + 1
        self._sequence = sum(path.startswith(f"{self.root}/s/") for path in nodes)
        return done

    def retire(self) -> None:
        """No more writes from here; its ephemerals end with the session some day."""
        self._known = {path: node for path, node in self._known.items() if not node[2]}

    def check_persistent(self, client: Client) -> None:
        """Everything that was there when the writer retired is still there."""
        found = {path: node for path, node in subtree(client, self.root).items() if node[2] == 0}
        assert found == {path: (*node[:2], 0) for path, node in self._known.items()}, self.root

    def remove(self, client: Client) -> None:
        """Delete its subtree, whoever owns what is in it."""
        paths = sorted(subtree(client, self.root), key=lambda path: path.count("/"), reverse=True)
        for path in paths:
            client.post(jute.DELETE, jute.path_version(path, -1))
        for path in paths:
            answer = client.reply(jute.DELETE)
            assert answer is not None
            assert answer[2] == 0, f"{path} cannot be deleted: {answer[2]}"


def subtree(client: Client, root: str) -> dict[str, tuple[bytes, int, int]]:
    """path -> (data, version, ephemeral owner) of a writer's subtree, two levels deep."""
    paths = [root]
    for parent in (root, f"{root}/s"):
        err, listing = client.call(jute.GET_CHILDREN2, jute.path_watch(parent, False))
        if err == 0:
            paths += [f"{parent}/{name}" for name in listing[0][1]]
    found = {}
    for at in range(0, len(paths), 500):
        some = paths[at : at + 500]
        for path in some:
            client.post(jute.GET_DATA, jute.path_watch(path, False))
        for path in some:
            answer = client.reply(jute.GET_DATA)
            if answer is None:
                raise ConnectionError("the server closed the connection while its tree was read")
            if answer[2] == 0:
                data, stat = answer[3]
                owner = stat.owner if stat.owner != -(1 << 63) else 0
                found[path] = (data, stat.version, owner)
    return found


def _difference(nodes: Nodes, found: dict[str, Any], session: int) -> str:
    expected = {path: (*node[:2], session * node[2]) for path, node in nodes.items()}
    lost = [path for path in expected if path not in found]
    extra = [path for path in found if path not in expected]
    other = [path for path in expected if path in found and found[path] != expected[path]]
    return f"no state from the last acknowledged on; lost {lost[:5]}, not acknowledged {extra[:5]}, other {other[:5]}"


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = link.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the server closed the connection instead of answering the handshake")
        data += chunk
    return data


def write_until(writers: list[Writer], acknowledged: int, stop: Callable[[], None]) -> None:
    """Let connected writers write; once so many more are acknowledged call ``stop``, and take what still comes in."""
    try:
        _write_until(writers, sum(writer.acknowledged for writer in writers) + acknowledged, stop)
    finally:
        for writer in writers:
            writer.disconnect()


def write_to_the_end(writers: list[Writer], port: int) -> None:
    """Connect and write until the server leaves by itself."""
    try:
        for writer in writers:
            writer.connect(port)
    except ConnectionError:
        pass
    connected = [writer for writer in writers if writer.connection is not None]
    write_until(connected, _WRITES_MAX, _nothing_happened)


def _nothing_happened() -> None:
    raise AssertionError("the server did not leave")


def _write_until(writers: list[Writer], acknowledged: int, stop: Callable[[], None]) -> None:
    stopped = False
    with selectors.DefaultSelector() as selector:
        for writer in writers:
            assert writer.connection is not None
            writer.fill()
            selector.register(writer.connection, selectors.EVENT_READ, writer)
        while selector.get_map():
            ready = selector.select(60)
            assert ready, "the server has gone silent"
            for key, _ in ready:
                writer = key.data
                if not writer.take():
                    selector.unregister(key.fileobj)
                elif not stopped:
                    writer.fill()
            if not stopped and sum(writer.acknowledged for writer in writers) >= acknowledged:
                stopped = True
                stop()
