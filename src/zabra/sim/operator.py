"""Whoever changes the membership of a simulated ensemble: adds servers, removes them, takes and gives votes."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

from zabra.config.dynamic import EnsembleConfig, format_server_line, make_config, parse_config
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
#: How often a change is asked for until it succeeds.
_TRIES: Final = 4
#: Of quorums with groups.
_GROUPS: Final = 3


class Operator:
    """Reads the membership and asks for another one; ``client`` must be allowed to."""

    def __init__(self, client: SimClient, cluster: Cluster, rng: random.Random, *, pause: float) -> None:
        """What does not succeed is tried again after some ``pause``, in seconds, a few times."""
        self.client = client
        self._cluster = cluster
        self._rng = rng
        self._pause = pause
        self._tries = 0
        self._waits = False
        client.on_reply = self._replied

    def change(self) -> None:
        """Begin a change."""
        self._tries = _TRIES
        if not self._waits:
            self._try()

    def stop(self) -> None:
        """Try no more."""
        self._tries = 0

    def _try(self) -> None:
        self._waits = False
        if self._tries > 0:
            self._tries -= 1
            if self.client.up and not self.client.pending:
                self.client.ask(Call(Op.GET_DATA, CONFIG))
            self._try_later()

    def _try_later(self) -> None:
        if not self._waits:
            self._waits = True
            self._cluster.loop.call_later(self._pause * (0.5 + self._rng.random()), self._try)

    def _replied(self, call: Call) -> None:
        if call.op == Op.RECONFIG and call.err == 0:
            self._tries = 0
        elif call.op == Op.GET_DATA and call.err == 0 and self.client.up:
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
        kind = rng.choice(("add", "add", "remove", "role", "groups"))
        joining: str | None = None
        leaving: str | None = None
        groups: dict[int, int] = {}
        if kind == "groups":
            if config.groups or len(voters) < _GROUPS:
                return None
            groups = {sid: number % _GROUPS + 1 for number, sid in enumerate(voters)}
        elif kind == "add":
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
        wanted = make_config(members, groups=groups)
        new_members: str | None = None
        if groups or config.groups or rng.random() < 0.2:
            # Groups come, or those that are there go, which takes the whole list.
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
