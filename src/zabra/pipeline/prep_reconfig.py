"""Validation of a reconfig: from the membership that was seen last to the one the client wants.

A request names either all new members, as ``server.N`` lines (and groups and weights) separated by commas or newlines,
or only who joins (``server.N=...``) and who leaves (``N``). It becomes a setData of ``/zookeeper/config`` with the new
membership as text, whose version is the zxid of this transaction, and the node's version -1. The write carries the
membership too, as its proposal already needs the quorums of both.

Sources: ``PrepRequestProcessor`` (case reconfig), ``QuorumPeerConfig.parseDynamicConfig`` and
``QuorumServer.checkAddressDuplicate`` of 3.9.5. Like there, a number that is none is a marshalling error (-5), any
other text that is no membership a bad argument (-8). Host names are compared as they are written; Apache looks them up.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from zabra import paths
from zabra.config import java_properties
from zabra.config.dynamic import EnsembleConfig, MembershipReader
from zabra.config.ensemble import BadNumberError, parse_server_line
from zabra.config.model import ServerLine
from zabra.consts import Op, Perm
from zabra.errors import Code, RequestError
from zabra.pipeline.request import Change, Write
from zabra.sessions.tracker import Session
from zabra.tree.config_node import CONFIG_NODE_VERSION
from zabra.tree.node import after_set_data
from zabra.wire.records_data import Identity
from zabra.wire.records_proto import ReconfigRequest
from zabra.wire.records_txn import SetDataTxn

if TYPE_CHECKING:
    from zabra.pipeline.prep import Prep

_LONG: Final = re.compile(r"[+-]?[0-9]{1,18}")


class Membership(Protocol):
    """What a leader knows of its ensemble."""

    @property
    def committed(self) -> EnsembleConfig:
        """The membership in force."""

    @property
    def last_seen(self) -> EnsembleConfig:
        """The last one proposed; of another version than ``committed`` until it is committed."""

    def has_quorum(self, config: EnsembleConfig) -> bool:
        """Whether those voters of ``config`` that are connected and in sync, this leader included, are a quorum."""


@dataclass(slots=True)
class Reconfiguration:
    """The membership of a leader, and what may become of it."""

    membership: Membership
    #: Then no membership may have fewer than two participants.
    standalone_enabled: bool = True
    multi_address: bool = False
    #: Then there are no groups and weights.
    oracle: bool = False
    #: Version of the last membership that was made here.
    proposed: int = 0

    def make(self, request: ReconfigRequest, zxid: int) -> EnsembleConfig:
        """The membership that ``request`` asks for. Raises :class:`RequestError`."""
        last_seen = self.membership.last_seen
        if max(last_seen.version, self.proposed) > self.membership.committed.version:
            raise RequestError(Code.RECONFIG_IN_PROGRESS)
        if request.cur_config_id not in (-1, last_seen.version):
            raise RequestError(Code.BAD_VERSION, f"the membership has version 0x{last_seen.version:x}")
        try:
            if request.new_members is not None:
                config = self._parse(request.new_members)
            else:
                if last_seen.groups:
                    raise ValueError("all new members, as quorums are hierarchical")
                members = dict(last_seen.members)
                for sid in _listed(request.leaving_servers):
                    members.pop(_server_id(sid), None)
                for text in _listed(request.joining_servers):
                    self._join(members, text)
                config = EnsembleConfig(members)
        except BadNumberError as error:
            raise RequestError(Code.MARSHALLING_ERROR, f"reconfig: expected {error}") from None
        except ValueError as error:
            raise RequestError(Code.BAD_ARGUMENTS, f"reconfig: expected {error}") from None
        least = 2 if self.standalone_enabled else 1
        if len(config.voters) < least:
            raise RequestError(Code.BAD_ARGUMENTS, f"reconfig: expected at least {least} participants")
        config = config.with_version(zxid)
        if not self.membership.has_quorum(config):
            raise RequestError(Code.NEW_CONFIG_NO_QUORUM)
        return config

    def _parse(self, text: str) -> EnsembleConfig:
        """All new members."""
        reader = MembershipReader(multi_address=self.multi_address, oracle=self.oracle)
        try:
            lines = java_properties.parse(text.replace(",", "\n").encode("iso-8859-1"))
        except java_properties.PropertiesError as error:
            raise BadNumberError(str(error)) from None
        for key, value in {line.key: line.value for line in lines}.items():
            reader.add(key, value)
        voters = sum(not line.observer for line in reader.members.values())
        observers = len(reader.members) - voters
        # Java refuses these two with an exception that it takes for a failure to parse.
        if (voters == 0 and not self.standalone_enabled) or (observers and voters < 2 and self.standalone_enabled):
            raise BadNumberError("more participants")
        return reader.config()

    def _join(self, members: dict[int, ServerLine], text: str) -> None:
        """Add or replace the server of ``server.N=address;client``."""
        key, *values = [part.strip() for part in text.split("=") if part.strip()]
        if len(values) != 1:
            raise ValueError(f"server.N=..., not {text[:80]!r}")
        sid = _server_id(key.rpartition(".")[2])
        line = parse_server_line(sid, values[0], multi_address=self.multi_address)
        if line.client_port is None:
            raise ValueError(f"a client port behind ; for server.{sid}")
        own = _addresses(line)
        for other in members.values():
            if other.sid != sid and not own.isdisjoint(_addresses(other)):
                raise ValueError(f"other addresses than those of server.{other.sid} for server.{sid}")
        members.pop(sid, None)
        members[sid] = line


def plan_reconfig(
    prep: Prep, write: Write, session: Session, request: ReconfigRequest, identities: Sequence[Identity]
) -> bytes:
    """Validate a reconfig and record its change; returns the transaction's body. Raises :class:`RequestError`."""
    if not prep.reconfig_enabled:
        raise RequestError(Code.RECONFIG_DISABLED)
    prep.check_session(session)
    reconfiguration = prep.reconfiguration
    if reconfiguration is None:
        raise RequestError(Code.UNIMPLEMENTED, "a standalone server has no membership to change")
    config = reconfiguration.make(request, write.zxid)
    node = prep.pending.get(paths.CONFIG)
    if node is None:
        raise RequestError(Code.NO_NODE)
    if not prep.access.permits(node.acl, Perm.WRITE, identities, paths.CONFIG):
        raise RequestError(Code.NO_AUTH)
    text = config.text().encode()
    new = after_set_data(node, paths.CONFIG, text, CONFIG_NODE_VERSION, write.zxid, prep.now_ms)
    prep.record(write, Change(Op.SET_DATA, paths.CONFIG, new), new.digest - node.digest)
    write.config = config
    reconfiguration.proposed = config.version
    return SetDataTxn(paths.CONFIG, text, CONFIG_NODE_VERSION).encode()


def _listed(text: str | None) -> list[str]:
    """The entries of a list with commas (``StringUtils.split``)."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _server_id(text: str) -> int:
    if not _LONG.fullmatch(text):
        raise BadNumberError(f"the number of a server, not {text[:40]!r}")
    return int(text)


def _addresses(line: ServerLine) -> set[tuple[str, int]]:
    """Where a server listens, as far as it means the same for everybody: no loopback and no wildcard address."""
    listens = [(host, port) for host, *ports in line.addresses for port in ports]
    if line.client_host is not None and line.client_port is not None:
        listens.append((line.client_host, line.client_port))
    return {(host.lower(), port) for host, port in listens if not _is_special(host)}


def _is_special(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return address.is_loopback or address.is_unspecified
