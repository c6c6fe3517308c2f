"""[hot] Replies and events as frames, packed in one call each (``ReplyHeader``, ``WatcherEvent``)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from zabra.consts import STATE_SYNC_CONNECTED, Xid

#: length, xid, zxid, err; the body follows.
pack_reply: Final = Struct(">iiqi").pack
#: A getData reply up to its data: length, xid, zxid, err, data length; data and stat follow.
pack_data: Final = Struct(">iiqii").pack
#: length, xid -1, zxid, err 0, type, state, path length
_pack_event: Final = Struct(">iiqiiii").pack


def encode_event(event_type: int, path: bytes, zxid: int) -> bytes:
    """A watch event with its frame: ``WatcherEvent`` under a header with xid -1 and the zxid of the change."""
    size = len(path)
    return _pack_event(28 + size, Xid.NOTIFICATION, zxid, 0, event_type, STATE_SYNC_CONNECTED, size) + path
