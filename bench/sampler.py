"""Runs Zabra and notes every few milliseconds where its main thread is: `python -m bench.sampler FILE server ...`.

The milliseconds are CPU time (ITIMER_PROF): waiting costs nothing, and other work on the machine does not show. SIGUSR1
forgets what was noted so far; at the end the counts go to FILE as JSON: how many samples there were, and of them
[file, function, samples in itself, samples in it or what it calls]. Samples come between byte codes: time in C counts
for the Python function that called it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

#: Asked for; the kernel's own tick (mostly 4 ms) is the limit.
INTERVAL_S = 0.001

#: A function: file and name.
Function = tuple[str, str]


class Sampler:
    """Counts of samples by function."""

    def __init__(self) -> None:
        self.samples = 0
        #: By function: samples in itself, and in it or what it calls.
        self.own: Counter[Function] = Counter()
        self.total: Counter[Function] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._note)
        signal.signal(signal.SIGUSR1, self._forget)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _note(self, _: int, frame: FrameType | None) -> None:
        self.samples += 1
        seen: set[Function] = set()
        while frame is not None:
            function = (frame.f_code.co_filename, frame.f_code.co_name)
            if not seen:
                self.own[function] += 1
            seen.add(function)
            frame = frame.f_back
        self.total.update(seen)

    def _forget(self, *_: object) -> None:
        self.samples = 0
        self.own.clear()
        self.total.clear()

    def save(self, path: Path) -> None:
        functions = [[*function, self.own[function], total] for function, total in self.total.most_common()]
        path.write_text(json.dumps({"samples": self.samples, "functions": functions}))


def main() -> int:
    from zabra.main import main as zabra

    sampler = Sampler()
    sampler.start()
    try:
        return zabra(sys.argv[2:])
    finally:
        sampler.stop()
        sampler.save(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
