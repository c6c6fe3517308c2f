"""Real servers of an ensemble under load that are killed, stopped, cut off, or run out of disk.

Nothing acknowledged is lost, no session goes back, and the ensemble serves again by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compat import jute
from compat.ensembles import FOLLOWER, LEADER, OBSERVER, Ensemble, Member, Spec
from compat.rawclient import Client
from compat.servers import ZABRA, require
from faults.crowd import Crowd
from faults.cuts import Cuts
from faults.faulty import compile_faulty_disk, faulty, missing_cc
from faults.history import complaints

#: Ticks of a quarter of a second: an election and a synchronisation have 10 s, a silent connection 2 s.
CONFIG = {"tickTime": "250", "initLimit": "40", "syncLimit": "8"}
SYNC_S = 2.0
#: Until every session writes again, on cores that have more to do.
AGAIN_S = 60.0
SEED = os.environ.get("ZABRA_KILL_SEED", "1")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three voters and an observer, for tests that leave them running."""
    specs = {1: Spec(ZABRA), 2: Spec(ZABRA), 3: Spec(ZABRA), 4: Spec(ZABRA, observer=True)}
    with Ensemble(tmp_path_factory.mktemp("ensemble"), specs, config=CONFIG) as ensemble:
        ensemble.start()
        yield ensemble


class Load:
    """Sessions at work, and what must hold of them."""

    def __init__(self, ensemble: Ensemble, timeout_ms: int = 30_000) -> None:
        self._ensemble = ensemble
        ports = [member.port for member in ensemble.members.values()]
        self.crowd = Crowd(f"/load-{next(_numbers)}", ports, timeout_ms=timeout_ms)
        self.crowd.prepare(ensemble.leader().port)
        #: When a leader may not have known that it leads no more.
        self.deposed: list[tuple[float, float]] = []

    def goes_on(self, what: str, since: float, limit_s: float = AGAIN_S) -> None:
        """Every session has a write acknowledged that it sent after ``since``."""
        self._ensemble.until(f"all write after {what}", lambda: self.crowd.goes_on(since), limit_s)
        first = self.crowd.first_write_after(since)
        print(f"{what}: a write is acknowledged after {first:.2f} s, by all after {time.monotonic() - since:.2f} s")

    def judge(self) -> None:
        """The promises; and all servers that run have equal trees."""
        self.crowd.stop()
        ensemble = self._ensemble
        ensemble.start()
        for sid in ensemble.members:
            found = self.crowd.look(ensemble[sid].port)
            broken = complaints(self.crowd.calls, found, self.deposed)
            if broken:
                raise ensemble.failure("\n".join((f"as server {sid} has it:", *broken[:10])))
        assert self.crowd.expired == 0, "sessions were over before their time"
        ensemble.check_digests()
        connects = sum(session.connects for session in self.crowd.sessions)
        print(f"{self.crowd.acknowledged} calls answered over {connects} connections")


@contextmanager
def load(ensemble: Ensemble, timeout_ms: int = 30_000) -> Iterator[Load]:
    """Sessions at work inside, judged at the end."""
    made = Load(ensemble, timeout_ms)
    with made.crowd:
        made.goes_on("the start", time.monotonic())
        yield made
        made.judge()


def role(ensemble: Ensemble, mode: str) -> Member:
    """A member of that role, which may need a moment to say so."""
    found: list[int] = []

    def some() -> list[int]:
        found[:] = [sid for sid, shown in ensemble.modes().items() if shown == mode]
        return found

    ensemble.until(f"one is {mode}", some)
    return ensemble[found[0]]


def test_kill_9_of_each_role_again_and_again(started: Ensemble) -> None:
    rng = random.Random(SEED)
    modes = [LEADER, FOLLOWER, OBSERVER, LEADER, FOLLOWER, LEADER]
    rng.shuffle(modes)
    with load(started) as at_work:
        for mode in modes:
            killed = role(started, mode)
            began = time.monotonic()
            killed.kill()
            at_work.goes_on(f"kill -9 of the {mode}, {killed.sid}", began)
            killed.spawn()
            if rng.random() < 0.5:
                started.wait_serving()
            else:
                # Once more while it starts, or just has.
                time.sleep(rng.random() * 1.5)
                killed.kill()
                killed.spawn()
                started.wait_serving()


def test_all_die_at_once_and_come_back(started: Ensemble) -> None:
    with load(started) as at_work:
        for number in (signal.SIGKILL, signal.SIGTERM):
            members = list(started.members.values())
            for member in members:
                os.kill(member.pid, number)
            codes = [member.wait() for member in members]
            assert codes == [-signal.SIGKILL if number == signal.SIGKILL else 0] * len(members)
            began = time.monotonic()
            for member in members:
                member.spawn()
            at_work.goes_on(f"{number.name} of all", began)
            started.wait_serving()


def test_a_rolling_restart(started: Ensemble) -> None:
    with load(started) as at_work:
        for sid in random.Random(SEED).sample(list(started.members), len(started.members)):
            began = time.monotonic()
            assert started[sid].stop() == 0
            at_work.goes_on(f"the stop of {sid}", began)
            started.start(sid)


def reads(client: Client) -> bool:
    """Whether a server still answers it."""
    try:
        return client.call(jute.GET_DATA, jute.path_watch("/", False))[0] == 0
    except ConnectionError:
        return False


@pytest.mark.parametrize("mode", [LEADER, FOLLOWER])
def test_a_server_stands_still_for_longer_than_a_session_lasts(started: Ensemble, mode: str) -> None:
    """SIGSTOP, SIGCONT. Its clients go elsewhere; a leader that comes to itself must not go on as one."""
    timeout_s = 3.0
    with load(started, int(timeout_s * 1000)) as at_work:
        for _ in range(2):
            stopped = role(started, mode)
            loyal = started.client(stopped.sid)
            began = time.monotonic()
            os.kill(stopped.pid, signal.SIGSTOP)
            try:
                at_work.goes_on(f"SIGSTOP of the {mode}, {stopped.sid}", began)
                time.sleep(max(0.0, began + timeout_s + 1 - time.monotonic()))
            finally:
                os.kill(stopped.pid, signal.SIGCONT)
            awake = time.monotonic()
            if mode == LEADER:
                at_work.deposed.append((began, awake + SYNC_S))
                # Whoever stayed with it may read old values for a moment, and is sent away then.
                while reads(loyal):
                    assert time.monotonic() < awake + SYNC_S, "a deposed leader goes on serving"
            loyal.link.close()
            started.wait_mode(stopped.sid, FOLLOWER)
            print(f"{stopped.sid} follows {time.monotonic() - awake:.2f} s after SIGCONT")
            at_work.goes_on("SIGCONT", awake)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk that loses what was not synced."""
    require(missing_cc())
    return compile_faulty_disk(tmp_path_factory.mktemp("library"))


def test_machines_lose_power(library: Path, tmp_path: Path) -> None:
    """In the middle of a write or sync of the log, one machine, then two: of what was not synced any part is lost."""
    rng = random.Random(SEED)
    with Ensemble(tmp_path, dict.fromkeys((1, 2, 3), Spec(ZABRA)), config=CONFIG) as ensemble:
        ensemble.start()
        with load(ensemble) as at_work:
            for round_, count in enumerate((1, 2, 2)):
                doomed = [ensemble[sid] for sid in rng.sample((1, 2, 3), count)]
                for member in doomed:
                    call, after = rng.choice(("write", "sync")), rng.randrange(20, 60)
                    member.wrapper = faulty(library, call=call, path="/log.", after=after, seed=round_)
                    assert member.stop() == 0
                    member.spawn()
                for member in doomed:
                    assert member.wait(60) == -signal.SIGKILL
                    member.wrapper = ()
                began = time.monotonic()
                for member in doomed:
                    member.spawn()
                at_work.goes_on(f"power lost on {[member.sid for member in doomed]}", began)
                ensemble.wait_serving()


def test_a_disk_that_fills_up(small_disk: Callable[[str], Path], tmp_path: Path) -> None:
    """First a follower's, then a leader's. It leaves, the others go on, and with room again it comes back."""
    # Much more than is written here: it is full when the test fills it, not before.
    disk = small_disk("size=64m")
    filler = disk / "filler"
    with Ensemble(tmp_path / "servers", dict.fromkeys((1, 2, 3), Spec(ZABRA)), config=CONFIG) as ensemble:
        small = ensemble[2]
        small.folder.mkdir(parents=True)
        small.data = disk / "data"
        ensemble.start_led_by(3)
        for mode in (FOLLOWER, LEADER):
            if mode == LEADER:
                # While nobody writes: whoever is to lead must not lack anything that others have.
                ensemble.lead(2)
            with load(ensemble) as at_work:
                ensemble.wait_mode(2, mode)
                fill_up(filler)
                assert small.wait(AGAIN_S) == 1
                began = time.monotonic()
                line = [line for line in small.log.read_text().splitlines() if " CRITICAL " in line][-1]
                assert "No space left on device" in line
                at_work.goes_on(f"the full disk of a {mode}", began)
                filler.unlink()
                ensemble.start(2)


def fill_up(filler: Path) -> None:
    """Leave no block free beside a file."""
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass


@pytest.fixture(scope="module")
def cuttable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ensemble, Cuts]]:
    """Three voters whose network can be cut."""
    specs = dict.fromkeys((1, 2, 3), Spec(ZABRA))
    # Each has another list of servers. A server that hears nothing may be elected, and costs an initLimit then.
    config = {**CONFIG, "reconfigEnabled": "false", "initLimit": "20"}
    with Ensemble(tmp_path_factory.mktemp("cuttable"), specs, config=config) as ensemble, Cuts(ensemble) as cuts:
        ensemble.start()
        yield ensemble, cuts


def test_a_leader_that_is_cut_off_steps_down(cuttable: tuple[Ensemble, Cuts]) -> None:
    """Then a follower: the others go on at once."""
    ensemble, cuts = cuttable
    with load(ensemble, 4000) as at_work:
        for mode in (LEADER, FOLLOWER):
            apart = role(ensemble, mode)
            began = time.monotonic()
            cuts.isolate(apart.sid)
            if mode == LEADER:
                at_work.deposed.append((began, began + SYNC_S + 1))
            at_work.goes_on(f"the cut around the {mode}, {apart.sid}", began)
            ensemble.wait_mode(apart.sid, None)
            healed = time.monotonic()
            cuts.heal()
            ensemble.wait_mode(apart.sid, FOLLOWER)
            at_work.goes_on("the cut healed", healed)


def test_a_network_that_is_cut_one_way(cuttable: tuple[Ensemble, Cuts]) -> None:
    """What a leader sends does not arrive, then what it is sent does not."""
    ensemble, cuts = cuttable
    with load(ensemble, 4000) as at_work:
        for outwards in (True, False):
            leader = ensemble.leader().sid
            others = [sid for sid in ensemble.members if sid != leader]
            began = time.monotonic()
            cuts.hold(*((leader, sid) if outwards else (sid, leader) for sid in others))
            at_work.deposed.append((began, began + SYNC_S + 1))
            at_work.goes_on(f"nothing goes {'from' if outwards else 'to'} the leader, {leader}", began)
            cuts.heal()
            ensemble.wait_serving()


def test_a_cut_between_followers_is_not_noticed(cuttable: tuple[Ensemble, Cuts]) -> None:
    ensemble, cuts = cuttable
    with load(ensemble) as at_work:
        leader = ensemble.leader().sid
        one, other = (sid for sid in ensemble.members if sid != leader)
        began = time.monotonic()
        cuts.isolate(one, other)
        at_work.goes_on("the cut between followers", began)
        time.sleep(SYNC_S + 1)
        at_work.goes_on("a while", time.monotonic())
        cuts.heal()
        assert ensemble.leader().sid == leader
        assert all(session.connects == 1 for session in at_work.crowd.sessions)


def test_connections_that_break_all_the_time(cuttable: tuple[Ensemble, Cuts]) -> None:
    ensemble, cuts = cuttable
    rng = random.Random(SEED)
    ways = [(one, other) for one in ensemble.members for other in ensemble.members if one != other]
    with load(ensemble) as at_work:
        for _ in range(15):
            cuts.reset(*rng.sample(ways, 3))
            time.sleep(0.2)
        began = time.monotonic()
        ensemble.wait_serving()
        at_work.goes_on("connections that broke", began)
