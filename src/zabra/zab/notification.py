"""The bytes of an election message (``FastLeaderElection.buildMsg``).

::

    int state, long leader, long zxid, long round                    28 bytes: before peer epochs (ZOOKEEPER-107)
    + long epoch, int ignored                                        40 bytes: before versions
    + long epoch, int version                                        version 1
    + long epoch, int version, int length, membership text (UTF-8)   version 2
"""

from __future__ import annotations

import logging
import struct
from typing import Final

from zabra.config.dynamic import EnsembleConfig, parse_config
from zabra.errors import ConfigError, ProtocolError
from zabra.zab.types import NOTIFICATION_VERSION, Notification, ServerState
from zabra.zxid import epoch_of

_log = logging.getLogger(__name__)

_OLDEST: Final = struct.Struct(">iqqq")
_EPOCH: Final = struct.Struct(">q")
_INT: Final = struct.Struct(">i")
_CURRENT: Final = struct.Struct(">iqqqqii")
#: The length that says: an epoch, but no version.
_UNVERSIONED: Final = 40


def encode_notification(message: Notification) -> bytes:
    """A message of version 2. Its ``config`` must be set."""
    assert message.config is not None
    text = message.config.text().encode()
    fields = (message.state, message.leader, message.zxid, message.round, message.epoch)
    return _CURRENT.pack(*fields, NOTIFICATION_VERSION, len(text)) + text


def parse_notification(data: bytes, *, multi_address: bool = False) -> Notification:
    """A message of any version. Raises :class:`ProtocolError`.

    A membership that cannot be understood is left out and logged; the vote beside it still counts, as in Java.
    """
    try:
        state, leader, zxid, round_, *_ = _OLDEST.unpack_from(data)
        if len(data) == _OLDEST.size:
            return Notification(ServerState(state), leader, zxid, round_, epoch_of(zxid), version=0)
        (epoch,) = _EPOCH.unpack_from(data, 28)
        (version,) = _INT.unpack_from(data, 36)
        if len(data) == _UNVERSIONED:
            version = 0
        config = _parse_config(data, multi_address=multi_address) if version > 1 else None
        return Notification(ServerState(state), leader, zxid, round_, epoch, version, config)
    except struct.error:
        raise ProtocolError(f"a notification of {len(data)} bytes is cut off") from None
    except ValueError as error:
        raise ProtocolError(f"a notification with {error}") from None


def _parse_config(data: bytes, *, multi_address: bool) -> EnsembleConfig | None:
    (length,) = _INT.unpack_from(data, 40)
    if not 0 <= length <= len(data) - _CURRENT.size:
        raise ProtocolError(f"a notification of {len(data)} bytes with a membership of {length}")
    text = data[_CURRENT.size : _CURRENT.size + length]
    try:
        return parse_config(text.decode("utf-8", "replace"), multi_address=multi_address)
    except ConfigError as error:
        _log.warning("the membership in a notification is not used: %s", error)
        return None
