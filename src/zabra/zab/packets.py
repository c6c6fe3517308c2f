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

from collections.abc import Iterable, Iterator
from functools import partial
from struct import Struct
from struct import error as StructError
from typing import Final, NamedTuple, NoReturn

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


#: What a packet without data and identities takes; none is shorter.
_BARE_SIZE: Final = _BARE.size
#: Where the last byte of the zxid is in it.
_ZXID_LOW_AT: Final = 11
_LOW_BYTES: Final = bytes(range(256))
#: Identities that are remembered, and the longest of them in bytes.
_KNOWN_MAX: Final = 1024
_KNOWN_SIZE_MAX: Final = 256

_bare_at = _BARE.unpack_from
_int_at = _INT.unpack_from
#: A QuorumPacket of a tuple of its fields, in two thirds of the time that its constructor takes.
_new_packet = partial(tuple.__new__, QuorumPacket)


class Run(NamedTuple):
    """ACKs or COMMITs of all zxids from ``first`` to ``last``, two at least, which arrived one behind the other.

    All are of one epoch and none is that of its beginning, which NEWLEADER and UPTODATE are acknowledged with.
    """

    type: int
    first: int
    last: int


#: What a stream yields.
Arrived = QuorumPacket | Run


def singly(arrived: Iterable[Arrived]) -> Iterator[QuorumPacket]:
    """The packets one by one."""
    for packet in arrived:
        if isinstance(packet, Run):
            for zxid in range(packet.first, packet.last + 1):
                yield QuorumPacket(packet.type, zxid, None, None)
        else:
            yield packet


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
        #: Identities by their bytes, and those that came last.
        self._known: dict[bytes, tuple[Identity, ...]] = {}
        self._last_raw = b""
        self._last: tuple[Identity, ...] = ()

    def feed(self, data: bytes) -> list[Arrived]:
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
        packets: list[Arrived] = []
        append = packets.append
        limit = self._limit
        pos, end = 0, len(data)
        last = end - _BARE_SIZE
        self._need = 0
        while pos <= last:
            kind, zxid, length, count = _bare_at(data, pos)
            if not (_TYPE_MIN <= kind <= _TYPE_MAX and -1 <= length <= limit):
                self._refuse(kind, length)
            if length == -1 == count:
                if 3 <= kind <= 4 and pos + _BARE_SIZE <= last:
                    rows = _run_length(data, pos, end, kind, zxid)
                    if rows > 1:
                        append(Run(kind, zxid, zxid + rows - 1))
                        pos += rows * _BARE_SIZE
                        continue
                append(_new_packet((kind, zxid, None, None)))
                pos += _BARE_SIZE
                if kind == 15:
                    self._stopped = True
                    break
                continue
            start = pos + 16
            after = start + length if length > 0 else start
            if after + 4 > end:
                self._need = after + 4 - pos
                break
            value = data[start:after] if length >= 0 else None
            if _int_at(data, after)[0] == -1:
                identities = None
                after += 4
            elif self._last_raw and data.startswith(self._last_raw, after):
                identities = self._last
                after += len(self._last_raw)
            else:
                found = self._read_identities(kind, data, after)
                if found is None:
                    break
                identities, after = found
            append(_new_packet((kind, zxid, value, identities)))
            pos = after
            if kind == 15:
                self._stopped = True
                break
        if last < pos <= end - _HEAD.size and not self._stopped:
            # Not even the shortest packet, but a head can be refused before the rest comes.
            kind, _, length = _HEAD.unpack_from(data, pos)
            if not (_TYPE_MIN <= kind <= _TYPE_MAX and -1 <= length <= limit):
                self._refuse(kind, length)
        self._chunks = [data[pos:]] if pos < end else []
        self._have = end - pos
        return packets

    def _refuse(self, kind: int, length: int) -> NoReturn:
        """Raise for a head that is none."""
        if not _TYPE_MIN <= kind <= _TYPE_MAX:
            raise ProtocolError(f"unknown packet type {kind}")
        raise MarshallingError(f"{PACKET_NAMES[kind]} with {length} bytes of data, the limit is {self._limit}")

    def _read_identities(self, kind: int, data: bytes, at: int) -> tuple[tuple[Identity, ...], int] | None:
        """The identities at ``at``, which are not null, and where they end; None when they are not complete."""
        stop = _end_of_identities(data, at)
        raw = data[at:stop]
        identities = self._known.get(raw)
        if identities is None:
            reader = Reader(data, at, limit=self._limit)
            try:
                read = reader.read_vector(decode_identity)
            except TruncatedError:
                if len(data) - at > self._limit:
                    raise ProtocolError(f"{PACKET_NAMES[kind]} with over {self._limit} bytes of authinfo") from None
                return None
            assert read is not None, "null identities are no business of this"
            identities, stop = read, reader.pos
            raw = data[at:stop]
            if len(raw) > _KNOWN_SIZE_MAX:
                return identities, stop
            if len(self._known) == _KNOWN_MAX:
                self._known.clear()
            self._known[raw] = identities
        self._last_raw, self._last = raw, identities
        return identities, stop

    def rest(self) -> bytes:
        """What arrived behind the SNAP packet. From here on the stream expects packets again."""
        rest = b"".join(self._chunks)
        self._chunks = []
        self._have = 0
        self._stopped = False
        return rest


def _end_of_identities(data: bytes, at: int) -> int:
    """Where a vector of identities that is whole ends; anything for one that is not."""
    try:
        pos = at + 4
        for _ in range(min(2 * _int_at(data, at)[0], 16)):
            pos += 4 + _int_at(data, pos)[0]
    except StructError:
        return at
    return pos


def _run_length(data: bytes, pos: int, end: int, kind: int, zxid: int) -> int:
    """How many packets of a :class:`Run` are at ``pos``, where ``kind`` and ``zxid`` were read; 1: it is none.

    Measured: 8 ns for each of 256 packets, where one by one they cost 330 ns each.
    """
    low = zxid & 0xFF
    if data[pos + _BARE_SIZE + 3] != kind or not zxid & 0xFFFFFFFF:
        return 1
    room = min((end - pos) // _BARE_SIZE, 256 - low)
    types = data[pos + 3 : pos + room * _BARE_SIZE : _BARE_SIZE]
    rows = room - len(types.lstrip(types[:1]))
    return rows if data.startswith(_rows(kind, zxid, rows), pos) else 1


def _rows(kind: int, first: int, count: int) -> bytearray:
    """``count`` packets of successive zxids that differ in the last byte only."""
    rows = bytearray(_BARE.pack(kind, first, -1, -1) * count)
    low = first & 0xFF
    rows[_ZXID_LOW_AT::_BARE_SIZE] = _LOW_BYTES[low : low + count]
    return rows


def _run(kind: int, first: int, last: int) -> bytes:
    """Packets of all zxids from ``first`` to ``last``."""
    if first == last:
        return _BARE.pack(kind, first, -1, -1)
    parts = []
    while first <= last:
        stop = min(last, first | 0xFF) + 1
        parts.append(_rows(kind, first, stop - first))
        first = stop
    return b"".join(parts)


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


def acks(first: int, last: int) -> bytes:
    """ACK of each zxid from ``first`` to ``last``."""
    return _run(Packet.ACK, first, last)


def proposal(zxid: int, entry: bytes) -> bytes:
    """PROPOSAL; ``entry`` is the payload of a log entry."""
    return _HEAD.pack(Packet.PROPOSAL, zxid, len(entry)) + entry + NULL


def proposals(entries: Iterable[tuple[int, bytes]]) -> bytes:
    """PROPOSAL of each of ``entries``, pairs of zxid and payload."""
    pack = _HEAD.pack
    return b"".join([pack(2, zxid, len(entry)) + entry + NULL for zxid, entry in entries])


def commit(zxid: int) -> bytes:
    """COMMIT."""
    return _BARE.pack(Packet.COMMIT, zxid, -1, -1)


def commits(first: int, last: int) -> bytes:
    """COMMIT of each zxid from ``first`` to ``last``."""
    return _run(Packet.COMMIT, first, last)


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


_new_request = partial(tuple.__new__, ForwardedRequest)
_request_at = _REQUEST_HEAD.unpack_from


def parse_request(packet: QuorumPacket) -> ForwardedRequest:
    """Read REQUEST."""
    _, _, data, identities = packet
    if data is None or len(data) < 16:
        raise _short(packet)
    session, cxid, kind = _request_at(data)
    return _new_request((session, cxid, kind, data[16:], identities))


def _fields(packet: QuorumPacket, layout: Struct) -> tuple[int, ...]:
    """The fields at the beginning of the data."""
    if packet.data is None or len(packet.data) < layout.size:
        raise _short(packet)
    return layout.unpack_from(packet.data)


def _short(packet: QuorumPacket) -> MarshallingError:
    length = "no" if packet.data is None else f"{len(packet.data)} bytes of"
    return MarshallingError(f"{PACKET_NAMES[packet.type]} with {length} data")
