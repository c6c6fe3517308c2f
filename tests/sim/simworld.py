"""A server and clients that a test steers by hand, checked by the simulator's oracle all the way."""

import random
from collections import Counter

from zabra.config.model import Settings
from zabra.sim.calls import Call
from zabra.sim.checkers import check_tree
from zabra.sim.client import SimClient
from zabra.sim.faults import Faults
from zabra.sim.host import Host
from zabra.sim.logtap import LogTap
from zabra.sim.loop import new_loop
from zabra.sim.network import Network
from zabra.sim.oracle import Oracle
from zabra.sim.trace import Trace


class World:
    """``settings`` are those of :class:`Settings`; nothing goes wrong unless the test says so."""

    def __init__(self, **settings):
        self.trace = Trace()
        self.loop = new_loop(self.trace)
        self.network = Network(self.loop, random.Random(1), chop=0.0)
        settings = {"data_dir": "/data", "client_port": 2181, "prealloc_kb": 64, "tick_time_ms": 500} | settings
        self.host = Host("10.0.0.1", self.loop, self.network, "test", Settings(**settings))
        self.oracle = Oracle(LogTap(self.host.disk, "/data/version-2"), self.loop.time)
        self.faults = Faults(self.loop, self.network, self.host, random.Random(1), interval=1.0, clean=True)
        self.failures = []
        self.refusals = []
        self.exits = []
        self.clients = 0
        self.host.on_serving = self._serving
        self.host.on_refused = lambda error: self.refusals.append(str(error))
        self.host.on_stopped = self.exits.append
        self.host.on_killed = self.oracle.catch_up
        self.host.disk.before_unlink = lambda path: self.oracle.catch_up()

    def _serving(self):
        self.oracle.restarted(self.host.server.tree.last_zxid)
        check_tree(self.host.server, self.oracle.model)

    def run(self, seconds):
        """Let time pass; every promise must hold."""
        self.loop.run_until(self.loop.time() + seconds)
        assert not self.failures, self.failures
        assert not self.loop.errors, self.loop.errors[0]

    def boot(self):
        self.host.boot()
        self.run(0.1)
        assert self.host.serving, self.refusals

    def client(self, timeout_ms=2000, auth=None):
        """A client with a session."""
        self.clients += 1
        name = f"10.0.1.{self.clients}"
        fail = self.failures.append
        client = SimClient(name, self.loop, random.Random(name), self.oracle, fail, timeout_ms=timeout_ms, auth=auth)
        client.start()
        self.run(1)
        assert client.up
        return client

    def ask(self, client, *calls, seconds=0.1):
        """Ask all at once; their error codes, None without an answer."""
        for call in calls:
            client.ask(call)
        self.run(seconds)
        return [call.err for call in calls]

    def count(self, kind):
        """How often something stands in the trace."""
        return Counter(entry[1] for entry in self.trace.entries)[kind]

    def close(self):
        self.host.kill(power=True)
        self.loop.world.die()
        self.loop.close()


def create(path, data=b"", flags=0):
    return Call(1, path, data, flags=flags)


def get(path, watch=False):
    return Call(4, path, watch=watch)


def put(path, data=b"", version=-1):
    return Call(5, path, data, version=version)
