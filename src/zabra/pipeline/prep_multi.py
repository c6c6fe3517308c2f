"""Validation of a multi: each operation as if alone, against the state the earlier ones leave; all or nothing.

Source: ``PrepRequestProcessor.pRequestHelper`` (case multi) and ``rollbackPendingChanges``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zabra.consts import Op
from zabra.errors import Code, MarshallingError, RequestError
from zabra.pipeline.request import Change, Requester
from zabra.sessions.tracker import Session
from zabra.wire.multi import decode_multi
from zabra.wire.primitives import Reader
from zabra.wire.records_txn import ErrorTxn, MultiTxn, SubTxn

if TYPE_CHECKING:
    from zabra.pipeline.prep import Prep


def plan_multi(prep: Prep, conn: Requester, session: Session, xid: int, frame: bytes, limit: int) -> None:
    """Propose a multi, or its refusal as a transaction of error parts. One that does not parse fails as a whole."""
    write = prep.begin(conn, xid, Op.MULTI)
    try:
        operations = decode_multi(Reader(frame, 8, limit=limit))
        if any(record.path is None for _, record in operations):
            raise MarshallingError("null path in a multi")
    except MarshallingError:
        prep.refuse(write, session.id, Code.MARSHALLING_ERROR)
        return
    before = prep.pending.begin()
    subs: list[SubTxn] = []
    try:
        for op, record in operations:
            subs.append(SubTxn(op, prep.plan(write, session, op, record, conn.identities)))
        prep.pending.keep()
    except RequestError as error:
        prep.pending.rollback(before)
        codes = [0] * len(subs) + [error.code] + [Code.RUNTIME_INCONSISTENCY] * (len(operations) - len(subs) - 1)
        write.changes = tuple(Change(Op.ERROR, b"", err=code) for code in codes)
        subs = [SubTxn(Op.ERROR, ErrorTxn(code).encode()) for code in codes]
    prep.finish(write, session.id, Op.MULTI, MultiTxn(tuple(subs)).encode())
