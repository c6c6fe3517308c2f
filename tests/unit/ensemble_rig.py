"""Whole servers of one ensemble on simulated machines, steered by hand: nothing goes wrong unless the test says so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from struct import unpack_from
from typing import Any

from rig import Reply, create_body, reply_of, set_body

from zabra.config.dynamic import EnsembleConfig, parse_config
from zabra.config.model import Settings
from zabra.consts import Op
from zabra.node import Server
from zabra.quorum.following import Following
from zabra.quorum.leading import Leading
from zabra.quorum.peer import Member
from zabra.sim.diskview import DiskView
from zabra.sim.host import Host
from zabra.sim.loop import new_loop
from zabra.sim.network import Network
from zabra.sim.trace import Trace
from zabra.wire.frames import FrameBuffer
from zabra.wire.handshake import ConnectRequest, encode_connect

TICK_S = 0.5
#: Ticks; as seconds they are 5 and 2.
INIT_LIMIT, SYNC_LIMIT = 10, 4
FOLDER = "/data/version-2"
QUORUM_PORT, ELECTION_PORT, CLIENT_PORT = 2888, 3888, 2181


def address_of(sid: int) -> str:
    """Where a server's machine is."""
    return f"10.0.0.{sid}"


def line_of(sid: int, *, observer: bool = False, quorum_port: int = QUORUM_PORT) -> str:
    """``server.N`` of a member."""
    address = address_of(sid)
    role = "observer" if observer else "participant"
    return f"server.{sid}={address}:{quorum_port}:{ELECTION_PORT}:{role};{address}:{CLIENT_PORT}"


def membership(voters: Iterable[int], observers: Iterable[int] = (), version: int = 0) -> EnsembleConfig:
    """Servers with their usual addresses."""
    lines = [*map(line_of, voters), *(line_of(sid, observer=True) for sid in observers)]
    return parse_config("\n".join((*lines, f"version={version:x}")))


class Machine(Host):
    """A machine and its server."""

    server: Server

    @property
    def member(self) -> Member:
        """The member that runs."""
        assert self.server.member is not None
        return self.server.member

    @property
    def mode(self) -> str:
        """``leader``, ``follower``, ``observer`` or ``looking``; ``down`` without a process."""
        if not self.running or self.server is None or self.server.member is None:
            return "down"
        return self.server.member.mode

    @property
    def zxid(self) -> int:
        """The last one in its tree."""
        return self.server.tree.last_zxid

    @property
    def leading(self) -> Leading:
        """Its role, which must be to lead."""
        role = self.member.role
        assert isinstance(role, Leading)
        return role

    @property
    def following(self) -> Following:
        """Its role, which must be to follow or observe."""
        role = self.member.role
        assert isinstance(role, Following)
        return role

    def logged(self, *, durable: bool = False) -> list[int]:
        """The zxids in its log files, or those that a power cut would leave there."""
        view = DiskView(self.disk, FOLDER, FOLDER)
        view.refresh()
        return sorted(view.durable if durable else view.entries)

    def fail(self, call: str, code: int, part: str) -> None:
        """Such calls of its disk fail from now on, on paths with ``part`` in them."""

        def plan(name: str, path: str, size: int) -> None:
            if name == call and part in path:
                raise OSError(code, "as the test wants it", path)

        self.disk.plan = plan

    def epochs(self) -> tuple[int, int]:
        """(accepted, current) as they are on its disk."""
        names = self.disk.names
        accepted, current = (int(names[f"{FOLDER}/{name}"].data) for name in ("acceptedEpoch", "currentEpoch"))
        return accepted, current


class Client(asyncio.Protocol):
    """A client on a machine of its own. What it asks goes out at once; what came back is taken later."""

    def __init__(self, ensemble: Ensemble, name: str) -> None:
        self.ensemble = ensemble
        self.name = name
        self.session_id = 0
        self.password = bytes(16)
        self.timeout_ms = 0
        #: Whether a server without a quorum will do, and whether the last one that answered is such.
        self.read_only = False
        self.cut_off = False
        self.xid = 0
        self.lost = True
        self.transport: Any = None
        self.frames: list[bytes] = []
        self._buffer = FrameBuffer(1 << 24)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.frames += [bytes(frame) for frame in self._buffer.feed(data)]

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def greet(self, sid: int, timeout_ms: int = 10000, last_zxid: int = 0) -> None:
        """Dial a server, and ask for a session or for the present one."""
        ensemble = self.ensemble
        self._buffer = FrameBuffer(1 << 24)
        self.frames.clear()

        async def dial() -> None:
            await ensemble.loop.create_connection(lambda: self, address_of(sid), CLIENT_PORT, local_addr=(self.name, 0))
            request = ConnectRequest(0, last_zxid, timeout_ms, self.session_id, self.password, self.read_only, True)
            self.transport.write(encode_connect(request))

        ensemble.do(dial)

    def greeted(self, seconds: float = 5) -> bool:
        """Wait for the answer; False where it does not come, or is a refusal."""
        self.ensemble.until(lambda: bool(self.frames) or self.lost, seconds)
        if not self.frames:
            return False
        reply = self.frames.pop(0)
        self.timeout_ms, session_id, size = unpack_from(">iqi", reply, 4)
        if not session_id:
            return False
        self.session_id, self.password = session_id, reply[20 : 20 + size]
        self.cut_off = reply[20 + size :] == b"\1"
        return True

    def connect(self, sid: int, timeout_ms: int = 10000, last_zxid: int = 0) -> bool:
        """Both."""
        self.greet(sid, timeout_ms, last_zxid)
        return self.greeted()

    def leave(self) -> None:
        """Close the connection; the session stays."""
        self.ensemble.do(self.transport.close)

    def post(self, op: int, *bodies: bytes) -> int:
        """Send requests, all at once; the xid of the last one."""
        frames = []
        for body in bodies or (b"",):
            self.xid += 1
            head = (8 + len(body), self.xid, op)
            frames.append(b"".join(number.to_bytes(4, "big", signed=True) for number in head) + body)
        self.ensemble.do(lambda: self.transport.write(b"".join(frames)))
        return self.xid

    def replies(self) -> list[Reply]:
        """Everything that came since."""
        taken, self.frames[:] = [reply_of(frame) for frame in self.frames], []
        return taken

    def ask(self, op: int, body: bytes = b"", seconds: float = 5) -> Reply | None:
        """One request and its reply; None when there is none."""
        xid = self.post(op, body)
        self.ensemble.until(lambda: self.lost or any(reply_of(frame).xid == xid for frame in self.frames), seconds)
        return next((reply for reply in self.replies() if reply.xid == xid), None)

    def ok(self, op: int, body: bytes = b"") -> bytes:
        """The body of a reply that must come, without an error."""
        reply = self.ask(op, body)
        assert reply is not None, f"no answer to {op}"
        assert reply.err == 0, reply
        return reply.body


class Ensemble:
    """Machines by id."""

    def __init__(
        self,
        voters: Iterable[int] = (1, 2, 3),
        observers: Iterable[int] = (),
        *,
        config: EnsembleConfig | None = None,
        chop: float = 0.0,
        **settings: Any,
    ) -> None:
        """``config``: another membership than that of ``voters`` and ``observers``; ``settings``: of every server."""
        self.trace = Trace()
        self.loop = new_loop(self.trace)
        self.network = Network(self.loop, random.Random(1), chop=chop)
        self.config = config or membership(voters, observers)
        self.machines: dict[int, Machine] = {}
        #: Id -> how its servers ended by themselves, and why starts were refused.
        self.exits: dict[int, list[int]] = {}
        self.refusals: dict[int, list[BaseException]] = {}
        self._clients = 0
        for sid in self.config.members:
            self.add(sid, **settings)

    def add(self, sid: int, **settings: Any) -> Machine:
        """One more machine, not booted."""
        own = {
            "server_id": sid,
            "data_dir": "/data",
            "client_port": CLIENT_PORT,
            "client_port_address": address_of(sid),
            "tick_time_ms": int(TICK_S * 1000),
            "init_limit": INIT_LIMIT,
            "sync_limit": SYNC_LIMIT,
            "prealloc_kb": 64,
            "max_client_cnxns": 0,
            "max_session_timeout_ms": 60000,
            "ensemble": self.config,
        }
        name, address = f"zabra.{sid}", address_of(sid)
        machine = Machine(name, self.loop, self.network, name, Settings(**(own | settings)), address=address)
        self.machines[sid] = machine
        machine.on_stopped = self.exits.setdefault(sid, []).append
        machine.on_refused = self.refusals.setdefault(sid, []).append
        return machine

    def __getitem__(self, sid: int) -> Machine:
        return self.machines[sid]

    # -- time

    def run(self, seconds: float) -> None:
        """Let time pass; nothing may reach the loop that nobody expected."""
        self.loop.run_until(self.loop.now + seconds)
        assert not self.loop.errors, self.loop.errors[0]

    def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Let time pass until ``condition`` holds; whether it did in time."""
        self.loop.run_until(self.loop.now + seconds, lambda: bool(condition()))
        assert not self.loop.errors, self.loop.errors[0]
        return bool(condition())

    def wait(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """The same, where it must hold in time."""
        assert self.until(condition, seconds), f"not within {seconds} s: {self.modes()}"

    def do(self, call: Callable[[], Any], sid: int | None = None) -> Any:
        """Call something on the loop, in the process of a server if given; its result, awaited if need be."""
        done: list[Any] = []

        async def run() -> None:
            result = call()
            done.append(await result if asyncio.iscoroutine(result) else result)

        def begin() -> None:
            self.loop.create_task(run())

        handle = self.loop.world_soon(begin)
        if sid is not None:
            handle.process = self.machines[sid].process
        self.loop.run_until(self.loop.now + 60, lambda: bool(done) or bool(self.loop.errors))
        assert not self.loop.errors, self.loop.errors[0]
        return done[0]

    # -- servers

    def boot(self, *sids: int) -> None:
        """Start these servers, or all."""
        for sid in sids or self.machines:
            machine = self.machines[sid]
            before = machine.server
            machine.boot()
            self.wait(lambda machine=machine, before=before: machine.server is not before)

    def start(self, *sids: int) -> None:
        """Start these servers, or all, and wait until they serve."""
        self.boot(*sids)
        self.wait_serving(*sids)

    def kill(self, *sids: int, power: bool = True) -> None:
        """Kill the processes, or with ``power`` False the machines."""
        for sid in sids:
            self.machines[sid].kill(power=power)

    def stop(self, sid: int) -> None:
        """Stop a server as SIGTERM does; wait for its end."""
        self.machines[sid].stop()
        self.wait(lambda: not self.machines[sid].running)

    def wait_serving(self, *sids: int, seconds: float = 20) -> None:
        """Until all of these, or all there are, serve."""
        waited = [self.machines[sid] for sid in sids or self.machines]
        self.wait(lambda: all(machine.serving for machine in waited), seconds)

    def wait_led(self, *sids: int, seconds: float = 20) -> int:
        """Until one of these leads and the others serve; who leads."""

        def led() -> bool:
            machines = [self.machines[sid] for sid in sids]
            return all(machine.serving for machine in machines) and any(m.mode == "leader" for m in machines)

        self.wait(led, seconds)
        return next(sid for sid in sids if self.machines[sid].mode == "leader")

    def modes(self) -> dict[int, str]:
        """Id -> what the server is."""
        return {sid: machine.mode for sid, machine in self.machines.items()}

    @property
    def leader(self) -> int:
        """Who leads; one must."""
        (leader,) = (sid for sid, machine in self.machines.items() if machine.mode == "leader")
        return leader

    def level(self) -> int:
        """Wait until all that run have applied the same; the zxid."""
        running = [machine for machine in self.machines.values() if machine.running]
        self.wait(lambda: all(m.serving for m in running) and len({machine.zxid for machine in running}) == 1)
        return running[0].zxid

    def check_trees(self) -> None:
        """All that run have equal trees and sessions."""
        self.level()
        running = [machine.server for machine in self.machines.values() if machine.running]
        assert len({server.tree.digest for server in running}) == 1
        assert all(server.db.sessions == running[0].db.sessions for server in running)
        assert all(server.tree.digest_mismatches == 0 for server in running)

    def isolate(self, sid: int) -> None:
        """Nothing goes from or to the other servers; clients get through."""
        for other in self.machines:
            if other != sid:
                self.network.block(address_of(sid), address_of(other))
                self.network.block(address_of(other), address_of(sid))

    def heal(self) -> None:
        """Everything goes through."""
        self.network.heal()

    def stranger(self) -> Client:
        """A client without a connection."""
        self._clients += 1
        return Client(self, f"10.0.1.{self._clients}")

    def client(self, sid: int, timeout_ms: int = 10000) -> Client:
        """A client with a session."""
        client = self.stranger()
        assert client.connect(sid, timeout_ms)
        return client

    def fill(self, sid: int, count: int, path: str = "/fill", size: int = 10) -> None:
        """So many writes on one node, many at once."""
        client = self.client(sid)
        client.ask(Op.CREATE, create_body(path))
        client.post(Op.SET_DATA, *[set_body(path, bytes(size))] * count)
        self.wait(lambda: len(client.frames) == count)
        assert all(reply.err == 0 for reply in client.replies())
        client.ok(Op.CLOSE_SESSION)

    def close(self) -> None:
        """The end of the world."""
        for machine in self.machines.values():
            machine.kill(power=True)
        self.loop.world.die()
        self.loop.close()
