"""[hot] Where learners connect to whoever brings them up to date: sockets, connections, their packets and syncs.

A leader has one, and a follower that is a master of observers. Source: ``Leader.LearnerCnxAcceptor``,
``LearnerHandler`` (3.9.5).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Final, NamedTuple

from zabra.errors import ProtocolError
from zabra.quorum.channel import BACKLOG_MAX, Channel, ChannelOwner
from zabra.quorum.context import Context
from zabra.storage.snapstream import SIGNATURE
from zabra.tree.dump import Dump, can_begin
from zabra.zab.packets import PACKET_NAMES, Arrived, Packet, PacketStream, encode
from zabra.zab.syncplan import SyncPlan

_log = logging.getLogger(__name__)

#: Nodes of a snapshot encoded at once.
_NODES: Final = 500


class PortOwner(NamedTuple):
    """Whom a port tells what happens; connections are numbers, none of which comes twice."""

    connected: Callable[[int], None]
    arrived: Callable[[int, list[Arrived]], None]
    #: The connection is gone, and not by :meth:`LearnerPort.hang_up`.
    gone: Callable[[int], None]


class LearnerPort:
    """Some addresses, and the connections of learners that were accepted there.

    ``backlog_max``: a learner that leaves more bytes than this to wait for it is cut.
    """

    def __init__(self, context: Context, owner: PortOwner, *, backlog_max: int = BACKLOG_MAX) -> None:
        self._context = context
        self._owner = owner
        self._backlog_max = backlog_max
        settings = context.settings
        self._limit = settings.jute_max_buffer + settings.jute_max_buffer_extra
        self._stall_s = settings.init_limit * settings.tick_time_ms / 1000
        self._servers: list[asyncio.Server] = []
        self._channels: dict[int, Channel] = {}
        self._numbers: dict[Channel, int] = {}
        self._streams: dict[int, PacketStream] = {}
        #: Connections whose sync is on its way, or whose ack of NEWLEADER is: whether that is by a snapshot.
        self._syncs: dict[int, bool] = {}
        self._next_number = 1
        self._closed = False

    # -- sockets

    async def listen(self, addresses: Iterable[tuple[str, int]]) -> None:
        """On all of these (host, port), or on every own address. Raises ``OSError`` when none can be bound."""
        everywhere = self._context.settings.quorum_listen_on_all_ips
        wanted = dict.fromkeys((None if everywhere else host, port) for host, port in addresses)
        failure = OSError("this server has no quorum address")
        for host, port in wanted:
            try:
                server = await self._context.loop.create_server(self._accept, host, port, reuse_address=True)
            except (OSError, ValueError) as error:
                failure = OSError(f"{host or '*'}:{port}: {error}")
                continue
            self._servers.append(server)
            if self._closed:
                server.close()
                return
        if not self._servers:
            raise failure

    def stop_listening(self) -> None:
        """Take nobody any more."""
        self._closed = True
        for server in self._servers:
            server.close()

    def close(self) -> None:
        """Hang up on everybody."""
        self.stop_listening()
        for channel in list(self._numbers):
            channel.abort()

    def _accept(self) -> Channel:
        owner = ChannelOwner(self._opened, self._received, self._lost)
        return Channel(owner, no_delay=self._context.settings.leader_nodelay, backlog_max=self._backlog_max)

    # -- connections

    def __contains__(self, conn: int) -> bool:
        """Whether a connection is still there."""
        return conn in self._channels

    def send(self, conns: Iterable[int], data: bytes) -> None:
        """Send the same to each of these that is still there."""
        channels = self._channels
        for conn in conns:
            channel = channels.get(conn)
            if channel is not None:
                channel.send(data)

    def hang_up(self, conn: int, reason: str) -> None:
        """Close a connection."""
        channel = self._channels[conn]
        _log.warning("closing the quorum connection with %s: %s", channel.name, reason)
        self._forget(conn)
        channel.abort()

    def _opened(self, channel: Channel) -> None:
        if self._closed:
            channel.abort()
            return
        channel.tracker = self._context.new_tracker()
        number = self._next_number
        self._next_number += 1
        self._channels[number] = channel
        self._numbers[channel] = number
        self._streams[number] = PacketStream(self._limit)
        self._owner.connected(number)

    def _received(self, channel: Channel, data: bytes) -> None:
        number = self._numbers.get(channel)
        if number is None or self._closed:
            return
        try:
            arrived = self._streams[number].feed(data)
        except ProtocolError as error:
            self.hang_up(number, str(error))
            self._owner.gone(number)
            return
        if arrived:
            if channel.tracker is not None:
                channel.tracker.received(arrived)
            if number in self._syncs and any(packet[0] == Packet.ACK for packet in arrived):
                self._count_syncs(self._syncs.pop(number))
            self._owner.arrived(number, arrived)

    def _lost(self, channel: Channel, why: str) -> None:
        number = self._numbers.get(channel)
        if number is not None:
            _log.info("the quorum connection with %s is gone: %s", channel.name, why)
            self._forget(number)
            self._owner.gone(number)

    def _forget(self, number: int) -> None:
        channel = self._channels.pop(number)
        del self._numbers[channel], self._streams[number]
        self._syncs.pop(number, None)

    def measure_queues(self, learners: Iterable[tuple[int, int]]) -> None:
        """Note how much waits for each of these, (connection, server id), and how long what is sent now will."""
        measures = self._context.measures
        now = self._context.runtime.clock.monotonic()
        for conn, sid in learners:
            channel = self._channels.get(conn)
            if channel is not None:
                measures.queue(sid, channel.waiting)
                channel.when_sent(partial(measures.waited, sid, now))

    # -- syncs

    def _count_syncs(self, snapshots: bool) -> None:
        self._context.measures.syncs_in_progress(snapshots, sum(op is snapshots for op in self._syncs.values()))

    def sync(self, conn: int, plan: SyncPlan, sent: Callable[[], None]) -> None:
        """Send what ``plan`` says, then call ``sent``."""
        channel = self._channels[conn]
        _log.info("synchronizing %s by %s of zxid 0x%x", channel.name, PACKET_NAMES[plan.op], plan.zxid)
        self._context.stats.metrics.count("snap_count" if plan.op == Packet.SNAP else "diff_count")
        self._syncs[conn] = plan.op == Packet.SNAP
        self._count_syncs(plan.op == Packet.SNAP)
        tracker = channel.tracker
        if plan.op == Packet.SNAP:
            pieces = self._snapshot()
            if tracker is not None:
                tracker.sent_type(plan.op)
        else:
            pieces = plan.packets(self._context.db)
            if tracker is not None:
                pieces = tracker.watch(pieces)
        channel.stream(pieces, sent, stall_s=self._stall_s)

    def _snapshot(self) -> Generator[bytes, None, None]:
        """SNAP, and the tree as it is when the plan was made: nothing is applied between that and the first piece."""
        db = self._context.db
        while not can_begin(db.tree):
            yield b""
        dump = Dump(db.tree, dict(db.sessions))
        try:
            yield encode(Packet.SNAP, dump.zxid)
            while piece := dump.next_chunk(_NODES):
                yield piece
            yield SIGNATURE
        finally:
            dump.close()
