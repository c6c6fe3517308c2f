"""A small world for the Zab cores: servers with disks that lose what is not synced, channels that are cut, crashes.

Everything random comes from one seed. There is no clock but a number, no election but a draw among servers that look:
any server may be drawn, also one that lacks entries, which a quorum would not elect; the protocol must refuse it.
"""

from __future__ import annotations

from collections import deque
from random import Random

from zab_kit import MemoryHistory, entry, majority

from zabra.zab import effects as fx
from zabra.zab import packets
from zabra.zab.discovery import Summary
from zabra.zab.invariants import Ensemble, check_leader, check_learner
from zabra.zab.leader import Leader, LeaderOptions
from zabra.zab.leader import Phase as LeaderPhase
from zabra.zab.learner import Learner, Stage
from zabra.zab.packets import Packet, PacketStream, singly
from zabra.zab.quorums import make_verifier
from zabra.zab.syncplan import LogChangedError, follows
from zabra.zxid import counter_of, epoch_of, make_zxid

OPTIONS = LeaderOptions(tick_ms=100, init_limit=20, sync_limit=10, max_concurrent_snap_syncs=1)


class Crashed(Exception):
    """The server lost its memory in the middle of something."""


class Disk:
    """What survives; ``unsynced`` survives as any beginning of it."""

    def __init__(self):
        self.epochs = {fx.EpochFile.ACCEPTED: 0, fx.EpochFile.CURRENT: 0}
        self.snapshot = []
        self.snapshot_zxid = 0
        self.log = []
        self.unsynced = []
        self.log_base = 0

    def written(self):
        return self.log + self.unsynced

    def on_disk(self):
        return {one.zxid for one in (*self.snapshot, *self.log)}

    def sync(self):
        self.log += self.unsynced
        self.unsynced = []

    def load(self):
        """The tree of a start: the snapshot, and the log behind it."""
        tree = list(self.snapshot)
        zxid = self.snapshot_zxid
        for one in self.written():
            if one.zxid > zxid:
                assert follows(one.zxid, zxid), f"log jumps from {zxid:x} to {one.zxid:x}"
                zxid = one.zxid
                if not tree or one.zxid > tree[-1].zxid:
                    tree.append(one)
        last = max(zxid, tree[-1].zxid if tree else 0)
        current = self.epochs[fx.EpochFile.CURRENT]
        if epoch_of(last) > current:
            begun = self.epochs.get(fx.EpochFile.BEGUN)
            assert begun is not None, f"a start at {last:x} in epoch {current} is refused"
            self.epochs[fx.EpochFile.CURRENT] = begun
        return tree


class Link:
    """A connection: two channels, in order, that end where it is cut."""

    def __init__(self, conn, leader, learner, target):
        self.conn = conn
        self.leader = leader
        self.learner = learner
        self.target = target
        self.to_leader = deque()
        self.to_learner = deque()
        #: The sync that is being sent, and what waits behind it.
        self.sync = None
        self.waiting = []
        self.up_stream = PacketStream()
        self.down_stream = PacketStream()
        self.cut = False

    def send(self, data):
        if self.sync is not None:
            self.waiting.append(data)
        else:
            self.to_learner.append(data)


class Server:
    """One server: a disk, a tree, and a role."""

    def __init__(self, world, sid, observer):
        self.world = world
        self.sid = sid
        self.observer = observer
        self.disk = Disk()
        self.tree = []
        self.alive = True
        self.core = None
        self.link = None
        self.serving = False
        self.processed = 0
        self.snapshot_epoch = None

    @property
    def last_zxid(self):
        return self.tree[-1].zxid if self.tree else 0

    def summary(self):
        return Summary(self.disk.epochs[fx.EpochFile.CURRENT], self.last_processed)

    # The leader's view of its history.

    @property
    def last_processed(self):
        return max(self.processed, self.last_zxid)

    @property
    def committed(self):
        cached = self.tree[-self.world.cache :]
        return [one for one in cached if one.zxid > self.disk.log_base]

    @property
    def log_base(self):
        return self.disk.log_base

    @property
    def snapshot_size(self):
        return self.world.snapshot_size

    def _files(self):
        log = self.disk.written()
        return MemoryHistory((), [log[at : at + 3] for at in range(0, len(log), 3)], last_processed=0)

    def log_runs(self, zxid):
        return self._files().log_runs(zxid)

    def log_size(self, zxid):
        return self._files().log_size(zxid)

    def read_log(self, zxid):
        return self._files().read_log(zxid)


class World:
    """``voters`` servers and ``observers`` behind them; ``step`` until enough happened, then ``heal``."""

    def __init__(self, seed, voters=3, observers=1, leader=Leader, learner=Learner):
        self.random = Random(seed)
        self.leader_class, self.learner_class = leader, learner
        self.now = 0
        self.verifier = majority(*range(1, voters + 1), observers=range(voters + 1, voters + observers + 1), version=1)
        self.servers = {sid: Server(self, sid, sid > voters) for sid in range(1, voters + observers + 1)}
        self.ensemble = Ensemble()
        self.links = {}
        self.next_conn = 0
        self.bodies = 0
        self.cache = self.random.choice([1, 3, 100])
        self.snapshot_size = self.random.choice([0, 1, 2000])
        self.crash_rate = self.random.choice([0, 0.002, 0.01])
        self.healing = False
        self.elections = 0
        self.seen = set()

    # Performing effects.

    def perform(self, server, effects):
        try:
            for effect in effects:
                if not self.healing and self.random.random() < self.crash_rate:
                    raise Crashed
                self.seen.add(type(effect).__name__)
                getattr(self, f"_do_{type(effect).__name__}")(server, effect)
                if isinstance(effect, fx.Leave | fx.StepDown | fx.Exit):
                    return
        except Crashed:
            self.crash(server)
            return
        if isinstance(server.core, Leader):
            check_leader(server.core)
        elif server.core is not None:
            check_learner(server.core)
            if server.serving:
                told = server.core.last_committed
                assert server.last_zxid == told or (not counter_of(told) and server.last_zxid < told)
        if server.serving:
            self.ensemble.tree(server.sid, server.tree)

    def _do_StoreEpoch(self, server, effect):
        server.disk.epochs[effect.which] = effect.epoch
        if effect.which is fx.EpochFile.CURRENT and isinstance(server.core, Leader):
            self.ensemble.leads(server.sid, effect.epoch, server.tree)

    def _do_Log(self, server, effect):
        server.disk.unsynced += effect.entries

    def _do_FlushLog(self, server, effect):
        server.disk.sync()

    def _do_Commit(self, server, effect):
        for one in effect.entries:
            if isinstance(server.core, Leader):
                holders = {sid for sid, other in self.servers.items() if one.zxid in other.disk.on_disk()}
                self.ensemble.committed(one, holders, server.core.broadcast.verifiers)
            if one.zxid > server.last_zxid:
                assert follows(one.zxid, max(server.last_zxid, server.processed))
                server.tree.append(one)
            else:
                assert one in server.tree

    def _do_LastSeenConfig(self, server, effect):
        pass

    def _do_ActivateConfig(self, server, effect):
        pass

    def _do_Serve(self, server, effect):
        server.serving = True
        if isinstance(server.core, Leader):
            server.processed = make_zxid(effect.epoch, 0)
            self.ensemble.established(server.sid, effect.epoch, server.tree)

    def _do_SendTo(self, server, effect):
        for conn in effect.conns:
            if conn in self.links:
                self.links[conn].send(effect.data)

    def _do_Close(self, server, effect):
        if effect.conn in self.links:
            self.cut(self.links[effect.conn])

    def _do_SyncLearner(self, server, effect):
        if effect.conn in self.links:
            self.links[effect.conn].sync = effect.plan

    def _do_StepDown(self, server, effect):
        self.look(server, reload=False)

    def _do_Leave(self, server, effect):
        server.snapshot_epoch = effect.snapshot_epoch
        self.look(server, reload=effect.reload)

    def _do_Exit(self, server, effect):
        raise AssertionError(f"server {server.sid} exits: {effect.reason}")

    def _do_Send(self, server, effect):
        on_disk = server.disk.on_disk()
        for packet in singly(PacketStream().feed(effect.data)):
            if packet.type == Packet.ACK and counter_of(packet.zxid):
                self.ensemble.acked(server.sid, packet.zxid, on_disk)
            elif packet.type == Packet.ACK:
                current = server.disk.epochs[fx.EpochFile.CURRENT]
                self.ensemble.acked_epoch(server.sid, epoch_of(packet.zxid), current, on_disk)
        server.link.to_leader.append(effect.data)

    def _do_Truncate(self, server, effect):
        disk = server.disk
        disk.sync()
        disk.log = [one for one in disk.log if one.zxid <= effect.zxid]
        assert disk.snapshot_zxid <= effect.zxid
        server.tree = disk.load()
        server.processed = disk.snapshot_zxid

    def _do_LoadSnapshot(self, server, effect):
        pass

    def _do_SaveSnapshot(self, server, effect):
        disk = server.disk
        disk.sync()
        disk.log = [one for one in disk.log if one.zxid <= effect.base]
        disk.snapshot = list(server.tree)
        disk.snapshot_zxid = disk.log_base = max(effect.base, server.last_zxid)

    def _do_AnswerPing(self, server, effect):
        server.link.to_leader.append(packets.ping_answer(effect.zxid, [(server.sid, 4000)]))

    def _do_Touched(self, server, effect):
        assert len(effect.sessions) == 1

    # Roles.

    def look(self, server, reload):
        """Give up the role; the log finishes what it has, and memory must agree with it."""
        self.drop_role(server)
        server.disk.sync()
        loaded = server.disk.load()
        if not reload:
            # As Java does, memory is kept and only takes what the log has beyond it.
            kept = server.tree + [one for one in loaded if one.zxid > server.last_zxid]
            assert kept == loaded, f"server {server.sid}: memory {kept[-2:]} and disk {loaded[-2:]} disagree"
        server.tree = loaded
        server.processed = server.disk.snapshot_zxid

    def drop_role(self, server):
        server.core = server.link = None
        server.serving = False
        for link in list(self.links.values()):
            # A leader may learn late that its learner has left.
            half_open = link.learner is server and not self.healing and self.random.random() < 0.4
            if server in (link.leader, link.learner) and not half_open:
                self.cut(link)

    def crash(self, server):
        server.alive = False
        disk = server.disk
        keep = self.random.randint(0, len(disk.unsynced))
        disk.log += disk.unsynced[:keep]
        disk.unsynced = []
        self.drop_role(server)

    def restart(self, server):
        server.alive = True
        server.tree = server.disk.load()
        server.processed = server.disk.snapshot_zxid

    def lead(self, server):
        self.elections += 1
        server.core = self.leader_class(
            server.sid,
            server,
            OPTIONS,
            verifier=self.verifier,
            last_seen=self.verifier,
            make_verifier=make_verifier,
            accepted_epoch=server.disk.epochs[fx.EpochFile.ACCEPTED],
            summary=server.summary(),
            now_ms=self.now,
        )
        self.perform(server, server.core.start(self.now))

    def follow(self, server, leader):
        self.next_conn += 1
        link = Link(self.next_conn, leader, server, leader.core)
        self.links[link.conn] = server.link = link
        self.perform(leader, leader.core.connected(link.conn, self.now))
        server.core = self.learner_class(
            server.sid,
            observer=server.observer,
            accepted_epoch=server.disk.epochs[fx.EpochFile.ACCEPTED],
            summary=server.summary(),
            config_version=1,
            floor=server.disk.snapshot_zxid,
            snapshot_epoch=server.snapshot_epoch,
            tick_ms=OPTIONS.tick_ms,
            init_limit=OPTIONS.init_limit,
            sync_limit=OPTIONS.sync_limit,
        )
        self.perform(server, server.core.start(self.now))

    def cut(self, link):
        """Both ends learn of it; what is under way may still arrive, as any beginning of it."""
        if link.cut:
            return
        link.cut = True
        del self.links[link.conn]
        leader, learner = link.leader, link.learner
        if leader.core is link.target and leader.core is not None:
            if self.random.random() < 0.5:
                arrived = list(link.to_leader)[: self.random.randint(0, len(link.to_leader))]
                for data in arrived:
                    if leader.core is link.target:
                        self.perform(leader, leader.core.packets(link.conn, link.up_stream.feed(data), self.now))
            if leader.core is link.target:
                self.perform(leader, leader.core.disconnected(link.conn))
        if learner.link is link and learner.core is not None:
            self.perform(learner, learner.core.disconnected("cut"))

    # What may happen.

    def deliver_up(self, link):
        if link.to_leader and link.leader.core is link.target:
            data = link.to_leader.popleft()
            self.perform(link.leader, link.target.packets(link.conn, link.up_stream.feed(data), self.now))

    def deliver_down(self, link):
        server = link.learner
        if not link.to_learner or server.link is not link:
            return
        if isinstance(link.to_learner[0], list):
            server.tree = link.to_learner.popleft()
            server.processed = server.core.last_zxid
            assert link.down_stream.rest() == b""
            self.perform(server, server.core.snapshot_loaded(self.now))
            return
        chunk = b""
        for _ in range(self.random.randint(1, 4)):
            if not link.to_learner or isinstance(link.to_learner[0], list):
                break
            chunk += link.to_learner.popleft()
        self.perform(server, server.core.packets(link.down_stream.feed(chunk), self.now))

    def finish_sync(self, link):
        plan, link.sync = link.sync, None
        if plan is None:
            return
        if plan.op == Packet.SNAP:
            # As it is now: later than the plan, maybe.
            link.to_learner += [packets.encode(Packet.SNAP, plan.zxid), list(link.leader.tree)]
        else:
            try:
                link.to_learner += plan.packets(link.leader)
            except LogChangedError:
                self.cut(link)
                return
        link.to_learner += link.waiting
        link.waiting = []
        if link.leader.core is link.target:
            self.perform(link.leader, link.target.sync_sent(link.conn, self.now))

    def sync_disk(self, server):
        if server.disk.unsynced:
            server.disk.sync()
            if server.core is not None:
                self.perform(server, server.core.logged(server.disk.log[-1].zxid))

    def propose(self, server):
        core = server.core
        if isinstance(core, Leader) and core.phase is LeaderPhase.BROADCAST:
            epoch, counter = epoch_of(core.broadcast.last_proposed), counter_of(core.broadcast.last_proposed)
            batch = []
            for _ in range(self.random.randint(1, 3)):
                self.bodies += 1
                counter += 1
                batch.append(entry(epoch, counter, b"%d" % self.bodies))
            self.perform(server, core.propose(batch))

    def ask_sync(self, server):
        core = server.core
        if isinstance(core, Leader) and self.links:
            conn = self.random.choice(sorted(self.links))
            if self.links[conn].leader is server:
                self.perform(server, core.sync(conn))

    def _do_Synced(self, server, effect):
        pass

    def snapshot(self, server):
        """A snapshot of its own, of what is committed, and a purge of older logs."""
        disk = server.disk
        if server.serving and server.tree and server.last_zxid <= (disk.log[-1].zxid if disk.log else 0):
            disk.snapshot, disk.snapshot_zxid = list(server.tree), server.last_processed
            if self.random.random() < 0.5:
                disk.log = [one for one in disk.log if one.zxid >= server.last_zxid]

    def pass_time(self, step):
        self.now += step
        for server in self.servers.values():
            core = server.core
            if core is not None and core.deadline_ms is not None and core.deadline_ms <= self.now:
                self.perform(server, core.timeout(self.now))

    def elect(self):
        """A server that looks becomes leader; sometimes one that should not."""
        looking = [s for s in self.servers.values() if s.alive and s.core is None and not s.observer]
        quorum = self.verifier.contains_quorum({server.sid for server in looking})
        if quorum:
            best = max(looking, key=lambda server: (server.summary(), server.sid))
            risky = not self.healing and self.random.random() < 0.2
            self.lead(self.random.choice(looking) if risky else best)

    def find_leader(self, server):
        """Connect to a leader; not always the newest one."""
        leaders = [other for other in self.servers.values() if isinstance(other.core, Leader)]
        if leaders:
            newest = max(leaders, key=lambda other: other.disk.epochs[fx.EpochFile.ACCEPTED])
            self.follow(server, newest if self.healing or self.random.random() < 0.8 else self.random.choice(leaders))

    def step(self):
        servers = list(self.servers.values())
        server = self.random.choice(servers)
        kind = self.random.random()
        links = list(self.links.values())
        if kind < 0.60 and links:
            link = self.random.choice(links)
            what = self.random.random()
            if what < 0.48:
                self.deliver_up(link)
            elif what < 0.96:
                self.deliver_down(link)
            else:
                self.finish_sync(link)
        elif kind < 0.74:
            self.sync_disk(server)
        elif kind < 0.86:
            self.propose(server)
        elif kind < 0.88:
            self.ask_sync(server)
        elif kind < 0.93:
            if not server.alive:
                self.restart(server)
            elif server.core is None:
                self.find_leader(server)
        elif kind < 0.95:
            self.elect()
        elif kind < 0.97:
            self.pass_time(self.random.randint(1, 60))
        elif kind < 0.98:
            self.snapshot(server)
        elif kind < 0.984 and links and not self.healing:
            self.cut(self.random.choice(links))
        elif kind < 0.986 and server.alive and not self.healing:
            self.crash(server)
        elif kind < 0.987 and not self.healing and isinstance(server.core, Leader):
            self.look(server, reload=False)

    def run(self, steps):
        for _ in range(steps):
            self.step()

    def heal(self):
        """No more trouble: a leader comes up, commits something new, and everybody has all of it."""
        self.healing = True
        for link in list(self.links.values()):
            self.cut(link)
        for server in self.servers.values():
            if server.core is not None:
                left = server.core.disconnected("heal") if isinstance(server.core, Learner) else ()
                self.look(server, reload=any(effect.reload for effect in left))
        for server in self.servers.values():
            if not server.alive:
                self.restart(server)
        self.elect()
        (leader,) = [server for server in self.servers.values() if isinstance(server.core, Leader)]
        for at in range(60):
            for server in self.servers.values():
                # An observer is sent away while another one is synced.
                if server.core is None:
                    self.follow(server, leader)
            for link in list(self.links.values()):
                self.finish_sync(link)
                while link.to_leader or link.to_learner:
                    self.deliver_up(link)
                    self.deliver_down(link)
            for server in self.servers.values():
                self.sync_disk(server)
            if at % 3 == 0 and at < 50:
                self.propose(leader)
        assert leader.core.phase is LeaderPhase.BROADCAST
        assert len(self.ensemble.delivered) >= 16
        for server in self.servers.values():
            assert server.tree == self.ensemble.delivered
            assert server is leader or server.core.stage is Stage.BROADCAST
