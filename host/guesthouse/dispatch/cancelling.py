"""`Cancelling`: ends invocations before they end by themselves, with all that they called and wait for.

Promises: the leaves are told before those that wait for them, and nobody is told of a leaf's end before its own; whoever is
durable and can wait hears of it at its next wait, and may still put right what it did; a kill asks nobody, and is one
transaction.  Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Final, Protocol

from guesthouse.clock import Clock
from guesthouse.errors import InputError, Unavailable
from guesthouse.interfaces.durable.values import CANCELLED, Failure, completion_of_failure
from guesthouse.queue.call import CANCELLATION, LIVE, Record
from guesthouse.queue.queue import UnknownInvocation

if TYPE_CHECKING:
    from guesthouse.dispatch.running import Running
    from guesthouse.dispatch.waiters import Waiters
    from guesthouse.queue.queue import Queue

CANCEL_TRIES: Final = 20
"""How often a cancellation looks again at a call that began, or waits again, while it was being cancelled."""
AT_ONCE: Final = 256
"""Invocations of one depth that are told together."""
QUEUED: Final = ("async", "durable")
"""Modes of invocations that a queue holds: a kill ends their rows, whoever runs them."""
TOLD: Final = completion_of_failure(Failure(CANCELLED, "the invocation was cancelled"))


class HasEnded(InputError):
    """An invocation that is over: there is nothing left to cancel."""

    status = 409
    problem_type = "has-ended"
    title = "The invocation has ended"


async def always(record: Record) -> bool:
    """Of guests of whom nothing is known."""
    return True


class Runs(Protocol):
    """Whoever runs queued calls."""

    def cancel(self, id: str) -> bool:
        """Ends a call that it runs; false where it does not run it."""


class Cancelling:
    """That of one host; to be used on its loop.

    `waits` says whether the guest of a durable invocation can be told: one that never waits has nothing to put right either.
    """

    def __init__(
        self,
        queue: Queue,
        runs: Runs,
        waiters: Waiters,
        clock: Clock,
        *,
        find: Callable[[str], Awaitable[Record]],
        running: Callable[[str], Running | None],
        waits: Callable[[Record], Awaitable[bool]],
    ) -> None:
        self._queue = queue
        self._runs = runs
        self._waiters = waiters
        self._clock = clock
        self._find = find
        self._running = running
        self._waits = waits
        self._under_way: dict[str, asyncio.Event] = {}

    async def cancel(self, id: str) -> None:
        """Ends an invocation that is queued, or tells one that runs to end; a durable one after all that it called.

        Raises `UnknownInvocation`, `HasEnded`, and `Unavailable` for one that is just beginning or ending.
        """
        record = await self._find(id)
        if record.mode != "durable":
            await self._cancel_plain(id)
            return
        _check_live(record)
        if id in self._under_way:
            await self.settled(id)
            return
        if await self._queue.completions(id, [CANCELLATION]):
            return  # it knows: what it has called since then is how it puts things right
        await self._cancel_tree(record)

    async def kill(self, id: str) -> None:
        """Ends an invocation, and all that it called and waits for, without asking.  Raises as `cancel`."""
        record = await self._find(id)
        _check_live(record)
        running = None if record.mode in QUEUED else self._running(id)
        if running is not None:
            running.give_up()
            return
        for ended in await self._queue.kill(id, self._ended(record, "it was killed")):
            self._runs.cancel(ended.id)
            self._waiters.ended(ended)

    async def settled(self, id: str) -> None:
        """Waits while an invocation is being cancelled: it has to hear of that before it hears what it led to."""
        under_way = self._under_way.get(id)
        if under_way is not None:
            await under_way.wait()

    # -- trees

    async def _cancel_tree(self, record: Record) -> None:
        done = asyncio.Event()
        family = [*await self._queue.live_children(record.id), (record.id, 0)]
        self._under_way.update({member: done for member, _ in family})
        try:
            for _, of_one_depth in groupby(family, lambda member: member[1]):
                await self._cancel_all([member for member, _ in of_one_depth])
        finally:
            done.set()
            for member, _ in family:
                self._under_way.pop(member, None)

    async def _cancel_all(self, ids: list[str]) -> None:
        for at in range(0, len(ids), AT_ONCE):
            results = await asyncio.gather(*map(self._cancel_member, ids[at : at + AT_ONCE]), return_exceptions=True)
            _raise_first(results)

    async def _cancel_member(self, id: str) -> None:
        record = await self._find(id)
        if record.state not in LIVE:
            return
        if record.mode != "durable":
            await self._cancel_plain(id)
        elif record.state == "queued" and await self._cancel_queued(record):
            return
        elif await self._waits(record):
            await self._queue.complete(id, CANCELLATION, TOLD)
        else:
            await self.kill(id)

    # -- single ones

    async def _cancel_plain(self, id: str) -> None:
        for _ in range(CANCEL_TRIES):
            record = await self._find(id)
            _check_live(record)
            if self._runs.cancel(id):
                return
            running = self._running(id)
            if running is not None:
                running.give_up()
                return
            if record.state == "queued" and await self._cancel_queued(record):
                return
        raise Unavailable(f"the invocation {id} is just beginning or ending: try again")

    async def _cancel_queued(self, record: Record) -> bool:
        """Ends one that has not begun; false where it has."""
        ended = self._ended(record, "it was cancelled before it ran")
        if not await self._queue.cancel(record.id, ended):
            return False
        self._waiters.ended(ended)
        return True

    def _ended(self, record: Record, reason: str) -> Record:
        now_ms = self._clock.wall_ns() // 1_000_000
        return replace(record, state="cancelled", result="cancelled", reason=reason, ended_ms=now_ms, due_ms=0)


def _check_live(record: Record) -> None:
    if record.state not in LIVE:
        raise HasEnded(f"the invocation {record.id} has ended")


def _raise_first(results: Iterable[object]) -> None:
    """Raises the first error of those that say more than that something has ended meanwhile."""
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, HasEnded | UnknownInvocation):
            raise result
