"""`FreeSpace`: new durable work is refused before the disk is full, so that the work that was accepted can end.

Knows nothing of what is stored.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.storage.errors import StorageFull

LEAST_BYTES: Final = 512 << 20
"""Left free on a large disk: minutes of writing, so that somebody can see to it."""
LEAST_PART: Final = 20
"""On a small disk that is one part of so many."""
FRESH_NS: Final = 1_000_000_000
"""How long one look is believed."""

Measure = Callable[[], tuple[int, int]]
"""Free and all bytes of a file system."""


class FreeSpace:
    """The file system of `directory`; `None`: memory, which has room.  `measure` is for tests."""

    def __init__(self, directory: Path | None, clock: Clock = SYSTEM_CLOCK, measure: Measure | None = None) -> None:
        self._measure = measure or (None if directory is None else lambda: _measured(directory))
        self._clock = clock
        self._looked_ns: int | None = None
        self._low = False

    def check(self) -> None:
        """Raises `StorageFull` where the disk has no room for new work; looks at it once a second at most."""
        if self._measure is None:
            return
        now = self._clock.monotonic_ns()
        if self._looked_ns is None or now - self._looked_ns >= FRESH_NS:
            self._looked_ns = now
            free, whole = self._measure()
            self._low = free < min(LEAST_BYTES, whole // LEAST_PART)
        if self._low:
            raise StorageFull("the data directory's disk is nearly full: new work is refused until there is room")


def _measured(directory: Path) -> tuple[int, int]:
    """Bytes of a file system; one that does not say counts as empty."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return 1, 1
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
