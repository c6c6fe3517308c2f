"""``server.N`` lines (``QuorumPeer.QuorumServer`` of 3.9.5), read into the model.

::

    server.N = address [| address ...] [; client]
    address  = host : quorumPort : electionPort [: participant | observer]      host may be [IPv6]
    client   = [host :] clientPort
"""

from __future__ import annotations

import re

from zabra.config.model import ServerLine

EXPECTED = "host:quorumPort:electionPort[:participant|observer][;[clientHost:]clientPort]"


class BadNumberError(ValueError):
    """A number that is none, or out of its range: where Java's own parser throws, not the one of the membership."""


def parse_server_line(sid: int, text: str, *, multi_address: bool = False) -> ServerLine:
    """The member that ``server.<sid>=text`` describes.

    Raises ``ValueError`` with what was expected. Several addresses need ``multiAddress.enabled``.
    """
    quorum_part, _, client_part = text.partition(";")
    if ";" in client_part:
        raise ValueError(EXPECTED)
    addresses: list[tuple[str, int, int]] = []
    roles: list[str] = []
    for address in quorum_part.split("|"):
        host, *rest = _split_address(address.strip())
        if not 2 <= len(rest) <= 3:
            raise ValueError(EXPECTED)
        quorum_port, election_port = _port(rest[0]), _port(rest[1])
        if quorum_port == election_port:
            raise ValueError("a quorum port and an election port that differ")
        addresses.append((host, quorum_port, election_port))
        roles.extend(role.strip().lower() for role in rest[2:])
    if len(addresses) > 1 and not multi_address:
        raise ValueError("one address, or multiAddress.enabled=true")
    if any(role not in ("participant", "observer") for role in roles):
        raise ValueError("the role participant or observer")
    if len(dict.fromkeys(roles)) > 1:
        raise ValueError("the same role for every address of one server")
    client_host, client_port = _parse_client(client_part) if client_part else (None, None)
    return ServerLine(sid, tuple(addresses), "observer" in roles, client_host, client_port)


def _parse_client(text: str) -> tuple[str, int]:
    *host, port = _split_address(text.strip())
    if len(host) > 1:
        raise ValueError(EXPECTED)
    return (host[0] if host else "0.0.0.0"), _port(port)


def _split_address(text: str) -> list[str]:
    """Split at colons, but not inside the brackets of an IPv6 address (``ConfigUtils.getHostAndPort``)."""
    bracketed = re.fullmatch(r"\[([^]]*)\](?::(.*))?", text)
    if bracketed is None:
        return text.split(":")
    host, rest = bracketed.groups()
    return [host, *rest.split(":")] if rest else [host]


def _port(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", text.strip()):
        raise ValueError("ports from 0 to 65535")
    if not 0 <= int(text) <= 65535:
        raise BadNumberError("ports from 0 to 65535")
    return int(text)
