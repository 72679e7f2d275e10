"""`Database`: one SQLite file, one thread that writes to it in groups, and short readers beside it.

A write is durable when it has been acknowledged: it survives `kill -9` and a power cut.  Knows no tables.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from guesthouse.errors import GuesthouseError
from guesthouse.storage.errors import StorageError, StorageFailed, failure, is_fatal, translated
from guesthouse.storage.joined import JOINED, Joined
from guesthouse.storage.reads import Reads
from guesthouse.storage.schema import Connection, check, migrate
from guesthouse.storage.writer import Unit, Writer

__all__ = ["Connection", "Database", "rows"]

T = TypeVar("T")

OLDEST_SQLITE = (3, 51, 3)
"""Earlier versions can corrupt a database when its write-ahead log is reset while another connection writes (F6)."""

SETTINGS: tuple[tuple[str, str | int], ...] = (
    ("journal_mode", "wal"),  # readers and the writer do not wait for each other
    ("synchronous", "full"),  # an fsync before each acknowledgement, or a power cut takes acknowledged writes back
    ("fullfsync", "on"),  # where a plain fsync does not reach the disk (macOS)
    ("checkpoint_fullfsync", "on"),
    ("wal_autocheckpoint", 0),  # the writer does it itself: SQLite's own one swallows a failed fsync
    ("journal_size_limit", 32 << 20),  # a log that grew under a long reader is cut back
    ("cell_size_check", "on"),  # find a damaged page when it is read, not when it has spread
    ("mmap_size", 0),  # a stray write of this process must not reach the file
    ("foreign_keys", "on"),
    ("trusted_schema", "off"),  # a planted view or trigger must not call functions
    ("temp_store", "memory"),
    ("cache_size", -8192),  # KiB for each connection
)
"""Set on every connection, in this order."""

BUSY_TIMEOUT_MS = 5000
"""How long a write waits for another process (a token command) to finish its own."""
IDLE_READERS = 4
"""Connections that are kept for the next reader."""


class Database:
    """The database file at `path`, or one in memory where `path` is `None`.

    `upgrade=False` is for a process that runs beside the owner of the data directory: it refuses to change an older
    file.  `vfs` names the layer below SQLite, for tests that break the disk.  Raises `StorageError` where the file or
    the SQLite library cannot be used.  `writer` is who commits, which a simulation chooses.
    """

    def __init__(
        self, path: Path | None, *, upgrade: bool = True, vfs: str = "", writer: Callable[..., Writer] = Writer
    ) -> None:
        _check_library()
        self._path = path
        self._vfs = vfs
        self._memory_lock = threading.RLock()
        self._idle: list[Connection] = []
        self._closed = False
        self._watch_lock = threading.Lock()
        self._connection = self._open_first(upgrade)
        self._watch = self._open() if path is not None else None
        self._reads = Reads(self._view, self.read_sync)
        guard = self._memory_lock if path is None else contextlib.nullcontext()
        self._writer = writer(self._connection, guard, BUSY_TIMEOUT_MS)

    @property
    def directory(self) -> Path | None:
        """Where the file is; `None`: it is in memory."""
        return None if self._path is None else self._path.parent

    @property
    def failed(self) -> threading.Event:
        """Set once storage has failed: from then on every write raises `StorageFailed`, and only a restart helps."""
        return self._writer.failed

    @property
    def commits(self) -> int:
        """Transactions that this process has committed: below the number of writes where they came in groups."""
        return self._writer.commits

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log after the last commit, for an alarm on readers that never end."""
        return self._writer.wal_pages * 4096

    def on_failure(self, listener: Callable[[StorageFailed], None]) -> None:
        """Calls `listener` once when storage has failed, on the writer's thread (it must not close this one there).

        At once where storage has failed already.
        """
        self._writer.on_failure(listener)

    async def write(self, work: Callable[[Connection], T], *, committed: Callable[[T], None] | None = None) -> T:
        """Runs `work` in a transaction; its result, once that is durable.

        `work` sees all earlier writes, runs on the writer's thread, must be short, and must not begin or end
        transactions; what it raises undoes only its own changes and is raised here.  `committed` is called with the
        result on the writer's thread, in the order of the commits, before anybody is told: views in memory are kept in
        step there.  Cancelling the await does not cancel the write.  Raises `StorageFailed`, `StorageBusy` or
        `StorageFull`.  Honours `JOINED`.
        """
        joined = JOINED.get()
        if joined is not None:
            stored = joined.stored()
            if stored is not None:
                found: T = stored[0]
                return found
        loop = asyncio.get_running_loop()
        if joined is not None:
            work = _with(work, joined)
        future: asyncio.Future[T] = loop.create_future()
        self._writer.put(Unit(work, committed, future, loop, None if joined is None else joined.committed))
        return await future

    def write_sync(self, work: Callable[[Connection], T], *, committed: Callable[[T], None] | None = None) -> T:
        """As `write`, for a thread that may block."""
        result: T = self._writer.run(work, committed)
        return result

    def submit(
        self, work: Callable[[Connection], T], *, committed: Callable[[T], None] | None = None
    ) -> concurrent.futures.Future[T]:
        """As `write`, without waiting: it will be durable when the future is done, which may be ignored."""
        return self._writer.submit(work, committed)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` on a thread, over one unchanging view of all acknowledged writes; its result."""
        found: T = await self._reads.ask(work)
        return found

    def read_sync(self, work: Callable[[Connection], T]) -> T:
        """As `read`, here and now: for work of some microseconds, or a thread that may block."""
        try:
            with self._view() as connection:
                return work(connection)
        except apsw.Error as error:
            raise self._met(error) from error

    def data_version(self) -> int:
        """A number that changes with every commit, of any process; asking takes microseconds."""
        if self._watch is None:
            return self._writer.commits
        with self._watch_lock:
            self._check_open()
            try:
                version: int = rows(self._watch, "PRAGMA data_version")[0][0]
            except apsw.Error as error:
                raise self._met(error) from error
        return version

    def close(self) -> None:
        """Commits what is queued and closes every connection; may be called again.  Blocks meanwhile."""
        self._writer.close()
        with self._watch_lock, self._memory_lock:
            self._closed = True
            if self._watch is not None:
                self._watch.close()
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()

    def _met(self, error: apsw.Error) -> GuesthouseError:
        """What a reader is told of an error; a broken disk stops the writes too."""
        if is_fatal(error):
            self._writer.fail(error)
        return translated(error)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("the database is closed")

    @contextlib.contextmanager
    def _view(self) -> Iterator[Connection]:
        """Where somebody reads who has a thread for that."""
        if self._path is not None:
            with self._reader() as connection:
                yield connection
            return
        with self._memory_lock:
            self._check_open()
            yield self._connection

    @contextlib.contextmanager
    def _reader(self) -> Iterator[Connection]:
        """A connection of this reader's own, in a transaction; one that met an error of SQLite is not used again."""
        self._check_open()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._open()
            connection.pragma("query_only", "on")
        sound = True
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")
        except apsw.Error:
            sound = False
            raise
        finally:
            if sound and len(self._idle) < IDLE_READERS and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()

    def _open_first(self, upgrade: bool) -> Connection:
        """The writing connection, after making the file (for its owner only) and bringing its tables up to date."""
        if self._path is not None and not self._vfs:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            connection = self._connect()
            try:
                check(connection)  # before the settings, which would change somebody else's file
                self._set_up(connection)
                migrate(connection, upgrade=upgrade)
            except BaseException:
                connection.close()
                raise
        except apsw.Error as error:
            if isinstance(error, apsw.IOError):
                raise failure(error) from error
            raise StorageError(f"the database {self._path or 'in memory'} cannot be opened: {error}") from error
        return connection

    def _open(self) -> Connection:
        return self._set_up(self._connect())

    def _connect(self) -> Connection:
        connection = apsw.Connection(
            ":memory:" if self._path is None else os.fspath(self._path),
            flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
            vfs=self._vfs or None,
        )
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        return connection

    def _set_up(self, connection: Connection) -> Connection:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # as for wal_autocheckpoint
        for name, value in SETTINGS:
            connection.pragma(name, value)
        if self._path is not None and connection.pragma("journal_mode") != "wal":
            raise StorageError(f"the file system of {self._path} cannot hold a write-ahead log")
        return connection


def _with(work: Callable[[Connection], T], joined: Joined) -> Callable[[Connection], T]:
    """`work`, followed by what has to be stored with its result."""

    def both(connection: Connection) -> T:
        result = work(connection)
        joined.store(connection, result)
        return result

    return both


def rows(connection: Connection, query: str, values: Sequence[str | bytes | int | None] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query, as repositories read them: their columns' types are the schema's promise."""
    return connection.execute(query, values).fetchall()


def _check_library() -> None:
    """Raises `StorageError` where the SQLite library is one that loses data (F6)."""
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise StorageError(f"SQLite {version} can corrupt a database; install an apsw that brings {oldest} or newer")
