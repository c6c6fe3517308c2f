"""Scheme ip: addresses, prefixes and what is refused."""

from __future__ import annotations

import pytest

from zabra.auth.ip import IpProvider, address_text
from zabra.auth.provider import ConnectionInfo

ip = IpProvider()


@pytest.mark.parametrize(
    "acl_id",
    [
        "1.2.3.4",
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/32",
        "::",
        "::1",
        "1::",
        "fe80::/10",
        "1:2:3:4:5:6:7:8/128",
        "+1.2.3.4",
    ],
)
def test_valid_ids(acl_id: str) -> None:
    """Addresses of both families, with and without a prefix length."""
    assert ip.is_valid(acl_id)


@pytest.mark.parametrize(
    "acl_id",
    [
        "",
        "/8",
        "localhost",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.-1",
        "1.2.3.4/33",
        "1.2.3.4/-1",
        "1.2.3.4/",
        "1.2.3.4/8/8",
        "1.2.3.x",
        " 1.2.3.4",
        ":",
        ":::",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7::8",
        "1:2:3:4:5:6:7:8:9",
        "12345::",
        "g::",
        "::1/129",
        "::ffff:1.2.3.4",
        ":1::",
    ],
)
def test_invalid_ids(acl_id: str) -> None:
    """Everything else may not be stored and matches nobody."""
    assert not ip.is_valid(acl_id)
    assert not ip.matches("1.2.3.4", acl_id)


@pytest.mark.parametrize(
    ("address", "acl_id", "matches"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.2.3", "10.9.9.9/8", True),
        ("11.1.2.3", "10.9.9.9/8", False),
        ("10.1.2.3", "10.1.2.2/31", True),
        ("10.1.2.4", "10.1.2.2/31", False),
        ("8.8.8.8", "1.1.1.1/0", True),
        ("0:0:0:0:0:0:0:1", "::1", True),
        ("2001:db8:0:0:0:0:0:7", "2001:db8::/32", True),
        ("2001:db9:0:0:0:0:0:7", "2001:db8::/32", False),
        ("0:0:0:0:0:0:0:1", "0.0.0.1", False),
        ("8.8.8.8", "::/0", False),
        ("@", "0.0.0.0/0", False),
    ],
)
def test_matching(address: str, acl_id: str, matches: bool) -> None:
    """Prefixes compare bit by bit, and never across families."""
    assert ip.matches(address, acl_id) is matches


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:db8::a0", "2001:db8:0:0:0:0:0:a0"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80:0:0:0:0:0:0:1"),
        ("/run/socket", "/run/socket"),
    ],
)
def test_address_text(host: str, text: str) -> None:
    """Socket addresses are spelled as Java spells them, so that whoAmI and ACLs agree with Apache."""
    assert address_text(host) == text


def test_authenticate_gives_the_address() -> None:
    """An auth packet of scheme ip earns the socket's address, whatever it says; the address proves nobody."""
    assert ip.authenticate(ConnectionInfo("10.0.0.1"), b"1.2.3.4") == [("ip", "10.0.0.1")]
    assert ip.user_name("10.0.0.1") == "10.0.0.1"
    assert not ip.is_authenticated
