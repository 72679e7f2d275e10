"""`SimulatedClock`: time that passes only when it is told to, and chance that is the same in each run.

Promises: nothing of the machine's clocks or of its random generator shows; both clocks go on together, and never back.
Must not know who waits for what.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from guesthouse.clock import SYSTEM_CLOCK

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""What it is when nothing else is said."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ORIGIN_NS: Final = 1_000_000_000_000
"""What the monotonic clock begins with: anything but zero, which some take for "never"."""


class SimulatedClock:
    """A `Clock` for tests; `start` is a time with a time zone, `seed` chooses what is random."""

    rearm_seconds = float("inf")

    def __init__(self, start: datetime = START, seed: int = 0) -> None:
        if start.tzinfo is None:
            raise ValueError("the start of a simulated clock needs a time zone")
        self._start_ns = (start - EPOCH) // timedelta(microseconds=1) * 1_000
        self._passed_ns = 0
        self._random = Random(seed)

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never goes back."""
        return ORIGIN_NS + self._passed_ns

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""
        return self._start_ns + self._passed_ns

    @property
    def ahead_ns(self) -> int:
        """By how much `monotonic_ns` is ahead of the machine's."""
        return self.monotonic_ns() - SYSTEM_CLOCK.monotonic_ns()

    def random_bytes(self, count: int) -> bytes:
        """The next `count` bytes; anybody who knows the seed can tell them."""
        return self._random.randbytes(count)

    @property
    def now(self) -> datetime:
        """What time it is, in UTC."""
        return EPOCH + timedelta(microseconds=self.wall_ns() // 1_000)

    def after(self, amount: timedelta) -> int:
        """What the monotonic clock shows after so much time."""
        return self.monotonic_ns() + amount // timedelta(microseconds=1) * 1_000

    def move_to(self, monotonic_ns: int) -> None:
        """Lets time pass until then; in the past that is nothing."""
        self._passed_ns = max(self._passed_ns, monotonic_ns - ORIGIN_NS)
