"""Workers: jobs beside the loop, interleaved at every sync, dead with their process."""

import random

from zabra.sim.disk import MachineDisk, ProcessDisk
from zabra.sim.loop import Process, new_loop
from zabra.sim.trace import Trace
from zabra.sim.worker import SimWorker


class Bench:
    def __init__(self):
        self.loop = new_loop(Trace(), turn_cost=0.0)
        self.process = Process("server")
        self.machine = MachineDisk(self.loop, random.Random(1))
        self.machine.sync_seconds = lambda: 1.0
        self.disk = ProcessDisk(self.machine, self.process)
        self.disk.makedirs("/data")
        self.seen = []

    def worker(self, name="w"):
        return SimWorker(self.loop, self.process, name, lambda: 0.5)

    def note(self, what):
        self.seen.append((self.loop.time(), what))

    def submit(self, worker, job, name):
        self.loop.run_as(self.process, worker.submit, job, lambda result, error: self.note((name, result, error)))


def test_a_job_sleeps_at_its_syncs_and_the_loop_goes_on():
    bench = Bench()

    def job():
        file = bench.disk.open("/data/f", create=True, write=True)
        bench.note("before")
        file.sync()
        bench.note("between")
        file.sync()
        return 7

    bench.submit(bench.worker(), job, "job")
    bench.loop.call_later(1.0, bench.note, "timer")
    bench.loop.run_until(10.0)
    assert bench.seen == [(0.5, "before"), (1.0, "timer"), (1.5, "between"), (2.5, ("job", 7, None))]


def test_jobs_of_one_worker_run_one_after_another_and_two_workers_at_once():
    bench = Bench()

    def job(name):
        def run():
            bench.note(name)
            bench.loop.block(1.0)

        return run

    one, two = bench.worker(), bench.worker()
    bench.submit(one, job("a"), "a done")
    bench.submit(one, job("b"), "b done")
    bench.submit(two, job("c"), "c done")
    bench.loop.run_until(10.0)
    starts = [(when, what) for when, what in bench.seen if isinstance(what, str)]
    assert starts == [(0.5, "a"), (0.5, "c"), (2.0, "b")]


def test_an_error_is_handed_over():
    bench = Bench()
    bench.submit(bench.worker(), lambda: bench.disk.read("/data/none"), "job")
    bench.loop.run_until(1.0)
    assert isinstance(bench.seen[0][1][2], FileNotFoundError)


def test_a_job_that_sleeps_when_its_process_dies_is_unwound_and_never_done():
    bench = Bench()

    def job():
        file = bench.disk.open("/data/f", create=True, write=True)
        try:
            file.sync()
        finally:
            bench.note("unwound")
            file.pwrite(b"after death", 0)

    bench.submit(bench.worker(), job, "job")
    bench.loop.run_until(1.0)
    bench.process.die()
    for strand in bench.process.strands:
        strand.end()
    bench.loop.run_until(10.0)
    assert bench.seen == [(1.0, "unwound")]
    assert bytes(bench.machine.names["/data/f"].data) == b""


def test_close_finishes_what_was_submitted():
    bench = Bench()
    worker = bench.worker()
    bench.submit(worker, lambda: bench.loop.block(1.0), "a")
    bench.submit(worker, lambda: bench.note("b runs"), "b")
    bench.loop.run_until(0.1)
    bench.loop.run_as(bench.process, worker.close)
    assert (2.0, "b runs") in bench.seen
    bench.loop.run_until(10.0)
    assert [what[0] for _, what in bench.seen[1:]] == ["a", "b"]


def test_a_process_may_die_while_it_closes_its_worker():
    bench = Bench()
    worker = bench.worker()
    bench.submit(worker, lambda: bench.loop.block(5.0), "a")
    bench.submit(worker, lambda: bench.note("b runs"), "b")

    def kill():
        bench.process.die()
        for strand in bench.process.strands:
            strand.end()

    bench.loop.run_until(1.0)
    bench.loop.world_at(2.0, kill)
    bench.loop.run_as(bench.process, worker.close)
    bench.loop.run_until(20.0)
    assert bench.loop.time() == 20.0
    assert bench.seen == []
