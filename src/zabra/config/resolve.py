"""What one property means in the light of the others: defaults that depend, limits, Java class names.

The rules are those of ``QuorumPeerConfig`` and of the classes that read each system property (3.9.5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

from zabra.config.member import MemberRules
from zabra.config.model import FOUR_LETTER_WORDS, Settings
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
_COMMIT_LOG_COUNT_MIN: Final = 500


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
        self._raise_to_minimum(fields, "commitLogCount", _COMMIT_LOG_COUNT_MIN)
        self._resolve_limits(fields)
        self._resolve_words(fields)
        fields["auth_providers"] = self._auth_providers()
        MemberRules(self.values, self.refuse, self.warnings, self.config_file).resolve(fields)
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
        if fields.get("snapshot_size_factor", 0) > 1:
            self.warnings.append(f"snapshotSizeFactor={fields.pop('snapshot_size_factor')} is above 1, 0.33 is used")
        if "max_write_queue_poll_ms" in fields:
            fields["max_write_queue_poll_ms"] = max(fields["max_write_queue_poll_ms"], 0)
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
