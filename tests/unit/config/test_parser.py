"""Files, -D, environment and arguments become settings; what is wrong is named with its place."""

import pytest

from zabra.config.parser import load, split_definition
from zabra.errors import ConfigError


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / "zoo.cfg"

    def write(text, **more):
        path.write_text(text)
        return load(config_file=str(path), **more)

    write.path = str(path)
    return write


def test_a_stock_sample_file(cfg):
    loaded = cfg("tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/tmp/zookeeper\nclientPort=2181\n")
    settings = loaded.settings
    assert (settings.tick_time_ms, settings.data_dir, settings.client_port) == (2000, "/tmp/zookeeper", 2181)
    assert settings.data_log_dir == "/tmp/zookeeper"
    assert (settings.min_session_timeout_ms, settings.max_session_timeout_ms) == (4000, 40000)
    assert loaded.warnings == ()


def test_the_last_of_repeated_keys_wins(cfg):
    assert cfg("dataDir=/d\nclientPort=1\nclientPort=2\n").settings.client_port == 2


def test_a_bad_value_names_file_line_key_value_and_expectation(cfg):
    with pytest.raises(ConfigError) as caught:
        cfg("dataDir=/d\nclientPort=2181\ntickTime=abc\n")
    assert str(caught.value) == f"{cfg.path}:3: tickTime=abc: expected a whole number of ms, 1 or more"


def test_every_bad_value_is_named_at_once(cfg):
    with pytest.raises(ConfigError) as caught:
        cfg("tickTime=0\nforceSync=maybe\n", definitions=[("clientPort", "x")], environment={"ZOOKEEPER_SKIPACL": "1"})
    places = [line.split("=")[0] for line in str(caught.value).splitlines()]
    assert places == [
        f"{cfg.path}:1: tickTime",
        f"{cfg.path}:2: forceSync",
        "-DclientPort",
        "environment: ZOOKEEPER_SKIPACL",
    ]


def test_long_values_are_cut_in_messages(cfg):
    with pytest.raises(ConfigError) as caught:
        cfg(f"tickTime={'9' * 10000}\n")
    assert len(str(caught.value)) < 300


def test_secrets_are_not_shown_in_messages(cfg):
    loaded = cfg("dataDir=/d\nclientPort=1\nDigestAuthenticationProvider.superDigest=super:geheim\n")
    assert loaded.settings.super_digest == "super:geheim"
    assert "geheim" not in repr(loaded)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.cfg: cannot be read: No such file"):
        load(config_file=str(tmp_path / "no.cfg"))


def test_a_broken_escape_names_its_line(cfg):
    with pytest.raises(ConfigError, match=r"zoo\.cfg:2: expected four hexadecimal digits"):
        cfg("dataDir=/d\nclientPort=\\u1\n")


def test_unknown_keys_warn_and_become_system_properties(cfg):
    loaded = cfg(
        "dataDir=/d\nclientPort=1\nmy.own=5\n", definitions=[("zookeeper.alsoUnknown", "1"), ("other.app", "2")]
    )
    assert loaded.warnings == (
        "-Dzookeeper.alsoUnknown: unknown property, nothing reads it",
        f"{cfg.path}:3: unknown key my.own; kept as system property zookeeper.my.own, nothing reads it",
    )
    assert loaded.settings.properties["zookeeper.my.own"] == "5"
    assert loaded.settings.properties["other.app"] == "2"


@pytest.mark.parametrize("key", ["snapcount", "zookeeper.snapCount"])
def test_a_slip_in_a_key_gets_a_hint(cfg, key):
    (warning,) = cfg(f"dataDir=/d\nclientPort=1\n{key}=5\n").warnings
    assert "(did you mean snapCount?)" in warning


def test_features_to_come_are_named_in_one_line(cfg):
    loaded = cfg(
        "dataDir=/d\nclientPort=1\nsecureClientPort=2\nsslQuorum=true\naudit.enable=true\n"
        "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n"
        "metricsProvider.httpPort=7000\n"
    )
    assert loaded.warnings == (
        "not available in this release, no effect: secureClientPort, sslQuorum (TLS); audit.enable (audit log);"
        " metricsProvider.className, metricsProvider.httpPort (metrics over HTTP)",
    )


def test_switching_off_what_does_not_exist_is_fine(cfg):
    assert cfg("dataDir=/d\nclientPort=1\nadmin.enableServer=false\nsslQuorum=false\n").warnings == ()


def test_the_file_beats_definitions_for_keys_that_apache_makes_system_properties(cfg):
    loaded = cfg("dataDir=/d\nclientPort=1\nsnapCount=7\n", definitions=[("zookeeper.snapCount", "9")])
    assert loaded.settings.snap_count == 7
    assert loaded.settings.properties["zookeeper.snapCount"] == "7"
    assert loaded.warnings == (f"{cfg.path}:3: snapCount overrides -Dzookeeper.snapCount, as in Apache",)


@pytest.mark.parametrize("name", ["tickTime", "zookeeper.tickTime"])
def test_definitions_beat_the_file_for_keys_of_the_file_only(cfg, name):
    text = "dataDir=/d\nclientPort=1\ntickTime=2000\n"
    environment = {"ZOOKEEPER_TICKTIME": "5000"}
    assert cfg(text, environment=environment).settings.tick_time_ms == 5000
    loaded = cfg(text, definitions=[(name, "4000")], environment=environment)
    assert loaded.settings.tick_time_ms == 4000
    assert loaded.warnings == ()


def test_raw_system_properties_count_everywhere(cfg):
    text = "dataDir=/d\nclientPort=1\njute.maxbuffer=5000\n"
    assert cfg(text).settings.jute_max_buffer == 5000
    assert cfg(text, definitions=[("jute.maxbuffer", "0x2000")]).settings.jute_max_buffer == 8192


def test_definitions_beat_the_environment_and_the_last_one_wins(cfg):
    loaded = cfg(
        "dataDir=/d\nclientPort=1\n",
        definitions=[("zookeeper.snapCount", "9"), ("zookeeper.snapCount", "10")],
        environment={"ZOOKEEPER_SNAPCOUNT": "5", "ZOOKEEPER_MAXCNXNS": "6"},
    )
    assert (loaded.settings.snap_count, loaded.settings.max_cnxns) == (10, 6)


def test_flags_for_the_jvm_are_read_as_zkserver_sh_passes_them(cfg):
    environment = {"SERVER_JVMFLAGS": "-Xmx1g '-Dzookeeper.snapCount=11'", "JVMFLAGS": "-Dzookeeper.maxCnxns=12 -ea"}
    settings = cfg("dataDir=/d\nclientPort=1\n", environment=environment).settings
    assert (settings.snap_count, settings.max_cnxns) == (11, 12)
    over = cfg("dataDir=/d\nclientPort=1\n", environment=environment, definitions=[("zookeeper.snapCount", "13")])
    assert over.settings.snap_count == 13


def test_flags_that_no_shell_reads_are_refused():
    with pytest.raises(ConfigError, match="JVMFLAGS: expected flags as a shell reads them"):
        load(environment={"JVMFLAGS": "-Da='b"})


def test_arguments_beat_everything_and_defaults_nothing():
    settings = load(
        definitions=[("tickTime", "4000"), ("dataDir", "/other")],
        arguments={"dataDir": "/d", "clientPort": "1"},
        defaults={"tickTime": "1", "maxClientCnxns": "0"},
    ).settings
    assert (settings.data_dir, settings.client_port, settings.tick_time_ms) == ("/d", 1, 4000)
    assert settings.max_client_cnxns == 0


def test_free_names_in_each_source(cfg):
    loaded = cfg(
        "dataDir=/d\nclientPort=1\nauthProvider.1=a:B\n",
        definitions=[("zookeeper.authProvider.2", "c:D")],
        environment={"ZOOKEEPER_AUTHPROVIDER_X": "e:F"},
    )
    assert loaded.settings.auth_providers == (("1", "a:B"), ("2", "c:D"), ("X", "e:F"))
    assert loaded.settings.properties["zookeeper.authProvider.X"] == "e:F"


def test_the_older_name_of_a_property_counts_when_the_newer_is_unset(cfg):
    text = "dataDir=/d\nclientPort=1\n"
    older = ("fsync.warningthresholdms", "5")
    assert cfg(text, definitions=[older]).settings.fsync_warning_threshold_ms == 5
    both = cfg(text, definitions=[("zookeeper.fsync.warningthresholdms", "6"), older])
    assert both.settings.fsync_warning_threshold_ms == 6


def test_a_definition_without_a_value_is_empty():
    assert split_definition("a") == ("a", "")
    assert split_definition("a=b=c ") == ("a", "b=c")
