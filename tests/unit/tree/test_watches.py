"""The watch tables, alone and against a plain model."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zabra.consts import EventType
from zabra.errors import Code, RequestError
from zabra.tree.watches import (
    ONE_SHOT,
    PERSISTENT,
    RECURSIVE,
    Rearm,
    WatcherType,
    Watches,
    WatchTable,
    set_watches,
)

CREATED, DELETED, CHANGED, CHILDREN = (
    EventType.CREATED,
    EventType.DELETED,
    EventType.DATA_CHANGED,
    EventType.CHILDREN_CHANGED,
)


class Watcher:
    """Stands for a connection."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


A, B, C = Watcher("A"), Watcher("B"), Watcher("C")


def test_one_shot_fires_once() -> None:
    """A one-shot watch is gone after its first event."""
    table = WatchTable()
    table.add(b"/a", A, ONE_SHOT)
    assert table.trigger(CHANGED, b"/a") == [A]
    assert table.trigger(CHANGED, b"/a") == []
    assert b"/a" not in table.by_path
    assert table.summary() == (0, 0, 0)


def test_persistent_stays() -> None:
    """A persistent watch fires for every event on its own node and for no other node."""
    table = WatchTable()
    table.add(b"/a", A, PERSISTENT)
    assert [table.trigger(kind, b"/a") for kind in (CREATED, CHANGED, DELETED)] == [[A], [A], [A]]
    assert table.trigger(CREATED, b"/a/b") == []


def test_modes_coexist() -> None:
    """Firing takes the one-shot bit away and leaves the persistent ones; it is one event and one watch."""
    table = WatchTable()
    table.add(b"/a", A, ONE_SHOT)
    table.add(b"/a", A, PERSISTENT)
    table.add(b"/a", A, RECURSIVE)
    assert table.count == 1
    assert table.trigger(CHANGED, b"/a") == [A]
    assert table.mode(b"/a", A) == PERSISTENT | RECURSIVE
    assert table.trigger(CHANGED, b"/a") == [A]


def test_of_several_watchers_the_persistent_ones_stay() -> None:
    """Whoever has a one-shot watch on another path keeps that one."""
    table = WatchTable()
    table.add(b"/a", A, ONE_SHOT)
    table.add(b"/a", B, PERSISTENT)
    table.add(b"/a", C, ONE_SHOT)
    table.add(b"/b", C, ONE_SHOT)
    assert table.trigger(CHANGED, b"/a") == [A, B, C]
    assert table.trigger(CHANGED, b"/a") == [B]
    assert table.summary() == (2, 2, 2)
    assert table.trigger(CHANGED, b"/b") == [C]
    table.remove_watcher(B)
    assert table.summary() == (0, 0, 0)


def test_same_watch_twice_counts_once() -> None:
    """Adding what is there already changes no count."""
    table = WatchTable()
    for _ in range(2):
        table.add(b"/a", A, ONE_SHOT)
        table.add(b"/a", A, RECURSIVE)
    assert (table.count, table.recursive_count) == (1, 1)


def test_order_is_registration() -> None:
    """Watchers hear in the order in which they came, whoever left in between."""
    table = WatchTable()
    for watcher in (C, A, B):
        table.add(b"/a", watcher, ONE_SHOT)
    table.remove(b"/a", A, ONE_SHOT)
    table.add(b"/a", A, ONE_SHOT)
    assert table.trigger(CHANGED, b"/a") == [C, B, A]


def test_recursive_fires_for_descendants() -> None:
    """A recursive watch hears of its node and everything below, and survives its node."""
    table = WatchTable()
    table.add(b"/a", A, RECURSIVE)
    assert table.trigger(CREATED, b"/a/b/c") == [A]
    assert table.trigger(DELETED, b"/a") == [A]
    assert table.trigger(CREATED, b"/a") == [A]
    assert table.trigger(CREATED, b"/ab") == []
    assert table.trigger(CREATED, b"/") == []


def test_recursive_on_root() -> None:
    """A recursive watch on the root hears of every node, the root included."""
    table = WatchTable()
    table.add(b"/", A, RECURSIVE)
    assert table.trigger(CREATED, b"/a") == [A]
    assert table.trigger(CREATED, b"/a/b") == [A]
    assert table.trigger(CHANGED, b"/") == [A]


def test_recursive_never_hears_children_changed() -> None:
    """Children-changed does not travel up."""
    table = WatchTable()
    table.add(b"/", A, RECURSIVE)
    assert table.trigger(CHILDREN, b"/a") == []


def test_one_event_however_many_watches() -> None:
    """Watching the node and two of its ancestors gives one event, the node's own watchers first."""
    table = WatchTable()
    table.add(b"/", A, RECURSIVE)
    table.add(b"/", C, RECURSIVE)
    table.add(b"/a", A, RECURSIVE)
    table.add(b"/a/b", B, ONE_SHOT)
    table.add(b"/a/b", A, ONE_SHOT)
    assert table.trigger(CHANGED, b"/a/b") == [B, A, C]
    assert table.trigger(CHANGED, b"/a/b") == [A, C]


def test_suppressed_watchers_lose_their_one_shot() -> None:
    """Who was told by the data table is not told by the child table, but its one-shot watch is used up."""
    watches = Watches()
    watches.data.add(b"/a", A, ONE_SHOT)
    watches.child.add(b"/a", A, ONE_SHOT)
    watches.child.add(b"/a", B, ONE_SHOT)
    told = watches.data.trigger(DELETED, b"/a")
    assert told == [A]
    assert watches.child.trigger(DELETED, b"/a", told) == [B]
    assert watches.count == 0


def test_remove_watcher_forgets_everything() -> None:
    """The end of a connection takes its watches of all modes out of both tables."""
    watches = Watches()
    watches.data.add(b"/a", A, ONE_SHOT)
    watches.data.add(b"/a", B, ONE_SHOT)
    watches.add_persistent(b"/p", A, 0)
    watches.add_persistent(b"/r", A, 1)
    watches.remove_watcher(A)
    watches.remove_watcher(C)
    assert watches.count == 1
    assert watches.data.recursive_count == 0
    assert watches.data.trigger(CREATED, b"/r/x") == []
    assert watches.data.trigger(CHANGED, b"/a") == [B]


def test_add_watch_modes() -> None:
    """Persistent goes to both tables, recursive to the data table, any other mode is refused."""
    watches = Watches()
    watches.add_persistent(b"/p", A, 0)
    watches.add_persistent(b"/r", A, 1)
    assert (watches.data.mode(b"/p", A), watches.child.mode(b"/p", A)) == (PERSISTENT, PERSISTENT)
    assert (watches.data.mode(b"/r", A), watches.child.mode(b"/r", A)) == (RECURSIVE, 0)
    for mode in (-1, 2):
        with pytest.raises(RequestError) as refused:
            watches.add_persistent(b"/x", A, mode)
        assert refused.value.code == Code.MARSHALLING_ERROR


def all_kinds() -> Watches:
    watches = Watches()
    watches.data.add(b"/a", A, ONE_SHOT)
    watches.child.add(b"/a", A, ONE_SHOT)
    watches.add_persistent(b"/a", A, 0)
    watches.add_persistent(b"/a", A, 1)
    return watches


@pytest.mark.parametrize(
    ("kind", "data_left", "child_left"),
    [
        (WatcherType.CHILDREN, ONE_SHOT | PERSISTENT | RECURSIVE, PERSISTENT),
        (WatcherType.DATA, PERSISTENT | RECURSIVE, ONE_SHOT | PERSISTENT),
        (WatcherType.ANY, 0, 0),
        (WatcherType.PERSISTENT, ONE_SHOT | RECURSIVE, ONE_SHOT),
        (WatcherType.PERSISTENT_RECURSIVE, ONE_SHOT | PERSISTENT, ONE_SHOT | PERSISTENT),
    ],
)
def test_remove_by_type(kind: int, data_left: int, child_left: int) -> None:
    """Each type of removeWatches takes exactly its modes, is found before and not after."""
    watches = all_kinds()
    assert watches.contains(b"/a", A, kind)
    assert not watches.contains(b"/a", B, kind)
    assert not watches.contains(b"/b", A, kind)
    assert watches.remove(b"/a", A, kind)
    assert (watches.data.mode(b"/a", A), watches.child.mode(b"/a", A)) == (data_left, child_left)
    assert not watches.contains(b"/a", A, kind)
    assert not watches.remove(b"/a", A, kind)


@pytest.mark.parametrize("kind", [0, 6, -1])
def test_unknown_watcher_type(kind: int) -> None:
    """An unknown type is a record that does not parse."""
    watches = all_kinds()
    for call in (watches.remove, watches.contains):
        with pytest.raises(RequestError) as refused:
            call(b"/a", A, kind)
        assert refused.value.code == Code.MARSHALLING_ERROR


def test_summaries() -> None:
    """The four-letter words see the data table by path and by watcher."""
    table = WatchTable()
    table.add(b"/a", A, ONE_SHOT)
    table.add(b"/a", B, PERSISTENT)
    table.add(b"/b", A, RECURSIVE)
    assert table.summary() == (2, 2, 3)
    assert list(table.paths_with_watchers()) == [(b"/a", [A, B]), (b"/b", [A])]
    assert list(table.watchers_with_paths()) == [(A, [b"/a", b"/b"]), (B, [b"/a"])]


NODES = {b"/old": (5, 5), b"/set": (20, 5), b"/kids": (5, 20)}


def test_set_watches_finds_what_was_missed() -> None:
    """Each missed event is told in order and not registered; everything else is registered and told nothing."""
    watches = Watches()
    every = (b"/old", b"/set", b"/kids", b"/gone")
    missed = set_watches(watches, A, 10, Rearm(every, every, every, (b"/p",), (b"/r",)), NODES.get)
    assert missed == [
        (CHANGED, b"/set"),
        (DELETED, b"/gone"),
        (CREATED, b"/old"),
        (CREATED, b"/set"),
        (CREATED, b"/kids"),
        (CHILDREN, b"/kids"),
        (DELETED, b"/gone"),
    ]
    data = {path: watches.data.mode(path, A) for path in (*every, b"/p", b"/r")}
    assert data == {
        b"/old": ONE_SHOT,
        b"/set": 0,
        b"/kids": ONE_SHOT,
        b"/gone": ONE_SHOT,
        b"/p": PERSISTENT,
        b"/r": RECURSIVE,
    }
    child = {path: watches.child.mode(path, A) for path in (*every, b"/p", b"/r")}
    assert child == {b"/old": ONE_SHOT, b"/set": ONE_SHOT, b"/kids": 0, b"/gone": 0, b"/p": PERSISTENT, b"/r": 0}


def test_set_watches_boundary() -> None:
    """A change at exactly the client's zxid was seen by it."""
    watches = Watches()
    assert set_watches(watches, A, 5, Rearm((b"/old",), (), (b"/old",)), NODES.get) == []
    assert watches.count == 2


@pytest.mark.parametrize(
    "lists", [Rearm((b"/a",), None, ()), Rearm((b"/a",), (), (None,)), Rearm((b"/a",), (), (), (), None)]
)
def test_set_watches_refuses_nulls(lists: Rearm) -> None:
    """Null lists and null paths are refused before anything is registered."""
    watches = Watches()
    with pytest.raises(RequestError) as refused:
        set_watches(watches, A, 10, lists, {b"/a": (1, 1)}.get)
    assert refused.value.code == Code.MARSHALLING_ERROR
    assert watches.count == 0


class Model:
    """The same table with nothing but a list of [path, watcher, mode] in order of registration."""

    def __init__(self) -> None:
        self.rows: list[list[object]] = []

    def row(self, path: bytes, watcher: object) -> list[object] | None:
        return next((row for row in self.rows if row[0] == path and row[1] is watcher), None)

    def add(self, path: bytes, watcher: object, mode: int) -> None:
        row = self.row(path, watcher)
        if row is None:
            self.rows.append([path, watcher, mode])
        else:
            row[2] |= mode  # type: ignore[operator]

    def remove(self, path: bytes, watcher: object, mode: int) -> bool:
        row = self.row(path, watcher)
        if row is None or not row[2] & mode:  # type: ignore[operator]
            return False
        row[2] &= ~mode  # type: ignore[operator]
        self.sweep()
        return True

    def remove_watcher(self, watcher: object) -> None:
        self.rows = [row for row in self.rows if row[1] is not watcher]

    def trigger(self, event_type: int, path: bytes, suppress: Iterable[object]) -> set[object]:
        told = set()
        for row in self.rows:
            at, watcher, mode = row
            above = at == b"/" or path.startswith(at + b"/")  # type: ignore[operator]
            if at == path or (above and mode & RECURSIVE and event_type != CHILDREN):  # type: ignore[operator]
                told.add(watcher)
            if at == path:
                row[2] &= ~ONE_SHOT  # type: ignore[operator]
        self.sweep()
        return told - set(suppress)

    def sweep(self) -> None:
        self.rows = [row for row in self.rows if row[2]]


paths = st.sampled_from([b"/", b"/a", b"/ab", b"/a/b", b"/a/b/c", b"/c"])
watchers = st.sampled_from([A, B, C])
steps = st.one_of(
    st.tuples(st.just("add"), paths, watchers, st.sampled_from([ONE_SHOT, PERSISTENT, RECURSIVE])),
    st.tuples(st.just("remove"), paths, watchers, st.integers(1, 7)),
    st.tuples(st.just("leave"), watchers),
    st.tuples(st.just("trigger"), st.sampled_from([CREATED, DELETED, CHANGED, CHILDREN]), paths, st.lists(watchers)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_against_the_model(script: list[tuple[object, ...]]) -> None:
    """Any mix of registrations, removals, departures and events tells the watchers that a plain list would tell."""
    table = WatchTable()
    model = Model()
    for name, *args in script:
        if name == "add":
            table.add(*args)  # type: ignore[arg-type]
            model.add(*args)  # type: ignore[arg-type]
        elif name == "remove":
            assert table.remove(*args) == model.remove(*args)  # type: ignore[arg-type]
        elif name == "leave":
            table.remove_watcher(*args)
            model.remove_watcher(*args)
        else:
            told = table.trigger(*args)  # type: ignore[arg-type]
            assert len(told) == len(set(told))
            assert set(told) == model.trigger(*args)  # type: ignore[arg-type]
        check_consistent(table, model)


def check_consistent(table: WatchTable, model: Model) -> None:
    """All indexes of the table hold exactly the model's rows, and nothing empty."""
    rows = {(path, watcher): mode for path, watcher, mode in model.rows}
    assert {(p, w): m for w, ps in table.by_watcher.items() for p, m in ps.items()} == rows
    assert {(p, w) for p, ws in table.paths_with_watchers() for w in ws} == set(rows)
    assert table.count == len(rows)
    assert table.recursive_count == sum(1 for mode in rows.values() if mode & RECURSIVE)  # type: ignore[operator]
    assert all(table.by_watcher.values())
    assert all(entry for index in (table.by_path, table.recursive) for entry in index.values())
