"""What the first four bytes of a connection may be besides a frame's length: a four-letter word."""

from __future__ import annotations

from typing import Final

#: Words by their bytes (``FourLetterCommands``); the telnet client's interrupt sequence counts as one.
FOUR_LETTER_WORDS: Final[dict[bytes, str]] = {
    word.encode(): word
    for word in (
        *("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr"),
        *("ruok", "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs"),
    )
} | {b"\xff\xf4\xff\xfd": "telnet close"}


def four_letter_word(first: bytes) -> str | None:
    """The word that these four bytes are, or None: then they are the length of a frame."""
    return FOUR_LETTER_WORDS.get(first)
