"""Znode paths: what may name a znode (``PathUtils.validatePath``)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra import paths


@pytest.mark.parametrize(
    "text",
    ["/", "/a", "/a/b", "/.a", "/a.", "/...", "/a..b/c", "/.a/..b", "/ ", "/a b", "/ä", "/\u00a0",
     "/日本", "/\ufeff", "/\uffef", "/zookeeper/quota", "/a\\b", "/~"],
)  # fmt: skip
def test_legal(text: str) -> None:
    assert paths.is_valid(text.encode())


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/b", "//", "//a", "/a//b", "/a/", "/.", "/..", "/a/.", "/a/..", "/./a", "/../a", "/a/./b", "/a/../b",
     "/\0", "/a\0b", "/\x01", "/\x1f", "/\x7f", "/\x80", "/\x9f", "/\uf8ff", "/\ue000", "/\ufff0", "/\uffff",
     "/\U00010000", "/\U0001f600", "/a\n", "/a/b\n"],
)  # fmt: skip
def test_illegal(text: str) -> None:
    assert not paths.is_valid(text.encode())


@pytest.mark.parametrize("raw", [b"/\xff", b"/a\xc3", b"/\xed\xa0\x80", b"/\xc0\xaf"])
def test_bytes_that_are_no_utf8_are_illegal(raw: bytes) -> None:
    """Java reads them as U+FFFD, which a path may not have; so paths are canonical and compare as bytes."""
    assert not paths.is_valid(raw)


def slow_is_valid(text: str) -> bool:
    """The rules one character at a time, as PathUtils has them."""
    if not text.startswith("/"):
        return False
    if text == "/":
        return True
    if text.endswith("/"):
        return False
    for char in text[1:]:
        code = ord(char)
        if code <= 0x1F or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xF8FF or code >= 0xFFF0:
            return False
    return not any(part in ("", ".", "..") for part in text[1:].split("/"))


@given(st.text("/.ab\0\x1f \x7f\x9f\xa0\uf8ff\uf900\uffef\ufff0\U00010000", max_size=8))
def test_against_the_rules_one_by_one(text: str) -> None:
    for candidate in (text, "/" + text):
        assert paths.is_valid(candidate.encode()) is slow_is_valid(candidate)


@pytest.mark.parametrize(
    ("path", "parent", "name"), [(b"/a", b"/", b"a"), (b"/a/b", b"/a", b"b"), (b"/a/b/c", b"/a/b", b"c")]
)
def test_parent_name_and_join(path: bytes, parent: bytes, name: bytes) -> None:
    assert (paths.parent_of(path), paths.name_of(path), paths.join(parent, name)) == (parent, name, path)


def test_text_for_people() -> None:
    assert paths.text_of("/ä".encode()) == "/ä"
    assert paths.text_of(b"/\xff") == "/\ufffd"
