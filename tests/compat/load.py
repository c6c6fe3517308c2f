"""Writers over the servers of an ensemble, in a thread; each goes on elsewhere when its server leaves it."""

from __future__ import annotations

import itertools
import selectors
import threading
import time
from typing import Final

from compat import jute
from compat.ensembles import LIMIT_S, Ensemble
from compat.rawclient import Client
from faults.writers import Writer

#: With these some hundred requests a second are answered: the servers that start need the cores.
PAUSE_S: Final = 0.02
WINDOW: Final = 3
_numbers = itertools.count(1)


class Load:
    """Writers that check, whenever one finds another server, that its acknowledged writes and its session are there.

    As a context manager: at the end all writes are awaited, compared through every server, and the sessions closed.
    """

    def __init__(self, ensemble: Ensemble, writers: int = 4) -> None:
        self._ensemble = ensemble
        names = [f"load-{next(_numbers)}" for _ in range(writers)]
        self._writers = [Writer(name, name, closes=False, window=WINDOW) for name in names]
        self._turns = dict(enumerate(range(writers)))
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
            for number, writer in enumerate(self._writers):
                assert writer.connection is not None
                selector.register(writer.connection, selectors.EVENT_READ, number)
            deadline = time.monotonic() + LIMIT_S
            while not self._stop.is_set() or any(writer.waiting for writer in self._writers) or lost:
                if not self._stop.is_set():
                    deadline = time.monotonic() + LIMIT_S
                elif time.monotonic() > deadline:
                    raise TimeoutError("writes without an answer at the end")
                for key, _ in selector.select(PAUSE_S):
                    if not self._writers[key.data].take():
                        selector.unregister(key.fileobj)
                        self._writers[key.data].disconnect()
                        lost.append(key.data)
                for number in lost[:]:
                    if self._reconnect(number):
                        lost.remove(number)
                        selector.register(self._writers[number].connection, selectors.EVENT_READ, number)  # type: ignore[arg-type]
                if not self._stop.is_set():
                    for number, writer in enumerate(self._writers):
                        if number not in lost:
                            writer.fill()
                    time.sleep(PAUSE_S)

    def _reconnect(self, number: int) -> bool:
        try:
            self._connect(number, check=True)
        except OSError:
            self._writers[number].disconnect()
            return False
        self.moves += 1
        return True

    def _connect(self, number: int, *, check: bool) -> None:
        """Connect to the next server in turn. Raises OSError while it does not serve."""
        members = list(self._ensemble.members.values())
        self._turns[number] += 1
        port = members[self._turns[number] % len(members)].port
        writer = self._writers[number]
        writer.connect(port)
        if check:
            with Client(port) as reader:
                reader.call(jute.SYNC, jute.text("/"))
                writer.check(reader)
                reader.close_session()

    def _finish(self) -> None:
        """Compare through every server, and end the sessions."""
        for sid, member in self._ensemble.members.items():
            if member.alive():
                with self._ensemble.client(sid) as reader:
                    reader.call(jute.SYNC, jute.text("/"))
                    for writer in self._writers:
                        writer.check(reader)
                    reader.close_session()
        leader = self._ensemble.leader()
        for writer in self._writers:
            writer.disconnect()
            with Client(leader.port, session=writer.session, password=writer.password, timeout_ms=60000) as client:
                assert client.session == writer.session, "an idle session is gone"
                client.close_session()
