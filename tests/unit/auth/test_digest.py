"""Scheme digest: hashes, the super user, valid ids."""

from __future__ import annotations

import pytest

from zabra.auth.digest import SUPER, DigestProvider, digest_id, hash_name
from zabra.auth.provider import ConnectionInfo
from zabra.errors import Code, ConfigError, RequestError

HERE = ConnectionInfo("127.0.0.1")
#: DigestAuthenticationProvider.generateDigest of Apache ZooKeeper 3.9.5.
VECTORS = [
    (b"super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
    (b"user:pa:ss", "user:eGYxmOtrfaj/35Fq9lW7ol9psVU="),
    (b"nocolon", "nocolon:Ra+cHr2ZoHvBjtNArFGNGlVie4g="),
    ("é:ü".encode(), "é:Ztqg8TrMmzkSFpOaDBO87lu10+c="),
    (b"", ":2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
]


@pytest.mark.parametrize(("login", "identity"), VECTORS)
def test_same_ids_as_apache(login: bytes, identity: str) -> None:
    """The id is the user and the hash over the whole login, as Apache computes it."""
    assert digest_id(login) == identity
    assert DigestProvider().authenticate(HERE, login) == [("digest", identity)]


def test_super_digest() -> None:
    """A login equal to superDigest gains the super identity, and keeps its own; others do not."""
    provider = DigestProvider(super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
    assert provider.authenticate(HERE, b"super:test") == [SUPER, ("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")]
    assert SUPER not in provider.authenticate(HERE, b"super:Test")
    assert SUPER not in DigestProvider(super_digest="").authenticate(HERE, b"")


def test_null_data_is_refused() -> None:
    """An auth packet without data is no login."""
    with pytest.raises(RequestError) as refused:
        DigestProvider().authenticate(HERE, None)
    assert refused.value.code == Code.AUTH_FAILED


@pytest.mark.parametrize(
    ("acl_id", "valid"),
    [("u:h", True), (":h", True), ("u:h:", True), ("u:h::", True)]
    + [(text, False) for text in ("", ":", "::", "u", "u:", "u:h:x", "u::h")],
)
def test_valid_ids(acl_id: str, valid: bool) -> None:
    """Two parts when split at colons, empty parts at the end dropped."""
    assert DigestProvider().is_valid(acl_id) is valid


def test_user_name_hides_the_hash() -> None:
    """Only the part before the colon may be shown."""
    assert DigestProvider().user_name("user:secret") == "user"
    assert DigestProvider().matches("user:a", "user:a")
    assert not DigestProvider().matches("user:a", "user:b")


@pytest.mark.parametrize(
    ("java", "name"),
    [
        ("SHA1", "sha1"),
        ("SHA-1", "sha1"),
        ("SHA-256", "sha256"),
        ("SHA-512/256", "sha512_256"),
        ("SHA3-256", "sha3_256"),
        ("MD5", "md5"),
    ],
)
def test_java_algorithm_names(java: str, name: str) -> None:
    """Algorithms have Java's names in the configuration."""
    assert hash_name(java) == name


@pytest.mark.parametrize("java", ["", "SHA-7", "shake_128"])
def test_unknown_algorithm(java: str) -> None:
    """A hash that cannot be computed stops the start."""
    with pytest.raises(ConfigError, match="digestAlg"):
        hash_name(java)


def test_other_algorithm() -> None:
    """The configured hash is the one used."""
    [(_, identity)] = DigestProvider("SHA-256").authenticate(HERE, b"super:test")
    assert identity == "super:wjySwxg860UATFtciuZ1lpzrCHrPeov6SPu/ZD56uig="
