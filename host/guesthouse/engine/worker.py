"""`Workers`: threads that run guests which have used up their first slice, so that no guest delays the loop.

A worker runs one slice of one guest at a time, without the GIL.  Guests that have run for long wait longer for the next
slice than young ones, so that a short computation finishes soon even beside a thousand endless ones.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from typing import Protocol

from guesthouse._native.api import YIELDED

YOUNG_SLICES = 16
"""A guest that has used fewer slices than this (about 30 ms) goes before the older ones."""
YOUNG_TURNS = 3
"""Turns that young guests get for each turn of an old one."""
NICENESS = 5
"""The loop's thread goes first where the processor is short: it answers everybody, a worker one."""


class Runnable(Protocol):
    """A guest as a worker sees it."""

    slices: int

    def run_slice(self) -> int:
        """One slice; returns a status of the native API."""

    def slice_ended(self, status: int) -> None:
        """Called in the worker's thread when the status is not that it yielded."""


class Workers:
    """A fixed number of threads, started at the first use."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or max(1, min(8, os.cpu_count() or 1))
        self._ready = threading.Condition()
        self._young: deque[Runnable] = deque()
        self._old: deque[Runnable] = deque()
        self._turn = 0
        self._threads: list[threading.Thread] = []
        self._closing = False

    def submit(self, guest: Runnable) -> None:
        """Queues a guest; safe from any thread."""
        with self._ready:
            if not self._threads:
                self._start()
            self._queue_of(guest).append(guest)
            self._ready.notify()

    def close(self) -> None:
        """Stops the threads after the slices they are in."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        for number in range(self.count):
            thread = threading.Thread(target=self._work, name=f"guest-worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _queue_of(self, guest: Runnable) -> deque[Runnable]:
        return self._young if guest.slices < YOUNG_SLICES else self._old

    def _next(self) -> Runnable | None:
        with self._ready:
            while not (self._young or self._old):
                if self._closing:
                    return None
                self._ready.wait()
            self._turn += 1
            old_turn = not self._young or (self._old and self._turn % (YOUNG_TURNS + 1) == 0)
            return self._old.popleft() if old_turn else self._young.popleft()

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (guest := self._next()) is not None:
            status = guest.run_slice()
            if status == YIELDED:
                with self._ready:
                    self._queue_of(guest).append(guest)
            else:
                guest.slice_ended(status)
