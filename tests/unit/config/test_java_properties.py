"""zoo.cfg is read as java.util.Properties reads it; the expected values were checked against Java 17."""

import pytest

from zabra.config.java_properties import Line, PropertiesError, parse


def pairs(data):
    return [(line.key, line.value) for line in parse(data)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a=b", [("a", "b")]),
        (b"a:b\nc d\ne", [("a", "b"), ("c", "d"), ("e", "")]),
        (b"  a \t=\f b  ", [("a", "b")]),
        (b"a==b", [("a", "=b")]),
        (b"a = : b", [("a", ": b")]),
        (b"# no\n! no\n  # no\n\n \t\na=b # part", [("a", "b # part")]),
        (b"a=1\r\nb=2\rc=3", [("a", "1"), ("b", "2"), ("c", "3")]),
        (b"a=1,\\\n   2,\\\r\n\t3", [("a", "1,2,3")]),
        (b"a=1\\\n# 2\nb=3", [("a", "1# 2"), ("b", "3")]),
        (b"a=1\\\n\nb=3", [("a", "1"), ("b", "3")]),
        (b"a=1\\\\\nb=2", [("a", "1\\"), ("b", "2")]),
        (b"a=1\\", [("a", "1")]),
        (b"a\\=b\\:c\\ d=e", [("a=b:c d", "e")]),
        (b"a\\\\=b", [("a\\", "b")]),
        (b"a=\\t|\\n|\\q\\u0041\\u00e9", [("a", "|\n|qA\u00e9")]),
        (b"dir=/d\xe9", [("dir", "/d\u00e9")]),
        (b"dir=/d\xc3\xa9", [("dir", "/d\u00c3\u00a9")]),
        (b"a=1\na=2", [("a", "1"), ("a", "2")]),
        (b"", []),
    ],
)
def test_parses_as_java_does(data, expected):
    assert pairs(data) == expected


def test_lines_are_numbered_by_their_first_physical_line():
    assert parse(b"\n# x\na=1\\\n2\nb=3") == [Line(3, "a", "12"), Line(5, "b", "3")]


@pytest.mark.parametrize("data", [b"x=1\na=\\u12", b"x=1\na=\\u12g4", b"x=1\n\\u=1"])
def test_a_broken_unicode_escape_is_refused_with_its_line(data):
    with pytest.raises(PropertiesError, match="hexadecimal") as caught:
        parse(data)
    assert caught.value.number == 2
