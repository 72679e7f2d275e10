"""`Batches`: what is asked for while a commit is under way is done by the next one, all of it together.

Promises: nobody is told of a change before it is durable; what one of them comes to is its own; when the disk is full, what
ends work is tried without what begins some.  Belongs to the loop's thread.  Knows nothing of what the changes are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from guesthouse.errors import GuesthouseError
from guesthouse.storage.database import Connection, Database
from guesthouse.storage.errors import StorageBusy, StorageError, StorageFailed, StorageFull

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

    __slots__ = ("begins", "future", "kind", "size", "values")

    def __init__(self, kind: Kind, values: Any, future: asyncio.Future[Any], size: int, begins: bool) -> None:
        self.kind = kind
        self.values = values
        self.future = future
        self.size = size
        self.begins = begins
        """Whether it is new work, which can be refused."""

    def tell(self, result: Any) -> None:
        """Tells whoever still waits."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Done:
    """What a unit of work has done: a result or an error for each change, and what there is to count."""

    __slots__ = ("moves", "results")

    def __init__(self, results: list[Any], moves: Sequence[Any] = ()) -> None:
        self.results = results
        self.moves = moves


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
        self._task: asyncio.Task[None] | None = None
        self.crowded = False
        """Whether the last transaction had so much new work that more is to be expected."""

    def add(self, kind: Kind, values: Any, size: int = 0, *, begins: bool = False) -> asyncio.Future[Any]:
        """Asks for a change; the future is done when it is durable.  Whoever gives up waiting does not undo it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._changes.append(Change(kind, values, future, size, begins))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run(), name="queue commits")
        return future

    async def idle(self) -> None:
        """Waits until everything that was asked for is durable."""
        while self._task is not None and not self._task.done():
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        try:
            while self._changes:
                if self.crowded and not any(change.begins for change in self._changes):
                    await asyncio.sleep(GATHERING_SECONDS)
                taken = self._take()
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
        try:
            self._settled(changes, done)
        finally:
            for change, result in zip(changes, done.results, strict=True):
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
            return Done([error if change.begins else next(rest) for change in changes], done.moves)
        except Exception as error:  # one of them cannot be done: which, shows when each is on its own
            if len(changes) == 1:
                return Done([error if isinstance(error, GuesthouseError) else _wrong(error)])
        parts = [await self._attempt([change]) for change in changes]
        return Done([part.results[0] for part in parts], [move for part in parts for move in part.moves])


def _wrong(error: Exception) -> StorageError:
    wrong = StorageError(f"a change of the queue failed: {error}")
    wrong.__cause__ = error
    return wrong
