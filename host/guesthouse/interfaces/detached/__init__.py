"""`DetachedInterface`: a guest names what it goes on with after its answer.

Promises: tasks begin and end in the order in which they were queued, one at a time, whatever the guest says; every one that
was registered is counted once, under its name: ok, failed, or lost; nothing that a guest does here changes its answer.
Must not know who calls the guest again, or when.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from guesthouse.interfaces.base import Interface, host_call

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

TASKS: Final = "guesthouse:detached/tasks@1.0.0"
GUEST: Final = ("guesthouse:detached/guest@1.0.0", "run")
"""The export that does what was queued."""
MOST_NAME_BYTES: Final = 64
"""Of a task's name, which becomes a label: the WIT says so."""
MOST_NOTE: Final = 1_024
"""Characters of a failed task's own words that are logged: one sentence, and not a document."""
MOST_NAMED: Final = 8
"""Lost tasks that are named in the log; the metrics count each."""

Done: TypeAlias = "Ok[None] | Err[str]"
Count: TypeAlias = "Callable[[str, str, str], None]"
"""Counts the end of a task: function, name, and `ok`, `failed`, `lost` or `refused`."""


class Tasks:
    """The detached tasks of one invocation."""

    __slots__ = ("counts", "failed", "queued", "registered", "running")

    def __init__(self) -> None:
        self.queued: deque[str] = deque()
        """Names of those that wait, in their order."""
        self.running: str | None = None
        self.registered = 0
        self.counts: Counter[str] = Counter()
        """How many ended as what."""
        self.failed: list[str] = []
        """Names of the first that failed or were lost."""

    def ended(self, name: str, result: str) -> None:
        """Notes the end of one."""
        self.counts[result] += 1
        if result != "ok" and len(self.failed) < MOST_NAMED:
            self.failed.append(name)

    @property
    def summary(self) -> str:
        """How they ended, in a few words: `2 ok, 1 lost`."""
        return ", ".join(f"{count} {result}" for result, count in sorted(self.counts.items())) or "nothing"

    @property
    def note(self) -> str:
        """Which did not end well, for whoever writes the invocation down; empty where all did."""
        return f"detached tasks {self.summary}: {', '.join(self.failed)}" if self.failed else ""


class DetachedInterface(Interface):
    """`guesthouse:detached/tasks`.  Every guest may use it: its deadline and limits cover what it does after its answer."""

    name = "detached"
    ambient = True

    def __init__(self, count: Count) -> None:
        self._count = count

    def open(self, invocation: Invocation) -> Tasks:
        tasks = Tasks()
        invocation.closers.append(lambda: self._lose(invocation, tasks))
        return tasks

    @host_call(TASKS, "queue")
    def queue(self, invocation: Invocation, name: str) -> Done:
        """Registers a task."""
        tasks: Tasks = invocation.state(self)
        refusal = _refusal(invocation, tasks, name)
        if refusal is not None:
            self._count(invocation.deployment.path, name[:MOST_NAME_BYTES], "refused")
            invocation.log.write("warn", f"detached task {name[:MOST_NAME_BYTES]} was refused: {refusal}", "guest")
            return Err(refusal)
        tasks.registered += 1
        tasks.queued.append(name)
        return Ok()

    @host_call(TASKS, "begin")
    def begin(self, invocation: Invocation) -> None:
        """Begins the next task."""
        tasks: Tasks = invocation.state(self)
        if not invocation.answered:
            raise Trap("a detached task began before the answer had left", "detached")
        if tasks.running is not None:
            raise Trap("a detached task began while another one was at work", "detached")
        if not tasks.queued:
            raise Trap("a detached task began that was not queued", "detached")
        tasks.running = tasks.queued.popleft()

    @host_call(TASKS, "end")
    def end(self, invocation: Invocation, outcome: Done) -> None:
        """Ends the task at work."""
        tasks: Tasks = invocation.state(self)
        name, tasks.running = tasks.running, None
        if name is None:
            raise Trap("a detached task ended that had not begun", "detached")
        self._end(invocation, tasks, (name,), "failed" if isinstance(outcome, Err) else "ok")
        if isinstance(outcome, Err):
            invocation.log.write("error", f"detached task {name} failed: {outcome.error[:MOST_NOTE]}", "guest")

    def _end(self, invocation: Invocation, tasks: Tasks, names: Iterable[str], result: str) -> None:
        for name in names:
            tasks.ended(name, result)
            self._count(invocation.deployment.path, name, result)

    def _lose(self, invocation: Invocation, tasks: Tasks) -> None:
        """The invocation has ended: what has not ended by then never will."""
        lost = list(tasks.queued) if tasks.running is None else [tasks.running, *tasks.queued]
        tasks.running = None
        tasks.queued.clear()
        if lost and not invocation.interrupted:
            self._end(invocation, tasks, lost, "lost")
            more = f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
            invocation.log.write("error", f"detached tasks lost: {', '.join(islice(lost, MOST_NAMED))}{more}", "system")


def tasks_of(invocation: Invocation) -> Tasks | None:
    """The tasks of an invocation; `None` where it has not queued any."""
    return next((state for state in invocation.states.values() if type(state) is Tasks), None)


def _refusal(invocation: Invocation, tasks: Tasks, name: str) -> str | None:
    """Why a task cannot be registered."""
    most = invocation.limits.detached_tasks
    if not 0 < len(name.encode()) <= MOST_NAME_BYTES:
        return f"its name has to have between 1 and {MOST_NAME_BYTES} bytes"
    if tasks.registered >= most:
        return f"{most} tasks were queued, which is the limit"
    return None if invocation.stay() else f"the function does not export {GUEST[0]} {GUEST[1]!r}"
