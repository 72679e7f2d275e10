"""Interleaved measuring: every contestant in every round, so that what else the machine does hits all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Run = Callable[[int], list[int]]
"""Makes that many calls and returns the nanoseconds of each."""

WARM = 0.2
"""Share of the calls of each round that come before it and are not counted."""


@dataclass
class Contestant:
    """One way of making the same call."""

    name: str
    run: Run
    calls: int = 200
    """In each round."""
    rounds: list[list[int]] = field(default_factory=list)

    def measure(self) -> None:
        """One more round."""
        self.run(max(1, int(self.calls * WARM)))
        self.rounds.append(self.run(self.calls))

    def percentile(self, share: float) -> float:
        """Over all rounds, in µs."""
        return percentile([time_ns for times in self.rounds for time_ns in times], share)

    @property
    def p50(self) -> float:
        """µs"""
        return self.percentile(0.5)

    @property
    def p99(self) -> float:
        """µs"""
        return self.percentile(0.99)

    def ratio(self, other: Contestant) -> float:
        """How many times longer a call takes than one of `other`: the median over the rounds of the ratio of p50s."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(statistics.median(mine) / statistics.median(theirs) for mine, theirs in pairs)

    @property
    def best(self) -> float:
        """p50 of the best round, in µs: other programs can only make a round slower."""
        return min(statistics.median(times) for times in self.rounds) / 1e3


def percentile(times_ns: Sequence[int], share: float) -> float:
    """In µs."""
    ordered = sorted(times_ns)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e3


def interleave(contestants: Sequence[Contestant], rounds: int) -> None:
    """`rounds` rounds of all contestants, each round beginning with another one."""
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            gc.collect(0)
            contestant.measure()


def timed(call: Callable[[], object]) -> Run:
    """A `Run` that times each call of `call`."""

    def run(count: int) -> list[int]:
        clock = time.perf_counter_ns
        times = []
        for _ in range(count):
            began = clock()
            call()
            times.append(clock() - began)
        return times

    return run
