"""How a wait is written down: what was asked, and what came of it, with the values, so that a journal needs nothing else.

Promises: a run that asks something else than the one before has diverged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from guesthouse.durable.errors import Diverged, JournalDamaged
from guesthouse.durable.records import WAITED
from guesthouse.interfaces.durable.workflows import Until, Waited
from guesthouse.queue.call import Completion

if TYPE_CHECKING:
    from guesthouse.durable.journal import Journal
    from guesthouse.interfaces.durable.values import Promise

MOST_NAMED: Final = 8
"""Promises that a question names; of more it has a digest."""


class Question(NamedTuple):
    """What a guest waits for."""

    function: str
    mode: str
    promises: Sequence[Promise]
    until: Until
    timeout: int | None
    """Milliseconds."""

    def __str__(self) -> str:
        numbers = ", ".join(str(promise.number) for promise in self.promises)
        if len(self.promises) > MOST_NAMED:
            numbers = f"{len(self.promises)} promises {hashlib.sha256(numbers.encode()).hexdigest()[:16]}"
        terms = [self.mode] if self.mode else []
        if self.timeout is not None:
            terms.append(f"timeout {self.timeout}")
        return f"{self.function}({'; '.join([numbers, *terms])})"


async def recorded(journal: Journal, question: Question, wait: Callable[[], Awaitable[Waited]]) -> Waited:
    """What comes of waiting, recorded."""
    found: list[Waited] = []

    async def read() -> Any:
        found.append(await wait())
        return _packed(question, found[0])

    plain = await journal.observe_later(WAITED, read)
    journal.keep()  # time has passed, and what was waited for has come: that is not done again by a retry
    return found[0] if found else _unpacked(plain)


def replayed(journal: Journal, question: Question) -> Waited:
    """What came of the next wait of an earlier run.  Raises `Diverged` where that was another one."""
    plain = journal.observe(WAITED, _never)
    journal.keep(pending=False)
    asked = plain[0] if isinstance(plain, list | tuple) and plain else ""
    if asked != str(question):
        raise journal.breaks(Diverged(journal.entry - 1, str(asked), str(question)))
    return _unpacked(plain)


def _packed(question: Question, waited: Waited) -> list[Any]:
    ends = [[place, *completion] for place, completion in waited.ended.items()]
    return [str(question), waited.why, waited.decided, ends]


def _unpacked(plain: Any) -> Waited:
    try:
        _, why, decided, ends = plain
        return Waited({place: Completion(*completion) for place, *completion in ends}, decided, why)
    except (TypeError, ValueError):
        raise JournalDamaged("the journal has no end of a wait where one was to come") from None


def _never() -> Any:
    raise AssertionError("a journal that is replayed reads nothing of the world")
