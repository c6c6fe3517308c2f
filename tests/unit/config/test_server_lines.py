"""server.N lines."""

import pytest

from zabra.config.ensemble import parse_server_line
from zabra.config.model import ServerLine


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zoo1:2888:3888", ServerLine(1, (("zoo1", 2888, 3888),))),
        ("zoo1:2888:3888:participant", ServerLine(1, (("zoo1", 2888, 3888),))),
        ("zoo1:2888:3888:OBSERVER;2181", ServerLine(1, (("zoo1", 2888, 3888),), True, "0.0.0.0", 2181)),
        ("10.0.0.1:1:2;zoo1:2181", ServerLine(1, (("10.0.0.1", 1, 2),), False, "zoo1", 2181)),
        ("[::1]:1:2;[::]:2181", ServerLine(1, (("::1", 1, 2),), False, "::", 2181)),
    ],
)
def test_lines_as_stock_reads_them(text, expected):
    assert parse_server_line(1, text) == expected


def test_several_addresses_need_the_switch():
    text = "a:1:2|b:3:4"
    with pytest.raises(ValueError, match="multiAddress"):
        parse_server_line(1, text)
    assert parse_server_line(1, text, multi_address=True).addresses == (("a", 1, 2), ("b", 3, 4))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zoo1",
        "zoo1:1",
        "zoo1:1:2:participant:5",
        "zoo1:1:2;3;4",
        "zoo1:1:2;a:b:3",
        "zoo1:x:2",
        "zoo1:1:70000",
        "zoo1:1:1",
        "zoo1:1:2:leader",
        "zoo1:1:2;x",
        "[::1:1:2",
    ],
)
def test_other_lines_are_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_server_line(1, text)


def test_roles_of_one_server_must_agree():
    with pytest.raises(ValueError, match="same role"):
        parse_server_line(1, "a:1:2:observer|b:1:2:participant", multi_address=True)
