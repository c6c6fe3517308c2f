"""Packets of the quorum protocol: bytes as the Java records write them, any cut of a stream, and garbage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.errors import ProtocolError
from zabra.wire.primitives import Reader
from zabra.wire.records_quorum import QuorumPacket
from zabra.zab import packets
from zabra.zab.packets import ForwardedRequest, LearnerHello, Packet, PacketStream, Run, singly

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
    return list(singly(PacketStream().feed(data)))


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
    assert [packet for piece in pieces for packet in singly(stream.feed(piece))] == split(STREAM)
    assert len(split(STREAM)) == len(GOLDEN)


@pytest.mark.parametrize(
    ("first", "last", "runs"),
    [
        (0x500000001, 0x500000002, [(0x500000001, 0x500000002)]),
        (0x5000000FE, 0x500000103, [(0x5000000FE, 0x5000000FF), (0x500000100, 0x500000103)]),
        (0x50000FFFD, 0x500010000, [(0x50000FFFD, 0x50000FFFF), 0x500010000]),
        # NEWLEADER and UPTODATE are acknowledged with the beginning of the epoch: that must not be lost in a run.
        (0x500000000, 0x500000002, [0x500000000, (0x500000001, 0x500000002)]),
        (0x4FFFFFFFE, 0x500000001, [(0x4FFFFFFFE, 0x4FFFFFFFF), 0x500000000, 0x500000001]),
    ],
)
@pytest.mark.parametrize(("kind", "make"), [(Packet.ACK, packets.acks), (Packet.COMMIT, packets.commits)])
def test_acks_and_commits_of_successive_zxids_are_runs(first, last, runs, kind, make):
    expected = [Run(kind, *run) if isinstance(run, tuple) else QuorumPacket(kind, run, None, None) for run in runs]
    assert PacketStream().feed(make(first, last)) == expected


@pytest.mark.parametrize(
    "zxids", [[1, 3], [2, 1], [5, 5], [0x1FF, 0x101], [0x1_0000_0005, 0x2_0000_0006], [1, 2, 4], [0xFF, 0x100]]
)
def test_what_is_not_successive_is_no_run(zxids):
    got = PacketStream().feed(b"".join(packets.ack(zxid) for zxid in zxids))
    assert got == [QuorumPacket(Packet.ACK, zxid, None, None) for zxid in zxids]


def test_other_packets_make_no_run():
    for kind in (Packet.PING, Packet.SYNC):
        data = packets.encode(kind, 1) + packets.encode(kind, 2)
        assert PacketStream().feed(data) == [QuorumPacket(kind, 1, None, None), QuorumPacket(kind, 2, None, None)]
    got = PacketStream().feed(packets.ack(1) + packets.commit(2) + packets.ack(3))
    assert [packet.type for packet in got] == [Packet.ACK, Packet.COMMIT, Packet.ACK]


PIECES = st.one_of(
    st.builds(packets.acks, st.integers(0x5000000F0, 0x5000000FF), st.integers(0x5000000F0, 0x500000120)),
    st.builds(packets.commits, st.integers(0x4FFFFFFF0, 0x4FFFFFFFF), st.integers(0x4FFFFFFF0, 0x500000010)),
    st.builds(packets.ack, st.integers(-2, 3)),
    st.builds(packets.proposal, st.integers(1, 3), st.binary(max_size=20)),
    st.builds(
        packets.request,
        st.builds(
            ForwardedRequest,
            st.just(7),
            st.integers(1, 3),
            st.just(5),
            st.binary(max_size=9),
            st.none() | st.lists(st.tuples(st.sampled_from(["ip", "x"]), st.sampled_from(["", "1"]))).map(tuple),
        ),
    ),
)


@given(pieces=st.lists(PIECES, max_size=12), size=st.integers(1, 400))
def test_whatever_comes_in_whatever_cut_is_read_as_the_record_reads_it(pieces, size):
    data = b"".join(pieces)
    reader, expected = Reader(data), []
    while reader.pos < len(data):
        expected.append(QuorumPacket.decode(reader))
    stream = PacketStream()
    cut = [data[at : at + size] for at in range(0, len(data), size)]
    assert [packet for piece in cut for packet in singly(stream.feed(piece))] == expected
    assert split(data) == expected


@given(first=st.integers(1, 1000), count=st.integers(1, 1000))
def test_many_packets_at_once_are_the_bytes_of_each(first, count):
    zxids = range(first, first + count)
    assert packets.acks(zxids[0], zxids[-1]) == b"".join(map(packets.ack, zxids))
    assert packets.commits(zxids[0], zxids[-1]) == b"".join(map(packets.commit, zxids))
    entries = [(zxid, b"x" * (zxid % 3)) for zxid in zxids[:10]]
    assert packets.proposals(entries) == b"".join(packets.proposal(*entry) for entry in entries)


def test_a_stream_does_not_collect_identities_without_end(monkeypatch):
    monkeypatch.setattr(packets, "_KNOWN_MAX", 3)
    stream = PacketStream()
    many = [(("ip", f"10.0.0.{n}"),) for n in range(9)] + [(("digest", "x" * 300), ("ip", "::1"))] * 2
    for identities in many:
        (got,) = stream.feed(packets.request(FORWARDED._replace(identities=identities)))
        assert got.auth_info == identities
        assert len(stream._known) <= 3


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
