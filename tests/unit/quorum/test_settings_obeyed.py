"""Settings of members reach the parts that obey them; each part has its own tests of what it does with them."""

from itertools import pairwise

import pytest
from ensemble_rig import QUORUM_PORT, TICK_S
from rig import create_body, set_body

from zabra.config.model import Settings
from zabra.consts import Op
from zabra.quorum.channel import Channel
from zabra.quorum.mesh import MeshOptions
from zabra.quorum.options import leader_options, master_options
from zabra.sim.disk import ProcessDisk
from zabra.sim.loop import Process
from zabra.zab.election import Intervals


def test_election_connections(made):
    ensemble = made(
        multi_address_enabled=True,
        quorum_listen_on_all_ips=True,
        cnx_timeout_ms=1234,
        quorum_cnxn_timeout_ms=4321,
        tcp_keep_alive=True,
        election_port_bind_retry=7,
        fastleader_min_notification_interval_ms=111,
        fastleader_max_notification_interval_ms=999,
    )
    ensemble.start()
    member = ensemble[1].member
    assert member.mesh._options == MeshOptions(
        multi_address=True,
        listen_on_all_ips=True,
        connect_timeout_s=1.234,
        introduction_timeout_s=4.321,
        keep_alive=True,
        bind_tries=7,
    )
    assert member.election._intervals == Intervals(111, 999)


def test_who_dials_has_sync_limit_ticks_to_introduce_itself_by_default(made):
    ensemble = made(sync_limit=6)
    ensemble.start()
    assert ensemble[1].member.mesh._options.introduction_timeout_s == 6 * TICK_S


def test_leaders_and_observer_masters():
    settings = Settings(
        data_dir="/data",
        tick_time_ms=700,
        init_limit=11,
        sync_limit=12,
        leader_max_concurrent_snap_syncs=13,
        leader_max_concurrent_diff_syncs=14,
        snapshot_size_factor=0.5,
        force_snapshot_sync=True,
        reconfig_enabled=True,
        leader_max_time_to_wait_for_epoch_ms=15,
        initial_counter=16,
        leader_ack_logging_frequency=17,
    )
    master = master_options(settings)
    assert master == (700, 11, 12, 13, 14, 0.5, True)
    leader = leader_options(settings)._asdict()
    assert leader == {
        **master._asdict(),
        "reconfig_enabled": True,
        "max_time_to_wait_for_epoch_ms": 15,
        "initial_counter": 16,
        "ack_sampling": 17,
    }


@pytest.mark.parametrize(("leader", "follower"), [(True, False), (False, True)])
def test_small_packets_wait_where_that_is_wished(made, monkeypatch, leader, follower):
    """leader.nodelay at the leader's end of a quorum connection, follower.nodelay at the other."""
    asked = set()
    for module, place in (("learnerport", "leader"), ("following", "follower")):

        def noted(owner, *, no_delay, place=place, **more):
            asked.add((place, no_delay))
            return Channel(owner, no_delay=no_delay, **more)

        monkeypatch.setattr(f"zabra.quorum.{module}.Channel", noted)
    made([1, 2], leader_nodelay=leader, follower_nodelay=follower).start()
    assert asked == {("leader", leader), ("follower", follower)}


def test_the_oracle_lets_one_of_two_go_on(made):
    """oraclePath: asked when the other is gone; what it says is read anew each time."""
    ensemble = made([1, 2], oracle_path="/oracle")

    def say(text):
        for machine in ensemble.machines.values():
            ProcessDisk(machine.disk, Process("oracle")).write_atomic("/oracle", text)

    say(b"1")
    ensemble.start()
    leader = ensemble.wait_led(1, 2)
    other = 3 - leader
    client = ensemble.client(leader)
    client.ok(Op.CREATE, create_body("/a"))
    ensemble.kill(other)
    ensemble.run(4 * TICK_S)
    assert ensemble[leader].mode == "leader"
    client.ok(Op.SET_DATA, set_body("/a", b"alone"))
    say(b"0")
    ensemble.wait(lambda: ensemble[leader].mode == "looking")


@pytest.mark.parametrize("delay_s", [0.1, 0.7])
def test_a_leader_that_cannot_be_reached_is_tried_again_after_a_while(made, delay_s):
    """leader.connectDelayDuringRetryMs."""
    ensemble = made([1, 2], leader_connect_delay_during_retry_ms=int(delay_s * 1000))
    times = []
    dial = ensemble.loop.create_connection

    async def refuse(factory, host=None, port=None, **more):
        if port == QUORUM_PORT:
            times.append(ensemble.loop.time())
            raise ConnectionRefusedError(111, "refused")
        return await dial(factory, host, port, **more)

    ensemble.loop.create_connection = refuse
    ensemble.boot()
    ensemble.wait(lambda: len(times) >= 6)
    # Quicker at first: a leader that was just elected has not begun to listen.
    pauses = [after - before for before, after in pairwise(times[:6])]
    assert pauses == pytest.approx([delay_s * share for share in (0.1, 0.2, 0.4, 1, 1)], abs=0.001)
