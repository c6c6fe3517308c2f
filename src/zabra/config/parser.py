"""From ``zoo.cfg``, ``-D``, the environment and plain arguments to :class:`~zabra.config.model.Settings`.

Which source wins when several set the same property:

1. For keys that Apache turns into system properties (``snapCount``, ``4lw.commands.whitelist`` ...): zoo.cfg, then
   ``-D``, then the environment. Apache reads the file after ``-D`` and overwrites it (``parseProperties``).
2. For keys that Apache takes from the file only (``dataDir``, ``tickTime`` ...) and for raw system properties
   (``jute.maxbuffer`` ...): ``-D``, then the environment, then zoo.cfg.

``-D`` flags inside ``SERVER_JVMFLAGS`` and ``JVMFLAGS`` are ``-D`` given before those of the command line, as
``zkServer.sh`` passes them. Apache ignores some keys where it cannot see them (``jute.maxbuffer`` in zoo.cfg); here
they count everywhere.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn

from zabra.config import java_properties
from zabra.config.model import Settings
from zabra.config.properties import BadValueError, Property, Value, all_properties, index, read_value
from zabra.config.resolve import Resolver
from zabra.errors import ConfigError

_JVM_FLAGS: Final = ("SERVER_JVMFLAGS", "JVMFLAGS")
_SHOWN_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was read: the settings, and one line each for what the operator should know."""

    settings: Settings
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """One property as somebody gave it."""

    row: Property
    #: The name used: a key, a system property or an environment variable.
    name: str
    #: The part of a free name that makes this one its own, such as ``server.1``; else the name of the row.
    identity: str
    text: str
    #: Before ``name=text`` in messages: ``zoo.cfg:3: ``, ``-D`` or ``environment: ``.
    where: str

    def bad(self, expected: str) -> str:
        """The message for a value that cannot be."""
        shown = "***" if self.row.is_secret else self.text[:_SHOWN_CHARACTERS]
        return f"{self.where}{self.name}={shown}: expected {expected}"


@dataclass(slots=True)
class Sources:
    """What each source gave, by identity, and what was odd about it."""

    file: dict[str, Given] = field(default_factory=dict)
    definitions: dict[str, Given] = field(default_factory=dict)
    environment: dict[str, Given] = field(default_factory=dict)
    #: System properties by name, as a JVM would have them after reading the file.
    properties: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def choose(self) -> dict[str, Given]:
        """The winner for every identity."""
        chosen: dict[str, Given] = {}
        for identity in dict.fromkeys((*self.file, *self.definitions, *self.environment)):
            in_file, defined = self.file.get(identity), self.definitions.get(identity)
            outside = defined or self.environment.get(identity)
            wins = in_file if in_file and (outside is None or in_file.row.file_wins) else outside
            assert wins is not None
            chosen[identity] = wins
            if in_file and wins is in_file and outside and outside.text != in_file.text:
                self.warnings.append(
                    f"{in_file.where}{in_file.name} overrides {outside.where}{outside.name}, as in Apache"
                )
        return chosen


def load(
    *,
    config_file: str | None = None,
    definitions: Sequence[tuple[str, str]] = (),
    environment: Mapping[str, str] = MappingProxyType({}),
    arguments: Mapping[str, str] = MappingProxyType({}),
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> Configuration:
    """Read everything and return the settings with their warnings.

    ``definitions`` are the ``-D`` pairs in order. ``arguments`` are keys given as plain arguments (``port datadir
    ...``); they beat every other source. ``defaults`` are keys used where no source has them.
    Raises :class:`ConfigError` with one line per bad value.
    """
    sources = Sources()
    _read_environment(sources, environment)
    _read_definitions(sources, [*_jvm_definitions(environment), *definitions])
    if config_file is not None:
        _read_file(sources, config_file)
    chosen = sources.choose()
    for key, text in arguments.items():
        chosen[key] = _given(key, text, "argument ")
    for key, text in defaults.items():
        chosen.setdefault(key, _given(key, text, "default "))
    values = _read_values(chosen)

    def refuse(identity: str, expected: str) -> NoReturn:
        raise ConfigError(chosen[identity].bad(expected))

    path = os.path.abspath(config_file) if config_file is not None else ""
    settings = Resolver(values, refuse, sources.warnings, path).settings(sources.properties)
    sources.warnings.extend(_later_line(chosen.values()))
    return Configuration(settings, tuple(sources.warnings))


def _given(key: str, text: str, where: str) -> Given:
    row = index().by_key[key]
    return Given(row, key, key, text, where)


def _jvm_definitions(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for variable in _JVM_FLAGS:
        try:
            flags = shlex.split(environment.get(variable, ""))
        except ValueError as error:
            raise ConfigError(f"environment: {variable}: expected flags as a shell reads them: {error}") from None
        pairs.extend(split_definition(flag[2:]) for flag in flags if flag.startswith("-D") and len(flag) > 2)
    return pairs


def split_definition(text: str) -> tuple[str, str]:
    """``name=value`` after ``-D``; without ``=`` the value is empty, as in Java."""
    name, _, value = text.partition("=")
    return name, value.strip()


def _read_environment(sources: Sources, environment: Mapping[str, str]) -> None:
    for name, text in environment.items():
        row = index().find_environment(name) if name.startswith("ZOOKEEPER_") else None
        if row is None:
            continue
        tail = name[len(row.environment) - 1 :] if row.name not in index().by_key else ""
        identity = row.key[:-1] + tail if tail else row.identity
        sources.environment.setdefault(identity, Given(row, name, identity, text.strip(), "environment: "))
        if row.system_property:
            sources.properties[row.system_property[:-1] + tail if tail else row.system_property] = text.strip()


def _read_definitions(sources: Sources, definitions: Iterable[tuple[str, str]]) -> None:
    for name, text in definitions:
        sources.properties[name] = text
        row = index().find_system(name)
        if row is None:
            if name.startswith("zookeeper."):
                sources.warnings.append(f"-D{name}: unknown property, nothing reads it")
            continue
        identity = row.identity
        if row.name not in index().by_key:
            start = next(start for start, free in index().system_starts if free is row and name.startswith(start))
            identity = row.key[:-1] + name[len(start) :]
        sources.definitions[identity] = Given(row, name, identity, text, "-D")


def _read_file(sources: Sources, config_file: str) -> None:
    try:
        lines = java_properties.parse(Path(config_file).read_bytes())
    except java_properties.PropertiesError as error:
        raise ConfigError(f"{config_file}:{error.number}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{config_file}: cannot be read: {error.strerror or error}") from None
    for line in lines:
        row = index().find_key(line.key)
        where = f"{config_file}:{line.number}: "
        if row is None:
            _warn_unknown(sources, where, line.key)
        else:
            identity = line.key if row.key else row.identity
            sources.file[identity] = Given(row, line.key, identity, line.value, where)
        if row is None or row.file_wins:
            sources.properties["zookeeper." + line.key] = line.value


def _warn_unknown(sources: Sources, where: str, key: str) -> None:
    wanted = key.removeprefix("zookeeper.").lower()
    meant = next((row.key for row in all_properties() if row.key and row.key.lower() == wanted), None)
    hint = f" (did you mean {meant}?)" if meant else ""
    sources.warnings.append(
        f"{where}unknown key {key}{hint}; kept as system property zookeeper.{key}, nothing reads it"
    )


def _read_values(chosen: Mapping[str, Given]) -> dict[str, Value]:
    """The typed value of every chosen property. Raises :class:`ConfigError` naming every one that is bad."""
    values: dict[str, Value] = {}
    bad: list[str] = []
    for identity, given in chosen.items():
        try:
            values[identity] = read_value(given.row, given.text)
        except BadValueError as error:
            bad.append(given.bad(str(error)))
    if bad:
        raise ConfigError("\n".join(bad))
    return values


def _later_line(chosen: Iterable[Given]) -> list[str]:
    """At most one line: the properties whose feature does not exist yet. Switching a feature off asks for nothing."""
    features: dict[str, list[str]] = {}
    for given in chosen:
        feature = "metrics over HTTP" if given.text.endswith("PrometheusMetricsProvider") else given.row.later
        if feature and given.text.lower() not in ("false", "no"):
            features.setdefault(feature, []).append(given.name)
    if not features:
        return []
    listed = "; ".join(f"{', '.join(names)} ({feature})" for feature, names in features.items())
    return [f"not available in this release, no effect: {listed}"]
