"""Election messages: bytes of every version, and what is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zabra.config.dynamic import parse_config
from zabra.errors import ProtocolError
from zabra.zab.notification import encode_notification, parse_notification
from zabra.zab.types import NOBODY, Notification, ServerState

CONFIG = parse_config("server.1=a:1:2\nserver.2=b:1:2\nversion=1f")
TEXT = b"server.1=a:1:2:participant\nserver.2=b:1:2:participant\nversion=1f"
LONGS = st.integers(NOBODY, -NOBODY - 1)


def test_the_layout_is_that_of_stock():
    message = Notification(ServerState.LEADING, 2, 0x100000007, 5, 1, config=CONFIG)
    data = encode_notification(message)
    assert data == struct.pack(">iqqqqii", 2, 2, 0x100000007, 5, 1, 2, len(TEXT)) + TEXT


@given(st.sampled_from(ServerState), LONGS, LONGS, LONGS, LONGS)
def test_what_is_written_is_read(state, leader, zxid, round_, epoch):
    message = Notification(state, leader, zxid, round_, epoch, config=CONFIG)
    again = parse_notification(encode_notification(message))
    assert again._replace(config=CONFIG) == message
    assert again.config.text().encode() == TEXT


def test_28_bytes_have_the_epoch_of_their_zxid_and_no_version():
    data = struct.pack(">iqqq", 0, 3, 0x700000001, 9)
    assert parse_notification(data) == Notification(ServerState.LOOKING, 3, 0x700000001, 9, 7, version=0)


def test_40_bytes_have_an_epoch_and_no_version():
    data = struct.pack(">iqqqqi", 1, 3, 0x700000001, 9, 8, 2)
    assert parse_notification(data) == Notification(ServerState.FOLLOWING, 3, 0x700000001, 9, 8, version=0)


def test_version_1_has_no_membership():
    data = struct.pack(">iqqqqii", 3, 3, 1, 9, 8, 1, -5)
    assert parse_notification(data) == Notification(ServerState.OBSERVING, 3, 1, 9, 8, version=1)


def test_a_membership_that_cannot_be_understood_leaves_the_vote(caplog):
    data = struct.pack(">iqqqqii", 0, 3, 1, 9, 8, 2, 5) + b"serv\xff"
    assert parse_notification(data) == Notification(ServerState.LOOKING, 3, 1, 9, 8)
    assert "not used" in caplog.text


@pytest.mark.parametrize("length", [*range(28), *range(29, 40), 41, 42, 43])
def test_other_lengths_are_cut_off(length):
    with pytest.raises(ProtocolError, match="cut off"):
        parse_notification(struct.pack(">iqqqqii", 0, 3, 1, 9, 8, 2, 0)[:length])


@pytest.mark.parametrize("length", [-1, 1, 1 << 30, -(1 << 31)])
def test_a_membership_longer_than_its_message_is_refused(length):
    with pytest.raises(ProtocolError, match=f"membership of {length}"):
        parse_notification(struct.pack(">iqqqqii", 0, 3, 1, 9, 8, 2, length))


def test_an_unknown_state_is_refused():
    with pytest.raises(ProtocolError, match="4 is not a valid ServerState"):
        parse_notification(struct.pack(">iqqqqii", 4, 3, 1, 9, 8, 1, 0))


def test_several_addresses_need_the_switch():
    text = b"server.1=a:1:2|b:3:4"
    data = struct.pack(">iqqqqii", 0, 3, 1, 9, 8, 2, len(text)) + text
    assert parse_notification(data).config is None
    assert len(parse_notification(data, multi_address=True).config.members[1].addresses) == 2


@given(st.binary(max_size=80))
def test_garbage_is_read_or_refused(data):
    try:
        message = parse_notification(data)
    except ProtocolError:
        return
    assert isinstance(message.state, ServerState)
