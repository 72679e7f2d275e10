"""`Host.invoke` while another thread of the process computes in Python and so holds the GIL whenever it can."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.measure import Run, percentile, timed
from guesthouse.config import Config

PACE_NS = 20_000_000
"""Open loop: a call is due each 20 ms."""
PACED_SHARE = 9
"""One paced call for so many of the closed loop."""


def intervals() -> dict[str, float]:
    """Switch intervals by who sets them, in seconds."""
    return {"serve": float(Config.model_fields["switch_interval_seconds"].default), "python": sys.getswitchinterval()}


def measure(call: Callable[[], object], calls: int) -> dict[str, dict[str, float]]:
    """p50, p99 and max in µs, by switch interval and kind of loop."""
    runs = {"closed": (timed(call), calls), "paced": (paced(call), calls // PACED_SHARE)}
    found = {}
    for setter, interval in intervals().items():
        for loop, (run, count) in runs.items():
            with _busy_thread(interval):
                times = run(count)
            numbers = {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "max": max(times) / 1e3}
            found[f"{setter}, {loop}"] = numbers
    return found


def paced(call: Callable[[], object]) -> Run:
    """A `Run` whose calls are due at a fixed pace; what is timed includes waking up, and so getting the GIL back."""

    def run(count: int) -> list[int]:
        times = []
        began = time.perf_counter_ns()
        for number in range(count):
            due = began + (number + 1) * PACE_NS
            time.sleep(max(0, due - time.perf_counter_ns()) / 1e9)
            call()
            times.append(time.perf_counter_ns() - due)
        return times

    return run


@contextmanager
def _busy_thread(interval: float) -> Iterator[None]:
    stop = threading.Event()

    def compute() -> None:
        number = 0
        while not stop.is_set():
            for _ in range(1000):
                number += 1

    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
