"""`Clock`: the only place that reads time or entropy, so that tests and replay can answer them instead."""

from __future__ import annotations

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Where the host's time and randomness come from."""

    def monotonic_ns(self) -> int:
        """Nanoseconds on a clock that never goes back; only differences mean anything."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""

    def random_bytes(self, count: int) -> bytes:
        """`count` bytes that nobody can guess."""


class SystemClock:
    """The machine's clocks and the kernel's random generator."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)
    random_bytes = staticmethod(os.urandom)


SYSTEM_CLOCK = SystemClock()
