"""What clients of an ensemble asked and were told, and whether servers that keep their promises may have told it.

Every write sets a register to a value of its own, or creates a sequential node, so its answer places it: a zxid, and a
version. The promises:

- what was acknowledged is there in the end, once, in the order of the session that sent it;
- a write that began after another was acknowledged comes behind it;
- a session never sees a server go back, never an older value than before, and always its own writes;
- a read behind a sync sees everything that was acknowledged before the sync was sent. Only a leader that does not know
  yet that it was deposed may answer a sync too early: for so long as the test allows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

SET: Final = "set"
CREATE: Final = "create"
READ: Final = "read"
#: A read right behind a sync.
SYNCED: Final = "synced read"
WRITES: Final = (SET, CREATE)


@dataclass(eq=False)
class Call:
    """One request. ``place`` is a register, or the folder of a sequential node; ``value`` what is written or read."""

    session: int
    #: The order in which the session sent it.
    number: int
    kind: str
    place: str
    value: str
    began: float
    #: When the answer came; None: never.
    ended: float | None = None
    #: The zxid in the reply's header: where the server was.
    zxid: int = -1
    #: Of the register, as the Stat in the answer says; of a node its czxid and sequence number.
    mzxid: int = -1
    version: int = -1

    @property
    def acknowledged(self) -> bool:
        """Whether it was answered."""
        return self.ended is not None

    def __str__(self) -> str:
        told = f"0x{self.mzxid:x} v{self.version}" if self.acknowledged else "never answered"
        return f"session {self.session} {self.kind} {self.number} {self.place}={self.value} ({told})"


@dataclass(frozen=True)
class Found:
    """What there is in the end: register -> (value, mzxid, version), folder -> value -> sequence number."""

    registers: Mapping[str, tuple[str, int, int]]
    folders: Mapping[str, Mapping[str, int]]


def complaints(calls: Sequence[Call], found: Found, deposed: Sequence[tuple[float, float]] = ()) -> list[str]:
    """Every promise that was broken. ``deposed``: when a leader may not have known that it leads no more."""
    return [
        *_order_within_sessions(calls),
        *_order_of_writes(calls),
        *_registers(calls, found),
        *_folders(calls, found),
        *_reads(calls),
        *_synced_reads(calls, deposed),
    ]


def _by_session(calls: Iterable[Call]) -> Mapping[int, list[Call]]:
    sessions: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        sessions[call.session].append(call)
    for of_one in sessions.values():
        of_one.sort(key=lambda call: call.number)
    return sessions


def _order_within_sessions(calls: Sequence[Call]) -> Iterator[str]:
    for of_one in _by_session(calls).values():
        last, seen = None, -1
        for call in of_one:
            if not call.acknowledged:
                continue
            if call.zxid < seen:
                yield f"a session went back from 0x{seen:x} to 0x{call.zxid:x}: {call}"
            seen = max(seen, call.zxid)
            if call.kind in WRITES:
                if last is not None and call.mzxid <= last.mzxid:
                    yield f"{call} is before {last}, which was sent before it"
                last = call


def _order_of_writes(calls: Sequence[Call]) -> Iterator[str]:
    """Linearizable: whoever began after the end of another comes behind it."""
    writes = [call for call in calls if call.kind in WRITES and call.ended is not None]
    zxids = [call.mzxid for call in writes]
    if len(set(zxids)) != len(zxids):
        yield "two writes have one zxid"
    moments = [(call.ended or 0.0, 1, call) for call in writes] + [(call.began, 0, call) for call in writes]
    newest: Call | None = None
    for _, is_end, call in sorted(moments, key=lambda moment: moment[:2]):
        if is_end:
            if newest is None or call.mzxid > newest.mzxid:
                newest = call
        elif newest is not None and call.mzxid < newest.mzxid:
            yield f"{call} began after {newest} was acknowledged"


def _registers(calls: Sequence[Call], found: Found) -> Iterator[str]:
    """Values that were acknowledged, read or are there in the end: one zxid and version each, in the same order."""
    begun = {call.value: call for call in calls if call.kind == SET}
    places: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    told = [(c.place, c.value, c.mzxid, c.version, str(c)) for c in calls if c.kind != CREATE and c.acknowledged]
    told += [(place, *end, f"{place} in the end") for place, end in found.registers.items()]
    for place, value, mzxid, version, who in told:
        if value:
            known = places[place].setdefault(value, (mzxid, version))
            if known != (mzxid, version):
                yield f"{value} was 0x{known[0]:x} v{known[1]}, then 0x{mzxid:x} v{version}: {who}"
            if value not in begun:
                yield f"nobody wrote {value}: {who}"
    for place, values in places.items():
        inorder = sorted((mzxid, version, value) for value, (mzxid, version) in values.items())
        for (_, before, one), (_, after, other) in pairwise(inorder):
            if after <= before:
                yield f"{place}: {other} is v{after}, {one} before it v{before}"
        end = found.registers.get(place)
        if inorder and (end is None or end[0] != inorder[-1][2]):
            yield f"{place}: the last write was {inorder[-1][2]} v{inorder[-1][1]}, in the end there is {end}"


def _folders(calls: Sequence[Call], found: Found) -> Iterator[str]:
    for call in calls:
        if call.kind == CREATE and call.acknowledged:
            there = found.folders.get(call.place, {}).get(call.value)
            if there is None:
                yield f"lost: {call}"
            elif there != call.version:
                yield f"there as {there}: {call}"
    begun = {(call.place, call.value) for call in calls if call.kind == CREATE}
    for place, values in found.folders.items():
        for value in values:
            if (place, value) not in begun:
                yield f"nobody created {value} in {place}"
    for of_one in _by_session(calls).values():
        # Answered or not, a session's nodes were made in the order it asked.
        places = [found.folders.get(call.place, {}).get(call.value) for call in of_one if call.kind == CREATE]
        present = [place for place in places if place is not None]
        if present != sorted(present):
            yield f"the nodes of session {of_one[0].session} are out of order"


def _reads(calls: Sequence[Call]) -> Iterator[str]:
    """A session sees a register only go on, and what it wrote itself."""
    for of_one in _by_session(calls).values():
        seen: dict[str, Call] = {}
        for call in of_one:
            if call.kind == CREATE or not call.acknowledged:
                continue
            before = seen.get(call.place)
            if before is not None and call.mzxid < before.mzxid:
                yield f"{call} is older than {before} of the same session"
            seen[call.place] = call


def _synced_reads(calls: Sequence[Call], deposed: Sequence[tuple[float, float]]) -> Iterator[str]:
    places: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        places[call.place].append(call)
    for of_place in places.values():
        moments = [(call.ended, 1, call) for call in of_place if call.kind == SET and call.ended is not None]
        moments += [(call.began, 0, call) for call in of_place if call.kind == SYNCED and call.acknowledged]
        newest: Call | None = None
        for _, is_end, call in sorted(moments, key=lambda moment: moment[:2]):
            if is_end:
                newest = call if newest is None or call.mzxid > newest.mzxid else newest
            elif newest is not None and call.mzxid < newest.mzxid:
                ended = call.ended or 0.0
                if not any(begin <= ended and call.began <= end for begin, end in deposed):
                    yield f"stale: {call}, though {newest} had been acknowledged before the sync"
