"""Who runs the loop: one thread at a time, and another one takes over while a process waits for its disk.

A server that syncs a file in its own loop stands still, and the other machines do not. So its thread, with the server's
call on its stack, goes to sleep, and another thread runs the loop until the wait is over. Control is handed from thread
to thread, there is never more than one that runs, and who comes next follows from the seed alone. Threads are made only
where a process waits; a parked one has nothing on its stack that matters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Hand:
    """One thread that may run the loop."""

    def __init__(self) -> None:
        self._go = threading.Lock()
        self._go.acquire()
        self.thread: threading.Thread | None = None

    def wake(self) -> None:
        """Let it run."""
        self._go.release()

    def sleep(self) -> None:
        """In the thread itself: until somebody wakes it."""
        self._go.acquire()


class Crew:
    """The threads of one loop. The caller of the loop is the first of them, and the only one to return from it."""

    def __init__(self, drive: Callable[[], None]) -> None:
        """``drive`` runs the loop. In other threads than the first it returns only when :attr:`closing` is set."""
        self._drive = drive
        self._first = Hand()
        #: The thread that runs.
        self.current = self._first
        self._parked: list[Hand] = []
        self.closing = False

    def sleep(self) -> None:
        """This thread waits within a call: a parked one runs the loop, or a new one, until ``hand_to`` this one."""
        me = self.current
        if self._parked:
            self._switch(me, self._parked.pop())
            return
        hand = Hand()
        hand.thread = threading.Thread(target=self._main, args=(hand,), name="loop", daemon=True)
        hand.thread.start()
        self._switch(me, hand)

    def hand_to(self, hand: Hand) -> None:
        """Let ``hand`` go on with its call; this thread is parked, and comes back when it is needed again."""
        me = self.current
        self._parked.append(me)
        self._switch(me, hand)

    def go_home(self) -> bool:
        """The run is over: True in the first thread, which may return. False while that one waits within a call."""
        if self._first in self._parked:
            self._parked.remove(self._first)
            self.hand_to(self._first)
        return self.current is self._first

    def close(self) -> None:
        """End the parked threads; none may be waiting within a call."""
        self.closing = True
        while self._parked:
            hand = self._parked.pop()
            hand.wake()
            assert hand.thread is not None
            hand.thread.join()

    def _switch(self, me: Hand, other: Hand) -> None:
        self.current = other
        other.wake()
        me.sleep()

    def _main(self, hand: Hand) -> None:
        hand.sleep()
        self._drive()
