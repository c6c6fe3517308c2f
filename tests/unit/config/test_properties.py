"""The table of properties is complete and consistent, and values are read by type."""

import dataclasses

import pytest

from zabra.config.model import Settings
from zabra.config.properties import (
    BadValueError,
    Property,
    all_properties,
    decode_int,
    environment_name,
    index,
    read_value,
)


def row(type_, *, system_property="", unit="ms"):
    return Property("key", system_property, type_, unit, "", "server", "obeyed", "", "")


def test_the_table_has_every_property_of_stock():
    assert len(all_properties()) == 279
    names = [(each.key, each.system_property) for each in all_properties()]
    assert len(dict.fromkeys(names)) == len(names)


@pytest.mark.parametrize("each", all_properties(), ids=lambda each: each.name)
def test_every_row_is_well_formed(each):
    assert each.key or each.system_property
    assert each.scope in ("server", "quorum", "tls", "sasl", "admin", "metrics", "client", "tool")
    assert each.status == "obeyed" or each.status.startswith(("ignored: ", "later: "))
    assert each.meaning[0].isupper()
    assert each.meaning.endswith(".")
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert not each.attribute or each.attribute in fields


def test_defaults_of_the_table_are_defaults_of_the_settings():
    settings = Settings(data_dir="/data", client_port=0)
    compared = 0
    for each in all_properties():
        kind = each.type.partition(" ")[0]
        if each.attribute and kind in ("int", "long", "float", "bool", "yes|no"):
            first = each.default.split(" ")[0]
            try:
                expected = read_value(dataclasses.replace(each, type=kind), first)
            except BadValueError:
                continue
            assert getattr(settings, each.attribute) == expected, each.name
            compared += 1
    assert compared >= 40


def test_a_key_that_only_java_reads_from_a_system_property_is_found_in_the_file_too():
    assert index().find_key("jute.maxbuffer").attribute == "jute_max_buffer"


def test_free_names_find_their_row():
    assert index().find_key("server.12").key == "server.N"
    assert index().find_key("metricsProvider.whatever").key == "metricsProvider.*"
    assert index().find_key("metricsProvider.httpPort").key == "metricsProvider.httpPort"
    assert index().find_system("zookeeper.authProvider.mine").key == "authProvider.N"
    assert index().find_environment("ZOOKEEPER_SERVER_1").key == "server.N"
    assert index().find_key("server.") is None
    assert index().find_key("nothing") is None


def test_service_links_of_kubernetes_set_nothing():
    for name in ("ZOOKEEPER_SERVICE_HOST", "ZOOKEEPER_PORT", "ZOOKEEPER_PORT_2181_TCP", "ZOOKEEPER_SERVER_PORT"):
        assert index().find_environment(name) is None


def test_the_release_in_an_image_is_no_version_of_a_membership():
    assert index().find_environment("ZOOKEEPER_VERSION") is None


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("snapCount", "ZOOKEEPER_SNAPCOUNT"),
        ("autopurge.purgeInterval", "ZOOKEEPER_AUTOPURGE_PURGEINTERVAL"),
        ("4lw.commands.whitelist", "ZOOKEEPER_4LW_COMMANDS_WHITELIST"),
        ("zookeeper.log.dir", "ZOOKEEPER_LOG_DIR"),
        ("jute.maxbuffer", "ZOOKEEPER_JUTE_MAXBUFFER"),
    ],
)
def test_environment_names(name, variable):
    assert environment_name(name) == variable


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("12", 12), ("+5", 5), ("-0x10", -16), ("0X1f", 31), ("#ff", 255), ("010", 8), ("-7", -7)],
)
def test_whole_numbers_of_system_properties_are_decoded_as_java_does(text, value):
    assert decode_int(text) == value


@pytest.mark.parametrize("text", ["", "x", "1.5", "0x", "08", "1e3", "--1", " 1", "1_000", "\u0663", "9" * 5000])
def test_what_java_does_not_decode_is_no_number(text):
    assert decode_int(text) is None


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("bool", "TRUE", True),
        ("bool", "false", False),
        ("yes|no", "yes", True),
        ("int", "-3", -3),
        ("int", "010", 10),
        ("int 1..", "1", 1),
        ("int ..65535", "65535", 65535),
        ("long", "9999999999", 9999999999),
        ("float 0..1", "0.02", 0.02),
        ("float", "1e-3", 0.001),
        ("list", " a, b,,c ", ("a", "b", "c")),
        ("gz|snappy|", "", ""),
        ("gz|snappy|", "gz", "gz"),
        ("text", "any thing", "any thing"),
        ("path", "/data", "/data"),
    ],
)
def test_values_are_read_by_type(type_, text, value):
    assert read_value(row(type_), text) == value


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        ("bool", "yes", "true or false"),
        ("yes|no", "true", "yes or no"),
        ("yes|no", "NO", "yes or no"),
        ("int 1..", "0", "a whole number of ms, 1 or more"),
        ("int", "2147483648", "a whole number of ms from -2147483648 to 2147483647"),
        ("int 3..3", "2", "a whole number of ms, namely 3"),
        ("int 0..65535", "x", "a whole number of ms from 0 to 65535"),
        ("int ..9", "10", "a whole number of ms, 9 or less"),
        ("float 0..1", "1.5", "a number from 0 to 1"),
        ("float", "nan", "a number"),
        ("float", "1_0", "a number"),
        ("gz|snappy|", "lz4", "gz, snappy or nothing"),
        ("path", "", "a path, not nothing"),
        ("path", "/a\0b", "a path without a zero character"),
    ],
)
def test_bad_values_say_what_was_expected(type_, text, expected):
    with pytest.raises(BadValueError) as caught:
        read_value(row(type_), text)
    assert str(caught.value) == expected


def test_a_port_is_no_number_of_ports():
    with pytest.raises(BadValueError, match=r"^a whole number from 0 to 65535$"):
        read_value(row("int 0..65535", unit="port"), "70000")
