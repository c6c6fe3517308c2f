"""Every deliberate difference from Apache ZooKeeper, against both servers: the table is the truth about each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compat import jute
from compat.deviations import DEVIATIONS, Deviation
from compat.rawclient import Client
from compat.servers import APACHE, ZABRA, ServerProcess, missing_java, require

PROPERTIES = {"zookeeper.extendedTypesEnabled": "true"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(ZABRA, tmp_path_factory.mktemp("zabra"), properties=PROPERTIES) as server:
        yield server.start()


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    require(missing_java())
    with ServerProcess(APACHE, tmp_path_factory.mktemp("apache"), properties=PROPERTIES) as server:
        yield server.start()


def answer(server: ServerProcess, deviation: Deviation) -> tuple[int, bool]:
    """(error code, whether the connection was closed behind it)."""
    with Client(server.port) as client:
        client.call(jute.CREATE, jute.create("/victim", b"", jute.OPEN, 0))
        err, _ = client.call(deviation.opcode, deviation.body)
        client.post(jute.PING, xid=jute.XID_PING)
        return err, client.reply(jute.PING) is None


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: deviation.name)
def test_our_answer_is_the_one_in_the_table(deviation: Deviation, ours: ServerProcess) -> None:
    assert answer(ours, deviation) == (deviation.ours, deviation.closes)


@pytest.mark.java
@pytest.mark.parametrize(
    "deviation", [d for d in DEVIATIONS if d.stock is not None], ids=lambda deviation: deviation.name
)
def test_stock_still_answers_as_the_table_says(deviation: Deviation, stock: ServerProcess) -> None:
    assert answer(stock, deviation) == (deviation.stock, False)


def echoed(server: ServerProcess) -> bytes:
    """The bytes of a path with a character beyond U+FFFF, as sync sends them back."""
    with Client(server.port) as client:
        client.link.send(jute.frame(jute.request(7, jute.SYNC, jute.text("/\U0001f600"))))
        payload = client.link.receive()
        assert payload is not None
        return payload[20:]


def test_characters_beyond_uffff_come_back_as_they_were_sent(ours: ServerProcess) -> None:
    assert echoed(ours) == "/\U0001f600".encode()


@pytest.mark.java
def test_stock_sends_characters_beyond_uffff_back_as_two_surrogates(stock: ServerProcess) -> None:
    """Which is no UTF-8, and which it does not read back itself (known bug 65)."""
    assert echoed(stock) == b"/\xed\xa0\xbd\xed\xb8\x80"
