"""How a leader brings a learner to its own history: DIFF, TRUNC or SNAP, and which entries follow.

With P the last zxid of the learner, L the last one applied here, [min, max] the committed entries in memory, and
"round" for a zxid whose low word is 0 (an epoch without a transaction, which counts as known)::

    L == P                        DIFF(P), nothing else
    P > max, not round            TRUNC(max)
    min <= P <= max               P among them or round: DIFF(max), entries after P
                                  unknown, same epoch as the next entry: TRUNC(the entry before), entries after that
                                  unknown, next entry of another epoch: SNAP (a TRUNC must not cross epochs)
    P < min                       the same with the log on disk, up to min, then from memory; SNAP when the log does
                                  not reach back to P, is too long, or has a gap
    else                          SNAP(L)

Each entry goes as PROPOSAL and COMMIT. Source: ``LearnerHandler.syncFollower``, ``queueCommittedProposals``,
``ZKDatabase.getProposalsFromTxnLog`` (3.9.5). Unlike there, a log with a gap is never sent (ZOOKEEPER-2099, 2418): one
inside an epoch is seen here, one at the end of an epoch only the storage knows, see :attr:`History.log_base`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple, Protocol

from zabra.errors import ZabraError
from zabra.zab import packets
from zabra.zab.packets import Packet
from zabra.zxid import counter_of, epoch_of

#: ``zookeeper.snapshotSizeFactor``.
SNAPSHOT_SIZE_FACTOR: Final = 0.33


class Entry(NamedTuple):
    """One transaction as in the log: TxnHeader, txn, digest."""

    zxid: int
    data: bytes


#: Bytes that are sent in one go.
_PIECE: Final = 64 << 10

#: An Entry of its fields, in two thirds of the time that its constructor takes.
new_entry: Final = partial(tuple.__new__, Entry)


def number_entries(first: int, payloads: Sequence[bytes]) -> list[Entry]:
    """The entries of payloads with successive zxids, from ``first`` on."""
    return list(map(new_entry, zip(range(first, first + len(payloads)), payloads, strict=True)))


class History(Protocol):
    """What a leader has. Everything in it is committed."""

    @property
    def last_processed(self) -> int:
        """The last zxid that is in the tree; epoch << 32 after an epoch began."""

    @property
    def committed(self) -> Sequence[Entry]:
        """The newest applied entries, oldest first, without a gap."""

    @property
    def log_base(self) -> int:
        """The log on disk has every entry after this zxid: that of the last snapshot that came from elsewhere."""

    @property
    def snapshot_size(self) -> int:
        """Bytes of the newest snapshot file; 0 without one."""

    def log_runs(self, zxid: int) -> Sequence[tuple[int, int]]:
        """The zxids of ``read_log(zxid)`` as (first, last) of each run without a gap, in order. Reads no log.

        Raises :class:`LogChangedError`, as the next two do.
        """

    def log_size(self, zxid: int) -> int:
        """Bytes of the log files behind the one that ``read_log(zxid)`` begins with."""

    def read_log(self, zxid: int) -> Iterator[Entry]:
        """The entries on disk, from the newest log file that begins below ``zxid``; without one, from the first."""


class LogChangedError(ZabraError):
    """The log on disk does not have any more what was there. While it is being sent the connection must be closed."""


class SyncPlan(NamedTuple):
    """What to send. With SNAP there are no entries."""

    #: DIFF, TRUNC or SNAP, and the zxid in that packet.
    op: int
    zxid: int
    #: Where the learner is afterwards; proposals after it come from the leader.
    last: int
    #: Entries (after, up to) from the log on disk; None: none.
    log_range: tuple[int, int] | None = None
    #: Entries from memory, behind those from disk.
    entries: tuple[Entry, ...] = ()

    def packets(self, history: History) -> Generator[bytes, None, None]:
        """The packets of DIFF or TRUNC in pieces of some size, read as they are wanted.

        Raises :class:`LogChangedError`, after a purge say.
        """
        piece: list[bytes] = []
        size = 0
        for data in self._each_packet(history):
            piece.append(data)
            size += len(data)
            if size >= _PIECE:
                yield b"".join(piece)
                piece.clear()
                size = 0
        if piece:
            yield b"".join(piece)

    def _each_packet(self, history: History) -> Iterator[bytes]:
        yield packets.encode(self.op, self.zxid)
        if self.log_range is not None:
            after, upto = self.log_range
            sent = None
            for entry in history.read_log(after):
                if entry.zxid > upto:
                    break
                if entry.zxid <= after:
                    sent = after
                elif sent is None or not follows(entry.zxid, sent):
                    raise LogChangedError(f"the log does not go from 0x{after:x} to 0x{entry.zxid:x} any more")
                else:
                    yield packets.proposal(*entry) + packets.commit(entry.zxid)
                    sent = entry.zxid
            if sent != upto:
                raise LogChangedError(f"the log does not reach 0x{upto:x} any more")
        for zxid, data in self.entries:
            yield packets.proposal(zxid, data) + packets.commit(zxid)


def choose_sync(
    history: History, peer: int, *, size_factor: float = SNAPSHOT_SIZE_FACTOR, force_snapshot: bool = False
) -> SyncPlan:
    """The plan for a learner whose last zxid is ``peer``. A negative ``size_factor`` keeps the log on disk out."""
    last = history.last_processed
    committed = history.committed
    low, high = (committed[0].zxid, committed[-1].zxid) if committed else (last, last)
    plan = None
    if force_snapshot:
        pass
    elif last == peer:
        plan = SyncPlan(Packet.DIFF, peer, peer)
    elif peer > high and counter_of(peer):
        plan = SyncPlan(Packet.TRUNC, high, high)
    elif low <= peer <= high:
        plan = _from_memory(committed, peer, high)
    elif peer < low and size_factor >= 0:
        # A purge may be at work on those files.
        with suppress(LogChangedError):
            plan = _from_disk(history, peer, low, high, size_factor)
    return plan or SyncPlan(Packet.SNAP, last, last)


class _Meeting(NamedTuple):
    """Where the histories part: the packet that says so, and the zxid to go on from."""

    op: int
    zxid: int
    after: int


def _meet(zxids: Iterable[int], peer: int, high: int) -> _Meeting | None:
    """Find ``peer`` among ascending ``zxids``, or where it would be; None: another way must be found."""
    before = None
    for zxid in zxids:
        if zxid == peer:
            return _Meeting(Packet.DIFF, high, peer)
        if zxid > peer:
            if not counter_of(peer):
                return _Meeting(Packet.DIFF, high, peer)
            if before is None or epoch_of(zxid) != epoch_of(peer):
                return None
            return _Meeting(Packet.TRUNC, before, before)
        before = zxid
    return None if counter_of(peer) else _Meeting(Packet.DIFF, high, peer)


def _from_memory(committed: Sequence[Entry], peer: int, high: int) -> SyncPlan | None:
    meeting = _meet((entry.zxid for entry in committed), peer, high)
    if meeting is None:
        return None
    entries = tuple([entry for entry in committed if entry.zxid > meeting.after])
    last = entries[-1].zxid if entries else meeting.after
    return SyncPlan(meeting.op, meeting.zxid, last, None, entries)


def _from_disk(history: History, peer: int, low: int, high: int, size_factor: float) -> SyncPlan | None:
    size_limit = int(history.snapshot_size * size_factor)
    if size_limit and history.log_size(peer) > size_limit:
        return None
    runs = [(first, min(last, low)) for first, last in history.log_runs(peer) if first <= low]
    if not runs or runs[0][0] > peer:
        return None
    meeting = _meet(_around(runs, peer), peer, high)
    if meeting is None or meeting.after < history.log_base:
        return None
    queued = meeting.after
    for first, last in runs:
        if last > queued:
            if first > queued and not follows(first, queued):
                return None
            queued = last
    if queued < low:
        return None
    entries = tuple([entry for entry in history.committed if entry.zxid > queued])
    last = entries[-1].zxid if entries else queued
    return SyncPlan(meeting.op, meeting.zxid, last, (meeting.after, queued), entries)


def _around(runs: Iterable[tuple[int, int]], peer: int) -> Iterator[int]:
    """Of every run the zxids that are next to ``peer``: meeting any other one decides nothing."""
    for first, last in runs:
        yield from sorted({max(first, min(last, zxid)) for zxid in (peer - 1, peer, peer + 1)})


def follows(zxid: int, before: int) -> bool:
    """Whether no transaction can be missing between the two, as far as numbers tell."""
    return zxid == before + 1 or epoch_of(zxid) > epoch_of(before)
