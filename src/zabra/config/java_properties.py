"""The text format of ``java.util.Properties``, which is the format of ``zoo.cfg``.

::

    # comment             ! comment
    key=value             key:value        key value          spaces around the separator do not count
    key=first \\
        second            a backslash at the end joins the next line without its leading spaces
    \\t \\n \\r \\f \\uXXXX     escapes; before any other character the backslash is dropped

Bytes are ISO-8859-1, as ``Properties.load`` reads them. When a key appears twice the last one wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_SPACE: Final = " \t\f"
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_KEY_END: Final = re.compile(r"(?<!\\)(?:\\\\)*[=: \t\f]")
_SEPARATOR: Final = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|[^u]|u|\Z)", re.DOTALL)


class Line(NamedTuple):
    """One setting: where its first line is (from 1), its key and its value, both trimmed."""

    number: int
    key: str
    value: str


class PropertiesError(ValueError):
    """A line that is no setting; ``number`` says which."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number = number


def parse(data: bytes) -> list[Line]:
    """Every setting of ``data`` in file order, repeated keys included. Raises :class:`PropertiesError`."""
    lines: list[Line] = []
    for number, text in _logical_lines(data.decode("iso-8859-1")):
        found = _KEY_END.search(text)
        end = found.end() - 1 if found else len(text)
        separator = _SEPARATOR.match(text, end)
        assert separator is not None
        try:
            key, value = _unescape(text[:end]), _unescape(text[separator.end() :])
        except ValueError as error:
            raise PropertiesError(number, str(error)) from None
        lines.append(Line(number, key.strip(), value.strip()))
    return lines


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and blank ones, joined where a backslash ends them; with the number of the first."""
    joined, first = "", 0
    for number, natural in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        line = natural.lstrip(_SPACE)
        if not joined:
            if not line or line[0] in "#!":
                continue
            first = number
        if (len(line) - len(line.rstrip("\\"))) % 2:
            joined += line[:-1]
            continue
        yield first, joined + line
        joined = ""
    if joined:
        yield first, joined


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape == "u":
            raise ValueError("expected four hexadecimal digits after \\u")
        return chr(int(escape[1:], 16)) if escape[:1] == "u" else _ESCAPES.get(escape, escape)

    return _ESCAPE.sub(replace, text)
