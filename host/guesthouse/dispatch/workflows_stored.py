"""`StoredWorkflow`: promises, calls and state of a run of a durable call: in the host's database.

Promises: what a guest waits for survives the run that waits; a wait that takes longer than a run is kept in memory for ends the
run; a time that was to be waited for is on disk before it is waited for.  Must not know how runs are kept or ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from guesthouse.dispatch.workflows_base import BaseWorkflow
from guesthouse.dispatch.workflows_calls import AT_ONCE
from guesthouse.dispatch.workflows_waiting import Tally
from guesthouse.durable.errors import Suspended
from guesthouse.interfaces.durable import Promise, Request
from guesthouse.interfaces.durable.part import REFUSALS
from guesthouse.queue.call import CANCELLATION, Completion
from guesthouse.queue.queue import TooMuch
from guesthouse.storage.joined import done_before

if TYPE_CHECKING:
    from guesthouse.dispatch.journaled import Journaled
    from guesthouse.dispatch.workflows import Workflows

MANY: Final = 64
"""From so many promises on that somebody waits for, ends are looked at some at a time."""
GATHERING_SECONDS: Final = 0.01
"""How long those are gathered for: looking costs about a tenth of that."""


class StoredWorkflow(BaseWorkflow):
    """That of one run."""

    durable = True
    _invocation: Journaled

    def __init__(self, invocation: Journaled, workflows: Workflows) -> None:
        lease = invocation.lease
        super().__init__(invocation, lease.fence, workflows)
        self._lease = lease
        self.key, self.attempt = lease.call.key, lease.attempt
        self._queue = workflows.queue
        self._cancelled = False
        """The guest knows it."""
        self._timer: asyncio.TimerHandle | None = None
        self._known: dict[int, str] | None = None
        """How promises have ended, as far as anybody has looked; `None`: nobody has."""
        self._news: set[int] = set()
        """Promises that have ended since then."""

    # -- waiting

    def told(self, number: int) -> None:
        """A promise has ended."""
        self._news.add(number)
        self.nudge()

    def was_cancelled(self) -> None:
        """An earlier run of the guest was told that the invocation was cancelled."""
        self._cancelled = True

    async def _look(self, tally: Tally) -> Mapping[int, str] | None:
        await self._workflows.settled(self._lease.call.id)
        news, self._news = self._news, set()
        known = self._known
        if known is None:
            known = self._known = await self._queue.outcomes(self._lease.call.id)
            ended: Iterable[int] = tally.pending
        else:
            if news:
                told = await self._queue.completions(self._lease.call.id, news)
                known |= {number: completion.outcome for number, completion in told.items()}
            ended = tally.pending if tally.fresh else news
        if CANCELLATION in known and not self._cancelled:
            self._cancelled = True
            return None
        tally.fresh = False
        return {number: known[number] for number in ended if number in known}

    async def _values(self, numbers: Sequence[int]) -> Mapping[int, Completion]:
        try:
            return await self._queue.completions(self._lease.call.id, numbers, self._invocation.limits.wait_bytes)
        except TooMuch:
            raise self._too_much() from None

    async def _rest(self, tally: Tally, until_ms: int | None, changed: asyncio.Future[None]) -> None:
        if self._seconds(tally, until_ms) is not None:
            await self._invocation.journal.flush()
        self._watch(tally, until_ms)
        try:
            stays = await self._invocation.linger(changed)
        finally:
            if self._timer is not None:
                self._timer.cancel()
        if not stays:
            raise Suspended(tally.wait(until_ms, cancellation=not self._cancelled), tally.what)
        if tally.left > MANY:
            await asyncio.sleep(GATHERING_SECONDS)

    def _watch(self, tally: Tally, until_ms: int | None) -> None:
        """Looks at the clock until a time has come: looking alone is no news, after which it would be kept for longer."""
        seconds = self._seconds(tally, until_ms)
        if seconds is None:
            self._timer = None
        elif min(time for time in (tally.next_ms, until_ms) if time is not None) <= self.now_ms():
            self.nudge()
        else:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._watch, tally, until_ms)

    # -- calls

    async def call(self, requests: Sequence[Request]) -> list[Promise]:
        """Calls functions."""
        numbers = self.numbers(len(requests))
        made: list[Promise] = []
        while (before := done_before()) is not None:
            made += [Promise(number, call_id) for call_id, number in before[0]]
        try:
            calls = self._workflows.callees.make(self._invocation, requests[len(made) :], numbers[len(made) :])
            for at in range(0, len(calls), AT_ONCE):
                queued = await self._workflows.enqueue(calls[at : at + AT_ONCE])
                made += [Promise(number, call_id) for call_id, number in queued]
        except REFUSALS:  # all of them or none
            await self._workflows.leave(self._invocation, [promise.id for promise in made])
            raise
        return made

    # -- state

    async def get(self, name: str) -> bytes | None:
        """A value of the key's state."""
        return await self._queue.state_get(self._lease, name)

    async def set(self, name: str, value: bytes) -> None:
        """Sets one."""
        await self._queue.state_set(self._lease, name, value)

    async def clear(self, name: str | None) -> None:
        """Forgets one, or all."""
        await self._queue.state_clear(self._lease, name)

    async def names(self) -> Sequence[str]:
        """Of all that are set."""
        return await self._queue.state_names(self._lease)
