"""Servers of an ensemble that a test plays itself, packet by packet, towards a whole server."""

from __future__ import annotations

import asyncio
from typing import Any

from ensemble_rig import ELECTION_PORT, QUORUM_PORT, Ensemble, address_of

from zabra.quorum.meshwire import encode_frame, encode_introduction
from zabra.sim.loop import Process
from zabra.zab import packets
from zabra.zab.notification import encode_notification
from zabra.zab.packets import PACKET_NAMES, LearnerHello, PacketStream, singly
from zabra.zab.types import Notification, ServerState
from zabra.zxid import epoch_of, make_zxid


class Wire(asyncio.Protocol):
    """One connection: what came, and whether it is gone."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.data = b""
        self.lost = False
        self.transport: Any = None
        #: What a learner said at first, and the current epoch and last zxid it claimed.
        self.hello: LearnerHello
        self.history: tuple[int, int]
        #: Pings of a leader so far.
        self.pings = 0
        self._stream = PacketStream(1 << 24)
        self._read = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True

    def send(self, *parts: bytes, seconds: float = 0.05) -> None:
        """Send at once, and let a moment pass."""
        self.ensemble.do(lambda: self.transport.write(b"".join(parts)))
        self.ensemble.run(seconds)

    def close(self, seconds: float = 0.05) -> None:
        """Hang up."""
        self.ensemble.do(self.transport.close)
        self.ensemble.run(seconds)

    @property
    def has_unread(self) -> bool:
        """Whether something came since :meth:`packets` was called last."""
        return len(self.data) > self._read

    def packets(self) -> list[Any]:
        """The quorum packets that came since the last call; without those of a leader that pings."""
        found = list(singly(self._stream.feed(self.rest())))
        pings = [packet for packet in found if packet.type == packets.Packet.PING and packet.data is None]
        self.pings += len(pings)
        return [packet for packet in found if packet not in pings]

    def rest(self) -> bytes:
        """The bytes that came since the last call."""
        data, self._read = self.data[self._read :], len(self.data)
        return data

    def said(self) -> list[str]:
        """The same as texts: ``NAME zxid``."""
        return [f"{PACKET_NAMES[packet.type]} {packet.zxid:x}" for packet in self.packets()]


def dial(ensemble: Ensemble, sid: int, port: int, data: bytes = b"", source: str = "10.0.2.1") -> Wire:
    """Connect to a server's machine, from elsewhere, and send something."""

    async def connect() -> Wire:
        wire = Wire(ensemble)
        await ensemble.loop.create_connection(lambda: wire, address_of(sid), port, local_addr=(source, 0))
        if data:
            wire.transport.write(data)
        return wire

    wire: Wire = ensemble.do(connect)
    ensemble.run(0.05)
    return wire


def notify(
    ensemble: Ensemble,
    sid: int,
    voter: int,
    state: ServerState,
    leader: int,
    zxid: int = 0,
    round_: int = 1,
    epoch: int | None = None,
) -> Wire:
    """As ``voter`` tell a server whom it is for; ``voter`` must have the larger id."""
    told = epoch_of(zxid) if epoch is None else epoch
    notification = Notification(state, leader, zxid, round_, told, config=ensemble.config)
    hello = encode_introduction(voter, [(address_of(voter), ELECTION_PORT)], multi_address=False)
    frame = encode_frame(encode_notification(notification))
    return dial(ensemble, sid, ELECTION_PORT, hello + frame, f"10.0.2.{voter}")


class Leader:
    """Server 9, played, with server 8 for it: whoever looks has to follow."""

    def __init__(self, ensemble: Ensemble, follower: int, epoch: int = 1) -> None:
        self.ensemble = ensemble
        self.follower = follower
        self.epoch = epoch
        #: Connections of learners, oldest first.
        self.wires: list[Wire] = []
        self.listen()

    def listen(self, address: str = address_of(9), port: int = QUORUM_PORT) -> None:
        """Take learners there, too."""

        def accept() -> Wire:
            wire = Wire(self.ensemble)
            self.wires.append(wire)
            return wire

        self.ensemble.network.listen(Process(address), accept, None, port)

    def deaf(self) -> None:
        """Take none any more."""
        listeners = self.ensemble.network.listeners
        for place in [place for place in listeners if place[1] == QUORUM_PORT]:
            listeners.pop(place).process.alive = False

    def elect(self, zxid: int = 0) -> None:
        """Have the follower elect this one; it connects soon."""
        ensemble = self.ensemble
        notify(ensemble, self.follower, 8, ServerState.FOLLOWING, 9, zxid)
        notify(ensemble, self.follower, 9, ServerState.LEADING, 9, zxid)

    def accept(self, zxid: int = 0) -> Wire:
        """Be elected; the follower's connection, its first packet read."""
        count = len(self.wires)
        self.elect(zxid)
        return self.hello(count)

    def hello(self, count: int) -> Wire:
        """The next connection after the first ``count``, its first packet read."""
        self.ensemble.wait(lambda: len(self.wires) > count and self.wires[-1].data)
        wire = self.wires[-1]
        hello, *rest = wire.packets()
        assert not rest
        wire.hello = packets.parse_learner_info(hello)
        assert wire.hello.sid == self.follower
        return wire

    def discover(self, zxid: int = 0) -> Wire:
        """Be elected, and agree on the epoch."""
        return self.agree(self.accept(zxid))

    def agree(self, wire: Wire) -> Wire:
        """LEADERINFO, and the answer to it."""
        wire.send(packets.leader_info(self.epoch))
        self.ensemble.wait(lambda: wire.has_unread)
        (answer,) = wire.packets()
        assert answer.type == packets.Packet.ACKEPOCH
        wire.history = packets.parse_ack_epoch(answer)
        return wire

    def sync(self, *stream: bytes, zxid: int = 0) -> Wire:
        """All of it: a follower that serves."""
        return self.finish(self.discover(zxid), *stream)

    def finish(self, wire: Wire, *stream: bytes) -> Wire:
        """A sync, and what makes the follower serve."""
        wire.send(*stream, self.new_leader())
        ack = f"ACK {make_zxid(self.epoch, 0):x}"
        self.ensemble.wait(lambda: wire.has_unread)
        assert wire.said() == [ack]
        wire.send(packets.up_to_date())
        assert wire.said()[0] == ack
        self.ensemble.wait_serving(self.follower)
        return wire

    def new_leader(self) -> bytes:
        """NEWLEADER."""
        return packets.new_leader(self.epoch, self.ensemble.config.text().encode())


class Learners:
    """Servers 8 and 9 are played: they make server 1 the leader, and join it one by one."""

    def __init__(self, ensemble: Ensemble, leader: int = 1) -> None:
        self.ensemble = ensemble
        self.leader = leader

    def elect(self, *voters: int) -> None:
        """Vote for the server as it does itself."""
        election = self.ensemble[self.leader].member.election
        vote = election._proposal
        for voter in voters or (8, 9):
            notify(
                self.ensemble, self.leader, voter, ServerState.LOOKING, self.leader, vote.zxid, vote.round, vote.epoch
            )
        self.ensemble.wait(lambda: self.ensemble[self.leader].mode == "leader")

    def dial(self, *data: bytes, source: int = 8) -> Wire:
        """A connection to its quorum port."""
        return dial(self.ensemble, self.leader, QUORUM_PORT, b"".join(data), address_of(source))

    def hello(self, sid: int = 8, accepted: int = 0, *, observer: bool = False, version: int = 0) -> Wire:
        """The first packet; LEADERINFO may take until a quorum is there."""
        return self.dial(packets.learner_info(observer, accepted, sid, version), source=sid)

    def agree(self, wire: Wire, epoch: int = 0, zxid: int = 0) -> int:
        """Read LEADERINFO, tell what there is here; the new epoch."""
        (info,) = wire.packets()
        assert info.type == packets.Packet.LEADERINFO
        wire.send(packets.ack_epoch(epoch, zxid))
        return epoch_of(info.zxid)

    def join(self, sid: int = 8, epoch: int = 0, zxid: int = 0, *, observer: bool = False) -> Wire:
        """All of it; the connection behind UPTODATE, everything read."""
        wire = self.hello(sid, epoch, observer=observer)
        new = make_zxid(self.agree(wire, epoch, zxid), 0)
        said = wire.said()
        assert said[-1] == f"NEWLEADER {new:x}", said
        wire.send(packets.ack(new))
        assert wire.said() == ["UPTODATE -1"]
        wire.send(packets.ack(new))
        return wire


def committed(*entries: tuple[int, bytes]) -> bytes:
    """PROPOSAL and COMMIT of each."""
    return b"".join(packets.proposal(*entry) + packets.commit(entry[0]) for entry in entries)
