"""`guesthouse:durable/steps`: named steps, which are not run again once they have succeeded.

Promises: a guest sees that a step has ended once that is recorded; how often a step was run, and when it is run next, is
recorded too, so that no crash begins the counting again; crashes are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from guesthouse.interfaces.base import host_call
from guesthouse.interfaces.durable.part import LATEST_MS, Part
from guesthouse.interfaces.durable.promises import CANCELLED_FAILURE
from guesthouse.interfaces.durable.values import Failure, Promise, completion_of_failure, failed, failure_of
from guesthouse.interfaces.durable.workflows import Policy, Step, Until, Workflow
from guesthouse.limits import LONGEST_MS
from guesthouse.queue.call import Completion

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

STEPS: Final = "guesthouse:durable/steps@1.0.0"
MOST_DOUBLINGS: Final = 63
"""Of a wait: what is doubled more often is longer than anything."""

Begun: TypeAlias = "Ok[tuple[str, bytes | int]] | Err[Failure]"


class Steps(Part):
    """Beginning and ending them."""

    _random: Callable[[int], bytes]

    @host_call(STEPS, "begin")
    def begin(self, invocation: Invocation, name: str, policy: Policy) -> Any:
        """Begins a step, or says what it came to before."""
        workflow: Workflow = invocation.state(self)
        most = invocation.limits.durable_name_bytes
        if not 0 < len(name.encode()) <= most:
            raise Trap(f"the name of a step has 1 to {most} bytes", "step")
        step = workflow.step
        if step is None:
            step = workflow.begin_step(name)
        elif step.runs_now or step.name != name:
            raise Trap(f"the step {name!r} began in the step {step.name!r}", "step")
        step.policy = policy
        if step.end is not None:
            if step.told_cancelled:
                workflow.was_cancelled()
            return Ok(("done", step.end.value)) if step.end.outcome == "ok" else Err(failure_of(step.end))
        workflow.step = step
        return self._begin_later(workflow, step) if step.due_ms > workflow.now_ms() else _run(step)

    async def _begin_later(self, workflow: Workflow, step: Step) -> Begun:
        return Err(await self._cancelled(workflow, step)) if await self._rest(workflow, step) else _run(step)

    @host_call(STEPS, "end")
    async def end(self, invocation: Invocation, outcome: tuple[str, Any]) -> Ok[bool] | Err[Failure]:
        """Ends the step at work, or waits until it is to be run again."""
        workflow: Workflow = invocation.state(self)
        step = workflow.step
        if step is None or not step.runs_now:
            raise Trap("a step ended that had not begun", "step")
        word, value = outcome
        if word == "ok":
            most = invocation.limits.promise_bytes
            if len(value) > most:
                raise Trap(f"the result of the step {step.name!r} is over {most} bytes", "step")
            await self._over(workflow, step, Completion("ok", value))
            return Ok(True)
        if word == "terminal":
            return Err(await self._failed(workflow, step, Failure(*value)))
        return await self._again(workflow, step, *value)

    async def _over(self, workflow: Workflow, step: Step, end: Completion) -> None:
        """Records what a step came to for good."""
        step.end, step.runs_now = end, False
        await workflow.end_step(step)
        workflow.step = None

    async def _failed(self, workflow: Workflow, step: Step, failure: Failure) -> Failure:
        end = completion_of_failure(failure)
        await self._over(workflow, step, end)
        return failure_of(end)

    async def _cancelled(self, workflow: Workflow, step: Step) -> Failure:
        step.told_cancelled = True
        return await self._failed(workflow, step, CANCELLED_FAILURE)

    async def _again(
        self, workflow: Workflow, step: Step, message: str, at_least: int | None
    ) -> Ok[bool] | Err[Failure]:
        """A run that failed for now: waits for the next one, if there is one."""
        policy, runs = step.policy, step.runs + 1
        if policy.attempts and runs >= policy.attempts:
            return Err(await self._failed(workflow, step, failed(message)))
        wait = max(at_least or 0, backoff_ms(runs, policy, self._random))
        step.runs, step.runs_now = runs, False
        step.due_ms = min(workflow.now_ms() + min(wait, LONGEST_MS), LATEST_MS)
        await workflow.end_step(step)
        return Err(await self._cancelled(workflow, step)) if await self._rest(workflow, step) else Ok(False)

    async def _rest(self, workflow: Workflow, step: Step) -> bool:
        """Waits until a step is to be run again; true where the invocation was cancelled instead."""
        waited = await workflow.wait((Promise(0, "", step.due_ms),), Until.ALL, None)
        return waited.why == "cancelled"


def _run(step: Step) -> Begun:
    step.runs_now = True
    return Ok(("run", step.runs + 1))


def backoff_ms(runs: int, policy: Policy, random: Callable[[int], bytes]) -> int:
    """A random time up to a bound that doubles with each run (full jitter)."""
    most = min(policy.max_wait, policy.min_wait << min(runs - 1, MOST_DOUBLINGS))
    return int.from_bytes(random(8), "big") * (most + 1) >> 64
