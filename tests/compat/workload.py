"""Draws a random but repeatable sequence of client steps: all opcodes, watches, sessions, ACLs, and bad requests.

A step is plain data with literal bytes; only session ids and passwords are references, since each server makes its own.
The generator follows the replies of one server to know which nodes exist, so that most requests mean something.
What :mod:`compat.deviations` lists is never drawn.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from compat import jute
from compat.jute import Entry

SLOTS: Final = 5
#: The connection in this slot is a super user; it is never dropped by a bad request.
SUPER_SLOT: Final = 0
SUPER_CREDENTIAL: Final = b"super:test"
SUPER_DIGEST: Final = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
#: base64 of SHA-1 over "alice:secret" and "bob:builder".
ALICE: Final = "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E="
BOB: Final = "bob:4rsXV9JgUbFl9ZE40xENilxlRV8="
CREDENTIALS: Final = (b"alice:secret", b"bob:builder")
QUOTA_ROOT: Final = "/q"
QUOTA_LIMITS: Final = f"/zookeeper/quota{QUOTA_ROOT}/zookeeper_limits"

ROOTS: Final = ("/a", "/b", "/c")
NAMES: Final = ("x", "y", "z", "ü", "日本", "w w", "x-")
CONFIG_PATH: Final = "/zookeeper/config"
#: Holds a character beyond U+FFFF.
SURROGATES_PATH: Final = "/a/\U0001f600"
WEIRD_PATHS: Final = (
    *(None, "", "/", "a", "/a/", "//a", "/a//x", "/a/./x", "/a/../b", "/a/..", "/a/.", "/a/...", "/a/\x01", "/a/\x00"),
    *("/a/\x1f", "/a/\x7f", "/a/\x9f", "/a/\xa0", "/a/\ud7ff", "/a/\ue000", "/a/\uf8ff", "/a/\uf900", "/a/\uffef"),
    *(
        "/a/\ufff0",
        SURROGATES_PATH,
        "/zookeeper",
        "/zookeeper/quota",
        CONFIG_PATH,
        "/zookeeper/nix",
        "/zookeeperx",
    ),
    "/a/" + "n" * 300,
)
WEIRD_ACLS: Final[tuple[list[Entry] | None, ...]] = (
    None,
    [],
    [(31, "world", "nobody")],
    [(31, None, "anyone")],
    [(31, "", "")],
    [(31, "nix", "anyone")],
    [(31, "digest", "alice")],
    [(31, "digest", ":")],
    [(31, "digest", "a:b:c")],
    [(31, "ip", "127.0.0.1/33")],
    [(31, "ip", "localhost")],
    [(31, "ip", "127.0.0.256")],
    [(31, "ip", "::1")],
    [(31, "super", "")],
    [(31, "x509", "CN=x")],
    [(31, "sasl", "someone")],
    [(31, "auth", "ignored")],
    [(0, "world", "anyone"), (-1, "auth", "")],
    [(64, "world", "anyone")],
)
GOOD_ACLS: Final[tuple[list[Entry], ...]] = (
    [(31, "world", "anyone"), (31, "world", "anyone")],
    [(1, "world", "anyone")],
    [(1, "world", "anyone"), (30, "digest", ALICE)],
    [(31, "auth", "")],
    [(31, "digest", ALICE), (3, "digest", BOB)],
    [(31, "ip", "127.0.0.1")],
    [(31, "ip", "127.0.0.0/8")],
    [(31, "ip", "10.0.0.0/8"), (1, "world", "anyone")],
    [(16, "world", "anyone"), (15, "digest", BOB)],
)
UNKNOWN_OPCODES: Final = (0, 10, 13, 23, 99, 108, 9999, -1, -2, -12, 2**31 - 1, -(2**31))
#: Writes that change what a quota counts.
COUNTED: Final = (
    *(jute.CREATE, jute.CREATE2, jute.CREATE_CONTAINER, jute.CREATE_TTL),
    *(jute.DELETE, jute.SET_DATA, jute.MULTI),
)
#: Frames that carry no readable request.
BAD_FRAMES: Final = (
    *(
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x04\x00\x00\x00\x01",
        b"\xff\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"\x7f\xff\xff\xff",
    ),
    struct.pack(">i", 1048576 + 1024),
)


@dataclass(frozen=True)
class Request:
    """One request frame."""

    opcode: int
    body: bytes = b""
    xid: int = 1

    def wire(self) -> bytes:
        """The frame."""
        return jute.frame(jute.request(self.xid, self.opcode, self.body))


@dataclass(frozen=True)
class Connect:
    """Open a connection in ``slot``; with ``renew`` for the session of that number, else for a new session."""

    slot: int
    #: Number of the session, counted over all sessions of the run, that a new session gets or a renewal names.
    number: int
    renew: bool = False
    password_good: bool = True
    unknown_session: bool = False
    timeout_ms: int = 30000
    last_zxid: int = 0
    read_only: bool | None = False
    protocol: int = 0


@dataclass(frozen=True)
class Send:
    """Send requests in one piece and wait for all replies."""

    slot: int
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Raw:
    """Send bytes that are no request, perhaps end the output, and wait for the server to close."""

    slot: int
    raw: bytes
    end_output: bool = False


@dataclass(frozen=True)
class Drop:
    """Close the socket without a word; the session lives on."""

    slot: int


Step = Connect | Send | Raw | Drop


@dataclass
class SessionView:
    """What the generator knows of one session."""

    number: int
    slot: int | None
    closed: bool = False
    watched: list[str] = field(default_factory=list)


class Workload:
    """Yields steps; :meth:`saw` tells it what one server answered."""

    def __init__(self, seed: int, *, ensemble: bool = False) -> None:
        """``ensemble``: for members.

        Every record parses then, since one that does not stops an ensemble of Apache. Nobody reads the membership, in
        which the ports differ.
        """
        self.random = random.Random(seed)
        self._ensemble = ensemble
        self._weird_paths = [path for path in WEIRD_PATHS if not (ensemble and path == CONFIG_PATH)]
        self.nodes: dict[str, int] = {}
        self.sessions: list[SessionView] = []
        self.slots: dict[int, SessionView] = {}
        self.last_zxid = 0
        self._xid = 100
        self._kinds = self._weighted_kinds()

    # -- set-up

    def opening(self) -> list[Step]:
        """The first steps: a super user's session, the roots, a quota."""
        steps: list[Step] = [self._connect_new(SUPER_SLOT)]
        requests = [Request(jute.AUTH, jute.auth("digest", SUPER_CREDENTIAL), jute.XID_AUTH)]
        requests += [
            self.request(jute.CREATE, jute.create(root, b"root", jute.OPEN, 0)) for root in (*ROOTS, QUOTA_ROOT)
        ]
        limits = b"count=6,bytes=120=;byteHardLimit=200;countHardLimit=9"
        for path, data in (
            (f"/zookeeper/quota{QUOTA_ROOT}", b""),
            (QUOTA_LIMITS, limits),
            (f"/zookeeper/quota{QUOTA_ROOT}/zookeeper_stats", b"count=0,bytes=0"),
        ):
            requests.append(self.request(jute.CREATE, jute.create(path, data, jute.OPEN, 0)))
        self.nodes = {"/": 0, **dict.fromkeys((*ROOTS, QUOTA_ROOT), 0)}
        return [*steps, *(Send(SUPER_SLOT, (request,)) for request in requests)]

    def reopening(self, first_zxid: int) -> list[Step]:
        """After a restart: every session that lives on is renewed where it was."""
        steps: list[Step] = []
        for slot, view in list(self.slots.items()):
            steps.append(Connect(slot, view.number, renew=True, last_zxid=first_zxid))
        steps.append(Send(SUPER_SLOT, (Request(jute.AUTH, jute.auth("digest", SUPER_CREDENTIAL), jute.XID_AUTH),)))
        return steps

    def barriers(self) -> list[Step]:
        """A ping on every connection: brings in all events that are under way."""
        return [Send(slot, (Request(jute.PING, b"", jute.XID_PING),)) for slot in self.slots]

    # -- the stream of steps

    def next(self) -> list[Step]:
        """The next step, with barriers before it where it needs them."""
        if len(self.slots) < 2 or self.random.random() < 0.03:
            return self._session_step()
        slot = self.random.choice(list(self.slots))
        draw = self.random.random()
        if draw < 0.015 and slot != SUPER_SLOT:
            return self._bad_frame(slot)
        if draw < 0.05 and not self._ensemble:
            return [Send(slot, (self._truncated(),))]
        if draw < 0.06 and slot != SUPER_SLOT:
            request = self.request(self.random.choice(UNKNOWN_OPCODES), self._path_body())
            return [Send(slot, (request,))]
        if draw < 0.18:
            count = self.random.randint(2, 12)
            return [Send(slot, tuple(self._draw_pipelined(slot) for _ in range(count)))]
        return [Send(slot, (self._draw(slot, pipelined=False),))]

    def saw(self, step: Step, replies: list[tuple[Any, ...]], closed: bool) -> None:
        """Learn from the replies of one server: which nodes came and went, which connections ended."""
        if isinstance(step, Send):
            for request, reply in zip(step.requests, replies, strict=False):
                self.last_zxid = max(self.last_zxid, reply[1])
                if reply[2] == 0:
                    self._learn(request, reply[3])
                if request.opcode == jute.CLOSE_SESSION:
                    self.slots[step.slot].closed = True
        if closed and step.slot in self.slots:
            self.slots.pop(step.slot).slot = None

    def _learn(self, request: Request, body: Any) -> None:
        if request.opcode in (jute.CREATE, jute.CREATE2, jute.CREATE_CONTAINER, jute.CREATE_TTL) and body:
            self._know(body if isinstance(body, str) else body[0], 0)
        elif request.opcode == jute.DELETE:
            self.nodes.pop(jute.Cursor(request.body).text() or "", None)
        elif request.opcode == jute.SET_DATA:
            self._know(jute.Cursor(request.body).text() or "", body.version)
        elif request.opcode == jute.MULTI:
            for kind, _, result in body:
                if kind in (jute.CREATE, jute.CREATE2) and result:
                    self._know(result[0], 0)
        elif request.opcode == jute.CLOSE_SESSION:
            self.nodes = dict(list(self.nodes.items())[:40])

    def _know(self, path: str, version: int) -> None:
        # Text that is no quota, written below here, stops Apache's server.
        if not path.startswith("/zookeeper/quota"):
            self.nodes[path] = version

    # -- sessions

    def _session_step(self) -> list[Step]:
        draw = self.random.random()
        free = [slot for slot in range(SLOTS) if slot not in self.slots]
        if free and (draw < 0.5 or len(self.slots) < 2):
            return self._open_step(free[0])
        slot = self.random.choice([slot for slot in self.slots if slot != SUPER_SLOT])
        if draw < 0.65:
            return [*self.barriers(), Send(slot, (self.request(jute.CLOSE_SESSION),))]
        if draw < 0.85:
            return [*self.barriers(), self._drop(slot)]
        return [*self.barriers(), *self._take_over(slot)]

    def _open_step(self, slot: int) -> list[Step]:
        asleep = [view for view in self.sessions if view.slot is None]
        draw = self.random.random()
        if draw < 0.4 and asleep:
            view = self.random.choice(asleep)
            good = self.random.random() < 0.8
            if good and not view.closed:
                view.slot, self.slots[slot] = slot, view
            zxid = self.last_zxid if self.random.random() < 0.5 else 0
            return [
                Connect(slot, view.number, renew=True, password_good=good, last_zxid=zxid, timeout_ms=self._timeout())
            ]
        if draw < 0.45:
            return [Connect(slot, -1, last_zxid=2**62)]
        if draw < 0.5:
            return [Connect(slot, -1, unknown_session=True)]
        return [self._connect_new(slot)]

    def _connect_new(self, slot: int) -> Connect:
        view = SessionView(len(self.sessions), slot)
        self.sessions.append(view)
        self.slots[slot] = view
        read_only = self.random.choice((False, False, True, None))
        protocol = self.random.choice((0, 0, 0, 7))
        return Connect(slot, view.number, timeout_ms=self._timeout(), read_only=read_only, protocol=protocol)

    def _take_over(self, slot: int) -> list[Step]:
        """Renew a session in another slot while its connection is still open: the server closes the old one."""
        free = [other for other in range(SLOTS) if other not in self.slots]
        if not free:
            return []
        view = self.slots.pop(slot)
        view.slot, self.slots[free[0]] = free[0], view
        return [Connect(free[0], view.number, renew=True), Raw(slot, b"")]

    def _drop(self, slot: int) -> Drop:
        self.slots.pop(slot).slot = None
        return Drop(slot)

    def _timeout(self) -> int:
        return self.random.choice((-1, 0, 1, 29999, 30000, 45000, 60000, 60001, 2**31 - 1, -(2**31)))

    # -- bad input

    def _bad_frame(self, slot: int) -> list[Step]:
        frame, end = self.random.choice(BAD_FRAMES), False
        if self.random.random() < 0.3:
            whole = self._draw(slot, pipelined=True).wire()
            frame, end = whole[: self.random.randrange(1, len(whole))], True
        return [*self.barriers(), Raw(slot, frame, end)]

    def _truncated(self) -> Request:
        """A request cut short, with surplus bytes, or with its bytes shuffled."""
        request = self._draw(SUPER_SLOT, pipelined=True)
        while request.opcode in (jute.AUTH, jute.CLOSE_SESSION):
            request = self._draw(SUPER_SLOT, pipelined=True)
        body, draw = request.body, self.random.random()
        if draw < 0.7 and body:
            return Request(request.opcode, body[: self.random.randrange(len(body))], request.xid)
        if draw < 0.85:
            return Request(request.opcode, body + self.random.randbytes(5), request.xid)
        if request.opcode in (jute.CREATE_CONTAINER, jute.CREATE_TTL, jute.MULTI):
            return Request(request.opcode, b"", request.xid)
        huge = struct.pack(">i", self.random.choice((-2, -(2**31), 2**31 - 1, 2000000)))
        return Request(request.opcode, huge + body[4:], request.xid)

    # -- single requests

    def request(self, opcode: int, body: bytes = b"", xid: int | None = None) -> Request:
        """A request with the next xid."""
        self._xid += 1
        return Request(opcode, body, self._xid if xid is None else xid)

    def _weighted_kinds(self) -> list[Callable[[], Request]]:
        weights: tuple[tuple[int, Callable[[], Request]], ...] = (
            (22, self._create),
            (10, self._delete),
            (12, self._set_data),
            (6, self._set_acl),
            (4, lambda: self.request(jute.GET_ACL, jute.text(self.path()))),
            (18, self._read),
            (3, lambda: self.request(jute.SYNC, jute.text(self._echoed_path()))),
            (10, self._multi),
            (3, self._multi_read),
            (6, self._add_watch),
            (3, lambda: self.request(jute.REMOVE_WATCHES, jute.path_int(self.path(), self.random.randint(0, 6)))),
            (3, lambda: self.request(jute.CHECK_WATCHES, jute.path_int(self.path(), self.random.randint(0, 6)))),
            (3, self._set_watches),
            (
                2,
                lambda: self.request(
                    jute.GET_EPHEMERALS,
                    jute.text(self.random.choice(("", "/", "/a", "/b/", " ", "\x01/\x1f", "/a ", None))),
                ),
            ),
            (2, lambda: self.request(jute.GET_ALL_CHILDREN_NUMBER, jute.text(self.path()))),
            (1, lambda: self.request(jute.WHO_AM_I)),
            (2, lambda: Request(jute.PING, b"", jute.XID_PING)),
            (1, lambda: self.request(jute.RECONFIG, jute.text(None) * 3 + struct.pack(">q", -1))),
        )
        return [draw for weight, draw in weights for _ in range(weight)]

    def _draw(self, slot: int, *, pipelined: bool) -> Request:
        if not pipelined:
            draw = self.random.random()
            if draw < 0.02:
                return self._auth(slot)
            if draw < 0.08:
                return self._quota_request()
        return self.random.choice(self._kinds)()

    def _draw_pipelined(self, slot: int) -> Request:
        """A request that may follow others without waiting: none whose answer depends on stock's threads.

        Stock checks quotas against what is applied by then, and rights against the ACL before a setACL on its way.
        """
        while True:
            request = self._draw(slot, pipelined=True)
            counted = request.opcode in COUNTED and QUOTA_ROOT.encode() in request.body
            if not counted and request.opcode != jute.SET_ACL:
                return request

    def _auth(self, slot: int) -> Request:
        good = [jute.auth("digest", credential) for credential in CREDENTIALS]
        good += [jute.auth("ip", b""), jute.auth("digest", b"no colon"), jute.auth("digest", b"")]
        bad = [jute.auth("nix", b"x"), jute.auth("world", b"anyone"), jute.auth("digest", b"super:wrong")]
        choice = good if slot == SUPER_SLOT or self.random.random() < 0.8 else bad
        return Request(jute.AUTH, self.random.choice(choice[:2] if slot == SUPER_SLOT else choice), jute.XID_AUTH)

    def _quota_request(self) -> Request:
        path = f"{QUOTA_ROOT}/{self.random.choice('abcdef')}"
        data = self.random.randbytes(self.random.randrange(60))
        if (draw := self.random.random()) < 0.5:
            return self.request(jute.CREATE, jute.create(path, data, jute.OPEN, self.random.choice((0, 2))))
        if draw < 0.75:
            return self.request(jute.SET_DATA, jute.set_data(path, data, -1))
        if draw < 0.95:
            return self.request(jute.DELETE, jute.path_version(path, -1))
        limits = b"count=%d,bytes=%d" % (self.random.choice((-1, 3)), self.random.choice((-1, 100)))
        return self.request(jute.SET_DATA, jute.set_data(QUOTA_LIMITS, limits, -1))

    def path(self) -> str | None:
        """A path, mostly of a node that exists."""
        draw = self.random.random()
        if draw < 0.6 and self.nodes:
            return self.random.choice(list(self.nodes))
        if draw < 0.95:
            return self._new_path()
        return self.random.choice(self._weird_paths)

    def _echoed_path(self) -> str | None:
        """A path that the server sends back: none with the character that is written differently."""
        path = self.path()
        return "/nix" if path == SURROGATES_PATH else path

    def _new_path(self) -> str:
        depth = self.random.choice((1, 1, 1, 2, 2, 3))
        return "/".join((self.random.choice(ROOTS), *(self.random.choice(NAMES) for _ in range(depth))))

    def _create_path(self) -> str | None:
        draw = self.random.random()
        if draw < 0.05:
            return self.random.choice(self._weird_paths)
        if draw < 0.3:
            parent = self.random.choice(list(self.nodes))
            name = self.random.choice((*NAMES, ""))
            return f"{parent.rstrip('/')}/{name}" if parent.count("/") < 6 else self._new_path()
        return self._new_path()

    def data(self) -> bytes | None:
        """A value: mostly short, sometimes null or long."""
        size = self.random.choice((None, 0, 1, 10, 10, 100, 100, 5000))
        return None if size is None else self.random.randbytes(size)

    def acl(self) -> list[Entry] | None:
        """An ACL: mostly open."""
        draw = self.random.random()
        if draw < 0.75:
            return jute.OPEN
        return self.random.choice(GOOD_ACLS if draw < 0.93 else WEIRD_ACLS)

    def _version(self, path: str | None) -> int:
        known = self.nodes.get(path or "", 0)
        return self.random.choice((-1, -1, -1, known, known, known + 1, -2, 2**31 - 1))

    def _create_operation(self) -> tuple[int, bytes]:
        path, data, acl = self._create_path(), self.data(), self.acl()
        opcode = self.random.choice((jute.CREATE, jute.CREATE, jute.CREATE2, jute.CREATE_CONTAINER, jute.CREATE_TTL))
        if opcode == jute.CREATE_TTL:
            flags = self.random.choice((5, 6, 5, 6, 7))
            ttl = self.random.choice((10**9, 10**9, 0, -1, -5, 1099511627775, 1099511627776, 2**62))
            if self.random.random() < 0.1:
                flags, ttl = self.random.choice((0, 1, 2, 3)), 10**9
            return opcode, jute.create_ttl(path, data, acl, flags, ttl)
        if opcode == jute.CREATE_CONTAINER:
            return opcode, jute.create(path, data, acl, self.random.choice((4, 4, 4, 5, 6, 7, -1)))
        flags = self.random.choice((0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 5, 6, 7, -1))
        return opcode, jute.create(path, data, acl, flags)

    def _create(self) -> Request:
        return self.request(*self._create_operation())

    def _delete(self) -> Request:
        path = self.path()
        return self.request(jute.DELETE, jute.path_version(path, self._version(path)))

    def _set_data(self) -> Request:
        path = self.path()
        # A pipelined write to the root followed by creates there breaks Apache's own digest.
        path = self._new_path() if path == "/" else path
        return self.request(jute.SET_DATA, jute.set_data(path, self.data(), self._version(path)))

    def _set_acl(self) -> Request:
        path = self.path()
        path = self._new_path() if path == "/" else path
        return self.request(jute.SET_ACL, jute.set_acl(path, self.acl(), self.random.choice((-1, -1, 0, 1, 2))))

    def _path_body(self) -> bytes:
        return jute.path_watch(self.path(), self.random.random() < 0.5)

    def _read(self) -> Request:
        opcode = self.random.choice((jute.EXISTS, jute.GET_DATA, jute.GET_CHILDREN, jute.GET_CHILDREN2))
        return self.request(opcode, self._path_body())

    def _multi_operation(self) -> tuple[int, bytes]:
        # Null texts below the record level are left out: with a null path or id, Apache fails the whole multi by an
        # unexpected exception and logs a digest that counts the operations before it.
        path, draw = self.path() or "/nix", self.random.random()
        if draw < 0.4:
            opcode, body = self._create_operation()
            return (
                (opcode, body)
                if b"\xff\xff\xff\xff" not in body[:4] + body[-60:]
                else (jute.CHECK, jute.path_version("/a", -1))
            )
        if draw < 0.6:
            return jute.DELETE, jute.path_version(path, self.random.choice((-1, -1, 0)))
        if draw < 0.8:
            path = self._new_path() if path == "/" else path
            return jute.SET_DATA, jute.set_data(path, self.data(), self._version(path))
        if draw < 0.98:
            return jute.CHECK, jute.path_version(path, self._version(path))
        return jute.SET_ACL, jute.set_acl("/a", jute.OPEN, -1)

    def _multi(self) -> Request:
        return self.request(
            jute.MULTI, jute.multi(self._multi_operation() for _ in range(self.random.choice((0, 1, 1, 2, 2, 3, 5))))
        )

    def _multi_read(self) -> Request:
        kinds = [self.random.choice((jute.GET_DATA, jute.GET_CHILDREN)) for _ in range(self.random.randint(0, 4))]
        if self.random.random() < 0.05:
            kinds.append(jute.EXISTS)
        paths = [path if (path := self.path()) is not None else "/nix" for _ in kinds]
        operations = [(kind, jute.path_watch(path, False)) for kind, path in zip(kinds, paths, strict=True)]
        return self.request(jute.MULTI_READ, jute.multi(operations))

    def _add_watch(self) -> Request:
        path = self.path() or "/nix"
        return self.request(jute.ADD_WATCH, jute.path_int(path, self.random.choice((0, 1, 0, 1, 2, -1))))

    def _set_watches(self) -> Request:
        five = self.random.random() < 0.5
        lists = [
            [p for p in (self._echoed_path() for _ in range(self.random.randint(0, 3))) if p]
            for _ in range(5 if five else 3)
        ]
        zxid = self.random.choice((0, self.last_zxid, max(0, self.last_zxid - 20), self.last_zxid + 5))
        opcode = jute.SET_WATCHES2 if five else jute.SET_WATCHES
        return self.request(opcode, jute.set_watches(zxid, *lists), jute.XID_SET_WATCHES)
