"""Membership texts; the expected ones were printed by tests/golden/ConfigTexts.java."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.config.dynamic import (
    EnsembleConfig,
    dynamic_file_name,
    dynamic_file_text,
    edit_static_file,
    format_address,
    make_config,
    parse_config,
    version_of_file_name,
)
from zabra.config.model import ServerLine
from zabra.errors import ConfigError

GOLDEN = {
    "server.3=c:1:2:observer~server.1=127.0.0.1:2888:3888~server.2=b:2888:3888:participant;2181~version=10000000a": (
        "server.1=127.0.0.1:2888:3888:participant~server.2=b:2888:3888:participant;0.0.0.0:2181"
        "~server.3=c:1:2:observer~version=10000000a"
    ),
    "server.1=[::1]:2888:3888;[::]:2181~server.2=a.example:1:2;h:99": (
        "server.1=[0:0:0:0:0:0:0:1]:2888:3888:participant;[0:0:0:0:0:0:0:0]:2181"
        "~server.2=a.example:1:2:participant;h:99~version=0"
    ),
    "server.20=a:1:2~server.5=b:1:2~server.300=c:1:2": (
        "server.20=a:1:2:participant~server.5=b:1:2:participant~server.300=c:1:2:participant~version=0"
    ),
    "server.1=a:1:2~server.2=b:1:2~server.3=c:1:2~server.4=d:1:2:observer~group.2=1:2~group.1=3~weight.1=2~weight.3=0"
    "~version=ff": (
        "server.1=a:1:2:participant~server.2=b:1:2:participant~server.3=c:1:2:participant~server.4=d:1:2:observer"
        "~group.1=3~group.2=1:2~weight.1=2~weight.2=1~weight.3=0~version=ff"
    ),
    "server.1=b:9:2|a:3:4;2181": "server.1=a:3:4|b:9:2:participant;0.0.0.0:2181~version=0",
    "server.1=a:1:2~server.2=b:1:2:observer~server.3=c:1:2~group.1=1:2:3~weight.2=5": (
        "server.1=a:1:2:participant~server.2=b:1:2:observer~server.3=c:1:2:participant"
        "~group.1=1:2:3~weight.1=1~weight.2=5~weight.3=1~version=0"
    ),
    "~".join(f"server.{sid}=a:1:2" for sid in (13, 1, 2, 3, 5, 6, 7, 8, 9, 10, 17, 29, -1, 5000000000)): (
        "~".join(f"server.{sid}=a:1:2:participant" for sid in (-1, 1, 2, 3, 5000000000, 5, 6, 7, 8, 9, 10, 13, 17, 29))
        + "~version=0"
    ),
}


@pytest.mark.parametrize(("text", "written"), GOLDEN.items())
def test_a_membership_is_written_as_stock_writes_it(text, written):
    config = parse_config(text.replace("~", "\n"), multi_address=True)
    assert config.text() == written.replace("~", "\n")
    again = parse_config(config.text(), multi_address=True)
    assert again.text() == config.text()
    assert again.same_membership(config)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("server.1=a:1:2:observer", "at least one participant"),
        ("version=7", "at least one participant"),
        ("", "at least one participant"),
        ("server.1=a:1:2\nx=1", "not 'x'"),
        ("server.1=a:1:2\nserver.x=a:1:2", "a number, not 'x'"),
        ("server.1=a:1", "host:quorumPort"),
        ("server.1=a:1:2\nweight.1=1", "server 1 in a group"),
        ("server.1=a:1:2\ngroup.1=1:2", "a weight for server 2 of group 1"),
        ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "server 1 in one group"),
        ("server.1=a:1:2\ngroup.1=", "a number, not ''"),
        ("server.1=a:1:2\ngroup.1=1\nweight.1=-1", "weights from 0"),
        ("server.1=a:1:2\nversion=g", "a version in hex"),
        ("server.1=a:1:2\nversion=8000000000000000", "a version in hex"),
        ("server.99999999999999999999=a:1:2", "a number"),
        ("server.1=a\N{SNOWMAN}:1:2", "host name"),
        ("server.1=a:1:2|b:1:2", "multiAddress"),
        ("server.1=a:1:2\\u1", "hexadecimal"),
    ],
)
def test_what_is_no_membership_is_refused(text, why):
    with pytest.raises(ConfigError, match=why):
        parse_config(text)


@given(st.text(alphabet="server.group=weightvion123:|;\n\\[]", max_size=80))
def test_any_text_is_read_or_refused(text):
    try:
        config = parse_config(text)
    except ConfigError:
        return
    assert parse_config(config.text()).text() == config.text()


def test_voters_and_observers_are_told_apart():
    config = parse_config("server.1=a:1:2\nserver.2=b:1:2:observer\nserver.3=c:1:2")
    assert list(config.voters) == [1, 3]
    assert list(config.observers) == [2]


def test_memberships_are_compared_without_their_versions():
    one = parse_config("server.1=[::1]:1:2\nserver.2=b:1:2\nversion=1")
    assert one.same_membership(parse_config("server.2=b:1:2\nserver.1=[0:0::1]:1:2:participant\nversion=2"))
    assert one.with_version(9).version == 9
    assert one.same_membership(one.with_version(9))
    for other in ("server.1=[::1]:1:2", "server.1=[::1]:1:2\nserver.2=b:1:3", "server.1=[::1]:1:2\nserver.2=b:1:2;5"):
        assert not one.same_membership(parse_config(other))


def test_a_client_port_without_a_host_is_for_all_addresses():
    config = make_config({1: ServerLine(1, (("a", 1, 2),), client_port=2181)})
    assert config.text() == "server.1=a:1:2:participant;0.0.0.0:2181\nversion=0"


def test_names_of_dynamic_files():
    assert dynamic_file_name("/etc/zoo.cfg", 0x10000000A) == "/etc/zoo.cfg.dynamic.10000000a"
    assert version_of_file_name("/etc/zoo.cfg.dynamic.10000000a") == 0x10000000A
    assert version_of_file_name("/etc/zoo.cfg.dynamic") == 0
    assert version_of_file_name("/etc/members") == 0


def test_dynamic_files_have_sorted_lines_and_the_version_only_in_next():
    config = parse_config("server.2=b:1:2\nserver.10=a:1:2\nversion=1f")
    assert dynamic_file_text(config, with_version=False) == "server.10=a:1:2:participant\nserver.2=b:1:2:participant"
    assert dynamic_file_text(config, with_version=True).endswith("\nversion=1f")


STATIC = b"# ours\ntickTime = 2000\nserver.1=a:1:2;2181\nclientPort=2181\nclientPortAddress=x\npeerType=observer\n"


def test_the_static_file_loses_its_membership():
    edited = edit_static_file(STATIC, "/etc/zoo.cfg.dynamic.0", erase_client_port=True)
    assert edited == b"tickTime=2000\ndynamicConfigFile=/etc/zoo.cfg.dynamic.0\n"


def test_the_static_file_keeps_a_client_port_that_no_server_line_names():
    edited = edit_static_file(STATIC + b"dynamicConfigFile=old\n", "new", erase_client_port=False)
    assert edited == b"tickTime=2000\nclientPort=2181\nclientPortAddress=x\ndynamicConfigFile=new\n"


def test_a_static_file_that_does_not_parse_is_refused():
    with pytest.raises(ConfigError, match="line 2"):
        edit_static_file(b"a=1\nb=\\u12\n", "new", erase_client_port=False)


def test_addresses_of_initial_messages():
    assert format_address("host", 3888) == "host:3888"
    assert format_address("::1", 3888) == "[0:0:0:0:0:0:0:1]:3888"


def test_an_ensemble_without_hierarchy_has_no_weights():
    assert EnsembleConfig({1: ServerLine(1, (("a", 1, 2),))}).lines() == ["server.1=a:1:2:participant"]
