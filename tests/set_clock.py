"""A clock that stands still until a test moves it."""

from __future__ import annotations


class SetClock:
    """Time that a test sets; randomness that counts, so that it never repeats."""

    rearm_seconds = 1.0
    ahead_ns = 0

    def __init__(self) -> None:
        self.monotonic = 1
        self.wall_ms = 1_800_000_000_000
        self.count = 0

    def monotonic_ns(self) -> int:
        return self.monotonic

    def wall_ns(self) -> int:
        return self.wall_ms * 1_000_000

    def random_bytes(self, count: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(count, "big")
