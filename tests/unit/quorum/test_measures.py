"""What a member measures of its ensemble: by itself, and in ensembles that do something."""

from __future__ import annotations

from struct import pack

import pytest
from ensemble_rig import TICK_S, Ensemble
from rig import create_body, set_body

from zabra.consts import Op
from zabra.obs.metrics import Metrics
from zabra.quorum.measures import Measures
from zabra.zab.syncplan import Entry


class Clock:
    """Both clocks, at what a test says."""

    now_ms = 1_000_000

    def monotonic(self):
        return self.now_ms / 1000

    def wall_ms(self):
        return self.now_ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def measures(metrics, clock):
    return Measures(metrics, clock)


def made(*times_ms):
    """Transactions that were made at these moments."""
    return [Entry(zxid, pack(">qiqqi", 1, 1, zxid, time_ms, 5)) for zxid, time_ms in enumerate(times_ms, 1)]


def summary(metrics, name):
    """Count, sum, minimum and maximum."""
    dump = metrics.dump()
    return tuple(dump[f"{kind}_{name}"] for kind in ("cnt", "sum", "min", "max"))


@pytest.mark.parametrize(
    ("ages_ms", "expected"),
    [
        ([5], (1, 5, 5, 5)),
        ([5, 5, 5], (3, 15, 5, 5)),
        ([9, 9, 7, 7, 7, 0], (6, 39, 0, 9)),
        ([3, -1, -2], (1, 3, 3, 3)),
        ([-1], (0, 0, 0, 0)),
    ],
)
def test_the_age_of_each_transaction_counts(measures, metrics, clock, ages_ms, expected):
    measures.logged(made(*(clock.now_ms - age for age in ages_ms)))
    assert summary(metrics, "proposal_ack_creation_latency") == expected


@pytest.mark.parametrize("ages_ms", [[4, 6, 4, 4], [4, 2, 9, 1], [1, 9, 1, 9, 1]])
def test_a_leader_whose_clock_was_set_back_confuses_nobody_much(measures, metrics, clock, ages_ms):
    """Each counts once, if only as its neighbour does."""
    measures.logged(made(*(clock.now_ms - age for age in ages_ms)))
    count, _, least, most = summary(metrics, "proposal_ack_creation_latency")
    assert count == len(ages_ms)
    assert min(ages_ms) <= least <= most <= max(ages_ms)


def test_what_is_measured_of_a_transaction_on_its_way(measures, metrics, clock):
    two = made(clock.now_ms, clock.now_ms)
    clock.now_ms += 125
    measures.proposed(two)
    clock.now_ms += 125
    measures.agreed(two)
    clock.now_ms += 125
    measures.told_committed(two)
    began = clock.monotonic()
    clock.now_ms += 125
    measures.committed(two, began)
    dump = metrics.dump()
    assert {
        name: dump[f"sum_{name}"] / dump[f"cnt_{name}"]
        for name in ("proposal_latency", "quorum_ack_latency", "commit_propagation_latency", "propagation_latency")
    } == {
        "proposal_latency": 125,
        "quorum_ack_latency": 250,
        "commit_propagation_latency": 375,
        "propagation_latency": 500,
    }
    counters = ("learner_proposal_received_count", "commit_count", "learner_commit_received_count")
    assert [dump[name] for name in (*counters, "request_commit_queued")] == [2, 2, 2, 2]
    assert summary(metrics, "commit_process_time") == (1, 125, 125, 125)
    assert summary(metrics, "commit_commit_proc_req_queued") == (1, 2, 2, 2)
    assert summary(metrics, "write_commit_proc_issued") == (1, 2, 2, 2)


def test_unavailable_is_from_the_first_election_to_serving(measures, metrics, clock):
    """Elections that end in nothing lie in between."""
    began = measures.looks()
    clock.now_ms += 250
    measures.elected(began)
    clock.now_ms += 750
    measures.looks()
    clock.now_ms += 1000
    measures.serves(leads=False)
    assert summary(metrics, "unavailable_time") == (1, 2000, 2000, 2000)
    assert summary(metrics, "leader_unavailable_time") == (0, 0, 0, 0)
    assert summary(metrics, "election_time") == (1, 250, 250, 250)
    measures.serves(leads=True)
    assert summary(metrics, "unavailable_time")[0] == 1, "it was never gone"
    measures.looks()
    clock.now_ms += 125
    measures.serves(leads=True)
    assert summary(metrics, "leader_unavailable_time") == (1, 125, 125, 125)
    assert metrics.looking_count.value == 3


# -- in an ensemble


@pytest.fixture
def three():
    made = Ensemble([1, 2, 3], [4])
    made.start()
    yield made
    made.close()


def dump(ensemble, sid):
    return ensemble[sid].server.stats.metrics.dump()


def test_roles_and_syncs_are_measured(three):
    for sid in (1, 2):
        gauges = dump(three, sid)
        assert (gauges["cnt_follower_sync_time"], gauges["cnt_observer_sync_time"]) == (1, 0)
        assert (gauges["cnt_unavailable_time"], gauges["cnt_leader_unavailable_time"]) == (1, 0)
        assert gauges["cnt_election_time"] == 1
    observer, leader = dump(three, 4), dump(three, 3)
    assert (observer["cnt_follower_sync_time"], observer["cnt_observer_sync_time"]) == (0, 1)
    assert observer["cnt_election_time"] == 0, "it did not vote"
    assert (leader["cnt_unavailable_time"], leader["cnt_leader_unavailable_time"]) == (1, 1)
    assert leader["max_leader_unavailable_time"] > 0
    assert leader["cnt_follower_sync_time"] == 0
    assert leader["cnt_inflight_diff_count"] == 6, "three syncs began and ended"
    assert (leader["max_inflight_diff_count"], leader["min_inflight_diff_count"]) == (3, 0)
    assert leader["cnt_inflight_snap_count"] == 0


def test_a_snapshot_on_its_way_is_counted(three):
    three.kill(4)
    three.fill(1, 5)
    three[4].disk.names.clear()
    three.boot(4)
    three.wait_serving(4)
    leader = dump(three, 3)
    assert (leader["cnt_inflight_snap_count"], leader["max_inflight_snap_count"]) == (2, 1)


def test_a_write_is_measured_wherever_it_passes(three):
    client = three.client(1)
    three.run(1)
    before = {sid: dump(three, sid) for sid in (1, 2, 3, 4)}
    client.ok(Op.CREATE, create_body("/a"))
    client.ok(Op.SET_DATA, set_body("/a", b"1"))
    three.run(1)

    def moved(name):
        return [dump(three, sid)[name] - before[sid][name] for sid in (1, 2, 3, 4)]

    assert moved("cnt_proposal_latency") == [2, 2, 0, 0]
    assert moved("cnt_proposal_ack_creation_latency") == [2, 2, 2, 0]
    assert moved("cnt_quorum_ack_latency") == [0, 0, 2, 0]
    assert moved("cnt_commit_propagation_latency") == [2, 2, 0, 2]
    assert moved("cnt_propagation_latency") == [2, 2, 2, 2]
    assert moved("request_commit_queued") == [2, 2, 2, 2]
    assert moved("learner_proposal_received_count") == [2, 2, 0, 0]
    assert moved("learner_commit_received_count") == [2, 2, 0, 2]
    assert moved("proposal_count") == moved("commit_count") == [0, 0, 2, 0]


def test_what_comes_in_a_sync_is_no_proposal(three):
    three.kill(2)
    three.fill(1, 5)
    three.run(10)
    three.boot(2)
    three.wait_serving(2)
    gauges = dump(three, 2)
    assert gauges["learner_proposal_received_count"] == gauges["learner_commit_received_count"] == 0
    assert gauges["cnt_proposal_ack_creation_latency"] == 0


def test_sessions_that_learners_ask_about_are_counted(three):
    before = dump(three, 3)["revalidate_count"]
    client = three.client(1)
    client.leave()
    again = three.stranger()
    again.session_id, again.password = client.session_id, client.password
    assert again.connect(2)
    assert dump(three, 3)["revalidate_count"] == before + 1


def test_the_queue_of_each_learner_is_measured(three):
    three.run(4 * TICK_S)
    gauges = dump(three, 3)
    for sid in (1, 2, 4):
        assert gauges[f"cnt_{sid}_learner_handler_qp_size"] >= 6
        assert gauges[f"max_{sid}_learner_handler_qp_size"] == 0, "nothing waits"
        assert gauges[f"cnt_{sid}_learner_handler_qp_time_ms"] >= 6
        assert gauges[f"max_{sid}_learner_handler_qp_time_ms"] == 0
