"""One run of an ensemble: its servers, its clients, its faults, all of one seed; then peace, and all must be well."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from zabra.config.dynamic import EnsembleConfig
from zabra.config.model import FOUR_LETTER_WORDS, Settings
from zabra.sim.checkers import check_bounds, check_idle, check_snapshot, check_tree_at
from zabra.sim.client import SimClient
from zabra.sim.cluster import OBSERVER_PORT, Cluster, Machine, membership
from zabra.sim.ensemble_faults import EnsembleFaults
from zabra.sim.ensemble_oracle import EnsembleOracle, Watched
from zabra.sim.history import History
from zabra.sim.network import Network
from zabra.sim.operator import Operator
from zabra.sim.trial import Outcome, Trial
from zabra.sim.violation import Violation
from zabra.sim.workload import CREDENTIALS, REGISTERS, RegisterWorkload, digest_identity
from zabra.storage.snapstore import zxid_of_snapshot
from zabra.zxid import epoch_of

_DATA: Final = "/data"
_SUPER: Final = b"super:duper"


def draw_ensemble(rng: random.Random) -> EnsembleConfig:
    """From one server to seven: voters and observers, now and then in groups."""
    if rng.random() < 0.15:
        voters = rng.choice((3, 6))
        groups = {sid: (sid - 1) % 3 + 1 for sid in range(1, voters + 1)}
        # Of six some may have no say, but no group is without one.
        weights = {sid: rng.choice((1, 1, 1, 2, 0) if sid > 3 else (1, 1, 2)) for sid in groups}
        return membership(voters, rng.choice((0, 0, 1)), groups, weights)
    voters = rng.choice((1, 2, 3, 3, 3, 3, 4, 5, 5, 7))
    return membership(voters, rng.choice((0, 0, 0, 1, 2)) if voters < 6 else 0)


def draw_settings(rng: random.Random, ensemble: EnsembleConfig) -> Settings:
    """Settings that make everything happen often."""
    return Settings(
        data_dir=_DATA,
        data_log_dir=rng.choice((_DATA, "/log")),
        client_port=2181,
        ensemble=ensemble,
        standalone_enabled=False,
        tick_time_ms=rng.choice((100, 500, 2000)),
        init_limit=rng.choice((5, 10)),
        sync_limit=rng.choice((2, 5)),
        snap_count=rng.choice((10, 40, 200)),
        prealloc_kb=rng.choice((0, 4, 16, 64)),
        txn_log_size_limit_kb=rng.choice((-1, -1, 8)),
        flush_delay_ms=rng.choice((0, 0, 0, 4)),
        max_batch_size=rng.choice((1000, 3)),
        close_session_txn_enabled=rng.random() < 0.9,
        serialize_last_processed_zxid_enabled=rng.random() < 0.8,
        snapshot_compression=rng.choice(("", "", "gz")),
        extended_types_enabled=True,
        container_check_interval_ms=rng.choice((500, 5000)),
        container_max_never_used_interval_ms=rng.choice((0, 3000)),
        global_outstanding_limit=rng.choice((1000, 5)),
        four_letter_whitelist=frozenset(FOUR_LETTER_WORDS),
        super_digest=digest_identity(_SUPER)[1],
        reconfig_enabled=rng.random() < 0.6,
        cnx_timeout_ms=rng.choice((500, 5000)),
        fastleader_max_notification_interval_ms=rng.choice((1000, 60000)),
        observer_election_delay_ms=rng.choice((0, 200)),
        leader_serves=rng.random() < 0.9 or len(ensemble.members) < 3,
        commit_log_count=rng.choice((3, 20, 500)),
        snapshot_size_factor=rng.choice((0.33, 5.0, -1.0)),
        force_snapshot_sync=rng.random() < 0.05,
        leader_max_concurrent_snap_syncs=rng.choice((1, 10)),
        leader_max_time_to_wait_for_epoch_ms=rng.choice((-1, -1, 1000)),
        sync_enabled=rng.random() < 0.9,
        local_sessions_enabled=rng.random() < 0.2,
        local_sessions_upgrading_enabled=rng.random() < 0.8,
        readonly_mode_enabled=rng.random() < 0.2,
        observer_master_port=rng.choice((0, 0, OBSERVER_PORT)),
        enable_eager_acl_check=rng.random() < 0.25,
    )


class EnsembleRun(Trial[RegisterWorkload]):
    """The parts of one run."""

    few_nodes_per_turn = (1, 3)
    oracle: EnsembleOracle
    faults: EnsembleFaults

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"ensemble {seed}")
        super().__init__(seed, rng, turn_cost=rng.choice((1e-6, 2e-5, 1e-4)))
        config = draw_ensemble(rng)
        self.settings = settings = draw_settings(rng, config)
        self.network = Network(
            self.loop,
            random.Random(f"network {seed}"),
            # Some things take twenty times as long; that must not look like silence.
            delay=settings.tick_time_ms / 1000 * rng.choice((1e-4, 1e-3, 4e-3)),
            chop=rng.choice((0.0, 0.1, 0.5)),
        )
        clock_rates = random.Random(f"clocks {seed}") if rng.random() < 0.3 else None
        self.cluster = Cluster(self.loop, self.network, f"host {seed}", settings, clock_rates=clock_rates)
        #: After so many seconds of silence servers have given each other up.
        self.patience = settings.tick_time_ms * settings.sync_limit / 1000
        self.network.retry = min(1.0, self.patience / 4)
        #: And so many they take to agree on a leader and to get in sync.
        self.recovery = 5 + 2 * settings.tick_time_ms * (settings.init_limit + settings.sync_limit) / 1000
        self.oracle = EnsembleOracle(
            self.cluster.machines.values(),
            config,
            lambda: self.loop.now,
            tick_ms=settings.tick_time_ms,
            local_sessions=settings.local_sessions_enabled,
        )
        self.oracle.checks_early = settings.enable_eager_acl_check
        self.history = History(REGISTERS, lambda: self.loop.now, self._sole_epoch)
        self.faults = EnsembleFaults(
            self.loop,
            self.network,
            self.cluster,
            random.Random(f"faults {seed}"),
            interval=self.patience * rng.choice((0.5, 1, 3)),
            patience=self.patience,
        )
        if not settings.reconfig_enabled:
            self.faults.leave_out("reconfig")
        self.operator: Operator | None = None
        self._depth = rng.choice((1, 4, 20))
        self._seconds = self.patience * rng.choice((4, 10, 20))
        # A few hundred requests of each client, fast or slow; or so few that a leader may be back before the next one.
        self._pause = (self.recovery + self._seconds) / min(rng.choice((8, 40, 150)), 400 / self._depth)
        #: Since when a leader has been without a quorum, or a learner without its leader.
        self._alone_since: dict[int, float] = {}
        #: When something last went wrong.
        self._troubled = 0.0
        self.oracle.is_calm = self._is_calm
        self.oracle.on_serving = self._begins_to_serve
        self.oracle.on_role_over = lambda machine: self._trouble()
        self.faults.clients = lambda: [workload.client.name for workload in self.workloads]
        self.faults.on_client_death = self._replace_client
        self.faults.on_reconfig = self._reconfigure
        self.faults.on_strand = lambda machine: self._write_now()
        self.cluster.on_added = self._watch

    # -- the lives of the servers

    def _watch(self, machine: Machine) -> None:
        self.faults.watch(machine)

        def started() -> None:
            self.faults.disks[machine.sid].failed = False

        def refused(error: BaseException) -> None:
            self._trouble()
            if self.faults.may_bind(machine) and not self.faults.disks[machine.sid].failed:
                self.fail(f"the start of server {machine.sid} was refused: {error}")
            self.faults.disks[machine.sid].failed = False
            self._boot_later(machine)

        def stopped(code: int) -> None:
            self._trouble()
            if code != 0 and self.faults.may_bind(machine) and not self.faults.disks[machine.sid].failed:
                self.fail(f"server {machine.sid} stopped by itself with code {code}")
            self._boot_later(machine)

        def killed() -> None:
            self._trouble()
            self._boot_later(machine)

        machine.on_serving = started
        machine.on_refused = refused
        machine.on_stopped = stopped
        machine.on_killed = killed
        machine.before_kill = lambda: self._checked(self.oracle.catch_up)
        machine.disk.before_unlink = lambda path: self._checked(self.oracle.read_disks)
        machine.disk.after_rename = lambda path: self._checked(lambda: self._renamed(machine, path))

    def _renamed(self, machine: Machine, path: str) -> None:
        """A snapshot: of some moment of the history, unless nobody is known to have agreed on that yet."""
        zxid = zxid_of_snapshot(path.rpartition("/")[2])
        self.oracle.catch_up()
        if zxid in self.oracle.logged or (zxid == self.oracle.beginning(epoch_of(zxid)) and zxid <= self.oracle.newest):
            check_snapshot(machine.disk, path, self.oracle.model, machine.settings)

    def _begins_to_serve(self, machine: Watched) -> None:
        assert isinstance(machine, Machine)
        self.loop.trace.add("serves", machine.name, machine.mode, machine.tree.last_zxid)
        self._check_tree(machine)

    def _check_tree(self, machine: Machine) -> None:
        assert machine.server is not None
        check_tree_at(machine.server, self.oracle.model, machine.tree.last_zxid)

    def _boot_later(self, machine: Machine) -> None:
        delay = self.patience * self.rng.choice((0.01, 0.3, 1.0, 4.0)) * self.rng.random()

        self.loop.world_at(self.loop.now + delay, self._boot, machine)

    def _boot(self, machine: Machine) -> None:
        """Start it. Who is in no list, not even its own, would refuse to; a member is told of itself first."""
        if machine.running:
            return
        config = self.oracle.verifier.config
        if not machine.knows_itself and machine.sid in config.members:
            machine.configure(config)
        if machine.knows_itself:
            machine.boot()

    def _reconfigure(self) -> None:
        if self.operator is not None:
            self.operator.change()

    # -- what went wrong

    def _trouble(self) -> None:
        self._troubled = self.loop.now

    def _is_calm(self, since: float) -> bool:
        """Whether nothing has gone wrong since long before ``since``."""
        return since > max(self._troubled, self.faults.disturbed_until) + self.recovery

    def _sole_epoch(self) -> int | None:
        """The epoch of the only server that leads now, or None."""
        leading = [machine.leads for machine in self.cluster.machines.values() if machine.leads is not None]
        return leading[0] if leading == [self.oracle.epoch] else None

    # -- the clients

    def _new_workload(self, number: int, rng: random.Random) -> RegisterWorkload:
        credentials = CREDENTIALS[number % 3] if number % 3 < 2 else None
        client = self._new_client(number, rng, credentials)
        client.history = self.history
        pause = self._pause * rng.choice((0.5, 1, 4))
        return RegisterWorkload(client, self.loop, rng, self.oracle.model, depth=self._depth, pause=pause)

    def _new_client(self, number: int, rng: random.Random, credentials: bytes | None) -> SimClient:
        return SimClient(
            f"10.1.0.{number}",
            self.loop,
            rng,
            self.oracle,
            self.fail,
            timeout_ms=self.settings.tick_time_ms * rng.choice((2, 4, 20)),
            auth=(credentials, digest_identity(credentials)) if credentials else None,
            servers=self.cluster.addresses,
        )

    def _add_operator(self) -> None:
        rng = random.Random(f"operator {self.outcome.seed}")
        client = self._new_client(250, rng, _SUPER)
        self.operator = Operator(client, self.cluster, rng, pause=self.patience)
        client.start()

    def _write_now(self) -> None:
        for workload in self.workloads:
            workload.write_now()

    # -- the run

    def _live(self) -> None:
        for machine in self.cluster.machines.values():
            self._watch(machine)
        self.cluster.boot()
        for _ in range(self.rng.randrange(2, 6)):
            self._add_client()
        if self.settings.reconfig_enabled:
            self._add_operator()
        self._look_around()
        if self.rng.random() < 0.8:
            self._run_for(self.recovery)
        if self.rng.random() < 0.3:
            self._reconfigure()
        self.faults.start()
        self._run_for(self._seconds)
        self._heal()

    def _power_off(self) -> None:
        self.cluster.kill()

    @property
    def _boots(self) -> int:
        return sum(machine.boots for machine in self.cluster.machines.values())

    @property
    def _epochs(self) -> int:
        return len(self.oracle.leaders)

    def _run_for(self, seconds: float) -> None:
        self.loop.run_until(self.loop.now + seconds, self._step)

    def _step(self) -> bool:
        """After every call: look at what the servers have applied."""
        self._checked(self.oracle.catch_up)
        return self._failed()

    def _look_around(self) -> None:
        """Now and then: roles that should have ended, a tree as a whole."""
        self._checked(self._check_roles)
        serving = [machine for machine in self.cluster.machines.values() if machine.serving]
        if serving:
            self._checked(lambda: self._look_at(self.rng.choice(serving)))
        self.loop.call_later(self.patience / 4, self._look_around)

    def _look_at(self, machine: Machine) -> None:
        assert machine.server is not None
        check_bounds(machine.server, self.network)
        self._check_tree(machine)

    def _check_roles(self) -> None:
        """A leader without a quorum, or a learner without its leader, does not go on for long."""
        for sid, machine in self.cluster.machines.items():
            if not machine.serving or machine.process.blocked or self._has_company(machine):
                self._alone_since.pop(sid, None)
                continue
            since = self._alone_since.setdefault(sid, self.loop.now)
            if self.loop.now - since > 3 * self.patience + 3 * self.settings.tick_time_ms / 1000 + 1:
                raise Violation(
                    f"server {sid} is still {machine.mode} {self.loop.now - since:.1f} s after it was cut off"
                )

    def _has_company(self, machine: Machine) -> bool:
        """Whether a leader can talk with a quorum, a learner with some leader of its epoch or a later one."""
        reached = {other.sid for other in self.cluster.machines.values() if self._talk(machine, other)}
        if machine.leads is not None:
            return self.oracle.verifier.contains_quorum(reached)
        machines = self.cluster.machines
        return any(sid != machine.sid and machines[sid].leads is not None for sid in reached)

    def _talk(self, one: Machine, other: Machine) -> bool:
        if not other.running:
            return False
        network = self.network
        return one is other or (
            network.is_open(one.process.name, other.process.name)
            and network.is_open(other.process.name, one.process.name)
        )

    def _boot_all(self) -> None:
        for machine in self.cluster.machines.values():
            self._boot(machine)

    # -- peace

    def _heal(self) -> None:
        """Nothing goes wrong any more: everybody is served again, and nothing is left behind when they go."""
        self.faults.heal()
        if self.operator is not None:
            self.operator.stop()
        self._trouble()
        for workload in self.workloads:
            workload.slow_down()
        self._boot_all()
        self._wait_for_progress(self.recovery + 60)
        self._run_for(self.recovery)
        if self._failed():
            return
        for workload in self.workloads:
            workload.finish()
        self._run_for(self.patience + 5)
        self._checked(self._quiet)
        self._checked(self.history.check)
        timeouts = [workload.client.timeout_ms for workload in self.workloads]
        clients = [workload.client for workload in self.workloads]
        if self.operator is not None:
            clients.append(self.operator.client)
            timeouts.append(self.operator.client.timeout_ms)
        for client in clients:
            client.stop()
        self._run_for((max(timeouts) + 4 * self.settings.tick_time_ms) / 1000 + 20)
        self._checked(self._alone)
        self._restart_all()

    def _restart_all(self) -> None:
        """Whatever was acknowledged is still there when all were without power."""
        for machine in self.cluster.machines.values():
            machine.kill(power=False)
        self._boot_all()
        self._run_until(lambda: self.cluster.leader is not None, self.recovery + 60)
        if not self._failed() and self.cluster.leader is None:
            self.fail("nobody leads after all were without power")

    def _run_until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = self.loop.now + seconds
        while not self._failed() and not condition() and self.loop.now < deadline:
            self._run_for(1.0)

    def _wait_for_progress(self, seconds: float) -> None:
        """Within ``seconds`` every client that lives has a write answered, and every member serves."""
        before = {workload: workload.client.written for workload in self.workloads if not workload.client.stopped}

        def lacking() -> list[str]:
            idlers = [one for one, count in before.items() if one.client.written == count]
            for one in idlers:
                if not one.client.pending:
                    one.write_now()
            stuck = [f"{one.client.name} {one.client.state}" for one in idlers]
            machines = self.cluster.machines
            members = [*self.oracle.verifier.voters, *self.oracle.verifier.observers]
            for sid in members:
                # It may be a member only since a change that a new leader completed.
                self._boot(machines[sid])
            idle = [f"server {sid} {machines[sid].mode}" for sid in members if not machines[sid].serving]
            return stuck + idle

        self._run_until(lambda: not lacking(), seconds)
        if not self._failed() and lacking():
            self.fail(f"no progress {seconds:.0f} s after everything was healed: {', '.join(lacking())}")

    def _quiet(self) -> None:
        """Everybody is at the same point, and has the tree of it."""
        if self._failed():
            return
        self.oracle.catch_up()
        last = self.oracle.model.zxid
        for machine in self.cluster.machines.values():
            if machine.serving:
                zxid = machine.tree.last_zxid
                if zxid < last:
                    raise Violation(f"all is quiet and server {machine.sid} is at 0x{zxid:x}, not at 0x{last:x}")
                self._check_tree(machine)
                assert machine.server is not None
                check_idle(machine.server)

    def _alone(self) -> None:
        """Every session has expired, with its ephemerals, everywhere."""
        if self._failed():
            return
        self._quiet()
        if self.oracle.model.sessions:
            raise Violation(f"sessions live on without clients: {list(self.oracle.model.sessions)}")
        for machine in self.cluster.machines.values():
            if machine.serving and machine.server is not None and machine.server.hub.connections:
                raise Violation(f"server {machine.sid} has {len(machine.server.hub.connections)} connections of nobody")


def run_ensemble(seed: int) -> Outcome:
    """Run one seed."""
    return EnsembleRun(seed).execute()
