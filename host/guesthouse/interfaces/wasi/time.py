"""How a guest sees time, and how it waits: coarse clocks with an origin of their own, sleeps that end at the deadline.

Promises: both clocks step by a millisecond; the monotonic one tells nothing of the host's (its origin is random); a
wait holds no thread and never outlasts the invocation.  Where the invocation has a journal, its monotonic clock goes on in
its next run, after a crash or a suspension, as if it had been the same one; a wait that is over is not waited for again.
Must not know any WASI signature.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from guesthouse.durable.errors import JournalDamaged, Suspended
from guesthouse.errors import DeadlineExceeded
from guesthouse.queue.call import Wait

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.durable.journal import Journal
    from guesthouse.interfaces.invocation import Invocation

STEP_NS = 1_000_000
LONGEST_NAP_NS = 3_600 * 1_000_000_000
"""Longer waits are done in several, for not every event loop takes any number of seconds."""

BRIEF_NS = 100 * STEP_NS
"""A wait that is begun again after a crash, if it is no longer than this."""

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

    def now(self) -> int:
        """The host's time."""
        return self._clock.monotonic_ns()

    def monotonic(self) -> int:
        """The guest's monotonic clock: whole milliseconds that began to pass at a random, positive value."""
        return (self.now() - self._origin) // STEP_NS * STEP_NS

    def wall(self) -> int:
        """Whole milliseconds since 1970-01-01 UTC, as nanoseconds."""
        return self._wall() // STEP_NS * STEP_NS

    def at(self, instant: int) -> int:
        """The host's time at which the guest's monotonic clock will show `instant` or more."""
        return self._origin + -(-instant // STEP_NS) * STEP_NS

    def after(self, duration: int) -> int:
        """The host's time at which `duration` will have passed by the guest's monotonic clock; now, if it is zero."""
        now = self.now()
        return self.at(now - self._origin + duration) if duration else now

    def until_wall(self, instant: int) -> int:
        """The host's time at which the wall clock will show `instant`, as seen from now."""
        return self.after(max(0, instant - self._wall()))

    async def wait(self, when: int) -> None:
        """Returns at the host's time `when`; raises `DeadlineExceeded` at the deadline if that is earlier."""
        await self._wait(when, self._deadline)

    async def _wait(self, when: int, deadline: int) -> None:
        while (left := min(when, deadline) - self._clock.monotonic_ns()) > 0:
            await self._sleep(min(left, LONGEST_NAP_NS) / 1e9)
        if when > deadline:
            raise DeadlineExceeded

    def _wall(self) -> int:
        return self._clock.wall_ns()


class JournaledTime(GuestTime):
    """The clocks of an invocation with a journal, which says what they showed; the host's times here are the guest's.

    In another run the monotonic clock has advanced by what the wall's has, and never goes back.
    """

    __slots__ = ("_begin", "_invocation", "_journal", "_latest", "_shift")

    def __init__(
        self,
        clock: Clock,
        invocation: Invocation,
        journal: Journal,
        sleep: Sleep = asyncio.sleep,
        before: JournaledTime | None = None,
    ) -> None:
        """`before` are the clocks that a step has seen, of which the journal knows nothing: these go on with them."""
        super().__init__(clock, 0, sleep)
        self._invocation = invocation
        self._journal = journal
        hidden = clock.monotonic_ns() - self._origin if before is None else before._read()
        self._origin = 0
        self._latest = self._observed("the origin of the monotonic clock", lambda: hidden)
        self._begin = self._observed("the wall clock", clock.wall_ns) - self._latest
        """What the wall clock showed when the guest's was at 0."""
        self._shift = max(self._latest, clock.wall_ns() - self._begin) - clock.monotonic_ns()

    def now(self) -> int:
        self._latest = max(self._latest, self._observed("the monotonic clock", self._read))
        return self._latest

    async def wait(self, when: int) -> None:
        """Returns when the guest's clock shows `when`, or has done so in an earlier run; may raise `Suspended`."""
        if self._journal.replaying:  # there is more: it has been waited for
            return
        self._journal.check_live()
        left = when - self._read()
        if left <= 0:
            return
        if (
            not self._journal.durable or self._journal.steps.name is not None
        ):  # a step begins anew where it is suspended
            await self._wait(when - self._shift, self._invocation.deadline_ns)
            return
        if left > BRIEF_NS:
            await self._journal.flush()  # when it began must not be lost
        await self._linger(when)

    async def _linger(self, when: int) -> None:
        timer = asyncio.ensure_future(self._wait(when - self._shift, 1 << 62))
        try:
            over = await self._invocation.linger(timer)
        finally:
            timer.cancel()
        if not over:
            raise Suspended(Wait(until_ms=-(-(when + self._begin) // STEP_NS)), "1 timer")

    def _read(self) -> int:
        now = self._clock.monotonic_ns() + self._shift
        if now < self._latest:
            self._shift += self._latest - now
            now = self._latest
        return now

    def _wall(self) -> int:
        return self._observed("the wall clock", self._clock.wall_ns)

    def _observed(self, what: str, read: Callable[[], int]) -> int:
        found = self._invocation.observe(what, read)
        if type(found) is not int:
            raise self._journal.breaks(JournalDamaged(f"the journal has no time for {what}"))
        return found
