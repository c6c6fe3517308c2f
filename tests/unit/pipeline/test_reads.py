"""Every read: the bytes it answers, its errors and their order, and the watches it leaves."""

from __future__ import annotations

from struct import pack

import pytest
from rig import (
    OPEN,
    Client,
    Event,
    Rig,
    acl_body,
    create_body,
    delete_body,
    event_of,
    multi_body,
    path,
    paths_body,
    set_acl_body,
    set_body,
    stat_of,
    watch_body,
)

from zabra.consts import Op
from zabra.errors import Code

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4
NULL = b"\xff\xff\xff\xff"


def nobody(perms_for_all: int) -> tuple[tuple[int, str, str], ...]:
    """Everyone has these bits, somebody else all of them."""
    return ((perms_for_all, "world", "anyone"), (31, "ip", "10.0.0.1"))


@pytest.fixture
def full(client: Client) -> Client:
    """/a (data, children c b), /null (null data), /closed (READ for nobody)."""
    for body in (
        create_body("/a", b"data"),
        create_body("/a/c"),
        create_body("/a/b"),
        create_body("/a/b/deep"),
        create_body("/null", None),
        create_body("/closed", b"secret", 0, nobody(31 - 1)),
        create_body("/closed/child", b"", 0, nobody(0)),
    ):
        assert client.error(Op.CREATE, body) == 0
    return client


def test_get_data(full: Client) -> None:
    reply = full.ask(Op.GET_DATA, watch_body("/a"))
    stat = stat_of(reply.body)
    assert (reply.err, reply.zxid, reply.body[:8]) == (0, 8, b"\0\0\0\4data")
    assert len(reply.body) == 76
    assert stat == (2, 2, full.rig.clock.wall, full.rig.clock.wall, 0, 2, 0, 0, 4, 2, 4)
    assert full.ask(Op.GET_DATA, watch_body("/null")).body[:4] == NULL
    assert full.ask(Op.GET_DATA, watch_body("/a/b")).body[:4] == b"\0\0\0\0"


def test_exists(full: Client) -> None:
    reply = full.ask(Op.EXISTS, watch_body("/a"))
    assert reply.body == full.ask(Op.GET_DATA, watch_body("/a")).body[8:]


def test_get_children_in_order_of_creation(full: Client) -> None:
    names = paths_body("c", "b")
    assert full.ask(Op.GET_CHILDREN, watch_body("/a")).body == names
    stat = full.ask(Op.EXISTS, watch_body("/a")).body
    assert full.ask(Op.GET_CHILDREN2, watch_body("/a")).body == names + stat
    assert full.ask(Op.GET_CHILDREN, watch_body("/a/c")).body == b"\0\0\0\0"


def test_get_all_children_number(full: Client) -> None:
    """Descendants; of the root, the table's size less two."""
    assert full.ask(Op.GET_ALL_CHILDREN_NUMBER, path("/a")).body == pack(">i", 3)
    assert full.ask(Op.GET_ALL_CHILDREN_NUMBER, path("/")).body == pack(">i", len(full.rig.tree.nodes) - 1)
    assert full.ask(Op.GET_ALL_CHILDREN_NUMBER, path("/a/c")).body == pack(">i", 0)


def test_the_empty_path_names_the_root(full: Client) -> None:
    """The node table holds the root twice."""
    for op, tail in ((Op.EXISTS, b"\0"), (Op.GET_DATA, b"\0"), (Op.GET_CHILDREN, b"\0"), (Op.GET_ACL, b"")):
        assert full.ask(op, path("") + tail)[1:] == full.ask(op, path("/") + tail)[1:]


def test_sync_echoes_any_path(client: Client) -> None:
    """It is neither validated nor looked up; bytes that are no UTF-8 come back replaced, as from Java."""
    for text in ("/none", "no path at all", "", "/ä"):
        reply = client.ask(Op.SYNC, path(text))
        assert (reply.err, reply.zxid, reply.body) == (0, 1, path(text))
    assert client.ask(Op.SYNC, NULL).body == NULL
    assert client.ask(Op.SYNC, b"\0\0\0\2/\xff").body == path("/\ufffd")
    assert client.ask(Op.SYNC, b"\0\0\0\4/\xed\xa0\x80").body == path("/\ufffd"), "half a pair is one character"


def test_ping_has_no_body_and_its_own_xid(client: Client) -> None:
    client.request(Op.PING, xid=77)
    assert client.replies() == [(-2, 1, 0, b"")]


def test_who_am_i(client: Client) -> None:
    """Every identity, ip first; digest shows the user, super (which has no provider) nothing."""
    rig = Rig(super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
    client = rig.client("192.168.1.7")
    client.auth("digest", b"me:secret")
    assert client.auth("digest", b"super:test") == 0
    users = (("ip", "192.168.1.7"), ("digest", "me"), ("super", ""), ("digest", "super"))
    assert client.ask(Op.WHO_AM_I).body == pack(">i", 4) + b"".join(path(scheme) + path(user) for scheme, user in users)


def test_get_ephemerals_matches_a_plain_prefix_of_the_own_session(client: Client) -> None:
    other = client.rig.client()
    client.call(Op.CREATE, create_body("/dir"))
    for name in ("/dir/a", "/dir/ab", "/directory"):
        client.call(Op.CREATE, create_body(name, b"", 1))
    other.call(Op.CREATE, create_body("/dir/other", b"", 1))
    for prefix, names in (
        (path("/dir"), ("/dir/a", "/dir/ab", "/directory")),
        (path("/dir/a"), ("/dir/a", "/dir/ab")),
        (path("/none"), ()),
        (path("/"), ("/dir/a", "/dir/ab", "/directory")),
        (path(""), ("/dir/a", "/dir/ab", "/directory")),
        (path("\x1f/ \0"), ("/dir/a", "/dir/ab", "/directory")),
        (path("/dir/a "), ()),
        (NULL, ("/dir/a", "/dir/ab", "/directory")),
    ):
        assert client.ask(Op.GET_EPHEMERALS, prefix).body == paths_body(*names)
    assert other.ask(Op.GET_EPHEMERALS, path("/")).body == paths_body("/dir/other")
    assert client.rig.client().ask(Op.GET_EPHEMERALS, path("/")).body == paths_body()


def test_get_acl_hides_the_hashes_from_those_without_admin(client: Client) -> None:
    """CVE-2019-0201: READ or ADMIN shows the list, only ADMIN the hashes."""
    hashed = ((1, "world", "anyone"), (31, "digest", "me:Y3KTqMkDjpxGBaeaM77xr+xCErE="))
    masked = ((1, "world", "anyone"), (31, "digest", "me:x"))
    client.call(Op.CREATE, create_body("/read", b"", 0, hashed))
    reply = client.ask(Op.GET_ACL, path("/read"))
    assert reply.body == acl_body(masked) + client.ask(Op.EXISTS, watch_body("/read")).body
    admin = ((16, "world", "anyone"), hashed[1])
    client.call(Op.CREATE, create_body("/admin", b"", 0, admin))
    assert client.ask(Op.GET_ACL, path("/admin")).body[:-68] == acl_body(admin)
    client.call(Op.CREATE, create_body("/none", b"", 0, ((2, "world", "anyone"), hashed[1])))
    assert client.error(Op.GET_ACL, path("/none")) == Code.NO_AUTH
    assert client.ask(Op.GET_ACL, path("/")).body[:-68] == acl_body(OPEN)


def test_the_configuration_node_is_readable_by_all_and_writable_by_super_alone() -> None:
    rig = Rig(super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
    client = rig.client()
    assert client.ask(Op.GET_ACL, path("/zookeeper/config")).body[:-68] == acl_body(((1, "world", "anyone"),))
    assert client.error(Op.SET_DATA, set_body("/zookeeper/config", b"x")) == Code.NO_AUTH
    assert client.auth("digest", b"super:test") == 0
    assert client.error(Op.SET_DATA, set_body("/zookeeper/config", b"x")) == 0


def test_super_and_skip_acl_pass_every_check() -> None:
    for rig in (Rig(super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU="), Rig(skip_acl=True)):
        client = rig.client()
        client.call(Op.CREATE, create_body("/closed", b"", 0, ((31, "ip", "10.0.0.1"),)))
        if not rig.settings.skip_acl:
            assert client.error(Op.GET_DATA, watch_body("/closed")) == Code.NO_AUTH
            assert client.auth("digest", b"super:test") == 0
        for op, body in (
            (Op.GET_DATA, watch_body("/closed")),
            (Op.GET_ACL, path("/closed")),
            (Op.CREATE, create_body("/closed/a")),
            (Op.SET_DATA, set_body("/closed")),
            (Op.SET_ACL, set_acl_body("/closed", nobody(0))),
            (Op.DELETE, delete_body("/closed/a")),
        ):
            assert client.error(op, body) == 0


ERRORS = [
    ("getData: missing", Op.GET_DATA, watch_body("/none", True), Code.NO_NODE),
    ("getData: rights", Op.GET_DATA, watch_body("/closed", True), Code.NO_AUTH),
    ("getData: an illegal path is just missing", Op.GET_DATA, watch_body("no//path\0/", True), Code.NO_NODE),
    ("getData: null path", Op.GET_DATA, NULL + b"\1", Code.MARSHALLING_ERROR),
    ("getData: no watch flag", Op.GET_DATA, path("/a"), Code.MARSHALLING_ERROR),
    ("getData: empty", Op.GET_DATA, b"", Code.MARSHALLING_ERROR),
    ("exists: missing", Op.EXISTS, watch_body("/none"), Code.NO_NODE),
    ("exists: rights", Op.EXISTS, watch_body("/closed", True), Code.NO_AUTH),
    ("exists: NUL before missing", Op.EXISTS, watch_body("/a\0", True), Code.BAD_ARGUMENTS),
    ("exists: null path", Op.EXISTS, NULL + b"\1", Code.MARSHALLING_ERROR),
    ("exists: cut", Op.EXISTS, pack(">i", 9) + b"/a", Code.MARSHALLING_ERROR),
    ("getChildren: missing", Op.GET_CHILDREN, watch_body("/none", True), Code.NO_NODE),
    ("getChildren: rights", Op.GET_CHILDREN, watch_body("/closed", True), Code.NO_AUTH),
    ("getChildren: null path", Op.GET_CHILDREN, NULL + b"\1", Code.MARSHALLING_ERROR),
    ("getChildren2: missing", Op.GET_CHILDREN2, watch_body("/none", True), Code.NO_NODE),
    ("getChildren2: rights", Op.GET_CHILDREN2, watch_body("/closed", True), Code.NO_AUTH),
    ("getACL: missing", Op.GET_ACL, path("/none"), Code.NO_NODE),
    ("getACL: rights", Op.GET_ACL, path("/closed/child"), Code.NO_AUTH),
    ("getACL: null path", Op.GET_ACL, NULL, Code.MARSHALLING_ERROR),
    ("getAllChildrenNumber: missing", Op.GET_ALL_CHILDREN_NUMBER, path("/none"), Code.NO_NODE),
    ("getAllChildrenNumber: rights", Op.GET_ALL_CHILDREN_NUMBER, path("/closed"), Code.NO_AUTH),
    ("getAllChildrenNumber: null path", Op.GET_ALL_CHILDREN_NUMBER, NULL, Code.MARSHALLING_ERROR),
    ("sync: empty", Op.SYNC, b"", Code.MARSHALLING_ERROR),
    ("getEphemerals: empty", Op.GET_EPHEMERALS, b"", Code.MARSHALLING_ERROR),
    ("checkWatches: none", Op.CHECK_WATCHES, path("/a") + pack(">i", 3), Code.NO_WATCHER),
    ("checkWatches: type", Op.CHECK_WATCHES, path("/a") + pack(">i", 6), Code.MARSHALLING_ERROR),
    ("removeWatches: none", Op.REMOVE_WATCHES, path("/a") + pack(">i", 3), Code.NO_WATCHER),
    ("removeWatches: type", Op.REMOVE_WATCHES, path("/a") + pack(">i", 0), Code.MARSHALLING_ERROR),
    ("addWatch: mode", Op.ADD_WATCH, path("/a") + pack(">i", 2), Code.MARSHALLING_ERROR),
    ("addWatch: cut", Op.ADD_WATCH, path("/a"), Code.MARSHALLING_ERROR),
    ("setWatches: cut", Op.SET_WATCHES, pack(">q", 0) + paths_body("/a"), Code.MARSHALLING_ERROR),
    ("multiRead: cut", Op.MULTI_READ, b"", Code.MARSHALLING_ERROR),
    ("multiRead: a write", Op.MULTI_READ, multi_body((Op.DELETE, delete_body("/a"))), Code.MARSHALLING_ERROR),
    ("multiRead: exists", Op.MULTI_READ, multi_body((Op.EXISTS, watch_body("/a"))), Code.MARSHALLING_ERROR),
    ("multiRead: null path", Op.MULTI_READ, multi_body((Op.GET_DATA, NULL + b"\0")), Code.MARSHALLING_ERROR),
]


@pytest.mark.parametrize(("op", "body", "code"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_errors(full: Client, op: int, body: bytes, code: int) -> None:
    """No zxid, no body, no transaction; and no watch but on a missing node that exists asked for."""
    before = len(full.rig.log.durable)
    reply = full.ask(op, body)
    assert (reply.err, reply.body, reply.zxid) == (code, b"", full.rig.tree.last_zxid)
    assert len(full.rig.log.durable) == before
    assert full.rig.tree.watches.count == 0
    assert full.ask(Op.SYNC, path("/")).err == 0


def test_multi_read(full: Client) -> None:
    """Each part answers or fails by itself; the reply's own error is 0."""
    reply = full.ask(
        Op.MULTI_READ,
        multi_body(
            (Op.GET_DATA, watch_body("/a")),
            (Op.GET_CHILDREN, watch_body("/a")),
            (Op.GET_DATA, watch_body("/none")),
            (Op.GET_CHILDREN, watch_body("/closed")),
        ),
    )
    assert reply.err == 0
    assert reply.body == b"".join(
        (
            pack(">i?i", Op.GET_DATA, False, 0) + full.ask(Op.GET_DATA, watch_body("/a")).body,
            pack(">i?i", Op.GET_CHILDREN, False, 0) + paths_body("c", "b"),
            pack(">i?ii", -1, False, Code.NO_NODE, Code.NO_NODE),
            pack(">i?ii", -1, False, Code.NO_AUTH, Code.NO_AUTH),
            pack(">i?i", -1, True, -1),
        )
    )
    assert full.ask(Op.MULTI_READ, multi_body()).body == pack(">i?i", -1, True, -1)


def test_multi_read_sets_no_watch(full: Client) -> None:
    """The flag is dropped while decoding."""
    full.call(
        Op.MULTI_READ, multi_body((Op.GET_DATA, watch_body("/a", True)), (Op.GET_CHILDREN, watch_body("/a", True)))
    )
    assert full.rig.tree.watches.count == 0


# -- watches


def writes(client: Client, *requests: tuple[int, bytes]) -> None:
    """Another client writes."""
    other = client.rig.client()
    for op, body in requests:
        assert other.error(op, body) == 0


def test_one_shot_watches_of_data_exist_and_children(client: Client) -> None:
    """Each fires once, with the zxid of the change (3.9)."""
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.GET_DATA, watch_body("/a", True))
    client.call(Op.GET_CHILDREN2, watch_body("/a", True))
    client.call(Op.EXISTS, watch_body("/a/b", True))
    client.call(Op.GET_CHILDREN, watch_body("/", True))
    writes(
        client,
        (Op.SET_DATA, set_body("/a")),
        (Op.SET_DATA, set_body("/a")),
        (Op.SET_ACL, set_acl_body("/a")),
        (Op.CREATE, create_body("/a/b")),
        (Op.CREATE, create_body("/a/c")),
        (Op.DELETE, delete_body("/a/b")),
        (Op.CREATE, create_body("/d")),
    )
    assert client.events() == [
        Event(CHANGED, b"/a", 4),
        Event(CREATED, b"/a/b", 7),
        Event(CHILDREN, b"/a", 7),
        Event(CHILDREN, b"/", 10),
    ]
    assert client.rig.tree.watches.count == 0


def test_exists_watches_a_missing_node_get_data_and_get_children_do_not(client: Client) -> None:
    for op in (Op.GET_DATA, Op.GET_CHILDREN, Op.GET_CHILDREN2):
        client.call(op, watch_body("/a", True))
    writes(client, (Op.CREATE, create_body("/a")))
    assert client.events() == []
    assert client.error(Op.EXISTS, watch_body("/b", True)) == Code.NO_NODE
    writes(client, (Op.CREATE, create_body("/b")))
    assert [event.path for event in client.events()] == [b"/b"]


def test_a_deleted_node_tells_each_connection_once(client: Client) -> None:
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.GET_DATA, watch_body("/a", True))
    client.call(Op.GET_CHILDREN, watch_body("/a", True))
    child_only = client.rig.client()
    child_only.call(Op.GET_CHILDREN, watch_body("/a", True))
    writes(client, (Op.DELETE, delete_body("/a")))
    zxid = client.rig.tree.last_zxid
    assert client.events() == child_only.events() == [Event(DELETED, b"/a", zxid)]


@pytest.mark.parametrize("mode", [0, 1])
def test_add_watch(client: Client, mode: int) -> None:
    """Persistent watches stay, on nodes that do not exist too; recursive ones hear of everything below."""
    reply = client.ask(Op.ADD_WATCH, path("/a") + pack(">i", mode))
    assert (reply.err, reply.body) == (0, b"\0\0\0\0")
    writes(
        client,
        (Op.CREATE, create_body("/a")),
        (Op.SET_DATA, set_body("/a")),
        (Op.CREATE, create_body("/a/b")),
        (Op.SET_DATA, set_body("/a/b")),
        (Op.DELETE, delete_body("/a/b")),
        (Op.DELETE, delete_body("/a")),
        (Op.CREATE, create_body("/a")),
    )
    persistent = [
        Event(CREATED, b"/a", 3),
        Event(CHANGED, b"/a", 4),
        Event(CHILDREN, b"/a", 5),
        Event(CHILDREN, b"/a", 7),
        Event(DELETED, b"/a", 8),
        Event(CREATED, b"/a", 9),
    ]
    recursive = [
        Event(CREATED, b"/a", 3),
        Event(CHANGED, b"/a", 4),
        Event(CREATED, b"/a/b", 5),
        Event(CHANGED, b"/a/b", 6),
        Event(DELETED, b"/a/b", 7),
        Event(DELETED, b"/a", 8),
        Event(CREATED, b"/a", 9),
    ]
    assert client.events() == (recursive if mode else persistent)


def test_add_watch_without_a_path_is_refused(client: Client) -> None:
    """Apache registers a watch that nothing can fire."""
    assert client.error(Op.ADD_WATCH, NULL + pack(">i", 0)) == Code.MARSHALLING_ERROR
    assert client.rig.tree.watches.count == 0


def test_nothing_watches_a_null_path(client: Client) -> None:
    """It does not stand for the empty one."""
    client.call(Op.EXISTS, watch_body("", True))
    assert client.error(Op.CHECK_WATCHES, path("") + pack(">i", 3)) == 0
    for op in (Op.CHECK_WATCHES, Op.REMOVE_WATCHES):
        assert client.error(op, NULL + pack(">i", 3)) == Code.NO_WATCHER
        assert client.error(op, NULL + pack(">i", 6)) == Code.MARSHALLING_ERROR
    assert client.error(Op.REMOVE_WATCHES, path("") + pack(">i", 3)) == 0


def test_check_and_remove_watches(client: Client) -> None:
    """By type and for this connection; types 1 and 2 mean one-shot watches only. No event tells of a removal."""
    client.call(Op.CREATE, create_body("/a"))
    other = client.rig.client()
    for one in (client, other):
        one.call(Op.GET_DATA, watch_body("/a", True))
        one.call(Op.ADD_WATCH, path("/a") + pack(">i", 0))
    there = {type_: client.error(Op.CHECK_WATCHES, path("/a") + pack(">i", type_)) for type_ in (1, 2, 3, 4, 5)}
    assert there == {1: Code.NO_WATCHER, 2: 0, 3: 0, 4: 0, 5: Code.NO_WATCHER}
    reply = client.ask(Op.REMOVE_WATCHES, path("/a") + pack(">i", 2))
    assert (reply.err, reply.body) == (0, b"")
    assert client.error(Op.REMOVE_WATCHES, path("/a") + pack(">i", 2)) == Code.NO_WATCHER
    assert client.error(Op.REMOVE_WATCHES, path("/a") + pack(">i", 3)) == 0
    writes(client, (Op.SET_DATA, set_body("/a")))
    assert client.events() == []
    assert len(other.events()) == 1


def test_removing_one_kind_keeps_the_others(client: Client) -> None:
    """ZOOKEEPER-4475, 4466: modes on one path do not disturb each other."""
    client.call(Op.CREATE, create_body("/a"))
    client.call(Op.ADD_WATCH, path("/a") + pack(">i", 1))
    client.call(Op.ADD_WATCH, path("/a") + pack(">i", 0))
    client.call(Op.GET_CHILDREN, watch_body("/a", True))
    assert client.error(Op.REMOVE_WATCHES, path("/a") + pack(">i", 5)) == 0
    writes(client, (Op.CREATE, create_body("/a/b")), (Op.CREATE, create_body("/a/c")))
    assert [event[:2] for event in client.events()] == [(CHILDREN, b"/a"), (CHILDREN, b"/a")]
    client.call(Op.ADD_WATCH, path("/a") + pack(">i", 1))
    assert client.error(Op.REMOVE_WATCHES, path("/a") + pack(">i", 4)) == 0
    writes(client, (Op.DELETE, delete_body("/a/b")), (Op.SET_DATA, set_body("/a")))
    assert [event[:2] for event in client.events()] == [(DELETED, b"/a/b"), (CHANGED, b"/a")]


def rearm_body(relative: int, *lists: tuple[str, ...]) -> bytes:
    return pack(">q", relative) + b"".join(paths_body(*names) for names in lists)


@pytest.mark.parametrize("op", [Op.SET_WATCHES, Op.SET_WATCHES2])
def test_set_watches_catches_up(client: Client, op: int) -> None:
    """What was missed comes as events without zxid, before the reply; the rest is armed again."""
    for name in ("/same", "/changed", "/gone", "/children"):
        client.call(Op.CREATE, create_body(name))
    seen = client.rig.tree.last_zxid
    writes(
        client,
        (Op.SET_DATA, set_body("/changed")),
        (Op.DELETE, delete_body("/gone")),
        (Op.CREATE, create_body("/children/new")),
        (Op.CREATE, create_body("/born")),
    )
    lists: list[tuple[str, ...]] = [
        ("/same", "/changed", "/gone"),
        ("/born", "/unborn"),
        ("/same", "/children", "/gone"),
    ]
    if op == Op.SET_WATCHES2:
        lists += [("/persistent",), ("/recursive",)]
    client.request(op, rearm_body(seen, *lists), xid=-8)
    *events, reply = client.replies()
    assert [event_of(event) for event in events] == [
        Event(CHANGED, b"/changed", -1),
        Event(DELETED, b"/gone", -1),
        Event(CREATED, b"/born", -1),
        Event(CHILDREN, b"/children", -1),
        Event(DELETED, b"/gone", -1),
    ]
    assert reply == (-8, client.rig.tree.last_zxid, 0, b"")
    writes(
        client,
        *((Op.SET_DATA, set_body(name)) for name in ("/changed", "/same", "/born", "/same")),
        (Op.CREATE, create_body("/unborn")),
        (Op.CREATE, create_body("/same/child")),
        (Op.CREATE, create_body("/children/child")),
        (Op.CREATE, create_body("/persistent")),
        (Op.CREATE, create_body("/persistent/child")),
        (Op.CREATE, create_body("/recursive")),
        (Op.CREATE, create_body("/recursive/child")),
    )
    armed = [(CHANGED, b"/same"), (CREATED, b"/unborn"), (CHILDREN, b"/same")]
    if op == Op.SET_WATCHES2:
        armed += [(CREATED, b"/persistent"), (CHILDREN, b"/persistent")]
        armed += [(CREATED, b"/recursive"), (CREATED, b"/recursive/child")]
    assert [event[:2] for event in client.events()] == armed


def test_set_watches_with_nulls_registers_nothing(client: Client) -> None:
    """Apache registers a watch that nothing can fire."""
    client.call(Op.CREATE, create_body("/a"))
    body = pack(">q", 99) + paths_body("/a") + pack(">i", 1) + NULL + paths_body()
    client.request(Op.SET_WATCHES, body, xid=-8)
    assert [reply[2:] for reply in client.replies()] == [(Code.MARSHALLING_ERROR, b"")]
    assert client.rig.tree.watches.count == 0


def test_set_watches_asks_for_no_right_but_events_do(client: Client) -> None:
    """CVE-2024-23944: watches of every kind may be set on a closed node; what happens there is not told."""
    client.call(Op.CREATE, create_body("/closed", b"", 0, nobody(31 - 1)))
    client.call(Op.SET_WATCHES2, rearm_body(99, ("/closed",), (), ("/closed",), ("/closed",), ("/closed",)))
    client.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    reader = client.rig.client("10.0.0.1")
    reader.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    reader.call(Op.ADD_WATCH, path("/closed") + pack(">i", 0))
    writes(
        client,
        (Op.SET_DATA, set_body("/closed")),
        (Op.CREATE, create_body("/closed/open")),
        (Op.CREATE, create_body("/closed/secret", b"", 0, nobody(0))),
        (Op.DELETE, delete_body("/closed/secret")),
        (Op.SET_ACL, set_acl_body("/closed", OPEN)),
        (Op.SET_DATA, set_body("/closed")),
    )
    assert [event[:2] for event in client.events()] == [(CREATED, b"/closed/open"), (CHANGED, b"/closed")]
    assert [event[:2] for event in reader.events()] == [
        (CHANGED, b"/closed"),
        (CREATED, b"/closed/open"),
        (CHILDREN, b"/closed"),
        (CREATED, b"/closed/secret"),
        (CHILDREN, b"/closed"),
        (DELETED, b"/closed/secret"),
        (CHILDREN, b"/closed"),
        (CHANGED, b"/closed"),
    ]


def test_watches_die_with_their_connection(client: Client) -> None:
    """A renewed session has none until it sets them again."""
    client.call(Op.GET_CHILDREN, watch_body("/", True))
    client.call(Op.ADD_WATCH, path("/") + pack(">i", 1))
    client.cut()
    assert client.rig.tree.watches.count == 0
    again = client.rig.client(session_id=client.session_id, password=client.password)
    writes(client, (Op.CREATE, create_body("/a")))
    assert again.session_id == client.session_id
    assert again.events() == []
