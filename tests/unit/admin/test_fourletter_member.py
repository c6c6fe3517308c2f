"""What a member of an ensemble tells besides; the texts are those of Apache's servers."""

import pytest

from zabra.admin.fourletter import answer
from zabra.admin.status import LeaderStatus, MemberStatus, register_member_gauges
from zabra.config.dynamic import parse_config

CONFIG = parse_config(
    "server.1=127.0.0.1:52661:58487;127.0.0.1:35829\nserver.2=127.0.0.1:59627:46859\n"
    "server.3=127.0.0.1:53013:35133:observer\nversion=100000000"
)
LEADER_GAUGES = {
    "learners": 2,
    "synced_followers": 1,
    "synced_non_voting_followers": 0,
    "synced_observers": 1,
    "pending_syncs": 4,
    "leader_uptime": 1500,
    "last_proposal_size": 50,
    "max_proposal_size": 90,
    "min_proposal_size": 48,
}


@pytest.fixture
def follower(make_source):
    source = make_source(ensemble=CONFIG, server_id=1, init_limit=10, sync_limit=4)
    source.mode = "follower"
    source.member = MemberStatus(CONFIG, CONFIG.members[1], "following - broadcast")
    register_member_gauges(source.stats.metrics, source)
    return source


@pytest.fixture
def leader(follower):
    follower.mode = "leader"
    status = LeaderStatus(
        learners=2,
        synced_followers=1,
        synced_non_voting_followers=0,
        pending_syncs=4,
        uptime_ms=1500,
    )
    follower.member = MemberStatus(CONFIG, CONFIG.members[1], "leading - broadcast", status, synced_observers=1)
    follower.stats.record_proposal_sizes(48, 90, 50)
    return follower


def text(word, source):
    return answer(word, source).decode()


def mntr(source):
    return dict(line.split("\t") for line in text("mntr", source).splitlines())


def test_conf_ends_with_the_membership(follower):
    assert text("conf", follower).partition("clientPortListenBacklog=-1\n")[2] == (
        "serverId=1\ninitLimit=10\nsyncLimit=4\nelectionAlg=3\nelectionPort=58487\nquorumPort=52661\npeerType=0\n"
        "membership: \n"
        "server.1=127.0.0.1:52661:58487:participant;127.0.0.1:35829\nserver.2=127.0.0.1:59627:46859:participant\n"
        "server.3=127.0.0.1:53013:35133:observer\nversion=100000000"
    )


def test_conf_of_an_observer_with_several_addresses(follower):
    own = parse_config("server.1=a:1:2\nserver.3=a:5:6|b:7:6:observer", multi_address=True).members[3]
    follower.member = follower.member._replace(own=own)
    assert "electionPort=6\nquorumPort=5|7\npeerType=1\n" in text("conf", follower)


def test_only_a_leader_has_proposals(follower, leader):
    assert text("srvr", leader).endswith("Mode: leader\nNode count: 7\nProposal sizes last/min/max: 50/48/90\n")
    assert text("stat", leader).endswith("Proposal sizes last/min/max: 50/48/90\n")
    text("srst", leader)
    assert text("srvr", leader).endswith("Proposal sizes last/min/max: -1/-1/-1\n")
    follower.mode = "follower"
    assert text("srvr", follower).endswith("Mode: follower\nNode count: 7\n")


def test_mntr_of_a_follower(follower):
    values = mntr(follower)
    assert (values["zk_server_state"], values["zk_peer_state"]) == ("follower", "following - broadcast")
    assert list(values)[2] == "zk_peer_state"
    assert values["zk_quorum_size"] == "2"
    assert not {f"zk_{name}" for name in LEADER_GAUGES} & values.keys()


def test_mntr_of_an_observer(follower):
    assert "zk_observer_master_id" not in mntr(follower)
    follower.member = follower.member._replace(observer_master=2)
    values = mntr(follower)
    assert list(values)[3] == "zk_observer_master_id"
    assert values["zk_observer_master_id"] == "2"


def test_mntr_of_a_leader(leader):
    values = mntr(leader)
    assert {name: int(values[f"zk_{name}"]) for name in LEADER_GAUGES} == LEADER_GAUGES


def test_a_server_that_is_cut_off_tells_nothing_of_the_others(follower):
    follower.mode = "read-only"
    assert text("conf", follower).endswith("quorumPort=52661\npeerType=0\n")
    values = mntr(follower)
    assert values["zk_server_state"] == "read-only"
    assert not {"zk_peer_state", "zk_quorum_size"} & values.keys()


def test_a_standalone_server_has_none_of_it(source):
    register_member_gauges(source.stats.metrics, source)
    values = mntr(source)
    assert not {f"zk_{name}" for name in ("peer_state", "quorum_size", *LEADER_GAUGES)} & values.keys()
