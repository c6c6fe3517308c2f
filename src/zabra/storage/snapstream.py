"""A snapshot on its way from a leader to a learner, behind the packet SNAP.

::

    stream    = body signature       body: as in a snapshot file (zabra.storage.snapformat), no header and no seal
    signature = string "BenWasHere"

Source: ``LearnerHandler.run``, ``Learner.syncWithLeader``, ``SerializeUtils.deserializeSnapshot`` (3.9.5).
"""

from __future__ import annotations

from typing import Final

from zabra.errors import ProtocolError
from zabra.storage.snapformat import BodyParser
from zabra.tree.tree import DataTree

#: Behind the body; a sender adds it to the chunks of a :class:`zabra.tree.dump.Dump`.
SIGNATURE: Final = b"\x00\x00\x00\x0aBenWasHere"


class SnapStreamLoader:
    """Fills a tree, which is cleared first, and a map of session id -> timeout in ms.

    What it keeps in memory beside these is less than the longest node, and what came last.
    """

    def __init__(self, tree: DataTree, sessions: dict[int, int], limit: int | None = None) -> None:
        """``limit``: the longest path, data or text accepted."""
        tree.clear()
        sessions.clear()
        self._tree = tree
        self._parser = BodyParser(tree, sessions, limit)
        self._steps = self._parser.body()
        self._parts: list[bytes] = []
        #: Bytes in the parts, and how many the parser waits for.
        self._size = 0
        self._wanted = 0
        self._in_body = True

    def feed(self, data: bytes) -> bytes | None:
        """Take the next bytes. None: more are needed; else it is whole, and these are the bytes behind it.

        Raises :class:`ProtocolError` for all that is no snapshot; the tree is not to be used then.
        """
        self._parts.append(data)
        self._size += len(data)
        if self._size < self._wanted:
            return None
        parser = self._parser
        if parser.position:
            self._parts.insert(0, parser.buffer[parser.position :])
            parser.position = 0
        else:
            self._parts.insert(0, parser.buffer)
        parser.buffer = b"".join(self._parts)
        self._parts = []
        self._size = 0
        if self._in_body:
            try:
                self._wanted = next(self._steps, 0)
            except ValueError as error:
                raise ProtocolError(f"a snapshot that is none: {error}") from error
            if self._wanted:
                return None
            self._in_body = False
        return self._end()

    def _end(self) -> bytes | None:
        """The signature, and what is behind it."""
        parser = self._parser
        left = len(parser.buffer) - parser.position
        if not SIGNATURE.startswith(parser.buffer[parser.position : parser.position + len(SIGNATURE)]):
            raise ProtocolError("a snapshot that does not end with its signature")
        if left < len(SIGNATURE):
            self._wanted = 0
            return None
        if b"/" not in self._tree.nodes:
            raise ProtocolError("a snapshot without a root")
        self._tree.loaded()
        return parser.buffer[parser.position + len(SIGNATURE) :]
