"""The judge of histories bites: one good history, and for each promise one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from faults.history import CREATE, READ, SET, SYNCED, Call, Found, complaints


def story() -> dict[str, Call]:
    """Session 1 writes and session 2 reads one register; some calls overlap, one was never answered."""
    return {
        "one": Call(1, 1, SET, "/r", "a", 1.0, 2.0, 11, 11, 1),
        "two": Call(1, 2, SET, "/r", "b", 1.5, 3.0, 12, 12, 2),
        "node": Call(1, 3, CREATE, "/f", "n", 3.0, 4.0, 13, 13, 0),
        "lost": Call(1, 4, SET, "/r", "c", 4.0),
        "early": Call(2, 1, READ, "/r", "a", 2.0, 2.5, 11, 11, 1),
        "late": Call(2, 2, READ, "/r", "a", 5.0, 6.0, 11, 11, 1),
        "synced": Call(2, 3, SYNCED, "/r", "b", 6.0, 7.0, 14, 12, 2),
        "again": Call(2, 4, CREATE, "/g", "m", 7.0, 8.0, 15, 15, 0),
    }


FOUND = Found({"/r": ("b", 12, 2)}, {"/f": {"n": 0}, "/g": {"m": 0}})


def test_nothing_is_wrong_with_a_good_history() -> None:
    assert complaints(list(story().values()), FOUND) == []


def test_a_write_without_an_answer_may_have_been_done() -> None:
    calls = list(story().values())
    assert complaints(calls, replace(FOUND, registers={"/r": ("c", 14, 3)})) == []


Change = Callable[[dict[str, Call]], None]


def but(name: str, **fields: object) -> Change:
    def change(calls: dict[str, Call]) -> None:
        calls[name] = replace(calls[name], **fields)  # type: ignore[arg-type]

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (but("synced", zxid=10), "a session went back from 0xb to 0xa"),
        (but("two", mzxid=10), "which was sent before it"),
        (but("again", mzxid=5), "was acknowledged"),
        (but("two", mzxid=11), "two writes have one zxid"),
        (but("late", mzxid=9), "a was 0xb v1, then 0x9 v1"),
        (but("late", value="z"), "nobody wrote z"),
        (but("two", version=1), "/r: b is v1, a before it v1"),
        (but("late", value="b", mzxid=12, version=2, number=0), "is older than"),
        (but("synced", value="a", mzxid=11, version=1), "stale: "),
    ],
)
def test_a_broken_promise_is_told(change: Change, complaint: str) -> None:
    calls = story()
    change(calls)
    assert any(complaint in line for line in complaints(list(calls.values()), FOUND))


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (replace(FOUND, registers={"/r": ("a", 11, 1)}), "/r: the last write was b v2"),
        (replace(FOUND, registers={"/r": ("x", 14, 3)}), "nobody wrote x"),
        (replace(FOUND, folders={"/g": {"m": 0}}), "lost: session 1 create"),
        (replace(FOUND, folders={"/f": {"n": 1}, "/g": {"m": 0}}), "there as 1: "),
        (replace(FOUND, folders={**FOUND.folders, "/g": {"m": 0, "x": 1}}), "nobody created x in /g"),
    ],
)
def test_what_is_lost_or_appears_is_told(found: Found, complaint: str) -> None:
    assert any(complaint in line for line in complaints(list(story().values()), found))


def test_nodes_of_a_session_are_in_order_though_one_was_never_answered() -> None:
    first = Call(1, 1, CREATE, "/f", "x", 1.0)
    second = Call(1, 2, CREATE, "/f", "y", 2.0, 3.0, 9, 9, 0)
    assert complaints([first, second], Found({}, {"/f": {"y": 0}})) == []
    wrong = Found({}, {"/f": {"y": 0, "x": 1}})
    assert complaints([first, second], wrong) == ["the nodes of session 1 are out of order"]


def test_a_deposed_leader_may_answer_a_sync_too_early_for_a_while() -> None:
    calls = story()
    but("synced", value="a", mzxid=11, version=1)(calls)
    assert complaints(list(calls.values()), FOUND, [(6.5, 9.0)]) == []
    assert complaints(list(calls.values()), FOUND, [(7.5, 9.0)]) != []
