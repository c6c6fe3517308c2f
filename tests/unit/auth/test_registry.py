"""Which schemes a server has, and that a user's scheme can do no harm."""

from __future__ import annotations

import logging

import auth_samples as samples
import pytest
from auth_samples import Settings

from zabra.auth.provider import AccessContext, ConnectionInfo
from zabra.auth.registry import Registry, build_registry, load_provider
from zabra.errors import Code, ConfigError, ProtocolError, RequestError

JAVA = "org.apache.zookeeper.server.auth."
HERE = ConnectionInfo("127.0.0.1")
ANYWHERE = AccessContext(b"/", 1, None)


def test_default_schemes() -> None:
    """Without configuration there are ip and digest, and nothing to warn of."""
    registry = build_registry(Settings())
    assert registry.schemes == ("ip", "digest")
    assert registry.warnings == ()
    assert registry.get(None) is None


def test_digest_switched_off() -> None:
    """The switch removes the scheme; naming its class brings it back."""
    assert build_registry(Settings(digest_auth_enabled=False)).schemes == ("ip",)
    named = Settings(digest_auth_enabled=False, auth_providers=(("1", JAVA + "DigestAuthenticationProvider"),))
    assert build_registry(named).schemes == ("ip", "digest")


def test_shipped_java_classes() -> None:
    """Apache's class names mean our schemes, with the settings each reads."""
    registry = build_registry(
        Settings(
            auth_providers=(
                ("1", JAVA + "EnsembleAuthenticationProvider"),
                ("2", JAVA + "KeyAuthenticationProvider"),
                ("3", JAVA + "IPAuthenticationProvider"),
            ),
            ensemble_auth_names=("mine",),
        )
    )
    assert registry.schemes == ("ip", "digest", "ensemble", "key")
    with pytest.raises(ProtocolError):
        registry.authenticate("ensemble", HERE, b"yours")


def test_schemes_of_later_features_are_one_warning() -> None:
    """SASL and X.509 are named in one line, and their schemes stay unknown."""
    registry = build_registry(
        Settings(
            auth_providers=(("1", JAVA + "SASLAuthenticationProvider"), ("x509", JAVA + "X509AuthenticationProvider"))
        )
    )
    assert registry.schemes == ("ip", "digest")
    [line] = registry.warnings
    assert "authProvider.1=" in line
    assert "authProvider.x509=" in line


@pytest.mark.parametrize("name", ["auth_samples:Token", "auth_samples:ready_made"])
def test_own_scheme(name: str) -> None:
    """A user's scheme is a class, a function that makes a provider, or a provider, named module:attribute."""
    registry = build_registry(Settings(auth_providers=(("7", name),)))
    assert registry.schemes == ("ip", "digest", "token")
    assert registry.authenticate("token", HERE, b"t1") == [("token", "t1")]
    assert registry.matches("token", "t1", "t", ANYWHERE)
    assert registry.is_valid("token", "t")
    assert not registry.is_valid("token", "")
    assert registry.user_name(("token", "t1")) == "T1"


def test_scheme_that_sees_the_path() -> None:
    """A provider with matches_in decides by path and permission; its matches is not asked."""
    registry = Registry([samples.OwnBranch()])
    assert registry.matches("branch", "ann", "any", AccessContext(b"/ann/x", 1, None))
    assert not registry.matches("branch", "ann", "any", AccessContext(b"/bob/x", 1, None))


def test_later_replaces_earlier() -> None:
    """Two providers of one scheme: the last named one counts."""

    class Strict(samples.Token):
        def matches(self, identity_id: str, acl_id: str) -> bool:
            return identity_id == acl_id

    registry = Registry([samples.Token(), Strict()])
    assert registry.schemes == ("token",)
    assert not registry.matches("token", "t1", "t", ANYWHERE)


@pytest.mark.parametrize(
    "name",
    [
        "com.example.Provider",
        ":x",
        "auth_samples:",
        "no_such_module:x",
        "auth_samples:missing",
        "auth_samples:NoProvider",
        "auth_samples:unlucky",
        "auth_samples:logging",
    ],
)
def test_provider_that_cannot_be_loaded(name: str) -> None:
    """The start is refused with the key and the name."""
    with pytest.raises(ConfigError, match=f"authProvider.1={name}"):
        load_provider("authProvider.1", name)


def test_unknown_scheme() -> None:
    """An auth packet of an unknown or null scheme is refused, and an ACL entry of it invalid and without effect."""
    registry = build_registry(Settings())
    for scheme in ("sasl", "world", "super", None):
        with pytest.raises(RequestError) as refused:
            registry.authenticate(scheme, HERE, b"x")
        assert refused.value.code == Code.AUTH_FAILED
        assert not registry.is_valid(scheme, "anyone")
    assert not registry.matches("sasl", "a", "a", ANYWHERE)
    assert registry.user_name(("super", "")) == ""


def test_broken_scheme_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """A scheme that raises refuses, and says so in the log once."""
    registry = Registry([samples.Broken()])
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            with pytest.raises(RequestError) as refused:
                registry.authenticate("broken", HERE, b"x")
            assert refused.value.code == Code.AUTH_FAILED
            assert not registry.matches("broken", "a", "a", ANYWHERE)
            assert not registry.is_valid("broken", "a")
            assert registry.user_name(("broken", "a")) == ""
    assert len(caplog.records) == 1


def test_refusals_of_a_scheme_pass_through() -> None:
    """RequestError and ProtocolError mean what they say, they are no failures."""
    registry = build_registry(Settings())
    with pytest.raises(RequestError) as refused:
        registry.authenticate("digest", HERE, None)
    assert refused.value.code == Code.AUTH_FAILED
