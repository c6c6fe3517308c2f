"""Looks into a server from outside: is its tree the model's, are its counters and queues what they must be."""

from __future__ import annotations

from zabra.config.model import Settings
from zabra.consts import CONTAINER_OWNER
from zabra.node import Server
from zabra.pipeline.local import LocalPipeline
from zabra.sim.disk import MachineDisk, ProcessDisk
from zabra.sim.loop import Process
from zabra.sim.model import Model, ModelNode
from zabra.sim.network import Network
from zabra.sim.violation import Violation, difference
from zabra.sim.watchbook import CONFIG
from zabra.storage.snapstore import SnapshotStore, zxid_of_snapshot
from zabra.tree.owner import OwnerRules
from zabra.tree.tree import DataTree

_STATS = b"/zookeeper_stats"
#: Bytes a connection may have unsent, and requests it may have unanswered, whatever happens.
_UNSENT_MAX = (1 << 26) + (1 << 21)
_WAITING_MAX = 100_000


def check_tree(server: Server, model: Model) -> None:
    """The server's tree is that of the end of the history."""
    if server.tree.last_zxid != model.zxid:
        raise Violation(f"the tree is at 0x{server.tree.last_zxid:x}, the log at 0x{model.zxid:x}")
    check_tree_at(server, model, model.zxid)


def check_tree_at(server: Server, model: Model, zxid: int) -> None:
    """The server's tree, its indexes and sessions are the model's, and its digest is the sum over the nodes."""
    tree = server.tree
    nodes = dict(model.nodes_at(zxid))
    sessions = model.sessions_at(zxid)
    _same("paths", sorted(tree.nodes), sorted(nodes))
    ephemerals: dict[int, list[bytes]] = {}
    containers: list[bytes] = []
    ttls: list[bytes] = []
    for path, node in nodes.items():
        _check_node(tree, path, node, model.names_at(path, zxid))
        if node.owner > 0:
            ephemerals.setdefault(node.owner, []).append(path)
        elif node.owner == CONTAINER_OWNER:
            containers.append(path)
        elif node.owner:
            ttls.append(path)
    _same("ephemerals", {owner: sorted(own) for owner, own in tree.ephemerals.items()}, _sorted(ephemerals))
    _same("containers", sorted(tree.containers), sorted(containers))
    _same("TTL nodes", sorted(tree.ttls), sorted(ttls))
    _same("sessions", server.db.sessions, sessions)
    for owner in ephemerals:
        if owner not in sessions:
            raise Violation(f"session {owner:x} is gone and still has {ephemerals[owner]}")
    if server.settings.digest_enabled:
        _same("digest", tree.digest, model.digest_at(zxid))
        # A snapshot shows one moment, so the log always agrees with it.
        _same("digests that did not match", tree.digest_mismatches, 0)
    size = sum(len(path) + len(node.data or b"") for path, node in tree.nodes.items())
    _same("data size", tree.data_size, size)


def check_snapshot(disk: MachineDisk, path: str, model: Model, settings: Settings) -> None:
    """A snapshot shows the tree and the sessions of the one moment that its name tells."""
    folder, _, name = path.rpartition("/")
    zxid = zxid_of_snapshot(name)
    if zxid < 0:
        return
    tree = DataTree(OwnerRules(extended=settings.extended_types_enabled))
    sessions: dict[int, int] = {}
    SnapshotStore(ProcessDisk(disk, Process("checker")), folder).load(name, tree, sessions)
    wanted = dict(model.nodes_at(zxid))
    _same(f"paths in {name}", sorted(tree.nodes), sorted(wanted))
    for path_, node in wanted.items():
        _check_node(tree, path_, node, model.names_at(path_, zxid))
    _same(f"sessions in {name}", sessions, model.sessions_at(zxid))


def _check_node(tree: DataTree, path: bytes, wanted: ModelNode, names: tuple[bytes, ...]) -> None:
    node = tree.nodes[path]
    if path == CONFIG:
        return
    _same(f"children of {path!r}", sorted(node.children or ()), sorted(names))
    _same(f"ACL of {path!r}", node.acl, wanted.acl)
    _same(f"owner of {path!r}", node.owner, wanted.owner)
    stat = wanted.stat(len(names))
    if path.endswith(_STATS):
        # Their data is the server's own count.
        stat = stat[:52] + node.stat[52:56] + stat[56:]
    else:
        _same(f"data of {path!r}", node.data, wanted.data)
    _same(f"stat of {path!r}", node.stat, stat)
    if tree.digest_enabled:
        _same(f"digest of {path!r}", node.digest, wanted.digest(path))


def check_quotas(server: Server) -> None:
    """Each quota counts what is there."""
    nodes = server.tree.nodes
    for prefix in server.tree.quotas.prefixes:
        stats = nodes.get(b"/zookeeper/quota" + prefix + _STATS)
        if stats is None:
            continue
        under = [node for path, node in nodes.items() if path == prefix or path.startswith(prefix + b"/")]
        text = f"count={len(under)},bytes={sum(len(node.data or b'') for node in under)}"
        _same(f"quota of {prefix!r}", (stats.data or b"").decode(), text)


def check_bounds(server: Server, network: Network) -> None:
    """No queue has grown without end."""
    for connection in server.hub.connections:
        if connection.waiting > _WAITING_MAX:
            raise Violation(f"{connection.waiting} requests of one connection wait")
    for end in network.ends:
        if end.get_write_buffer_size() > _UNSENT_MAX:
            raise Violation(f"{end.get_write_buffer_size()} bytes of one connection are unsent")


def check_idle(server: Server) -> None:
    """Nothing is on its way: then nothing is kept for it either."""
    pipeline = server.pipeline
    _same("outstanding writes", pipeline.outstanding, 0)
    if isinstance(pipeline, LocalPipeline):
        _same("pending changes", pipeline.prep.pending.changes, {})
    _same("connections to write to", server.hub.dirty, [])
    _same("connections held back", server.hub.held, [])
    for connection in server.hub.connections:
        _same("requests that wait", connection.waiting, 0)


def _sorted(lists: dict[int, list[bytes]]) -> dict[int, list[bytes]]:
    return {key: sorted(values) for key, values in lists.items()}


def _same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Violation(f"{what}: {difference(found, wanted)}")
