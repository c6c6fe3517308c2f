"""What one property means in the light of the others: defaults that depend, limits, Java class names, server lines.

The rules are those of ``QuorumPeerConfig`` and of the classes that read each system property (3.9.5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn

from zabra.config import java_properties
from zabra.config.ensemble import parse_server_line
from zabra.config.model import FOUR_LETTER_WORDS, ServerLine, Settings
from zabra.config.properties import Value, all_properties
from zabra.errors import ConfigError

_ZK: Final = "org.apache.zookeeper."
#: Java classes that a key may name. Each stands for the one implementation there is here.
_CLASSES: Final = {
    "serverCnxnFactory": (_ZK + "server.NIOServerCnxnFactory", _ZK + "server.NettyServerCnxnFactory"),
    "watchManagerName": (_ZK + "server.watch.WatchManager", _ZK + "server.watch.WatchManagerOptimized"),
    "metricsProvider.className": (
        _ZK + "metrics.impl.DefaultMetricsProvider",
        _ZK + "metrics.impl.NullMetricsProvider",
        _ZK + "metrics.prometheus.PrometheusMetricsProvider",
    ),
    "audit.impl.class": (_ZK + "audit.Slf4jAuditLogger", _ZK + "audit.Log4jAuditLogger"),
}
_SNAP_RETAIN_COUNT_MIN: Final = 3
_SNAP_COUNT_MIN: Final = 2
_EXTRA_SIZE_MIN: Final = 1024
_DYNAMIC_KEYS: Final = ("server.", "group", "weight")


@dataclass(frozen=True, slots=True)
class Resolver:
    """The values as read, and the ways to complain about them."""

    values: Mapping[str, Value]
    #: Raises :class:`ConfigError`: the place and value of a property, then what was expected.
    refuse: Callable[[str, str], NoReturn]
    warnings: list[str]
    config_file: str

    def settings(self, properties: Mapping[str, str]) -> Settings:
        """The finished settings. Raises :class:`ConfigError`."""
        self._check_presence()
        self._check_classes()
        self._check_quorum_sasl()
        fields: dict[str, Any] = {}
        for row in all_properties():
            if row.attribute and row.identity in self.values:
                fields.setdefault(row.attribute, self.values[row.identity])
        self._raise_to_minimum(fields, "autopurge.snapRetainCount", _SNAP_RETAIN_COUNT_MIN)
        self._raise_to_minimum(fields, "snapCount", _SNAP_COUNT_MIN)
        self._resolve_limits(fields)
        self._resolve_words(fields)
        fields["auth_providers"] = self._auth_providers()
        self._resolve_servers(fields)
        settings = Settings(**fields, config_file=self.config_file, properties=MappingProxyType(dict(properties)))
        if settings.min_session_timeout_ms > settings.max_session_timeout_ms:
            key = "minSessionTimeout" if "minSessionTimeout" in self.values else "maxSessionTimeout"
            low, high = settings.min_session_timeout_ms, settings.max_session_timeout_ms
            self.refuse(key, f"a minimum that is not above the maximum, but {low} ms is above {high} ms")
        if settings.client_port is None:
            self.warnings.append("clientPort is not set: no client can connect")
        return settings

    def _where(self) -> str:
        return self.config_file or "configuration"

    def _check_presence(self) -> None:
        if "dataDir" not in self.values:
            raise ConfigError(f"{self._where()}: dataDir is missing: expected the folder of the data")
        for key, port in (("clientPortAddress", "clientPort"), ("secureClientPortAddress", "secureClientPort")):
            if key in self.values and port not in self.values:
                self.refuse(key, f"{port} beside it")

    def _check_classes(self) -> None:
        for key, known in _CLASSES.items():
            if key in self.values and self.values[key] not in known:
                self.refuse(key, " or ".join(known))

    def _check_quorum_sasl(self) -> None:
        enabled, server, learner = (
            self.values.get(f"quorum.auth.{name}", False)
            for name in ("enableSasl", "serverRequireSasl", "learnerRequireSasl")
        )
        if server and not enabled:
            self.refuse("quorum.auth.serverRequireSasl", "quorum.auth.enableSasl=true beside it")
        if learner and not enabled:
            self.refuse("quorum.auth.learnerRequireSasl", "quorum.auth.enableSasl=true beside it")
        if server and not learner:
            self.refuse("quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl=true beside it")

    def _raise_to_minimum(self, fields: dict[str, Any], key: str, minimum: int) -> None:
        attribute = next(row.attribute for row in all_properties() if row.name == key)
        if fields.get(attribute, minimum) < minimum:
            self.warnings.append(f"{key}={fields[attribute]} is below the minimum, {minimum} is used")
            fields[attribute] = minimum

    def _resolve_limits(self, fields: dict[str, Any]) -> None:
        if "jute_max_buffer" in fields:
            fields.setdefault("jute_max_buffer_extra", fields["jute_max_buffer"])
        if "jute_max_buffer_extra" in fields:
            fields["jute_max_buffer_extra"] = max(fields["jute_max_buffer_extra"], _EXTRA_SIZE_MIN)
        local = fields.get("connection_throttle_local_session_weight", 1)
        for kind, default in (("global", 3), ("renew", 2)):
            attribute = f"connection_throttle_{kind}_session_weight"
            if fields.get(attribute, default) < local:
                self.warnings.append(f"{attribute} is below the local session weight, {local} is used")
                fields[attribute] = local

    def _resolve_words(self, fields: dict[str, Any]) -> None:
        listed = [word.strip() for word in str(fields.get("four_letter_whitelist", "")).split(",") if word.strip()]
        words = {"srvr"}
        for word in listed:
            if word == "*":
                words.update(FOUR_LETTER_WORDS)
                break
            if word not in FOUR_LETTER_WORDS:
                self.warnings.append(f"4lw.commands.whitelist: there is no word {word}")
            words.add(word)
        if fields.get("readonly_mode_enabled"):
            words.add("isro")
        fields["four_letter_whitelist"] = frozenset(words)

    def _auth_providers(self) -> tuple[tuple[str, str], ...]:
        prefix = "authProvider."
        found = ((name[len(prefix) :], str(value)) for name, value in self.values.items() if name.startswith(prefix))
        return tuple(sorted(found))

    def _resolve_servers(self, fields: dict[str, Any]) -> None:
        fields.pop("servers", None)
        servers = self._server_lines()
        voters = sum(not line.observer for line in servers.values())
        if not voters and self.values.get("standaloneEnabled") is False:
            self.refuse("standaloneEnabled", "at least one server.N line that is a participant beside it")
        if servers and voters < 2 and len(servers) > voters and fields.get("standalone_enabled", True):
            raise ConfigError(f"{self._where()}: observers without at least two participants: expected more servers")
        fields["servers"] = MappingProxyType(dict(sorted(servers.items())))
        self._resolve_own_line(fields, servers)

    def _server_lines(self) -> dict[int, ServerLine]:
        multi_address = self.values.get("multiAddress.enabled") is True
        dynamic_file = self.values.get("dynamicConfigFile")
        servers: dict[int, ServerLine] = {}
        for name, value in self.values.items():
            if not name.startswith(_DYNAMIC_KEYS):
                continue
            if dynamic_file is not None:
                self.refuse(name, f"it in the dynamicConfigFile {dynamic_file} only")
            if name.startswith("server."):
                try:
                    sid = _server_id(name)
                    servers[sid] = parse_server_line(sid, str(value), multi_address=multi_address)
                except ValueError as error:
                    self.refuse(name, str(error))
        if dynamic_file is not None:
            servers.update(_read_dynamic_file(str(dynamic_file), multi_address=multi_address))
        return servers

    def _resolve_own_line(self, fields: dict[str, Any], servers: Mapping[int, ServerLine]) -> None:
        """``myid`` says which line is ours; its client address is then ours too (``setupClientPort``)."""
        myid = _read_myid(fields["data_dir"])
        if myid is None:
            return
        own = servers.get(myid)
        if own is not None and own.client_port is not None:
            host, port = fields.get("client_port_address"), fields.get("client_port")
            if port not in (None, own.client_port) or host not in (None, "0.0.0.0", own.client_host):
                self.refuse(f"server.{myid}", f"the client address that clientPort names, {host or '0.0.0.0'}:{port}")
            fields["client_port"] = own.client_port
            fields["client_port_address"] = own.client_host
        voters = sum(not line.observer for line in servers.values())
        if voters > 1 or not fields.get("standalone_enabled", True):
            fields["server_id"] = myid


def _server_id(name: str) -> int:
    tail = name.removeprefix("server.")
    if not re.fullmatch(r"-?[0-9]{1,19}", tail):
        raise ValueError("a whole number after server.")
    return int(tail)


def _read_dynamic_file(path: str, *, multi_address: bool) -> dict[int, ServerLine]:
    servers: dict[int, ServerLine] = {}
    try:
        lines = java_properties.parse(Path(path).read_bytes())
    except java_properties.PropertiesError as error:
        raise ConfigError(f"{path}:{error.number}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: the dynamicConfigFile cannot be read: {error.strerror or error}") from None
    for line in lines:
        if not line.key.startswith(_DYNAMIC_KEYS):
            raise ConfigError(f"{path}:{line.number}: {line.key}: expected only server, group and weight lines here")
        if line.key.startswith("server."):
            try:
                sid = _server_id(line.key)
                servers[sid] = parse_server_line(sid, line.value, multi_address=multi_address)
            except ValueError as error:
                raise ConfigError(f"{path}:{line.number}: {line.key}={line.value}: expected {error}") from None
    return servers


def _read_myid(data_dir: str) -> int | None:
    path = Path(data_dir) / "myid"
    try:
        text = path.read_bytes().split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    except OSError:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise ConfigError(f"{path}:1: {text[:40]}: expected the number of this server")
    return int(text)
