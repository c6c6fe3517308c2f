"""Each property of the table, given in zoo.cfg, with -D and in the environment: the same settings each time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import pytest

from zabra.config.model import Settings
from zabra.config.parser import load
from zabra.config.properties import Property, all_properties
from zabra.errors import ConfigError

SOURCES: Final = ("file", "definition", "environment")
#: Values that mean something for rows whose type alone does not say what may stand there.
SAMPLES: Final = {
    "dataDir": "/elsewhere",
    "dataLogDir": "/elsewhere",
    "clientPortAddress": "127.0.0.9",
    "minSessionTimeout": "7000",
    "maxSessionTimeout": "70000",
    "4lw.commands.whitelist": "ruok",
    "enforce.auth.schemes": "digest",
    "dynamicConfigFile": "",
    "server.N": "127.0.0.1:2888:3888",
    "snapshot.compression.method": "gz",
    "DigestAuthenticationProvider.digestAlg": "SHA-256",
    "DigestAuthenticationProvider.superDigest": "super:xxx",
    "DigestAuthenticationProvider.enabled": "false",
    "authProvider.N": "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "metricsProvider.className": "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider",
    "version": "5",
    "commitLogCount": "700",
}
#: More lines of zoo.cfg that a property means nothing without.
BESIDE: Final = {
    "standaloneEnabled": ("initLimit=5", "syncLimit=5", "server.1=127.0.0.1:2888:3888"),
    "server.N": ("initLimit=5", "syncLimit=5", "server.2=127.0.0.1:2889:3889", "server.3=127.0.0.1:2890:3890"),
}
#: Where the name is the same as that of another row in one of the sources: a tool of the Java tests has its own.
SHARED_NAME: Final = "zookeeper.clientPortAddress"
ROWS: Final = [row for row in all_properties() if row.key != "*" and row.name != SHARED_NAME]
OBEYED: Final = [row for row in ROWS if row.status == "obeyed" and row.attribute and row.key != "dynamicConfigFile"]


def _sample(row: Property) -> str:
    """A value that differs from the default."""
    kind, _, limits = row.type.partition(" ")
    if row.key in SAMPLES:
        return SAMPLES[row.key]
    if kind == "bool":
        return "false" if row.default.startswith("true") else "true"
    if kind == "yes|no":
        return "no" if row.default.startswith("yes") else "yes"
    if kind in ("int", "long"):
        low, high = [*limits.split(".."), ""][:2] if limits else ("", "")
        value = int(low) + 7 if low and int(low) >= 0 else 7
        return str(min(value, int(high)) if high else value)
    if kind == "float":
        return "0.25"
    if "|" in kind:
        return kind.split("|")[-1]
    return "org.example.Thing" if kind == "class" else "sample"


def _name(row: Property, name: str) -> str:
    """A name that the row stands for."""
    if name.endswith(".N") or (name.endswith("*") and row.key.endswith(".N")):
        return name[:-1] + "1"
    return name[:-1] + "x" if name.endswith("*") else name


def _load(row: Property, source: str, folder: Path) -> tuple[Settings, tuple[str, ...]]:
    text = _sample(row)
    lines = [line for line in ("dataDir=/data", "clientPort=2181") if line.split("=")[0] != row.key]
    lines += BESIDE.get(row.key, ())
    definitions: list[tuple[str, str]] = []
    environment: dict[str, str] = {}
    if source == "file":
        lines.append(f"{_name(row, row.name)}={text}")
    elif source == "definition":
        definitions.append((_name(row, row.system_names[0]), text))
    else:
        environment[_name(row, row.environment.replace("_N", ".N")).replace(".", "_")] = text
    if row.key in BESIDE:
        lines[0] = f"dataDir={folder}"
        (folder / "myid").write_text("1")
    file = folder / "zoo.cfg"
    file.write_text("\n".join(lines))
    configuration = load(config_file=str(file), definitions=definitions, environment=environment)
    settings = dataclasses.replace(configuration.settings, config_file="", properties={})
    return settings, configuration.warnings


def _outcome(row: Property, source: str, folder: Path) -> object:
    """The settings, or the reason of a refusal without where it stood."""
    try:
        settings, warnings = _load(row, source, folder)
    except ConfigError as error:
        return str(error).partition("expected")[2]
    assert not [warning for warning in warnings if "unknown" in warning], warnings
    later = [warning for warning in warnings if "not available in this release" in warning]
    asks = row.later and _sample(row).lower() not in ("false", "no")
    assert bool(later) == bool(asks), (row.name, warnings)
    return settings


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_source_says_the_same(row: Property, tmp_path: Path) -> None:
    sources = SOURCES if row.key != "version" else ("file",)
    outcomes = [repr(_outcome(row, source, tmp_path)) for source in sources]
    assert outcomes == [outcomes[0]] * len(outcomes)


@pytest.mark.parametrize("row", OBEYED, ids=lambda row: row.name)
def test_what_is_obeyed_changes_its_setting(row: Property, tmp_path: Path) -> None:
    plain = Settings(data_dir="/data", client_port=2181)
    changed = _outcome(row, "file", tmp_path)
    assert isinstance(changed, Settings), changed
    assert getattr(changed, row.attribute) != getattr(plain, row.attribute)
