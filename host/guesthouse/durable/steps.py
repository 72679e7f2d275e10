"""`Steps`: named steps of a journal: what is called inside of one is not recorded; what it came to is.

Promises: a step that ended is not run again; how often it ran in vain, and when it may run next, survives as well.  Must not
know what steps come to, nor when they are run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from guesthouse.durable.errors import JournalDamaged, JournalEnded
from guesthouse.durable.records import Done, Step, Tried

if TYPE_CHECKING:
    from guesthouse.durable.journal import Journal


class Begun(NamedTuple):
    """What is known of a step that begins."""

    runs: int = 0
    """That were over in vain."""
    due_ms: int = 0
    """When it may run next, in milliseconds since 1970-01-01 UTC."""
    ended: bool = False
    """Whether it has ended for good."""
    outcome: Any = None
    """With what."""


class Steps:
    """The steps of one run of one invocation; they are not nested."""

    __slots__ = ("_journal", "calls", "name")

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.name: str | None = None
        """Of the step at work."""
        self.calls = 0
        """Effects inside of its run so far."""

    def begin(self, name: str) -> Begun:
        """Begins a step, or says what it came to.  Raises `Diverged`."""
        journal = self._journal
        assert self.name is None, "steps are not nested"
        journal.count_effect()
        if journal.replaying:
            begun = self._told(name)
        else:
            journal.check_live()
            journal.add_entry(Step(journal.number_of(name)))
            begun = Begun()
        if not begun.ended:
            self.name, self.calls = name, 0
        return begun

    async def tried(self, runs: int, due_ms: int) -> None:
        """The step at work has to run again: that many runs are over.  On return that survives a crash."""
        self.calls = 0
        self._journal.add_record(Tried(runs, due_ms))
        await self._journal.flush()

    async def end(self, outcome: Any, *, failed: bool = False) -> None:
        """The step at work has ended for good, with a plain value.  On return that survives a crash."""
        self.name = None
        self._journal.add_record(Done(outcome, failed))
        self._journal.keep()
        await self._journal.flush()

    def _told(self, name: str) -> Begun:
        journal, reading = self._journal, self._journal.reading
        record = reading.ahead
        if type(record) is not Step or reading.name(record.name) != name:
            raise journal.diverged(f"began the step {name!r}")
        journal.entry += 1
        reading.advance()
        begun = Begun()
        while (found := reading.ahead) is not None:
            reading.advance()
            if type(found) is Tried:
                begun = Begun(found.runs, found.due_ms)
            elif type(found) is Done:
                journal.keep(pending=False)
                begun = Begun(begun.runs, begun.due_ms, True, found.outcome)
                break
            else:
                raise JournalDamaged(f"the step {name!r} has no end, and other entries follow")
        if reading.ahead is None:
            if journal.offline and not begun.ended:
                raise JournalEnded(f"the journal ends in the step {name!r}")
            journal.end_replay()
        return begun
