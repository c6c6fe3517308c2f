"""[hot] What a member measures of its ensemble, under the names of ``mntr``.

An age is the time since a leader made a transaction: a wall clock in its header against ours, in ms. Where it is
negative, because the clocks differ, it is left out. Writes that come together were made in the same millisecond, or
nearly so, one after the other: those of one are added at once. (Where the leader's clock was set back in between, some
count as their neighbours do.) Source: ``Request.logLatency``,
``QuorumPeer.setZabState`` and whoever calls them (3.9.5).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final

from zabra.obs.metrics import Metrics, Summary
from zabra.runtime.ports import Clock
from zabra.zab.syncplan import Entry

#: The time in a TxnHeader.
_TIME_AT: Final = 20
_time_at: Callable[[bytes, int], tuple[int]] = Struct(">q").unpack_from


def _made_ms(entry: Entry) -> int:
    return _time_at(entry[1], _TIME_AT)[0]


class Measures:
    """Those of one member, over all of its roles."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._wall_ms = clock.wall_ms
        self._monotonic = clock.monotonic
        #: Monotonic second at which this server last stopped serving; None while it serves, and before all.
        self._unavailable_since: float | None = None

    # -- roles

    def looks(self) -> float:
        """An election begins; the monotonic second of now."""
        self._metrics.count("looking_count")
        now = self._monotonic()
        if self._unavailable_since is None:
            self._unavailable_since = now
        return now

    def elected(self, since: float) -> None:
        """The election that began at that second has made this server a leader or follower."""
        self._metrics.observe("election_time", self._ms_since(since))

    def serves(self, *, leads: bool) -> None:
        """A role has begun to serve."""
        if self._unavailable_since is None:
            return
        elapsed_ms = self._ms_since(self._unavailable_since)
        self._unavailable_since = None
        self._metrics.observe("unavailable_time", elapsed_ms)
        if leads:
            self._metrics.observe("leader_unavailable_time", elapsed_ms)

    def synced(self, since: float, *, observer: bool) -> None:
        """The leader that was agreed with on an epoch at that second has brought this server into step."""
        self._metrics.observe("observer_sync_time" if observer else "follower_sync_time", self._ms_since(since))

    def _ms_since(self, second: float) -> int:
        return int((self._monotonic() - second) * 1000)

    # -- transactions

    def proposed(self, entries: Sequence[Entry]) -> None:
        """A follower was told these."""
        metrics = self._metrics
        metrics.count("learner_proposal_received_count", len(entries))
        self._add_ages(entries, metrics.proposal_latency)

    def logged(self, entries: Sequence[Entry]) -> None:
        """These are on disk, and are acknowledged."""
        self._add_ages(entries, self._metrics.proposal_ack_creation_latency)

    def agreed(self, entries: Sequence[Entry]) -> None:
        """The leader has the acks that these need."""
        metrics = self._metrics
        metrics.count("commit_count", len(entries))
        self._add_ages(entries, metrics.quorum_ack_latency)

    def told_committed(self, entries: Sequence[Entry]) -> None:
        """A learner was told that these are committed."""
        metrics = self._metrics
        metrics.count("learner_commit_received_count", len(entries))
        self._add_ages(entries, metrics.commit_propagation_latency)

    def committed(self, entries: Sequence[Entry], since: float) -> None:
        """These are in the tree, a round of the commit processor, which began at monotonic second ``since``."""
        metrics = self._metrics
        count = len(entries)
        metrics.count("request_commit_queued", count)
        metrics.observe("commit_commit_proc_req_queued", count)
        metrics.observe("write_commit_proc_issued", count)
        metrics.observe("commit_process_time", self._ms_since(since))
        self._add_ages(entries, metrics.propagation_latency)

    def acknowledged(self, sid: int, entries: Iterable[Entry]) -> None:
        """A server's acks of these, which are a sample, have come."""
        now_ms = self._wall_ms()
        for entry in entries:
            made_ms = _made_ms(entry)
            if now_ms >= made_ms:
                self._metrics.ack_latency.add(str(sid), now_ms - made_ms)

    def _add_ages(self, entries: Sequence[Entry], summary: Summary) -> None:
        now_ms = self._wall_ms()
        at, end = 0, len(entries)
        last_ms = _made_ms(entries[-1])
        while at < end:
            made_ms = _made_ms(entries[at])
            stop = end if made_ms == last_ms else bisect_right(entries, made_ms, at, end, key=_made_ms)
            if now_ms >= made_ms:
                summary.add_many(now_ms - made_ms, stop - at)
            at = stop

    # -- learners

    def syncs_in_progress(self, snapshots: bool, count: int) -> None:
        """A sync of this kind has begun or ended; how many are on their way now."""
        self._metrics.observe("inflight_snap_count" if snapshots else "inflight_diff_count", count)

    def queue(self, sid: int, count: int) -> None:
        """So many writes to a learner wait for its socket."""
        self._metrics.learner_handler_qp_size.add(str(sid), count)

    def waited(self, sid: int, since: float) -> None:
        """What was to be sent to a learner at monotonic second ``since`` has left for its socket."""
        self._metrics.learner_handler_qp_time_ms.add(str(sid), self._ms_since(since))
