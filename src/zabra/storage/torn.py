"""Is the end of a log torn by a crash, or is it damaged?

The question decides what is lost. A crash leaves the last write, which nobody was told about, in any state: whole, cut
short, or with some of its sectors missing. A server must start again after that. But a bad entry may also be one that
*was* acknowledged and has rotted since; dropping it and all that follows would lose writes without a word.

What the writer guarantees (:mod:`zabra.storage.logwriter`, and ``FileTxnLog``):

1. Everything behind the last entry is zero: space is new, or was filled with zeros, before entries go there.
2. One write is on its way at a time and is acknowledged only after its sync; the next begins after that.

So a crash can do exactly two things to the last write, and nothing to what is before it:

* *lost sectors*: some aligned sectors of 512 bytes (or multiples) never reached the disk and read as zeros;
* *cut*: from some byte on the write never happened, and everything behind it is zero.

Bit rot does neither. From the first entry that does not verify, the rules are:

====================================================================  ==========================================
the tail, from that entry to the last byte that is not zero            verdict
====================================================================  ==========================================
longer than one write can be (``WRITE_MAX``)                           damaged: acknowledged entries lie behind
head of the entry all zero                                             torn: an entry cannot rot into nothing
checksum fits a payload of another length                              damaged: the length field has rotted
runs to or beyond the last byte that is not zero, end byte missing     torn: cut
one of its sectors is all zero                                         torn: lost sector
anything else                                                          damaged
====================================================================  ==========================================

Apache instead takes a zero length, a missing end byte or a length beyond the file for the end of the log without a look
at what follows, and refuses to start on any wrong checksum. Two cases stay undecidable in this file format, where no
boundary of a write is marked: a sector of *acknowledged* entries in the last ``WRITE_MAX`` bytes that the disk has
lost, and rot in an entry of those bytes that holds a sector of zeros as data.
"""

from __future__ import annotations

from typing import Final
from zlib import adler32

from zabra.storage.logformat import ENTRY_HEAD, ENTRY_HEAD_SIZE, ENTRY_OVERHEAD

#: The smallest unit a disk writes whole.
SECTOR: Final = 512
#: No write of ours is longer than this plus one entry; a tail beyond it cannot be one unacknowledged write.
WRITE_MAX: Final = 16 << 20

#: The checksum's upper half is always zero: a lost piece that short proves nothing.
_ALWAYS_ZERO: Final = 4
_CHECKSUM_SIZE: Final = 8


def is_torn(tail: bytes, start: int) -> bool:
    """Whether ``tail`` is what a crash leaves of the last write.

    ``tail`` are the bytes from the first entry that does not verify, at file offset ``start``, to the last byte in the
    file that is not zero. Bytes behind it, and behind the end of the file, count as zeros.
    """
    if len(tail) > WRITE_MAX:
        return False
    checksum, length = ENTRY_HEAD.unpack(tail[:ENTRY_HEAD_SIZE].ljust(ENTRY_HEAD_SIZE, b"\0"))
    if checksum == 0 and length == 0:
        return True
    if _fits_another_length(tail, checksum, length):
        return False
    if length == 0:
        # Its length was cut off, or lies in a lost sector.
        return len(tail) <= _CHECKSUM_SIZE or _lost(tail, start, ENTRY_HEAD_SIZE - 1)
    end = length + ENTRY_OVERHEAD
    if end > len(tail):
        return True
    at = 0
    while at < end:
        boundary = (start + at) // SECTOR * SECTOR + SECTOR - start
        if min(boundary, end) - at > _ALWAYS_ZERO and _is_zero(tail[at : min(boundary, end)]):
            return True
        at = boundary
    return False


def _fits_another_length(tail: bytes, checksum: int, length: int) -> bool:
    """Whether some other length makes the entry verify: then nothing is missing and the length is wrong."""
    running = 1
    at = ENTRY_HEAD_SIZE
    while (end := tail.find(b"B", at)) >= 0:
        running = adler32(tail[at:end], running)
        if running == checksum and end - ENTRY_HEAD_SIZE != length:
            return True
        running = adler32(b"B", running)
        at = end + 1
    return False


def _lost(tail: bytes, start: int, at: int) -> bool:
    """Whether the sector that holds ``tail[at]`` is zero, as far as it belongs to the tail."""
    low = (start + at) // SECTOR * SECTOR - start
    return _is_zero(tail[max(low, 0) : low + SECTOR])


def _is_zero(data: bytes) -> bool:
    return data.count(0) == len(data)
