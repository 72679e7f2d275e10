"""`Batches`: what is asked for while a commit is under way is done by the next one, all of it together.

Promises: nobody is told of a change before it is durable; what one of them comes to is its own; when the disk is full, what
ends work is tried without what begins some; what a task has joined to a change is stored with it or undoes it (see `JOINED`).
Belongs to the loop's thread.  Knows nothing of what the changes are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

from guesthouse.errors import GuesthouseError
from guesthouse.storage.database import Connection, Database
from guesthouse.storage.errors import StorageBusy, StorageError, StorageFailed, StorageFull
from guesthouse.storage.joined import JOINED, Joined

MOST_CHANGES: Final = 512
"""Changes of one transaction: so that the first does not wait long for the last."""
MOST_BYTES: Final = 8 << 20
"""And their bytes: some tens of milliseconds on a plain disk."""
CROWD: Final = 8
GATHERING_SECONDS: Final = 0.002
"""How long what goes on with work waits for new work to share a transaction with, if the last one had `CROWD` of that: the
clients that were just answered ask again, and would wait for a transaction without them otherwise."""

Kind = TypeVar("Kind")


class Change(Generic[Kind]):
    """One change, and who waits for it."""

    __slots__ = ("begins", "future", "joined", "kind", "size", "values")

    def __init__(
        self,
        kind: Kind,
        values: Any,
        future: asyncio.Future[Any],
        size: int,
        begins: bool,
        joined: Joined | None = None,
    ) -> None:
        self.kind = kind
        self.values = values
        self.future = future
        self.size = size
        self.begins = begins
        """Whether it is new work, which can be refused."""
        self.joined = joined
        """What has to be stored with its result, in the same transaction; its failure undoes this change alone."""

    def tell(self, result: Any) -> None:
        """Tells whoever still waits."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Done:
    """What a unit of work has done: a result or an error for each change, what there is to count, and what to tell."""

    __slots__ = ("moves", "news", "results")

    def __init__(self, results: list[Any], moves: Sequence[Any] = (), news: Sequence[Any] = ()) -> None:
        self.results = results
        self.moves = moves
        self.news = news


class Batches(Generic[Kind]):
    """The changes of one queue; `work` does some of them in a transaction, `settled` is told of each on the loop."""

    def __init__(
        self,
        database: Database,
        work: Callable[[Connection, Sequence[Change[Kind]]], Done],
        settled: Callable[[Sequence[Change[Kind]], Done], None],
    ) -> None:
        self._database = database
        self._work = work
        self._settled = settled
        self._changes: deque[Change[Kind]] = deque()
        self._taken: Sequence[Change[Kind]] = ()
        self._task: asyncio.Task[None] | None = None
        self.crowded = False
        """Whether the last transaction had so much new work that more is to be expected."""

    def add(
        self, kind: Kind, values: Any, size: int = 0, *, begins: bool = False, joins: bool = False
    ) -> asyncio.Future[Any]:
        """Asks for a change; the future is done when it is durable.  Whoever gives up waiting does not undo it.

        Where it `joins` what the task says (`JOINED`), the future may be done at once: it was committed before.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        joined = JOINED.get() if joins else None
        if joined is not None:
            stored = joined.stored()
            if stored is not None:
                future.set_result(stored[0])
                return future
        self._changes.append(Change(kind, values, future, size, begins, joined))
        if self._task is None or self._task.done():
            # in an empty context: it goes on for others, when whatever this task has joined is over
            self._task = loop.create_task(self._run(), name="queue commits", context=Context())
        return future

    @property
    def pending(self) -> Sequence[Change[Kind]]:
        """What was asked for and is not known to be durable."""
        return [*self._taken, *self._changes]

    async def idle(self) -> None:
        """Waits until everything that was asked for is durable."""
        while self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            while self._changes:
                if self.crowded and not any(change.begins for change in self._changes):
                    await asyncio.sleep(GATHERING_SECONDS)
                taken = self._taken = self._take()
                self.crowded = sum(change.begins for change in taken) >= CROWD
                await self._do(taken)
        finally:
            while self._changes:  # the loop ends
                self._changes.popleft().future.cancel()

    def _take(self) -> list[Change[Kind]]:
        taken: list[Change[Kind]] = []
        total = 0
        while self._changes and len(taken) < MOST_CHANGES and total < MOST_BYTES:
            change = self._changes.popleft()
            total += change.size
            taken.append(change)
        return taken

    async def _do(self, changes: Sequence[Change[Kind]]) -> None:
        done = await self._attempt(changes)
        self._taken = ()
        try:
            self._settled(changes, done)
        finally:
            for change, result in zip(changes, done.results, strict=True):
                if change.joined is not None and not isinstance(result, BaseException):
                    change.joined.committed(result)
                change.tell(result)

    async def _attempt(self, changes: Sequence[Change[Kind]]) -> Done:
        """Does changes in one transaction; where that cannot be, without those that stand in the way."""
        try:
            return await self._database.write(lambda connection: self._work(connection, changes))
        except (StorageBusy, StorageFailed) as error:
            return Done([error] * len(changes))
        except StorageFull as error:
            ends = [change for change in changes if not change.begins]
            if not ends or len(ends) == len(changes):
                return Done([error] * len(changes))
            done = await self._attempt(ends)
            rest = iter(done.results)
            return Done([error if change.begins else next(rest) for change in changes], done.moves, done.news)
        except Exception as error:  # one of them cannot be done: which, shows when each is on its own
            if len(changes) == 1:
                return Done([error if isinstance(error, GuesthouseError) else _wrong(error)])
        parts = [await self._attempt([change]) for change in changes]
        return Done(
            [part.results[0] for part in parts],
            [move for part in parts for move in part.moves],
            [news for part in parts for news in part.news],
        )


def _wrong(error: Exception) -> StorageError:
    wrong = StorageError(f"a change of the queue failed: {error}")
    wrong.__cause__ = error
    return wrong
