"""A million watches: what they cost in memory, and that a write meets only its own. Counted, not timed."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from rig import Rig, create_body, delete_body, set_body, watch_body

from zabra.consts import EventType, Op
from zabra.tree.watches import ONE_SHOT, PERSISTENT, RECURSIVE, Watches

#: A million of them are 250 MB at most.
BYTES_EACH = 250
#: Just above a size at which dicts double, so that half of each is empty.
WATCHES = 90_000
FEW, MANY = 100, 30_000
#: Less than a list of the watches, or of their watchers, would take.
MEMORY_OF_A_WRITE = 100_000


def paths(count: int) -> Iterator[bytes]:
    return (b"/services/some-name/members/%010d" % number for number in range(count))


def on_paths_of_its_own(watches: Watches) -> None:
    watcher = object()
    for path in paths(WATCHES):
        watches.data.add(path, watcher, ONE_SHOT)


def on_the_same_paths(watches: Watches) -> None:
    watchers = [object() for _ in range(300)]
    for path in paths(WATCHES // 300):
        for watcher in watchers:
            watches.data.add(path, watcher, ONE_SHOT)


def of_lists_of_children(watches: Watches) -> None:
    watchers = [object() for _ in range(100)]
    for number, path in enumerate(paths(WATCHES)):
        watches.child.add(path, watchers[number % 100], ONE_SHOT)


def recursive(watches: Watches) -> None:
    watcher = object()
    for path in paths(WATCHES):
        watches.add_persistent(path, watcher, 1)


@pytest.mark.parametrize("fill", [on_paths_of_its_own, on_the_same_paths, of_lists_of_children, recursive])
def test_a_million_watches_fit_in_memory(fill: Callable[[Watches], None]) -> None:
    watches = Watches()
    tracemalloc.start()
    try:
        fill(watches)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert watches.count == WATCHES
    assert taken / WATCHES < BYTES_EACH


def cost_of(work: Callable[[], object]) -> tuple[int, int]:
    """How many lines of Python run, and the most memory that is taken for it."""
    lines = 0

    def count(_: FrameType, event: str, __: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    tracemalloc.start()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return lines, peak


def play(others: int) -> list[tuple[int, int]]:
    """What each write costs, from the frame of the request to the events, among ``others`` watches of other nodes."""
    rig = Rig()
    writer, watcher, *crowd = (rig.client() for _ in range(12))
    for name in ("/a", "/a/b", "/services"):
        assert writer.error(Op.CREATE, create_body(name)) == 0
    modes = (ONE_SHOT, PERSISTENT, RECURSIVE)
    for number, path in enumerate(paths(others)):
        rig.tree.watches.data.add(path, crowd[number % 10].connection, modes[number % 3])
        rig.tree.watches.child.add(path, crowd[number % 7].connection, modes[number % 2])
    for op, name in ((Op.GET_DATA, "/a/b"), (Op.EXISTS, "/a/c"), (Op.GET_CHILDREN, "/a")):
        watcher.request(op, watch_body(name, True))
    watcher.take()
    costs = []
    for op, body in (
        (Op.SET_DATA, set_body("/a/b")),
        (Op.CREATE, create_body("/a/c")),
        (Op.CREATE, create_body("/a/e", flags=1)),
        (Op.DELETE, delete_body("/a/c")),
        (Op.CLOSE_SESSION, b""),
    ):
        costs.append(cost_of(lambda op=op, body=body: (writer.request(op, body), rig.work())))  # type: ignore[misc]
    assert [(event.type, event.path) for event in watcher.events()] == [
        (EventType.DATA_CHANGED, b"/a/b"),
        (EventType.CREATED, b"/a/c"),
        (EventType.CHILDREN_CHANGED, b"/a"),
    ]
    assert all(not other.take() for other in crowd)
    return costs


def test_a_write_finds_its_watchers_without_a_scan() -> None:
    """As many steps among tens of thousands of watches as among a hundred, and no list of them is made."""
    few, many = play(FEW), play(MANY)
    assert [lines for lines, _ in many] == [lines for lines, _ in few]
    assert max(peak for _, peak in many) < MEMORY_OF_A_WRITE


def test_a_connection_that_ends_costs_its_own_watches_only() -> None:
    def steps(others: int) -> int:
        rig = Rig()
        leaver, crowd = rig.client(), rig.client()
        for path in paths(others):
            rig.tree.watches.data.add(path, crowd.connection, ONE_SHOT)
        for path in paths(5):
            rig.tree.watches.data.add(path, leaver.connection, ONE_SHOT)
        lines, peak = cost_of(leaver.cut)
        assert peak < MEMORY_OF_A_WRITE
        assert rig.tree.watches.count == others
        return lines

    assert steps(MANY) == steps(FEW)
