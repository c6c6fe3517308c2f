"""``zabra ensemble``: an ensemble on this machine with one command, to try things; of Zabra, or with Apache in the mix.

Each server is a process of its own with a ``zoo.cfg`` of its own, on ports that follow from the first one. What the
servers print is shown line by line behind their ids. A server that dies is left dead, so that one can see what the
others do; ``kill -9 <pid>`` is the way to try that, and the same command starts all of them again on their data.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_DESCRIPTION: Final = """
Runs server.1 to server.N on 127.0.0.1 until Ctrl-C. Clients connect to the ports PORT, PORT+1 ...; configuration and
data lie in FOLDER/1, FOLDER/2 ... The last servers can be Apache's: --apache 1 --classpath '/opt/zookeeper/lib/*'.
"""
_APACHE: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
#: Quorum and election ports are so far above the client port.
_QUORUM: Final = 1000
_ELECTION: Final = 2000
_STOP_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start."""

    folder: Path
    port: int
    voters: int
    observers: int
    apache: int
    classpath: str
    tick_ms: int

    @property
    def count(self) -> int:
        """How many servers."""
        return self.voters + self.observers

    def is_apache(self, sid: int) -> bool:
        """Whether Apache's server is to run as ``sid``."""
        return sid > self.count - self.apache

    def connect_string(self) -> str:
        """What clients are given."""
        return ",".join(f"127.0.0.1:{self.port + index}" for index in range(self.count))

    def prepare(self, sid: int) -> Path:
        """Write the files of a server; its ``zoo.cfg``."""
        folder = self.folder / str(sid)
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "myid").write_text(f"{sid}\n")
        lines = [
            f"tickTime={self.tick_ms}",
            "initLimit=10",
            "syncLimit=5",
            f"dataDir={data}",
            f"clientPort={self.port + sid - 1}",
            "clientPortAddress=127.0.0.1",
            "admin.enableServer=false",
            "4lw.commands.whitelist=*",
        ]
        for other in range(1, self.count + 1):
            role = "observer" if other > self.voters else "participant"
            quorum, election = self.port + _QUORUM + other, self.port + _ELECTION + other
            lines.append(f"server.{other}=127.0.0.1:{quorum}:{election}:{role}")
        config = folder / "zoo.cfg"
        config.write_text("".join(f"{line}\n" for line in lines))
        return config

    def command(self, sid: int, config: Path) -> list[str]:
        """How to start a server."""
        if self.is_apache(sid):
            return ["java", "-cp", self.classpath, _APACHE, str(config)]
        return [sys.executable, "-m", "zabra", "server", "--name", f"server.{sid}", str(config)]


def main(arguments: Sequence[str]) -> int:
    """Run until Ctrl-C or until no server is left. Returns the exit code."""
    try:
        options = _parser().parse_args(arguments)
        plan = _plan(options)
    except SystemExit as exit_:
        return 0 if exit_.code == 0 else 2
    except ValueError as error:
        print(f"zabra ensemble: {error}", file=sys.stderr)
        return 2
    return _Run(plan).execute()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zabra ensemble", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--servers", type=int, default=3, metavar="N", help="voters (default 3)")
    parser.add_argument("--observers", type=int, default=0, metavar="N", help="observers besides (default 0)")
    parser.add_argument("--apache", type=int, default=0, metavar="N", help="how many of all are Apache's (default 0)")
    parser.add_argument("--classpath", default=os.environ.get("ZABRA_ZOOKEEPER_CLASSPATH", ""), help="Apache's jars")
    parser.add_argument("--port", type=int, default=2181, help="client port of server 1 (default 2181)")
    parser.add_argument("--tick", type=int, default=2000, metavar="MS", help="tickTime (default 2000)")
    parser.add_argument("--folder", type=Path, help="where everything lies (default ~/.local/share/zabra/ensemble)")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    """Raises ValueError with what was expected."""
    from zabra.main import default_data_dir

    folder = options.folder or Path(default_data_dir(os.environ)).parent / "ensemble"
    plan = Plan(
        folder.absolute(),
        options.port,
        options.servers,
        options.observers,
        options.apache,
        options.classpath,
        options.tick,
    )
    if plan.voters < 2 or plan.observers < 0:
        raise ValueError("expected at least two servers besides the observers")
    if not 0 <= plan.apache <= plan.count:
        raise ValueError(f"--apache {plan.apache}: expected a number up to {plan.count}")
    if plan.apache and not plan.classpath:
        raise ValueError("--apache: expected Apache's jars in --classpath or ZABRA_ZOOKEEPER_CLASSPATH")
    if not 0 < plan.port <= 65535 - _ELECTION - plan.count:
        raise ValueError(f"--port {plan.port}: expected a number up to {65535 - _ELECTION - plan.count}")
    return plan


class _Run:
    """The processes of one ensemble."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._outputs = selectors.DefaultSelector()
        #: The beginning of a line, by server.
        self._rest: dict[int, bytes] = {}
        self._asked = False

    def execute(self) -> int:
        """Start, show what they say, stop."""
        plan = self._plan
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        try:
            for sid in range(1, plan.count + 1):
                self._start(sid)
            print(f"ensemble: clients connect to {plan.connect_string()}; Ctrl-C ends it", flush=True)
            while self._processes and not self._asked:
                self._show(1.0)
                self._bury()
        finally:
            self._stop()
        return 0 if self._asked else 1

    def _ask(self, *_: object) -> None:
        self._asked = True

    def _start(self, sid: int) -> None:
        plan = self._plan
        command = plan.command(sid, plan.prepare(sid))
        # A session of its own, so that Ctrl-C reaches us alone and the servers are stopped in order.
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=plan.folder / str(sid),
        )
        self._processes[sid] = process
        assert process.stdout is not None
        self._outputs.register(process.stdout, selectors.EVENT_READ, sid)
        kind = "Apache" if plan.is_apache(sid) else "Zabra"
        print(f"ensemble: server.{sid} ({kind}) is process {process.pid}, port {plan.port + sid - 1}", flush=True)

    def _show(self, seconds: float) -> None:
        """Whole lines of whoever printed some."""
        for key, _ in self._outputs.select(seconds):
            data = os.read(key.fd, 65536)
            if not data:
                self._outputs.unregister(key.fileobj)
            *lines, self._rest[key.data] = (self._rest.get(key.data, b"") + data).split(b"\n")
            for line in lines:
                print(f"{key.data} | {line.decode(errors='replace')}", flush=True)

    def _bury(self) -> None:
        for sid, process in list(self._processes.items()):
            code = process.poll()
            if code is not None:
                del self._processes[sid]
                how = f"was killed by signal {-code}" if code < 0 else f"left with code {code}"
                left = len(self._processes)
                print(f"ensemble: server.{sid} {how}; {left} of {self._plan.count} run", flush=True)

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._outputs.close()
