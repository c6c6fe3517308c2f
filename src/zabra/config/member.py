"""Which member of which ensemble a configuration describes, and what a member needs to start.

The membership is the ``server.N``, ``group.N`` and ``weight.N`` lines of ``zoo.cfg``, or of the file that
``dynamicConfigFile`` names, then with the version of that name; ``<dataDir>/myid`` says who of them we are. One
participant alone is a standalone server unless ``standaloneEnabled=false``.

Sources: ``QuorumPeerConfig`` (parseDynamicConfig, setupMyId, setupClientPort, setupPeerType, checkValidity) and
``QuorumPeer.start`` of 3.9.5. Apache starts with some of what is refused here and fails later or never works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from zabra.config import java_properties
from zabra.config.dynamic import EnsembleConfig, MembershipReader, version_of_file_name
from zabra.config.model import ServerLine
from zabra.config.properties import Value
from zabra.errors import ConfigError

_MEMBERSHIP_KEYS: Final = ("server.", "group.", "weight.")
#: What a member would silently do without although it guards the ensemble: (key, feature).
_GUARDS: Final = (
    ("sslQuorum", "TLS between servers"),
    ("quorum.auth.serverRequireSasl", "SASL between servers"),
    ("quorum.auth.learnerRequireSasl", "SASL between servers"),
)
#: Ids that fit into the top byte of an owner beside the mark of TTL nodes (``EphemeralType.validateServerId``).
_SERVER_ID_MAX_EXTENDED: Final = 254
_LONG_MAX: Final = (1 << 63) - 1
_ANY_HOST: Final = (None, "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class MemberRules:
    """The values as read, and the ways to complain about them (see :class:`zabra.config.resolve.Resolver`)."""

    values: Mapping[str, Value]
    refuse: Callable[[str, str], NoReturn]
    warnings: list[str]
    config_file: str

    def resolve(self, fields: dict[str, Any]) -> None:
        """Fill in who we are. Raises :class:`ConfigError`."""
        my_id = _read_myid(fields["data_dir"])
        config = self._membership()
        if config is None:
            return
        own = config.members.get(my_id) if my_id is not None else None
        if own is not None:
            self._resolve_client_address(fields, own)
        voters = len(config.voters)
        if voters < 2 and fields.get("standalone_enabled", True):
            return
        self._warn_of_voters(voters)
        self._check_limits()
        self._check_guards()
        line = self._own_line(fields["data_dir"], my_id, config)
        self._check_role(line)
        self._check_ports(fields, line, config)
        if fields.get("extended_types_enabled") and line.sid > _SERVER_ID_MAX_EXTENDED:
            self.refuse("extendedTypesEnabled", f"false, or a server id of at most {_SERVER_ID_MAX_EXTENDED} in myid")
        if fields.get("reconfig_enabled") and not self.config_file:
            self.refuse("reconfigEnabled", "a zoo.cfg beside which a changed membership can be kept")
        fields["ensemble"] = config
        fields["server_id"] = line.sid

    # -- the membership

    def _membership(self) -> EnsembleConfig | None:
        """The configured membership; None without one."""
        reader = MembershipReader(
            multi_address=self.values.get("multiAddress.enabled") is True, oracle="oraclePath" in self.values
        )
        dynamic_file = self.values.get("dynamicConfigFile")
        for name, value in self.values.items():
            if not name.startswith(_MEMBERSHIP_KEYS) and (name != "version" or dynamic_file):
                continue
            if dynamic_file is not None:
                self.refuse(name, f"it in the dynamicConfigFile {dynamic_file} only")
            try:
                reader.add(name, str(value))
            except ValueError as error:
                self.refuse(name, str(error))
        if dynamic_file is not None:
            _read_dynamic_file(str(dynamic_file), reader)
        voters = sum(not line.observer for line in reader.members.values())
        if not voters and self.values.get("standaloneEnabled") is False:
            self.refuse("standaloneEnabled", "at least one server.N line that is a participant beside it")
        if voters < 2 and len(reader.members) > voters and self.values.get("standaloneEnabled", True):
            raise ConfigError(f"{self._where()}: observers without at least two participants: expected more servers")
        if not reader.members:
            return None
        try:
            return reader.config()
        except ValueError as error:
            raise ConfigError(f"{self._where()}: expected {error}") from None

    def _where(self) -> str:
        return str(self.values.get("dynamicConfigFile") or self.config_file or "configuration")

    def _warn_of_voters(self, voters: int) -> None:
        if voters <= 2:
            self.warnings.append("no server may fail: it takes at least 3 participants to go on without one")
        elif voters % 2 == 0:
            self.warnings.append(f"{voters} participants survive no more failures than {voters - 1}")

    # -- ourselves

    def _own_line(self, data_dir: str, my_id: int | None, config: EnsembleConfig) -> ServerLine:
        ids = ", ".join(map(str, sorted(config.members)))
        if my_id is None:
            raise ConfigError(f"{data_dir}/myid: missing: expected a file with the id of this server, one of {ids}")
        if my_id not in config.members:
            raise ConfigError(f"{data_dir}/myid: {my_id}: expected the id of a server in {self._where()}, one of {ids}")
        return config.members[my_id]

    def _resolve_client_address(self, fields: dict[str, Any], own: ServerLine) -> None:
        """The client address of our own line is ours (``setupClientPort``)."""
        if own.client_port is None:
            return
        host, port = fields.get("client_port_address"), fields.get("client_port")
        if port not in (None, own.client_port) or host not in (None, "0.0.0.0", own.client_host):
            expected = f"{host or '0.0.0.0'}:{port}"
            if f"server.{own.sid}" in self.values:
                self.refuse(f"server.{own.sid}", f"the client address that clientPort names, {expected}")
            raise ConfigError(f"{self._where()}: server.{own.sid}: expected {expected}, as clientPort names it")
        fields["client_port"] = own.client_port
        fields["client_port_address"] = own.client_host

    def _check_limits(self) -> None:
        for key in ("initLimit", "syncLimit"):
            if key not in self.values:
                raise ConfigError(
                    f"{self.config_file or 'configuration'}: {key} is missing: expected a number of ticks"
                )
            if not self.values[key]:
                self.refuse(key, "a whole number of ticks, 1 or more")

    def _check_guards(self) -> None:
        for key, feature in _GUARDS:
            if self.values.get(key):
                self.refuse(key, f"false: {feature} is not available in this release")

    def _check_role(self, own: ServerLine) -> None:
        role = "observer" if own.observer else "participant"
        if self.values.get("peerType", role) != role:
            self.warnings.append(f"peerType={self.values['peerType']}, but the servers list says {role}, which counts")

    def _check_ports(self, fields: dict[str, Any], own: ServerLine, config: EnsembleConfig) -> None:
        client = (fields.get("client_port_address"), fields.get("client_port"))
        for host, quorum_port, election_port in own.addresses:
            if client[1] in (quorum_port, election_port) and (client[0] in _ANY_HOST or client[0] == host):
                raise ConfigError(
                    f"{self._where()}: server.{own.sid}: expected a client port that is neither the quorum port nor"
                    f" the election port, not {client[1]}"
                )
        taken: dict[tuple[str, int], int] = {}
        for sid, address in _addresses(config.members.values()):
            other = taken.setdefault(address, sid)
            if other != sid:
                self.warnings.append(f"server.{other} and server.{sid} share {address[0]}:{address[1]}")


def _addresses(lines: Iterable[ServerLine]) -> Iterable[tuple[int, tuple[str, int]]]:
    """Who listens where, for other servers."""
    for line in lines:
        for host, quorum_port, election_port in line.addresses:
            yield line.sid, (host, quorum_port)
            yield line.sid, (host, election_port)


def _read_dynamic_file(path: str, reader: MembershipReader) -> None:
    try:
        lines = java_properties.parse(Path(path).read_bytes())
    except java_properties.PropertiesError as error:
        raise ConfigError(f"{path}:{error.number}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: the dynamicConfigFile cannot be read: {error.strerror or error}") from None
    for line in {line.key: line for line in lines}.values():
        if not line.key.startswith(_MEMBERSHIP_KEYS):
            raise ConfigError(f"{path}:{line.number}: {line.key}: expected only server, group and weight lines here")
        try:
            reader.add(line.key, line.value)
        except ValueError as error:
            raise ConfigError(f"{path}:{line.number}: {line.key}={line.value}: expected {error}") from None
    reader.version = version_of_file_name(path)


def _read_myid(data_dir: str) -> int | None:
    """Our id, None without the file (``setupMyId``)."""
    path = Path(data_dir) / "myid"
    try:
        text = path.read_bytes().split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    except OSError:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or abs(int(text)) > _LONG_MAX:
        raise ConfigError(f"{path}:1: {text[:40]}: expected the number of this server")
    return int(text)
