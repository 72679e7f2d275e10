"""`wasi:filesystem`: a file system with nothing in it.

There are no preopened directories, so no guest can ever hold a descriptor; the methods are there because programs name
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guesthouse.engine.values import Err
from guesthouse.interfaces.base import host_call
from guesthouse.interfaces.wasi.state import Part

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.interfaces.wasi.io import IoError

TYPES = "wasi:filesystem/types@0.2.12"
PREOPENS = "wasi:filesystem/preopens@0.2.12"
REFUSED = (
    "read-via-stream",
    "write-via-stream",
    "append-via-stream",
    "advise",
    "sync-data",
    "get-flags",
    "get-type",
    "set-size",
    "set-times",
    "read",
    "write",
    "read-directory",
    "sync",
    "create-directory-at",
    "stat",
    "stat-at",
    "set-times-at",
    "link-at",
    "open-at",
    "readlink-at",
    "remove-directory-at",
    "rename-at",
    "symlink-at",
    "unlink-file-at",
    "metadata-hash",
    "metadata-hash-at",
)


class Descriptor:
    """Never made: nothing can be opened."""


class DirectoryEntryStream:
    """Never made: there is no directory to read."""


class Filesystem(Part):
    """`wasi:filesystem/types` and `wasi:filesystem/preopens`."""

    @host_call(PREOPENS, "get-directories")
    def get_directories(self, invocation: Invocation) -> list[tuple[Descriptor, str]]:
        return []

    @host_call(TYPES, "filesystem-error-code")
    def filesystem_error_code(self, invocation: Invocation, error: IoError) -> None:
        """No error here is one of files."""

    @host_call(TYPES, "[method]descriptor.is-same-object")
    def is_same_object(self, invocation: Invocation, descriptor: Descriptor, other: Descriptor) -> bool:
        return descriptor is other

    @host_call(TYPES, "[method]directory-entry-stream.read-directory-entry")
    def refuse_descriptor(self, invocation: Invocation, *arguments: Any) -> Err[str]:
        """What every operation on a descriptor answers."""
        return Err("bad-descriptor")

    for _method in REFUSED:
        refuse_descriptor = host_call(TYPES, f"[method]descriptor.{_method}")(refuse_descriptor)
    del _method
