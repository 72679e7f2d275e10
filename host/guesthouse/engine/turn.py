"""`Turn`: how long a guest that is on a worker is carried on on the loop, where it only makes host calls.

Handing it back and forth costs tens of microseconds, for two threads and a turn of the loop: more than several calls.
"""

from __future__ import annotations

from guesthouse.clock import SYSTEM_CLOCK

CALLS_PER_TURN = 128
"""Host calls that such a guest may make in a row before others have their turn."""
CALLS_PER_LOOK = 16
TURN_NS = 250_000
"""A turn is no longer than this (half of a first slice), which is looked at after every `CALLS_PER_LOOK` calls."""


class Turn:
    """The turns of one guest, one after the other."""

    __slots__ = ("_began_ns", "_calls")

    def __init__(self) -> None:
        self._calls = self._began_ns = 0

    def goes_on(self, brief: bool) -> bool:
        """Whether it is carried on here once more; `brief`: it has computed next to nothing since its last host call."""
        calls = self._calls = self._calls + 1 if brief else 0
        if calls == 1:
            self._began_ns = SYSTEM_CLOCK.monotonic_ns()
        elif (
            calls
            and not calls % CALLS_PER_LOOK
            and (calls >= CALLS_PER_TURN or SYSTEM_CLOCK.monotonic_ns() - self._began_ns > TURN_NS)
        ):
            self._calls = 0
        return self._calls > 0
