"""The settings that one server runs with: parsed, checked, and never changed afterwards.

Defaults are those of Apache ZooKeeper 3.9.5. Units are the last word of a name. :mod:`zabra.config.parser` fills it
from ``zoo.cfg``, the environment and the command line; a test builds one with
``Settings(data_dir=..., client_port=0)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from zabra.consts import JUTE_MAX_BUFFER

if TYPE_CHECKING:
    from zabra.config.dynamic import EnsembleConfig

#: Every four-letter word a server knows; ``4lw.commands.whitelist=*`` allows them all.
FOUR_LETTER_WORDS: Final = (
    *("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "ruok", "stmk", "srst", "srvr", "stat"),
    *("wchc", "wchp", "wchs", "mntr", "isro", "hash", "telnet close"),
)


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One ``server.N`` line: ``host:quorumPort:electionPort[:role][;[clientHost:]clientPort]``, ``|`` between hosts."""

    sid: int
    #: (host, quorum port, election port) per address.
    addresses: tuple[tuple[str, int, int], ...]
    observer: bool = False
    client_host: str | None = None
    client_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a server obeys. ``data_dir`` is the only one without a default."""

    # Where the data lies and where clients connect.
    data_dir: str
    #: Empty means ``data_dir``; resolved on construction.
    data_log_dir: str = ""
    #: ``None``: no plain listener; 0: any free port.
    client_port: int | None = None
    #: ``None``: all addresses.
    client_port_address: str | None = None
    #: -1: the default of the operating system.
    client_port_listen_backlog: int = -1
    #: ``myid`` in a member of an ensemble; 1 in a standalone server, whatever ``myid`` says
    #: (``ZooKeeperServer.createSessionTrackerServerId``).
    server_id: int = 1
    #: Absolute path of the file this came from; empty when there was none.
    config_file: str = ""

    # Sessions and connections.
    tick_time_ms: int = 3000
    #: -1 means two ticks; resolved on construction.
    min_session_timeout_ms: int = -1
    #: -1 means twenty ticks; resolved on construction.
    max_session_timeout_ms: int = -1
    #: Per client address; 0: no limit.
    max_client_cnxns: int = 60
    #: In total; 0: no limit.
    max_cnxns: int = 0
    client_tcp_keep_alive: bool = False
    sessionless_cnxn_timeout_ms: int = 10000
    local_sessions_enabled: bool = False
    local_sessions_upgrading_enabled: bool = False
    readonly_mode_enabled: bool = False

    # Storage.
    snap_count: int = 100000
    #: Negative: never by size.
    snap_size_limit_kb: int = 4194304
    #: -1: never by size.
    txn_log_size_limit_kb: int = -1
    #: 0: no preallocation.
    prealloc_kb: int = 65536
    force_sync: bool = True
    fsync_warning_threshold_ms: int = 1000
    #: 0 and less: a batch does not wait for more entries.
    flush_delay_ms: int = 0
    #: -1 means a third of the flush delay; resolved on construction.
    max_write_queue_poll_ms: int = -1
    #: 0: no limit.
    max_batch_size: int = 1000
    digest_enabled: bool = True
    close_session_txn_enabled: bool = True
    serialize_last_processed_zxid_enabled: bool = True
    datadir_autocreate: bool = True
    db_autocreate: bool = True
    snapshot_trust_empty: bool = False
    #: ``""``, ``"gz"`` or ``"snappy"``.
    snapshot_compression: str = ""
    autopurge_snap_retain_count: int = 3
    #: 0: no automatic purge.
    autopurge_purge_interval_hours: int = 0

    # Limits on requests.
    jute_max_buffer: int = JUTE_MAX_BUFFER
    #: Slack added to ``jute_max_buffer`` while records are decoded, not for the length of a frame.
    jute_max_buffer_extra: int = JUTE_MAX_BUFFER
    global_outstanding_limit: int = 1000
    large_request_max_bytes: int = 104857600
    #: -1: no request counts as large.
    large_request_threshold: int = -1
    #: 0: the throttler is off.
    request_throttle_max_requests: int = 0
    request_throttle_stall_time_ms: int = 100
    request_throttle_drop_stale: bool = True
    request_stale_connection_check: bool = True
    request_stale_latency_check: bool = False
    request_throttler_shutdown_timeout_ms: int = 10000
    #: 0: off.
    throttled_op_wait_time_ms: int = 0

    # Limits on new connections (``BlueThrottle``); 0 tokens: off.
    connection_throttle_tokens: int = 0
    connection_throttle_fill_time_ms: int = 1
    connection_throttle_fill_count: int = 1
    #: -1: no random early drop.
    connection_throttle_freeze_time_ms: int = -1
    connection_throttle_drop_increase: float = 0.02
    connection_throttle_drop_decrease: float = 0.002
    connection_throttle_decrease_ratio: float = 0.0
    connection_throttle_weight_enabled: bool = False
    connection_throttle_global_session_weight: int = 3
    connection_throttle_renew_session_weight: int = 2
    connection_throttle_local_session_weight: int = 1

    # The tree.
    skip_acl: bool = False
    enforce_quota: bool = False
    extended_types_enabled: bool = False
    emulate_353_ttl_nodes: bool = False
    container_check_interval_ms: int = 60000
    container_max_per_minute: int = 10000
    #: 0: a container that never had a child stays.
    container_max_never_used_interval_ms: int = 0

    # Who may do what.
    digest_auth_enabled: bool = True
    digest_alg: str = "SHA1"
    super_digest: str | None = field(default=None, repr=False)
    #: (free suffix of the key, class name) in the order of the suffixes.
    auth_providers: tuple[tuple[str, str], ...] = ()
    #: ``None``: the ``ensemble`` scheme has nothing to compare with.
    ensemble_auth_names: tuple[str, ...] | None = None
    enforce_auth_enabled: bool = False
    enforce_auth_schemes: tuple[str, ...] = ()
    session_require_client_sasl_auth: bool = False

    # Operations.
    #: Words that are answered. Only asked for membership.
    four_letter_whitelist: frozenset[str] = frozenset({"srvr"})

    # Membership.
    #: Whom this server belongs to, as configured; ``server_id`` is one of them. None: a standalone server.
    ensemble: EnsembleConfig | None = None
    standalone_enabled: bool = True
    #: Members may change while they run. In a standalone server this decides which refusal a reconfig gets.
    reconfig_enabled: bool = False
    #: The file with the membership; empty: it is in ``config_file`` itself.
    dynamic_config_file: str = ""
    #: One server may have several addresses.
    multi_address_enabled: bool = False
    #: ``None``: two servers ask nobody.
    oracle_path: str | None = None

    # A member of an ensemble: limits in ticks.
    init_limit: int = 0
    sync_limit: int = 0
    #: 0 means ``init_limit``; resolved on construction.
    connect_to_learner_master_limit: int = 0

    # Elections.
    quorum_listen_on_all_ips: bool = False
    cnx_timeout_ms: int = 5000
    #: 0 and less mean ``tick_time_ms * sync_limit``; resolved on construction.
    quorum_cnxn_timeout_ms: int = -1
    #: 0: no end.
    election_port_bind_retry: int = 3
    tcp_keep_alive: bool = False
    fastleader_min_notification_interval_ms: int = 200
    fastleader_max_notification_interval_ms: int = 60000
    #: The most an observer waits, by chance, before it looks for a leader again.
    observer_election_delay_ms: int = 200

    # A leader.
    #: Whether a leader has clients of its own.
    leader_serves: bool = True
    #: At least 500.
    commit_log_count: int = 500
    #: Negative: a learner beyond the committed window gets a snapshot.
    snapshot_size_factor: float = 0.33
    force_snapshot_sync: bool = False
    leader_max_concurrent_snap_syncs: int = 10
    leader_max_concurrent_diff_syncs: int = 100
    #: Negative: off.
    leader_max_time_to_wait_for_epoch_ms: int = -1
    leader_nodelay: bool = True
    #: 0 and less: acknowledgements are not measured.
    leader_ack_logging_frequency: int = 1000
    #: The counter before that of the first proposal of an epoch, for tests.
    initial_counter: int = 0

    # Connections between a leader and its learners.
    message_tracker_enabled: bool = False
    message_tracker_buffer_size: int = 10

    # A learner.
    leader_connect_delay_during_retry_ms: int = 100
    follower_nodelay: bool = True
    enable_eager_acl_check: bool = False
    #: Whether an observer writes a log and snapshots.
    sync_enabled: bool = True
    #: The most an observer waits, by chance, before it connects to a leader again.
    observer_reconnect_delay_ms: int = 0
    #: 0 and less: observers are not served by followers.
    observer_master_port: int = 0
    observer_master_size_limit: int = 33554432

    #: Every system property as Java's would be after the start: ``-D``, environment, and keys of the file.
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Resolve what depends on another setting."""
        if not self.data_log_dir:
            object.__setattr__(self, "data_log_dir", self.data_dir)
        if self.min_session_timeout_ms == -1:
            object.__setattr__(self, "min_session_timeout_ms", 2 * self.tick_time_ms)
        if self.max_session_timeout_ms == -1:
            object.__setattr__(self, "max_session_timeout_ms", 20 * self.tick_time_ms)
        if self.max_write_queue_poll_ms == -1:
            object.__setattr__(self, "max_write_queue_poll_ms", max(self.flush_delay_ms, 0) // 3)
        if self.connect_to_learner_master_limit == 0:
            object.__setattr__(self, "connect_to_learner_master_limit", self.init_limit)
        if self.quorum_cnxn_timeout_ms <= 0:
            object.__setattr__(self, "quorum_cnxn_timeout_ms", self.tick_time_ms * self.sync_limit)

    @property
    def is_distributed(self) -> bool:
        """Whether this describes a member of an ensemble (``QuorumPeerConfig.isDistributed``)."""
        return self.ensemble is not None

    @property
    def config_backward_compatible(self) -> bool:
        """Whether the membership stands in ``config_file`` itself (``configBackwardCompatibilityMode``)."""
        return not self.dynamic_config_file
