"""An ensemble and clients that a test steers by hand, checked by the simulator's oracle all the way."""

import dataclasses
import logging
import random
import re
from collections import Counter

from zabra.config.model import Settings
from zabra.sim.calls import Call
from zabra.sim.checkers import check_tree_at
from zabra.sim.client import SimClient
from zabra.sim.cluster import Cluster, membership
from zabra.sim.ensemble_oracle import EnsembleOracle
from zabra.sim.loop import new_loop
from zabra.sim.network import Network
from zabra.sim.trace import Trace

TICK_MS = 500
#: Silence after which servers give each other up, in seconds.
PATIENCE = 2.5


class Log(logging.Handler):
    """What the servers have said, by address."""

    def __init__(self, loop):
        super().__init__()
        self.loop = loop
        self.lines = []

    def emit(self, record):
        self.lines.append((self.loop.now, self.loop.process.name, record.getMessage()))


class World:
    """``settings`` are those of :class:`Settings`; nothing goes wrong unless the test says so."""

    def __init__(self, voters=3, observers=0, *, config=None, **settings):
        self.trace = Trace()
        self.loop = new_loop(self.trace)
        self.network = Network(self.loop, random.Random(1), chop=0.0)
        self.config = config or membership(voters, observers)
        settings = {
            "data_dir": "/data",
            "client_port": 2181,
            "prealloc_kb": 64,
            "tick_time_ms": TICK_MS,
            "init_limit": 10,
            "sync_limit": 5,
            "standalone_enabled": False,
            "ensemble": self.config,
        } | settings
        self.settings = Settings(**settings)
        self.cluster = Cluster(self.loop, self.network, "test", self.settings)
        self.machines = self.cluster.machines
        self.oracle = EnsembleOracle(
            self.machines.values(),
            self.config,
            lambda: self.loop.now,
            tick_ms=TICK_MS,
            local_sessions=self.settings.local_sessions_enabled,
        )
        self.oracle.on_serving = self.check_tree
        self.failures = []
        self.refusals = []
        self.exits = []
        self.clients = 0
        for machine in self.machines.values():
            self.watch(machine)
        self.log = Log(self.loop)
        logger = logging.getLogger("zabra")
        logger.addHandler(self.log)
        logger.setLevel(logging.INFO)

    def watch(self, machine):
        machine.on_refused = lambda error: self.refusals.append((machine.sid, str(error)))
        machine.on_stopped = lambda code: self.exits.append((machine.sid, code))
        machine.before_kill = self.oracle.catch_up
        machine.disk.before_unlink = lambda path: self.oracle.read_disks()

    def check_tree(self, machine):
        check_tree_at(machine.server, self.oracle.model, machine.tree.last_zxid)

    # -- time

    def run(self, seconds, stop=lambda: False):
        """Let time pass; every promise must hold."""

        def step():
            self.oracle.catch_up()
            return stop()

        self.loop.run_until(self.loop.now + seconds, step)
        assert not self.failures, self.failures
        assert not self.loop.errors, self.loop.errors[0]

    def until(self, condition, seconds=60.0):
        """Let time pass until something holds."""
        self.run(seconds, condition)
        assert condition(), [(machine.sid, machine.mode) for machine in self.machines.values()]

    # -- servers

    def boot(self, *sids):
        """Start these servers, or all that do not run, and wait until all serve."""
        for sid in sids or self.machines:
            if not self.machines[sid].running:
                self.machines[sid].boot()
        self.until(lambda: all(machine.serving for machine in self.machines.values() if machine.running))

    def kill(self, *sids, cut_power=False):
        """End processes, or switch off their machines."""
        for sid in sids:
            self.machines[sid].kill(power=not cut_power)

    @property
    def leader(self):
        """Who leads and serves, in the newest epoch."""
        return self.cluster.leader

    def followers(self):
        return [machine for machine in self.machines.values() if machine.mode == "follower"]

    def others(self, *sids):
        return [sid for sid in self.machines if sid not in sids]

    def block(self, sources, targets, *, both=True):
        """Nothing gets from the one servers to the others, nor back."""
        for one in sources:
            for other in targets:
                a, b = self.machines[one].address, self.machines[other].address
                self.network.block(a, b)
                if both:
                    self.network.block(b, a)

    def isolate(self, *sids):
        """These servers talk with each other, and the others with each other."""
        self.block(sids, self.others(*sids))

    def heal(self):
        self.network.heal()

    def replace(self, settings, **changed):
        """Other settings for the next start."""
        return dataclasses.replace(settings, **changed)

    def at(self, sid):
        """The zxid that a server's tree is at."""
        return self.machines[sid].tree.last_zxid

    def all_equal(self):
        """Every server serves, at the end of the history, with the same tree."""
        self.oracle.catch_up()
        for machine in self.machines.values():
            assert machine.serving, machine.mode
            assert machine.tree.last_zxid >= self.oracle.model.zxid, machine.sid
            self.check_tree(machine)

    def said(self, pattern):
        """How many lines the servers logged that match."""
        return sum(bool(re.search(pattern, line)) for _, _, line in self.log.lines)

    # -- clients

    def client(self, *sids, timeout_ms=5000, auth=None):
        """A client with a session at one of these servers, or at any."""
        self.clients += 1
        name = f"10.1.0.{self.clients}"
        servers = [(self.machines[sid].name, 2181) for sid in sids or self.machines]
        client = SimClient(
            name,
            self.loop,
            random.Random(name),
            self.oracle,
            self.failures.append,
            timeout_ms=timeout_ms,
            auth=auth,
            servers=servers,
        )
        client.start()
        self.until(lambda: client.up)
        return client

    def ask(self, client, *calls, seconds=10.0):
        """Ask all at once; their error codes, None without an answer in time."""
        for call in calls:
            client.ask(call)
        self.run(seconds, lambda: all(call.err is not None for call in calls))
        return [call.err for call in calls]

    def count(self, kind):
        """How often something stands in the trace."""
        return Counter(entry[1] for entry in self.trace.entries)[kind]

    def close(self):
        self.cluster.kill()
        self.loop.world.die()
        self.loop.close()
        logging.getLogger("zabra").removeHandler(self.log)


def create(path, data=b"", flags=0):
    return Call(1, path, data, flags=flags)


def get(path, watch=False):
    return Call(4, path, watch=watch)


def put(path, data=b"", version=-1):
    return Call(5, path, data, version=version)


def sync(path=b"/"):
    return Call(9, path)
