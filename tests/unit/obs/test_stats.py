"""Server statistics: true latency, packet counts and reply sizes."""

from zabra.obs.metrics import Metrics
from zabra.obs.stats import ServerStats


def test_nothing_was_measured_at_first():
    stats = ServerStats(Metrics())
    assert (stats.min_latency_ms, stats.avg_latency_ms, stats.max_latency_ms) == (0, 0.0, 0)
    assert (stats.last_response_size, stats.min_response_size, stats.max_response_size) == (-1, -1, -1)


def test_a_batch_counts_each_of_its_requests():
    stats = ServerStats(Metrics())
    stats.record(3, 0.5)
    stats.record(1, 4.5)
    assert (stats.min_latency_ms, stats.avg_latency_ms, stats.max_latency_ms) == (0, 1.5, 4)
    assert stats.latency_count == 4


def test_the_average_has_four_decimals_rounded_half_up():
    stats = ServerStats(Metrics())
    stats.record(1, 0.0)
    stats.record(2, 1.0)
    assert stats.avg_latency_ms == 0.6667


def test_a_clock_that_went_back_is_no_latency():
    stats = ServerStats(Metrics())
    stats.record(1, -3.0)
    assert stats.latency_count == 0


def test_reply_sizes_keep_last_smallest_and_largest():
    stats = ServerStats(Metrics())
    for smallest, largest, last in ((20, 20, 20), (16, 400, 50), (88, 88, 88)):
        stats.record_response_sizes(smallest, largest, last)
    assert (stats.last_response_size, stats.min_response_size, stats.max_response_size) == (88, 16, 400)


def test_proposal_sizes_do_too_and_begin_anew_with_an_epoch():
    stats = ServerStats(Metrics())
    for smallest, largest, last in ((20, 20, 20), (16, 400, 50)):
        stats.record_proposal_sizes(smallest, largest, last)
    assert (stats.last_proposal_size, stats.min_proposal_size, stats.max_proposal_size) == (50, 16, 400)
    stats.clear_proposal_sizes()
    assert (stats.last_proposal_size, stats.min_proposal_size, stats.max_proposal_size) == (-1, -1, -1)


def test_reset_starts_over_with_the_metrics_too():
    stats = ServerStats(Metrics())
    stats.record(1, 7.0)
    stats.record_response_sizes(9, 9, 9)
    stats.record_proposal_sizes(9, 9, 9)
    stats.packets_received += 2
    stats.packets_sent += 2
    stats.metrics.response_bytes.add(9)
    stats.reset()
    assert (stats.packets_received, stats.packets_sent, stats.max_latency_ms, stats.max_response_size) == (0, 0, 0, -1)
    assert stats.max_proposal_size == -1
    assert stats.metrics.response_bytes.value == 0
    stats.record(1, 2.0)
    assert (stats.min_latency_ms, stats.max_latency_ms) == (2, 2)
