"""A member of an ensemble (``QuorumPeer``): looks for a leader, takes a role, leaves it, looks again, and so on.

::

    LOOKING --elected--> FOLLOWING, OBSERVING or LEADING --the role ends--> LOOKING
                                                 `--a reconfiguration names the next leader--> a role, without election

Between two roles the tree is what the log on disk says: what a role had logged and not committed is applied at its end,
for this server has it and votes with it (ZOOKEEPER-2845).
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from zabra.config.dynamic import EnsembleConfig
from zabra.errors import ConfigError, DataError
from zabra.pipeline.readonly import ReadOnlyPipeline
from zabra.quorum.context import DISK_ERRORS, Context, Designated, Outcome
from zabra.quorum.elector import Elector
from zabra.quorum.following import Following
from zabra.quorum.leading import Leading
from zabra.quorum.masters import Masters
from zabra.quorum.mesh import BindError, Mesh, MeshOptions
from zabra.zab.effects import EpochFile
from zabra.zab.election import Election, Intervals
from zabra.zab.types import Elected, ServerState
from zabra.zxid import epoch_of

_log = logging.getLogger(__name__)

#: ``QuorumPeer.ServerState`` as ``mntr`` and ``srvr`` name it.
#: How long clients that may do with reads wait for an election, at least one tick.
_READ_ONLY_AFTER_S: Final = 2.0
_MODES: Final = {
    ServerState.LEADING: "leader",
    ServerState.FOLLOWING: "follower",
    ServerState.OBSERVING: "observer",
}


class Member:
    """One server's membership in its ensemble, from :meth:`start` to :meth:`stop`."""

    def __init__(self, context: Context) -> None:
        self.context = context
        settings = context.settings
        membership = context.membership
        self.election = context.election = Election(
            context.my_id,
            membership.verifier,
            make_verifier=membership.make,
            last_zxid=context.db.last_processed,
            current_epoch=context.epochs.current,
            proposed=membership.proposed,
            reconfig_enabled=settings.reconfig_enabled,
            intervals=Intervals(
                settings.fastleader_min_notification_interval_ms, settings.fastleader_max_notification_interval_ms
            ),
        )
        self._elector = Elector(
            self.election,
            self._elected,
            self._adopt,
            self._peer_looking,
            multi_address=settings.multi_address_enabled,
        )
        self.mesh = self._elector.mesh = Mesh(
            context.my_id,
            membership.config,
            self._elector.received,
            proposed=membership.proposed.config if membership.proposed is not None else None,
            options=MeshOptions(
                multi_address=settings.multi_address_enabled,
                listen_on_all_ips=settings.quorum_listen_on_all_ips,
                connect_timeout_s=settings.cnx_timeout_ms / 1000,
                introduction_timeout_s=settings.quorum_cnxn_timeout_ms / 1000,
                keep_alive=settings.tcp_keep_alive,
                bind_tries=settings.election_port_bind_retry,
            ),
        )
        membership.on_change = self._membership_changed
        self._masters = Masters(membership, settings.observer_master_port, context.runtime.random)
        #: The role taken; None while looking.
        self.role: Leading | Following | None = None
        self._decided: asyncio.Future[Elected] | None = None
        self._task: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._pause: asyncio.Task[None] | None = None
        self._stopping = False
        #: Without a role, but clients are served what is here.
        self._reads_only = False

    @property
    def mode(self) -> str:
        """``leader``, ``follower``, ``observer``; without a role ``looking``, or ``read-only`` if clients may read."""
        if self._reads_only:
            return "read-only"
        return _MODES[self.election.state] if self.role is not None else "looking"

    async def start(self) -> None:
        """Listen for elections, then look for a leader. Raises :class:`BindError`."""
        await self.mesh.listen()
        self._task = self.context.loop.create_task(self._live(), name=f"member {self.context.my_id}")

    async def stop(self) -> None:
        """Leave the role, and the ensemble's connections."""
        self._stopping = True
        if self.role is not None:
            self.role.end("the server stops")
        for waited in (self._decided, self._pause):
            if waited is not None and not waited.done():
                waited.cancel()
        if self._task is not None:
            await asyncio.wait((self._task,))
        if self._listening is not None:
            self._listening.cancel()
        self._elector.close()
        self.mesh.close()

    # -- the main loop

    async def _live(self) -> None:
        """Until the server stops. What nobody expected ends the server rather than leave it without a role."""
        reason = "the server has started"
        designated: Designated | None = None
        snapshot_epoch: int | None = None
        what = "the first role could not be taken"
        try:
            while not self._stopping:
                if designated is not None:
                    state = self.election.designate(*designated)
                    leader = designated.leader
                    supporters: frozenset[int] = frozenset()
                    elected = Elected(self.election.current_vote, state, supporters)
                else:
                    elected = await self._look(reason)
                    leader = elected.vote.leader
                what = "what is in memory only could not be saved"
                if self.context.db.unlogged and self.context.keeps_log:
                    await self._save_memory()
                outcome = await self._play(elected, leader, snapshot_epoch)
                reason, designated, snapshot_epoch = outcome.reason, outcome.designated, outcome.snapshot_epoch
                what = "the data could not be loaded again"
                if outcome.reload and not self._stopping:
                    await self.context.wait_worker(self.context.db.load)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except DISK_ERRORS as error:
            self.context.host.fatal(what, error)
        except Exception as error:
            _log.exception("the member's main loop broke off")
            self.context.host.fatal("the member's main loop broke off", error)

    async def _save_memory(self) -> None:
        """An observer without a log has got a vote: what it has in memory only goes to the disk as a snapshot."""
        context = self.context
        last = context.db.last_processed
        epoch = max(context.epochs.current, epoch_of(last))
        _log.info("writing a snapshot of zxid 0x%x, which is in no log", last)
        context.store_epoch(EpochFile.BEGUN, epoch)
        await context.wait_worker(lambda: context.db.save_snapshot(last))
        context.store_epoch(EpochFile.CURRENT, epoch)

    async def _look(self, reason: str) -> Elected:
        context = self.context
        db = context.db
        began = context.measures.looks()
        _log.info("LOOKING at zxid 0x%x of epoch 0x%x: %s", db.last_processed, context.epochs.current, reason)
        self._decided = context.loop.create_future()
        self._elector.look(db.durable_zxid, context.epochs.current)
        timer = self._read_only_later()
        try:
            elected = await self._decided
        finally:
            self._decided = None
            if timer is not None:
                timer.cancel()
            if self._reads_only:
                self._reads_only = False
                context.host.halt()
        if elected.state is not ServerState.OBSERVING:
            context.measures.elected(began)
        return elected

    def _read_only_later(self) -> asyncio.TimerHandle | None:
        """Where wanted: serve reads when the election has not ended soon (``QuorumPeer.run``, case LOOKING)."""
        settings = self.context.settings
        if not settings.readonly_mode_enabled:
            return None
        wait_s = max(_READ_ONLY_AFTER_S, settings.tick_time_ms / 1000)
        return self.context.loop.call_later(wait_s, self._serve_read_only)

    def _serve_read_only(self) -> None:
        context = self.context
        context.show_membership()
        pipeline = ReadOnlyPipeline(context.db.sessions)
        _log.warning("no quorum for a while: serving reads of zxid 0x%x", context.db.last_processed)
        self._reads_only = True
        clients = context.with_local_sessions(pipeline, None, refuse_ephemerals=False)
        context.host.serve(clients, read_only=True)

    async def _play(self, elected: Elected, leader: int, snapshot_epoch: int | None) -> Outcome:
        """Take the role that the election gave, until it ends."""
        context = self.context
        _log.info("%s under server %d: elected in round %d", elected.state.name, leader, elected.vote.round)
        settings = context.settings
        observer = elected.state is ServerState.OBSERVING
        if elected.state is ServerState.LEADING:
            self.role = Leading(context, elected)
        else:
            master = None
            if observer:
                if self._masters.is_round_over(leader):
                    await self._wait_up_to(settings.observer_reconnect_delay_ms)
                master = self._masters.next(leader)
            self.role = Following(context, leader, observer=observer, snapshot_epoch=snapshot_epoch, master=master)
        try:
            outcome = await self.role.run()
        finally:
            self.role = None
        if observer and not self._stopping:
            await self._wait_up_to(settings.observer_election_delay_ms)
        return outcome

    async def _wait_up_to(self, limit_ms: int) -> None:
        """Some time below ``limit_ms``, so that not all observers of a leader that is gone move at once."""
        if limit_ms <= 0:
            return
        delay_s = self.context.runtime.random.randrange(limit_ms) / 1000
        self._pause = self.context.loop.create_task(asyncio.sleep(delay_s), name="observer's pause")
        await self._pause
        self._pause = None

    # -- what the election tells

    def _elected(self, elected: Elected) -> None:
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(elected)

    def _adopt(self, config: EnsembleConfig) -> None:
        """A newer committed membership was heard of while looking."""
        try:
            if self.context.membership.commit(config):
                self.context.host.rebind_client_port()
        except (OSError, ConfigError, DataError) as error:
            self.context.host.fatal("the membership could not be stored", error)

    def _peer_looking(self, sid: int) -> None:
        if isinstance(self.role, Leading):
            self.role.peer_looking(sid)

    def _membership_changed(self) -> None:
        """Connect, listen and vote by the memberships of now."""
        membership = self.context.membership
        proposed = membership.proposed
        self.mesh.set_configs(membership.config, proposed.config if proposed is not None else None)
        if self.election.state is not ServerState.LOOKING:
            self.election.set_configs(membership.verifier, proposed)
        if self._listening is None or self._listening.done():
            self._listening = self.context.loop.create_task(self._listen(), name="election addresses")

    async def _listen(self) -> None:
        """The own election addresses may be others now; one that cannot be bound is named in the log."""
        config = None
        while config is not self.context.membership.config and not self._stopping:
            config = self.context.membership.config
            try:
                await self.mesh.listen()
            except BindError as error:
                _log.error("%s", error)
