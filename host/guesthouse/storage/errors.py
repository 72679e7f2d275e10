"""How storage fails: branches of the one tree in `guesthouse.errors`, and the translation of SQLite's errors into them.

Unavailable
├── StorageBusy       another process kept the database locked for too long                    503
├── StorageFull       the disk is full; nothing of the write happened                          507
└── StorageFailed     a read, write or fsync failed: nothing is acknowledged any more          503
HostError
└── StorageError      a data directory or database that cannot be used; the text says why      500
    └── DirectoryInUse    another process owns the data directory                              500
"""

from __future__ import annotations

import errno

import apsw

from guesthouse.errors import GuesthouseError, HostError, Unavailable


class StorageBusy(Unavailable):
    """Another process kept the database locked for too long; nothing of the write happened."""

    problem_type = "storage-busy"


class StorageFull(Unavailable):
    """The disk is full; nothing of the write happened."""

    status = 507
    problem_type = "storage-full"
    title = "There is no room to store this"


class StorageFailed(Unavailable):
    """The disk failed: it is unknown whether this write happened, and every later one is refused until a restart."""

    problem_type = "storage-failed"


class StorageError(HostError):
    """A data directory or database that cannot be used; the text says why."""


class DirectoryInUse(StorageError):
    """Another process owns the data directory."""


def translated(error: apsw.Error) -> GuesthouseError:
    """The error of our tree that stands for one that SQLite raised while a unit of work ran."""
    if isinstance(error, apsw.BusyError):
        return StorageBusy("the database was locked by another process for too long")
    if isinstance(error, apsw.FullError):
        return StorageFull("the disk that holds the database is full")
    if is_fatal(error):
        return failure(error)
    return StorageError(f"a unit of work failed: {type(error).__name__}: {error}")


def is_fatal(error: BaseException) -> bool:
    """Whether SQLite met a broken disk or file: after that no fsync may be believed (F3)."""
    return isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError))


def refused(error: OSError, what: str) -> GuesthouseError:
    """The error of our tree for a file that the operating system would not write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("the data directory's disk is full")
    return StorageError(f"{what} cannot be written: {error.strerror or error}")


def failure(cause: BaseException) -> StorageFailed:
    """What everybody is told once storage has failed; `cause` stays in the chain for the host's own log."""
    error = StorageFailed("the database failed and acknowledges nothing until the host is restarted")
    error.__cause__ = cause
    return error
