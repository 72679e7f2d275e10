"""`Counts`: how much the queue of each function holds, in memory, for bounds and gauges.

Promises: the same numbers as the tables once everything is committed; asking costs nothing.  Belongs to the loop's thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from guesthouse.queue.config import QueueConfig
from guesthouse.queue.queue import FunctionKey, QueueFull
from guesthouse.queue.rows import Code
from guesthouse.queue.unit import Move
from guesthouse.storage.database import Connection, rows


class FunctionCounts:
    """What the queue holds of one function."""

    __slots__ = ("bytes", "calls", "codes")

    def __init__(self) -> None:
        self.codes = [0] * (Code.DEAD + 2)
        """Invocations by their state; the last place is that of -1, the suspended ones."""
        self.calls = 0
        """Calls that are queued, running or suspended, or being written."""
        self.bytes = 0
        """Of their requests, journals and completions."""

    @property
    def queued(self) -> int:
        """Calls that wait, for their turn, for their time or for their key."""
        return sum(self.codes[: Code.RUNNING])

    @property
    def running(self) -> int:
        return self.codes[Code.RUNNING]

    @property
    def suspended(self) -> int:
        return self.codes[Code.SUSPENDED]

    @property
    def dead(self) -> int:
        return self.codes[Code.DEAD]


_NOTHING = FunctionCounts()


class Counts:
    """Those of one queue, as `read` found them and `moved` keeps them."""

    def __init__(self, config: QueueConfig) -> None:
        self._config = config
        self._functions: dict[FunctionKey, FunctionCounts] = {}
        self._namespaces: dict[str, list[int]] = {}
        self.calls = 0
        self.bytes = 0
        self.dead_bytes = 0
        """Of dead letters: requests, records and answers."""
        self.kept_bytes = 0
        """Of records and answers of what has ended."""

    def __iter__(self) -> Iterator[tuple[FunctionKey, FunctionCounts]]:
        return iter(tuple(self._functions.items()))

    @property
    def running(self) -> int:
        """Calls that are leased."""
        return sum(of.running for of in self._functions.values())

    def ready(self, function: FunctionKey) -> bool:
        """Whether calls of a function wait for nothing but their turn."""
        of = self._functions.get(function)
        return of is not None and of.codes[Code.READY] + of.codes[Code.STRUCK] > 0

    def delayed(self, function: FunctionKey) -> bool:
        """Whether calls of a function wait for their time."""
        of = self._functions.get(function)
        return of is not None and of.codes[Code.DELAYED] > 0

    def suspended(self, function: FunctionKey) -> bool:
        """Whether calls of a function are suspended."""
        of = self._functions.get(function)
        return of is not None and of.codes[Code.SUSPENDED] > 0

    def reserve(self, function: FunctionKey, size: int) -> None:
        """Counts a call that is about to be written; raises `QueueFull` where there is no room for it."""
        calls, bytes_ = self._config.max_calls, self._config.max_bytes
        of, all_of = self._functions.get(function, _NOTHING), self._namespaces.get(function[0], (0, 0))
        if self.calls >= calls or self.bytes + size > bytes_:
            raise _full("", self.calls, self.bytes)
        if 4 * all_of[0] >= 3 * calls or 4 * (all_of[1] + size) > 3 * bytes_:
            raise _full(f" of {function[0]}", *all_of)
        if 2 * of.calls >= calls or 2 * (of.bytes + size) > bytes_:
            raise _full(f" of {'/'.join(function)}", of.calls, of.bytes)
        self._add(function, 1, size)

    def free(self, function: FunctionKey, size: int) -> None:
        """Gives back what `reserve` counted."""
        self._add(function, -1, -size)

    def moved(self, moves: Iterable[Move]) -> None:
        """Counts what a commit has changed."""
        sums: dict[tuple[FunctionKey, Code | None, Code | None], list[int]] = {}
        for function, old, new, size, kept, grown in moves:  # most are alike
            of = sums.setdefault((function, old, new), [0, 0, 0, 0])
            of[0] += 1
            of[1] += size
            of[2] += kept
            of[3] += grown
        for (function, old, new), (count, size, kept, grown) in sums.items():
            if grown:
                self._grow(function, old, grown)
            if old is not None and old is new:
                continue
            if old is not None and new is not None and old <= Code.RUNNING and new <= Code.RUNNING:
                codes = self._of(function).codes
                codes[old] -= count
                codes[new] += count
                continue
            if old is not None:
                self._count(function, old, -count, size, kept)
            if new is not None:
                self._count(function, new, count, size, kept)

    def become(self, found: Counts, reserved: Iterable[tuple[FunctionKey, int]]) -> None:
        """Takes what others have counted anew, and counts once more what is about to be written."""
        self._functions, self._namespaces = found._functions, found._namespaces
        self.calls, self.bytes = found.calls, found.bytes
        self.dead_bytes, self.kept_bytes = found.dead_bytes, found.kept_bytes
        for function, size in reserved:
            self._add(function, 1, size)

    def read(self, connection: Connection) -> int:
        """Counts what the tables hold; the latest place that a call in the queue has."""
        latest = 0
        query = (
            "SELECT namespace, name, state, count(*), sum(size), max(due_ms) FROM invocations"
            " INDEXED BY invocations_waiting WHERE state < 4 GROUP BY namespace, name, state"
        )
        for namespace, name, code, count, size, due_ms in rows(connection, query):
            self._count((namespace, name), code, count, size, 0)
            if code in (Code.READY, Code.PARKED):
                latest = max(latest, due_ms)
        query = (
            "SELECT namespace, name, count(*), sum(size) FROM invocations INDEXED BY invocations_running"
            " WHERE state = 4 GROUP BY namespace, name"
        )
        for namespace, name, count, size in rows(connection, query):
            self._count((namespace, name), Code.RUNNING, count, size, 0)
        query = (
            "SELECT namespace, name, count(*), sum(size + kept) FROM invocations INDEXED BY invocations_dead"
            " WHERE state = 5 GROUP BY namespace, name"
        )
        for namespace, name, count, size in rows(connection, query):
            self._count((namespace, name), Code.DEAD, count, size, 0)
        query = "SELECT coalesce(sum(kept), 0) FROM invocations INDEXED BY invocations_ended WHERE state > 5"
        self.kept_bytes = rows(connection, query)[0][0]
        return latest

    def _count(self, function: FunctionKey, code: int, count: int, size: int, kept: int) -> None:
        """`count` invocations come or, where it is negative, go; `size` and `kept` are those of all of them."""
        sign = 1 if count > 0 else -1
        if code > Code.DEAD:
            self.kept_bytes += sign * kept
            return
        of = self._of(function)
        of.codes[code] += count
        if code == Code.DEAD:
            self.dead_bytes += sign * (size + kept)
            self._tidy(function, of)
        else:
            self._add(function, count, sign * size)

    def _grow(self, function: FunctionKey, code: Code | None, size: int) -> None:
        if code == Code.DEAD:
            self.dead_bytes += size
        else:
            self._add(function, 0, size)

    def _of(self, function: FunctionKey) -> FunctionCounts:
        of = self._functions.get(function)
        if of is None:
            of = self._functions[function] = FunctionCounts()
        return of

    def _add(self, function: FunctionKey, count: int, size: int) -> None:
        of = self._of(function)
        of.calls += count
        of.bytes += size
        self.calls += count
        self.bytes += size
        all_of = self._namespaces.setdefault(function[0], [0, 0])
        all_of[0] += count
        all_of[1] += size
        if not all_of[0]:
            del self._namespaces[function[0]]
        self._tidy(function, of)

    def _tidy(self, function: FunctionKey, of: FunctionCounts) -> None:
        if not of.calls and not any(of.codes):
            del self._functions[function]


def _full(whose: str, calls: int, size: int) -> QueueFull:
    return QueueFull(f"{calls} calls{whose} are queued, of {size} bytes: there is no room for more")
