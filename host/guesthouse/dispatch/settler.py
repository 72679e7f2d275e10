"""`Settler`: what became of a queued call is written down, with whatever follows from it.

Promises: each run is settled once, however often the storage refuses it; who waits for an end is told once it is on disk.
Belongs to the loop's thread.  Must not know whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from guesthouse.dispatch.completions import completion_of
from guesthouse.dispatch.queued_run import QueuedRun
from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import Callback, End, Output, QueuedCall, Record, Wait
from guesthouse.queue.queue import Fenced, FunctionKey, Queue
from guesthouse.telemetry import DurableCounts, Metrics, logger

AGAIN_SECONDS = 1.0
"""How long what the storage refused waits to be tried again."""

Further = Callable[[QueuedCall, Record, Output | None], Callback | QueuedCall | None]
"""What has to be done with the result of a call, to be stored with its end."""
Wake = Callable[[FunctionKey, int], None]

log = logger(__name__)


def nothing(*_: object) -> None:
    """Does nothing with a result."""


class Settler:
    """Ends runs.  `ended` is told of each call that is over, `callback_stored` that there is a callback to deliver."""

    stopped = False
    """Nothing is tried again any more: the host is closing."""

    def __init__(
        self,
        queue: Queue,
        metrics: Metrics,
        counts: DurableCounts,
        wake: Wake,
        further: Further = nothing,
        ended: Callable[[Record], None] = nothing,
        callback_stored: Callable[[], None] = nothing,
    ) -> None:
        self._queue = queue
        self._metrics = metrics
        self._counts = counts
        self._wake = wake
        self._further = further
        self._ended = ended
        self._callback_stored = callback_stored

    async def settle_all(self, runs: Sequence[QueuedRun]) -> None:
        """Writes down the ends of calls that succeeded together; what keeps one from that concerns no other one."""
        try:
            ends = [self._end_of(run, run.record()) for run in runs]
            results = await self._queue.succeed_all(ends)
        except Exception as error:
            log.error("calls could not be ended together", exc_info=error)
            await asyncio.gather(*map(self.settle, runs))
            return
        for end, result in zip(ends, results, strict=True):
            if result is None:
                self._has_ended(end)
        others = [run for run, result in zip(runs, results, strict=True) if result is not None]
        if others:
            await asyncio.gather(*map(self.settle, others))

    async def settle(self, run: QueuedRun) -> None:
        """Writes down what became of a call; what the storage refuses for now is tried again."""
        while True:
            try:
                await self._write(run)
                return
            except Fenced:
                self._metrics.queue_attempt("fenced")
                if not run.cancelled:  # else it was ended together with others
                    log.warning("a call was taken over while it ran", invocation_id=run.lease.call.id)
                return
            except GuesthouseError as error:
                log.error("the end of a call is not on disk", invocation_id=run.lease.call.id, error=str(error))
                if self.stopped:
                    return
            except Exception as error:  # a mistake of ours: the call stays leased, and the next process runs it again
                log.error("the end of a call failed", invocation_id=run.lease.call.id, exc_info=error)
                return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _write(self, run: QueuedRun) -> None:
        lease, call = run.lease, run.lease.call
        function = (call.namespace, call.name)
        if run.fenced:
            raise Fenced(f"{call.id} was ended, or taken over, while it ran")
        if run.wait is not None:
            await self._suspend(run, run.wait)
            return
        if run.verdict is None or run.released:
            if run.full:
                await asyncio.sleep(AGAIN_SECONDS)
            await self._queue.release(lease)
            self._metrics.queue_attempt("released")
            self._wake(function, 0)
            return
        record = run.record()
        if record.state == "queued":
            await self._queue.retry(lease, record.due_ms, record, run.segment)
            self._counts.journal_bytes += len(run.segment)
            self._metrics.queue_attempt("retried")
            self._wake(function, record.due_ms)
            return
        end = self._end_of(run, record)
        write = self._queue.bury if record.state == "dead" else self._queue.succeed
        await write(*end)
        self._has_ended(end)

    async def _suspend(self, run: QueuedRun, wait: Wait) -> None:
        call = run.lease.call
        waits = await self._queue.suspend(run.lease, wait, run.segment, run.record())
        self._counts.run("suspended")
        self._counts.journal_bytes += len(run.segment)
        if not waits:  # what it waits for has come meanwhile
            self._wake((call.namespace, call.name), 0)
        elif wait.until_ms is not None:
            self._wake((call.namespace, call.name), wait.until_ms)

    def _follow(self, call: QueuedCall, record: Record, output: Output | None) -> Callback | QueuedCall | None:
        """What has to be done with a result; a mistake in that must not keep the call from ending."""
        try:
            return self._further(call, record, output)
        except Exception as error:
            log.error("the result of a call is not sent on", invocation_id=call.id, exc_info=error)
            return None

    def _end_of(self, run: QueuedRun, record: Record) -> End:
        output, call = run.output(), run.lease.call
        completion = completion_of(record, output) if call.promise or call.durable else None
        return End(run.lease, record, output, self._follow(call, record, output), completion, run.segment)

    def _has_ended(self, end: End) -> None:
        """An end is on disk."""
        call, record, follows = end.lease.call, end.record, end.follows
        self._metrics.queue_attempt(record.state)
        self._counts.journal_bytes += len(end.segment)
        if record.state == "dead":
            path = f"{call.namespace}/{call.name}"
            # no louder: a function can fail as often as it is called
            log.debug("a queued call is a dead letter", function=path, invocation_id=call.id, reason=record.reason)
        self._ended(record)
        if isinstance(follows, QueuedCall):
            self._wake((follows.namespace, follows.name), follows.due_ms)
        elif follows is not None:
            self._callback_stored()
