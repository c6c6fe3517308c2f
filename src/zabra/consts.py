"""Numbers of the ZooKeeper protocol: opcodes, create modes, permissions, event types, fixed xids.

Source: ``ZooDefs``, ``CreateMode``, ``Watcher.Event`` and ``ClientCnxn`` of Apache ZooKeeper 3.9.5.
Error codes live in :mod:`zabra.errors`.
"""

from typing import Final


class Op:
    """Request and transaction types (``ZooDefs.OpCode``)."""

    NOTIFICATION: Final = 0
    CREATE: Final = 1
    DELETE: Final = 2
    EXISTS: Final = 3
    GET_DATA: Final = 4
    SET_DATA: Final = 5
    GET_ACL: Final = 6
    SET_ACL: Final = 7
    GET_CHILDREN: Final = 8
    SYNC: Final = 9
    PING: Final = 11
    GET_CHILDREN2: Final = 12
    CHECK: Final = 13
    MULTI: Final = 14
    CREATE2: Final = 15
    RECONFIG: Final = 16
    CHECK_WATCHES: Final = 17
    REMOVE_WATCHES: Final = 18
    CREATE_CONTAINER: Final = 19
    DELETE_CONTAINER: Final = 20
    CREATE_TTL: Final = 21
    MULTI_READ: Final = 22
    AUTH: Final = 100
    SET_WATCHES: Final = 101
    SASL: Final = 102
    GET_EPHEMERALS: Final = 103
    GET_ALL_CHILDREN_NUMBER: Final = 104
    SET_WATCHES2: Final = 105
    ADD_WATCH: Final = 106
    WHO_AM_I: Final = 107
    CREATE_SESSION: Final = -10
    CLOSE_SESSION: Final = -11
    ERROR: Final = -1


class Xid:
    """Fixed xids of frames that answer no numbered request."""

    NOTIFICATION: Final = -1
    PING: Final = -2
    AUTH: Final = -4
    SET_WATCHES: Final = -8


class Perm:
    """ACL permission bits (``ZooDefs.Perms``)."""

    READ: Final = 1
    WRITE: Final = 2
    CREATE: Final = 4
    DELETE: Final = 8
    ADMIN: Final = 16
    ALL: Final = 31


class Mode:
    """Create flags as sent by clients (``CreateMode``)."""

    PERSISTENT: Final = 0
    EPHEMERAL: Final = 1
    PERSISTENT_SEQUENTIAL: Final = 2
    EPHEMERAL_SEQUENTIAL: Final = 3
    CONTAINER: Final = 4
    TTL: Final = 5
    TTL_SEQUENTIAL: Final = 6


class EventType:
    """Watch event types (``Watcher.Event.EventType``)."""

    CREATED: Final = 1
    DELETED: Final = 2
    DATA_CHANGED: Final = 3
    CHILDREN_CHANGED: Final = 4


#: ``KeeperState.SyncConnected``, the state field of every watch event a server sends.
STATE_SYNC_CONNECTED: Final = 3

#: Stored ``ephemeralOwner`` of container nodes (``EphemeralType.CONTAINER_EPHEMERAL_OWNER``), as signed 64-bit.
CONTAINER_OWNER: Final = -(1 << 63)
#: High byte of the stored ``ephemeralOwner`` of TTL nodes, as signed 64-bit; the low 40 bits are the ttl in ms.
TTL_OWNER_MASK: Final = -(1 << 56)
TTL_MS_MAX: Final = (1 << 40) - 1

#: ``jute.maxbuffer`` default: largest accepted frame in bytes.
JUTE_MAX_BUFFER: Final = 1048575
