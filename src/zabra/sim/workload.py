"""What the clients of a run do, drawn from a seed: every kind of request, on few enough paths that they meet."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Final

from zabra.consts import Mode, Op
from zabra.sim.calls import Call
from zabra.sim.client import SimClient
from zabra.sim.loop import SimLoop
from zabra.sim.model import OPEN, READ_ONLY, Model
from zabra.wire.records_data import Acl, Identity

_TOPS: Final = (b"/a", b"/b", b"/c")
_LEAVES: Final = (b"x", b"y", b"z")
QUOTA: Final = b"/a"
#: Znodes for histories (:mod:`zabra.sim.history`), asked for nothing but what :class:`RegisterWorkload` draws.
REGISTERS: Final = (b"/r0", b"/r1", b"/r2")
_NOT_OURS: Final = (b"/zookeeper", b"/r")


def digest_identity(credentials: bytes) -> Identity:
    """The identity that ``user:password`` proves."""
    user = credentials.partition(b":")[0].decode()
    return ("digest", f"{user}:{base64.b64encode(hashlib.sha1(credentials).digest()).decode()}")


CREDENTIALS: Final = (b"ann:one", b"bob:two")
_ACLS: Final[tuple[Acl, ...]] = (
    OPEN,
    OPEN,
    OPEN,
    OPEN,
    READ_ONLY,
    ((31, *digest_identity(CREDENTIALS[0])),),
    ((31, *digest_identity(CREDENTIALS[0])), (1, "world", "anyone")),
    ((31, "ip", "10.0.1.1"), (5, *digest_identity(CREDENTIALS[1]))),
    (),
)


class Workload:
    """Keeps one client busy: some requests at once, a pause, the next."""

    def __init__(
        self, client: SimClient, loop: SimLoop, rng: random.Random, model: Model, *, depth: int, pause: float
    ) -> None:
        """``depth``: requests in flight at most; ``pause``: usual seconds between two bursts."""
        self.client = client
        self._loop = loop
        self._rng = rng
        self._model = model
        self._depth = depth
        self._pause = pause
        self._running = False
        self._resting = False
        client.on_up = self._rest
        client.on_reply = self._replied

    def start(self) -> None:
        """Begin."""
        self._running = True
        self.client.start()

    def slow_down(self) -> None:
        """Ask a little now and then."""
        self._depth = 1
        self._pause = max(self._pause, 0.5)

    def write_now(self) -> None:
        """Ask for a write out of turn."""
        if self._running and self.client.up:
            self.client.ask(self._write())

    def finish(self) -> None:
        """Ask nothing more; the session stays."""
        self._running = False

    def _replied(self, call: Call) -> None:
        if len(self.client.pending) < self._depth // 2 + 1:
            self._rest()

    def _rest(self) -> None:
        if self._running and not self._resting:
            self._resting = True
            self._loop.call_later(self._rng.expovariate(1) * self._pause, self._burst)

    def _burst(self) -> None:
        self._resting = False
        client = self.client
        if not self._running or not client.up:
            return
        for _ in range(1 + self._rng.randrange(self._depth)):
            if len(client.pending) < self._depth and client.up:
                client.ask(self.draw())
        if not client.pending:
            self._rest()

    # -- requests

    def draw(self) -> Call:
        """Any request."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.55:
            return self._write()
        if kind < 0.6:
            return Call(Op.MULTI, subs=tuple(self._part() for _ in range(1 + rng.randrange(5))))
        if kind < 0.9:
            op = rng.choice((Op.GET_DATA, Op.GET_DATA, Op.EXISTS, Op.GET_CHILDREN, Op.GET_CHILDREN2, Op.GET_ACL))
            return Call(op, self._path(), watch=op != Op.GET_ACL and rng.random() < 0.4)
        if kind < 0.94:
            return Call(Op.ADD_WATCH, self._path(), mode=rng.randrange(2))
        if kind < 0.96:
            return Call(Op.REMOVE_WATCHES, self._path(), mode=3)
        if kind < 0.97:
            return Call(Op.CLOSE_SESSION)
        if kind < 0.98:
            return Call(Op.GET_EPHEMERALS, rng.choice((b"/", *_TOPS)))
        if kind < 0.985:
            return Call(Op.GET_ALL_CHILDREN_NUMBER, self._path())
        if kind < 0.99:
            # getData only: the order of children is the server's own affair.
            return Call(Op.MULTI_READ, subs=tuple(Call(Op.GET_DATA, self._own_path()) for _ in range(rng.randrange(4))))
        return Call(Op.SYNC, self._path())

    def _path(self) -> bytes:
        rng = self._rng
        kind = rng.random()
        if kind < 0.05:
            return rng.choice((b"/", b"/zookeeper/quota/a/zookeeper_stats", b"/zookeeper/quota/a"))
        if kind < 0.3:
            return rng.choice(_TOPS)
        if kind < 0.5 and self._model.nodes:
            paths = [path for path in self._model.nodes if not path.startswith(_NOT_OURS)]
            return rng.choice(paths)
        path = rng.choice(_TOPS) + b"/" + rng.choice(_LEAVES)
        return path + b"/" + rng.choice(_LEAVES) if kind > 0.85 else path

    def _data(self) -> bytes | None:
        rng = self._rng
        kind = rng.random()
        if kind < 0.05:
            return None
        if kind < 0.1:
            return b""
        if kind < 0.15:
            return bytes(rng.randrange(8000))  # zeros look like lost sectors
        return rng.randbytes(rng.randrange(2000 if kind < 0.2 else 100))

    def _version(self, path: bytes, *, acl: bool = False) -> int:
        if self._rng.random() < 0.6:
            return -1
        node = self._model.nodes.get(path)
        if node is None:
            return self._rng.randrange(3)
        return node.aversion if acl else node.version

    def _own_path(self) -> bytes:
        """A path that a write may take without harm to the run."""
        path = self._path()
        return path if len(path) > 1 and not path.startswith(b"/zookeeper") else self._rng.choice(_TOPS)

    def _write(self) -> Call:
        rng = self._rng
        kind = rng.random()
        path = self._own_path()
        if kind < 0.04:
            return Call(Op.SET_ACL, path, acl=rng.choice(_ACLS), version=self._version(path, acl=True))
        if kind < 0.06:
            return self._quota()
        if kind < 0.12:
            mode = rng.choice((Mode.TTL, Mode.TTL_SEQUENTIAL))
            return Call(Op.CREATE_TTL, path, self._data(), flags=mode, ttl=rng.randrange(100, 5000))
        if kind < 0.16:
            return Call(Op.CREATE_CONTAINER, path, self._data(), flags=Mode.CONTAINER)
        if kind < 0.18:
            return Call(Op.SET_DATA, rng.choice((b"/", b"/zookeeper/quota")), self._data())
        return self._sub()

    def _quota(self) -> Call:
        """Set or remove the quota; its nodes come and go together, so that its count is always right."""
        node = b"/zookeeper/quota" + QUOTA
        limits, stats = node + b"/zookeeper_limits", node + b"/zookeeper_stats"
        if self._rng.random() < 0.3:
            return Call(Op.MULTI, subs=(Call(Op.DELETE, stats), Call(Op.DELETE, limits), Call(Op.DELETE, node)))
        text = b"count=%d,bytes=4000=;byteHardLimit=5000;countHardLimit=15" % self._rng.randrange(4, 12)
        subs = (Call(Op.CREATE, node), Call(Op.CREATE, limits, text), Call(Op.CREATE, stats, b"count=-1,bytes=-1"))
        return Call(Op.MULTI, subs=subs)

    def _part(self) -> Call:
        """A part of a multi."""
        path = self._path()
        if self._rng.random() < 0.15:
            return Call(Op.CHECK, path, version=self._version(path))
        return self._sub()

    def _sub(self) -> Call:
        """A write that may also be part of a multi."""
        rng = self._rng
        path = self._own_path()
        kind = rng.random()
        if kind < 0.35:
            return Call(Op.SET_DATA, path, self._data(), version=self._version(path))
        if kind < 0.55:
            return Call(Op.DELETE, path, version=self._version(path))
        op = rng.choice((Op.CREATE, Op.CREATE, Op.CREATE2))
        return Call(op, path, self._data(), rng.choice(_ACLS), rng.choice((0, 0, 1, 1, 2, 3)))


class RegisterWorkload(Workload):
    """The same, and between it reads and writes of a few znodes whose history is kept."""

    def draw(self) -> Call:
        """Any request."""
        if self._rng.random() < 0.6:
            return super().draw()
        rng = self._rng
        key = rng.choice(REGISTERS)
        kind = rng.random()
        if kind < 0.45:
            return Call(Op.GET_DATA, key)
        if kind < 0.55:
            return Call(Op.SYNC, key)
        if kind < 0.7:
            return Call(Op.CREATE2, key, rng.randbytes(6))
        if kind < 0.78:
            return Call(Op.DELETE, key, version=self._version(key))
        return Call(Op.SET_DATA, key, rng.randbytes(6), version=self._version(key))
