"""Fast leader election (``FastLeaderElection`` of 3.9.5) without sockets, threads and clocks.

States and what moves between them::

              look()                          a quorum votes for one server, and for 200 ms nothing better comes;
    settled --------> LOOKING                 or a quorum of settled servers follows one that says it leads
       ^                 |
       +--- Elected -----+

While LOOKING every server votes, first for itself, and tells all voters of the committed and of the last proposed
membership. Votes belong to a round. A later round is adopted, which forgets all votes; an earlier one is answered with
the own vote, so that its sender catches up. A better vote (epoch, zxid, id) is adopted and told on. What must hold:

* ``_received`` has only votes of the own round, and among them the own vote if this server is a voter that has one.
* ``_proposal`` never gets worse within a round.
* Who has been elected is answered to everybody who still looks, so that late servers find the leader.

Differences from Java, none of which another server can tell from delays: the own vote is counted without travelling
through a queue; messages that arrive in the last 200 ms are handled as always, not dropped; votes are repeated when
nothing was *decided* for an interval, not when nothing was *heard*; a newer membership does not set the round back.
And two servers that cannot agree do not answer each other's answers as fast as the network can: in Java an observer of
a later round and a voter that looks as well do so until there is a leader.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from zabra.config.dynamic import EnsembleConfig
from zabra.zab.quorums import AckTracker, QuorumVerifier
from zabra.zab.types import (
    NOBODY,
    ZXID_UNTRUSTED,
    AdoptConfig,
    Effect,
    Elected,
    Notification,
    PeerLooking,
    Reconnect,
    Send,
    ServerState,
    SetTimer,
    Vote,
)
from zabra.zxid import to_signed64

_log = logging.getLogger(__name__)

#: How long something better than a quorum's choice is waited for (``finalizeWait``).
FINALIZE_WAIT_MS: Final = 200
#: When more servers than so many were answered, those that have been quiet for some time are forgotten.
_ANSWERS_MAX: Final = 64


class Intervals(NamedTuple):
    """How long to wait before votes are repeated, at first and at most (``fastleader.*NotificationInterval``)."""

    min_ms: int = 200
    max_ms: int = 60_000


DEFAULT_INTERVALS: Final = Intervals()


class Election:
    """The election of one server. Every input returns the effects it has, in the order to perform them.

    The first input is :meth:`look`.
    """

    def __init__(
        self,
        my_id: int,
        verifier: QuorumVerifier,
        *,
        make_verifier: Callable[[EnsembleConfig], QuorumVerifier],
        last_zxid: int,
        current_epoch: int,
        proposed: QuorumVerifier | None = None,
        reconfig_enabled: bool = False,
        intervals: Intervals = DEFAULT_INTERVALS,
    ) -> None:
        """``verifier`` is the committed membership, ``proposed`` the last seen one.

        ``last_zxid`` and ``current_epoch`` are what the first vote says; each :meth:`look` brings newer ones.
        """
        self.my_id = my_id
        self.verifier = verifier
        self.proposed = proposed
        self.state = ServerState.LOOKING
        #: Whom this server follows; before the first election itself.
        self.current_vote = Vote(my_id, last_zxid, -1, current_epoch)
        self._make_verifier = make_verifier
        self._reconfig_enabled = reconfig_enabled
        self._intervals = intervals
        self._last_zxid = last_zxid
        self._current_epoch = current_epoch
        self._round = 0
        self._proposal = self.current_vote
        #: Votes of this round, by voter.
        self._received: dict[int, Vote] = {}
        #: What settled servers said, of any round, by voter.
        self._settled: dict[int, Vote] = {}
        #: Of each server the last message that was answered, with the answer, and when that was.
        self._answers: dict[int, tuple[object, int]] = {}
        self._interval_ms = intervals.min_ms
        self._repeat_at_ms = 0
        #: When the proposal wins; None while it has no quorum.
        self._decide_at_ms: int | None = None

    # -- what the shell asks

    @property
    def round(self) -> int:
        """The election round (``logicalclock``)."""
        return self._round

    @property
    def is_observer(self) -> bool:
        """Whether the committed membership has this server as an observer."""
        return self.my_id in self.verifier.observers

    @property
    def voters(self) -> dict[int, None]:
        """The voters of the committed and the proposed membership."""
        proposed = self.proposed.voters if self.proposed is not None else {}
        return dict.fromkeys((*self.verifier.voters, *proposed))

    # -- what the shell tells

    def look(self, last_zxid: int, current_epoch: int, now_ms: int) -> list[Effect]:
        """Look for a leader, with the newest zxid in the log and the epoch it belongs to."""
        self._last_zxid, self._current_epoch = last_zxid, current_epoch
        return self._start(now_ms)

    def notification(self, sender: int, message: Notification, now_ms: int) -> list[Effect]:
        """A message of another server has arrived."""
        effects = self._learn_config(message, now_ms)
        if sender not in self.voters:
            # Joining servers and observers are told at once whom this one follows.
            return effects + self._answer(sender, message, self.current_vote._replace(round=self._round), now_ms)
        if self.state is not ServerState.LOOKING:
            if message.state is ServerState.LOOKING:
                if self.state is ServerState.LEADING:
                    effects.append(PeerLooking(sender))
                effects += self._answer(sender, message, self.current_vote, now_ms)
            return effects
        if message.state is ServerState.LOOKING and message.round < self._round:
            effects += self._answer(sender, message, self._proposal, now_ms)
        if message.leader not in self.voters:
            _log.warning("a vote of server %d for %d, which is no voter, does not count", sender, message.leader)
        elif message.state is ServerState.LOOKING:
            effects += self._count(sender, message.vote, now_ms)
        elif message.state is not ServerState.OBSERVING:
            effects += self._meet_settled(sender, message.vote, now_ms)
        return effects

    def timeout(self, now_ms: int, *, delivered: bool) -> list[Effect]:
        """The time of the last :class:`SetTimer` has come.

        ``delivered``: some peer has got everything sent to it (``QuorumCnxManager.haveDelivered``).
        """
        if self.state is not ServerState.LOOKING:
            return []
        if self._decide_at_ms is not None and now_ms >= self._decide_at_ms:
            return self._elect(self._proposal, self._tracker(self._received, self._proposal))
        effects: list[Effect] = []
        if now_ms >= self._repeat_at_ms:
            effects.append(self._send_all() if delivered else Reconnect())
            self._interval_ms = min(2 * self._interval_ms, self._intervals.max_ms)
            self._repeat_at_ms = now_ms + self._interval_ms
        # The oracle may have changed its mind.
        return [*effects, self._weigh(now_ms)]

    def epoch_established(self, epoch: int) -> None:
        """The new leader's epoch is stored by a quorum: late servers must hear equal votes (``updateElectionVote``)."""
        self.current_vote = self.current_vote._replace(epoch=epoch)

    def set_configs(self, verifier: QuorumVerifier, proposed: QuorumVerifier | None) -> None:
        """The broadcast committed or proposed a membership; only for a settled server."""
        assert self.state is not ServerState.LOOKING
        self.verifier, self.proposed = verifier, proposed

    def designate(self, leader: int, zxid: int) -> ServerState:
        """A reconfiguration names the next leader, nobody votes (``QuorumPeer.updateVote``); the state to take.

        Only for a settled server.
        """
        assert self.state is not ServerState.LOOKING
        if leader != self.current_vote.leader:
            self.current_vote = Vote(leader, zxid, -1, -1)
        self.state = self._state_under(leader)
        return self.state

    # -- voting

    def _start(self, now_ms: int) -> list[Effect]:
        self.state = ServerState.LOOKING
        self._round = to_signed64(self._round + 1)
        self._settled.clear()
        self._interval_ms = self._intervals.min_ms
        return self._enter_round(self._own_vote(), now_ms)

    def _enter_round(self, proposal: Vote, now_ms: int) -> list[Effect]:
        self._received.clear()
        return self._propose(proposal, now_ms)

    def _propose(self, proposal: Vote, now_ms: int) -> list[Effect]:
        """Vote for ``proposal``, tell everybody, and count it."""
        self._proposal = proposal
        self._decide_at_ms = None
        self._repeat_at_ms = now_ms + self._interval_ms
        if self.my_id in self.voters and self._may_vote:
            self._received[self.my_id] = proposal
        return [self._send_all(), self._weigh(now_ms)]

    def _own_vote(self) -> Vote:
        """What this server votes at first: for itself, or for nobody where it cannot lead."""
        leader = self.my_id if self.my_id in self.verifier.voters else NOBODY
        if self.is_observer:
            return Vote(leader, NOBODY, self._round, NOBODY)
        return Vote(leader, self._last_zxid, self._round, self._current_epoch)

    @property
    def _may_vote(self) -> bool:
        return self.is_observer or self._last_zxid != ZXID_UNTRUSTED

    def _is_better(self, vote: Vote, than: Vote) -> bool:
        return self.verifier.weight(vote.leader) != 0 and vote.rank > than.rank

    def _count(self, sender: int, vote: Vote, now_ms: int) -> list[Effect]:
        """The vote of a server that looks as well."""
        if not self._may_vote or vote.zxid == ZXID_UNTRUSTED or vote.round < self._round:
            return []
        effects: list[Effect] = []
        if vote.round > self._round:
            self._round = vote.round
            own = self._own_vote()
            effects += self._enter_round(self._adopted(vote) if self._is_better(vote, own) else own, now_ms)
        elif self._is_better(vote, self._proposal):
            effects += self._propose(self._adopted(vote), now_ms)
        self._received[sender] = vote._replace(version=0)
        return [*effects, self._weigh(now_ms)]

    def _adopted(self, vote: Vote) -> Vote:
        return Vote(vote.leader, vote.zxid, self._round, vote.epoch)

    def _weigh(self, now_ms: int) -> SetTimer:
        """See whether the proposal has a quorum, and until when to wait."""
        if not self._tracker(self._received, self._proposal).has_all_quorums():
            self._decide_at_ms = None
            return SetTimer(self._repeat_at_ms)
        if self._decide_at_ms is None:
            self._decide_at_ms = now_ms + FINALIZE_WAIT_MS
        return SetTimer(self._decide_at_ms)

    def _tracker(self, votes: dict[int, Vote], vote: Vote) -> AckTracker:
        """Who agrees with ``vote``, by each membership that must have a quorum."""
        verifiers = [self.verifier]
        if self.proposed is not None and self.proposed.version > self.verifier.version:
            verifiers.append(self.proposed)
        tracker = AckTracker(*verifiers)
        for sid, other in votes.items():
            if vote.agrees_with(other):
                tracker.add_ack(sid)
        return tracker

    # -- finding a leader that is there

    def _meet_settled(self, sender: int, vote: Vote, now_ms: int) -> list[Effect]:
        """The vote of a server that follows or leads."""
        if vote.round == self._round:
            # Kept without its version: settled votes of one round are one choice, whatever epoch they have reached.
            self._received[sender] = vote._replace(version=0)
            tracker = self._tracker(self._received, vote)
            if tracker.has_all_quorums() and self._is_leading(self._received, vote):
                return self._elect(vote, tracker)
        self._settled[sender] = vote
        tracker = self._tracker(self._settled, vote)
        if tracker.has_all_quorums() and self._is_leading(self._settled, vote):
            self._round = vote.round
            return self._elect(vote, tracker)
        if vote.state is ServerState.LEADING and vote.leader == sender and self.verifier.need_oracle:
            # Of two servers the oracle chose the other one, so that one leads without a quorum (ZOOKEEPER-3922).
            # Had it chosen this one, there would have been a quorum above.
            return self._elect(vote, tracker)
        # It may have taken its vote for our proposal back, and with it the quorum that was about to decide.
        return [self._weigh(now_ms)]

    def _is_leading(self, votes: dict[int, Vote], vote: Vote) -> bool:
        """Whether the leader itself says so; without that a crashed one would be elected again and again."""
        if vote.leader == self.my_id:
            return vote.round == self._round
        of_leader = votes.get(vote.leader)
        return of_leader is not None and of_leader.state is ServerState.LEADING

    # -- the end

    def _elect(self, vote: Vote, tracker: AckTracker) -> list[Effect]:
        self.state = self._state_under(vote.leader)
        self.current_vote = Vote(vote.leader, vote.zxid, vote.round, vote.epoch)
        self._decide_at_ms = None
        return [SetTimer(None), Elected(self.current_vote, self.state, tracker.acks())]

    def _state_under(self, leader: int) -> ServerState:
        if leader == self.my_id:
            return ServerState.LEADING
        return ServerState.OBSERVING if self.is_observer else ServerState.FOLLOWING

    def _learn_config(self, message: Notification, now_ms: int) -> list[Effect]:
        """A newer committed membership counts from now on; one that differs starts the election again."""
        config = message.config
        if config is None or not self._reconfig_enabled or self.state is not ServerState.LOOKING:
            return []
        if config.version <= self.verifier.version:
            return []
        before, self.verifier = self.verifier, self._make_verifier(config)
        if self.proposed is not None and self.proposed.version <= config.version:
            self.proposed = None
        restart = self._start(now_ms) if self.verifier != before else []
        return [AdoptConfig(config), *restart]

    # -- messages

    def _send_all(self) -> Send:
        others = tuple(sid for sid in self.voters if sid != self.my_id)
        return Send(others, self._message(self._proposal))

    @property
    def _answer_again_ms(self) -> int:
        """What was said before is answered again after so long. Nobody repeats by itself sooner than twice that."""
        return self._intervals.min_ms // 2

    def _answer(self, to: int, message: Notification, vote: Vote, now_ms: int) -> list[Effect]:
        """Answer ``message``; not if the same was answered the same way just now."""
        answers = self._answers
        answer = self._message(vote)
        exchange = (message.gist, answer.gist)
        last = answers.get(to)
        if last is not None and now_ms - last[1] < self._answer_again_ms and last[0] == exchange:
            return []
        if to not in answers and len(answers) >= _ANSWERS_MAX:
            for sid in [sid for sid, (_, at_ms) in answers.items() if now_ms - at_ms >= self._answer_again_ms]:
                del answers[sid]
        answers[to] = (exchange, now_ms)
        return [Send((to,), answer)]

    def _message(self, vote: Vote) -> Notification:
        return Notification(self.state, vote.leader, vote.zxid, vote.round, vote.epoch, config=self.verifier.config)
