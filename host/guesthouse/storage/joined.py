"""`Joined`: what has to be stored in one transaction with the units of work that a task asks for.

A task says so by a context variable, so whoever asks for the unit need not know: the journal of a durable invocation joins
the effects of its host calls on the host's own database, whatever interface causes them.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final, Protocol

from guesthouse.storage.schema import Connection


class Joined(Protocol):
    """Joins units of work, one after the other."""

    def stored(self) -> tuple[Any] | None:
        """The result of the next unit, where it was committed before: then it is not run.  Called on the loop."""

    def store(self, connection: Connection, result: Any) -> None:
        """Stores what belongs to a unit with this result; on the writer's thread, in the unit's transaction, right after it.

        What it raises undoes the unit.  A result is made of what JSON knows, bytes and tuples.
        """


JOINED: Final[ContextVar[Joined | None]] = ContextVar("joined", default=None)
