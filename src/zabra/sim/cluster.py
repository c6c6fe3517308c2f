"""The machines of an ensemble: each with its disk, clock and address, and a server that starts from what is there."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping
from typing import Final

from zabra.config import java_properties
from zabra.config.dynamic import EnsembleConfig, parse_config, version_of_file_name
from zabra.config.model import ServerLine, Settings
from zabra.sim.disk import ProcessDisk
from zabra.sim.diskview import DiskView
from zabra.sim.host import Host
from zabra.sim.loop import Process, SimLoop
from zabra.sim.network import Network
from zabra.tree.tree import DataTree
from zabra.zxid import epoch_of

CLIENT_PORT: Final = 2181
QUORUM_PORT: Final = 2888
ELECTION_PORT: Final = 3888
OBSERVER_PORT: Final = 2191
_CONFIG_FILE: Final = "/conf/zoo.cfg"


def name_of(sid: int) -> str:
    """The host name of a server."""
    return f"zk{sid}"


def line_of(sid: int, *, observer: bool) -> ServerLine:
    """How a server stands in the membership."""
    return ServerLine(sid, ((name_of(sid), QUORUM_PORT, ELECTION_PORT),), observer, "0.0.0.0", CLIENT_PORT)


def membership(
    voters: int, observers: int = 0, groups: Mapping[int, int] | None = None, weights: Mapping[int, int] | None = None
) -> EnsembleConfig:
    """Servers 1 to ``voters`` have a vote, those behind them do not."""
    members = {sid: line_of(sid, observer=sid > voters) for sid in range(1, voters + observers + 1)}
    return EnsembleConfig(members, groups=dict(groups or {}), weights=dict(weights or {}))


class Machine(Host):
    """One machine of the ensemble."""

    def __init__(
        self, sid: int, loop: SimLoop, network: Network, seed: str, settings: Settings, *, clock_rate: float = 1.0
    ) -> None:
        """``settings`` with the ensemble as its first ``zoo.cfg`` has it."""
        own = dataclasses.replace(settings, server_id=sid, config_file=_CONFIG_FILE)
        super().__init__(
            name_of(sid), loop, network, f"{seed} {sid}", own, address=f"10.0.0.{sid}", clock_rate=clock_rate
        )
        self.sid = sid
        network.names[self.name] = self.address
        self.view = DiskView(self.disk, f"{own.data_log_dir}/version-2", f"{own.data_dir}/version-2")
        assert own.ensemble is not None
        self.configure(own.ensemble)

    @property
    def tree(self) -> DataTree:
        """The tree of its server."""
        assert self.server is not None
        return self.server.tree

    @property
    def role(self) -> object | None:
        """What its server is as long as it applies what is committed; another object for each time it does."""
        server = self.server
        if server is None or not self.process.alive or server.serving_parts is None:
            return None
        # One that only reads knows nothing of what is committed.
        return server.serving_parts if self.mode != "read-only" else None

    @property
    def serving(self) -> bool:
        """Whether its server has a role."""
        return self.role is not None

    @property
    def mode(self) -> str:
        """``leader``, ``follower``, ``observer``, ``looking``, ``read-only``; ``down`` without a process."""
        member = self.server.member if self.running and self.server is not None else None
        return member.mode if member is not None else "down"

    @property
    def leads(self) -> int | None:
        """The epoch that it leads and serves in, or None."""
        return epoch_of(self.tree.last_zxid) if self.serving and self.mode == "leader" else None

    @property
    def membership(self) -> EnsembleConfig:
        """What its running server takes for the committed membership."""
        assert self.server is not None
        assert self.server.member is not None
        return self.server.member.context.membership.config

    def boot_settings(self) -> Settings:
        """As ``zoo.cfg`` and the dynamic file beside it have them now (``config.load`` reads real files)."""
        disk = ProcessDisk(self.disk, Process("config"))
        lines = {line.key: line.value for line in java_properties.parse(disk.read(_CONFIG_FILE))}
        dynamic_file = lines.get("dynamicConfigFile", "")
        if dynamic_file:
            text = disk.read(dynamic_file).decode()
            config = parse_config(text).with_version(version_of_file_name(dynamic_file))
        else:
            config = parse_config("\n".join(f"{key}={value}" for key, value in lines.items() if _is_member(key)))
        return dataclasses.replace(self.settings, ensemble=config, dynamic_config_file=dynamic_file)

    @property
    def knows_itself(self) -> bool:
        """Whether the membership in its files has it; its server starts only then."""
        ensemble = self.boot_settings().ensemble
        return ensemble is not None and self.sid in ensemble.members

    def move(self, address: str) -> None:
        """Get another address, as a pod does; with the next start. The name may be known only later."""
        assert not self.running
        self.address = address

    def wipe(self) -> None:
        """Lose every file but the configuration."""
        assert not self.running
        for name in [name for name in self.disk.names if not name.startswith("/conf/")]:
            self.disk.rebind((name, None))
        for folder in [folder for folder in self.disk.folders if folder != "/" and not folder.startswith("/conf")]:
            self.disk.settle_names(folder)

    def configure(self, config: EnsembleConfig) -> None:
        """Write ``zoo.cfg`` anew, with the membership in it; whatever the disk does to servers, this succeeds."""
        assert not self.running
        plan, self.disk.plan = self.disk.plan, lambda name, path, size: None
        disk = ProcessDisk(self.disk, Process("config"))
        disk.makedirs("/conf")
        for name in disk.listdir("/conf"):
            disk.unlink(f"/conf/{name}")
        lines = [f"dataDir={self.settings.data_dir}", *config.lines()]
        disk.write_atomic(_CONFIG_FILE, "\n".join(lines).encode())
        self.disk.plan = plan


def _is_member(key: str) -> bool:
    return key.startswith(("server.", "group.", "weight."))


class Cluster:
    """All machines. A joiner's list of servers has itself in it beside the others."""

    def __init__(
        self,
        loop: SimLoop,
        network: Network,
        seed: str,
        settings: Settings,
        *,
        clock_rates: random.Random | None = None,
    ) -> None:
        """``settings.ensemble`` is the first membership. ``clock_rates``: clocks run up to two in a hundred wrong."""
        self.loop = loop
        self.network = network
        self.machines: dict[int, Machine] = {}
        #: Where clients connect.
        self.addresses: list[tuple[str, int]] = []
        #: Told of a machine that comes later.
        self.on_added: Callable[[Machine], None] = lambda machine: None
        self._seed = seed
        self._settings = settings
        self._clock_rates = clock_rates
        assert settings.ensemble is not None
        for sid in settings.ensemble.members:
            self.add(sid, settings.ensemble)

    def add(self, sid: int, config: EnsembleConfig) -> Machine:
        """A new machine, which is told of ``config``; not started yet."""
        rate = 1.0 + self._clock_rates.uniform(-0.02, 0.02) if self._clock_rates is not None else 1.0
        settings = dataclasses.replace(self._settings, ensemble=config)
        machine = Machine(sid, self.loop, self.network, self._seed, settings, clock_rate=rate)
        self.machines[sid] = machine
        self.addresses.append((machine.name, CLIENT_PORT))
        self.on_added(machine)
        return machine

    def boot(self) -> None:
        """Start every server that does not run."""
        for machine in self.machines.values():
            if not machine.running:
                machine.boot()

    @property
    def leader(self) -> Machine | None:
        """Who leads and serves, in the newest epoch."""
        leaders = [machine for machine in self.machines.values() if machine.leads is not None]
        return max(leaders, key=lambda machine: machine.leads or 0, default=None)

    def kill(self) -> None:
        """End every process."""
        for machine in self.machines.values():
            machine.kill(power=True)
