"""`Dues`: when queued calls become due that have to wait for their time, by function.

Pure bookkeeping, bounded: of each function only the next times are kept, and past those the queue has to be asked again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from guesthouse.queue.queue import FunctionKey

MOST_TIMES = 1_000
"""Times that are kept of one function."""


class Dues:
    """Times in milliseconds since 1970-01-01 UTC."""

    def __init__(self) -> None:
        self._times: dict[FunctionKey, list[int]] = {}
        self._partial: set[FunctionKey] = set()
        self.blind = False
        """There may be times that are not known here: the queue has to be asked, and its answer given to `learn`."""

    def add(self, function: FunctionKey, due_ms: int) -> None:
        """A call becomes due then."""
        times = self._times.setdefault(function, [])
        heapq.heappush(times, due_ms)
        if len(times) > MOST_TIMES:
            self._times[function] = heapq.nsmallest(MOST_TIMES // 2, times)
            self._partial.add(function)

    def first(self) -> int | None:
        """The next time of all."""
        return min((times[0] for times in self._times.values()), default=None)

    def come(self, now_ms: int) -> Iterator[FunctionKey]:
        """Functions of which calls have become due; each time is given out once."""
        for function, times in list(self._times.items()):
            if times[0] <= now_ms:
                while times and times[0] <= now_ms:
                    heapq.heappop(times)
                if not times:
                    del self._times[function]
                yield function

    def emptied(self, function: FunctionKey) -> None:
        """Nothing more of a function is due now."""
        if function in self._partial and function not in self._times:
            self.blind = True

    def learn(self, next_due_ms: Mapping[FunctionKey, int | None]) -> None:
        """What the queue knows: the next time of each function."""
        self.blind = False
        self._partial.clear()
        for function, due_ms in next_due_ms.items():
            if due_ms is not None:
                self._partial.add(function)
                if function not in self._times:
                    self._times[function] = [due_ms]
