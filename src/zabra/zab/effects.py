"""What the cores of leader and learner ask their shell to do.

A core's input returns a list of these. The shell performs them in order; one that is called *durable* must have
succeeded before the next is begun, and a failure of it ends the server. While it waits it gives the core no other
input. :class:`Log` is the exception: it only hands entries to the log writer, and the core hears of them again
through its input ``logged``.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from zabra.zab.packets import ForwardedRequest
from zabra.zab.syncplan import Entry, SyncPlan


class EpochFile(Enum):
    """The epochs on disk; the values are the names of their files."""

    ACCEPTED = "acceptedEpoch"
    CURRENT = "currentEpoch"
    #: Becomes the current epoch at a start that finds a history which is newer than that.
    BEGUN = "currentEpoch.tmp"


# Of both roles.


class StoreEpoch(NamedTuple):
    """Durable: replace an epoch file."""

    which: EpochFile
    epoch: int


class Log(NamedTuple):
    """Append to the log, in order; report with ``logged`` what is on disk."""

    entries: tuple[Entry, ...]


class Commit(NamedTuple):
    """Apply to the tree, in order, and answer the clients that wait. May come before ``logged``."""

    entries: tuple[Entry, ...]


class LastSeenConfig(NamedTuple):
    """Durable: the membership of this text is the last proposed one (the ``.next`` file)."""

    text: bytes


class ActivateConfig(NamedTuple):
    """The membership of this text is committed (``QuorumPeer.processReconfig``).

    The shell stores it. A learner whose role or leader this changes gives up its role, after the rest of the list; a
    leader goes on until its learners have left, so that they all hear of it. ``designated`` is who shall lead, ``zxid``
    that of the change; a learner is told neither where an epoch begins.
    """

    text: bytes
    designated: int | None
    zxid: int | None


class Serve(NamedTuple):
    """The epoch is established: last processed zxid becomes ``epoch`` << 32 on a leader, clients are served,
    and the own vote of the election takes this epoch."""

    epoch: int


# Of the leader. ``conn`` is the number the shell gave to a connection.


class SendTo(NamedTuple):
    """Send bytes to each of these connections, behind all that was given to them before."""

    conns: tuple[int, ...]
    data: bytes


class Close(NamedTuple):
    """Close a connection; the core has forgotten it."""

    conn: int
    reason: str


class SyncLearner(NamedTuple):
    """Send what ``plan`` says: its packets, or SNAP and a snapshot of the tree, then the text ``BenWasHere``.

    It takes its time; later :class:`SendTo` for the connection wait behind it. Report the end with ``sync_sent``, or a
    ``LogChangedError`` on the way, with the connection closed, as ``disconnected``.
    """

    conn: int
    plan: SyncPlan


class StepDown(NamedTuple):
    """Stop leading, close everything, look for a leader."""

    reason: str


class Forwarded(NamedTuple):
    """A learner forwards clients' requests, in order; a sync among them comes back as input ``sync`` in its turn."""

    conn: int
    requests: Sequence[ForwardedRequest]


class Touched(NamedTuple):
    """Sessions (id, timeout in ms) that clients of a learner used since its last ping."""

    conn: int
    sessions: list[tuple[int, int]]


class Acknowledged(NamedTuple):
    """A server has these on disk, some of those it acknowledges: for the figures only."""

    sid: int
    entries: list[Entry]


class Revalidate(NamedTuple):
    """A client came to a learner with this session: answer with ``revalidated``; a live one moves to ``conn``."""

    conn: int
    session: int
    timeout_ms: int


# Of a learner.


class Send(NamedTuple):
    """Send bytes to the leader."""

    data: bytes


class Truncate(NamedTuple):
    """Durable: cut everything after ``zxid`` out of the log, which may not have ``zxid`` itself, and drop newer
    snapshots; then load again, so that the tree in memory is that of ``zxid``. If that cannot be, exit with 13."""

    zxid: int


class LoadSnapshot(NamedTuple):
    """Replace the tree by the snapshot that follows on the connection up to ``BenWasHere``; it is that of ``zxid``.

    Call ``snapshot_loaded`` at its end, and feed the packets behind it.
    """

    zxid: int


class SaveSnapshot(NamedTuple):
    """Durable: write the tree as a snapshot. Log entries and snapshots that are newer than ``base`` belong to another
    history and must not survive. Older ones may end in another history too: they must not be loaded again, and the log
    is complete from here on only (``History.log_base``)."""

    base: int


class FlushLog(NamedTuple):
    """Durable: all that was logged is on disk."""


class AnswerPing(NamedTuple):
    """Send ``packets.ping_answer(zxid, sessions used since the last one)``."""

    zxid: int


class Revalidated(NamedTuple):
    """The leader's answer about a session."""

    session: int
    valid: bool


class Synced(NamedTuple):
    """The oldest waiting sync request of a client here is done."""


class Leave(NamedTuple):
    """Close the connection, let the log finish what it has, and look for a leader.

    ``reload``: the tree in memory stems from a snapshot that is not on disk: load again (ZOOKEEPER-3642).
    ``snapshot_epoch`` goes to the next :class:`~zabra.zab.learner.Learner`, unless the server was started anew.
    """

    reason: str
    reload: bool
    #: The leader of this epoch wanted a TRUNC that the files do not allow.
    snapshot_epoch: int | None = None


class Exit(NamedTuple):
    """The server must not go on."""

    code: int
    reason: str


Effect = (
    StoreEpoch
    | Log
    | Commit
    | LastSeenConfig
    | ActivateConfig
    | Serve
    | SendTo
    | Close
    | SyncLearner
    | StepDown
    | Forwarded
    | Touched
    | Acknowledged
    | Revalidate
    | Send
    | Truncate
    | LoadSnapshot
    | SaveSnapshot
    | FlushLog
    | AnswerPing
    | Revalidated
    | Synced
    | Leave
    | Exit
)
