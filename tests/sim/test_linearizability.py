"""The search for an order: histories that have one, and histories that have none."""

import random
from math import inf

import pytest

from zabra.errors import Code
from zabra.sim.linearizability import Answer, Kind, Operation, Value, Verdict, check, outcome


def op(client, kind, invoked, answered, data=b"", version=-1, shown=None, err=0):
    """``shown``: (data, version) in the answer. Without ``answered`` there was none."""
    answer = None if answered is None else Answer(err, None if shown is None else Value(*shown))
    return Operation(client, kind, invoked, data, version, inf if answered is None else answered, answer)


def create(client, invoked, answered, data=b"0", err=0):
    return op(client, Kind.CREATE, invoked, answered, data, shown=None if err else (data, 0), err=err)


def put(client, invoked, answered, data, shown=None, version=-1, err=0):
    """``shown`` is the version that it made."""
    made = None if shown is None else (data, shown)
    return op(client, Kind.SET, invoked, answered, data, version, shown=made, err=err)


def read(client, invoked, answered, data, version, kind=Kind.READ):
    return op(client, kind, invoked, answered, shown=(data, version))


def none(client, invoked, answered, kind=Kind.READ):
    return op(client, kind, invoked, answered, err=Code.NO_NODE)


def delete(client, invoked, answered, version=-1, err=0):
    return op(client, Kind.DELETE, invoked, answered, version=version, err=err)


FINE = {
    "nothing": [],
    "one after the other": [create("a", 0, 1), put("a", 2, 3, b"x", 1), read("a", 4, 5, b"x", 1)],
    "another client may see old state": [create("a", 0, 1), put("a", 2, 3, b"x", 1), read("b", 4, 5, b"0", 0)],
    "or nothing at all": [create("a", 0, 1), none("b", 4, 5)],
    "two at once, in either order": [
        create("a", 0, 1),
        put("a", 2, 5, b"x", 2),
        put("b", 2, 5, b"y", 1),
        read("c", 6, 7, b"x", 2),
    ],
    "one of two conditional writes wins": [
        create("a", 0, 1),
        put("a", 2, 5, b"x", 1, version=0),
        put("b", 2, 5, b"y", version=0, err=Code.BAD_VERSION),
    ],
    "what was not answered did happen": [create("a", 0, 1), put("b", 2, None, b"x"), read("c", 9, 10, b"x", 1)],
    "or did not": [create("a", 0, 1), put("b", 2, None, b"x"), put("a", 3, 4, b"y", 1)],
    "or happens late": [
        create("a", 0, 1),
        put("b", 2, None, b"x"),
        put("a", 3, 4, b"y", 1),
        read("a", 5, 6, b"y", 1),
        read("a", 7, 8, b"x", 2),
    ],
    "a read that got no answer says nothing": [create("a", 0, 1), op("b", Kind.READ, 2, None)],
    "gone and back": [
        create("a", 0, 1),
        delete("a", 2, 3, version=0),
        put("b", 4, 5, b"x", err=Code.NO_NODE),
        create("b", 6, 7, b"new"),
        create("c", 8, 9, b"other", err=Code.NODE_EXISTS),
        read("c", 10, 11, b"new", 0),
    ],
    "a synced read may see what happens meanwhile": [
        create("a", 0, 1),
        put("a", 2, 6, b"x", 1),
        read("b", 3, 7, b"x", 1, Kind.SYNCED_READ),
        read("c", 3, 7, b"0", 0, Kind.SYNCED_READ),
    ],
    "the deposed leader's answer came before the next one's write": [
        create("a", 0, 1),
        put("a", 2, 3, b"x", 1),
        read("b", 3.5, 4, b"0", 0),
        read("b", 4.5, 5, b"x", 1),
    ],
}

BROKEN = {
    "an acknowledged write is lost": [create("a", 0, 1), put("a", 2, 3, b"x", 1), put("b", 4, 5, b"y", 1)],
    "a client does not see its own write": [create("a", 0, 1), put("a", 2, 3, b"x", 1), read("a", 4, 5, b"0", 0)],
    "a client sees time go back": [
        create("a", 0, 1),
        put("a", 2, 3, b"x", 1),
        read("b", 4, 5, b"x", 1),
        read("b", 6, 7, b"0", 0),
    ],
    "a read sees what is written later": [create("a", 0, 1), read("b", 2, 3, b"x", 1), put("a", 4, 5, b"x", 1)],
    "a value from nowhere": [create("a", 0, 1), read("b", 2, 3, b"z", 1)],
    "both conditional writes win": [
        create("a", 0, 1),
        put("a", 2, 5, b"x", 1, version=0),
        put("b", 2, 5, b"y", 1, version=0),
    ],
    "real time is turned round": [create("a", 0, 1), put("a", 2, 3, b"x", 2), put("b", 4, 5, b"y", 1)],
    "a write twice": [create("a", 0, 1), put("a", 2, None, b"x"), read("b", 3, 4, b"x", 1), read("b", 5, 6, b"x", 2)],
    "a refused write happened": [
        create("a", 0, 1),
        put("a", 2, 3, b"x", version=7, err=Code.BAD_VERSION),
        read("a", 4, 5, b"x", 1),
    ],
    "created twice": [create("a", 0, 1), create("b", 2, 3)],
    "a deleted znode lives": [create("a", 0, 1), delete("a", 2, 3), put("b", 4, 5, b"x", 1)],
    "a synced read is stale": [
        create("a", 0, 1),
        put("a", 2, 3, b"x", 1),
        read("b", 4, 5, b"0", 0, Kind.SYNCED_READ),
    ],
    "a write without an answer happens before it is sent": [
        create("a", 0, 1),
        read("b", 2, 3, b"x", 1),
        put("a", 4, None, b"x"),
    ],
    "two clients see two orders": [
        create("a", 0, 1),
        put("a", 2, 9, b"x", 1),
        put("b", 2, 9, b"y", 2),
        read("c", 3, 4, b"y", 1),
    ],
}


@pytest.mark.parametrize("name", FINE)
def test_a_history_that_has_an_order(name):
    assert check(FINE[name]) is Verdict.FINE


@pytest.mark.parametrize("name", BROKEN)
def test_a_history_that_has_none(name):
    assert check(BROKEN[name]) is Verdict.BROKEN


def test_a_search_may_be_given_up():
    lost = [put("w", number, None, b"%d" % number) for number in range(30)]
    history = [create("a", 0, 0.5), *lost, read("b", 100, 101, b"nowhere", 31)]
    assert check(history, budget=1000) is Verdict.UNDECIDED


def play(rng, clients, count):
    """A history as a right server makes it: each write happens at one moment, reads may come from an old state."""
    state, past = None, [(0.0, None)]
    free = dict.fromkeys(clients, 0.0)
    seen = dict.fromkeys(clients, 0)
    operations = []
    now = 0.0
    for number in range(count):
        client = min(clients, key=lambda name: free[name])
        now = max(now, free[client]) + rng.random()
        kind = rng.choice((Kind.CREATE, Kind.SET, Kind.SET, Kind.DELETE, Kind.READ, Kind.READ, Kind.SYNCED_READ))
        version = rng.choice((-1, -1, 0, 1, 2))
        operation = Operation(client, kind, now - rng.random() * (now - free[client]), b"%d" % number, version)
        if kind is Kind.READ:
            at = rng.randrange(seen[client], len(past))
            answer = outcome(past[at][1], operation)[1]
            seen[client] = at
        else:
            state, answer = outcome(state, operation)
            past.append((now, state))
            seen[client] = len(past) - 1
        answered = now + rng.random() * 3
        free[client] = answered
        if rng.random() < 0.05:
            if kind in (Kind.READ, Kind.SYNCED_READ):
                continue
            operation.answer = None
        else:
            operation.answer, operation.answered = answer, answered
        operations.append(operation)
    return operations


@pytest.mark.parametrize("seed", range(40))
def test_what_a_right_server_does_has_an_order(seed):
    rng = random.Random(seed)
    assert check(play(rng, ["a", "b", "c", "d"][: rng.randrange(2, 5)], 80)) is Verdict.FINE


def test_wrong_answers_are_found():
    found = 0
    for seed in range(40):
        rng = random.Random(seed)
        history = play(rng, ["a", "b", "c"], 60)
        reads = [one for one in history if one.answer is not None and one.answer.value is not None]
        victim = rng.choice(reads)
        value = victim.answer.value
        victim.answer = Answer(0, Value(value.data, value.version + 1))
        found += check(history) is Verdict.BROKEN
    assert found == 40
