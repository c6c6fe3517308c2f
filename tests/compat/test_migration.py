"""An ensemble of Apache's moves to ours server by server, and back, while clients write: nothing is lost.

Needs Java and ZABRA_ZOOKEEPER_CLASSPATH (the jars of Apache ZooKeeper 3.9.5).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, NodeExistsError, OperationTimeoutError, SessionExpiredError
from kazoo.protocol.states import KazooState

from compat.ensembles import LIMIT_S, Ensemble, Spec
from compat.load import Load
from compat.servers import APACHE, ZABRA, missing_java, require

pytestmark = pytest.mark.java

CLIENTS: Final = 3
#: Between two writes of a client; the servers that start need the cores.
PAUSE_S: Final = 0.01


class KazooWriter:
    """A kazoo client that makes node after node, keeps an ephemeral one, and notes what happens to its session."""

    def __init__(self, ensemble: Ensemble, number: int) -> None:
        self.root = f"/kazoo-{number}"
        self._ensemble = ensemble
        self._client: KazooClient
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: BaseException | None = None
        #: Nodes that the server said it made; nobody deletes any.
        self.acknowledged: list[str] = []
        self.suspended = 0
        self.lost = 0
        #: The longest time between two acknowledgements.
        self.gap_s = 0.0

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Write as long as the block runs, then judge."""
        with self._ensemble.kazoo(timeout_s=60, randomize_hosts=True) as self._client:
            self._client.add_listener(self._listen)
            self._client.ensure_path(self.root)
            self._client.create(f"{self.root}/here", b"", ephemeral=True)
            session = self._client.client_id
            self._thread.start()
            try:
                yield
            finally:
                self._stop.set()
                self._thread.join(2 * LIMIT_S)
            assert not self._thread.is_alive(), "a client hangs"
            if self._error is not None:
                raise self._ensemble.failure(f"{self.root}: {self._error!r}") from self._error
            assert (self.lost, self._client.client_id) == (0, session)
            for sid in self._ensemble.members:
                self._judge(sid, session[0])

    def _judge(self, sid: int, session: int) -> None:
        with self._ensemble.kazoo(sid) as reader:
            reader.sync("/")
            names = reader.get_children(self.root)
            assert reader.exists(f"{self.root}/here").ephemeralOwner == session
            lost = {path.rpartition("/")[2] for path in self.acknowledged} - set(names)
            assert not lost, f"server {sid} does not have {sorted(lost)[:10]} of {len(self.acknowledged)} writes"

    def go_on(self, writes: int = 20) -> None:
        """Wait until so many more writes are acknowledged."""
        goal = len(self.acknowledged) + writes
        self._ensemble.until(
            f"{self.root} writes on", lambda: len(self.acknowledged) >= goal or not self._thread.is_alive()
        )

    def _listen(self, state: KazooState) -> None:
        self.suspended += state == KazooState.SUSPENDED
        self.lost += state == KazooState.LOST

    def _run(self) -> None:
        try:
            number, last = 0, time.monotonic()
            while not self._stop.is_set():
                path = f"{self.root}/{number:06d}"
                # Whether it was made before the connection broke is what the next attempt finds out.
                with contextlib.suppress(ConnectionLoss, OperationTimeoutError):
                    with contextlib.suppress(NodeExistsError):
                        self._client.create(path, b"%d" % number)
                    self.acknowledged.append(path)
                    number += 1
                    now = time.monotonic()
                    self.gap_s, last = max(self.gap_s, now - last), now
                time.sleep(PAUSE_S)
        except (Exception, SessionExpiredError) as error:
            self._error = error


def test_server_by_server_there_and_back(tmp_path: Path) -> None:
    require(missing_java())
    begun = time.monotonic()
    with Ensemble(tmp_path, {sid: Spec(APACHE) for sid in (1, 2, 3)}) as ensemble:
        ensemble.start()
        clients = [KazooWriter(ensemble, number) for number in range(CLIENTS)]
        with Load(ensemble) as load, contextlib.ExitStack() as stack:
            for client in clients:
                stack.enter_context(client.writing())
            for kind in (ZABRA, APACHE):
                leader = ensemble.leader().sid
                for sid in sorted(ensemble.members, key=lambda sid: (sid == leader, sid)):
                    ensemble.restart(sid, kind=kind)
                    load.go_on(300)
                    for client in clients:
                        client.go_on()
                    ensemble.compare_digests()
        ensemble.check_trees()
    print(f"{time.monotonic() - begun:.0f} s, {load.acknowledged + sum(len(c.acknowledged) for c in clients)} writes")
    print(f"{load.moves + sum(c.suspended for c in clients)} moves, longest gap {max(c.gap_s for c in clients):.1f} s")
