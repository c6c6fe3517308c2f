"""What requests leave in the numbers that ``mntr`` shows."""

from __future__ import annotations

from rig import Client, Rig, create_body, set_body, watch_body

from zabra.consts import Op
from zabra.errors import Code

WRITE_SUMMARIES = (
    "updatelatency",
    "sync_processor_queue_time_ms",
    "sync_processor_queue_and_flush_time_ms",
)


def test_a_write_is_in_every_summary_of_writes(server: Rig, client: Client) -> None:
    before = server.stats.metrics.dump()
    client.call(Op.CREATE, create_body("/a"))
    after = server.stats.metrics.dump()
    for name in (*WRITE_SUMMARIES, "fsynctime", "sync_process_time", "sync_processor_batch_size"):
        assert after[f"cnt_{name}"] - before[f"cnt_{name}"] == 1, name
    assert after["sync_processor_request_queued"] - before["sync_processor_request_queued"] == 1


def test_the_time_of_write_and_sync_is_counted() -> None:
    server = Rig(sync_seconds=0.25)
    client = server.client()
    server.stats.reset()
    client.call(Op.CREATE, create_body("/a"))
    after = server.stats.metrics.dump()
    for name in ("fsynctime", "sync_process_time", "updatelatency", "sync_processor_queue_and_flush_time_ms"):
        assert (after[f"cnt_{name}"], after[f"sum_{name}"]) == (1, 250), name
    assert after["sum_sync_processor_queue_time_ms"] == 0


def test_quick_reads_are_counted_before_anything_is_shown(server: Rig, client: Client) -> None:
    client.call(Op.CREATE, create_body("/a", b"data"))
    received, sent = server.stats.packets_received, server.stats.packets_sent
    for _ in range(3):
        client.call(Op.GET_DATA, watch_body("/a"))
    server.stats.settle()
    server.stats.settle()
    after = server.stats.metrics.dump()
    assert after["cnt_readlatency"] == 3
    assert (server.stats.packets_received - received, server.stats.packets_sent - sent) == (3, 3)


def test_a_client_that_goes_away_is_a_drop_and_one_that_says_so_is_none(server: Rig) -> None:
    polite, rude = server.client(), server.client()
    polite.request(Op.CLOSE_SESSION)
    polite.cut()
    assert server.stats.metrics.connection_drop_count.value == 0
    rude.cut()
    assert server.stats.metrics.connection_drop_count.value == 1


def test_a_write_beyond_a_hard_quota_counts_for_its_first_component() -> None:
    server = Rig(enforce_quota=True)
    server.tree.quotas.on_exceeded = server.stats.metrics.quota_exceeded_error_per_namespace.add
    client = server.client()
    limits = b"count=-1,bytes=-1=;byteHardLimit=4"
    nodes = {"": b"", "/zookeeper_limits": limits, "/zookeeper_stats": b""}
    assert client.error(Op.CREATE, create_body("/app")) == 0
    for name, data in nodes.items():
        assert client.error(Op.CREATE, create_body(f"/zookeeper/quota/app{name}", data)) == 0
    assert client.error(Op.SET_DATA, set_body("/app", b"too long")) == Code.QUOTA_EXCEEDED
    assert server.stats.metrics.dump()["app_quota_exceeded_error_per_namespace"] == 1


def test_sizes_of_replies_and_events(server: Rig, client: Client) -> None:
    client.call(Op.CREATE, create_body("/a", b"data"))
    client.call(Op.GET_DATA, watch_body("/a", watch=True))
    server.stats.reset()
    client.call(Op.SET_DATA, set_body("/a", b"new"))
    stats = server.stats
    stats.settle()
    event, reply = 16 + 4 + 4 + 4 + 2, 16 + 68
    assert (stats.min_response_size, stats.max_response_size, stats.last_response_size) == (event, reply, reply)
    assert (stats.metrics.response_bytes.value, stats.metrics.watch_bytes.value) == (reply, event)
    client.call(Op.GET_DATA, watch_body("/a"))
    size = 16 + 4 + 3 + 68
    assert (stats.min_response_size, stats.max_response_size, stats.last_response_size) == (event, size, size)


def test_connect_replies_are_no_responses(server: Rig) -> None:
    server.stats.reset()
    server.client()
    assert server.stats.max_response_size == -1
