"""The membership of an ensemble as text: in notifications, in the config node, and in files beside ``zoo.cfg``.

::

    server.<id>=<address>[|<address>...]:participant|observer[;<client host>:<client port>]
    group.<gid>=<id>[:<id>...]          only with hierarchical quorums
    weight.<id>=<number>                only with hierarchical quorums; every participant has one
    version=<hex>                       last line, no newline behind it

Files: ``zoo.cfg.dynamic.<hex version>`` holds the committed membership (sorted lines, the version only in the name),
``zoo.cfg.dynamic.next`` the last proposed one (with its version), ``zoo.cfg.bak`` the file as its owner wrote it.
Sources: ``QuorumMaj``, ``QuorumHierarchical``, ``QuorumPeer.QuorumServer`` and ``QuorumPeerConfig`` of 3.9.5.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from zabra.config import java_properties
from zabra.config.ensemble import BadNumberError, parse_server_line
from zabra.config.model import ServerLine
from zabra.errors import ConfigError

BACKUP_SUFFIX: Final = ".bak"
NEXT_SUFFIX: Final = ".dynamic.next"
#: What an edit takes out of the static file: prefixes of keys.
_MOVED_KEYS: Final = ("server.", "group", "weight", "dynamicConfigFile", "peerType")
_CLIENT_KEYS: Final = "clientPort"
_LONG: Final = re.compile(r"[+-]?[0-9]{1,19}")
_LONG_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, eq=False)
class EnsembleConfig:
    """Who belongs to the ensemble, and how their votes count."""

    members: Mapping[int, ServerLine]
    version: int = 0
    #: Server id to group id; empty: majority quorums.
    groups: Mapping[int, int] = field(default_factory=dict)
    #: Server id to weight, for every participant and whoever else was given one; empty with majority quorums.
    weights: Mapping[int, int] = field(default_factory=dict)

    @property
    def voters(self) -> dict[int, ServerLine]:
        """The participants."""
        return {sid: line for sid, line in self.members.items() if not line.observer}

    @property
    def observers(self) -> dict[int, ServerLine]:
        """Who follows without a vote."""
        return {sid: line for sid, line in self.members.items() if line.observer}

    def with_version(self, version: int) -> EnsembleConfig:
        """The same membership as ``version``."""
        return dataclasses.replace(self, version=version)

    def lines(self) -> list[str]:
        """``key=value`` of members, groups and weights, in the order of Java's maps."""
        lines = [f"server.{sid}={format_server_line(self.members[sid])}" for sid in _map_order(self.members)]
        in_group: dict[int, list[int]] = {}
        for sid in _map_order(self.groups):
            in_group.setdefault(self.groups[sid], []).append(sid)
        lines += [f"group.{gid}={':'.join(map(str, in_group[gid]))}" for gid in _map_order(in_group)]
        lines += [f"weight.{sid}={self.weights[sid]}" for sid in _map_order(self.weights)]
        return lines

    def text(self) -> str:
        """As notifications and the config node carry it, byte for byte as Java's ``toString``."""
        return "\n".join((*self.lines(), f"version={self.version:x}"))

    def same_membership(self, other: EnsembleConfig) -> bool:
        """Whether members, groups and weights are those of ``other``, whatever the versions."""
        return sorted(self.lines()) == sorted(other.lines())


def parse_config(text: str, *, multi_address: bool = False) -> EnsembleConfig:
    """The membership that ``text`` describes (``QuorumPeerConfig.parseDynamicConfig``).

    Raises :class:`ConfigError`. A text without a participant is refused, which Java takes as an empty ensemble.
    """
    membership = MembershipReader(multi_address=multi_address)
    try:
        for key, value in {line.key: line.value for line in java_properties.parse(text.encode("iso-8859-1"))}.items():
            membership.add(key, value)
        return membership.config()
    except UnicodeEncodeError:
        raise ConfigError("membership: a character that no host name has") from None
    except ValueError as error:
        raise ConfigError(f"membership: expected {error}") from None


class MembershipReader:
    """Builds a membership from its lines, one after another, so that each can be blamed where it stands.

    With an ``oracle`` groups and weights mean nothing (``QuorumOracleMaj``).
    """

    def __init__(self, *, multi_address: bool = False, oracle: bool = False) -> None:
        self.members: dict[int, ServerLine] = {}
        self.groups: dict[int, int] = {}
        self.weights: dict[int, int] = {}
        self.version = 0
        self._multi_address = multi_address
        self._oracle = oracle

    def add(self, key: str, value: str) -> None:
        """Take ``key=value``. Raises ``ValueError`` with what was expected."""
        if key.startswith("server."):
            sid = _long(key[7:])
            self.members[sid] = parse_server_line(sid, value, multi_address=self._multi_address)
        elif key.startswith("group."):
            for sid in map(_long, value.split(":")):
                if sid in self.groups:
                    raise ValueError(f"server {sid} in one group")
                self.groups[sid] = _long(key[6:])
        elif key.startswith("weight."):
            self.weights[_long(key[7:])] = _weight(value)
        elif key == "version":
            self.version = _version(value)
        else:
            raise ValueError(f"servers, groups, weights and a version, not {key[:40]!r}")

    def config(self) -> EnsembleConfig:
        """The membership of all lines. Raises ``ValueError`` with what was expected."""
        if self._oracle:
            return make_config(self.members, self.version)
        return make_config(self.members, self.version, self.groups, self.weights)


def make_config(
    members: Mapping[int, ServerLine],
    version: int = 0,
    groups: Mapping[int, int] | None = None,
    weights: Mapping[int, int] | None = None,
) -> EnsembleConfig:
    """Check and complete a membership. Raises ``ValueError`` with what was expected.

    Any group or weight makes the quorums hierarchical: then every participant needs a group, and weighs 1 unless told.
    """
    groups, weights = dict(groups or {}), dict(weights or {})
    voters = [sid for sid, line in members.items() if not line.observer]
    if not voters:
        raise ValueError("at least one participant")
    if groups or weights:
        for sid in voters:
            if sid not in groups:
                raise ValueError(f"server {sid} in a group")
            weights.setdefault(sid, 1)
        for sid in groups:
            if sid not in weights:
                raise ValueError(f"a participant or a weight for server {sid} of group {groups[sid]}")
    return EnsembleConfig(members, version, groups, weights)


def format_server_line(line: ServerLine) -> str:
    """The value of ``server.N`` with its role, addresses in the order of their hosts (``QuorumServer.toString``)."""
    addresses = sorted((_written(host), quorum, election) for host, quorum, election in line.addresses)
    role = "observer" if line.observer else "participant"
    text = "|".join(f"{host}:{quorum}:{election}" for host, quorum, election in addresses) + f":{role}"
    if line.client_port is not None:
        text += f";{_written(line.client_host or '0.0.0.0')}:{line.client_port}"
    return text


def format_address(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets (``NetUtils.formatInetAddr``)."""
    return f"{_written(host)}:{port}"


def dynamic_file_name(config_file: str, version: int) -> str:
    """Where the committed membership of ``version`` lies."""
    return f"{config_file}.dynamic.{version:x}"


def version_of_file_name(name: str) -> int:
    """The version in the last part of a dynamic file's name; 0 when there is none (``getVersionFromFilename``)."""
    try:
        return _version(name.rpartition(".")[2]) if "." in name else 0
    except ValueError:
        return 0


def dynamic_file_text(config: EnsembleConfig, *, with_version: bool) -> str:
    """The content of a dynamic file: sorted lines (``writeDynamicConfig``); ``with_version`` for ``.next``."""
    version = [f"version={config.version:x}"] if with_version else []
    return "\n".join(sorted((*config.lines(), *version)))


def edit_static_file(data: bytes, dynamic_file: str, *, erase_client_port: bool) -> bytes:
    """``zoo.cfg`` without its membership, pointing to ``dynamic_file`` instead (``editStaticConfig``).

    ``erase_client_port``: the own server line names the client port, so ``clientPort`` and ``clientPortAddress`` go.
    Comments are lost, as they are in Java. Raises :class:`ConfigError`.
    """
    moved = (*_MOVED_KEYS, _CLIENT_KEYS) if erase_client_port else _MOVED_KEYS
    try:
        given = {line.key: line.value for line in java_properties.parse(data)}
    except java_properties.PropertiesError as error:
        raise ConfigError(f"line {error.number}: {error}") from None
    kept = [f"{key}={value}\n" for key, value in given.items() if not key.startswith(moved)]
    return "".join((*kept, f"dynamicConfigFile={dynamic_file}\n")).encode("iso-8859-1", "backslashreplace")


def _written(host: str) -> str:
    """A host as Java writes it: IPv6 with all its groups, in brackets."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return f"[{host}]"
    packed = address.packed
    return "[" + ":".join(f"{packed[i] << 8 | packed[i + 1]:x}" for i in range(0, 16, 2)) + "]"


def _map_order(ids: Iterable[int]) -> list[int]:
    """The order in which a ``HashMap`` of these ``Long`` keys is walked; within one bucket ascending."""
    ids = list(ids)
    buckets = 16
    while len(ids) > buckets * 3 // 4:
        buckets *= 2
    return sorted(ids, key=lambda sid: (_spread(sid) & (buckets - 1), sid))


def _spread(sid: int) -> int:
    folded = (sid ^ (sid >> 32)) & 0xFFFFFFFF
    return folded ^ (folded >> 16)


def _long(text: str) -> int:
    if not _LONG.fullmatch(text) or not -_LONG_MAX - 1 <= int(text) <= _LONG_MAX:
        raise BadNumberError(f"a number, not {text[:40]!r}")
    return int(text)


def _weight(text: str) -> int:
    if _long(text) < 0:
        raise ValueError("weights from 0")
    return int(text)


def _version(text: str) -> int:
    if not re.fullmatch(r"[0-9a-fA-F]{1,16}", text) or int(text, 16) > _LONG_MAX:
        raise BadNumberError("a version in hex")
    return int(text, 16)
