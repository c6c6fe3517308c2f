"""Rules between properties: what depends on what, limits, Java class names, server lines."""

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
    found = loaded(tmp_path, "autopurge.snapRetainCount=1\nsnapCount=0\n")
    assert (found.settings.autopurge_snap_retain_count, found.settings.snap_count) == (3, 2)
    assert found.warnings == (
        "autopurge.snapRetainCount=1 is below the minimum, 3 is used",
        "snapCount=0 is below the minimum, 2 is used",
    )


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


THREE = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\n"


def test_server_lines_describe_an_ensemble(tmp_path):
    (tmp_path / "myid").write_text("2\n")
    found = settings(tmp_path, THREE)
    assert found.is_distributed
    assert list(found.servers) == [1, 2, 3]
    assert found.servers[3].observer
    assert found.server_id == 2


def test_one_server_line_is_standalone_unless_that_is_switched_off(tmp_path):
    (tmp_path / "myid").write_text("1\n")
    found = settings(tmp_path, "server.1=a:1:2\n")
    assert not found.is_distributed
    assert found.server_id == 1
    assert settings(tmp_path, "server.1=a:1:2\nstandaloneEnabled=false\n").is_distributed


def test_our_own_line_may_carry_the_client_address(tmp_path):
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir={tmp_path}\nserver.7=a:1:2;127.0.0.1:2199\n")
    (tmp_path / "myid").write_text("7")
    found = load(config_file=str(path)).settings
    assert (found.client_port_address, found.client_port) == ("127.0.0.1", 2199)
    with pytest.raises(
        ConfigError, match=r"server\.7=.*expected the client address that clientPort names, 0\.0\.0\.0:2181"
    ):
        settings(tmp_path, "server.7=a:1:2;127.0.0.1:2199\n")


@pytest.mark.parametrize(
    "text",
    ["server.x=a:1:2\n", "server.1=a:1\n", "standaloneEnabled=false\n", "server.1=a:1:2\nserver.2=b:1:2:observer\n"],
)
def test_impossible_server_lines_are_refused(tmp_path, text):
    with pytest.raises(ConfigError):
        settings(tmp_path, text)


def test_myid_must_be_a_number(tmp_path):
    (tmp_path / "myid").write_text("one\n")
    with pytest.raises(ConfigError, match="myid:1: one: expected the number of this server"):
        settings(tmp_path)


def test_a_dynamic_file_holds_the_servers(tmp_path):
    dynamic = tmp_path / "zoo.cfg.dynamic"
    dynamic.write_text("server.1=a:1:2\nserver.2=b:1:2\n")
    assert list(settings(tmp_path, f"dynamicConfigFile={dynamic}\n").servers) == [1, 2]
    with pytest.raises(ConfigError, match=r"server\.1=a:1:2: expected it in the dynamicConfigFile"):
        settings(tmp_path, f"dynamicConfigFile={dynamic}\nserver.1=a:1:2\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tickTime=1\n", r"dynamic:1: tickTime: expected only server, group and weight lines"),
        ("\nserver.1=a\n", r"dynamic:2: server\.1=a: expected host:quorumPort"),
        ("version=1\n", r"dynamic:1: version"),
        ("server.1=\\u1", r"dynamic:1: expected four"),
    ],
)
def test_a_bad_dynamic_file_names_its_line(tmp_path, text, message):
    dynamic = tmp_path / "zoo.cfg.dynamic"
    dynamic.write_text(text)
    with pytest.raises(ConfigError, match=message):
        settings(tmp_path, f"dynamicConfigFile={dynamic}\n")


def test_a_missing_dynamic_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="the dynamicConfigFile cannot be read"):
        settings(tmp_path, "dynamicConfigFile=/no/such\n")
