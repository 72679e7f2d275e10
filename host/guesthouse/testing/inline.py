"""What has threads of its own in a host, done in turns of the loop here: commits, and guests that compute for longer.

Promises: the same is done in the same order in each run; before and after each commit somebody may end the world, and from
then on nothing is committed any more.  Must not know what is committed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from guesthouse._native.api import YIELDED
from guesthouse.engine.worker import Runnable, Workers
from guesthouse.errors import HostError
from guesthouse.storage.database import Connection, Database
from guesthouse.storage.writer import Unit, Writer

T = TypeVar("T")


class Gate:
    """What each commit of one host passes through, and whether that host is alive."""

    def __init__(self) -> None:
        self.open = True
        """False: the host is dead, and nothing that it does has an effect any more."""
        self.before: Callable[[frozenset[str]], bool] = lambda tables: True
        """Asked at each commit that changes something, with the tables: false where the host dies before it."""
        self.after: Callable[[], bool] = lambda: True
        """Asked when it is done: false where the host dies then."""
        self.died: Callable[[], None] = lambda: None
        """Told, in whichever thread, that the host has died."""

    def die(self) -> None:
        """The host dies here and now; may be called again."""
        if self.open:
            self.open = False
            self.died()


class InlineWriter(Writer):
    """Commits on the loop, what was asked for in one of its turns together; a thread that blocks does it itself."""

    def __init__(self, gate: Gate, *args: Any) -> None:
        self._gate = gate
        self._turn = threading.RLock()
        self._due = False
        self._changed: set[str] = set()
        self._changes = 0
        super().__init__(*args)

    def _begin(self) -> None:
        self._connection.set_update_hook(lambda operation, database, table, row: self._changed.add(table))
        self._connection.set_commit_hook(self._committing)

    def put(self, unit: Unit) -> None:
        """Queues a unit for the loop's next turn."""
        if not self._gate.open:
            return  # nobody is told anything any more
        super().put(unit)
        if unit.loop is not None and not self._due:
            self._due = True
            unit.loop.call_soon_threadsafe(self._in_turn)

    def run(self, work: Callable[..., Any], committed: Callable[[Any], None] | None) -> Any:
        """Commits everything that is queued, and this, here and now."""
        return self.submit(work, committed).result(0)

    def submit(self, work: Callable[..., Any], committed: Callable[[Any], None] | None) -> Future[Any]:
        """As `run`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self.put(Unit(work, committed, future))
        self._commit_queued()
        if not future.done():
            future.set_exception(HostError("the simulated host has crashed"))
        return future

    def close(self) -> None:
        """Commits what is queued, unless the host is dead, and closes the connection."""
        with self._door:
            first, self._closing = not self._closing, True
        if first:
            self._commit_queued()
            if self._gate.open:
                self._checkpoint_at_end()
            with self._turn, self._guard:
                self._connection.close()

    def _in_turn(self) -> None:
        self._due = False
        self._commit_queued()

    def _commit_queued(self) -> None:
        with self._turn:
            while self._gate.open and not self._queue.empty():
                self._do(self._collect()[0])

    def _do(self, batch: list[Unit]) -> None:
        self._changed.clear()
        self._changes = self._connection.total_changes()
        try:
            super()._do(batch)
        except _Died:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _commit(self, batch: list[Unit]) -> None:
        super()._commit(batch)
        if self._has_changed() and not self._gate.after():
            raise _Died

    def _abandon(self, batch: list[Unit], error: BaseException) -> None:
        if isinstance(error, _Died):
            self._gate.die()
            raise error
        super()._abandon(batch, error)

    def _committing(self) -> bool:
        """SQLite asks at each commit."""
        if self._has_changed() and not self._gate.before(frozenset(self._changed)):
            raise _Died
        return False

    def _has_changed(self) -> bool:
        return self._connection.total_changes() > self._changes


class _Died(BaseException):
    """The host has died in a commit."""


class InlineDatabase(Database):
    """A database that is read on the loop, too."""

    def __init__(self, gate: Gate, path: Path | None) -> None:
        super().__init__(path, writer=partial(InlineWriter, gate))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Here and now."""
        return self.read_sync(work)


class InlineWorkers(Workers):
    """Runs slices on the loop, one in each of its turns."""

    def submit(self, guest: Runnable) -> None:
        """Has a guest run from the loop's next turn on."""
        loop = asyncio.get_running_loop()

        def turn() -> None:
            status = guest.run_slice()
            if status == YIELDED:
                loop.call_soon(turn)
            else:
                guest.slice_ended(status)

        loop.call_soon(turn)
