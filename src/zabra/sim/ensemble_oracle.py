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

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from zabra.config.dynamic import EnsembleConfig, parse_config
from zabra.consts import Op
from zabra.errors import Code
from zabra.sim.calls import Call
from zabra.sim.diskview import DiskView, zxid_of
from zabra.sim.electorate import Electorate
from zabra.sim.judge import Judge
from zabra.sim.violation import Violation
from zabra.tree.tree import DataTree
from zabra.wire.records_txn import SetDataTxn
from zabra.wire.txns import decode_txn
from zabra.zxid import epoch_of, make_zxid

#: Answers to requests that were not looked at.
_UNHEARD: Final = frozenset({Code.SESSION_EXPIRED, Code.SESSION_MOVED})


class Watched(Protocol):
    """What the oracle looks at in one machine."""

    @property
    def sid(self) -> int:
        """Its server id."""

    @property
    def role(self) -> object | None:
        """What its server is as long as it applies what is committed; another object for each time it does."""

    @property
    def leads(self) -> int | None:
        """The epoch that it leads and serves in, or None."""

    @property
    def tree(self) -> DataTree:
        """The tree of the running server."""

    @property
    def view(self) -> DiskView:
        """Its disk."""

    @property
    def membership(self) -> EnsembleConfig:
        """What its running server takes for the committed membership."""


@dataclass(slots=True)
class _Seen:
    """What was last seen of a machine."""

    role: object
    zxid: int = -1


class EnsembleOracle(Judge):
    """Knows every machine. Raises Violation."""

    def __init__(
        self,
        machines: Collection[Watched],
        config: EnsembleConfig,
        clock: Callable[[], float],
        *,
        tick_ms: int,
        enforce_quota: bool = False,
        local_sessions: bool = False,
    ) -> None:
        """``machines`` may grow. ``config``: the membership at first. ``clock`` gives the virtual second."""
        super().__init__(clock, enforce_quota=enforce_quota)
        self.machines = machines
        #: The last epoch that was established, and its leader's id; by epoch.
        self.epoch = 0
        self.leaders: dict[int, int] = {}
        #: The committed membership.
        self.verifier = Electorate(config)
        self.on_membership: Callable[[EnsembleConfig], None] = lambda config: None
        #: Whether nothing has gone wrong by the simulator's doing since some second.
        self.is_calm: Callable[[float], bool] = lambda since: True
        #: A server has begun to serve, whatever its role.
        self.on_serving: Callable[[Watched], None] = lambda machine: None
        #: It serves no more.
        self.on_role_over: Callable[[Watched], None] = lambda machine: None
        #: Every entry that was ever seen on a disk.
        self._payloads: dict[int, bytes] = {}
        #: The zxid that an epoch begins with, where it is not its first.
        self._beginnings: dict[int, int] = {}
        self._seen_of: dict[int, _Seen] = {}
        self._tick_ms = tick_ms
        self._local_sessions = local_sessions
        #: Sessions that began with their server alone knowing them.
        self._local: set[int] = set()

    # -- looking

    def catch_up(self) -> None:
        """Look at every server that serves."""
        for machine in self.machines:
            role = machine.role
            seen = self._seen_of.get(machine.sid)
            if role is None:
                if seen is not None:
                    del self._seen_of[machine.sid]
                    self.on_role_over(machine)
                continue
            if seen is None or seen.role is not role or seen.zxid != machine.tree.last_zxid:
                self.look(machine, role)

    def look(self, machine: Watched, role: object) -> None:
        """A server has applied something, or has begun to serve."""
        seen = self._seen_of.get(machine.sid)
        began = seen is None or seen.role is not role
        if seen is None or began:
            seen = self._seen_of[machine.sid] = _Seen(role)
            leads = machine.leads
            if leads is not None:
                self._established(machine, leads)
        tree = machine.tree
        zxid = seen.zxid = tree.last_zxid
        self.committed(zxid, f"server {machine.sid}")
        wanted = self.model.digest_at(zxid)
        if tree.digest_enabled and tree.digest != wanted:
            raise Violation(f"server {machine.sid} at 0x{zxid:x} has digest {tree.digest:x}, not {wanted:x}")
        if began:
            self.on_serving(machine)

    def read_disks(self) -> None:
        """See what is new in the logs."""
        for machine in self.machines:
            for payload in machine.view.refresh():
                zxid = zxid_of(payload)
                known = self._payloads.setdefault(zxid, payload)
                if known != payload:
                    raise Violation(f"0x{zxid:x} on the disk of server {machine.sid} differs from another disk's")

    def _established(self, machine: Watched, epoch: int) -> None:
        """``machine`` leads and serves: what it has is committed."""
        sid = machine.sid
        other = self.leaders.setdefault(epoch, sid)
        if other != sid:
            raise Violation(f"servers {other} and {sid} both lead epoch 0x{epoch:x}")
        self.read_disks()
        began = [zxid for zxid in machine.view.entries if epoch_of(zxid) == epoch]
        self._beginnings[epoch] = min([zxid - 1 for zxid in began] + [machine.tree.last_zxid])
        last = max((zxid for zxid in machine.view.entries if zxid < make_zxid(epoch, 0)), default=0)
        snapshots = [zxid for zxid in machine.view.snapshots() if zxid < make_zxid(epoch, 0)]
        last = max((last, *snapshots))
        if epoch < self.epoch:
            # It has not heard yet that the quorum which followed it follows somebody else.
            self.committed(last, f"server {sid}, as late leader of epoch 0x{epoch:x},")
            return
        if last > self.model.zxid:
            self.committed(last, f"server {sid}, as leader of epoch 0x{epoch:x},")
        elif last < self.model.zxid:
            raise Violation(
                f"server {sid} leads epoch 0x{epoch:x} with a history up to 0x{last:x},"
                f" 0x{self.model.zxid:x} was committed"
            )
        self.epoch = epoch
        config = machine.membership
        if config.version > self.verifier.version:
            # A change that was seen, and whose transaction may be lost with the leader before: the epoch completes it.
            self.verifier = Electorate(config)
            self.on_membership(config)

    # -- the history

    def committed(self, zxid: int, who: str) -> None:
        """``who`` has applied everything up to ``zxid``, or was told of it."""
        if zxid <= self.model.zxid:
            if zxid not in self.logged and zxid != self.beginning(epoch_of(zxid)):
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
        if epoch < self.epoch and zxid != self.beginning(epoch):
            raise Violation(f"{who} is at 0x{zxid:x}, which epoch 0x{self.epoch:x} began without")
        self.read_disks()
        for next_zxid in range(max(self.model.zxid, self.beginning(epoch)) + 1, zxid + 1):
            self._commit(next_zxid, who)

    @property
    def newest(self) -> int:
        """The end of the history, or the beginning of an epoch without a transaction yet."""
        return max(self.model.zxid, self.beginning(self.epoch) if self.epoch else 0)

    def beginning(self, epoch: int) -> int:
        """The zxid that a leader of this epoch begins with, which no transaction has."""
        return self._beginnings.get(epoch, make_zxid(epoch, 0))

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
            verifiers.append(Electorate(config))
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

    def session_acked(self, session_id: int) -> None:
        """A client was told that it has a session; one that only its server knows is in no log."""
        self.catch_up()
        if session_id not in self._created and self._local_sessions:
            self._local.add(session_id)
            return
        super().session_acked(session_id)

    def write_acked(self, call: Call, zxid: int, err: int, body: bytes) -> None:
        """The reply to a write has come, or to what no transaction comes of where sessions may be local."""
        if call.session_id in self._local:
            closed = call.op == Op.CLOSE_SESSION and call.session_id not in self._created
            if closed or err == Code.EPHEMERAL_ON_LOCAL_SESSION:
                return
        super().write_acked(call, zxid, err, body)

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
        if session_id in self.closing or not self.is_calm(last - timeout_ms / 1000):
            return
        silence = self._clock() - last
        if silence < (timeout_ms - 2 * self._tick_ms) / 1000:
            raise Violation(f"session {session_id:x} {what} {silence:.3f} s after its last request")
