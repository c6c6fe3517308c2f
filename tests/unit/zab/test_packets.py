"""Packets of the quorum protocol: bytes as the Java records write them, any cut of a stream, and garbage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.errors import ProtocolError
from zabra.wire.records_quorum import QuorumPacket
from zabra.zab import packets
from zabra.zab.packets import ForwardedRequest, LearnerHello, Packet, PacketStream

ZXID = 0x600000002
FORWARDED = ForwardedRequest(0x1122, 7, 1, b"\x09\x08", (("ip", "127.0.0.1"),))

#: Written by ``BinaryOutputArchive`` of 3.9.5 from a ``QuorumPacket`` with the same fields.
GOLDEN = {
    "followerinfo": (
        packets.learner_info(False, 5, 3, 0x100000000),
        "0000000b0000000500000000000000140000000000000003000100000000000100000000ffffffff",
    ),
    "leaderinfo": (packets.leader_info(6), "0000001100000006000000000000000400010000ffffffff"),
    "ackepoch": (packets.ack_epoch(-1, 0x500000009), "00000012000000050000000900000004ffffffffffffffff"),
    "newleader": (packets.new_leader(6, b"version=0"), "0000000a00000006000000000000000976657273696f6e3d30ffffffff"),
    "uptodate": (packets.up_to_date(), "0000000cffffffffffffffffffffffffffffffff"),
    "ack": (packets.ack(0x600000001), "000000030000000600000001ffffffffffffffff"),
    "commitandactivate": (
        packets.commit_and_activate(ZXID, 2),
        "000000090000000600000002000000080000000000000002ffffffff",
    ),
    "informandactivate": (
        packets.inform_and_activate(ZXID, 2, b"\x01\x02\x03"),
        "0000001300000006000000020000000b0000000000000002010203ffffffff",
    ),
    "request": (
        packets.request(FORWARDED),
        "00000001ffffffffffffffff0000001200000000000011220000000700000001"
        "0908000000010000000269700000000931"
        "32372e302e302e31",
    ),
    "revalidate": (
        packets.revalidate(0x1122, 4000),
        "00000006ffffffffffffffff0000000c000000000000112200000fa0ffffffff",
    ),
    "revalidated": (packets.revalidated(0x1122, True), "00000006ffffffffffffffff00000009000000000000112201ffffffff"),
}


def split(data):
    return PacketStream().feed(data)


def one(data):
    (packet,) = split(data)
    return packet


@pytest.mark.parametrize("name", GOLDEN)
def test_packets_are_the_bytes_that_java_writes(name):
    ours, java = GOLDEN[name]
    assert ours.hex() == java


@pytest.mark.parametrize("name", GOLDEN)
def test_the_stream_reads_what_the_record_reads(name):
    data = GOLDEN[name][0]
    assert one(data).encode() == data


def test_an_empty_list_of_identities_is_not_null():
    # Java answers a PING with the identities it got, which its reader makes an empty list.
    assert one(bytes.fromhex("0000000500000006000000020000000000000000")) == QuorumPacket(Packet.PING, ZXID, b"", ())


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (packets.proposal(ZXID, b"entry"), QuorumPacket(Packet.PROPOSAL, ZXID, b"entry", None)),
        (packets.inform(ZXID, b"entry"), QuorumPacket(Packet.INFORM, ZXID, b"entry", None)),
        (packets.commit(ZXID), QuorumPacket(Packet.COMMIT, ZXID, None, None)),
        (packets.ping(ZXID), QuorumPacket(Packet.PING, ZXID, None, None)),
        (packets.sync_answer(), QuorumPacket(Packet.SYNC, 0, None, None)),
        (packets.new_leader(6, None), QuorumPacket(Packet.NEWLEADER, 6 << 32, None, None)),
        (packets.encode(Packet.TRUNC, ZXID), QuorumPacket(Packet.TRUNC, ZXID, None, None)),
    ],
)
def test_constructors_fill_the_fields(made, expected):
    assert one(made) == expected


def test_fields_come_back_as_they_were_sent():
    assert packets.parse_request(one(packets.request(FORWARDED))) == FORWARDED
    assert packets.parse_ack_epoch(one(packets.ack_epoch(4, ZXID))) == (4, ZXID)
    assert packets.parse_designated(one(packets.commit_and_activate(ZXID, 3))) == 3
    assert packets.parse_designated(one(packets.inform_and_activate(ZXID, 3, b"e"))) == 3
    assert packets.informed_entry(one(packets.inform_and_activate(ZXID, 3, b"e"))) == b"e"
    assert packets.informed_entry(one(packets.inform(ZXID, b"e"))) == b"e"
    assert packets.parse_revalidate(one(packets.revalidate(-5, 4000))) == (-5, 4000)
    assert packets.parse_revalidated(one(packets.revalidated(-5, False))) == (-5, False)
    assert packets.parse_touches(one(packets.ping_answer(ZXID, [(-5, 4000), (6, 1)]))) == [(-5, 4000), (6, 1)]
    assert packets.parse_touches(one(packets.ping_answer(ZXID, []))) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, LearnerHello(False, 5 << 32, None, 1, None)),
        ("0000000000000007", LearnerHello(False, 5 << 32, 7, 1, None)),
        ("000000000000000700010000", LearnerHello(False, 5 << 32, 7, 0x10000, None)),
        ("0000000000000007000100000000000100000000", LearnerHello(False, 5 << 32, 7, 0x10000, 0x100000000)),
    ],
)
def test_old_learners_say_less_about_themselves(data, expected):
    raw = None if data is None else bytes.fromhex(data)
    assert packets.parse_learner_info(QuorumPacket(Packet.FOLLOWERINFO, 5 << 32, raw, None)) == expected


def test_an_observer_says_so():
    assert packets.parse_learner_info(one(packets.learner_info(True, 5, 3, 9))) == LearnerHello(
        True, 5 << 32, 3, 0x10000, 9
    )


def test_a_learner_must_introduce_itself():
    with pytest.raises(ProtocolError, match="ACK"):
        packets.parse_learner_info(one(packets.ack(1)))


@pytest.mark.parametrize(
    ("parse", "kind", "data"),
    [
        (packets.parse_ack_epoch, Packet.ACKEPOCH, b"\0\0\0"),
        (packets.parse_ack_epoch, Packet.ACKEPOCH, None),
        (packets.parse_designated, Packet.COMMITANDACTIVATE, b"\0" * 7),
        (packets.parse_touches, Packet.PING, None),
        (packets.parse_touches, Packet.PING, b"\0" * 13),
        (packets.parse_revalidate, Packet.REVALIDATE, b"\0" * 11),
        (packets.parse_revalidated, Packet.REVALIDATE, b"\0" * 8),
        (packets.parse_request, Packet.REQUEST, b"\0" * 15),
        (packets.informed_entry, Packet.INFORM, None),
    ],
)
def test_data_that_is_too_short_is_refused(parse, kind, data):
    with pytest.raises(ProtocolError):
        parse(QuorumPacket(kind, 1, data, None))


STREAM = b"".join(data for data, _ in GOLDEN.values())


@pytest.mark.parametrize("size", [1, 3, 16, 17, 100])
def test_any_cut_of_a_stream_gives_the_same_packets(size):
    stream = PacketStream()
    pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
    assert [packet for piece in pieces for packet in stream.feed(piece)] == split(STREAM)
    assert len(split(STREAM)) == len(GOLDEN)


def test_a_snapshot_follows_its_packet_unparsed_and_packets_follow_the_snapshot():
    stream = PacketStream()
    got = stream.feed(packets.ack(1) + packets.encode(Packet.SNAP, ZXID) + b"tree" + packets.commit(2))
    assert [packet.type for packet in got] == [Packet.ACK, Packet.SNAP]
    assert stream.rest() == b"tree" + packets.commit(2)
    assert stream.feed(packets.commit(2)) == [QuorumPacket(Packet.COMMIT, 2, None, None)]


def test_data_over_the_limit_is_refused_before_it_arrives():
    assert PacketStream(limit=4).feed(packets.proposal(1, b"1234")) != []
    with pytest.raises(ProtocolError, match="limit is 4"):
        PacketStream(limit=4).feed(packets.proposal(1, b"12345")[:16])


@pytest.mark.parametrize("head", ["00000000", "00000014", "ffffffff"])
def test_unknown_types_are_refused(head):
    with pytest.raises(ProtocolError, match="unknown packet type"):
        split(bytes.fromhex(head) + b"\0" * 12)


def test_a_negative_length_is_refused():
    with pytest.raises(ProtocolError):
        split(bytes.fromhex("000000020000000000000000fffffffe"))


def test_identities_without_end_are_refused():
    stream = PacketStream(limit=1000)
    stream.feed(bytes.fromhex("00000001ffffffffffffffffffffffff7fffffff"))
    assert stream.feed(b"\0" * 992) == []
    with pytest.raises(ProtocolError, match="authinfo"):
        stream.feed(b"\0" * 8)


@given(garbage=st.binary(max_size=80), size=st.integers(1, 20))
def test_garbage_is_parsed_or_refused_and_the_cut_does_not_matter(garbage, size):
    def run(pieces):
        stream, got = PacketStream(limit=64), []
        for piece in pieces:
            try:
                got += stream.feed(piece)
            except ProtocolError:
                return got, "refused"
            if got and got[-1].type == Packet.SNAP:
                return got, "snapshot"
        return got, "wants more"

    whole, cut = run([garbage]), run([garbage[at : at + size] for at in range(0, len(garbage), size)])
    assert cut[1] == whole[1]
    # A whole chunk that is refused gives nothing of its good beginning.
    assert cut[0] == whole[0] or whole == ([], "refused")
