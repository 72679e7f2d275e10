"""`Trace`: the host calls of one replay, as they are made: what is shown of them, where to stop, and what to answer instead.

It stands in front of the journal: a call passes here first, and its answer last.  Must not know how journals answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from guesthouse.dispatch.replay_values import read, written, written_args
from guesthouse.dispatch.replayed import Step
from guesthouse.durable.errors import Diverged, JournalEnded, JournalError
from guesthouse.durable.journal import Journal
from guesthouse.engine.hostcall import HostCall
from guesthouse.engine.types import FuncType
from guesthouse.errors import BadRequest, GuesthouseError

if TYPE_CHECKING:
    from guesthouse.dispatch.replay import Replaying

STEP: Final = ("guesthouse:durable/steps@1.0.0", "begin")
"""The one call that makes an entry without being recorded itself."""
MOST_STEPS: Final = 100_000
"""Calls that are kept to be shown; with more, the first ones go."""


class Stopped(GuesthouseError):
    """The replay was to stop here."""

    title = "The replay stopped"
    traced = True


class TracedJournal(Journal):
    """A journal that stops where it is told to, also inside of a call that is not recorded as a whole."""

    until: int | None = None

    def stop_here(self) -> None:
        """Raises `Stopped` before the entry that was named."""
        if self.entry == self.until:
            raise self.breaks(Stopped(f"stopped before call {self.entry}"))

    def _observed(self, what: str) -> Any:
        self.stop_here()
        return super()._observed(what)


class Trace:
    """The calls of one replay; `changes` are JSON, by the numbers of the calls that come to them."""

    def __init__(self, journal: TracedJournal, changes: Mapping[int, Any] | None = None, *, kept: bool = True) -> None:
        self._journal = journal
        self.changes = changes or {}
        self._kept = kept
        self.steps: list[Step] = []
        self.dropped = 0
        """Steps that were too many."""
        self.changed: set[int] = set()
        """Numbers of calls whose results were changed."""
        self.problem: BadRequest | None = None
        """Why a change could not be made."""

    def begin(self, call: HostCall, func: FuncType | None, recorded: bool, args: Sequence[Any]) -> Step:
        """A call is about to be answered.  Raises `Stopped`."""
        journal = self._journal
        recorded = (recorded or (call.interface, call.function) == STEP) and journal.steps.name is None
        names = [""] * len(args) if func is None else [name for name, _ in func.params]
        values = written_args(args, func) if self._kept else [None] * len(names)
        step = Step(
            number=journal.entry if recorded else None,
            interface=call.interface,
            function=call.function,
            effect=call.effect.value,
            args=list(zip(names, values, strict=True)),
            answered="recorded" if recorded else "local",
        )
        if self._kept:
            self._keep(step)
        if recorded:
            try:
                journal.stop_here()
            except Stopped:
                step.answered = "stopped"
                raise
        return step

    def answered(self, step: Step, func: FuncType | None, before: int, result: Any) -> Any:
        """A call was answered: what the guest is told."""
        if step.number is None and self._journal.entry > before:
            step.number, step.answered = before, "recorded"
        if step.number in self.changes:
            result = self._change(step, func)
        if self._kept and (func is None or func.result is not None):
            step.returns, step.result = True, written(result, None if func is None else func.result)
        return result

    def failed(self, step: Step, func: FuncType | None, error: BaseException) -> Any:
        """A call was not answered: what the guest is told nevertheless, or the error again."""
        if step.number in self.changes and not isinstance(error, JournalError | JournalEnded):
            return self.answered(step, func, self._journal.entry, None)
        step.error = str(error).partition("\n")[0]
        if step.number is None and isinstance(error, Stopped | JournalError | JournalEnded):
            step.number = self._journal.entry
        if isinstance(error, Stopped):
            step.answered = "stopped"
        elif isinstance(error, Diverged):
            step.answered = "diverged"
        elif isinstance(error, JournalEnded):
            step.answered = "open"
        else:
            step.answered = "trapped"
        raise error

    def _change(self, step: Step, func: FuncType | None) -> Any:
        assert step.number is not None
        wanted = self.changes[step.number]
        try:
            if func is None:
                raise BadRequest(
                    f"call {step.number} ({step.function}) answers into the guest's memory: it cannot be set"
                )
            result = read(wanted, func.result, f"call {step.number}")
        except BadRequest as error:
            self.problem = error
            raise
        self.changed.add(step.number)
        step.answered = "changed"
        return result

    def _keep(self, step: Step) -> None:
        if len(self.steps) >= MOST_STEPS:
            del self.steps[: MOST_STEPS // 2]
            self.dropped += MOST_STEPS // 2
        self.steps.append(step)


def traced(call: HostCall, func: FuncType | None, inner: HostCall) -> HostCall:
    """A host call (`inner`: with its journal) as the guests of replays are linked to it."""
    recorded = inner is not call

    def method(invocation: Replaying, *args: Any) -> Any:
        trace, journal = invocation.trace, invocation.journal
        before = journal.entry
        step = trace.begin(call, func, recorded, args if func is not None else args[1:])
        try:
            result = inner.method(invocation, *args)
        except BaseException as error:
            return trace.failed(step, func, error)
        if type(result) is CoroutineType:
            return _later(trace, step, func, before, result)
        return trace.answered(step, func, before, result)

    return replace(inner, method=method)


async def _later(trace: Trace, step: Step, func: FuncType | None, before: int, waiting: Any) -> Any:
    try:
        result = await waiting
    except BaseException as error:
        return trace.failed(step, func, error)
    return trace.answered(step, func, before, result)
