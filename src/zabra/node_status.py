"""A server as operators see it: what the four-letter words are answered from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from zabra.admin.fourletter import DEFAULT_TRACE_MASK
from zabra.admin.status import (
    ConnectionStatus,
    LeaderStatus,
    MemberStatus,
    Peer,
    StatusSource,
    WatchCounts,
    folder_size,
)
from zabra.config.model import Settings
from zabra.frontend.connection import Connection
from zabra.obs.stats import ServerStats
from zabra.pipeline.localsessions import LocalSessions
from zabra.quorum.following import Following
from zabra.quorum.leading import Leading
from zabra.sessions.tracker import SessionTracker
from zabra.tree.quota import namespace_gauges

if TYPE_CHECKING:
    from zabra.node import Server


class NodeStatus(StatusSource):
    """Reads everything at the moment of asking."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.trace_mask = DEFAULT_TRACE_MASK

    @property
    def settings(self) -> Settings:
        return self._server.settings

    @property
    def stats(self) -> ServerStats:
        return self._server.stats

    @property
    def serving(self) -> bool:
        return self._server.serving

    @property
    def mode(self) -> str:
        member = self._server.member
        return member.mode if member is not None else "standalone"

    @property
    def member(self) -> MemberStatus | None:
        member = self._server.member
        if member is None:
            return None
        membership = member.context.membership
        own = membership.own
        if own is None:
            # Removed from the membership it started with: it follows on without a vote (``updateLearnerType``).
            configured = self.settings.ensemble
            assert configured is not None
            own = dataclasses.replace(configured.members[membership.my_id], observer=False)
        role = member.role
        # Whoever serves has been through discovery and synchronisation.
        peer_state = f"{member.election.state.name.lower()} - broadcast"
        leader = self._leader(role) if isinstance(role, Leading) else None
        master = observers = None
        if isinstance(role, Following):
            master = role.master_id if role.observer else None
            observers = role.informing.core.attached if role.informing is not None else None
        elif isinstance(role, Leading):
            observers = role.core.statistics().observers
        return MemberStatus(membership.config, own, peer_state, leader, master, observers)

    def _leader(self, role: Leading) -> LeaderStatus:
        statistics = role.core.statistics()
        uptime_s = self._server.runtime.clock.monotonic() - role.established_at
        return LeaderStatus(
            learners=statistics.learners,
            synced_followers=statistics.followers,
            synced_non_voting_followers=statistics.followers_without_vote,
            pending_syncs=statistics.pending_syncs,
            uptime_ms=int(uptime_s * 1000),
        )

    @property
    def client_port(self) -> int:
        return self._server.client_port or -1

    @property
    def last_zxid(self) -> int:
        return self._server.tree.last_zxid

    @property
    def outstanding(self) -> int:
        return self._server.pipeline.outstanding

    @property
    def uptime_ms(self) -> int:
        return int((self._server.runtime.clock.monotonic() - self._server.started_at) * 1000)

    @property
    def node_count(self) -> int:
        return self._server.tree.node_count

    @property
    def watch_count(self) -> int:
        return self._server.tree.watches.count

    @property
    def ephemeral_count(self) -> int:
        return self._server.tree.ephemeral_count

    @property
    def data_size(self) -> int:
        return self._server.tree.data_size

    @property
    def session_count(self) -> int:
        return len(self._server.db.sessions)

    @property
    def local_session_count(self) -> int:
        pipeline = self._server.pipeline
        return pipeline.count if isinstance(pipeline, LocalSessions) else 0

    @property
    def connection_drop_probability(self) -> float:
        return self._server.throttle.drop_chance

    def data_dir_size(self) -> int:
        return folder_size(self._server.runtime.disk, self._server.folders.snapshots)

    def log_dir_size(self) -> int:
        return folder_size(self._server.runtime.disk, self._server.folders.logs)

    def connections(self) -> Iterable[ConnectionStatus]:
        return [self._connection(connection) for connection in self._server.hub.connections]

    def _connection(self, c: Connection) -> ConnectionStatus:
        return ConnectionStatus(
            peer=c.peer,
            interest=c.interest,
            queued=c.waiting,
            received=c.received,
            sent=c.sent + c.events,
            session_id=c.session.id if c.session is not None else 0,
            last_op=c.last_op or None,
            established_ms=c.established_ms,
            timeout_ms=c.timeout_ms,
            last_cxid=c.last_xid,
            last_zxid=c.last_zxid,
            last_response_ms=int(c.last_seen * 1000) if c.last_op else 0,
            last_latency_ms=c.latency_last_ms,
            min_latency_ms=c.latency_min_ms,
            avg_latency_ms=c.latency_total_ms // c.sent if c.sent else 0,
            max_latency_ms=c.latency_max_ms,
        )

    def connection_count(self) -> int:
        return len(self._server.hub.connections)

    def reset_connection_stats(self) -> None:
        for connection in self._server.hub.connections:
            connection.reset_stats()

    def _to_wall(self, monotonic_ms: float) -> int:
        clock = self._server.runtime.clock
        return clock.wall_ms() + int(monotonic_ms - clock.monotonic() * 1000)

    def session_buckets(self) -> Iterable[tuple[int, list[int]]] | None:
        pipeline = self._server.pipeline
        sessions = pipeline.behind.sessions if isinstance(pipeline, LocalSessions) else pipeline.sessions
        return self._buckets(sessions) if isinstance(sessions, SessionTracker) else None

    def session_timeouts(self) -> Mapping[int, int]:
        return self._server.db.sessions

    def local_session_buckets(self) -> Iterable[tuple[int, list[int]]] | None:
        pipeline = self._server.pipeline
        return self._buckets(pipeline.tracker) if isinstance(pipeline, LocalSessions) else None

    def _buckets(self, tracker: SessionTracker) -> list[tuple[int, list[int]]]:
        return [(self._to_wall(deadline), [session.id for session in some]) for deadline, some in tracker.buckets()]

    def connection_buckets(self) -> Iterable[tuple[int, list[tuple[Peer, int]]]]:
        width = self.settings.sessionless_cnxn_timeout_ms
        buckets: dict[int, list[tuple[Peer, int]]] = {}
        for c in self._server.hub.connections:
            deadline = (int(c.last_seen * 1000) + c.timeout_ms) // width * width + width
            buckets.setdefault(deadline, []).append((c.peer, c.session.id if c.session is not None else 0))
        return [(self._to_wall(deadline), buckets[deadline]) for deadline in sorted(buckets)]

    def ephemerals(self) -> Iterable[tuple[int, list[bytes]]]:
        return [(session_id, list(paths)) for session_id, paths in self._server.tree.ephemerals.items()]

    def watch_counts(self) -> WatchCounts:
        summary = self._server.tree.watches.data.summary()
        return WatchCounts(summary.watchers, summary.paths, summary.watches)

    def watches_by_session(self) -> Iterable[tuple[int, list[bytes]]]:
        for watcher, paths in self._server.tree.watches.data.watchers_with_paths():
            yield _session_of(watcher), paths

    def watches_by_path(self) -> Iterable[tuple[bytes, list[int]]]:
        for path, watchers in self._server.tree.watches.data.paths_with_watchers():
            yield path, [_session_of(watcher) for watcher in watchers]

    def digest_log(self) -> Iterable[tuple[int, int]]:
        return list(self._server.tree.digest_log.items())

    def quota_gauges(self) -> Mapping[str, Mapping[str, int | None]]:
        return namespace_gauges(self._server.tree, self._server.tree.quotas)


def _session_of(watcher: object) -> int:
    assert isinstance(watcher, Connection)
    return watcher.session.id if watcher.session is not None else 0
