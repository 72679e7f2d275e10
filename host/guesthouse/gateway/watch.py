"""`Watch`: the deadlines of all connections from one slow tick, and how many connections there may be (C1).

Promises: a request costs no timer and no look at a clock; a deadline is noticed at most one tick late.  What a
connection does about a deadline is its own business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from guesthouse.clock import Clock
from guesthouse.config import Http
from guesthouse.gateway.batch import WriteBatch

TICKS_PER_DEADLINE: Final = 10
LONGEST_TICK_SECONDS: Final = 0.5


class Watched(Protocol):
    """A connection, as the watch sees it."""

    def check(self, now: float, elapsed: float) -> None:
        """`elapsed` seconds have passed since the last call."""


class Pace:
    """A bucket that empties at the slowest rate allowed: what arrives fills it, and it holds a grace period's worth."""

    __slots__ = ("_full", "_left", "_rate")

    def __init__(self, rate: float, grace: float) -> None:
        self._rate = rate
        self._full = self._left = rate * grace

    def keeps_up(self, progress: int, elapsed: float) -> bool:
        """True unless less than the rate has come for longer than the grace period."""
        self._left = min(self._full, self._left - self._rate * elapsed + progress)
        return self._left > 0


class Watch:
    """One for each server: `now` is the time of the last tick, in seconds on a clock that never goes back."""

    def __init__(self, settings: Http, clock: Clock) -> None:
        self.settings = settings
        self.connections_allowed = settings.connections
        self._clock = clock
        self._tick = min(
            LONGEST_TICK_SECONDS,
            min(
                settings.header_seconds,
                settings.body_grace_seconds,
                settings.write_stall_seconds,
                settings.keep_alive_seconds,
                settings.linger_seconds,
            )
            / TICKS_PER_DEADLINE,
        )
        self._trusted = frozenset(settings.trusted_addresses)
        self._per_address: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.open = 0
        """Connections that are open now."""
        self.refused = 0
        """Connections that were closed at once, because there were too many."""
        self.now = self._read_clock()
        self.batch = WriteBatch()
        self.date_line = ""
        """The `date` header of answers; whoever ticks along keeps it right."""

    def start(
        self, loop: asyncio.AbstractEventLoop, connections: Iterable[Watched], each_tick: Callable[[], None]
    ) -> None:
        """Begins to tick: checks all `connections`, which may change meanwhile, and then calls `each_tick`."""

        def tick() -> None:
            self._timer = loop.call_later(self._tick, tick)
            before, self.now = self.now, self._read_clock()
            elapsed = self.now - before
            for connection in list(connections):
                connection.check(self.now, elapsed)
            each_tick()

        self._timer = loop.call_later(self._tick, tick)

    def stop(self) -> None:
        """Ticks no more."""
        if self._timer is not None:
            self._timer.cancel()

    def admit(self, address: str) -> bool:
        """Counts a new connection; false if there are too many from that address, or in all."""
        self.open += 1
        count = self._per_address[address] = self._per_address.get(address, 0) + 1
        if self.open > self.connections_allowed:
            return False
        return count <= self.settings.connections_per_address or address in self._trusted

    def leave(self, address: str) -> None:
        """A connection that `admit` counted is gone."""
        self.open -= 1
        left = self._per_address.get(address, 0) - 1
        if left > 0:
            self._per_address[address] = left
        else:
            self._per_address.pop(address, None)

    def _read_clock(self) -> float:
        return self._clock.monotonic_ns() / 1e9
