"""`Workers`: threads that run guests which have used up their first slice, so that no guest delays the loop.

A worker runs one slice of one guest at a time, without the GIL.  Functions take turns, so that a function with a thousand
endless guests takes no more of the processors than another with one.  Of one function, guests that have run for long
wait longer for the next slice than young ones, so that a short computation finishes soon.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from typing import Protocol

from guesthouse._native.api import YIELDED

YOUNG_SLICES = 16
"""A guest that has used fewer slices than this (about 30 ms) goes before the older ones of its function."""
YOUNG_TURNS = 3
"""Turns that young guests get for each turn of an old one."""
NICENESS = 5
"""The loop's thread goes first where the processor is short: it answers everybody, a worker one."""


class Runnable(Protocol):
    """A guest as a worker sees it."""

    slices: int

    @property
    def function(self) -> object:
        """What it is an instance of: guests of one function take one turn together."""

    def run_slice(self) -> int:
        """One slice; returns a status of the native API."""

    def slice_ended(self, status: int) -> None:
        """Called in the worker's thread when the status is not that it yielded."""


class Lane:
    """The waiting guests of one function."""

    __slots__ = ("_old", "_turn", "_young")

    def __init__(self) -> None:
        self._young: deque[Runnable] = deque()
        self._old: deque[Runnable] = deque()
        self._turn = 0

    def __bool__(self) -> bool:
        return bool(self._young or self._old)

    def add(self, guest: Runnable) -> None:
        """Puts a guest behind those of its age."""
        (self._young if guest.slices < YOUNG_SLICES else self._old).append(guest)

    def next(self) -> Runnable:
        """The guest whose turn it is."""
        self._turn += 1
        old_turn = not self._young or (self._old and self._turn % (YOUNG_TURNS + 1) == 0)
        return self._old.popleft() if old_turn else self._young.popleft()


class Workers:
    """A fixed number of threads, started at the first use."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count or max(1, min(8, os.cpu_count() or 1))
        self._ready = threading.Condition()
        self._lanes: dict[object, Lane] = {}
        self._turns: deque[object] = deque()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def submit(self, guest: Runnable) -> None:
        """Queues a guest; safe from any thread."""
        with self._ready:
            if not self._threads:
                self._start()
            self._enqueue(guest)
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

    def _enqueue(self, guest: Runnable) -> None:
        lane = self._lanes.get(guest.function)
        if lane is None:
            lane = self._lanes[guest.function] = Lane()
            self._turns.append(guest.function)
        lane.add(guest)

    def _next(self) -> Runnable | None:
        with self._ready:
            while not self._turns:
                if self._closing:
                    return None
                self._ready.wait()
            function = self._turns.popleft()
            lane = self._lanes[function]
            guest = lane.next()
            if lane:
                self._turns.append(function)
            else:
                del self._lanes[function]
            return guest

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (guest := self._next()) is not None:
            status = guest.run_slice()
            if status == YIELDED:
                with self._ready:
                    self._enqueue(guest)
            else:
                guest.slice_ended(status)
