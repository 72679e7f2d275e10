"""`wasi:filesystem`: the read-only files of a deployment (see `tree`), or none at all.

A deployment without files has no preopened directory, so that its guest never holds a descriptor.  Every method answers
an error where it has nothing else to answer; nothing traps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from guesthouse.engine.values import Err, Ok
from guesthouse.interfaces.base import host_call
from guesthouse.interfaces.bytes import Buffer
from guesthouse.interfaces.wasi.io import PERMIT, InputStream
from guesthouse.interfaces.wasi.state import Part
from guesthouse.interfaces.wasi.tree import Descriptor, File, Node, Refused, find_node, open_node

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.interfaces.wasi.io import IoError

TYPES = "wasi:filesystem/types@0.2.12"
PREOPENS = "wasi:filesystem/preopens@0.2.12"
CHANGES = (
    "append-via-stream",
    "create-directory-at",
    "link-at",
    "remove-directory-at",
    "rename-at",
    "set-size",
    "set-times",
    "set-times-at",
    "symlink-at",
    "unlink-file-at",
    "write",
    "write-via-stream",
)
"""Methods that would change something."""
Flags = frozenset[str]
T = TypeVar("T")


class DescriptorStat(NamedTuple):
    """WIT `descriptor-stat`; files have no times."""

    type: str
    link_count: int
    size: int
    accessed: None = None
    modified: None = None
    changed: None = None


class DirectoryEntry(NamedTuple):
    """WIT `directory-entry`."""

    type: str
    name: str


class DirectoryEntryStream:
    """What is left of a directory that is being read."""

    __slots__ = ("left",)

    def __init__(self, left: list[DirectoryEntry]) -> None:
        self.left = left


def answered(method: Callable[..., T]) -> Callable[..., Ok[T] | Err[str]]:
    """Makes of a method that raises `Refused` one that answers a WIT `result`."""

    @wraps(method)
    def wrapped(self: Filesystem, invocation: Invocation, *arguments: Any) -> Ok[T] | Err[str]:
        try:
            return Ok(method(self, invocation, *arguments))
        except Refused as refused:
            return Err(refused.code)

    return wrapped


class Filesystem(Part):
    """`wasi:filesystem/types` and `wasi:filesystem/preopens`."""

    @host_call(PREOPENS, "get-directories")
    def get_directories(self, invocation: Invocation) -> list[tuple[Descriptor, str]]:
        root = self._root(invocation)
        return [] if root is None else [(Descriptor(root), "/")]

    @host_call(TYPES, "filesystem-error-code")
    def filesystem_error_code(self, invocation: Invocation, error: IoError) -> None:
        """No error of a stream is one of files."""

    @host_call(TYPES, "[method]descriptor.is-same-object")
    def is_same_object(self, invocation: Invocation, descriptor: Descriptor, other: Descriptor) -> bool:
        return descriptor.node is other.node

    @host_call(TYPES, "[method]descriptor.open-at")
    @answered
    def open_at(
        self, invocation: Invocation, descriptor: Descriptor, follow: Flags, path: str, how: Flags, rights: Flags
    ) -> Descriptor:
        flags = {name: name in how for name in ("create", "exclusive", "truncate", "directory")}
        return open_node(descriptor.folder, path, write="write" in rights, **flags)

    @host_call(TYPES, "[method]descriptor.read-via-stream")
    @answered
    def read_via_stream(self, invocation: Invocation, descriptor: Descriptor, offset: int) -> InputStream:
        buffer = Buffer(descriptor.data)
        buffer.advance(offset)
        return InputStream(buffer)

    @host_call(TYPES, "[method]descriptor.read")
    @answered
    def read(self, invocation: Invocation, descriptor: Descriptor, length: int, offset: int) -> tuple[bytes, bool]:
        """At most `PERMIT` bytes, and whether they are the last."""
        end = min(offset + min(length, PERMIT), len(descriptor.data))
        return descriptor.data[offset:end], end >= len(descriptor.data)

    @host_call(TYPES, "[method]descriptor.read-directory")
    @answered
    def read_directory(self, invocation: Invocation, descriptor: Descriptor) -> DirectoryEntryStream:
        entries = descriptor.folder.entries.items()
        return DirectoryEntryStream([DirectoryEntry(type_of(node), name) for name, node in entries])

    @host_call(TYPES, "[method]directory-entry-stream.read-directory-entry")
    @answered
    def read_directory_entry(self, invocation: Invocation, stream: DirectoryEntryStream) -> DirectoryEntry | None:
        return stream.left.pop() if stream.left else None

    @host_call(TYPES, "[method]descriptor.get-flags")
    @answered
    def get_flags(self, invocation: Invocation, descriptor: Descriptor) -> Flags:
        return frozenset({"read"})

    @host_call(TYPES, "[method]descriptor.get-type")
    @answered
    def get_type(self, invocation: Invocation, descriptor: Descriptor) -> str:
        return type_of(descriptor.node)

    @host_call(TYPES, "[method]descriptor.stat")
    @answered
    def stat(self, invocation: Invocation, descriptor: Descriptor) -> DescriptorStat:
        return _stat(descriptor)

    @host_call(TYPES, "[method]descriptor.stat-at")
    @answered
    def stat_at(self, invocation: Invocation, descriptor: Descriptor, follow: Flags, path: str) -> DescriptorStat:
        return _stat(Descriptor(find_node(descriptor.folder, path)))

    @host_call(TYPES, "[method]descriptor.metadata-hash")
    @answered
    def metadata_hash(self, invocation: Invocation, descriptor: Descriptor) -> tuple[int, int]:
        return descriptor.node.number, 0

    @host_call(TYPES, "[method]descriptor.metadata-hash-at")
    @answered
    def metadata_hash_at(
        self, invocation: Invocation, descriptor: Descriptor, follow: Flags, path: str
    ) -> tuple[int, int]:
        return find_node(descriptor.folder, path).number, 0

    @host_call(TYPES, "[method]descriptor.readlink-at")
    @answered
    def readlink_at(self, invocation: Invocation, descriptor: Descriptor, path: str) -> NoReturn:
        find_node(descriptor.folder, path)
        raise Refused("invalid")  # it is no link

    @host_call(TYPES, "[method]descriptor.advise")
    @host_call(TYPES, "[method]descriptor.sync")
    @host_call(TYPES, "[method]descriptor.sync-data")
    @answered
    def need_nothing(self, invocation: Invocation, descriptor: Descriptor, *arguments: Any) -> None:
        """There is nothing to do."""

    @answered
    def refuse_change(self, invocation: Invocation, descriptor: Descriptor, *arguments: Any) -> NoReturn:
        raise Refused("read-only")

    for _method in CHANGES:
        refuse_change = host_call(TYPES, f"[method]descriptor.{_method}")(refuse_change)
    del _method


def type_of(node: Node) -> str:
    """WIT `descriptor-type`."""
    return "regular-file" if isinstance(node, File) else "directory"


def _stat(descriptor: Descriptor) -> DescriptorStat:
    size = len(descriptor.data) if isinstance(descriptor.node, File) else 0
    return DescriptorStat(type_of(descriptor.node), 1, size)
