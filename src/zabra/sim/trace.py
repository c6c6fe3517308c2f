"""What happened in a run, in order: for people to read, and to compare two runs by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator


class Trace:
    """Keeps every entry; ``clock`` gives the virtual second."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] = lambda: 0.0
        self.entries: list[tuple[float, str, tuple[object, ...]]] = []

    def add(self, kind: str, *details: object) -> None:
        """Note something; details are numbers, texts, bytes or tuples of them."""
        self.entries.append((self.clock(), kind, details))

    def digest(self) -> str:
        """Equal for equal traces only; what was logged does not count."""
        text = "\n".join(repr(entry) for entry in self.entries if entry[1] != "log")
        return hashlib.sha256(text.encode()).hexdigest()

    def lines(self, last: int | None = None) -> Iterator[str]:
        """The entries as text, or the last ones."""
        for when, kind, details in self.entries[-last if last else 0 :]:
            yield f"{when:14.6f} {kind:<10} {' '.join(map(_text, details))}"


def _text(detail: object) -> str:
    if isinstance(detail, bytes):
        return detail.decode("utf-8", "backslashreplace")
    return hex(detail) if isinstance(detail, int) and abs(detail) > 1 << 32 else str(detail)
