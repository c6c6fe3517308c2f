"""The checker of an ensemble: from the disks of all machines to the one history that everybody must agree on.

A transaction is committed when a server that serves has applied it, or a client was told of it. Then

- no other one may have its zxid, on any disk, and none may be missing before it;
- quorums of the memberships it concerns hold it where no power cut takes it;
- every server that serves is at some point of that history, with the tree, the sessions and the digest of it.

An epoch has one leader. It begins to serve with everything that was ever committed, and what it has beyond is
committed by that; of older epochs than the last established one nothing can be, for no leader had it. So the history
goes on by counting up within the last epoch, and the disks say what each number means.

Source: the invariants of Zab (:mod:`zabra.zab.invariants` has them for the cores).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from zabra.config.dynamic import EnsembleConfig, parse_config
from zabra.consts import Op
from zabra.errors import Code
from zabra.sim.calls import Call
from zabra.sim.diskview import DiskView, zxid_of
from zabra.sim.judge import Judge
from zabra.sim.violation import Violation
from zabra.tree.tree import DataTree
from zabra.wire.records_txn import SetDataTxn
from zabra.wire.txns import decode_txn
from zabra.zab.quorums import QuorumVerifier, make_verifier
from zabra.zxid import counter_of, epoch_of, make_zxid

#: Answers to requests that were not looked at.
_UNHEARD: Final = frozenset({Code.SESSION_EXPIRED, Code.SESSION_MOVED})


class Watched(Protocol):
    """What the oracle looks at in one machine."""

    @property
    def sid(self) -> int:
        """Its server id."""

    @property
    def serving(self) -> bool:
        """Whether its server answers clients."""

    @property
    def leads(self) -> int | None:
        """The epoch that it leads and serves in, or None."""

    @property
    def tree(self) -> DataTree:
        """The tree of the running server."""

    @property
    def view(self) -> DiskView:
        """Its disk."""


@dataclass(slots=True)
class _Seen:
    """What was last seen of a machine."""

    zxid: int = -1
    leads: int | None = None


class EnsembleOracle(Judge):
    """Knows every machine. Raises Violation."""

    def __init__(
        self,
        machines: Iterable[Watched],
        config: EnsembleConfig,
        clock: Callable[[], float],
        *,
        tick_ms: int,
        enforce_quota: bool = False,
    ) -> None:
        """``config``: the membership at first. ``clock`` gives the virtual second."""
        super().__init__(clock, enforce_quota=enforce_quota)
        self.machines = list(machines)
        #: The last epoch that was established, and its leader's id; by epoch.
        self.epoch = 0
        self.leaders: dict[int, int] = {}
        #: The committed membership.
        self.verifier: QuorumVerifier = make_verifier(config)
        self.on_membership: Callable[[EnsembleConfig], None] = lambda config: None
        #: Virtual second of the last thing that went wrong by the simulator's doing.
        self.trouble_at = -1e9
        #: Sessions -> when a client last tried to take them to a server.
        self.moved: dict[int, float] = {}
        #: Every entry that was ever seen on a disk.
        self._payloads: dict[int, bytes] = {}
        self._seen_of: dict[int, _Seen] = {}
        self._tick_ms = tick_ms

    # -- looking

    def catch_up(self) -> None:
        """Look at every server that serves."""
        for machine in self.machines:
            if machine.serving:
                self.look(machine)

    def look(self, machine: Watched) -> None:
        """A server that serves may have applied something, or have begun to lead."""
        seen = self._seen_of.setdefault(machine.sid, _Seen())
        leads = machine.leads
        if leads is not None and leads != seen.leads:
            self._established(machine, leads)
        seen.leads = leads
        tree = machine.tree
        zxid = tree.last_zxid
        if zxid != seen.zxid:
            seen.zxid = zxid
            self.committed(zxid, f"server {machine.sid}")
            if tree.digest_enabled and tree.digest != self.model.digest_at(zxid):
                raise Violation(
                    f"server {machine.sid} at 0x{zxid:x} has digest {tree.digest:x}, not {self.model.digest_at(zxid):x}"
                )

    def stopped(self, machine: Watched) -> None:
        """Its server is no more; the next one is looked at anew."""
        self._seen_of.pop(machine.sid, None)

    def _read_disks(self) -> None:
        for machine in self.machines:
            for payload in machine.view.refresh():
                zxid = zxid_of(payload)
                known = self._payloads.setdefault(zxid, payload)
                if known != payload:
                    raise Violation(
                        f"two different entries 0x{zxid:x}, one of them on the disk of server {machine.sid}"
                    )

    def _established(self, machine: Watched, epoch: int) -> None:
        """``machine`` leads and serves: what it has is committed."""
        sid = machine.sid
        other = self.leaders.setdefault(epoch, sid)
        if other != sid:
            raise Violation(f"servers {other} and {sid} both lead epoch 0x{epoch:x}")
        if epoch <= self.epoch:
            if epoch == self.epoch:
                return
            raise Violation(f"server {sid} begins to lead epoch 0x{epoch:x}, 0x{self.epoch:x} was established before")
        self._read_disks()
        last = max((zxid for zxid in machine.view.entries if zxid < make_zxid(epoch, 0)), default=0)
        snapshots = [zxid for zxid in machine.view.snapshots() if zxid < make_zxid(epoch, 0)]
        last = max((last, *snapshots))
        if last > self.model.zxid:
            self.committed(last, f"server {sid}, as leader of epoch 0x{epoch:x},")
        elif last < self.model.zxid:
            raise Violation(
                f"server {sid} leads epoch 0x{epoch:x} with a history up to 0x{last:x},"
                f" 0x{self.model.zxid:x} was committed"
            )
        self.epoch = epoch

    # -- the history

    def committed(self, zxid: int, who: str) -> None:
        """``who`` has applied everything up to ``zxid``, or was told of it."""
        if zxid <= self.model.zxid:
            if counter_of(zxid) and zxid not in self.logged:
                raise Violation(f"{who} is at 0x{zxid:x}, which never was committed")
            return
        epoch = epoch_of(zxid)
        if epoch > self.epoch:
            # Whoever began to lead it may not have been looked at yet.
            for machine in self.machines:
                leads = machine.leads
                if leads is not None and leads > self.epoch:
                    self._established(machine, leads)
            if epoch > self.epoch:
                raise Violation(f"{who} is at 0x{zxid:x}, nobody has led epoch 0x{epoch:x}")
        if epoch < self.epoch and counter_of(zxid):
            raise Violation(f"{who} is at 0x{zxid:x}, which epoch 0x{self.epoch:x} began without")
        self._read_disks()
        first = counter_of(self.model.zxid) + 1 if epoch_of(self.model.zxid) == epoch else 1
        for counter in range(first, counter_of(zxid) + 1):
            self._commit(make_zxid(epoch, counter), who)

    def _commit(self, zxid: int, who: str) -> None:
        payload = self._payloads.get(zxid)
        if payload is None:
            raise Violation(f"{who} has committed 0x{zxid:x}, which is in no log")
        header, body, _ = decode_txn(payload)
        verifiers = [self.verifier]
        config: EnsembleConfig | None = None
        if header.type == Op.RECONFIG:
            assert isinstance(body, SetDataTxn)
            config = parse_config((body.data or b"").decode())
            verifiers.append(make_verifier(config))
        holders = {machine.sid for machine in self.machines if machine.view.holds(zxid, payload)}
        for verifier in verifiers:
            if not verifier.contains_quorum(holders):
                raise Violation(f"{who} has committed 0x{zxid:x}, which only servers {sorted(holders)} have on disk")
        self.append(payload)
        if config is not None:
            self.verifier = verifiers[-1]
            self.on_membership(config)

    # -- what differs from a single server

    def seen(self, zxid: int) -> None:
        """A client was told that its server is at ``zxid``."""
        if zxid > self.model.zxid:
            self.catch_up()
        self.committed(zxid, "a client's server")
        self.acked = max(self.acked, zxid)

    def _is_refused(self, call: Call, code: int) -> bool:
        """Without a look at the tree: the session has moved away, or has ended or is about to."""
        if code not in _UNHEARD:
            return False
        if code == Code.SESSION_MOVED:
            if self.moved.get(call.session_id, -1.0) < call.sent_at:
                raise Violation(f"{call} of session {call.session_id:x}: the session never moved")
        elif call.session_id in self.model.sessions:
            self._check_silence(call.session_id, "is refused")
        return True

    def _check_silence(self, session_id: int, what: str) -> None:
        """What a follower was told by clients it tells its leader half a tick later, unless something breaks."""
        last, timeout_ms = self.touched.get(session_id, (-1e9, 0))
        if session_id in self.closing or self.trouble_at > last - timeout_ms / 1000:
            return
        silence = self._clock() - last
        if silence < (timeout_ms - 2 * self._tick_ms) / 1000:
            raise Violation(f"session {session_id:x} {what} {silence:.3f} s after its last request")
