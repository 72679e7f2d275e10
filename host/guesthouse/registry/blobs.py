"""Where deployed bytes are kept: under their own SHA-256, whole or not at all, checked again whenever they are read.

Knows nothing of functions and versions; names are digests, so no name that a client chose ever reaches the file system.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from guesthouse.errors import NotFound
from guesthouse.storage.errors import StorageError, refused
from guesthouse.storage.files import (
    TEMPORARY,
    Steps,
    Untrustworthy,
    no_steps,
    private_directory,
    read_private,
    sync_directory,
    write_durably,
)

DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class Blobs(Protocol):
    """A store of bytes by their SHA-256 in hexadecimal; safe to use from several threads."""

    def put(self, digest: str, data: bytes, steps: Steps = no_steps) -> None:
        """Keeps `data`, durably once this returns; raises `StorageFull` or `StorageError`."""

    def get(self, digest: str) -> bytes:
        """The bytes, verified; raises `NotFound`, or `StorageError` if they are damaged."""

    def remove(self, digest: str) -> None:
        """Deletes these bytes, if they are there; what the disk refuses is left for the next sweep."""

    def sweep(self, keep: Collection[str]) -> int:
        """Deletes everything of ours but `keep`, and how many that were; nobody may `put` meanwhile."""


class MemoryBlobs:
    """Blobs that end with the process."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def put(self, digest: str, data: bytes, steps: Steps = no_steps) -> None:
        """Keeps `data`."""
        self._data[digest] = data

    def get(self, digest: str) -> bytes:
        """The bytes; raises `NotFound`."""
        try:
            return self._data[digest]
        except KeyError:
            raise _unknown() from None

    def remove(self, digest: str) -> None:
        """Forgets these bytes."""
        self._data.pop(digest, None)

    def sweep(self, keep: Collection[str]) -> int:
        """Forgets everything but `keep`."""
        orphans = [digest for digest in list(self._data) if digest not in keep]
        for digest in orphans:
            del self._data[digest]
        return len(orphans)


class FileBlobs:
    """Blobs as files of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = private_directory(directory)

    def put(self, digest: str, data: bytes, steps: Steps = no_steps) -> None:
        """Keeps `data`, durably once this returns; raises `StorageFull` or `StorageError`."""
        path = self._directory / digest
        try:
            sound = read_private(path)[1] == data
        except (FileNotFoundError, Untrustworthy):
            sound = False
        try:
            if sound:
                sync_directory(self._directory)  # whoever wrote it may not have come that far yet
            else:
                write_durably(path, [data], steps=steps)
        except OSError as error:
            raise refused(error, "the deployed bytes") from error

    def get(self, digest: str) -> bytes:
        """The bytes, verified; raises `NotFound`, or `StorageError` if they are damaged."""
        if not DIGEST.match(digest):
            raise _unknown()
        try:
            data = read_private(self._directory / digest)[1]
        except FileNotFoundError:
            raise _unknown() from None
        except (Untrustworthy, OSError) as error:
            raise StorageError(f"the deployed bytes {digest} cannot be read: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(f"the deployed bytes {digest} are damaged: deploy the function again")
        return data

    def remove(self, digest: str) -> None:
        """Deletes these bytes, if they are there; what the disk refuses is left for the next sweep."""
        if DIGEST.match(digest):
            with contextlib.suppress(OSError):
                (self._directory / digest).unlink()

    def sweep(self, keep: Collection[str]) -> int:
        """Deletes what a deploy that did not finish left behind and what no version names; other files stay."""
        swept = 0
        for path in list(self._directory.iterdir()):
            ours = DIGEST.match(path.name) or TEMPORARY.match(path.name)
            if ours and path.name not in keep and (path.is_file() or path.is_symlink()):
                path.unlink()
                swept += 1
        return swept


def _unknown() -> NotFound:
    return NotFound("no deployed bytes have this digest")
