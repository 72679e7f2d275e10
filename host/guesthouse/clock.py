"""`Clock`: the only place that reads time or entropy, so that tests and replay can answer them instead."""

from __future__ import annotations

import os
import time
from typing import Final, Protocol

REARM_SECONDS: Final = 1.0
"""A time that is set by the wall's clock is looked at again so often, for that clock can be put back and forth (F9)."""


class Clock(Protocol):
    """Where the host's time and randomness come from."""

    rearm_seconds: float
    """How long to sleep at most until a time of the wall's clock; infinite where both clocks always go on together."""

    @property
    def ahead_ns(self) -> int:
        """By how much `monotonic_ns` is ahead of the machine's, by which the computing of guests is bounded."""

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never goes back; only differences mean anything."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes that nobody can guess."""


class SystemClock:
    """The machine's clocks and the kernel's random generator."""

    rearm_seconds = REARM_SECONDS
    ahead_ns = 0
    monotonic_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)
    random_bytes = staticmethod(os.urandom)


SYSTEM_CLOCK = SystemClock()
