"""Metrics keep true numbers and dump them under the names and suffixes that ``mntr`` has."""

import random

import pytest

from zabra.obs.metrics import RESERVOIR_SIZE, Counter, CounterSet, Metrics, PercentileSummary, Summary, SummarySet


def dumped(metric):
    out = {}
    metric.dump(out)
    return out


def test_a_summary_has_five_values():
    summary = Summary("fsynctime")
    assert list(dumped(summary).values()) == [0.0, 0, 0, 0, 0]
    summary.add(3)
    summary.add_many(5, 2)
    assert dumped(summary) == {
        "avg_fsynctime": 4.3333,
        "min_fsynctime": 3,
        "max_fsynctime": 5,
        "cnt_fsynctime": 3,
        "sum_fsynctime": 13,
    }


@pytest.mark.parametrize("kind", [Summary, PercentileSummary])
def test_reset_forgets_minimum_and_maximum(kind):
    summary = kind("x")
    summary.add(1)
    summary.add(9)
    summary.reset()
    summary.add(5)
    assert (summary.min, summary.max, summary.count, summary.total) == (5, 5, 1, 5)


def test_percentiles_interpolate_as_stock_does():
    summary = PercentileSummary("readlatency")
    for value in range(1, 101):
        summary.add(value)
    out = dumped(summary)
    assert [out[p + "readlatency"] for p in ("p50_", "p95_", "p99_", "p999_")] == [51, 96, 100, 100]


def test_percentiles_of_nothing_are_zero():
    assert dumped(PercentileSummary("x"))["p999_x"] == 0


def test_a_batch_of_points_is_the_same_as_single_points_while_the_sample_has_room():
    batched, single = PercentileSummary("x"), PercentileSummary("x")
    for value, count in ((7, 100), (2, 60), (40, 3)):
        batched.add_many(value, count)
        for _ in range(count):
            single.add(value)
    assert dumped(batched) == dumped(single)


@pytest.mark.parametrize("batch", [1, 37])
def test_the_sample_stays_bounded_and_uniform(batch):
    summary = PercentileSummary("x")
    points = 40 * RESERVOIR_SIZE // batch
    chooser = random.Random(5)
    for _ in range(points):
        summary.add_many(chooser.randrange(1000), batch)
    assert len(summary._samples) == RESERVOIR_SIZE
    assert summary.count == points * batch
    assert abs(summary.percentile(0.5) - 500) < 60
    assert abs(summary.percentile(0.95) - 950) < 25


@pytest.mark.parametrize("batch", [1, 15, 10 * RESERVOIR_SIZE])
def test_late_points_enter_the_sample_in_their_share(batch):
    summary = PercentileSummary("x")
    summary.add_many(0, 10 * RESERVOIR_SIZE)
    for _ in range(10 * RESERVOIR_SIZE // batch):
        summary.add_many(1, batch)
    share = sum(summary._samples) / RESERVOIR_SIZE
    assert 0.45 < share < 0.55


def test_sets_put_the_key_before_the_name():
    counters, summaries = CounterSet("quota_exceeded_error_per_namespace"), SummarySet("read_per_namespace")
    counters.add("app", 2)
    summaries.add("app", 10)
    assert dumped(counters) == {"app_quota_exceeded_error_per_namespace": 2}
    assert dumped(summaries)["avg_app_read_per_namespace"] == 10.0
    counters.reset()
    summaries.reset()
    assert dumped(counters) == {"app_quota_exceeded_error_per_namespace": 0}
    assert dumped(summaries)["cnt_app_read_per_namespace"] == 0


def test_every_metric_sits_under_its_own_name():
    for attribute, metric in vars(Metrics()).items():
        if not attribute.startswith("_"):
            assert metric.name == attribute


def test_gauges_are_asked_at_dump_time_and_none_leaves_them_out():
    metrics = Metrics()
    values = {"uptime": 1, "synced_observers": None}
    for name in values:
        metrics.register_gauge(name, lambda name=name: values[name])
    metrics.register_gauge_set("quota_count_limit_per_namespace", lambda: {"app": 5, "old": None})
    assert metrics.dump()["uptime"] == 1
    values["uptime"] = 2
    out = metrics.dump()
    assert out["uptime"] == 2
    assert "synced_observers" not in out
    assert out["app_quota_count_limit_per_namespace"] == 5
    assert out["old_quota_count_limit_per_namespace"] == 0
    metrics.unregister_gauge("uptime")
    assert "uptime" not in metrics.dump()


def test_reset_clears_every_kind():
    metrics = Metrics()
    before = metrics.dump()
    metrics.response_bytes.add(5)
    metrics.fsynctime.add(5)
    metrics.readlatency.add(5)
    assert metrics.dump() != before
    metrics.reset()
    assert metrics.dump() == before


def test_counters_add_up():
    counter = Counter("x")
    counter.add()
    counter.add(4)
    assert counter.value == 5
