"""A member of an ensemble, wired: the server around its roles (:class:`zabra.quorum.context.Host`)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zabra.node_serving import Serving
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.ports import Pipeline
from zabra.quorum.configfiles import ConfigFiles
from zabra.quorum.context import Context
from zabra.quorum.membership import Membership
from zabra.quorum.peer import Member
from zabra.storage.epochs import load_epochs
from zabra.storage.recovery import Recovered

if TYPE_CHECKING:
    from zabra.node import Server

_log = logging.getLogger(__name__)


class MemberHost:
    """The server of one member."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rebinding: asyncio.Task[None] | None = None

    # -- the steps of the start

    def start_session_tracker(self, recovered: Recovered) -> None:
        """A leader tracks them, from the beginning of its role on."""

    def wire_stages(self) -> None:
        """Roles wire their own; this makes what takes the roles. Raises :class:`DataError`, :class:`ConfigError`."""
        self._server.member = _new_member(self._server, self)

    async def run(self) -> None:
        """Look for a leader."""
        assert self._server.member is not None
        await self._server.member.start()

    # -- the end

    def flush(self) -> None:
        """A role ends as if it were cut off: clients ask the next leader again."""

    async def stop(self) -> None:
        """Leave the role, and the ensemble's connections."""
        if self._server.member is not None:
            await self._server.member.stop()

    # -- while it runs, called by the roles

    def serve(
        self,
        pipeline: Pipeline,
        *,
        authority: LocalPipeline | None = None,
        clients: bool = True,
        read_only: bool = False,
    ) -> None:
        """A role has begun to serve."""
        server = self._server
        server.pipeline = pipeline
        serving = server.serving_parts = Serving(server, pipeline)
        if authority is not None:
            serving.do_chores(server, authority)
            # As in Apache a leader leaves a snapshot of what it begins with.
            serving.snapshotter.take_nowait()
        if clients:
            serving.take_clients(read_only=read_only)

    def halt(self) -> None:
        """It serves nobody any more."""
        serving, self._server.serving_parts = self._server.serving_parts, None
        if serving is not None:
            serving.end()

    def commit_turn(self, writes: Sequence[Any], started: float) -> None:
        """Have the pipeline commit."""
        serving = self._server.serving_parts
        assert serving is not None
        serving.commit_turn(writes, started)

    def end_turn(self) -> None:
        """Write what clients were answered."""
        self._server.hub.need_end_turn()

    def logged(self, entries: int, size: int) -> None:
        """Something is in the log."""
        if self._server.serving_parts is not None:
            self._server.serving_parts.logged(entries, size)

    def rebind_client_port(self) -> None:
        """The membership may have given us another client address."""
        if self._rebinding is None or self._rebinding.done():
            self._rebinding = self._server.loop.create_task(self._server.rebind(), name="client port")

    def share_requests(self, parts: int) -> None:
        """The membership tells how many servers share the requests that may be outstanding."""
        server = self._server
        server.hub.outstanding_limit = server.settings.global_outstanding_limit // parts

    def fatal(self, what: str, error: BaseException) -> None:
        """Disk and memory may disagree."""
        self._server.fatal(what, error)

    def exit(self, code: int, reason: str) -> None:
        """The server must not go on."""
        self._server.exit(code, reason)


def _new_member(server: Server, host: MemberHost) -> Member:
    """The member that the settings describe, with the data loaded. Raises :class:`DataError`, :class:`ConfigError`."""
    settings = server.settings
    config = settings.ensemble
    assert config is not None
    disk = server.runtime.disk
    files = None
    if settings.config_file:
        files = ConfigFiles(disk, os.path.abspath(settings.config_file), multi_address=settings.multi_address_enabled)
        if settings.reconfig_enabled and settings.config_backward_compatible:
            files.back_up()
    oracle = settings.oracle_path
    membership = Membership(
        settings.server_id,
        config,
        files,
        reconfig_enabled=settings.reconfig_enabled,
        multi_address=settings.multi_address_enabled,
        read_oracle=(lambda: disk.read(oracle).decode("utf-8", "replace")) if oracle is not None else None,
    )
    membership.load_proposed()
    epochs = load_epochs(disk, server.folders.snapshots, server.db.last_processed)
    context = Context(
        settings,
        server.runtime,
        server.db,
        membership,
        host,
        server.rights,
        server.stats,
        epochs,
        server.folders.snapshots,
        server.new_worker,
    )
    return Member(context)
