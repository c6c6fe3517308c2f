"""[hot] The packets between leader and learner: bytes, a stream of them, and what their data fields hold.

A connection carries records one behind the other, without lengths around them::

    QuorumPacket = int type, long zxid, buffer data, vector<Id> authinfo        Id = ustring scheme, ustring id

Data, by type; everything that is not listed has none (null)::

    FOLLOWERINFO, OBSERVERINFO  long sid [, int protocol version [, long config version]]; zxid = accepted epoch << 32
    LEADERINFO                  int protocol version; zxid = new epoch << 32
    ACKEPOCH                    int current epoch, or -1 when this epoch was accepted before; zxid = last logged
    NEWLEADER                   text of the last seen configuration; zxid = epoch << 32
    PROPOSAL, INFORM            TxnHeader, txn, digest as in the log
    COMMITANDACTIVATE           long designated leader
    INFORMANDACTIVATE           long designated leader, then as INFORM
    REQUEST                     long session, int cxid, int type, the client's record; authinfo = identities
    REVALIDATE                  long session, int timeout; answered by long session, boolean valid
    PING                        from the leader nothing; from the learner repeated {long session, int timeout}

SNAP is followed by a snapshot that is no packet. Source: ``QuorumPacket``, ``Leader``, ``LearnerHandler``, ``Learner``
(3.9.5).
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from zabra.consts import JUTE_MAX_BUFFER
from zabra.errors import MarshallingError, ProtocolError
from zabra.wire.primitives import EXTRA_SIZE, NULL, Reader, TruncatedError, pack_vector
from zabra.wire.records_data import Identity, decode_identity, encode_identity
from zabra.wire.records_quorum import LearnerInfo, QuorumPacket
from zabra.zxid import make_zxid


class Packet:
    """Packet types (``Leader``)."""

    REQUEST: Final = 1
    PROPOSAL: Final = 2
    ACK: Final = 3
    COMMIT: Final = 4
    PING: Final = 5
    REVALIDATE: Final = 6
    SYNC: Final = 7
    INFORM: Final = 8
    COMMITANDACTIVATE: Final = 9
    NEWLEADER: Final = 10
    FOLLOWERINFO: Final = 11
    UPTODATE: Final = 12
    DIFF: Final = 13
    TRUNC: Final = 14
    SNAP: Final = 15
    OBSERVERINFO: Final = 16
    LEADERINFO: Final = 17
    ACKEPOCH: Final = 18
    INFORMANDACTIVATE: Final = 19


#: Type to name, for texts.
PACKET_NAMES: Final = {number: name for name, number in vars(Packet).items() if isinstance(number, int)}

#: The protocol since 3.4: LEADERINFO and ACKEPOCH exist. Older learners say 1, or nothing.
PROTOCOL_VERSION: Final = 0x10000
#: What a learner reports that must not be counted as an ack of the epoch.
NO_EPOCH: Final = -1

_BARE: Final = Struct(">iqii")
_HEAD: Final = Struct(">iqi")
_INT: Final = Struct(">i")
_LONG: Final = Struct(">q")
_LONG_INT: Final = Struct(">qi")
_LONG_BOOL: Final = Struct(">qB")
_REQUEST_HEAD: Final = Struct(">qii")
_TYPE_MIN: Final = Packet.REQUEST
_TYPE_MAX: Final = Packet.INFORMANDACTIVATE


class PacketStream:
    """Splits what arrives on a connection into packets.

    ``limit`` is the longest data field in bytes; the identities of a packet may have as much again, so that nothing
    more than twice that waits in here.
    """

    def __init__(self, limit: int = JUTE_MAX_BUFFER + EXTRA_SIZE) -> None:
        self._limit = limit
        self._chunks: list[bytes] = []
        self._have = 0
        #: Bytes without which parsing again is no use.
        self._need = 0
        self._stopped = False

    def feed(self, data: bytes) -> list[QuorumPacket]:
        """The packets that are complete now. A SNAP is always the last: what follows it is no packet, see :meth:`rest`.

        Raises :class:`ProtocolError` for bytes that are no packet; the stream is of no use then.
        """
        assert not self._stopped, "bytes of a snapshot given to the packet stream"
        if self._chunks:
            self._chunks.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._chunks)
        packets: list[QuorumPacket] = []
        pos, end = 0, len(data)
        self._need = 0
        while end - pos >= _HEAD.size:
            kind, zxid, length = _HEAD.unpack_from(data, pos)
            if not _TYPE_MIN <= kind <= _TYPE_MAX:
                raise ProtocolError(f"unknown packet type {kind}")
            if not -1 <= length <= self._limit:
                raise MarshallingError(f"{PACKET_NAMES[kind]} with {length} bytes of data, the limit is {self._limit}")
            start = pos + _HEAD.size
            stop = after = start + max(length, 0)
            if after + 4 > end:
                self._need = after + 4 - pos
                break
            identities: tuple[Identity, ...] | None = None
            if data[after : after + 4] == NULL:
                after += 4
            else:
                reader = Reader(data, after, limit=self._limit)
                try:
                    identities = reader.read_vector(decode_identity)
                except TruncatedError:
                    if end - after > self._limit:
                        raise ProtocolError(f"{PACKET_NAMES[kind]} with over {self._limit} bytes of authinfo") from None
                    break
                after = reader.pos
            packets.append(QuorumPacket(kind, zxid, None if length < 0 else data[start:stop], identities))
            pos = after
            if kind == Packet.SNAP:
                self._stopped = True
                break
        self._chunks = [data[pos:]] if pos < end else []
        self._have = end - pos
        return packets

    def rest(self) -> bytes:
        """What arrived behind the SNAP packet. From here on the stream expects packets again."""
        rest = b"".join(self._chunks)
        self._chunks = []
        self._have = 0
        self._stopped = False
        return rest


def encode(kind: int, zxid: int, data: bytes | None = None) -> bytes:
    """A packet without identities."""
    if data is None:
        return _BARE.pack(kind, zxid, -1, -1)
    return _HEAD.pack(kind, zxid, len(data)) + data + NULL


def learner_info(observer: bool, accepted_epoch: int, sid: int, config_version: int) -> bytes:
    """FOLLOWERINFO or OBSERVERINFO, the first packet of a learner."""
    kind = Packet.OBSERVERINFO if observer else Packet.FOLLOWERINFO
    info = LearnerInfo(sid, PROTOCOL_VERSION, config_version)
    return encode(kind, make_zxid(accepted_epoch, 0), info.encode())


class LearnerHello(NamedTuple):
    """What the first packet of a learner says."""

    observer: bool
    #: Accepted epoch << 32; of a learner that is older than 3.4 its last zxid.
    zxid: int
    #: None: an old learner that does not tell.
    sid: int | None
    protocol_version: int
    config_version: int | None


def parse_learner_info(packet: QuorumPacket) -> LearnerHello:
    """Read FOLLOWERINFO or OBSERVERINFO; parts that old learners leave out may be missing."""
    if packet.type not in (Packet.FOLLOWERINFO, Packet.OBSERVERINFO):
        raise ProtocolError(f"first packet is {PACKET_NAMES[packet.type]}, not FOLLOWERINFO or OBSERVERINFO")
    data = packet.data
    sid = config_version = None
    version = 1
    if data is not None:
        if len(data) >= 8:
            (sid,) = _LONG.unpack_from(data)
        else:
            sid = 0
        if len(data) >= 12:
            (version,) = _INT.unpack_from(data, 8)
        if len(data) >= 20:
            (config_version,) = _LONG.unpack_from(data, 12)
    return LearnerHello(packet.type == Packet.OBSERVERINFO, packet.zxid, sid, version, config_version)


def leader_info(epoch: int) -> bytes:
    """LEADERINFO: the epoch the leader proposes."""
    return encode(Packet.LEADERINFO, make_zxid(epoch, 0), _INT.pack(PROTOCOL_VERSION))


def ack_epoch(current_epoch: int, last_zxid: int) -> bytes:
    """ACKEPOCH; ``current_epoch`` is :data:`NO_EPOCH` when the new epoch was accepted before."""
    return encode(Packet.ACKEPOCH, last_zxid, _INT.pack(current_epoch))


def parse_ack_epoch(packet: QuorumPacket) -> tuple[int, int]:
    """Current epoch and last zxid of an ACKEPOCH."""
    (epoch,) = _fields(packet, _INT)
    return epoch, packet.zxid


def new_leader(epoch: int, config: bytes | None) -> bytes:
    """NEWLEADER: the end of what a learner must have on disk. ``config`` is None for learners of before 3.4."""
    return encode(Packet.NEWLEADER, make_zxid(epoch, 0), config)


def up_to_date() -> bytes:
    """UPTODATE: the learner may serve."""
    return encode(Packet.UPTODATE, -1)


def ack(zxid: int) -> bytes:
    """ACK of a proposal, or of NEWLEADER."""
    return _BARE.pack(Packet.ACK, zxid, -1, -1)


def proposal(zxid: int, entry: bytes) -> bytes:
    """PROPOSAL; ``entry`` is the payload of a log entry."""
    return _HEAD.pack(Packet.PROPOSAL, zxid, len(entry)) + entry + NULL


def commit(zxid: int) -> bytes:
    """COMMIT."""
    return _BARE.pack(Packet.COMMIT, zxid, -1, -1)


def inform(zxid: int, entry: bytes) -> bytes:
    """INFORM: proposal and commit in one, for observers."""
    return _HEAD.pack(Packet.INFORM, zxid, len(entry)) + entry + NULL


def commit_and_activate(zxid: int, designated: int) -> bytes:
    """COMMITANDACTIVATE: commit of a new configuration, and who shall lead it."""
    return encode(Packet.COMMITANDACTIVATE, zxid, _LONG.pack(designated))


def parse_designated(packet: QuorumPacket) -> int:
    """The designated leader of COMMITANDACTIVATE or INFORMANDACTIVATE."""
    designated: int = _fields(packet, _LONG)[0]
    return designated


def inform_and_activate(zxid: int, designated: int, entry: bytes) -> bytes:
    """INFORMANDACTIVATE, for observers."""
    return encode(Packet.INFORMANDACTIVATE, zxid, _LONG.pack(designated) + entry)


def informed_entry(packet: QuorumPacket) -> bytes:
    """The log payload of PROPOSAL, INFORM or INFORMANDACTIVATE."""
    data = packet.data
    if data is None:
        raise _short(packet)
    return data[_LONG.size :] if packet.type == Packet.INFORMANDACTIVATE else data


def sync_answer() -> bytes:
    """SYNC from the leader: all that was proposed before is on its way."""
    return encode(Packet.SYNC, 0)


def ping(last_proposed: int) -> bytes:
    """PING of the leader."""
    return encode(Packet.PING, last_proposed)


def ping_answer(zxid: int, sessions: Iterable[tuple[int, int]]) -> bytes:
    """PING of a learner: ids and timeouts (ms) of the sessions used since the last one."""
    return encode(Packet.PING, zxid, b"".join([_LONG_INT.pack(*session) for session in sessions]))


def parse_touches(packet: QuorumPacket) -> list[tuple[int, int]]:
    """Ids and timeouts (ms) in a learner's PING."""
    data = packet.data
    if data is None or len(data) % _LONG_INT.size:
        raise _short(packet)
    return list(_LONG_INT.iter_unpack(data))


def revalidate(session: int, timeout_ms: int) -> bytes:
    """REVALIDATE: does this session still live?"""
    return encode(Packet.REVALIDATE, -1, _LONG_INT.pack(session, timeout_ms))


def parse_revalidate(packet: QuorumPacket) -> tuple[int, int]:
    """Session and timeout (ms)."""
    session, timeout_ms = _fields(packet, _LONG_INT)
    return session, timeout_ms


def revalidated(session: int, valid: bool) -> bytes:
    """The leader's answer to REVALIDATE."""
    return encode(Packet.REVALIDATE, -1, _LONG_BOOL.pack(session, valid))


def parse_revalidated(packet: QuorumPacket) -> tuple[int, bool]:
    """Session, and whether it lives."""
    session, valid = _fields(packet, _LONG_BOOL)
    return session, valid != 0


class ForwardedRequest(NamedTuple):
    """A client's request that a learner hands to the leader."""

    session: int
    cxid: int
    type: int
    record: bytes
    identities: tuple[Identity, ...] | None


def request(forwarded: ForwardedRequest) -> bytes:
    """REQUEST."""
    data = _REQUEST_HEAD.pack(forwarded.session, forwarded.cxid, forwarded.type) + forwarded.record
    return _HEAD.pack(Packet.REQUEST, -1, len(data)) + data + pack_vector(forwarded.identities, encode_identity)


def parse_request(packet: QuorumPacket) -> ForwardedRequest:
    """Read REQUEST."""
    session, cxid, kind = _fields(packet, _REQUEST_HEAD)
    assert packet.data is not None
    return ForwardedRequest(session, cxid, kind, packet.data[_REQUEST_HEAD.size :], packet.auth_info)


def _fields(packet: QuorumPacket, layout: Struct) -> tuple[int, ...]:
    """The fields at the beginning of the data."""
    if packet.data is None or len(packet.data) < layout.size:
        raise _short(packet)
    return layout.unpack_from(packet.data)


def _short(packet: QuorumPacket) -> MarshallingError:
    length = "no" if packet.data is None else f"{len(packet.data)} bytes of"
    return MarshallingError(f"{PACKET_NAMES[packet.type]} with {length} data")
