"""What passes at a glance is what passes when it is taken apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zabra.consts import Op
from zabra.errors import MarshallingError
from zabra.wire.records_txn import CreateTxn, SetDataTxn, TxnDigest, TxnHeader
from zabra.wire.txncheck import TxnCheck
from zabra.wire.txns import check_txn

OPEN = ((31, "world", "anyone"),)
OWN = ((31, "digest", "me:secret"),)
DIGEST = TxnDigest(2, 7).encode()


def head(type_: int) -> bytes:
    return TxnHeader(1, 2, 3, 4, type_).encode()


def create(path: bytes | None = b"/a", acl: object = OPEN, tail: bytes = DIGEST) -> bytes:
    return head(Op.CREATE) + CreateTxn(path, b"data", acl, False, 1).encode() + tail


def set_data(data: bytes | None = b"data", tail: bytes = DIGEST) -> bytes:
    return head(Op.SET_DATA) + SetDataTxn(b"/a", data, 1).encode() + tail


def test_a_set_data_is_plain() -> None:
    check = TxnCheck()
    assert check.is_plain(3, set_data())
    assert check.is_plain(3, set_data(tail=b""))
    assert not check.is_plain(4, set_data()), "it is of another zxid"
    assert not check.is_plain(3, set_data(None)), "it is sound, and rare"
    check.check(set_data(None))


def test_a_create_is_plain_once_its_acl_list_was_met() -> None:
    check = TxnCheck()
    assert not check.is_plain(3, create())
    check.check(create())
    assert check.is_plain(3, create())
    assert check.is_plain(3, create(b"/b/c"))
    assert not check.is_plain(3, create(acl=OWN))
    check.check(create(acl=OWN))
    assert check.is_plain(3, create(acl=OWN))
    assert not check.is_plain(3, create(b"/a/"))
    assert not check.is_plain(3, create(b"aa"))


def test_the_list_of_a_server_without_digests_is_met_too() -> None:
    check = TxnCheck()
    check.check(create(tail=b""))
    assert check.is_plain(3, create(tail=b""))
    assert not check.is_plain(3, create())


def test_lists_are_remembered_within_bounds() -> None:
    check = TxnCheck()
    check.check(create(acl=((31, "digest", "x" * 2000),)))
    for number in range(2000):
        check.check(create(acl=((31, "digest", str(number)),)))
    assert len(check._acls) == 1024
    assert all(len(raw) <= 1024 for raw in check._acls)


@given(st.data())
def test_nothing_is_plain_that_cannot_be_taken_apart(data: st.DataObject) -> None:
    check = TxnCheck()
    for acl in (OPEN, OWN, ()):
        check.check(create(acl=acl))
    payload = bytearray(data.draw(st.sampled_from([create(), create(acl=()), set_data(), set_data(tail=b"")])))
    for _ in range(data.draw(st.integers(0, 3))):
        payload[data.draw(st.integers(28, len(payload) - 1))] = data.draw(st.sampled_from([0, 1, 4, 47, 128, 255]))
    end = data.draw(st.integers(32, len(payload)))
    raw = bytes(payload[:end])
    if check.is_plain(3, raw):
        try:
            check_txn(raw)
        except MarshallingError as error:
            raise AssertionError(f"{raw!r} is not plain") from error
