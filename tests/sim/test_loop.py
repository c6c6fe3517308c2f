"""The virtual-time loop: order, time, processes that die."""

import asyncio
import threading

import pytest

from zabra.sim.loop import Process, SimulatedCrash, new_loop
from zabra.sim.trace import Trace


@pytest.fixture
def loop():
    return new_loop(Trace(), turn_cost=0.0)


def test_calls_run_in_the_order_they_were_scheduled(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_later(0.0, seen.append, 3)
    loop.call_soon(seen.append, 2)
    loop.run_until(1.0)
    assert seen == [1, 2, 3]


def test_timers_of_one_moment_run_in_the_order_they_were_made(loop):
    seen = []
    for number in range(20):
        loop.call_at(5.0, seen.append, number)
    loop.call_at(4.0, seen.append, "first")
    loop.run_until(10.0)
    assert seen == ["first", *range(20)]


def test_an_idle_hour_costs_nothing_and_passes(loop):
    when = []
    loop.call_later(3600.0, lambda: when.append(loop.time()))
    loop.run_until(4000.0)
    assert when == [3600.0]
    assert loop.time() == 4000.0


def test_what_is_later_than_the_deadline_waits(loop):
    seen = []
    loop.call_later(2.0, seen.append, 1)
    loop.run_until(1.0)
    assert seen == []
    loop.run_until(2.0)
    assert seen == [1]


def test_a_turn_costs_time_so_that_timers_get_between_the_turns_of_long_work():
    loop = new_loop(Trace(), turn_cost=0.001)
    seen = []

    def work(left):
        seen.append(left)
        if left:
            loop.call_soon(work, left - 1)

    loop.call_soon(work, 3)
    loop.call_later(0.0015, seen.append, "timer")
    loop.run_until(1.0)
    assert seen == [3, 2, 1, "timer", 0]


def test_a_cancelled_call_never_runs(loop):
    seen = []
    loop.call_later(1.0, seen.append, 1).cancel()
    handle = loop.call_soon(seen.append, 2)
    handle.cancel()
    loop.run_until(2.0)
    assert seen == []
    assert handle.cancelled()


def test_tasks_and_futures_work(loop):
    future = loop.create_future()

    async def wait():
        return await future + 1

    task = loop.create_task(wait())
    loop.call_later(1.0, future.set_result, 1)
    loop.run_until(2.0)
    assert task.result() == 2


def test_nothing_of_a_dead_process_runs(loop):
    process = Process("server")
    seen = []

    async def sleeper():
        await asyncio.sleep(2)
        seen.append("task")

    def begin():
        loop.call_later(2.0, seen.append, "timer")
        loop.create_task(sleeper())

    loop.run_as(process, begin)
    loop.run_until(1.0)
    loop.run_as(process, begin)
    process.die()
    loop.run_until(5.0)
    assert seen == []


def test_a_crash_in_the_middle_of_a_call_ends_there_and_the_world_goes_on(loop):
    process = Process("server")
    seen = []

    def crash():
        process.alive = False
        process.check()

    loop.run_as(process, loop.call_soon, crash)
    loop.call_soon(seen.append, 1)
    loop.run_until(1.0)
    assert seen == [1]
    assert loop.errors == []


def test_handles_belong_to_whoever_schedules_them(loop):
    process = Process("server")
    owners = []

    def note(more):
        owners.append(loop.process.name)
        if more:
            loop.call_soon(note, more - 1)
            loop.call_later(0.1, note, 0)

    loop.run_as(process, loop.call_soon, note, 2)
    loop.call_soon(note, 0)
    loop.run_until(1.0)
    assert owners == ["server", "world", *["server"] * 4]


def test_an_exception_is_kept_and_a_crash_is_none(loop):
    loop.call_soon(lambda: 1 / 0)
    loop.call_exception_handler({"message": "", "exception": SimulatedCrash("x")})
    loop.run_until(1.0)
    assert len(loop.errors) == 1
    assert "ZeroDivisionError" in loop.errors[0]


def test_a_process_that_blocks_misses_its_timers_and_the_world_goes_on(loop):
    process = Process("server")
    seen = []

    def note(what):
        seen.append((loop.time(), what))

    def begin():
        loop.call_later(1.0, note, "own timer")
        loop.call_soon(note, "own turn")
        loop.block(3.0)
        note("unblocked")

    loop.call_later(1.0, note, "world")
    loop.call_later(2.0, loop.run_as, process, note, "from outside")
    loop.run_as(process, begin)
    loop.run_until(10.0)
    wanted = [(1.0, "world"), (3.0, "unblocked"), (3.0, "own turn"), (3.0, "from outside"), (3.0, "own timer")]
    assert seen == wanted


def test_a_process_may_die_while_it_blocks(loop):
    process = Process("server")
    seen = []

    def begin():
        loop.block(3.0)
        process.check()
        seen.append("alive")

    loop.call_later(1.0, process.die)
    loop.call_later(2.0, lambda: seen.append(loop.time()))
    loop.run_as(process, begin)
    loop.run_until(10.0)
    assert seen == [2.0]
    assert loop.errors == []


def test_two_processes_wait_at_once_and_each_goes_on_when_its_own_wait_is_over(loop):
    one, two = Process("one"), Process("two")
    seen = []

    def note(what):
        seen.append((loop.now, what))

    def wait(name, seconds, again):
        loop.call_later(0.0, note, f"{name} was held")
        loop.block(seconds)
        note(f"{name} goes on")
        if again:
            loop.block(again)
            note(f"{name} goes on again")

    loop.run_as(one, loop.call_soon, wait, "one", 3.0, 2.0)
    loop.run_as(two, loop.call_later, 1.0, wait, "two", 1.0, 5.0)
    loop.run_until(20.0)
    assert seen == [
        (2.0, "two goes on"),
        (3.0, "one goes on"),
        (5.0, "one goes on again"),
        (5.0, "one was held"),
        (7.0, "two goes on again"),
        (7.0, "two was held"),
    ]


def test_tasks_of_several_processes_wait_in_the_middle_of_a_step(loop):
    seen = []

    async def work(name, seconds):
        loop.block(seconds)
        await asyncio.sleep(1.0)
        assert asyncio.current_task().get_name() == name
        loop.block(seconds)
        seen.append((loop.now, name))

    for name, seconds in (("one", 3.0), ("two", 1.0), ("three", 2.0)):
        loop.run_as(Process(name), lambda name=name, seconds=seconds: loop.create_task(work(name, seconds), name=name))
    loop.run_until(20.0)
    assert loop.errors == []
    assert seen == [(3.0, "two"), (5.0, "three"), (7.0, "one")]


def test_a_run_that_ends_while_somebody_waits_goes_on_there(loop):
    process = Process("server")
    seen = []

    def begin():
        loop.block(3.0)
        seen.append(loop.now)

    loop.run_as(process, loop.call_soon, begin)
    loop.run_until(1.0)
    loop.run_until(10.0)
    assert seen == [3.0]
    assert loop.now == 10.0


def test_what_the_stop_of_a_run_raises_comes_to_its_caller(loop):
    process = Process("server")

    def stop():
        if loop.now > 2.0:
            raise ValueError("enough")
        return False

    loop.run_as(process, loop.call_soon, loop.block, 5.0)
    loop.call_later(2.5, lambda: None)
    with pytest.raises(ValueError, match="enough"):
        loop.run_until(10.0, stop)
    loop.run_until(10.0)
    assert loop.now == 10.0


@pytest.mark.parametrize("is_over", [False, True])
def test_closing_unwinds_who_waits_and_leaves_no_thread(loop, is_over):
    """Also after the end of the world."""
    before = threading.active_count()
    unwound = []

    def begin(process):
        try:
            loop.block(100.0)
            process.check()
        finally:
            unwound.append(process.name)

    for name in ("one", "two", "three"):
        process = Process(name)
        loop.run_as(process, loop.call_later, 1.0, begin, process)
    loop.world_at(2.0, lambda: None)
    loop.run_until(5.0, lambda: loop.now > 1.5)
    assert threading.active_count() > before
    if is_over:
        loop.world.die()
    loop.close()
    assert sorted(unwound) == ["one", "three", "two"]
    assert threading.active_count() == before
    assert loop.errors == []


def test_a_process_with_a_fast_clock_is_early(loop):
    process = Process("server", clock_rate=1.25)
    seen = []

    async def sleep():
        began = loop.time()
        await asyncio.sleep(5.0)
        seen.append(("slept", loop.now, loop.time() - began))

    def begin():
        loop.call_at(10.0, lambda: seen.append(("at 10", loop.now, loop.time())))
        assert loop.call_later(1.0, lambda: None).when() == 1.0
        loop.create_task(sleep())

    loop.run_as(process, begin)
    loop.call_later(10.0, lambda: seen.append(("world", loop.now, loop.time())))
    loop.run_until(20.0)
    assert seen == [("slept", 4.0, 5.0), ("at 10", 8.0, 10.0), ("world", 10.0, 10.0)]
