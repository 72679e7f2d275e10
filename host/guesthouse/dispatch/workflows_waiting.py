"""`Tally`: what has ended of the promises that somebody waits for, and whether that is enough.

Pure: promises, how some have ended and the time in; whether it is enough out, or what is still waited for.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

from guesthouse.interfaces.durable import Promise, Until
from guesthouse.interfaces.durable.values import AWAKEABLE
from guesthouse.queue.call import CANCELLATION, Wait

SEVERAL: Final = frozenset({Until.ALL, Until.FAILURE})
"""Of these everything is told that has ended by then."""
OK: Final = "ok"
"""The outcome of what succeeded, and of each timer."""


class Tally:
    """That of one wait."""

    def __init__(self, promises: Sequence[Promise], until: Until, passed: Container[int] = ()) -> None:
        """`passed` are numbers of timers that have ended before, whatever the clock says now."""
        self.ended: set[int] = set()
        """Places of those that have ended."""
        self.decided: int | None = None
        """The place of the one with which it was enough."""
        self.until = until
        self.fresh = True
        """Nobody has looked yet."""
        self._count = len(promises)
        self._places: dict[int, list[int]] = {}
        timers: list[tuple[int, int]] = []
        for place, promise in enumerate(promises):
            if promise.due_ms is None:
                self._places.setdefault(promise.number, []).append(place)
            else:
                timers.append((0 if promise.number in passed else promise.due_ms, place))
        self._timers = sorted(timers, reverse=True)
        self._awakeables = {promise.number for promise in promises if promise.id.startswith(AWAKEABLE)}

    @property
    def what(self) -> str:
        """What has not ended, for people: how many of which kind."""
        awakeables = sum(number in self._awakeables for number in self._places)
        kinds = (("call", self.left - awakeables), ("awakeable", awakeables), ("timer", len(self._timers)))
        return ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in kinds if count)

    @property
    def pending(self) -> Iterable[int]:
        """Numbers of promises that have not ended, timers apart."""
        return self._places.keys()

    @property
    def left(self) -> int:
        """How many those are."""
        return len(self._places)

    @property
    def next_ms(self) -> int | None:
        """When the next timer ends."""
        return self._timers[-1][0] if self._timers else None

    def take(self, outcomes: Mapping[int, str]) -> None:
        """Notes how promises have ended, by their numbers, in this order."""
        for number, outcome in outcomes.items():
            for place in self._places.pop(number, ()):
                self._end(place, outcome)

    def pass_time(self, now_ms: int) -> list[int]:
        """Notes which timers have ended: their places."""
        ended = []
        while self._timers and self._timers[-1][0] <= now_ms:
            ended.append(self._timers.pop()[1])
            self._end(ended[-1], OK)
        return ended

    def _end(self, place: int, outcome: str) -> None:
        if self.decided is not None and self.until not in SEVERAL:
            return
        self.ended.add(place)
        if self.decided is not None:
            return
        well, last = outcome == OK, len(self.ended) == self._count
        match self.until:
            case Until.END:
                enough = True
            case Until.SUCCESS:
                enough = well or last
            case Until.FAILURE:
                enough = not well or last
            case Until.ALL:
                enough = last
        if enough:
            self.decided = place

    def wait(self, until_ms: int | None, *, cancellation: bool) -> Wait:
        """What has to come before it can be enough, at `until_ms` at the latest; or the `cancellation` of the invocation."""
        numbers = ranges([*((CANCELLATION,) if cancellation else ()), *sorted(self._places)])
        left = len(self._places)
        times = [until_ms]
        if self._timers and (self.until in (Until.END, Until.SUCCESS) or not left):
            times.append(self._timers[-1 if self.until in (Until.END, Until.SUCCESS) else 0][0])
        due_ms = min((time for time in times if time is not None), default=None)
        match self.until:
            case Until.END:
                return Wait(numbers, ends=1, until_ms=due_ms)
            case Until.SUCCESS:
                return Wait(numbers, oks=1, failures=None if self._timers else left, until_ms=due_ms)
            case Until.FAILURE:
                return Wait(numbers, oks=left or None, failures=1, until_ms=due_ms)
            case Until.ALL:
                return Wait(numbers, ends=left or None, until_ms=due_ms)


def ranges(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, first and last."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
