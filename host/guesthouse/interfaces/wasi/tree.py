"""`Tree`: the file system that a guest may see: folders of read-only files, which are the secrets of its deployment.

Promises: a path leads to what lies below the folder it begins at, or to one of the errors of `wasi:filesystem`, whatever
it holds; a file that was opened stays as it was then.  Must not know which WASI asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from guesthouse.registry.deployment import Deployment

SECRETS: Final = ("var", "openfaas", "secrets")
"""The folder of secrets, where OpenFaaS has them."""
MAX_PATH: Final = 4096
"""Bytes of a path."""
MAX_NAME: Final = 255
"""Bytes of one name in it."""

Find: TypeAlias = "Callable[[str, str], bytes | None]"
"""The current value of a secret by namespace and name."""


class Refused(Exception):
    """What was asked cannot be done; `code` is a case of WIT `error-code`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class File:
    """A name for bytes that may change, and be gone."""

    __slots__ = ("_read", "number")

    def __init__(self, number: int, read: Callable[[], bytes | None]) -> None:
        self._read = read
        self.number = number
        """What tells it from all other files and folders of its tree."""

    def read(self) -> bytes:
        """The bytes as they are now."""
        found = self._read()
        if found is None:
            raise Refused("no-entry")
        return found


class Folder:
    """Files and folders by their names."""

    __slots__ = ("entries", "number")

    def __init__(self, number: int) -> None:
        self.entries: dict[str, Node] = {}
        self.number = number


Node: TypeAlias = File | Folder


class Descriptor:
    """An open file, with its bytes as they were when it was opened, or an open folder."""

    __slots__ = ("_data", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self._data = node.read() if isinstance(node, File) else None

    @property
    def data(self) -> bytes:
        """A file's bytes."""
        if self._data is None:
            raise Refused("is-directory")
        return self._data

    @property
    def folder(self) -> Folder:
        """The folder that it is."""
        if isinstance(self.node, File):
            raise Refused("not-directory")
        return self.node


def open_node(
    folder: Folder,
    path: str,
    *,
    write: bool = False,
    create: bool = False,
    exclusive: bool = False,
    truncate: bool = False,
    directory: bool = False,
) -> Descriptor:
    """Opens what is there for reading; raises `Refused` for everything else that POSIX's `open` could do."""
    try:
        node = find_node(folder, path)
    except Refused as refused:
        raise Refused("read-only") if create and refused.code == "no-entry" else refused from None
    if create and exclusive:
        raise Refused("exist")
    if directory and isinstance(node, File):
        raise Refused("not-directory")
    if write or truncate:
        raise Refused("read-only" if isinstance(node, File) else "is-directory")
    return Descriptor(node)


def tree_of(deployment: Deployment, find: Find) -> Folder | None:
    """The root of what a function of this deployment sees; `None` where that is nothing."""
    names = sorted(deployment.manifest.secrets)
    if not names:
        return None
    root = folder = Folder(1)
    for number, name in enumerate(SECRETS, 2):
        inner = folder.entries[name] = Folder(number)
        folder = inner
    for number, name in enumerate(names, 2 + len(SECRETS)):
        folder.entries[name] = File(number, _reader(find, deployment.namespace, name))
    return root


def find_node(folder: Folder, path: str) -> Node:
    """What `path` leads to, beginning at `folder`, which it cannot leave."""
    if not path:
        raise Refused("no-entry")
    if len(path) > MAX_PATH:
        raise Refused("name-too-long")
    if "\0" in path:
        raise Refused("invalid")
    if path.startswith("/"):
        raise Refused("not-permitted")
    way: list[Folder] = []
    node: Node = folder
    for name in path.split("/"):
        if not isinstance(node, Folder):
            raise Refused("not-directory")
        if name in ("", "."):
            continue
        if name == "..":
            if not way:
                raise Refused("not-permitted")
            node = way.pop()
            continue
        way.append(node)
        node = _entry(node, name)
    return node


def _entry(folder: Folder, name: str) -> Node:
    if len(name.encode()) > MAX_NAME:
        raise Refused("name-too-long")
    found = folder.entries.get(name)
    if found is None:
        raise Refused("no-entry")
    return found


def _reader(find: Find, namespace: str, name: str) -> Callable[[], bytes | None]:
    return lambda: find(namespace, name)
