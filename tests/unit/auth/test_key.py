"""Scheme key, the sample that reads a znode."""

from __future__ import annotations

import pytest

from zabra.auth.key import KeyProvider
from zabra.auth.provider import ConnectionInfo
from zabra.errors import Code, RequestError


def where(key: bytes | None) -> ConnectionInfo:
    return ConnectionInfo("127.0.0.1", {b"/key": key}.get)


@pytest.mark.parametrize(("key", "data"), [(None, b"x"), (b"7", b"21"), (b"7", b"-7"), (b"0", b"5"), (b"7", b"0")])
def test_accepted(key: bytes | None, data: bytes) -> None:
    """A multiple of the key, or anything while there is no key, earns the nameless identity."""
    assert KeyProvider().authenticate(where(key), data) == [("key", "")]


@pytest.mark.parametrize(
    ("key", "data"), [(b"7", b"20"), (b"7", b"x"), (b"x", b"7"), (b"7", b""), (b"", b"7"), (None, None)]
)
def test_refused(key: bytes | None, data: bytes | None) -> None:
    """Other numbers and other texts are refused."""
    with pytest.raises(RequestError) as refused:
        KeyProvider().authenticate(where(key), data)
    assert refused.value.code == Code.AUTH_FAILED


def test_acl_ids_are_texts() -> None:
    """Any id may be stored; it matches itself."""
    assert KeyProvider().is_valid("anything")
    assert KeyProvider().matches("", "")
    assert not KeyProvider().matches("", "x")
    assert KeyProvider().user_name("") == ""
