"""`guesthouse:durable/promises`: things that end later, and waiting for them.

Promises: what ended first is decided where the guest waits, and nowhere else; a cancellation is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.durable.part import LATEST_MS, REFUSALS, Part
from guesthouse.interfaces.durable.values import CANCELLED, TIMED_OUT, Failure, Promise, failed, failure_of
from guesthouse.interfaces.durable.waits import Question, recorded, replayed
from guesthouse.interfaces.durable.workflows import TooManyPromises, Until, Waited
from guesthouse.queue.call import Completion

if TYPE_CHECKING:
    from guesthouse.interfaces.durable.workflows import Workflow, Workflows
    from guesthouse.interfaces.invocation import Invocation

LEFT: Final = "left"
"""What is recorded when the rest of several calls was cancelled."""
PROMISES: Final = "guesthouse:durable/promises@1.0.0"
CANCELLED_FAILURE: Final = Failure(CANCELLED, "the invocation was cancelled")
TIMED_OUT_FAILURE: Final = Failure(TIMED_OUT, "it did not end in time")

Result: TypeAlias = "Ok[bytes] | Err[Failure]"
Done: TypeAlias = "Ok[None] | Err[Failure]"

_GATHER: Final = {"cancel-rest": Until.FAILURE, "leave-rest": Until.FAILURE, "wait-for-all": Until.ALL}
_SELECT: Final = {"to-end": Until.END, "to-succeed": Until.SUCCESS}


class Promises(Part):
    """Timers, awakeables, and waiting for them and for calls."""

    _workflows: Workflows

    @host_call(PROMISES, "[method]promise.id")
    def promise_id(self, invocation: Invocation, promise: Promise) -> str:
        return promise.id

    # -- waiting: what came of it is recorded here, and not by the hook, for times that were to be waited for are, too

    @host_call(PROMISES, "wait")
    def wait(self, invocation: Invocation, promise: Promise, timeout: int | None) -> Any:
        """Waits for one."""
        return self._ask(invocation, Question("wait", "", (promise,), Until.ALL, timeout), _of_one)

    @host_call(PROMISES, "gather")
    def gather(self, invocation: Invocation, promises: Sequence[Promise], on_failure: str, timeout: int | None) -> Any:
        """Waits for several."""
        if not promises:
            return []
        question = Question("gather", on_failure, promises, _GATHER[on_failure], timeout)
        return self._ask(invocation, question, lambda waited: _of_several(waited, len(promises)))

    @host_call(PROMISES, "select")
    def select(self, invocation: Invocation, promises: Sequence[Promise], first: str, timeout: int | None) -> Any:
        """Waits for the first of several."""
        if not promises:
            return Err(failed("there is nothing to wait for"))
        return self._ask(invocation, Question("select", first, promises, _SELECT[first], timeout), _of_first)

    def _ask(self, invocation: Invocation, question: Question, answer: Callable[[Waited], Any]) -> Any:
        """The answer, if it was recorded; otherwise a coroutine of it."""
        workflow = self.outside_a_step(invocation)
        until_ms = None
        if question.timeout is not None:
            timeout = question.timeout
            until_ms = invocation.observe("deadline", lambda: min(workflow.now_ms() + timeout, LATEST_MS))
        journal = invocation.journal
        if journal is not None and journal.replaying:
            waited = replayed(journal, question)
            workflow.replayed(question.promises, waited)
            rest = _rest(question, waited)
            if rest and journal.replaying:
                journal.observe(LEFT, _never)
            elif rest:  # a crash came before they were cancelled
                return self._leave(invocation, workflow, rest, answer(waited))
            return answer(waited)
        return self._wait(invocation, workflow, question, until_ms, answer)

    async def _wait(
        self,
        invocation: Invocation,
        workflow: Workflow,
        question: Question,
        until_ms: int | None,
        answer: Callable[[Waited], Any],
    ) -> Any:
        async def wait() -> Waited:
            return await workflow.wait(question.promises, question.until, until_ms)

        journal = invocation.journal
        waited = await wait() if journal is None else await recorded(journal, question, wait)
        rest = _rest(question, waited)
        return await self._leave(invocation, workflow, rest, answer(waited)) if rest else answer(waited)

    async def _leave(self, invocation: Invocation, workflow: Workflow, rest: Sequence[str], told: Any) -> Any:
        """Cancels calls that nobody waits for any more; what has led to that is known first, for it changes how they end."""
        if invocation.journal is not None:
            await invocation.journal.flush()
        await invocation.observe_later(LEFT, lambda: workflow.leave(rest))
        return told

    # -- making them

    @host_call(PROMISES, "sleep", Effect.READ)
    def sleep(self, invocation: Invocation, milliseconds: int) -> Promise:
        """A timer."""
        workflow = self.outside_a_step(invocation)
        return _made(lambda: workflow.timer(min(workflow.now_ms() + milliseconds, LATEST_MS)))

    @host_call(PROMISES, "sleep-until", Effect.READ)
    def sleep_until(self, invocation: Invocation, milliseconds: int) -> Promise:
        """A timer for a time of day."""
        workflow = self.outside_a_step(invocation)
        return _made(lambda: workflow.timer(min(milliseconds, LATEST_MS)))

    @host_call(PROMISES, "awakeable", Effect.READ)
    def awakeable(self, invocation: Invocation) -> Promise:
        """A promise for somebody to complete."""
        return _made(self.outside_a_step(invocation).awakeable)

    # -- completing those of others

    @host_call(PROMISES, "resolve", Effect.WRITE)
    async def resolve(self, invocation: Invocation, id: str, payload: bytes) -> Done:
        """Completes an awakeable, of whichever invocation."""
        try:
            await self._workflows.resolve(id, payload)
        except REFUSALS as error:
            return Err(failed(str(error), error.status))
        return Ok()

    @host_call(PROMISES, "reject", Effect.WRITE)
    async def reject(self, invocation: Invocation, id: str, reason: str) -> Done:
        """Completes an awakeable as failed."""
        try:
            await self._workflows.reject(id, reason)
        except REFUSALS as error:
            return Err(failed(str(error), error.status))
        return Ok()


def _rest(question: Question, waited: Waited) -> Sequence[str]:
    """The calls that are to be cancelled after a wait."""
    if waited.why != "decided" or question.mode != "cancel-rest":
        return ()
    return [each.id for place, each in enumerate(question.promises) if place not in waited.ended and each.is_call]


def _never() -> Any:
    raise AssertionError("a journal that is replayed changes nothing in the world")


def result_of(completion: Completion) -> Result:
    """What a guest is told of how something ended."""
    return Ok(completion.value) if completion.outcome == "ok" else Err(failure_of(completion))


def _of_one(waited: Waited) -> Result:
    if waited.why == "cancelled":
        return Err(CANCELLED_FAILURE)
    return result_of(waited.ended[0]) if waited.ended else Err(TIMED_OUT_FAILURE)


def _of_several(waited: Waited, count: int) -> list[Result | None]:
    missing: Result | None = Err(CANCELLED_FAILURE) if waited.why == "cancelled" else None
    return [result_of(waited.ended[place]) if place in waited.ended else missing for place in range(count)]


def _of_first(waited: Waited) -> Ok[int] | Err[Failure]:
    if waited.decided is None:
        return Err(CANCELLED_FAILURE if waited.why == "cancelled" else TIMED_OUT_FAILURE)
    return Ok(waited.decided)


def _made(make: Callable[[], Promise]) -> Promise:
    """A promise; traps where there may be no more of them, for there is no error that these functions could answer."""
    try:
        return make()
    except TooManyPromises as error:
        raise Trap(str(error), "promises") from None
