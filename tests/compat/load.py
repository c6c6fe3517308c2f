"""Writers over the servers of an ensemble, in a thread; each goes on elsewhere when its server leaves it."""

from __future__ import annotations

import itertools
import selectors
import threading
import time
from typing import Final

from compat.ensembles import LIMIT_S, Ensemble
from compat.rawclient import Client
from faults.writers import Writer

#: With these some hundred requests a second are answered: the servers that start need the cores.
PAUSE_S: Final = 0.02
WINDOW: Final = 3
#: A server that is silent for so long when it is connected to is left.
SILENCE_S: Final = 3.0
_numbers = itertools.count(1)


class Load:
    """Writers that check, whenever one finds another server, that its acknowledged writes and its session are there.

    As a context manager: at the end all writes are awaited, compared through every server, and the sessions closed.
    """

    def __init__(self, ensemble: Ensemble, writers: int = 4, *, patience_s: float = 8.0) -> None:
        """A server that does not answer for ``patience_s`` is left for another."""
        self._ensemble = ensemble
        names = [f"load-{next(_numbers)}" for _ in range(writers)]
        self._writers = [Writer(name, name, closes=False, window=WINDOW) for name in names]
        self._turns = list(range(writers))
        self._patience_s = patience_s
        #: When something came last.
        self._heard = [0.0] * writers
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        #: How often a writer had to look for another server.
        self.moves = 0

    def __enter__(self) -> Load:
        for number in range(len(self._writers)):
            self._connect(number, check=False)
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * LIMIT_S)
        try:
            if kind is None:
                self._raise()
                assert not self._thread.is_alive(), "the writers hang"
                self._finish()
        finally:
            for writer in self._writers:
                writer.disconnect()

    @property
    def acknowledged(self) -> int:
        """Writes that were answered."""
        return sum(writer.acknowledged for writer in self._writers)

    def go_on(self, writes: int = 200) -> None:
        """Wait until so many more writes are acknowledged, by every writer some."""
        before = [writer.acknowledged for writer in self._writers]

        def done() -> bool:
            self._raise()
            grown = [writer.acknowledged - was for writer, was in zip(self._writers, before, strict=True)]
            return sum(grown) >= writes and min(grown) > 0

        self._ensemble.until(f"{writes} more writes are acknowledged", done)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._ensemble.failure(f"a writer: {self._error!r}") from self._error

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self._error = error

    def _write(self) -> None:
        with selectors.DefaultSelector() as selector:
            lost: list[int] = []
            for number in range(len(self._writers)):
                self._watch(selector, number)
            deadline = float("inf")
            while not self._stop.is_set() or any(writer.waiting for writer in self._writers) or lost:
                now = time.monotonic()
                if self._stop.is_set():
                    deadline = min(deadline, now + LIMIT_S)
                if now > deadline:
                    raise TimeoutError("writes without an answer at the end")
                for key, _ in selector.select(PAUSE_S):
                    self._heard[key.data] = now
                    if not self._writers[key.data].take():
                        lost.append(key.data)
                for number, writer in enumerate(self._writers):
                    if not writer.waiting:
                        self._heard[number] = now
                    elif now - self._heard[number] > self._patience_s and number not in lost:
                        lost.append(number)
                for number in lost[:]:
                    if self._move(selector, number):
                        lost.remove(number)
                if not self._stop.is_set():
                    for number, writer in enumerate(self._writers):
                        if number not in lost:
                            writer.fill()
                    time.sleep(PAUSE_S)

    def _watch(self, selector: selectors.BaseSelector, number: int) -> None:
        connection = self._writers[number].connection
        assert connection is not None
        selector.register(connection, selectors.EVENT_READ, number)
        self._heard[number] = time.monotonic()

    def _move(self, selector: selectors.BaseSelector, number: int) -> bool:
        """Leave the server, if not done, and try the next one; whether it serves."""
        writer = self._writers[number]
        if writer.connection is not None:
            selector.unregister(writer.connection)
            writer.disconnect()
        try:
            self._connect(number, check=True)
        except OSError:
            writer.disconnect()
            return False
        self.moves += 1
        self._watch(selector, number)
        return True

    def _connect(self, number: int, *, check: bool) -> None:
        """Connect to the next server in turn. Raises OSError while it does not serve.

        Compared is through a session that is opened behind that: a majority has agreed to it, and every write that was
        acknowledged before, or that the old server had handed on, comes before it.
        """
        members = list(self._ensemble.members.values())
        self._turns[number] += 1
        port = members[self._turns[number] % len(members)].port
        writer = self._writers[number]
        writer.connect(port, silence_s=SILENCE_S)
        if check:
            with Client(port, SILENCE_S, timeout_ms=60000) as reader:
                writer.check(reader)
                reader.close_session()

    def _finish(self) -> None:
        """Compare through every server, and end the sessions."""
        for sid, member in self._ensemble.members.items():
            if member.alive():
                with self._ensemble.client(sid) as reader:
                    for writer in self._writers:
                        writer.check(reader)
                    reader.close_session()
        leader = self._ensemble.leader()
        for writer in self._writers:
            writer.disconnect()
            with self._ensemble.client(leader.sid, session=writer.session, password=writer.password) as client:
                assert client.session == writer.session, "an idle session is gone"
                client.close_session()
