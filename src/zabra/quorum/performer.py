"""Performing what a core wants, effect by effect, in the order it was wanted."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable

from zabra.quorum.context import DISK_ERRORS
from zabra.zab.effects import Effect

_log = logging.getLogger(__name__)


class Performer:
    """A queue of effects.

    An effect may cause the next input of the core at once, when a log is written in the loop's own thread; what follows
    from that waits behind the effects before it.
    """

    def __init__(
        self,
        whose: str,
        perform: Callable[[Effect], None],
        goes_on: Callable[[], bool],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        """While ``goes_on()`` is false nothing is performed. ``failed(what, error)``: an effect of ``whose`` core was
        not performed to its end, and what is in memory cannot be trusted.
        """
        self._whose = whose
        self._perform = perform
        self._goes_on = goes_on
        self._failed = failed
        self._effects: deque[Effect] = deque()
        self._performing = False

    def add(self, effects: Iterable[Effect] = ()) -> None:
        """Perform these, behind those that wait."""
        waiting = self._effects
        waiting.extend(effects)
        if self._performing:
            return
        self._performing = True
        try:
            while waiting and self._goes_on():
                self._perform(waiting.popleft())
        except DISK_ERRORS as error:
            self._failed(f"{self._whose}'s state could not be stored", error)
        except Exception as error:
            _log.exception("%s broke off", self._whose)
            self._failed(f"{self._whose} broke off", error)
        finally:
            self._performing = False
