"""`Reads`: what many ask to read at the same moment is read together: one thread's turn, one transaction.

Promises: whoever asks sees all writes that were acknowledged before; an error of one is no other's; one that takes long holds up
few others.  Handing a read to a thread and back costs several times what a short one takes, and each statement gives the
interpreter away.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, NamedTuple

import apsw

from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.storage.schema import Connection

MOST_READERS: Final = 4
"""Threads that read at once: as many as there are connections kept for them."""
MOST_TOGETHER: Final = 64
"""Reads of one transaction: with more, the first would wait for long."""
TOGETHER_NS: Final = 2_000_000
"""And how long it goes on to take further ones."""

BEHIND_SECONDS: Final = 0.005
"""How long something waits behind a read before another reader takes it."""

Work = Callable[[Connection], Any]


class _Asked(NamedTuple):
    work: Work
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    number: int
    """Counted from the first that was asked."""


class _Told(NamedTuple):
    asked: _Asked
    result: Any
    error: BaseException | None


class Reads:
    """Those of one database: `view` opens a transaction, `alone` does one read by itself."""

    def __init__(self, view: Callable[[], AbstractContextManager[Connection]], alone: Callable[[Work], Any]) -> None:
        self._view = view
        self._alone = alone
        self._waiting: deque[_Asked] = deque()
        self._lock = threading.Lock()
        self._readers = 0
        self._asked = 0
        self._starting = False
        """Whether one of them has not taken anything yet: it will take what is asked now."""
        self._watching: asyncio.AbstractEventLoop | None = None
        """Where somebody looks again soon."""

    def ask(self, work: Work) -> asyncio.Future[Any]:
        """Reads soon; on a loop.  Whoever gives up waiting is passed over."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._asked += 1
            self._waiting.append(_Asked(work, future, loop, self._asked))
            watches, self._watching = self._watching is not loop, loop
        self._look(loop)
        if watches:
            loop.call_later(BEHIND_SECONDS, self._look_again, loop)
        return future

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Has one more reader begin, if none is about to and there may be more."""
        with self._lock:
            starts = bool(self._waiting) and not self._starting and self._readers < MOST_READERS
            if starts:
                self._starting = True
                self._readers += 1
        if starts:
            loop.run_in_executor(None, self._serve)

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        """What still waits stands behind a read that takes long."""
        with self._lock:
            self._watching = loop if self._waiting else None
        if self._watching is not None:
            self._look(loop)
            loop.call_later(BEHIND_SECONDS, self._look_again, loop)

    # -- on a thread

    def _serve(self) -> None:
        while (first := self._take()) is not None:
            told: list[_Told] = []
            try:
                self._together(first, told)
            except BaseException as error:  # the view could not be opened, or closed: nobody has been told
                told = [_Told(each.asked, None, error) for each in told] or [_Told(first, None, error)]
            _tell(told)

    def _take(self, last: int | None = None) -> _Asked | None:
        """What has waited for longest, of those up to `last`; without that, a reader that finds nothing ends with this."""
        with self._lock:
            self._starting = False
            while self._waiting and (last is None or self._waiting[0].number <= last):
                asked = self._waiting.popleft()
                if not asked.future.cancelled():
                    return asked
            if last is None:
                self._readers -= 1
            return None

    def _together(self, first: _Asked, told: list[_Told]) -> None:
        """Reads what waits, in one view; not what is asked later, for that must see writes that the view does not have."""
        began, asked = SYSTEM_CLOCK.monotonic_ns(), first
        with self._lock:
            last = self._asked
        try:
            with self._view() as connection:
                while True:
                    told.append(_done(asked, lambda work: work(connection)))
                    if len(told) >= MOST_TOGETHER or SYSTEM_CLOCK.monotonic_ns() - began > TOGETHER_NS:
                        return
                    following = self._take(last)
                    if following is None:
                        return
                    asked = following
        except apsw.Error:  # of one of them, or of the view: each on its own then
            again = [each.asked for each in told]
            again += [asked] if asked not in again else []
            told[:] = [_done(each, self._alone) for each in again]


def _done(asked: _Asked, run: Callable[[Work], Any]) -> _Told:
    try:
        return _Told(asked, run(asked.work), None)
    except apsw.Error:
        raise
    except BaseException as error:
        return _Told(asked, None, error)


def _tell(told: list[_Told]) -> None:
    """Tells those who wait, one visit to each loop."""
    loops: dict[asyncio.AbstractEventLoop, list[_Told]] = {}
    for each in told:
        loops.setdefault(each.asked.loop, []).append(each)
    for loop, theirs in loops.items():
        with suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, theirs)


def _settle(told: list[_Told]) -> None:
    for (_, future, _, _), result, error in told:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
