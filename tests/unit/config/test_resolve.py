"""Rules between properties: what depends on what, limits, Java class names."""

import pytest

from zabra.config.model import FOUR_LETTER_WORDS
from zabra.config.parser import load
from zabra.errors import ConfigError


def loaded(tmp_path, text="", **more):
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir={tmp_path}\nclientPort=2181\n{text}")
    return load(config_file=str(path), **more)


def settings(tmp_path, text="", **more):
    return loaded(tmp_path, text, **more).settings


def test_data_dir_is_needed():
    with pytest.raises(ConfigError, match="dataDir is missing"):
        load(arguments={"clientPort": "1"})


def test_an_address_needs_its_port(tmp_path):
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=/d\nclientPortAddress=127.0.0.1\n")
    with pytest.raises(ConfigError, match=r"zoo\.cfg:2: clientPortAddress=127\.0\.0\.1: expected clientPort beside it"):
        load(config_file=str(path))


def test_no_client_port_is_allowed_and_named(tmp_path):
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=/d\n")
    found = load(config_file=str(path))
    assert found.settings.client_port is None
    assert found.warnings == ("clientPort is not set: no client can connect",)


def test_session_timeouts_must_not_cross(tmp_path):
    with pytest.raises(ConfigError, match=r"zoo\.cfg:3: minSessionTimeout=90000: .*but 90000 ms is above 60000 ms"):
        settings(tmp_path, "minSessionTimeout=90000\n")
    with pytest.raises(ConfigError, match=r"zoo\.cfg:3: maxSessionTimeout=10: "):
        settings(tmp_path, "maxSessionTimeout=10\n")
    found = settings(tmp_path, "minSessionTimeout=-1\nmaxSessionTimeout=70000\n")
    assert (found.min_session_timeout_ms, found.max_session_timeout_ms) == (6000, 70000)


def test_values_below_a_minimum_are_raised_with_a_warning(tmp_path):
    found = loaded(tmp_path, "autopurge.snapRetainCount=1\nsnapCount=0\ncommitLogCount=499\n")
    assert (found.settings.autopurge_snap_retain_count, found.settings.snap_count) == (3, 2)
    assert found.settings.commit_log_count == 500
    assert found.warnings[:3] == (
        "autopurge.snapRetainCount=1 is below the minimum, 3 is used",
        "snapCount=0 is below the minimum, 2 is used",
        "commitLogCount=499 is below the minimum, 500 is used",
    )


def test_a_batch_waits_for_a_third_of_the_flush_delay_unless_told_otherwise(tmp_path):
    def poll(text):
        return settings(tmp_path, text).max_write_queue_poll_ms

    assert [poll(""), poll("flushDelay=20\n"), poll("flushDelay=-5\n")] == [0, 6, 0]
    assert poll("flushDelay=20\nmaxWriteQueuePollTime=15\n") == 15
    assert poll("flushDelay=20\nmaxWriteQueuePollTime=-1\n") == 0


def test_the_share_of_the_log_in_a_sync_is_at_most_all_of_the_snapshot(tmp_path):
    assert settings(tmp_path, "snapshotSizeFactor=-1\n").snapshot_size_factor == -1
    found = loaded(tmp_path, "snapshotSizeFactor=1.5\n")
    assert found.settings.snapshot_size_factor == 0.33
    assert found.warnings[0] == "snapshotSizeFactor=1.5 is above 1, 0.33 is used"


def test_the_slack_of_buffers_follows_their_limit(tmp_path):
    found = settings(tmp_path, "jute.maxbuffer=4096\n")
    assert (found.jute_max_buffer, found.jute_max_buffer_extra) == (4096, 4096)
    assert settings(tmp_path, "jute.maxbuffer.extrasize=1\n").jute_max_buffer_extra == 1024


def test_session_weights_are_not_below_the_local_one(tmp_path):
    found = loaded(tmp_path, "connection_throttle_local_session_weight=5\n")
    weights = found.settings
    assert weights.connection_throttle_global_session_weight == 5
    assert weights.connection_throttle_renew_session_weight == 5
    assert len(found.warnings) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", {"srvr"}),
        ("4lw.commands.whitelist=stat, ruok\n", {"srvr", "stat", "ruok"}),
        ("4lw.commands.whitelist=*\n", set(FOUR_LETTER_WORDS)),
        ("readonlymode.enabled=true\n", {"srvr", "isro"}),
    ],
)
def test_four_letter_words_that_are_allowed(tmp_path, text, words):
    assert settings(tmp_path, text).four_letter_whitelist == words


def test_a_word_that_does_not_exist_is_named(tmp_path):
    assert loaded(tmp_path, "4lw.commands.whitelist=stat,wxyz\n").warnings == (
        "4lw.commands.whitelist: there is no word wxyz",
    )


@pytest.mark.parametrize(
    ("key", "java_class"),
    [
        ("serverCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory"),
        ("watchManagerName", "org.apache.zookeeper.server.watch.WatchManagerOptimized"),
        ("metricsProvider.className", "org.apache.zookeeper.metrics.impl.DefaultMetricsProvider"),
    ],
)
def test_shipped_java_classes_are_ours_and_others_are_refused(tmp_path, key, java_class):
    assert loaded(tmp_path, f"{key}={java_class}\n").warnings == ()
    with pytest.raises(ConfigError, match=rf"zoo\.cfg:3: {key}=com\.example\.Mine: expected org\.apache"):
        settings(tmp_path, f"{key}=com.example.Mine\n")


@pytest.mark.parametrize(
    "text",
    [
        "quorum.auth.learnerRequireSasl=true\n",
        "quorum.auth.serverRequireSasl=true\n",
        "quorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true\n",
    ],
)
def test_quorum_sasl_switches_need_each_other(tmp_path, text):
    with pytest.raises(ConfigError, match=r"quorum\.auth\.\w+=true: expected quorum\.auth\.\w+=true beside it"):
        settings(tmp_path, text)
