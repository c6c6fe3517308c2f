"""Settings of one server reach the parts that obey them; each part has its own tests of what it does with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from rig import create_body
from test_node_server import Machine, nothing

from zabra.consts import Op
from zabra.errors import DataError
from zabra.frontend.listener import Listener
from zabra.frontend.throttle import RequestThrottle
from zabra.node import Server
from zabra.pipeline.local import LocalPipeline
from zabra.pipeline.persist import Persist
from zabra.storage.snapformat import last_zxid_section
from zabra.tree.owner import OwnerKind


@pytest.fixture
def machine() -> Machine:
    return Machine()


Main = Callable[[Server], Awaitable[None]]


@pytest.fixture
def write(machine: Machine) -> Main:
    """One session, one node."""

    async def main(server: Server) -> None:
        peer = await machine.peer(server)
        assert (await peer.call(Op.CREATE, create_body("/a")))[0] in (0, -110)

    return main


async def snapshot_taken(server: Server) -> None:
    """The one of the start."""
    assert server.serving_parts is not None
    while server.serving_parts.snapshotter.running:
        await asyncio.sleep(0)


def test_a_log_without_a_snapshot_is_trusted_where_that_is_wished(machine: Machine, write: Main) -> None:
    """snapshot.trust.empty."""
    machine.run(write)
    machine.disk.unlink("/data/version-2/snapshot.0")
    with pytest.raises(DataError, match="No snapshot found"):
        machine.run(nothing)
    assert b"/a" in machine.run(nothing, snapshot_trust_empty=True).tree.nodes


def test_a_snapshot_ends_with_its_last_zxid_where_that_is_wished(machine: Machine, write: Main) -> None:
    """serializeLastProcessedZxid.enabled: a section and its seal."""
    machine.run(write)
    machine.run(snapshot_taken, serialize_last_processed_zxid_enabled=False)
    without = machine.disk.read("/data/version-2/snapshot.2")
    machine.run(snapshot_taken, serialize_last_processed_zxid_enabled=True)
    content = machine.disk.read("/data/version-2/snapshot.2")
    assert content.startswith(without)
    assert content.removeprefix(without).startswith(last_zxid_section(2))


@pytest.mark.parametrize("emulated", [False, True])
def test_ttl_nodes_of_3_5_3_are_known_where_that_is_wished(machine: Machine, emulated: bool) -> None:
    """emulate353TTLNodes: the top bit marks them, where it is a session's otherwise."""
    server = machine.run(nothing, extended_types_enabled=True, emulate_353_ttl_nodes=emulated)
    kind = server.tree.owners.kind(-(1 << 63) + 5000)
    assert kind is (OwnerKind.TTL if emulated else OwnerKind.SESSION)


def test_how_long_a_stop_waits_for_what_is_held_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """request_throttler.shutdownTimeout."""
    waited: list[int] = []

    async def drain(_: RequestThrottle, timeout_ms: int) -> None:
        waited.append(timeout_ms)

    monkeypatch.setattr(RequestThrottle, "drain", drain)
    machine.run(nothing, request_throttle_max_requests=1, request_throttler_shutdown_timeout_ms=1234)
    assert waited == [1234]


def test_how_many_may_wait_to_be_accepted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """clientPortListenBacklog."""
    asked: list[int] = []
    bind = Listener.bind

    async def noted(listener: Listener, host: str | None, port: int, backlog: int) -> None:
        asked.append(backlog)
        await bind(listener, host, port, backlog)

    monkeypatch.setattr(Listener, "bind", noted)
    machine.run(nothing, client_port_listen_backlog=77)
    assert asked == [77]


def test_the_log_stage_has_its_settings(machine: Machine) -> None:
    """flushDelay, maxWriteQueuePollTime, maxBatchSize, fsync.warningthresholdms."""

    async def main(server: Server) -> None:
        assert isinstance(server.pipeline, LocalPipeline)
        log = server.pipeline.outbox
        assert isinstance(log, Persist)
        assert (log._flush_delay, log._poll_max, log._max_batch_size, log._sync_warning) == (0.012, 0.007, 34, 0.056)

    machine.run(main, flush_delay_ms=12, max_write_queue_poll_ms=7, max_batch_size=34, fsync_warning_threshold_ms=56)


def test_a_write_and_sync_that_takes_longer_than_the_threshold_is_said(
    machine: Machine, write: Main, caplog: pytest.LogCaptureFixture
) -> None:
    """fsync.warningthresholdms, from the server down to the log."""

    def slow(name: str, where: str) -> None:
        if name == "sync" and "/log." in where:
            machine.clock.now += 0.2

    machine.disk.on_call = slow
    with caplog.at_level(logging.WARNING):
        machine.run(write, fsync_warning_threshold_ms=500)
        assert "the disk is slow" not in caplog.text
        machine.run(write, fsync_warning_threshold_ms=100)
        assert "the disk is slow" in caplog.text
