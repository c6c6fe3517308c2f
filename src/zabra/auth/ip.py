"""Scheme ``ip``: the client's address, matched by prefix length.

An ACL id is an IPv4 address in four decimal parts or an IPv6 address in hexadecimal parts with at most one ``::``,
optionally ``/bits``. The two families never match each other. Source: ``IPAuthenticationProvider`` (3.9.5), whose
readers of numbers take a sign; so do ours.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from zabra.auth.provider import ConnectionInfo
from zabra.wire.records_data import Identity

_DECIMAL = re.compile(r"[+-]?\d{1,20}\Z").match
_HEX = re.compile(r"[+-]?[0-9a-fA-F]{1,4}\Z").match


def address_text(host: str) -> str:
    """The address of a socket as Java spells it: IPv6 in eight parts without leading zeros, mapped IPv4 as IPv4.

    Anything that is no address (a Unix socket, a name) is returned as it is.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    if mapped is not None:
        return str(mapped)
    packed = address.packed
    return ":".join(f"{packed[i] << 8 | packed[i + 1]:x}" for i in range(0, 16, 2))


class IpProvider:
    """See the module."""

    scheme = "ip"
    is_authenticated = False

    def authenticate(self, info: ConnectionInfo, data: bytes | None) -> list[Identity]:
        """The address itself; the data is ignored."""
        return [("ip", info.address)]

    def matches(self, identity_id: str, acl_id: str) -> bool:
        """Whether the address lies in the ACL's network."""
        network = _network(acl_id)
        address = _address(identity_id)
        if network is None or address is None or network[0] != address[0]:
            return False
        family, value, bits = network
        shift = family - bits
        return address[1] >> shift == value >> shift

    def is_valid(self, acl_id: str) -> bool:
        """An address, or address/bits with bits within its family."""
        return _network(acl_id) is not None

    def user_name(self, identity_id: str) -> str:
        """The address."""
        return identity_id


@lru_cache(maxsize=4096)
def _network(text: str) -> tuple[int, int, int] | None:
    """(bits of the family, address, prefix length), or None."""
    host, slash, prefix = text.partition("/")
    address = _address(host)
    if address is None:
        return None
    family, value = address
    if not slash:
        return family, value, family
    bits = _integer(prefix)
    return (family, value, bits) if bits is not None and 0 <= bits <= family else None


@lru_cache(maxsize=4096)
def _address(text: str) -> tuple[int, int] | None:
    """(32 or 128, address), or None."""
    if ":" in text:
        value = _ipv6(text)
        return (128, value) if value is not None else None
    parts = [_integer(part) for part in text.split(".")]
    if len(parts) != 4:
        return None
    value = 0
    for part in parts:
        if part is None or not 0 <= part <= 255:
            return None
        value = value << 8 | part
    return 32, value


def _integer(text: str) -> int | None:
    return int(text) if _DECIMAL(text) else None


def _ipv6(text: str) -> int | None:
    halves = text.split("::")
    head = halves[0].split(":") if halves[0] or len(halves) == 1 else []
    if len(halves) == 1:
        tail: list[str] = []
        if len(head) != 8:
            return None
    elif len(halves) == 2:
        tail = halves[1].split(":") if halves[1] else []
        if len(head) + len(tail) >= 8:
            return None
    else:
        return None
    value = 0
    for part in [*head, *["0"] * (8 - len(head) - len(tail)), *tail]:
        if len(part) > 4 or not _HEX(part):
            return None
        value = value << 16 | int(part, 16) & 0xFFFF
    return value
