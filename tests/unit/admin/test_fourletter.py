"""Four-letter words answer in the shapes captured from Apache ZooKeeper 3.9.5."""

import struct
import time
from pathlib import Path

import pytest

from zabra.admin.fourletter import answer
from zabra.admin.status import register_gauges
from zabra.config.model import FOUR_LETTER_WORDS

SESSION = 0x1000089DB2F0000


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def text(word, source, **more):
    return answer(word, source, **more).decode()


@pytest.mark.parametrize("word", FOUR_LETTER_WORDS)
def test_words_outside_the_whitelist_are_refused(make_source, word):
    source = make_source(four_letter_whitelist=frozenset())
    assert text(word, source) == f"{word} is not executed because it is not in the whitelist.\n"


@pytest.mark.parametrize(
    "word", ["conf", "cons", "crst", "dirs", "dump", "mntr", "srst", "srvr", "stat", "wchc", "wchp", "wchs"]
)
def test_a_node_that_is_not_serving_says_so(word, source):
    source.serving = False
    assert text(word, source) == "This ZooKeeper instance is not currently serving requests\n"
    assert source.resets == 0


def test_words_that_need_no_node(source):
    source.serving = False
    assert text("hash", source) == "This ZooKeeper instance is not currently serving requests"
    assert text("ruok", source) == "imok"
    assert text("isro", source) == "null"
    assert text("gtmk", source) == "306"
    assert text("envi", source).startswith("Environment:\nzookeeper.version=3.9.5")


def test_conf(source):
    assert text("conf", source) == (
        "clientPort=23981\nsecureClientPort=-1\ndataDir=/tmp/oz/data/version-2\ndataDirSize=67109358\n"
        "dataLogDir=/tmp/oz/data/version-2\ndataLogSize=67109359\ntickTime=2000\nmaxClientCnxns=60\n"
        "minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\nserverId=0\n"
    )


def test_cons(source):
    assert text("cons", source) == (
        " /127.0.0.1:47134[0](queued=0,recved=1,sent=0)\n"
        " /127.0.0.1:47114[1](queued=0,recved=5,sent=5,sid=0x1000089db2f0000,lop=GETC,est=1795488063761,to=10000,"
        "lcxid=0x4,lzxid=0x3,lresp=9036979,llat=2,minlat=0,avglat=4,maxlat=10)\n"
        " /[0:0:0:0:0:0:0:1]:47152[1](queued=0,recved=0,sent=0,sid=0xfffffffffffffffb,lop=NA,est=1795488063761,"
        "to=10000,lzxid=0xffffffffffffffff,lresp=0,llat=0,minlat=0,avglat=0,maxlat=0)\n"
        "\n"
    )


def test_crst(source):
    assert text("crst", source) == "Connection stats reset.\n"
    assert source.resets == 1


def test_dirs(source):
    assert text("dirs", source) == "datadir_size: 67109358\nlogdir_size: 67109359\n"


def sessions_of(dump):
    """The part of a dump that is about sessions."""
    return dump.partition("ephemeral nodes dump:")[0].removeprefix("SessionTracker dump:\n").splitlines()


@pytest.mark.usefixtures("utc")
def test_dump_of_local_sessions_and_those_that_all_know(source):
    source.local = [(1795488076000, [5])]
    assert sessions_of(text("dump", source)) == [
        *("Local Session Sets (1)/(1):", "1 expire at Tue Nov 24 02:41:16 UTC 2026:", "\t0x5"),
        *("Global Session Sets (1)/(1):", "1 expire at Tue Nov 24 02:41:14 UTC 2026:", "\t0x1000089db2f0000"),
    ]


def test_dump_where_sessions_expire_elsewhere(source):
    source.expiring = None
    assert sessions_of(text("dump", source)) == ["Global Sessions(2):", "0x7\t4000ms", "0x1000089db2f0000\t30000ms"]
    source.local = []
    assert sessions_of(text("dump", source))[:2] == ["Local Session Sets (0)/(0):", "Global Sessions(2):"]


@pytest.mark.usefixtures("utc")
def test_dump(source):
    assert text("dump", source) == (
        "SessionTracker dump:\nSession Sets (1)/(1):\n1 expire at Tue Nov 24 02:41:14 UTC 2026:\n"
        "\t0x1000089db2f0000\nephemeral nodes dump:\nSessions with Ephemerals (1):\n0x1000089db2f0000:\n\t/e\n"
        "Connections dump:\nConnections Sets (1)/(2):\n2 expire at Tue Nov 24 02:41:16 UTC 2026:\n"
        "\tip: /127.0.0.1:47182 sessionId: 0x0\n\tip: /127.0.0.1:47114 sessionId: 0x1000089db2f0000\n"
    )


def test_envi_has_the_keys_of_stock_in_order(source):
    lines = text("envi", source).splitlines()
    keys = [line.partition("=")[0] for line in lines[1:]]
    assert keys[:18] == [
        *("zookeeper.version", "host.name", "java.version", "java.vendor", "java.home", "java.class.path"),
        *("java.library.path", "java.io.tmpdir", "java.compiler", "os.name", "os.arch", "os.version"),
        *("user.name", "user.home", "user.dir", "os.memory.free", "os.memory.max", "os.memory.total"),
    ]
    assert all(line.endswith("MB") for line in lines if line.startswith("os.memory"))


def test_the_trace_mask_is_kept(source):
    assert text("stmk", source, extra=struct.pack(">q", 258)) == "258"
    assert text("gtmk", source) == "258"
    assert text("stmk", source, extra=b"short") == ""
    assert text("gtmk", source) == "258"


def test_hash(source):
    assert text("hash", source) == ""
    source.digests = [(0x80, 1371985504), (0x100000000, (1 << 64) - 2)]
    assert text("hash", source) == "80: 1371985504\n100000000: -2\n"


@pytest.mark.parametrize(("mode", "expected"), [("standalone", "rw"), ("read-only", "ro")])
def test_isro(source, mode, expected):
    source.mode = mode
    assert text("isro", source) == expected


def test_srst_resets_statistics_and_metrics(source):
    source.stats.packets_received = 5
    source.stats.metrics.response_bytes.add(5)
    assert text("srst", source) == "Server stats reset.\n"
    assert (source.stats.packets_received, source.stats.metrics.response_bytes.value) == (0, 0)


SUMMARY = (
    "Latency min/avg/max: 1/4.4/10\nReceived: 16\nSent: 14\nConnections: 3\nOutstanding: 0\nZxid: 0x3\n"
    "Mode: standalone\nNode count: 7\n"
)


def measured(source):
    source.stats.packets_received = 16
    source.stats.packets_sent = 14
    for latency in (1, 1, 2, 8, 10):
        source.stats.record(1, latency)


def test_srvr(source):
    measured(source)
    version, _, rest = text("srvr", source).partition("\n")
    assert version.startswith("Zookeeper version: 3.9.5-")
    assert ", built on " in version
    assert rest == SUMMARY


def test_stat_lists_clients_briefly(source):
    measured(source)
    rest = text("stat", source).partition("\n")[2]
    assert rest == (
        "Clients:\n /127.0.0.1:47134[0](queued=0,recved=1,sent=0)\n /127.0.0.1:47114[1](queued=0,recved=5,sent=5)\n"
        " /[0:0:0:0:0:0:0:1]:47152[1](queued=0,recved=0,sent=0)\n\n" + SUMMARY
    )


def test_a_read_only_server_says_so(source):
    source.mode = "read-only"
    assert text("srvr", source).splitlines()[1] == "READ-ONLY mode; serving only read-only clients"


def test_watches(source):
    first, second = f"0x{SESSION:x}", f"0x{SESSION + 1:x}"
    assert text("wchs", source) == "2 connections watching 2 paths\nTotal watches:3\n"
    assert text("wchc", source) == f"{first}\n\t/a\n{second}\n\t/a\n\t/e\n\n"
    assert text("wchp", source) == f"/a\n\t{first}\n\t{second}\n/e\n\t{second}\n\n"


def mntr(source):
    register_gauges(source.stats.metrics, source)
    return dict(line.split("\t") for line in text("mntr", source).splitlines())


def test_mntr_has_every_name_that_stock_has(source):
    stock = (Path(__file__).with_name("mntr_names.txt")).read_text().split()
    assert sorted(mntr(source)) == stock


def test_mntr_values(source):
    measured(source)
    source.quotas = {"quota_count_limit_per_namespace": {"app": 5}}
    values = mntr(source)
    assert values["zk_server_state"] == "standalone"
    assert values["zk_avg_latency"] == "4.4"
    assert values["zk_znode_count"] == "7"
    assert values["zk_connection_drop_probability"] == "0.0"
    assert values["zk_last_client_response_size"] == "-1"
    assert values["zk_app_quota_count_limit_per_namespace"] == "5"
    assert int(values["zk_open_file_descriptor_count"]) > 3
    assert int(values["zk_max_file_descriptor_count"]) > 3


@pytest.mark.parametrize(
    ("chance", "expected"),
    [(0.0001, "1.0E-4"), (0.00025, "2.5E-4"), (0.001, "0.001"), (12345678.5, "1.23456785E7"), (1e7, "1.0E7")],
)
def test_fractions_are_printed_as_java_does(source, chance, expected):
    source.connection_drop_probability = chance
    assert mntr(source)["zk_connection_drop_probability"] == expected


def test_a_word_that_stock_closes_on_gets_nothing(source):
    assert answer("telnet close", source) == b""


def test_envi_shows_what_a_jvm_would(source, monkeypatch):
    """The variables say nothing to a JVM: the system's record of the user counts, and /tmp."""
    import os
    import pwd

    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("TMPDIR", "/other")
    lines = text("envi", source).splitlines()
    assert f"user.home={pwd.getpwuid(os.getuid()).pw_dir}" in lines
    assert "java.io.tmpdir=/tmp" in lines
