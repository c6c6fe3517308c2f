"""Whoever changes the membership of a simulated ensemble: adds servers, removes them, takes and gives votes."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from zabra.config.dynamic import EnsembleConfig, format_server_line, parse_config
from zabra.consts import Op
from zabra.errors import ConfigError
from zabra.sim.calls import Call
from zabra.sim.client import SimClient
from zabra.sim.cluster import Cluster, line_of
from zabra.sim.watchbook import CONFIG
from zabra.wire.primitives import Reader
from zabra.wire.records_proto import ReconfigRequest

#: Machines that may ever be.
_MACHINES_MAX: Final = 8
_VOTERS_MIN: Final = 2


class Operator:
    """Reads the membership and asks for another one; ``client`` must be allowed to."""

    def __init__(self, client: SimClient, cluster: Cluster, rng: random.Random) -> None:
        self.client = client
        self._cluster = cluster
        self._rng = rng
        client.on_reply = self._replied

    def change(self) -> None:
        """Begin a change, unless one is under way or nobody answers."""
        if self.client.up and not self.client.pending:
            self.client.ask(Call(Op.GET_DATA, CONFIG))

    def _replied(self, call: Call) -> None:
        if call.op == Op.GET_DATA and call.err == 0 and self.client.up:
            try:
                config = parse_config((Reader(call.body).read_buffer() or b"").decode())
            except ConfigError:
                return
            request = self._draw(config)
            if request is not None:
                self.client.ask(request)

    def _draw(self, config: EnsembleConfig) -> Call | None:
        """A request for another membership."""
        rng = self._rng
        members = dict(config.members)
        voters = [sid for sid, line in members.items() if not line.observer]
        kind = rng.choice(("add", "add", "remove", "role"))
        joining: str | None = None
        leaving: str | None = None
        if kind == "add":
            sid = self._newcomer(config)
            if sid is None:
                return None
            members[sid] = line_of(sid, observer=rng.random() < 0.4)
            joining = f"server.{sid}={format_server_line(members[sid])}"
        elif kind == "remove":
            sid = rng.choice(list(members))
            if sid in voters and len(voters) <= _VOTERS_MIN:
                return None
            del members[sid]
            leaving = str(sid)
        else:
            sid = rng.choice(list(members))
            observer = not members[sid].observer
            if observer and len(voters) <= _VOTERS_MIN:
                return None
            members[sid] = dataclasses.replace(members[sid], observer=observer)
            joining = f"server.{sid}={format_server_line(members[sid])}"
        wanted = EnsembleConfig(members)
        new_members: str | None = None
        if config.groups or rng.random() < 0.2:
            # The groups go, which takes the whole list.
            joining = leaving = None
            new_members = ",".join(wanted.lines())
        raw = ReconfigRequest(joining, leaving, new_members, config.version).encode()
        return Call(Op.RECONFIG, CONFIG, raw=raw, config=wanted)

    def _newcomer(self, config: EnsembleConfig) -> int | None:
        """A server outside of ``config`` that runs, made or started now if there is none: it joins the next time."""
        machines = self._cluster.machines
        outside = [machine for sid, machine in machines.items() if sid not in config.members]
        if not outside and len(machines) < _MACHINES_MAX:
            sid = max(machines) + 1
            self._cluster.add(sid, _with(config, sid)).boot()
            return None
        for machine in outside:
            if machine.running:
                return machine.sid
        if outside:
            machine = self._rng.choice(outside)
            machine.configure(_with(config, machine.sid))
            machine.boot()
        return None


def _with(config: EnsembleConfig, sid: int) -> EnsembleConfig:
    """What a joiner is told: the others, and itself without a vote."""
    return EnsembleConfig({**config.members, sid: line_of(sid, observer=True)})
