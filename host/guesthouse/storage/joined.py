"""`Joined`: what has to be stored in one transaction with the units of work that a task asks for.

A task says so by a context variable, so whoever asks for the unit need not know: the journal of a durable invocation joins
the effects of its host calls on the host's own database, whatever interface causes them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Protocol

import apsw

from guesthouse.errors import GuesthouseError
from guesthouse.storage.errors import StorageError, is_fatal, translated
from guesthouse.storage.schema import Connection


class Joined(Protocol):
    """Joins units of work, one after the other."""

    def stored(self) -> tuple[Any] | None:
        """The result of the next unit, where it was committed before: then it is not run.  Called on the loop."""

    def store(self, connection: Connection, result: Any) -> None:
        """Stores what belongs to a unit with this result; on the writer's thread, in the unit's transaction, right after it.

        What it raises undoes the unit, and that alone.  It is called again where the transaction had to be begun anew:
        what it notes of a call is only true once the unit is acknowledged.  A result is made of what JSON knows, bytes and
        tuples.
        """

    def committed(self, result: Any) -> None:
        """A unit that `store` was called for is durable; on the loop, before whoever asked for it is told."""


JOINED: Final[ContextVar[Joined | None]] = ContextVar("joined", default=None)


def done_before() -> tuple[Any] | None:
    """The result of the next unit of work of this task, where it was committed before; then it is not to be asked for.

    To be looked at before anything that could refuse the unit: what is done needs no room and no leave any more.
    """
    joined = JOINED.get()
    return None if joined is None else joined.stored()


def alone(connection: Connection, work: Callable[[], Any]) -> Any:
    """What a part of a transaction comes to, or the error that has undone that part and nothing else.

    Raises what concerns all of the transaction: a disk that is full or broken.
    """
    connection.execute("SAVEPOINT part")
    try:
        result = work()
    except Exception as error:
        if is_fatal(error) or isinstance(error, apsw.FullError) or not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO part")
        result = _told(error)
    connection.execute("RELEASE part")
    return result


def _told(error: Exception) -> GuesthouseError:
    if isinstance(error, GuesthouseError):
        return error
    told = translated(error) if isinstance(error, apsw.Error) else StorageError(f"a unit of work failed: {error}")
    told.__cause__ = error
    return told
