"""`DataDirectory`: the one folder that holds all of a host's state, and the lock that says which process owns it."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from guesthouse.storage.errors import DirectoryInUse, StorageError


class DataDirectory:
    """A data directory that is open: owned by one process at a time, or shared with its owner.

    `owner=False` is for the few commands that only touch the database and may run beside a server (tokens); it takes no
    lock.  Closing, or the end of the process, however it ends, gives the directory free.
    """

    def __init__(self, path: Path, *, owner: bool = True) -> None:
        self._lock: int | None = None
        path = path.expanduser().absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path = path.resolve(strict=True)
            writable_by_all = stat.S_IMODE(self.path.stat().st_mode) & 0o002
        except OSError as error:
            raise StorageError(f"the data directory {path} cannot be used: {error.strerror}") from error
        if writable_by_all:
            raise StorageError(f"the data directory {self.path} is writable by every user: take that right away first")
        if owner:
            self._lock = self._acquire()

    @property
    def database(self) -> Path:
        """Where the database file is."""
        return self.path / "guesthouse.db"

    def close(self) -> None:
        """Gives the directory free; may be called again."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _acquire(self) -> int:
        """The descriptor that holds the lock; raises `DirectoryInUse`."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"the data directory {self.path} cannot be locked: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise DirectoryInUse(
                f"the data directory {self.path} is in use by process {holder}: stop it, or choose another directory"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor
