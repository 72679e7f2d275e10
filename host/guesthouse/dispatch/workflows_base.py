"""`BaseWorkflow`: what both kinds of workflows share: the numbers of promises, and the loop of waiting.

Promises: what is enough is looked at before any rest, and again whenever something has come; a cancellation comes before
everything else, and is told once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from guesthouse.dispatch.workflows_waiting import SEVERAL, Tally
from guesthouse.errors import Trap
from guesthouse.interfaces.durable import Promise, Request, Step, TooManyPromises, Until, Waited, Why
from guesthouse.queue.call import Completion
from guesthouse.storage.joined import done_before

if TYPE_CHECKING:
    from guesthouse.dispatch.workflows import Workflows
    from guesthouse.interfaces.invocation import Invocation

PASSED: Final = Completion("ok", b"")
"""What a timer comes to."""
NUMBER_BITS: Final = 20
"""Of a promise's number, those that count within one run; what stands above them is the run's own."""


class BaseWorkflow:
    """That of one run of an invocation."""

    durable = False
    key: str | None = None
    attempt = 1
    step: Step | None = None

    def __init__(self, invocation: Invocation, run: int, workflows: Workflows) -> None:
        self._invocation = invocation
        self._workflows = workflows
        self._clock = workflows.clock
        self._first = run << NUMBER_BITS
        self._count = 0
        self._most = min(invocation.limits.promises, (1 << NUMBER_BITS) - 1)
        self._passed: set[int] = set()
        self._changed: asyncio.Future[None] | None = None

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return self._clock.wall_ns() // 1_000_000

    def numbers(self, count: int) -> range:
        """Numbers that nothing else of this invocation has had.  Raises `TooManyPromises`."""
        if self._count + count > self._most:
            raise TooManyPromises(f"an invocation makes {self._most} promises at most")
        first = self._first + self._count + 1
        self._count += count
        return range(first, first + count)

    def timer(self, due_ms: int) -> Promise:
        """Ends at a time."""
        return Promise(self.numbers(1)[0], "", due_ms)

    def awakeable(self) -> Promise:
        """Ends when somebody completes it."""
        number = self.numbers(1)[0]
        return Promise(number, self._workflows.ids.make(self._invocation.id, number))

    def begin_step(self, name: str) -> Step:
        """What is known of the next step: what the journal says, if there is one."""
        journal = self._invocation.journal
        if journal is None:
            return Step(name)
        begun = journal.steps.begin(name)
        step = Step(name, runs=begun.runs, due_ms=begun.due_ms)
        if begun.ended:
            outcome, value, code, step.told_cancelled = begun.outcome
            step.end = Completion(outcome, value, code)
        return step

    async def end_step(self, step: Step) -> None:
        """Notes what has changed about the step at work."""
        journal = self._invocation.journal
        if journal is None:
            return
        if step.end is None:
            await journal.steps.tried(step.runs, step.due_ms)
        else:
            await journal.steps.end([*step.end, step.told_cancelled], failed=step.end.outcome != "ok")

    def replayed(self, promises: Sequence[Promise], waited: Waited) -> None:
        """An earlier run was told this."""
        if waited.why == "cancelled":
            self.was_cancelled()
        if waited.decided is not None and promises[waited.decided].due_ms is not None:
            self._passed.add(promises[waited.decided].number)

    def was_cancelled(self) -> None:
        """An earlier run was told so; without a journal there is none."""

    async def send(self, request: Request) -> str:
        """Calls a function that nobody waits for; what a step does again is the same call."""
        before = done_before()
        if before is not None:
            known: str = before[0][0][0]
            return known
        again = ""
        if self.step is not None and self._invocation.journal is not None:
            again = self._invocation.journal.idempotency_key()
        calls = self._workflows.callees.make(self._invocation, (request,), (0,), again)
        return (await self._workflows.enqueue(calls))[0][0]

    async def end(self, id: str, *, kill: bool = False) -> None:
        """Cancels or kills an invocation of the same family."""
        await self._workflows.end(self._invocation, id, kill=kill)

    async def leave(self, ids: Sequence[str]) -> None:
        """Cancels calls that nobody waits for any more."""
        await self._workflows.leave(self._invocation, ids)

    def nudge(self) -> None:
        """Something may have changed: whoever waits looks again."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def wait(self, promises: Sequence[Promise], until: Until, until_ms: int | None) -> Waited:
        """Waits for promises."""
        tally = Tally(promises, until, self._passed)
        while True:
            changed = self._changed = asyncio.get_running_loop().create_future()  # before the look: nothing is missed
            found = await self._look(tally)
            if found is None:
                return await self._waited(promises, tally, "cancelled")
            tally.take(found)
            now_ms = self.now_ms()
            ended = tally.pass_time(now_ms)
            self._passed.update(promises[place].number for place in ended if promises[place].number)
            if tally.decided is not None:
                return await self._waited(promises, tally, "decided")
            if until_ms is not None and until_ms <= now_ms:
                return await self._waited(promises, tally, "timed-out")
            await self._rest(tally, until_ms, changed)

    async def _waited(self, promises: Sequence[Promise], tally: Tally, why: Why) -> Waited:
        """What came of it; where one was enough, nobody asks for what others came to."""
        if tally.until not in SEVERAL:
            return Waited({}, tally.decided, why)
        numbers = [promises[place].number for place in tally.ended if promises[place].due_ms is None]
        values = await self._values(numbers) if numbers else {}
        ended = {
            place: PASSED if promises[place].due_ms is not None else values[promises[place].number]
            for place in sorted(tally.ended)
        }
        return Waited(ended, tally.decided, why)

    async def _look(self, tally: Tally) -> Mapping[int, str] | None:
        """How promises have ended since the last look; `None`: the invocation was cancelled."""
        raise NotImplementedError

    async def _values(self, numbers: Sequence[int]) -> Mapping[int, Completion]:
        """What promises came to that have ended."""
        raise NotImplementedError

    def _too_much(self) -> Trap:
        """What ends a run that wants more at once than the host holds for it."""
        return Trap(f"what was waited for came to over {self._invocation.limits.wait_bytes} bytes", "wait-bytes")

    async def _rest(self, tally: Tally, until_ms: int | None, changed: asyncio.Future[None]) -> None:
        """Waits until something may have changed."""
        raise NotImplementedError

    def _seconds(self, tally: Tally, until_ms: int | None) -> float | None:
        """How long until time itself may be enough, or the clock that can be set has to be looked at again."""
        times = [time for time in (tally.next_ms, until_ms) if time is not None]
        if not times:
            return None
        left = (min(times) - self._clock.wall_ns() / 1e6) / 1e3
        return min(max(left, 0.001), self._clock.rearm_seconds)
