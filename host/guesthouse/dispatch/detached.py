"""`Detached`: what an invocation does after its answer, on the instance that made it.

Promises: nothing begins before the answer has left; the slot, the deadline and all limits stay in force until the last task
ends; whatever happens then, the answer is as it was, and each task is counted once.  Must not know what carried the answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from guesthouse.dispatch.outcome import Outcome, result_of
from guesthouse.engine.instance import Instance
from guesthouse.errors import Cancelled, DeadlineExceeded, GuesthouseError
from guesthouse.interfaces.detached import Tasks, tasks_of

if TYPE_CHECKING:
    from guesthouse.dispatch.dispatcher import Dispatcher
    from guesthouse.dispatch.prepared import Entry
    from guesthouse.dispatch.running import Running


class Detached:
    """The detached work of one invocation; it begins by itself once the answer has left."""

    result = ""
    """How it ended: ok (also where tasks failed), trapped, deadline, fuel or cancelled; empty until then."""
    error: GuesthouseError | None = None
    duration_ns = 0
    """From the answer to the end of the last task."""
    fuel_used: int | None = None
    """Of this work alone; `None` where it cannot be known."""

    def __init__(self, running: Running, instance: Instance, entry: Entry, dispatcher: Dispatcher) -> None:
        self._running = running
        self._instance = instance
        self._entry = entry
        self._dispatcher = dispatcher
        self.tasks: Tasks = tasks_of(running) or Tasks()
        """How the tasks ended, by name and in all."""

    def begin(self, outcome: Outcome) -> None:
        """Goes on after `outcome`; on the loop's thread."""
        self._outcome = outcome
        self._began_ns = self._dispatcher.clock.monotonic_ns()
        self._instance.follow(self._entry.callee, ())
        self._dispatcher.detached.add(self)
        self._task = asyncio.get_running_loop().create_task(self._work(), name=f"detached {self._running.id}")

    async def end(self) -> None:
        """Waits until the last task has ended, one way or another; who is cancelled here leaves the work alone."""
        await asyncio.shield(self._task)

    @property
    def summary(self) -> str:
        """How it ended and what it cost, in a few words."""
        fuel = "unknown fuel" if self.fuel_used is None else f"{self.fuel_used:,} fuel"
        return f"detached tasks {self.tasks.summary}: {self.result} after {self.duration_ns / 1e6:,.3f} ms, {fuel}"

    async def _work(self) -> None:
        running, instance, dispatcher = self._running, self._instance, self._dispatcher
        dispatcher.waiting.add(running)
        try:
            async with running.patience():
                await self._answer_left()
                running.answered, running.response = True, None
                await instance.settle(dispatcher.workers)
        except TimeoutError:
            instance.error = instance.error or self._late()
        finally:
            dispatcher.waiting.discard(running)
            instance.close()
            self._account()
            try:
                await running.run_closers()  # which say what was lost
            finally:
                self._tell()
                dispatcher.detached.discard(self)

    async def _answer_left(self) -> None:
        sink = self._running.response
        if sink is not None:
            left_ns = self._running.deadline_ns - self._dispatcher.clock.monotonic_ns()
            async with asyncio.timeout(max(0.0, left_ns / 1e9)):
                await sink.left()

    def _late(self) -> GuesthouseError:
        if self._running.given_up:
            return Cancelled()
        return DeadlineExceeded(f"the deadline of {self._running.limits.deadline_ms} ms passed")

    def _account(self) -> None:
        instance, outcome = self._instance, self._outcome
        self.duration_ns = self._dispatcher.clock.monotonic_ns() - self._began_ns
        self.error = instance.error
        self.result = "ok" if self.error is None else result_of(self.error)
        if self.error is not None:
            self._running.log_error(self.error)
        if instance.fuel_used is not None and outcome.fuel_used is not None:
            self.fuel_used = instance.fuel_used - outcome.fuel_used

    def _tell(self) -> None:
        self._entry.recorder.record(self.result, self.duration_ns, self.fuel_used, self._instance.peak_memory)
        self._running.end_log(self._outcome, f"ended: {self.summary}")
        self._dispatcher.detached_ended(self._running, self._outcome)
