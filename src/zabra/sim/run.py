"""One run: a server, its clients, its faults, all of one seed; then peace, and everything must be as promised."""

from __future__ import annotations

import random
from typing import Final

from zabra.config.model import FOUR_LETTER_WORDS, Settings
from zabra.node import Server
from zabra.sim.checkers import check_bounds, check_idle, check_quotas, check_snapshot, check_tree
from zabra.sim.client import SimClient
from zabra.sim.faults import Faults
from zabra.sim.host import Host
from zabra.sim.logtap import LogTap
from zabra.sim.network import Network
from zabra.sim.oracle import Oracle
from zabra.sim.trial import Outcome, Trial
from zabra.sim.violation import Violation
from zabra.sim.workload import CREDENTIALS, Workload, digest_identity

_DATA: Final = "/data"
#: Once healed, every client must have been served within so many session timeouts.
_PROGRESS: Final = 4


def draw_settings(rng: random.Random) -> Settings:
    """Settings that make everything happen often."""
    return Settings(
        data_dir=_DATA,
        data_log_dir=rng.choice((_DATA, "/log")),
        client_port=2181,
        tick_time_ms=rng.choice((100, 500, 2000)),
        snap_count=rng.choice((10, 40, 200)),
        prealloc_kb=rng.choice((0, 4, 16, 64, 256)),
        txn_log_size_limit_kb=rng.choice((-1, -1, 8)),
        flush_delay_ms=rng.choice((0, 0, 0, 4)),
        max_batch_size=rng.choice((1000, 3)),
        digest_enabled=rng.random() < 0.9,
        close_session_txn_enabled=rng.random() < 0.8,
        serialize_last_processed_zxid_enabled=rng.random() < 0.8,
        snapshot_compression=rng.choice(("", "", "gz")),
        autopurge_purge_interval_hours=rng.choice((0, 1)),
        extended_types_enabled=True,
        container_check_interval_ms=rng.choice((500, 5000)),
        container_max_never_used_interval_ms=rng.choice((0, 3000)),
        enforce_quota=rng.random() < 0.4,
        global_outstanding_limit=rng.choice((1000, 2)),
        sessionless_cnxn_timeout_ms=rng.choice((1000, 10000)),
        four_letter_whitelist=frozenset(FOUR_LETTER_WORDS),
    )


class Run(Trial[Workload]):
    """The parts of one run."""

    few_nodes_per_turn = (1, 1, 3)
    oracle: Oracle
    faults: Faults

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"run {seed}")
        super().__init__(seed, rng, turn_cost=rng.choice((1e-6, 1e-4, 3e-3, 1e-2)))
        self.network = Network(
            self.loop,
            random.Random(f"network {seed}"),
            delay=rng.choice((5e-5, 5e-4, 2e-2)),
            chop=rng.choice((0.0, 0.1, 0.5)),
        )
        settings = draw_settings(rng)
        depth = rng.choice((1, 4, 20))
        pause = rng.choice((0.02, 0.2, 1.0))
        # A few hundred requests, fast or slow.
        seconds = pause * min(rng.choice((50, 200)), 800 / depth)
        self.host = Host("10.0.0.1", self.loop, self.network, f"host {seed}", settings)
        self.oracle = Oracle(
            LogTap(self.host.disk, f"{settings.data_log_dir}/version-2"),
            lambda: self.loop.now,
            enforce_quota=settings.enforce_quota,
        )
        self.faults = Faults(
            self.loop,
            self.network,
            self.host,
            random.Random(f"faults {seed}"),
            interval=seconds / rng.choice((3, 8, 20)),
            clean=rng.random() < 0.05,
        )
        self._seconds = seconds
        self._depth = depth
        self._pause = pause
        self.host.on_serving = self._serving
        self.host.on_refused = self._refused
        self.host.on_stopped = self._stopped
        self.host.on_killed = self._killed
        self.host.disk.before_unlink = lambda path: self._checked(self.oracle.catch_up)
        self.host.disk.after_rename = self._renamed
        self.faults.on_client_death = self._replace_client

    # -- the life of the server

    def _serving(self) -> None:
        server = self._server()

        def check() -> None:
            self.oracle.restarted(server.tree.last_zxid)
            check_tree(server, self.oracle.model)

        self.faults.disk.failed = False
        self._checked(check)

    def _refused(self, error: BaseException) -> None:
        if not self.faults.disk.failed:
            self.fail(f"the start was refused: {error}")
        self.faults.disk.failed = False
        self._boot_later()

    def _stopped(self, code: int) -> None:
        self._checked(self.oracle.catch_up)
        if code != 0 and not self.faults.disk.failed:
            self.fail(f"the server stopped by itself with code {code}")
        self._boot_later()

    def _killed(self) -> None:
        self._checked(self.oracle.catch_up)
        self._boot_later()

    def _renamed(self, path: str) -> None:
        def check() -> None:
            self.oracle.catch_up()
            check_snapshot(self.host.disk, path, self.oracle.model, self.host.settings)

        self._checked(check)

    def _boot_later(self) -> None:
        self.loop.world_at(self.loop.now + self.rng.choice((0.001, 0.1, 1.0, 4.0)) * self.rng.random(), self._boot)

    def _boot(self) -> None:
        if not self.host.running:
            self.host.boot()

    # -- the clients

    def _new_workload(self, number: int, rng: random.Random) -> Workload:
        credentials = CREDENTIALS[number % 3] if number % 3 < 2 else None
        tick = self.host.settings.tick_time_ms
        client = SimClient(
            f"10.0.1.{number}",
            self.loop,
            rng,
            self.oracle,
            self.fail,
            timeout_ms=tick * rng.choice((2, 4, 20)),
            auth=(credentials, digest_identity(credentials)) if credentials else None,
        )
        pause = self._pause * rng.choice((0.5, 1, 4))
        return Workload(client, self.loop, rng, self.oracle.model, depth=self._depth, pause=pause)

    # -- the run

    def _live(self) -> None:
        self.host.boot()
        for _ in range(self.rng.randrange(1, 5)):
            self._add_client()
        self.faults.start()
        self._bounds()
        self._run_for(self._seconds)
        self._heal()

    def _power_off(self) -> None:
        self.host.kill(power=True)

    @property
    def _boots(self) -> int:
        return self.host.boots

    def _run_for(self, seconds: float) -> None:
        self.loop.run_until(self.loop.now + seconds, self._failed)

    def _bounds(self) -> None:
        if self.host.serving:
            server = self._server()
            self._checked(lambda: check_bounds(server, self.network))
        self.loop.call_later(1.0, self._bounds)

    def _heal(self) -> None:
        """Nothing goes wrong any more: everybody is served again, and nothing is left behind when they go."""
        self.faults.heal()
        for workload in self.workloads:
            workload.slow_down()
        if not self.host.running:
            self._boot()
        self._run_for(5.0)
        timeouts = [workload.client.timeout_ms for workload in self.workloads]
        self._wait_for_progress(_PROGRESS * max(timeouts) / 1000 + 20)
        if self._failed():
            return
        for workload in self.workloads:
            workload.finish()
        self._run_for(2.0)
        for _ in range(20):
            # Chores and pings go on: one of their writes may be on its way, a client may just come back.
            if not self._failed() and (self._server().pipeline.outstanding or self._server().hub.dirty):
                self._run_for(0.01)
        self._checked(self._quiet)
        if self.rng.random() < 0.03:
            # With few pings time enough for a purge by the clock.
            self._run_for(4000.0 if self.host.settings.tick_time_ms == 2000 else 100.0)
            self._checked(self._quiet)
        for workload in self.workloads:
            workload.client.stop()
        settings = self.host.settings
        silence_ms = max(max(timeouts) + 2 * settings.tick_time_ms, 2 * settings.sessionless_cnxn_timeout_ms)
        self._run_for(silence_ms / 1000 + 5)
        self._checked(self._alone)
        self.host.stop()
        self._run_for(10.0)
        if not self._failed() and not self.host.serving:
            self.fail("the server does not come back")

    def _wait_for_progress(self, seconds: float) -> None:
        """Every client that lives has something answered within ``seconds``."""
        before = {
            workload.client: workload.client.answered for workload in self.workloads if not workload.client.stopped
        }
        for _ in range(40):
            self._run_for(seconds / 40)
            stuck = [client for client, count in before.items() if client.answered == count]
            if not stuck or self._failed():
                return
        self.fail(f"no progress: {', '.join(f'{client.name} {client.state}' for client in stuck)}")

    def _server(self) -> Server:
        server = self.host.server
        assert server is not None
        return server

    def _quiet(self) -> None:
        if self._failed():
            return
        server = self._server()
        self.oracle.catch_up()
        check_idle(server)
        check_tree(server, self.oracle.model)
        check_quotas(server)

    def _alone(self) -> None:
        """Every session has expired, with its ephemerals."""
        if self._failed():
            return
        server = self._server()
        self.oracle.catch_up()
        check_tree(server, self.oracle.model)
        if self.oracle.model.sessions:
            raise Violation(f"sessions live on without clients: {list(self.oracle.model.sessions)}")
        if server.hub.connections:
            raise Violation(f"{len(server.hub.connections)} connections without clients")


def run_seed(seed: int) -> Outcome:
    """Run one seed."""
    return Run(seed).execute()
