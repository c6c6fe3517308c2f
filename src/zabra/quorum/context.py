"""What the roles of a member share, and what the server around them must offer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from zabra.auth.rights import Rights
from zabra.config.dynamic import EnsembleConfig
from zabra.config.model import Settings
from zabra.errors import ConfigError, DataError
from zabra.obs.stats import ServerStats
from zabra.pipeline.eager import EagerChecks
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.localsessions import LocalSessions, Upgradable
from zabra.pipeline.ports import Pipeline
from zabra.pipeline.request import Proposal
from zabra.quorum.measures import Measures
from zabra.quorum.membership import Membership
from zabra.quorum.tracker import Tracker
from zabra.runtime.ports import Runtime, Worker
from zabra.runtime.waiting import result_of
from zabra.sessions.tracker import SessionTracker
from zabra.storage.database import Database
from zabra.storage.epochs import Epochs, write_epoch
from zabra.tree.config_node import write_config
from zabra.tree.node import Node
from zabra.zab.effects import EpochFile
from zabra.zab.election import Election
from zabra.zab.syncplan import Entry

T = TypeVar("T")


class Host(Protocol):
    """The server around a member, which has its clients."""

    def serve(
        self,
        pipeline: Pipeline,
        *,
        authority: LocalPipeline | None = None,
        clients: bool = True,
        read_only: bool = False,
    ) -> None:
        """Serve clients with the database's tree through ``pipeline``, until :meth:`halt`.

        ``authority``: this server leads, so the timed work (expiry, sweeps) is its own.
        """

    def halt(self) -> None:
        """Serve nobody any more: every client connection is closed. Fine when nothing is served."""

    def commit_turn(self, writes: Sequence[Proposal] | Sequence[Entry], started: float) -> None:
        """Have the pipeline commit these, and write everything that comes of it; ``started``: monotonic seconds."""

    def end_turn(self) -> None:
        """Write what clients were answered."""

    def logged(self, entries: int, size: int) -> None:
        """So many log entries of so many bytes are on disk: see whether a snapshot is due."""

    def rebind_client_port(self) -> None:
        """The own client address may have changed with the membership."""

    def share_requests(self, parts: int) -> None:
        """Of the requests that may be outstanding (``globalOutstandingLimit``) this server has one part of so many."""

    def fatal(self, what: str, error: BaseException) -> None:
        """Disk and memory may disagree: end the server with exit code 1."""

    def exit(self, code: int, reason: str) -> None:
        """The server must not go on: end it with this code."""


class Designated(NamedTuple):
    """The next leader by a reconfiguration. Nobody votes then."""

    leader: int
    #: Of the change.
    zxid: int


class Moves(NamedTuple):
    """Where a reconfiguration sends a server."""

    #: Whom it shall follow; None: an election finds that out.
    designated: Designated | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a role ended, and what that means for what comes next."""

    reason: str
    #: The tree in memory stems from a snapshot that is not on disk.
    reload: bool = False
    #: For the next learner, see :class:`zabra.zab.effects.Leave`.
    snapshot_epoch: int | None = None
    #: None: an election finds the next leader.
    designated: Designated | None = None


class Context:
    """One member: its settings, its data, its membership; and what both roles do with them."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        db: Database,
        membership: Membership,
        host: Host,
        rights: Rights,
        stats: ServerStats,
        epochs: Epochs,
        epoch_folder: str,
        new_worker: Callable[[str], Worker],
    ) -> None:
        self.settings = settings
        self.runtime = runtime
        self.db = db
        self.membership = membership
        self.host = host
        self.rights = rights
        self.stats = stats
        self.measures = Measures(stats.metrics, runtime.clock)
        self.loop = asyncio.get_running_loop()
        self.my_id = membership.my_id
        #: Those on disk.
        self.epochs = epochs
        self.election: Election
        self._epoch_folder = epoch_folder
        self.log_worker = new_worker("log")
        self.fill_worker = new_worker("fill")
        self._data_worker = new_worker("data")

    def now_ms(self) -> int:
        """What the cores call now: the loop's milliseconds, which its timers use as well."""
        return int(self.loop.time() * 1000)

    @property
    def keeps_log(self) -> bool:
        """Whether what this server has must be on disk: only an observer can do without (``syncEnabled``)."""
        membership = self.membership
        return (
            self.settings.sync_enabled or not membership.is_observer or self.my_id in membership.last_seen.config.voters
        )

    def store_epoch(self, which: EpochFile, epoch: int) -> None:
        """Durable when this returns. Raises ``OSError``."""
        write_epoch(self.runtime.disk, self._epoch_folder, which.value, epoch)
        if which is EpochFile.ACCEPTED:
            self.epochs = self.epochs._replace(accepted=epoch)
        elif which is EpochFile.CURRENT:
            self.epochs = self.epochs._replace(current=epoch)

    def in_worker(self, job: Callable[[], T], done: Callable[[T | None, BaseException | None], None]) -> None:
        """Run blocking work on the data beside the loop, then ``done(result, error)`` on it."""
        self._data_worker.submit(job, done)

    async def wait_worker(self, job: Callable[[], T]) -> T:
        """The same for who can wait."""
        return await result_of(self._data_worker, job)

    def new_tracker(self) -> Tracker | None:
        """For one connection, where the settings want its packets tracked."""
        settings = self.settings
        if not settings.message_tracker_enabled:
            return None
        limit = settings.jute_max_buffer + settings.jute_max_buffer_extra
        return Tracker(settings.message_tracker_buffer_size, self.runtime.clock.wall_ms, limit)

    def with_eager_checks(
        self, pipeline: Pipeline, node_of: Callable[[bytes], Node | None], is_settled: Callable[[int], bool]
    ) -> Pipeline:
        """``pipeline``, with rights checked in front of it where the settings say so; see :class:`EagerChecks`."""
        settings = self.settings
        if not settings.enable_eager_acl_check:
            return pipeline
        limit = settings.jute_max_buffer + settings.jute_max_buffer_extra
        return EagerChecks(pipeline, self.rights, node_of, is_settled, limit)

    def with_local_sessions(
        self, pipeline: Pipeline, upgrade: Upgradable | None, *, refuse_ephemerals: bool = True
    ) -> Pipeline:
        """``pipeline``, with local sessions in front of it where the settings say so."""
        settings = self.settings
        if not settings.local_sessions_enabled:
            return pipeline
        clock = self.runtime.clock
        return LocalSessions(
            pipeline,
            SessionTracker(self.my_id, settings.tick_time_ms, int(clock.monotonic() * 1000)),
            self.loop,
            clock.monotonic,
            upgrade=upgrade if settings.local_sessions_upgrading_enabled else None,
            refuse_ephemerals=refuse_ephemerals,
        )

    def show_membership(self) -> None:
        """Have clients read the committed membership from the config node, and this server take its share of them.

        All who vote but one share what may be outstanding; an observer, and one of two voters, may have all of it
        (``LeaderZooKeeperServer`` and ``FollowerZooKeeperServer.getGlobalOutstandingLimit``).
        """
        membership = self.membership
        write_config(self.db.tree, membership.config, self.runtime.clock.wall_ms())
        others = len(membership.verifier.voters) - 1
        self.host.share_requests(others if others > 1 and not membership.is_observer else 1)

    def see_membership(self, config: EnsembleConfig) -> None:
        """The last proposed membership; durable. Raises ``OSError``, :class:`ConfigError`."""
        self.membership.see(config)

    def activate(self, config: EnsembleConfig, designated: int | None, zxid: int | None, leader: int) -> Moves | None:
        """A membership is committed; where this sends us when it changes our role or ``leader`` (``processReconfig``).

        Durable. Raises ``OSError``, :class:`ConfigError`.
        """
        membership = self.membership
        if not membership.reconfig_enabled:
            return None
        before = membership.config
        was_observer = membership.is_observer
        changed = membership.commit(config)
        self.show_membership()
        if not changed:
            return None
        self.host.rebind_client_port()
        if designated is None and not _leads_on(leader, before, config):
            # It commits nothing any more, and waits for us to leave: it has not told whom it designates.
            return Moves(None)
        next_leader = designated if designated is not None else leader
        if next_leader != leader or was_observer != membership.is_observer:
            return Moves(Designated(next_leader, zxid if zxid is not None else self.db.last_processed))
        return None


def _leads_on(leader: int, before: EnsembleConfig, config: EnsembleConfig) -> bool:
    """Whether ``leader`` still is a voter, and where it was as far as we know."""
    old, new = before.members.get(leader), config.members.get(leader)
    if new is None or new.observer:
        return False
    return old is None or old.addresses == new.addresses


#: What a failed effect raises when disk or configuration let it down.
DISK_ERRORS = (OSError, DataError, ConfigError)
