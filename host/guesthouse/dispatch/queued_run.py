"""`QueuedRun`: one leased call, from its first slice to what becomes of it.

Promises: whatever happens, there is a verdict, or the call is given back as if it had not begun.  Knows the dispatcher,
and neither the queue nor whose turn it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from guesthouse.clock import Clock
from guesthouse.dispatch.collector import Collector
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.dispatch.outcome import Outcome
from guesthouse.dispatch.prepared import Prepared
from guesthouse.dispatch.recorder import host_calls_of, note_of
from guesthouse.dispatch.running import Running
from guesthouse.dispatch.verdict import MOST_STRIKES, Attempt, Verdict, judge, overloaded, retry_after_ms
from guesthouse.errors import AdmissionFull, GuesthouseError, HostError, InputError
from guesthouse.queue.call import Lease, Output, Record, Wait
from guesthouse.registry.deployment import CALLABLE, Deployment
from guesthouse.registry.policy import RetryPolicy
from guesthouse.telemetry import logger

log = logger(__name__)


class QueuedRun:
    """One run of a call."""

    released = False
    """It did not begin, or the host stopped it: the call goes back as it was."""
    cancelled = False
    outcome: Outcome | None = None
    running: Running | None = None
    verdict: Verdict | None = None
    # What only runs of durable calls have; see `DurableRun`.
    wait: Wait | None = None
    """What it waits for, where it is to be suspended."""
    segment = b""
    """The last one of its journal, to be stored with what becomes of it."""
    fenced = False
    """Somebody else runs it, or it has been ended: nothing is written."""
    full = False
    """The storage refuses its journal for now."""
    cleared: Callable[[], None] | None = None
    """To be called once, as soon as it is clear that a call with strikes does not kill its host."""
    _begun = False
    _most_strikes = MOST_STRIKES

    def __init__(
        self, lease: Lease, deployment: Deployment | None, dispatcher: Dispatcher, clock: Clock, output_bytes: int
    ) -> None:
        self.lease = lease
        self.deployment = deployment
        self.started_ms: int | None = None
        self.answered_ms: int | None = None
        self._dispatcher = dispatcher
        self._clock = clock
        self._output_bytes = output_bytes
        self._sink = Collector()
        self._policy = RetryPolicy() if deployment is None else deployment.manifest.retry
        self._allowed = lease.call.attempts or self._policy.attempts

    # -- running

    def begin(self) -> None:
        """Runs the first slice, where the function is linked already."""
        self.verdict = self._refusal()
        if self.verdict is None and self.deployment is not None:
            prepared = self._dispatcher.loaded(self.deployment)
            if prepared is not None:
                self._start(prepared)

    async def finish(self) -> None:
        """Runs it to its end.  Never raises for what the guest does, or for what keeps it from running."""
        if self.verdict is None and not self._begun and self.deployment is not None:
            try:
                prepared = await self._dispatcher.load(self.deployment)
            except Exception as error:
                self._failed(error)
                return
            if self.cancelled:
                self.verdict = Verdict("cancelled", "cancelled", "it was cancelled")
                return
            self._start(prepared)
        if self.running is not None and self.outcome is None:
            if self.cancelled:  # after its first slice, when nobody waited for it yet
                asyncio.get_running_loop().call_soon(self.cancel)
            self._ended(await self.running.wait(self._sink))
        if self.outcome is not None and self.outcome.detached is not None:
            await self.outcome.detached.end()  # the call keeps its place and its lease until then

    def cancel(self) -> None:
        """Ends the run as soon as that is possible; the call does not run again."""
        self.cancelled = True
        if self.running is not None and self.running in self._dispatcher.waiting:
            self.running.give_up()

    def _refusal(self) -> Verdict | None:
        """What speaks against running it at all."""
        lease = self.lease
        if lease.strikes >= self._most_strikes:
            return Verdict("dead", "lost", "the host died while it ran, twice")
        if lease.attempt > self._allowed:
            return Verdict("dead", "lost", "the host died while it ran")
        if self.deployment is None:
            return Verdict("dead", "failed", "the function was deleted")
        if self.deployment.kind not in CALLABLE:
            return Verdict("dead", "failed", f"it is a {self.deployment.kind} function now: it cannot be queued")
        return None

    def _start(self, prepared: Prepared) -> None:
        self._begun = True
        self.started_ms = self._now_ms()
        try:
            self.running, outcome = self._dispatcher.queued_now(prepared, self.lease, self._sink)
        except AdmissionFull:
            self.released = True
        except Exception as error:
            self._failed(error)
        else:
            if outcome is not None:
                self._ended(outcome)

    def _failed(self, error: Exception) -> None:
        """It could not even begin: what is wrong with the call or the function stays wrong, the host's failures may not."""
        if isinstance(error, InputError):
            self.verdict = Verdict("dead", "failed", error.public)
            return
        log.error("a queued call failed in the host", invocation_id=self.lease.call.id, exc_info=error)
        failure = error if isinstance(error, GuesthouseError) else HostError("the call failed in the host")
        self.verdict = self._judge(Outcome(self.lease.call.id, "failed", error=failure))

    def _ended(self, outcome: Outcome) -> None:
        self.outcome = outcome = self._sink.complete(outcome)
        self.answered_ms = self._now_ms() if outcome.error is None else None
        if outcome.result == "cancelled" and self.cancelled:
            self.verdict = Verdict("cancelled", "cancelled", "it was cancelled")
        elif outcome.result == "cancelled" and self._dispatcher.draining:
            self.released = True
        elif outcome.error is None and len(outcome.body) > self._output_bytes:
            reason = f"the answer is over {self._output_bytes} bytes: it cannot be kept"
            self.verdict = Verdict("dead", "failed", reason)
        else:
            self.verdict = self._judge(outcome)
            if self.cancelled and self.verdict.state == "queued":
                self.verdict = Verdict("cancelled", outcome.result, "it was cancelled")

    def _judge(self, outcome: Outcome) -> Verdict:
        attempt = Attempt(self.lease.attempt, self._allowed, self._since_ms())
        return judge(outcome, attempt, self._policy, self._now_ms(), self._clock.random_bytes)

    def _since_ms(self) -> int:
        """From when on its age counts."""
        return max(self.lease.call.queued_ms, self.lease.call.due_ms)

    def clear(self) -> None:
        """It has come further than the runs in which its host died."""
        cleared, self.cleared = self.cleared, None
        if cleared is not None:
            cleared()

    # -- what is told of it

    @property
    def has_succeeded(self) -> bool:
        """Whether it is over and went well, and nothing is left to wait for."""
        verdict = self.verdict
        if verdict is None or verdict.state != "succeeded" or self.released or self.outcome is None:
            return False
        return self.outcome.detached is None

    @property
    def overloaded(self) -> bool:
        """Whether it says that less should run at once."""
        return self.outcome is not None and overloaded(self.outcome)

    @property
    def pause_ms(self) -> int | None:
        """How long the function asks to be left alone."""
        outcome = self.outcome
        asked = None if outcome is None or not self.overloaded else retry_after_ms(outcome, self._now_ms())
        return None if asked is None else min(asked, self._policy.max_wait_ms)

    def output(self) -> Output | None:
        """What the function answered, if it is short enough to be kept."""
        outcome = self.outcome
        if outcome is None or outcome.error is not None or not outcome.status or len(outcome.body) > self._output_bytes:
            return None
        return Output(outcome.status, outcome.headers, outcome.body)

    def record(self) -> Record:
        """What is known of the call now."""
        verdict, call, outcome, deployment = self.verdict, self.lease.call, self.outcome, self.deployment
        assert verdict is not None, "only what has ended has a record"
        return Record(
            id=call.id,
            namespace=call.namespace,
            name=call.name,
            mode="async",
            state=verdict.state,
            version=0 if deployment is None else deployment.version,
            digest="" if deployment is None else deployment.digest,
            queued_ms=call.queued_ms,
            started_ms=self.started_ms,
            answered_ms=self.answered_ms,
            ended_ms=None if verdict.state == "queued" else self._now_ms(),
            attempts=self.lease.attempt if self._begun else self.lease.attempt - 1,
            result=verdict.result,
            reason=verdict.reason,
            note=note_of(self.running, outcome),
            status=0 if outcome is None else outcome.status,
            fuel=None if outcome is None else outcome.fuel_used,
            peak_memory=0 if outcome is None else outcome.peak_memory,
            duration_ns=0 if outcome is None else outcome.duration_ns,
            detached_ns=0 if outcome is None or outcome.detached is None else outcome.detached.duration_ns,
            host_calls=host_calls_of(self.running),
            parent=call.parent,
            root=call.root or call.id,
            depth=call.depth,
            call_id=call.call_id,
            due_ms=verdict.due_ms,
        )

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // 1_000_000
