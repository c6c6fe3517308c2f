"""One machine: its disk and clock survive, its server processes come and go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from zabra.config.model import Settings
from zabra.errors import ZabraError
from zabra.node import Server
from zabra.runtime.ports import Runtime
from zabra.sim.clock import SimClock, SimRandom
from zabra.sim.disk import MachineDisk, ProcessDisk
from zabra.sim.loop import Process, SimHandle, SimLoop
from zabra.sim.network import Network
from zabra.sim.worker import SimWorker

#: Seconds from power on to the start of the server, at the first time; later ones take longer, so that no session id
#: comes again that was given to somebody before (they are made of the uptime, as Apache's are).
_BOOT: Final = 17.0


class Host:
    """Boots and kills one server."""

    def __init__(
        self,
        name: str,
        loop: SimLoop,
        network: Network,
        seed: str,
        settings: Settings,
        *,
        address: str = "",
        clock_rate: float = 1.0,
    ) -> None:
        """``address``: where it is in the network; without one ``name`` is it."""
        self.name = name
        self.address = address or name
        self.loop = loop
        self.network = network
        self.settings = settings
        self.clock = SimClock(loop, clock_rate)
        self.disk = MachineDisk(loop, random.Random(f"{seed}:disk"))
        self.process = Process(self.address)
        self.process.alive = False
        #: The running server; its last one while none runs.
        self.server: Server | None = None
        #: Starts so far.
        self.boots = 0
        self._task: asyncio.Task[None] | None = None
        #: Called when a server has started, when a start was refused, when a server stopped by itself, right before one
        #: is killed, and after that, before any byte is lost.
        self.on_serving: Callable[[], None] = lambda: None
        self.on_refused: Callable[[BaseException], None] = lambda error: None
        self.on_stopped: Callable[[int], None] = lambda code: None
        self.before_kill: Callable[[], None] = lambda: None
        self.on_killed: Callable[[], None] = lambda: None
        self._seed = seed
        self._has_power = True

    @property
    def running(self) -> bool:
        """Whether a process is there, serving or not."""
        return self.process.alive

    @property
    def serving(self) -> bool:
        """Whether its server answers requests."""
        return self.running and self.server is not None and self.server.serving

    def boot(self) -> None:
        """Start a server process; after a power cut the machine first."""
        assert not self.running
        self.boots += 1
        loop = self.loop
        if not self._has_power:
            self._has_power = True
            self.process.answers = True
            self.clock.booted_at = loop.now - _BOOT * self.boots
        process = self.process = Process(self.address, self.clock.rate)
        loop.trace.add("boot", self.name, self.boots)

        def begin() -> None:
            server = self.server = Server(self.boot_settings(), self._runtime(process), name=self.name)
            self._task = loop.create_task(self._serve(server), name=f"{self.name}: start")
            server.stopped.add_done_callback(self._stopped)

        loop.world_soon(begin).process = process

    def boot_settings(self) -> Settings:
        """What the server of this start obeys."""
        return self.settings

    def _runtime(self, process: Process) -> Runtime:
        disk = ProcessDisk(self.disk, process)

        def new_worker(name: str) -> SimWorker:
            return SimWorker(self.loop, process, name, lambda: self.disk.sync_seconds() / 4)

        return Runtime(self.clock, SimRandom(f"{self._seed}:{self.boots}"), disk, new_worker)

    async def _serve(self, server: Server) -> None:
        """Start, and tell how it went in the same step, before anything else can happen."""
        try:
            await server.start()
        except Exception as error:
            if not isinstance(error, (ZabraError, OSError)):
                self.loop.call_exception_handler({"message": "the start failed", "exception": error})
            self.loop.trace.add("refused", self.name, str(error))
            self._end(power=True)
            self.on_refused(error)
            return
        self.loop.trace.add("serving", self.name, server.tree.last_zxid)
        self.on_serving()

    def _stopped(self, stopped: asyncio.Future[int]) -> None:
        code = stopped.result()
        self.loop.trace.add("stopped", self.name, code)
        self._end(power=True)
        self.on_stopped(code)

    def kill(self, *, power: bool) -> None:
        """The process dies here and now; with ``power`` False the machine too, and unsynced bytes with it."""
        if not self.running:
            return
        self.before_kill()
        self.loop.trace.add("kill", self.name, "process" if power else "power")
        self._end(power=power)
        self.on_killed()
        if not power:
            self._has_power = False
            self.disk.lose_power()

    def _end(self, *, power: bool) -> None:
        process = self.process
        process.die()
        self.network.process_died(process, silent=not power)
        for strand in process.strands:
            strand.end()
        process.strands.clear()

    def stop(self) -> SimHandle:
        """Stop the server cleanly, as SIGTERM does."""
        server = self.server
        assert server is not None
        loop = self.loop

        def begin() -> None:
            loop.create_task(server.stop(), name=f"{self.name}: stop")

        handle = loop.call_soon(begin)
        handle.process = self.process
        return handle
