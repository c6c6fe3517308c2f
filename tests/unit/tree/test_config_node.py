"""/zookeeper/config as servers write it for themselves; the expected stat is that of Apache's servers."""

from zabra import paths
from zabra.config.dynamic import parse_config
from zabra.tree.config_node import write_config
from zabra.tree.dump import Dump
from zabra.tree.node import READ_ACL, STAT
from zabra.tree.tree import DataTree
from zabra.tree.watches import ONE_SHOT

CONFIG = parse_config("server.1=a:1:2;2181\nserver.2=b:1:2\nversion=100000000")
TEXT = b"server.1=a:1:2:participant;0.0.0.0:2181\nserver.2=b:1:2:participant\nversion=100000000"


def test_the_membership_is_the_data_and_its_version_the_zxid():
    tree = DataTree()
    before = tree.digest
    size = tree.data_size
    write_config(tree, CONFIG, 1795653039009)
    node = tree.nodes[paths.CONFIG]
    assert node.data == TEXT
    assert STAT.unpack(node.stat) == (0, 0x100000000, 0, 1795653039009, -1, 0, -1, 0, len(TEXT), 0, 0)
    assert node.acl == READ_ACL
    assert (tree.digest, tree.last_zxid, tree.data_size) == (before, 0, size + len(TEXT))
    write_config(tree, CONFIG.with_version(0), 5)
    assert STAT.unpack(tree.nodes[paths.CONFIG].stat)[:5] == (0, 0, 0, 5, -1)


def test_clients_that_watch_it_are_told():
    tree = DataTree()
    told = []
    tree.deliver = lambda watchers, *event: told.append((list(watchers), *event))
    tree.watches.data.add(paths.CONFIG, "client", ONE_SHOT)
    write_config(tree, CONFIG, 1)
    assert told == [(["client"], 3, paths.CONFIG, 0x100000000, READ_ACL)]


def test_a_tree_of_old_gets_the_node():
    tree = DataTree()
    fresh = tree.nodes[paths.CONFIG].stat
    count, before = tree.node_count, tree.nodes[paths.ZOOKEEPER].stat
    parent = tree.nodes[paths.ZOOKEEPER]
    assert parent.children is not None
    del parent.children[b"config"], tree.nodes[paths.CONFIG]
    fields = list(STAT.unpack(parent.stat))
    parent.stat = STAT.pack(*fields[:5], fields[5] + 1, *fields[6:9], fields[9] - 1, fields[10])
    write_config(tree, CONFIG, 0)
    assert tree.nodes[paths.ZOOKEEPER].stat == before
    assert tree.node_count == count
    assert tree.nodes[paths.CONFIG].stat[40:44] == fresh[40:44]
    assert tree.nodes[paths.CONFIG].acl == READ_ACL
    assert TEXT in Dump(tree, {}).next_chunk(100)
