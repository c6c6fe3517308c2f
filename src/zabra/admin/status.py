"""What a node must supply so that four-letter words can be answered, and the gauges drawn from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from zabra import ZOOKEEPER_VERSION, __version__
from zabra.config.dynamic import EnsembleConfig
from zabra.config.model import ServerLine, Settings
from zabra.obs.metrics import Metrics, Number
from zabra.obs.stats import ServerStats

if TYPE_CHECKING:
    from zabra.runtime.ports import Disk

#: What ``srvr``, ``mntr`` and ``envi`` say; begins with the release of ZooKeeper whose behaviour this is.
FULL_VERSION: Final = f"{ZOOKEEPER_VERSION}-zabra-{__version__}, built on 2026-11-24 00:00 UTC"
#: The mode of a member that is cut off; like ``ReadOnlyZooKeeperServer`` it tells nothing of quorum and membership.
READ_ONLY: Final = "read-only"

Peer = tuple[str, int]


class ConnectionStatus(NamedTuple):
    """One client connection as ``cons`` shows it."""

    #: Address and port of the client.
    peer: Peer
    #: Java's interest set: 1 while the socket is read, 4 while replies wait for it, 0 when it is being closed.
    interest: int
    #: Requests read and not yet answered.
    queued: int
    received: int
    sent: int
    #: 0 without a session; then nothing below is shown.
    session_id: int = 0
    #: Opcode of the last request answered; ``None`` before the first and after ``crst``.
    last_op: int | None = None
    #: Wall clock, ms since 1970.
    established_ms: int = 0
    timeout_ms: int = 0
    #: -1: none yet.
    last_cxid: int = -1
    last_zxid: int = -1
    #: Monotonic clock, ms.
    last_response_ms: int = 0
    last_latency_ms: int = 0
    min_latency_ms: int = 0
    avg_latency_ms: int = 0
    max_latency_ms: int = 0


class WatchCounts(NamedTuple):
    """Data watches in numbers: connections that have some, paths that are watched, watches."""

    connections: int
    paths: int
    total: int


class LeaderStatus(NamedTuple):
    """The learners of a leader (gauges of ``LeaderZooKeeperServer``)."""

    #: Connections, in whatever stage.
    learners: int
    #: Followers that get every proposal, and those of them without a vote.
    synced_followers: int
    synced_non_voting_followers: int
    #: Zxids whose commit a sync request waits for.
    pending_syncs: int
    #: Since the epoch was established.
    uptime_ms: int


class MemberStatus(NamedTuple):
    """What a member of an ensemble has to tell besides."""

    #: The membership in force.
    config: EnsembleConfig
    #: Where we listen and whether we have a vote; ours even when we are no member any more.
    own: ServerLine
    #: ``following``, and behind `` - `` the phase of the protocol.
    peer_state: str
    #: While this server leads.
    leader: LeaderStatus | None = None
    #: Of an observer: the id of the server that it learns from.
    observer_master: int | None = None
    #: Observers that get every commit from this server; None where it takes none.
    synced_observers: int | None = None


class StatusSource(Protocol):
    """One node, seen by an operator. Everything is read at the moment of asking; a dump may walk all it shows."""

    #: ``stmk`` sets it, ``gtmk`` shows it; a new node has 306 as Java's ``ZooTrace``.
    trace_mask: int

    @property
    def settings(self) -> Settings:
        """What the node obeys."""

    @property
    def stats(self) -> ServerStats:
        """Latency, packets, metrics."""

    @property
    def serving(self) -> bool:
        """Whether requests are answered; ``False`` before RUNNING and while stopping."""

    @property
    def mode(self) -> str:
        """``standalone``, ``leader``, ``follower``, ``observer`` or ``read-only``."""

    @property
    def member(self) -> MemberStatus | None:
        """How it stands in its ensemble; None in a standalone server."""

    @property
    def client_port(self) -> int:
        """The port in use, -1 without one."""

    @property
    def last_zxid(self) -> int:
        """The last zxid applied."""

    @property
    def outstanding(self) -> int:
        """Requests in process."""

    @property
    def uptime_ms(self) -> int:
        """Time since the node was made."""

    @property
    def node_count(self) -> int:
        """Entries of the node map, as stock counts them."""

    @property
    def watch_count(self) -> int:
        """Data and child watches."""

    @property
    def ephemeral_count(self) -> int:
        """Ephemeral nodes."""

    @property
    def data_size(self) -> int:
        """Characters of paths plus bytes of data."""

    @property
    def session_count(self) -> int:
        """Global sessions."""

    @property
    def local_session_count(self) -> int:
        """Sessions that only this node knows."""

    @property
    def connection_drop_probability(self) -> float:
        """Chance with which a new connection is refused before the bucket is empty."""

    def data_dir_size(self) -> int:
        """Bytes of all files below the snapshot folder."""

    def log_dir_size(self) -> int:
        """Bytes of all files below the log folder."""

    def connections(self) -> Iterable[ConnectionStatus]:
        """Open connections, the asking one included."""

    def connection_count(self) -> int:
        """How many there are."""

    def reset_connection_stats(self) -> None:
        """``crst``: counters of every connection start again."""

    def session_buckets(self) -> Iterable[tuple[int, list[int]]] | None:
        """(when it expires, wall clock in ms; session ids) per expiry bucket, soonest first; None: elsewhere."""

    def session_timeouts(self) -> Mapping[int, int]:
        """Timeout in ms of every global session, by id."""

    def local_session_buckets(self) -> Iterable[tuple[int, list[int]]] | None:
        """The buckets of local sessions; None: there are to be none."""

    def connection_buckets(self) -> Iterable[tuple[int, list[tuple[Peer, int]]]]:
        """(when it is closed for silence, wall clock in ms; peer and session id) per bucket, soonest first."""

    def ephemerals(self) -> Iterable[tuple[int, list[bytes]]]:
        """(session id, paths) of every session that owns ephemeral nodes."""

    def watch_counts(self) -> WatchCounts:
        """Data watches in numbers."""

    def watches_by_session(self) -> Iterable[tuple[int, list[bytes]]]:
        """(session id, paths) of data watches."""

    def watches_by_path(self) -> Iterable[tuple[bytes, list[int]]]:
        """(path, session ids) of data watches."""

    def digest_log(self) -> Iterable[tuple[int, int]]:
        """(zxid, tree digest), oldest first, at most 1024 of them."""

    def quota_gauges(self) -> Mapping[str, Mapping[str, int | None]]:
        """Per gauge name of ``quota_*_per_namespace``: first path element to value."""


def register_gauges(metrics: Metrics, source: StatusSource) -> None:
    """Let ``metrics`` ask ``source`` for every gauge that all servers have (``ZooKeeperServer.registerMetrics``)."""
    stats = source.stats
    gauge = metrics.register_gauge
    gauge("avg_latency", lambda: stats.avg_latency_ms)
    gauge("max_latency", lambda: stats.max_latency_ms)
    gauge("min_latency", lambda: stats.min_latency_ms)
    gauge("packets_received", lambda: stats.packets_received)
    gauge("packets_sent", lambda: stats.packets_sent)
    gauge("num_alive_connections", source.connection_count)
    gauge("outstanding_requests", lambda: source.outstanding)
    gauge("uptime", lambda: source.uptime_ms)
    gauge("znode_count", lambda: source.node_count)
    gauge("watch_count", lambda: source.watch_count)
    gauge("ephemerals_count", lambda: source.ephemeral_count)
    gauge("approximate_data_size", lambda: source.data_size)
    gauge("global_sessions", lambda: source.session_count)
    gauge("local_sessions", lambda: source.local_session_count)
    gauge("open_file_descriptor_count", open_file_descriptors)
    gauge("max_file_descriptor_count", max_file_descriptors)
    gauge("connection_drop_probability", lambda: source.connection_drop_probability)
    gauge("last_client_response_size", lambda: stats.last_response_size)
    gauge("max_client_response_size", lambda: stats.max_response_size)
    gauge("min_client_response_size", lambda: stats.min_response_size)
    gauge("outstanding_tls_handshake", _zero)
    gauge("auth_failed_count", lambda: stats.auth_failed_count)
    gauge("non_mtls_remote_conn_count", _zero)
    gauge("non_mtls_local_conn_count", _zero)
    for kind in ("count_limit", "bytes_limit", "count_usage", "bytes_usage"):
        name = f"quota_{kind}_per_namespace"
        metrics.register_gauge_set(name, lambda name=name: source.quota_gauges().get(name, {}))  # type: ignore[misc]


def register_member_gauges(metrics: Metrics, source: StatusSource) -> None:
    """The gauges of a member, some only while it leads (``QuorumZooKeeperServer``, ``LeaderZooKeeperServer``)."""
    gauge = metrics.register_gauge
    stats = source.stats

    def leading(read: Callable[[LeaderStatus], Number]) -> Callable[[], Number | None]:
        def value() -> Number | None:
            member = source.member
            return read(member.leader) if member is not None and member.leader is not None else None

        return value

    def quorum_size() -> Number | None:
        member = source.member
        return len(member.config.voters) if member is not None and source.mode != READ_ONLY else None

    def synced_observers() -> Number | None:
        member = source.member
        return member.synced_observers if member is not None else None

    gauge("quorum_size", quorum_size)
    gauge("learners", leading(lambda leader: leader.learners))
    gauge("synced_followers", leading(lambda leader: leader.synced_followers))
    gauge("synced_non_voting_followers", leading(lambda leader: leader.synced_non_voting_followers))
    gauge("synced_observers", synced_observers)
    gauge("pending_syncs", leading(lambda leader: leader.pending_syncs))
    gauge("leader_uptime", leading(lambda leader: leader.uptime_ms))
    gauge("last_proposal_size", leading(lambda _: stats.last_proposal_size))
    gauge("max_proposal_size", leading(lambda _: stats.max_proposal_size))
    gauge("min_proposal_size", leading(lambda _: stats.min_proposal_size))


def _zero() -> Number:
    """Gauges of features that a standalone server without TLS never moves; stock has them at 0 as well."""
    return 0


def open_file_descriptors() -> int:
    """Descriptors this process has open, -1 where the system does not say."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return -1


def max_file_descriptors() -> int:
    """How many this process may open, -1 where the system does not say."""
    try:
        import resource
    except ImportError:
        return -1
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def folder_size(disk: Disk, path: str) -> int:
    """Bytes of all files below ``path``; files that vanish meanwhile count nothing."""
    total = 0
    try:
        names = disk.listdir(path)
    except OSError:
        return 0
    for name in names:
        inner = f"{path}/{name}"
        try:
            total += folder_size(disk, inner) if disk.is_dir(inner) else disk.size(inner)
        except OSError:
            continue
    return total
