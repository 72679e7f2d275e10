"""Files that survive a crash and that nobody else can read or plant: all of it whole, or none of it.

Knows nothing of what the files hold.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from guesthouse.clock import SYSTEM_CLOCK
from guesthouse.storage.errors import StorageError

Steps = Callable[[str], None]
"""Told the name of each step as it is done, so that a test can end the process there."""

TEMPORARY = re.compile(r"\.[A-Za-z0-9._-]+\.[0-9a-f]{16}\.tmp\Z")
"""Names that `write_durably` gives to what it has not finished."""

FILE_STEPS = ("created", "written", "synced", "verified", "renamed", "directory synced")
"""The steps of `write_durably`, in order."""


class Untrustworthy(Exception):
    """A file that somebody else could have made or changed; the text says why."""


def no_steps(step: str) -> None:
    """The `Steps` of everybody but tests."""


def private_directory(path: Path) -> Path:
    """`path` as a directory that only this user can enter: made if missing, refused if a symlink or another user's."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        sync_directory(path.parent)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{path} is not a directory that can be used: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise StorageError(f"{path} belongs to another user")
        if status.st_mode & 0o077:
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)
    return path


def write_durably(path: Path, chunks: Sequence[bytes], *, steps: Steps = no_steps) -> None:
    """Writes a file of mode 0600 that is on disk under its name, whole, once this returns; before that, not at all.

    Raises `OSError`, and `StorageError` where the disk gives back something else than was written.
    """
    temporary = path.with_name(f".{path.name}.{SYSTEM_CLOCK.random_bytes(8).hex()}.tmp")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o600), "w+b", buffering=0) as file:
            steps("created")
            for chunk in chunks:
                _write_all(file.fileno(), chunk)
            steps("written")
            os.fsync(file.fileno())
            steps("synced")
            _compare(file.fileno(), chunks, path)
            steps("verified")
        os.rename(temporary, path)
        steps("renamed")
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_directory(path.parent)
    steps("directory synced")


def sync_directory(path: Path) -> None:
    """Makes the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path, header: int = 0, *, limit: int = 1 << 30) -> tuple[bytes, bytes]:
    """The first `header` bytes of a file, and the rest, read once from one open file.

    Raises `FileNotFoundError`, and `Untrustworthy` for a symlink, another user's file, one that others can open, or one
    that is too short or over `limit` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Untrustworthy(f"it cannot be opened as a plain file: {error.strerror}") from error
    with open(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Untrustworthy("it is not a plain file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise Untrustworthy("it belongs to another user or others can open it")
        if not header <= status.st_size <= limit:
            raise Untrustworthy(f"it has {status.st_size} bytes")
        return _read_exactly(descriptor, header), file.readall()


def _read_exactly(descriptor: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            raise Untrustworthy("it is too short")
        data += more
    return data


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _compare(descriptor: int, chunks: Sequence[bytes], path: Path) -> None:
    """Reads the file back before it gets its name."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    for chunk in chunks:
        position = 0
        while position < len(chunk):
            piece = os.read(descriptor, min(len(chunk) - position, 1 << 20))
            if not piece or piece != chunk[position : position + len(piece)]:
                raise StorageError(f"the disk gave back other bytes than were written to {path.name}")
            position += len(piece)
