"""The one table of every property: ``properties.tsv`` beside this file, and how a value of each type is read.

Columns of the table: ``key`` in zoo.cfg (empty: Apache reads it as a system property only), ``system_property`` of Java
(empty: Apache reads it from zoo.cfg only), ``type``, ``unit``, ``default``, ``scope``, ``status``, ``attribute`` of
:class:`~zabra.config.model.Settings`, ``meaning``. A ``status`` is ``obeyed``, ``ignored: why`` or ``later: feature``.

Types: ``bool``, ``yes|no``, ``int``, ``long`` and ``float`` with an optional range (``int 1..``, ``float 0..1``),
``text``, ``secret`` (never shown), ``path``, ``host``, ``class``, ``list`` (commas), ``server line``, or the allowed
words joined by ``|``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_TABLE: Final = Path(__file__).with_name("properties.tsv")
_BITS: Final = {"int": 32, "long": 64}
#: Ends of keys whose middle or end is free: ``server.N`` stands for ``server.1``, ``metricsProvider.*`` for any tail.
_FREE_TAILS: Final = ("N", "*")


#: Rows whose free tail is a server or group id.
_NUMBERED: Final = ("server.N", "group.N", "weight.N")
#: The row of a membership's version, which only a file has.
_VERSION: Final = "version"


@dataclass(frozen=True, slots=True)
class Property:
    """One row of the table."""

    key: str
    system_property: str
    type: str
    unit: str
    default: str
    scope: str
    status: str
    attribute: str
    meaning: str

    @property
    def name(self) -> str:
        """What people call it: the key, or the system property where there is no key."""
        return self.key or self.system_property

    @property
    def identity(self) -> str:
        """One name for all the ways to set it; no two rows share it."""
        return self.key or "-D" + self.system_property

    @property
    def is_secret(self) -> bool:
        """Whether values must never be shown."""
        return self.type == "secret"

    @property
    def later(self) -> str:
        """The feature that must exist before this is obeyed; empty when it is not waiting for one."""
        return self.status.removeprefix("later: ") if self.status.startswith("later: ") else ""

    @property
    def file_wins(self) -> bool:
        """Whether zoo.cfg beats ``-D``: Apache turns such a key of the file into a system property, after ``-D``."""
        return bool(self.system_property and self.key) and self.key not in _PARSER_KEYS

    @property
    def environment(self) -> str:
        """The environment variable that sets it: ``ZOOKEEPER_`` and the upper-case name, other characters as ``_``."""
        return environment_name(self.name)

    @property
    def system_names(self) -> tuple[str, ...]:
        """The ``-D`` names that set it. Keys that Apache reads from the file only may carry ``zookeeper.`` or not."""
        if not self.system_property:
            return (self.key, "zookeeper." + self.key)
        return (self.system_property,)


#: Keys with a system property that Apache's parser still takes for itself, so that the file does not overwrite ``-D``.
_PARSER_KEYS: Final = frozenset(
    {
        "syncEnabled",
        "multiAddress.enabled",
        "multiAddress.reachabilityCheckTimeoutMs",
        "multiAddress.reachabilityCheckEnabled",
    }
)


def environment_name(name: str) -> str:
    """``snapCount`` or ``zookeeper.snapCount`` to ``ZOOKEEPER_SNAPCOUNT``."""
    return "ZOOKEEPER_" + re.sub(r"[^A-Za-z0-9]", "_", name.removeprefix("zookeeper.")).upper()


@cache
def all_properties() -> tuple[Property, ...]:
    """Every row, in the order of the table."""
    lines = _TABLE.read_text("utf-8").splitlines()
    return tuple(Property(*line.split("\t")) for line in lines[1:])


@dataclass(frozen=True, slots=True)
class Index:
    """The table by each kind of name."""

    by_key: dict[str, Property]
    by_system_name: dict[str, Property]
    by_environment: dict[str, Property]
    #: (start of the name, row) for rows that stand for many names.
    key_starts: tuple[tuple[str, Property], ...]
    system_starts: tuple[tuple[str, Property], ...]
    environment_starts: tuple[tuple[str, Property], ...]

    def find_key(self, key: str) -> Property | None:
        """The row of a key of zoo.cfg. A key that Apache reads as a system property only is found here as well."""
        return self.by_key.get(key) or _by_start(self.key_starts, key)

    def find_system(self, name: str) -> Property | None:
        """The row of a system property."""
        return self.by_system_name.get(name) or _by_start(self.system_starts, name)

    def find_environment(self, name: str) -> Property | None:
        """The row of an environment variable.

        Numbered rows need a number here: a Kubernetes service called ``zookeeper-server`` puts
        ``ZOOKEEPER_SERVER_PORT`` into every environment. And images name the release in ``ZOOKEEPER_VERSION``.
        """
        row = self.by_environment.get(name) or _by_start(self.environment_starts, name)
        if row is None or row.key == _VERSION:
            return None
        if row.key in _NUMBERED and not name[len(row.environment) - 1 :].isdecimal():
            return None
        return row


def _by_start(starts: tuple[tuple[str, Property], ...], name: str) -> Property | None:
    return next((row for start, row in starts if name.startswith(start) and len(name) > len(start)), None)


@cache
def index() -> Index:
    """Look-up by name, built once."""
    by_key: dict[str, Property] = {}
    by_system: dict[str, Property] = {}
    by_environment: dict[str, Property] = {}
    free: list[Property] = []
    for row in all_properties():
        if row.name.endswith(_FREE_TAILS) and row.name[:-1].endswith("."):
            free.append(row)
        elif row.name != "*":
            by_key.setdefault(row.name, row)
            by_environment.setdefault(row.environment, row)
            for name in row.system_names:
                by_system.setdefault(name, row)
    return Index(
        by_key,
        by_system,
        by_environment,
        tuple((row.key[:-1], row) for row in free),
        tuple((name[:-1], row) for row in free for name in row.system_names),
        tuple((row.environment[:-1], row) for row in free),
    )


class BadValueError(ValueError):
    """A value that its property cannot have; the text says what was expected."""


Value = bool | int | float | str | tuple[str, ...]


def read_value(row: Property, text: str) -> Value:
    """The value of ``row`` that ``text`` means.

    Raises :class:`BadValueError` with what was expected. Whole numbers of system properties are read as Java's
    ``Integer.decode`` does: ``0x`` or ``#`` for hexadecimal, a leading ``0`` for octal.
    """
    kind, _, bounds = row.type.partition(" ")
    if kind == "bool":
        return _one_of(text.lower(), {"true": True, "false": False}, "true or false")
    if row.type == "yes|no":
        return _one_of(text, {"yes": True, "no": False}, "yes or no")
    if kind in _BITS:
        return _whole_number(row, text, _BITS[kind], bounds)
    if kind == "float":
        return _fraction(text, bounds)
    if kind == "list":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if "|" in kind:
        words = kind.split("|")
        return _one_of(text, {word: word for word in words}, _words(words))
    if kind in ("path", "host", "class") and not text:
        raise BadValueError(f"a {kind}, not nothing")
    if kind in ("path", "host") and "\0" in text:
        raise BadValueError(f"a {kind} without a zero character")
    return text


def _one_of(text: str, meanings: dict[str, Value], expected: str) -> Value:
    if text not in meanings:
        raise BadValueError(expected)
    return meanings[text]


def _words(words: list[str]) -> str:
    shown = [word or "nothing" for word in words]
    return ", ".join(shown[:-1]) + " or " + shown[-1]


def _whole_number(row: Property, text: str, bits: int, bounds: str) -> int:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    low_text, _, high_text = bounds.partition("..")
    least, most = int(low_text or low), int(high_text or high)
    value = decode_int(text) if row.system_property else _plain_int(text)
    if value is None or not least <= value <= most:
        unit = "" if row.unit in ("number", "port", "integer", "decimal") else f" of {row.unit}"
        raise BadValueError(f"a whole number{unit}{_range_words(low_text, high_text, least, most)}")
    return value


def _range_words(low_text: str, high_text: str, least: int, most: int) -> str:
    if low_text and high_text:
        return f" from {least} to {most}" if least != most else f", namely {least}"
    if low_text:
        return f", {least} or more"
    if high_text:
        return f", {most} or less"
    return f" from {least} to {most}"


def _plain_int(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,40}", text) else None


def decode_int(text: str) -> int | None:
    """A whole number as ``Integer.decode`` reads it, ``None`` when it is none."""
    match = re.fullmatch(r"([+-]?)(?:(?:0[xX]|#)([0-9a-fA-F]{1,40})|0([0-7]{1,40})|(0|[1-9][0-9]{0,39}))", text)
    if match is None:
        return None
    sign, hex_digits, octal, decimal = match.groups()
    value = int(hex_digits, 16) if hex_digits else int(octal, 8) if octal else int(decimal)
    return -value if sign == "-" else value


def _fraction(text: str, bounds: str) -> float:
    low_text, _, high_text = bounds.partition("..")
    plain = re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", text)
    value = float(text) if plain else float("nan")
    least, most = float(low_text or "-inf"), float(high_text or "inf")
    if not least <= value <= most:
        raise BadValueError(f"a number from {low_text} to {high_text}" if bounds else "a number")
    return value
