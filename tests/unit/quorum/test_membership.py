"""The memberships that a server knows: which counts, which is on disk, and where a new one sends the server."""

import pytest
from ensemble_rig import line_of
from memdisk import MemoryDisk

from zabra.config.dynamic import parse_config
from zabra.errors import ConfigError
from zabra.quorum.configfiles import ConfigFiles
from zabra.quorum.context import Context, Designated, Moves
from zabra.quorum.membership import Membership


def config(*lines, version=0):
    return parse_config("\n".join((*lines, f"version={version:x}")))


def usual(version=0):
    return config(*map(line_of, (1, 2, 3)), version=version)


class World:
    """Server 1, and the files beside its zoo.cfg."""

    def __init__(self, *, reconfig_enabled=True, committed=None):
        self.disk = MemoryDisk()
        self.disk.makedirs("/conf")
        self.disk.write_atomic("/conf/zoo.cfg", b"tickTime=2000\n")
        files = ConfigFiles(self.disk, "/conf/zoo.cfg")
        self.membership = Membership(1, committed or usual(), files, reconfig_enabled=reconfig_enabled)
        self.changes = 0
        self.membership.on_change = self.changed

    def changed(self):
        self.changes += 1

    def files(self):
        return [name for name in self.disk.listdir("/conf") if name != "zoo.cfg"]


@pytest.fixture
def world():
    return World()


def test_what_it_starts_with(world):
    membership = world.membership
    assert membership.config.version == 0
    assert membership.last_seen is membership.verifier
    assert membership.own.sid == 1
    assert not membership.is_observer
    assert membership.proposed is None


def test_a_proposed_one_is_on_disk_and_seen_but_not_in_force(world):
    new = config(*map(line_of, (1, 2, 3, 4)), version=5)
    world.membership.see(new)
    assert world.files() == ["zoo.cfg.dynamic.next"]
    assert (world.membership.config.version, world.membership.last_seen.version) == (0, 5)
    assert world.membership.line_of(4).sid == 4
    assert world.changes == 1
    world.membership.see(usual(4))
    assert world.membership.last_seen.version == 5
    assert world.changes == 1, "an older one changes nothing"


def test_a_committed_one_is_in_force_and_on_disk(world):
    world.membership.see(usual(5))
    assert world.membership.commit(usual(5))
    assert world.files() == ["zoo.cfg.dynamic.5"]
    assert world.membership.config.version == 5
    assert world.membership.proposed is None
    assert world.changes == 2
    assert not world.membership.commit(usual(5))
    assert world.changes == 2


def test_a_proposed_one_outlives_the_commit_of_an_older_one(world):
    world.membership.see(usual(7))
    world.membership.commit(usual(5))
    assert world.membership.last_seen.version == 7


@pytest.mark.parametrize(("committed", "kept"), [(4, True), (5, False), (6, False)])
def test_what_an_earlier_run_saw_is_seen_again_where_it_is_newer(committed, kept):
    world = World(committed=usual(committed))
    ConfigFiles(world.disk, "/conf/zoo.cfg").store_proposed(usual(5))
    world.membership.load_proposed()
    assert (world.membership.proposed is not None) is kept
    assert world.membership.last_seen.version == max(committed, 5)


def test_what_an_earlier_run_left_damaged_is_refused(world):
    world.disk.write_atomic("/conf/zoo.cfg.dynamic.next", b"nonsense")
    with pytest.raises(ConfigError):
        world.membership.load_proposed()


def test_nothing_changes_unless_that_is_wanted():
    world = World(reconfig_enabled=False)
    ConfigFiles(world.disk, "/conf/zoo.cfg").store_proposed(usual(5))
    world.membership.load_proposed()
    world.membership.see(usual(6))
    assert not world.membership.commit(usual(7))
    assert (world.membership.last_seen.version, world.changes) == (0, 0)
    assert world.files() == ["zoo.cfg.dynamic.next"]


def test_nothing_is_in_force_that_could_not_be_stored(world, monkeypatch):
    def full(path, data):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(world.disk, "write_atomic", full)
    with pytest.raises(OSError, match="no space"):
        world.membership.see(usual(5))
    with pytest.raises(OSError, match="no space"):
        world.membership.commit(usual(5))
    assert (world.membership.config.version, world.membership.last_seen.version, world.changes) == (0, 0, 0)


def test_without_a_zoo_cfg_memberships_are_kept_in_memory():
    membership = Membership(1, usual(), None, reconfig_enabled=True)
    membership.load_proposed()
    membership.see(usual(5))
    assert membership.commit(usual(5))
    assert membership.config.version == 5


def test_a_server_that_was_removed_has_no_line_and_no_vote(world):
    world.membership.commit(config(line_of(2), line_of(3), version=5))
    assert world.membership.own is None
    assert not world.membership.is_observer
    assert world.membership.line_of(1) is None


# -- where a committed one sends a server


class Server:
    """A context with no more than activate needs."""

    def __init__(self, committed=None, **more):
        self.world = World(committed=committed, **more)
        self.membership = self.world.membership
        self.db = self
        self.last_processed = 77
        self.host = self
        self.rebinds = 0
        self.shown = 0

    def rebind_client_port(self):
        self.rebinds += 1

    def show_membership(self):
        self.shown += 1

    def activate(self, new, designated=None, zxid=None, leader=3):
        return Context.activate(self, new, designated, zxid, leader)


def test_an_older_one_sends_nobody_anywhere():
    server = Server(committed=usual(9))
    assert server.activate(usual(5), 2, 55) is None
    assert (server.rebinds, server.shown) == (0, 1), "clients read it all the same"


def test_one_that_changes_nothing_here_is_in_force():
    server = Server()
    assert server.activate(config(*map(line_of, (1, 2, 3, 4)), version=5), 3, 55) is None
    assert (server.membership.config.version, server.rebinds, server.shown) == (5, 1, 1)


def test_another_leader_is_followed():
    assert Server().activate(usual(5), 2, 55) == Moves(Designated(2, 55))


@pytest.mark.parametrize(("zxid", "expected"), [(55, 55), (None, 77)])
def test_another_role_is_taken(zxid, expected):
    new = config(line_of(1, observer=True), line_of(2), line_of(3), version=5)
    assert Server().activate(new, 3 if zxid else None, zxid) == Moves(Designated(3, expected))


@pytest.mark.parametrize("leader", [[], [line_of(3, observer=True)], [line_of(3, quorum_port=2999)]])
@pytest.mark.parametrize(("designated", "moves"), [(None, Moves(None)), (2, Moves(Designated(2, 55)))])
def test_a_leader_that_may_not_lead_on_is_left(leader, designated, moves):
    """It designates another one; where that was not heard, in a sync, an election finds one."""
    new = config(line_of(1), line_of(2), *leader, version=5)
    assert Server().activate(new, designated, 55 if designated else None) == moves


def test_a_leader_that_was_not_known_before_is_followed_on():
    assert Server(committed=config(line_of(1), line_of(2))).activate(usual(5)) is None


def test_nothing_is_activated_unless_that_is_wanted():
    server = Server(reconfig_enabled=False)
    assert server.activate(usual(5), 2, 55) is None
    assert (server.membership.config.version, server.shown) == (0, 0)
