"""Elections over a network that delays, loses, doubles and reorders messages, in virtual time.

Around each core stands what broadcast does with an election: who follows a server that does not lead, or leads without
a quorum that follows, gives up after two seconds and looks again.
"""

import heapq
import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from zabra.config.dynamic import parse_config
from zabra.zab.election import Election, Intervals
from zabra.zab.notification import encode_notification, parse_notification
from zabra.zab.quorums import make_verifier
from zabra.zab.types import Elected, PeerLooking, Send, ServerState, SetTimer

#: Virtual milliseconds: how long the network is bad, how long a role without its counterpart is kept, and how long a
#: healed ensemble may take: every wait that can be pending when it heals is at most INTERVALS.max_ms.
BAD_MS = 20_000
PATIENCE_MS = 2_000
INTERVALS = Intervals(200, 5_000)
HEALED_MS = 60_000


class World:
    """Servers with different histories, and what is under way between them."""

    def __init__(self, config, histories, seed, *, healed=False):
        self.config = config
        self.histories = histories
        self.rng = random.Random(seed)
        self.now = 0
        self.healed = healed
        self.order = 0
        self.events = []
        self.timers = {}
        #: (leader, round) of every election that a server won, with the supporters.
        self.won = []
        self.cores = {}
        for sid, (epoch, zxid) in histories.items():
            self.cores[sid] = Election(
                sid,
                make_verifier(config),
                make_verifier=make_verifier,
                last_zxid=zxid,
                current_epoch=epoch,
                intervals=INTERVALS,
            )
        for sid in histories:
            self.at(0 if self.healed else self.rng.randrange(3000), self.look, sid)

    def at(self, when, call, *args):
        self.order += 1
        heapq.heappush(self.events, (when, self.order, call, args))

    def run(self, until):
        while self.events and self.events[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self.events)
            call(*args)
            self.check()
        self.now = until

    def look(self, sid):
        epoch, zxid = self.histories[sid]
        self.perform(sid, self.cores[sid].look(zxid, epoch, self.now))

    def hear(self, sid, sender, data):
        # Through the bytes, as between real servers.
        self.perform(sid, self.cores[sid].notification(sender, parse_notification(data), self.now))

    def ring(self, sid, timer):
        if self.timers.get(sid) is timer:
            self.perform(sid, self.cores[sid].timeout(self.now, delivered=True))

    def perform(self, sid, effects):
        for effect in effects:
            if isinstance(effect, Send):
                for to in effect.to:
                    self.send(sid, to, encode_notification(effect.message))
            elif isinstance(effect, SetTimer):
                self.timers[sid] = effect
                if effect.at_ms is not None:
                    self.at(max(effect.at_ms, self.now), self.ring, sid, effect)
            elif isinstance(effect, Elected):
                self.settled(sid, effect)
            else:
                assert isinstance(effect, PeerLooking)

    def send(self, sender, to, data):
        # Mostly fine, sometimes gone or doubled, now and then later than any wait.
        copies = 1 if self.healed else self.rng.choice((1, 1, 1, 0, 2))
        for _ in range(copies):
            delay = self.rng.randrange(30) if self.healed else self.rng.choice((1, 5, 50, 250, 1500, 7000))
            self.at(self.now + delay, self.hear, to, sender, data)

    def settled(self, sid, effect):
        vote = effect.vote
        if effect.state is ServerState.LEADING:
            assert vote.leader == sid
            self.won.append((sid, effect.supporters))
        self.at(self.now + PATIENCE_MS, self.lose_patience, sid, vote)

    def lose_patience(self, sid, vote):
        core = self.cores[sid]
        if core.state is ServerState.LOOKING or core.current_vote != vote:
            return
        if self.is_served(sid):
            self.at(self.now + PATIENCE_MS, self.lose_patience, sid, vote)
        else:
            self.look(sid)

    def followers(self, leader):
        return {
            sid
            for sid, core in self.cores.items()
            if core.state is not ServerState.LOOKING and core.current_vote.leader == leader
        }

    def is_served(self, sid):
        leader = self.cores[sid].current_vote.leader
        if self.cores[leader].state is not ServerState.LEADING:
            return False
        return make_verifier(self.config).contains_quorum(self.followers(leader))

    def check(self):
        """What holds at every moment."""
        verifier = make_verifier(self.config)
        leaders = [sid for sid, core in self.cores.items() if core.state is ServerState.LEADING]
        backed = [sid for sid in leaders if verifier.contains_quorum(self.followers(sid))]
        assert len(backed) <= 1
        for sid, supporters in self.won:
            # Whoever voted for the winner had no better history, and they were a quorum.
            assert verifier.contains_quorum(supporters)
            assert all(self.rank(sid) >= self.rank(other) for other in supporters)
            assert verifier.weight(sid) > 0
        self.won.clear()

    def rank(self, sid):
        return (*self.histories[sid], sid)


@st.composite
def worlds(draw):
    count = draw(st.integers(3, 7))
    observers = draw(st.integers(0, 2)) if count > 4 else 0
    roles = ["participant"] * (count - observers) + ["observer"] * observers
    lines = [f"server.{sid}=h:1:2:{role}" for sid, role in enumerate(roles, 1)]
    histories = {sid: (draw(st.integers(0, 2)), draw(st.integers(0, 3))) for sid in range(1, count + 1)}
    return parse_config("\n".join(lines)), histories


#: A quorum that was about to decide lost a vote to a server that was followed already.
_TAKEN_BACK = (
    parse_config("\n".join(f"server.{sid}=h{sid}:1:2" for sid in (1, 2, 3))),
    {1: (0, 0), 2: (0, 1), 3: (0, 0)},
)


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 1 << 32))
@example(_TAKEN_BACK, 655394)
def test_a_healed_ensemble_agrees_on_one_leader(world, seed):
    here = World(*world, seed)
    here.run(BAD_MS)
    here.healed = True
    here.run(BAD_MS + HEALED_MS)
    agree(here)


@settings(max_examples=40, deadline=None)
@given(worlds(), st.integers(0, 1 << 32))
def test_on_a_good_network_the_best_history_of_all_wins(world, seed):
    config, histories = world
    here = World(config, histories, seed, healed=True)
    here.run(HEALED_MS)
    leader = agree(here)
    assert leader == max(config.voters, key=here.rank)
    assert here.cores[leader].round == 1


def agree(world):
    states = {sid: (core.state, core.current_vote.leader) for sid, core in world.cores.items()}
    leaders = [sid for sid, core in world.cores.items() if core.state is ServerState.LEADING]
    assert len(leaders) == 1, states
    for sid, (state, leader) in states.items():
        assert leader == leaders[0], states
        if sid in world.config.observers:
            assert state is ServerState.OBSERVING
        elif sid != leader:
            assert state is ServerState.FOLLOWING
    return leaders[0]
