"""How a guest sees time, and how it waits: coarse clocks with an origin of their own, sleeps that end at the deadline.

Promises: both clocks step by a millisecond; the monotonic one tells nothing of the host's (its origin is random); a
wait holds no thread and never outlasts the invocation.  Must not know any WASI signature.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from guesthouse.errors import DeadlineExceeded

if TYPE_CHECKING:
    from guesthouse.clock import Clock

STEP_NS = 1_000_000
LONGEST_NAP_NS = 3_600 * 1_000_000_000
"""Longer waits are done in several, for not every event loop takes any number of seconds."""

Sleep: TypeAlias = "Callable[[float], Awaitable[object]]"
"""Waits that many seconds: `asyncio.sleep`, or what a simulation puts in its place."""


class GuestTime:
    """The clocks of one invocation; every time is in nanoseconds."""

    __slots__ = ("_clock", "_deadline", "_origin", "_sleep")

    def __init__(self, clock: Clock, deadline_ns: int, sleep: Sleep = asyncio.sleep) -> None:
        self._clock = clock
        self._deadline = deadline_ns
        self._sleep = sleep
        hidden = int.from_bytes(clock.random_bytes(5), "little") * 1_000 + LONGEST_NAP_NS
        self._origin = clock.monotonic_ns() - hidden

    def monotonic(self) -> int:
        """The guest's monotonic clock: whole milliseconds that began to pass at a random, positive value."""
        return (self._clock.monotonic_ns() - self._origin) // STEP_NS * STEP_NS

    def wall(self) -> int:
        """Whole milliseconds since 1970-01-01 UTC, as nanoseconds."""
        return self._clock.wall_ns() // STEP_NS * STEP_NS

    def at(self, instant: int) -> int:
        """The host's time at which the guest's monotonic clock will show `instant` or more."""
        return self._origin + -(-instant // STEP_NS) * STEP_NS

    def after(self, duration: int) -> int:
        """The host's time at which `duration` will have passed by the guest's monotonic clock; now, if it is zero."""
        now = self._clock.monotonic_ns()
        return self.at(now - self._origin + duration) if duration else now

    def until_wall(self, instant: int) -> int:
        """The host's time at which the wall clock will show `instant`, as seen from now."""
        return self.after(max(0, instant - self._clock.wall_ns()))

    def passed(self, when: int) -> bool:
        """Whether the host's time `when` has come."""
        return when <= self._clock.monotonic_ns()

    async def wait(self, when: int) -> None:
        """Returns at the host's time `when`; raises `DeadlineExceeded` at the deadline if that is earlier."""
        while (left := min(when, self._deadline) - self._clock.monotonic_ns()) > 0:
            await self._sleep(min(left, LONGEST_NAP_NS) / 1e9)
        if when > self._deadline:
            raise DeadlineExceeded
