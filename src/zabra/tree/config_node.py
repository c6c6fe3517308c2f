"""``/zookeeper/config``, where clients read the membership.

It is written by reconfigs like any other node, and besides by every server for itself whenever a membership comes into
force there: at the start and at the end of a synchronisation no transaction brings it. Such a write has the version of
the membership as its zxid. Nodes below ``/zookeeper`` do not count in the digest, so servers may differ in its mtime.

Source: ``ZKDatabase.initConfigInZKDatabase``, ``DataTree.addConfigNode`` (3.9.5).
"""

from __future__ import annotations

from typing import Final

from zabra import paths
from zabra.config.dynamic import EnsembleConfig
from zabra.tree.node import READ_ACL, STAT, after_child_change, after_set_data, make_node
from zabra.tree.tree import DataTree

#: The version of its data and of its ACL, whatever happens to it.
CONFIG_NODE_VERSION: Final = -1


def write_config(tree: DataTree, config: EnsembleConfig, time_ms: int) -> None:
    """Show ``config`` to clients; their data watches fire. ``time_ms`` is the wall clock."""
    if paths.CONFIG not in tree.nodes:
        _add(tree, config.version)
    text = config.text().encode()
    new = after_set_data(tree.nodes[paths.CONFIG], paths.CONFIG, text, CONFIG_NODE_VERSION, config.version, time_ms)
    tree.install_set(paths.CONFIG, new, config.version)


def _add(tree: DataTree, zxid: int) -> None:
    """A tree from before ZooKeeper 3.5 has no such node."""
    stat = STAT.pack(0, 0, 0, 0, 0, 0, CONFIG_NODE_VERSION, 0, 0, 0, 0)
    parent = after_child_change(tree.nodes[paths.ZOOKEEPER], paths.ZOOKEEPER, 0, 0, 1)
    tree.install_create(paths.CONFIG, make_node(b"", stat, READ_ACL, 0, 0, 0), paths.ZOOKEEPER, parent, zxid)
