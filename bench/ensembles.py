"""Ensembles of three servers on one machine, and what is measured on them besides plain load."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import NamedTuple

from bench import generator
from bench.procfs import Memory
from bench.servers import STOP_TIMEOUT_S, BenchError, Server, lasting_ports

SIZE = 3
#: Those of ZooKeeper's sample configuration; both kinds of ensemble have them.
LIMITS = {"initLimit": 10, "syncLimit": 5}
CONNECTIONS = 30
FAILOVER = {"connections": CONNECTIONS, "inflight": 16}
WAIT_STEP_S = 0.002
WORD_TIMEOUT_S = 1.0


class Status(NamedTuple):
    """What a server says about itself: "leader", "follower" or another mode, and the last zxid in its tree."""

    mode: str
    zxid: int


class Ensemble:
    """Three servers of one kind. `name` is "zabra" or "apache"; their folders are <folder>-1 to <folder>-3."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        ports = lasting_ports(3 * SIZE)
        lines = {f"server.{myid}": f"127.0.0.1:{ports.pop()}:{ports.pop()}:participant" for myid in range(1, SIZE + 1)}
        self.servers = [
            Server(name, folder.with_name(f"{folder.name}-{myid}"), {**LIMITS, **lines}, port=ports.pop(), myid=myid)
            for myid in range(1, SIZE + 1)
        ]

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    @property
    def pids(self) -> list[int]:
        return [server.pid for server in self.servers]

    def start(self) -> None:
        """Starts all three and waits until each accepts sessions."""
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_session()

    def stop(self) -> None:
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.stop)

    def wipe(self) -> None:
        for server in self.servers:
            server.wipe()

    def memory(self) -> Memory:
        """Of one server: the mean of the three."""
        each = [server.memory() for server in self.servers]
        return Memory(*(sum(values) / len(each) for values in zip(*each, strict=True)))

    def leader(self) -> Server:
        """The server that leads. Raises BenchError when there is none for STOP_TIMEOUT_S."""
        end = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < end:
            for server in self.servers:
                said = status(server.port)
                if said is not None and said.mode == "leader":
                    return server
            time.sleep(WAIT_STEP_S)
        raise BenchError(f"the ensemble of {self.name} has no leader")

    def rejoin(self, server: Server) -> float:
        """Starts a server again and waits until it follows with everything the leader has now; the seconds it took."""
        leader = self.leader()
        said = status(leader.port)
        if said is None:
            raise BenchError(f"the leader of {self.name} does not answer")
        server.launch()
        while True:
            seconds = server.require_running("was not in sync")
            mine = status(server.port)
            if mine is not None and mine.mode == "follower" and mine.zxid >= said.zxid:
                return seconds
            time.sleep(WAIT_STEP_S)


def status(port: int) -> Status | None:
    """The answer to `srvr`; None while nobody listens or the server does not serve."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=WORD_TIMEOUT_S) as s:
            s.sendall(b"srvr")
            while chunk := s.recv(4096):
                answer += chunk
    except OSError:
        return None
    return parse_status(answer.decode())


def parse_status(answer: str) -> Status | None:
    """Mode and zxid of an answer to `srvr`; None when it has none."""
    fields = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
    if "Mode" not in fields or "Zxid" not in fields:
        return None
    return Status(fields["Mode"], int(fields["Zxid"], 16))


def measure_failover(ensemble: Ensemble, warmup: float) -> dict[str, float]:
    """Seconds from kill -9 of the leader under load to acknowledged writes; it is back in the ensemble afterwards."""
    # One is enough to have the znodes there.
    generator.run("run", ensemble.ports, op="set", ops=1)
    leader = ensemble.leader()
    figures = generator.failover(ensemble.ports, leader.pid, warmup=max(warmup, 0.5), **FAILOVER)
    leader.kill()  # it is dead; this collects it
    figures["rejoin_seconds"] = ensemble.rejoin(leader)
    return figures


def measure_return(ensemble: Ensemble, writes: int) -> dict[str, float]:
    """Seconds from the start of a follower that was killed and missed `writes` to being in sync again."""
    leader = ensemble.leader()
    follower = next(server for server in ensemble.servers if server is not leader)
    follower.kill()
    others = [server.port for server in ensemble.servers if server is not follower]
    generator.run("run", others, op="set", ops=writes, inflight=64, connections=CONNECTIONS)
    return {"seconds": ensemble.rejoin(follower)}
