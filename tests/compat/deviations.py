"""Where our server answers on purpose differently from Apache ZooKeeper 3.9.5: the whole list, with the reasons.

Beside this table: a character beyond U+FFFF in a path that the server sends back (sync, events of setWatches) leaves
here as the UTF-8 it came as, while stock writes two surrogates of three bytes each, which is no UTF-8. And a write
behind a setACL that is not committed yet meets the new ACL here, in stock the old one, as long as its threads take.

``test_deviations.py`` runs each request against both servers and compares with what stands here;
:mod:`compat.workload` never draws one of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from compat import jute

MARSHALLING: Final = -5
BAD_ARGUMENTS: Final = -8
UNIMPLEMENTED: Final = -6
INVALID_ACL: Final = -114


@dataclass(frozen=True)
class Deviation:
    """One request that stock answers in a way not worth copying."""

    name: str
    reason: str
    opcode: int
    body: bytes
    #: Error code of our answer.
    ours: int
    #: Whether our server closes the connection after it.
    closes: bool
    #: Error code of Apache's answer; ``None`` when the request stops the server, which is not tried out then.
    stock: int | None


DEVIATIONS: Final = (
    Deviation(
        "add_watch_without_path",
        "stock registers a watch that nothing can ever fire",
        jute.ADD_WATCH,
        jute.path_int(None, 1),
        MARSHALLING,
        False,
        0,
    ),
    Deviation(
        "set_watches_without_path",
        "stock registers a watch that nothing can ever fire",
        jute.SET_WATCHES2,
        jute.set_watches(0, [], [], [], [None], []),
        MARSHALLING,
        False,
        0,
    ),
    Deviation(
        "create_with_a_null_acl_id",
        "a null id is no valid ACL; stock trips over it, and inside a multi its log then carries a wrong digest",
        jute.CREATE,
        jute.create("/nullid", b"", [(31, "world", None)], 0),
        INVALID_ACL,
        False,
        MARSHALLING,
    ),
    Deviation(
        "set_acl_with_a_null_acl_id",
        "as with create",
        jute.SET_ACL,
        jute.set_acl("/victim", [(31, "digest", None)], -1),
        INVALID_ACL,
        False,
        MARSHALLING,
    ),
    Deviation(
        "create_with_container_flag",
        "stock stores an ordinary node while the digest is computed for a container: later digests mismatch",
        jute.CREATE,
        jute.create("/flag4", b"", jute.OPEN, 4),
        BAD_ARGUMENTS,
        False,
        0,
    ),
    Deviation(
        "create2_with_container_flag",
        "stock stores an ordinary node while the digest is computed for a container: later digests mismatch",
        jute.CREATE2,
        jute.create("/flag4too", b"", jute.OPEN, 4),
        BAD_ARGUMENTS,
        False,
        0,
    ),
    Deviation(
        "create_container_with_plain_flag",
        "stock stores a container while the digest is computed for a plain node: later digests mismatch",
        jute.CREATE_CONTAINER,
        jute.create("/flag0", b"", jute.OPEN, 0),
        BAD_ARGUMENTS,
        False,
        0,
    ),
    Deviation(
        "create_ttl_with_plain_flag_and_no_ttl",
        "the transaction passes every check and then cannot be applied: it stops each stock server, on replay too",
        jute.CREATE_TTL,
        jute.create_ttl("/ttl0", b"", jute.OPEN, 0, -1),
        BAD_ARGUMENTS,
        False,
        None,
    ),
    Deviation(
        "delete_container_from_a_client",
        "op 20 is the sweeper's own; stock lets any client delete plain nodes with it, past every ACL",
        jute.DELETE_CONTAINER,
        jute.text("/victim"),
        UNIMPLEMENTED,
        True,
        0,
    ),
    Deviation(
        "create_session_in_mid_session",
        "op -10 is the server's own; stock executes it and resets the timeout of the session",
        jute.CREATE_SESSION,
        struct.pack(">i", 30000),
        UNIMPLEMENTED,
        True,
        None,
    ),
)
