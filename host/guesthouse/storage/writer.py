"""`Writer`: the one thread that writes, committing whatever has queued up meanwhile in one transaction.

A unit of work is acknowledged only after the commit that made it durable.  After a failed read, write or fsync nothing
is acknowledged any more: a second fsync may lie about what the first one lost (F3).  Knows no tables.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

import apsw

from guesthouse.errors import HostError
from guesthouse.storage.errors import StorageError, StorageFailed, failure, is_fatal, translated
from guesthouse.storage.schema import Connection

MAX_BATCH = 1024
"""Units of one transaction: so that the first of them does not wait long for the last."""
CHECKPOINT_PAGES = 1000
"""Pages in the write-ahead log from which on it is copied into the database after a commit (4 MiB)."""
STARVED_PAGES = 8192
"""Pages at which, and at each multiple of which, the copying waits for readers instead of passing by them (32 MiB)."""
STARVED_PATIENCE_MS = 100
"""How long it waits for them then: writers wait too."""

Work = Callable[[Connection], Any]


class Unit:
    """One piece of work, and whom to tell about it."""

    __slots__ = ("committed", "error", "future", "loop", "result", "told", "work")

    def __init__(
        self,
        work: Work,
        committed: Callable[[Any], None] | None,
        future: asyncio.Future[Any] | concurrent.futures.Future[Any],
        loop: asyncio.AbstractEventLoop | None = None,
        told: Callable[[Any], None] | None = None,
    ) -> None:
        self.work = work
        self.committed = committed
        self.future = future
        self.loop = loop
        self.told = told
        """Called on the loop with the result of what is durable, before the future's callbacks are."""
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tells whoever waits; on the loop's thread where that is a task."""
        if self.told is not None and self.loop is not None and self.error is None:
            self.loop.call_soon(self.told, self.result)
        if self.future.done():  # the waiting task was cancelled
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Owns the writing connection; `guard` is held during each transaction, for readers of a database in memory."""

    def __init__(
        self, connection: Connection, guard: contextlib.AbstractContextManager[Any], busy_timeout_ms: int
    ) -> None:
        self.failed = threading.Event()
        self.commits = 0
        """Transactions so far."""
        self.wal_pages = 0
        """Pages in the write-ahead log after the last commit."""
        self._failure: StorageFailed | None = None
        self._listeners: list[Callable[[StorageFailed], None]] = []
        self._connection = connection
        self._guard = guard
        self._busy_timeout_ms = busy_timeout_ms
        self._starved_at = STARVED_PAGES
        self._queue: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._closing = False
        self._door = threading.Lock()
        connection.set_wal_hook(self._note_wal_pages)
        self._begin()

    def _begin(self) -> None:
        """Starts the thread; a simulation puts itself in its place."""
        self._thread = threading.Thread(target=self._run, name="guesthouse-writer", daemon=True)
        self._thread.start()

    def put(self, unit: Unit) -> None:
        """Queues a unit; raises `StorageFailed` after a failure and `StorageError` after `close`."""
        with self._door:
            if self._failure is not None:
                raise failure(self._failure)
            if self._closing:
                raise StorageError("the database is closed")
            self._queue.put(unit)

    def run(self, work: Work, committed: Callable[[Any], None] | None) -> Any:
        """Queues a unit and blocks until it is durable; its result."""
        if threading.current_thread() is self._thread:
            raise HostError("a unit of work may not wait for another one")
        return self.submit(work, committed).result()

    def submit(self, work: Work, committed: Callable[[Any], None] | None) -> concurrent.futures.Future[Any]:
        """Queues a unit; the future cannot be cancelled."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        self.put(Unit(work, committed, future))
        return future

    def on_failure(self, listener: Callable[[StorageFailed], None]) -> None:
        """Calls `listener` once, on the writer's thread, when storage has failed; at once if it already has."""
        with self._door:
            self._listeners.append(listener)
            failed = self._failure
        if failed is not None:
            listener(failed)

    def close(self) -> None:
        """Commits what is queued, copies the log into the database, and closes the connection; may be called again."""
        with self._door:
            first, self._closing = not self._closing, True
            if first:
                self._queue.put(None)
        self._thread.join()
        if first:
            with self._guard:
                self._connection.close()

    def _run(self) -> None:
        open_ = True
        while open_:
            batch, open_ = self._collect()
            if batch:
                self._do(batch)
        self._checkpoint_at_end()

    def _do(self, batch: list[Unit]) -> None:
        """Commits a batch and tells everybody."""
        try:
            with self._guard:
                self._commit(batch)
        except BaseException as error:
            self._abandon(batch, error)
        _deliver(batch)
        self._checkpoint_if_due()

    def _collect(self) -> tuple[list[Unit], bool]:
        """All units that are queued, waiting for the first, and whether more can follow."""
        batch: list[Unit] = []
        unit = self._queue.get()
        with contextlib.suppress(queue.Empty):
            while unit is not None:
                batch.append(unit)
                if len(batch) == MAX_BATCH:
                    return batch, True
                unit = self._queue.get_nowait()
            return batch, False
        return batch, True

    def _commit(self, batch: list[Unit]) -> None:
        """Runs a batch in one transaction; raises what spoils all of it."""
        if self._failure is not None:
            raise self._failure
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        if len(batch) == 1:  # each statement gives the interpreter away: a transaction needs no savepoint for one unit
            if not self._run_alone(batch[0]):
                return
        else:
            for unit in batch:
                self._run_unit(unit)
        execute("COMMIT")
        self.commits += 1
        for unit in batch:
            if unit.committed is not None and unit.error is None:
                try:
                    unit.committed(unit.result)
                except BaseException as error:
                    unit.error = error

    def _run_alone(self, unit: Unit) -> bool:
        """Runs the only unit of a transaction; false where its own mistake has undone it."""
        try:
            unit.result = unit.work(self._connection)
        except BaseException as error:
            if is_fatal(error) or not self._connection.in_transaction:
                raise
            unit.error = _cleaned(error)
            self._connection.execute("ROLLBACK")
            return False
        return True

    def _run_unit(self, unit: Unit) -> None:
        """Runs one unit in a savepoint: its own mistake is its own, a broken disk or transaction everybody's."""
        connection = self._connection
        connection.execute("SAVEPOINT unit")
        try:
            unit.result = unit.work(connection)
        except BaseException as error:
            if is_fatal(error) or not connection.in_transaction:
                raise
            unit.error = _cleaned(error)
            connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")

    def _abandon(self, batch: list[Unit], error: BaseException) -> None:
        """Nothing of the batch happened, or, after a failure of the disk, nobody knows whether it did."""
        harmless = isinstance(error, (apsw.BusyError, apsw.FullError)) or not isinstance(error, apsw.Error)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as second:
            error, harmless = second, False
        if not harmless:
            self.fail(error)
        for unit in batch:
            unit.error = failure(error) if self._failure is not None else _of_batch(error)

    def fail(self, cause: BaseException) -> None:
        """Stops acknowledging, for good."""
        with self._door:
            if self._failure is not None:
                return
            self._failure = failed = failure(cause)
            listeners = tuple(self._listeners)
        self.failed.set()
        for listener in listeners:
            with contextlib.suppress(Exception):  # whatever it does, those who wait for their writes must be told
                listener(failed)

    def _note_wal_pages(self, connection: Connection, name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint_at_end(self) -> None:
        """Leaves an empty log behind if no other process reads it, so that the one file is everything."""
        if not self.failed.is_set():
            with self._guard:  # a read that nobody waits for any more may still be at work
                self._connection.set_busy_timeout(0)
                self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _checkpoint_if_due(self) -> None:
        """Copies the log into the database once everybody is told; SQLite's own checkpoints swallow a failed fsync."""
        if self.wal_pages >= CHECKPOINT_PAGES and not self.failed.is_set():
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)
        if self.wal_pages < STARVED_PAGES:
            self._starved_at = STARVED_PAGES
        elif self.wal_pages >= self._starved_at and not self.failed.is_set():
            self._starved_at = self.wal_pages + STARVED_PAGES
            self._connection.set_busy_timeout(STARVED_PATIENCE_MS)
            self._checkpoint(apsw.SQLITE_CHECKPOINT_RESTART)
            self._connection.set_busy_timeout(self._busy_timeout_ms)

    def _checkpoint(self, mode: int) -> None:
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return  # a reader holds on to the log: the next commit tries again
        except apsw.Error as error:
            self.fail(error)


def _of_batch(error: BaseException) -> BaseException:
    """What the units of a batch are told when one of them spoiled it for all."""
    if isinstance(error, apsw.Error):
        return _cleaned(error)
    spoiled = StorageError("another unit of work ended the transaction")
    spoiled.__cause__ = error
    return spoiled


def _cleaned(error: BaseException) -> BaseException:
    """`error` as callers may see it: nobody above storage knows SQLite's errors."""
    if not isinstance(error, apsw.Error):
        return error
    clean = translated(error)
    clean.__cause__ = error
    return clean


def _deliver(batch: list[Unit]) -> None:
    """Tells everybody, each loop with one wake-up."""
    loops: dict[asyncio.AbstractEventLoop, list[Unit]] = {}
    for unit in batch:
        if unit.loop is None:
            unit.settle()
        else:
            loops.setdefault(unit.loop, []).append(unit)
    for loop, units in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_settle_all, units)


def _settle_all(units: list[Unit]) -> None:
    for unit in units:
        unit.settle()
