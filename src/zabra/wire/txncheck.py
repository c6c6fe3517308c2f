"""[hot] Whether transactions can be read, before they are logged: what is on disk must be replayed by any start.

Nearly all are setDatas and creates, and taking one apart costs ten times as much as a look at its lengths. So those are
judged by them, and by their ACL list, which has to be one that was met before; everything else is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final

from zabra.consts import Op
from zabra.wire.records_data import encode_acl
from zabra.wire.records_txn import CreateTxn
from zabra.wire.txns import check_txn

#: Of the header the zxid and the type; then the length of the path that every frequent body begins with.
_head_at = Struct(">12xq8xii").unpack_from
_int_at: Callable[[bytes, int], tuple[int]] = Struct(">i").unpack_from
_PATH_AT: Final = 36
#: With an empty path and no data, of a setData, which is shorter than any create.
_SIZE_MIN: Final = 44
#: Behind the ACL list of a create: ephemeral, the parent's cversion.
_CREATE_TAIL: Final = 5
_DIGEST_SIZE: Final = 12
_SLASH: Final = 0x2F
#: How many raw ACL lists are remembered, and how long one may be.
_ACLS_MAX: Final = 1024
_ACL_SIZE_MAX: Final = 1024


class TxnCheck:
    """Judges the transactions of one leader."""

    def __init__(self) -> None:
        #: Raw ACL lists that parsed.
        self._acls: set[bytes] = set()
        #: Bytes behind the ACL list of a create: those of a server that keeps no digests have none.
        self._create_tail = _CREATE_TAIL + _DIGEST_SIZE

    def is_plain(self, zxid: int, payload: bytes) -> bool:
        """Whether a payload is, at a glance, a sound setData or create of this zxid; else ask :meth:`check`."""
        size = len(payload)
        if size < _SIZE_MIN:
            return False
        told, type_, path_size = _head_at(payload)
        if told != zxid or not 1 < path_size <= size - _SIZE_MIN:
            return False
        stop = _PATH_AT + path_size
        data_size = _int_at(payload, stop)[0]
        if data_size < 0:
            return False
        if type_ == 5:
            # Behind the data is the version, and mostly a digest.
            behind: int = size - stop - data_size
            return behind == 20 or behind == 8
        return (
            (type_ == 1 or type_ == 15)
            and payload[stop + 4 + data_size : -self._create_tail] in self._acls
            and payload[_PATH_AT] == _SLASH
            and payload[stop - 1] != _SLASH
        )

    def check(self, payload: bytes) -> None:
        """Take any payload apart. Raises MarshallingError for one that could not be replayed."""
        header, body, digest = check_txn(payload)
        if header.type not in (Op.CREATE, Op.CREATE2) or not isinstance(body, CreateTxn) or body.acl is None:
            return
        raw = encode_acl(body.acl)
        behind = _CREATE_TAIL + (_DIGEST_SIZE if digest is not None else 0)
        if len(raw) <= _ACL_SIZE_MAX and payload[-behind - len(raw) : -behind] == raw and len(self._acls) < _ACLS_MAX:
            self._acls.add(raw)
            self._create_tail = behind
