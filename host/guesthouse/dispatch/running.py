"""`Running`: one invocation from its admission to its `Outcome`, whatever its mode.

`start` runs the first slice in the caller's thread and is all that most invocations need; `wait` carries a longer one on
the loop.  Nothing here knows HTTP: a web answer is a status, headers and bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from guesthouse._native.api import DONE, FAILED
from guesthouse.clock import Clock
from guesthouse.dispatch.outcome import Outcome, result_of
from guesthouse.dispatch.prepared import Entry
from guesthouse.engine.instance import Instance
from guesthouse.engine.worker import Workers
from guesthouse.errors import BadAnswer, GuesthouseError, Trap
from guesthouse.interfaces.bytes import collect, peek
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.web import check_headers, check_status, finish_stream, stream_of
from guesthouse.telemetry import InvocationLog

LOGGED_LINES = 16
"""Lines of an error (its sentence, then the guest's backtrace) that go to the function's log."""


class Running:
    """One invocation that has a slot in the pool."""

    __slots__ = (
        "_clock",
        "_entry",
        "_finished",
        "_instance",
        "_invocation",
        "_log",
        "_outcome",
        "_started_ns",
        "_system",
        "_workers",
    )

    def __init__(
        self,
        instance: Instance,
        invocation: Invocation,
        entry: Entry,
        log: InvocationLog,
        workers: Workers,
        clock: Clock,
        started_ns: int,
        finished: Callable[[Invocation, InvocationLog, Outcome], None],
        system: Callable[[Invocation, str, str], None],
    ) -> None:
        self._instance = instance
        self._invocation = invocation
        self._entry = entry
        self._log = log
        self._workers = workers
        self._clock = clock
        self._started_ns = started_ns
        self._finished = finished
        self._system = system
        self._outcome = Outcome(invocation.id)

    def start(self, args: tuple[Any, ...], *, on_loop: bool = True) -> Outcome | None:
        """Runs the first slice; the outcome, or `None` where `wait` has to carry on."""
        try:
            status = self._instance.start(self._entry.export, self._entry.target, args, on_loop=on_loop)
        except BaseException:
            self._log.close()
            raise
        if status == DONE:
            value = self._take()
            if self._invocation.closers or stream_of(self._invocation) is not None or not self._fill(value):
                return None
            return self._finish()
        return self._finish() if status == FAILED and not self._invocation.closers else None

    async def wait(self) -> Outcome:
        """Carries on until the outcome is there; cancelling the task cancels the guest."""
        instance = self._instance
        try:
            if instance.status not in (DONE, FAILED):
                await instance.settle(self._workers)
                if instance.status == DONE:
                    self._take()
            if instance.error is None:
                await self._complete(self._outcome.value)
        except GuesthouseError as error:
            instance.error = instance.error or error
        finally:
            instance.close()
            await self._run_closers()
            outcome = self._finish()
        return outcome

    def _take(self) -> Any:
        """Lifts the result and closes the instance; what is wrong with it is the instance's error."""
        instance = self._instance
        try:
            self._outcome.value = instance.result()
        except Trap as trap:
            instance.error = trap
        instance.close()
        return self._outcome.value

    def _fill(self, value: Any) -> bool:
        """Makes the outcome of a result that needs no waiting; False where it does."""
        if self._instance.error is not None or self._invocation.mode != "web":
            return True
        body = peek(value.body)
        if body is None:
            return False
        try:
            self._answer(value, body)
        except BadAnswer as error:
            self._instance.error = error
        return True

    def _answer(self, value: Any, body: bytes) -> None:
        limits = self._invocation.limits
        if len(body) > limits.response_bytes:
            raise BadAnswer(f"the body is over {limits.response_bytes} bytes")
        status, headers = check_status(value.status), check_headers(value.headers, limits.response_headers)
        outcome = self._outcome
        outcome.status, outcome.headers, outcome.body = status, headers, body

    async def _complete(self, value: Any) -> None:
        """Makes the outcome of a result that may have been streamed, or whose body is still arriving."""
        if self._invocation.mode != "web":
            return
        stream = stream_of(self._invocation)
        if stream is None:
            self._answer(value, await collect(value.body, self._invocation.limits.response_bytes))
            return
        outcome = self._outcome
        outcome.streamed = True
        outcome.status = stream.status
        async with asyncio.timeout(max(0.0, (self._invocation.deadline_ns - self._clock.monotonic_ns()) / 1e9)):
            if not await finish_stream(self._invocation, value.status, value.headers, value.body):
                raise BadAnswer(f"the raw stream ended with status {value.status}")

    async def _run_closers(self) -> None:
        closers = self._invocation.closers
        while closers:
            pending = closers.pop()()
            if pending is not None:
                await pending

    def _finish(self) -> Outcome:
        instance, outcome = self._instance, self._outcome
        outcome.duration_ns = self._clock.monotonic_ns() - self._started_ns
        outcome.fuel_used = instance.fuel_used
        outcome.peak_memory = instance.peak_memory
        error = instance.error
        if error is not None:
            outcome.error = error
            outcome.result = result_of(error)
            outcome.streamed = stream_of(self._invocation) is not None
            for line in str(error).splitlines()[:LOGGED_LINES]:
                self._system(self._invocation, "error", line)
        self._finished(self._invocation, self._log, outcome)
        outcome.logs = self._log.records
        self._entry.recorder.record(outcome.result, outcome.duration_ns, outcome.fuel_used, outcome.peak_memory)
        return outcome
