"""The last packets of a connection: what is remembered, and what the log tells at its end."""

import logging

import pytest
from ensemble_rig import Ensemble
from rig import create_body

from zabra.consts import Op
from zabra.quorum.tracker import Tracker
from zabra.zab import packets
from zabra.zab.packets import Packet, PacketStream


@pytest.fixture(autouse=True)
def log(caplog):
    """Everything that is logged."""
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def tracker():
    times = iter(range(1_000, 100_000, 1_001))
    return Tracker(3, lambda: next(times), 1 << 20)


def told(log):
    """(names of the packets, direction and peer) of each line, without the times."""
    lines = [text.partition("packets ")[2] for text in log.messages if "packets" in text]
    return [
        ([one[13:] for one in rest.split(", ")], peer) for peer, _, rest in (line.partition(": ") for line in lines)
    ]


def test_the_newest_of_each_direction_are_told_with_their_times(tracker, log):
    tracker.sent(packets.leader_info(5))
    tracker.sent(packets.new_leader(5, b"text") + packets.up_to_date())
    tracker.sent(packets.ping(7))
    tracker.received(PacketStream().feed(packets.ack(5 << 32)))
    tracker.tell("10.0.0.2:4000")
    assert told(log) == [(["ACK"], "from 10.0.0.2:4000"), (["NEWLEADER", "UPTODATE", "PING"], "to 10.0.0.2:4000")]
    assert log.messages[0].startswith("the last 1 packets from 10.0.0.2:4000: ")
    times = [one[:12] for one in log.messages[1].partition(": ")[2].split(", ")]
    assert [time[6:] for time in times] == ["02,001", "02,001", "03,002"]


def test_a_run_counts_as_so_many(tracker, log):
    tracker.received(PacketStream().feed(packets.ping_answer(0, []) + packets.acks(1, 2)))
    tracker.tell("peer")
    tracker.received(PacketStream().feed(packets.acks(1, 200)))
    tracker.tell("peer")
    assert told(log)[0] == (["PING", "ACK", "ACK"], "from peer")
    assert log.messages[2].startswith("the last 3 packets from peer")


def test_a_snapshot_and_pieces_of_a_sync(tracker, log):
    tracker.sent_type(Packet.SNAP)
    pieces = [packets.encode(Packet.DIFF, 1), packets.commit(1)]
    assert list(tracker.watch(iter(pieces))) == pieces
    tracker.tell("peer")
    assert log.messages[0] == "no packets from peer"
    assert told(log)[1] == (["SNAP", "DIFF", "COMMIT"], "to peer")


@pytest.mark.parametrize("enabled", [False, True])
def test_both_sides_tell_at_the_end_of_a_connection(log, enabled):
    ensemble = Ensemble([1, 2], [3], message_tracker_enabled=enabled, message_tracker_buffer_size=4)
    ensemble.start()
    client = ensemble.client(1)
    client.ok(Op.CREATE, create_body("/a"))
    ensemble.run(0.1)
    log.clear()
    ensemble.stop(1)
    ensemble.run(1)
    lines = [text for text in log.messages if text.startswith("the last 4 packets")]
    assert len(lines) == 8 * enabled
    if enabled:
        for way, name in (
            ("to 10.0.0.3:", "INFORM"),
            ("to 10.0.0.1:", "COMMIT"),
            ("from 10.0.0.1:", "REQUEST"),
            ("from 10.0.0.2:2888", "INFORM"),
            ("from 10.0.0.2:2888", "COMMIT"),
            ("to 10.0.0.2:2888", "ACK"),
        ):
            assert any(f"packets {way}" in line and f" {name}" in line for line in lines), (way, name)
    ensemble.close()


def test_a_snapshot_in_both_directions(log):
    ensemble = Ensemble([1, 2, 3], force_snapshot_sync=True, message_tracker_enabled=True)
    ensemble.start()
    ensemble.run(0.1)
    log.clear()
    ensemble.stop(1)
    ensemble.run(1)
    lines = [text for text in log.messages if "10.0.0.1" in text and " SNAP, " in text]
    assert lines, "what is behind it in the stream is no packet"
    ensemble.close()
