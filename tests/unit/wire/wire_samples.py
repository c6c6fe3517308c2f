"""The samples of tests/golden/WireRecords.java, by the same names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zabra.wire.records_data import ClientInfo, FileHeader, Stat, StatPersisted
from zabra.wire.records_proto import (
    AddWatchRequest,
    AuthPacket,
    CheckVersionRequest,
    CheckWatchesRequest,
    ConnectResponse,
    Create2Response,
    CreateRequest,
    CreateResponse,
    CreateTtlRequest,
    DeleteRequest,
    ErrorResponse,
    ExistsRequest,
    ExistsResponse,
    GetAclRequest,
    GetAclResponse,
    GetAllChildrenNumberRequest,
    GetAllChildrenNumberResponse,
    GetChildren2Request,
    GetChildren2Response,
    GetChildrenRequest,
    GetChildrenResponse,
    GetDataRequest,
    GetDataResponse,
    GetEphemeralsRequest,
    GetEphemeralsResponse,
    GetSaslRequest,
    MultiHeader,
    ReconfigRequest,
    RemoveWatchesRequest,
    ReplyHeader,
    RequestHeader,
    SetAclRequest,
    SetAclResponse,
    SetDataRequest,
    SetDataResponse,
    SetSaslResponse,
    SetWatches,
    SetWatches2,
    SyncRequest,
    SyncResponse,
    WatcherEvent,
    WhoAmIResponse,
)
from zabra.wire.records_quorum import LearnerInfo, QuorumAuthPacket, QuorumPacket
from zabra.wire.records_txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    CreateTxnV0,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    SubTxn,
    TxnDigest,
    TxnHeader,
)

_GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "wire_records.json").read_text("utf-8"))

#: What Java reads from ustrings: name -> (bytes of the ustring, text).
TEXTS: dict[str, tuple[bytes, str]] = {
    name: (bytes.fromhex(pair[0]), bytes.fromhex(pair[1]).decode("utf-16-be"))
    for name, pair in _GOLDEN.items()
    if isinstance(pair, list)
}
#: name -> bytes as Apache's classes write them.
GOLDEN: dict[str, bytes] = {name: bytes.fromhex(text) for name, text in _GOLDEN.items() if isinstance(text, str)}

DATA = b"\x00\x01\xffd"
OPEN = ((31, "world", "anyone"),)
TWO = ((-1, "digest", "bob:ä€"), (1, "ip", ""))
PATHS = (b"/a", b"", "/ä€/b".encode())
STAT = Stat(1, -2, 3, 4, 5, -6, 7, -(1 << 63), 8, 9, (1 << 63) - 1)

RECORDS: dict[str, Any] = {
    "stat": STAT,
    "stat persisted": StatPersisted(1, -2, 3, 4, 5, -6, 7, -(1 << 63), (1 << 63) - 1),
    "client info": ClientInfo("digest", "böb"),
    "file header": FileHeader(0x5A4B4C47, 2, -1),
    "connect response": ConnectResponse(0, 30000, -5, DATA, False),
    "request header": RequestHeader(-2, 11),
    "reply header": ReplyHeader(7, 1 << 40, -101),
    "multi header": MultiHeader(-1, True, -1),
    "auth": AuthPacket(0, "digest", DATA),
    "auth nulls": AuthPacket(0, None, None),
    "set watches": SetWatches(-1, PATHS, None, ()),
    "set watches 2": SetWatches2(9, None, PATHS, None, (None,), PATHS),
    "get sasl": GetSaslRequest(DATA),
    "sasl reply": SetSaslResponse(None),
    "who am i": WhoAmIResponse((ClientInfo("ip", "::1"), ClientInfo(None, None))),
    "get data": GetDataRequest(b"/a", True),
    "get data null": GetDataRequest(None, False),
    "set data": SetDataRequest("/ä".encode(), DATA, -1),
    "set data null": SetDataRequest(b"/a", None, 3),
    "reconfig": ReconfigRequest("server.1=a", None, "", -1),
    "create": CreateRequest(b"/a", DATA, OPEN, 3),
    "create nulls": CreateRequest(None, None, None, -1),
    "create null id": CreateRequest(b"/a", b"", ((4, None, None),), 0),
    "create ttl": CreateTtlRequest(b"/a", DATA, TWO, 5, 1 << 39),
    "delete": DeleteRequest(b"/a", 8),
    "get children": GetChildrenRequest(b"/", False),
    "get children 2": GetChildren2Request(b"/", True),
    "get all children number": GetAllChildrenNumberRequest(b"/a"),
    "check": CheckVersionRequest(b"/a", 2),
    "sync": SyncRequest(b"/a"),
    "get acl": GetAclRequest(b"/a"),
    "set acl": SetAclRequest(b"/a", TWO, 5),
    "add watch": AddWatchRequest(b"/a", 1),
    "exists": ExistsRequest(b"/a", True),
    "check watches": CheckWatchesRequest(b"/a", 3),
    "remove watches": RemoveWatchesRequest(b"/a", 2),
    "get ephemerals": GetEphemeralsRequest(b"/p"),
    "set data reply": SetDataResponse(STAT),
    "sync reply": SyncResponse(b"/a"),
    "set acl reply": SetAclResponse(STAT),
    "event": WatcherEvent(4, 3, b"/a"),
    "error reply": ErrorResponse(-110),
    "create reply": CreateResponse(b"/a"),
    "create 2 reply": Create2Response(b"/a", STAT),
    "exists reply": ExistsResponse(STAT),
    "get data reply": GetDataResponse(DATA, STAT),
    "get children reply": GetChildrenResponse(PATHS),
    "get all children number reply": GetAllChildrenNumberResponse(12),
    "get children 2 reply": GetChildren2Response((), STAT),
    "get acl reply": GetAclResponse(TWO, STAT),
    "get ephemerals reply": GetEphemeralsResponse(PATHS),
    "txn header": TxnHeader(-7, 3, 1 << 33, 1700000000000, -11),
    "txn digest": TxnDigest(2, (1 << 64) - 3),
    "create txn": CreateTxn(b"/a", DATA, OPEN, True, 4),
    "create txn nulls": CreateTxn(b"/a", None, None, False, -1),
    "create txn v0": CreateTxnV0(b"/a", DATA, TWO, True),
    "create ttl txn": CreateTtlTxn(b"/a", DATA, TWO, 1, 1000),
    "create container txn": CreateContainerTxn(b"/a", DATA, (), 1),
    "delete txn": DeleteTxn(b"/a"),
    "set data txn": SetDataTxn(b"/a", DATA, 9),
    "check txn": CheckVersionTxn(b"/a", 9),
    "set acl txn": SetAclTxn(b"/a", TWO, 2),
    "create session txn": CreateSessionTxn(30000),
    "close session txn": CloseSessionTxn(PATHS),
    "error txn": ErrorTxn(-101),
    "multi txn": MultiTxn((SubTxn(2, DeleteTxn(b"/a").encode()), SubTxn(-1, ErrorTxn(-2).encode()))),
    "multi txn null": MultiTxn(None),
    "learner info": LearnerInfo(3, 0x10000, 1 << 32),
    "quorum packet": QuorumPacket(2, 5, DATA, (("ip", "10.0.0.1"),)),
    "quorum packet nulls": QuorumPacket(5, -1, None, None),
    "quorum auth": QuorumAuthPacket(-1, 0, DATA),
}
