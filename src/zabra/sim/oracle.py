"""The checker of one server: reads its log as bytes on the disk, and holds every reply against it.

After a crash the log may have lost entries that nobody was told about, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

from zabra.sim.judge import Judge
from zabra.sim.logtap import LogTap
from zabra.sim.violation import Violation
from zabra.wire.txns import decode_txn


class Oracle(Judge):
    """The history is the log of one server. Raises Violation."""

    def __init__(self, tap: LogTap, clock: Callable[[], float], *, enforce_quota: bool = False) -> None:
        """``clock`` gives the virtual second."""
        super().__init__(clock, enforce_quota=enforce_quota)
        self.tap = tap

    def catch_up(self) -> None:
        """Read what is new in the log."""
        for payload in self.tap.new_entries():
            zxid = decode_txn(payload)[0].zxid
            if zxid <= self.model.zxid:
                known = self.logged.get(zxid)
                if known is not None and known.payload != payload:
                    raise Violation(f"log entry 0x{zxid:x} has changed")
                continue
            if zxid != self.model.zxid + 1:
                raise Violation(f"log entry 0x{zxid:x} follows 0x{self.model.zxid:x}")
            self.append(payload)

    def restarted(self, zxid: int) -> None:
        """A server has recovered up to ``zxid``: whatever was acknowledged is there, the rest is whole or absent."""
        if zxid < self.acked:
            raise Violation(f"0x{self.acked:x} was acknowledged, after the restart the server is at 0x{zxid:x}")
        if zxid > self.model.zxid:
            raise Violation(f"after the restart the server is at 0x{zxid:x}, the log was at 0x{self.model.zxid:x}")
        self.forget(zxid)
        self.tap.check_tails()
        self.tap.restart()
        self.catch_up()
        if self.model.zxid != zxid:
            raise Violation(f"after the restart the server is at 0x{zxid:x}, its log at 0x{self.model.zxid:x}")
