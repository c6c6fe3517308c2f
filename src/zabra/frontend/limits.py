"""What a server takes on at most: connections, and new sessions per time.

Every class is plain bookkeeping; time comes in as monotonic milliseconds, randomness through its port.
"""

from __future__ import annotations

from typing import Final, Protocol

from zabra.runtime.ports import Random

#: No random dropping.
_NO_FREEZE: Final = -1


class ConnectionLimits:
    """Open connections in total and by address (``maxCnxns``, ``maxClientCnxns``); a limit of 0 or less is none.

    Total first, as in ``NIOServerCnxnFactory``. An address is any text that names the client's host.
    """

    def __init__(self, total_max: int, per_address_max: int) -> None:
        self.total_max = total_max
        self.per_address_max = per_address_max
        self.total = 0
        self._by_address: dict[str, int] = {}
        #: Connections refused so far (``connection_rejected``).
        self.rejected = 0

    def admit(self, address: str) -> bool:
        """Count one more connection, or refuse it; only an admitted one is later given back by :meth:`release`."""
        count = self._by_address.get(address, 0)
        if 0 < self.total_max <= self.total or 0 < self.per_address_max <= count:
            self.rejected += 1
            return False
        self.total += 1
        self._by_address[address] = count + 1
        return True

    def release(self, address: str) -> None:
        """An admitted connection is gone."""
        count = self._by_address[address] - 1
        self.total -= 1
        if count:
            self._by_address[address] = count
        else:
            del self._by_address[address]

    def of(self, address: str) -> int:
        """Open connections from one address."""
        return self._by_address.get(address, 0)


class ThrottleSettings(Protocol):
    """The settings of the connection token bucket, see the property table for their meaning."""

    @property
    def connection_throttle_tokens(self) -> int: ...
    @property
    def connection_throttle_fill_time_ms(self) -> int: ...
    @property
    def connection_throttle_fill_count(self) -> int: ...
    @property
    def connection_throttle_freeze_time_ms(self) -> int: ...
    @property
    def connection_throttle_drop_increase(self) -> float: ...
    @property
    def connection_throttle_drop_decrease(self) -> float: ...
    @property
    def connection_throttle_decrease_ratio(self) -> float: ...
    @property
    def connection_throttle_weight_enabled(self) -> bool: ...
    @property
    def connection_throttle_global_session_weight(self) -> int: ...
    @property
    def connection_throttle_renew_session_weight(self) -> int: ...
    @property
    def connection_throttle_local_session_weight(self) -> int: ...


class ConnectionThrottle:
    """A token bucket for connect requests, with optional random dropping before it is empty (BLUE).

    A refused connect request closes its connection. 0 tokens switch the throttle off. Every ``freeze_time`` the chance
    of a random drop goes up by a step when the bucket is empty, down by one when at most ``decrease_ratio`` of it is
    used; so that, under constant load, it is not always the latecomers who starve. With weights on, a new global
    session, a renewal and a local session cost different amounts. Source: ``BlueThrottle``.
    """

    def __init__(self, settings: ThrottleSettings, random: Random, now_ms: int) -> None:
        self._settings = settings
        self._random = random
        self._weights = settings.connection_throttle_weight_enabled
        self._local = _positive(settings.connection_throttle_local_session_weight, 1)
        self._global = max(_positive(settings.connection_throttle_global_session_weight, 3), self._local)
        self._renew = max(_positive(settings.connection_throttle_renew_session_weight, 2), self._local)
        unit = self._global if self._weights else 1
        self._size = unit * settings.connection_throttle_tokens
        self._fill_count = unit * settings.connection_throttle_fill_count
        self._tokens = self._size
        self._filled_ms = now_ms
        self._adjusted_ms = now_ms
        #: Present chance of a random drop (``connection_drop_probability``).
        self.drop_chance = 0.0

    @property
    def deficit(self) -> int:
        """Tokens in use (``connection_token_deficit``)."""
        return self._size - self._tokens

    def admit(self, *, renewal: bool, now_ms: int, local: bool = False) -> bool:
        """Take the tokens of a connect request, or refuse it; ``local``: a new session that is not replicated."""
        tokens = 1
        if self._weights:
            tokens = self._renew if renewal else self._local if local else self._global
        if self._size <= 0:
            return True
        self._fill(now_ms)
        if self._settings.connection_throttle_freeze_time_ms != _NO_FREEZE:
            self._adjust(now_ms)
            if self._random.random() < self.drop_chance:
                return False
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def _fill(self, now_ms: int) -> None:
        passed = now_ms - self._filled_ms
        period = max(1, self._settings.connection_throttle_fill_time_ms)
        if passed > period:
            self._tokens = min(self._tokens + passed * self._fill_count // period, self._size)
            self._filled_ms = now_ms

    def _adjust(self, now_ms: int) -> None:
        settings = self._settings
        if now_ms - self._adjusted_ms <= settings.connection_throttle_freeze_time_ms:
            return
        self._adjusted_ms = now_ms
        if self._tokens == 0:
            self.drop_chance = min(self.drop_chance + settings.connection_throttle_drop_increase, 1.0)
        elif self.deficit <= int(self._size * settings.connection_throttle_decrease_ratio + 0.5):
            self.drop_chance = max(self.drop_chance - settings.connection_throttle_drop_decrease, 0.0)


def _positive(value: int, default: int) -> int:
    return value if value > 0 else default
