"""The files of `wasi_snapshot_preview1`: descriptors from 3 on, over the read-only tree of a deployment.

Promises: without files there is no descriptor but the standard streams, and every path answers a bad one; nothing traps
but a pointer out of bounds.  Layouts are those of the preview 1 witx files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from guesthouse.interfaces.base import host_call
from guesthouse.interfaces.wasi.state import Part
from guesthouse.interfaces.wasi.tree import MAX_PATH, Descriptor, File, Folder, Node, Refused, find_node, open_node

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

PREVIEW1 = "wasi_snapshot_preview1"

SUCCESS, EINVAL, EMFILE = 0, 28, 33
ERRNO = {
    "bad-descriptor": 8,
    "exist": 20,
    "illegal-byte-sequence": 25,
    "invalid": EINVAL,
    "is-directory": 31,
    "name-too-long": 37,
    "no-entry": 44,
    "not-directory": 54,
    "unsupported": 58,
    "not-permitted": 63,
    "read-only": 69,
}
DIRECTORY, REGULAR_FILE = 3, 4
CREATE, ONLY_DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8
WRITE_RIGHT = 1 << 6
FILE_RIGHTS = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 21
"""fd_read, fd_seek, fd_tell, fd_filestat_get."""
FOLDER_RIGHTS = 1 << 13 | 1 << 14 | 1 << 18 | 1 << 21
"""path_open, fd_readdir, path_filestat_get, fd_filestat_get."""
MOST_VECTORS = 1024
MOST_READ = 1024 * 1024
"""What one call gives."""
PREOPENED, PREOPENED_NAME = 3, b"/"

SIZES = struct.Struct("<I")
POSITION = struct.Struct("<Q")
VECTOR = struct.Struct("<II")
PRESTAT = struct.Struct("<B3xI")
FDSTAT = struct.Struct("<BxH4xQQ")
FILESTAT = struct.Struct("<QQB7xQQQQQ")
DIRENT = struct.Struct("<QQIB3x")

NEEDLESS = {"fd_advise": "iIIi", "fd_datasync": "i", "fd_sync": "i"}
"""There is nothing to do for them."""
UNSUPPORTED = {"fd_fdstat_set_flags": "ii", "fd_fdstat_set_rights": "iII", "fd_renumber": "ii"}
CHANGES = {
    "fd_allocate": "iII",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pwrite": "iiiIi",
    "path_create_directory": "iii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_unlink_file": "iii",
}
"""What would change something; all begin with a descriptor."""


class Guest(Protocol):
    """The guest's memory; both trap out of bounds."""

    def read(self, pointer: int, length: int) -> bytes: ...

    def write(self, pointer: int, data: bytes) -> None: ...


class OpenFile:
    """A descriptor and where it has read to."""

    __slots__ = ("descriptor", "position")

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.position = 0

    def read(self, length: int) -> bytes:
        """The next bytes."""
        found = self.descriptor.data[self.position : self.position + length]
        self.position += len(found)
        return found


class OpenFiles:
    """The descriptors of one invocation from 3 on; a number is not used again."""

    __slots__ = ("_most", "_next", "open")

    def __init__(self, root: Folder | None, most: int) -> None:
        self.open = {} if root is None else {PREOPENED: OpenFile(Descriptor(root))}
        self._next = PREOPENED + 1
        self._most = most

    def get(self, fd: int) -> OpenFile:
        """What is open under a number."""
        found = self.open.get(fd)
        if found is None:
            raise Refused("bad-descriptor")
        return found

    def add(self, descriptor: Descriptor) -> int | None:
        """Its number; `None` where too many are open."""
        if len(self.open) >= self._most:
            return None
        number, self._next = self._next, self._next + 1
        self.open[number] = OpenFile(descriptor)
        return number


def numbered(method: Callable[..., int]) -> Callable[..., int]:
    """Makes of a method that raises `Refused` one that answers an error number."""

    @wraps(method)
    def wrapped(self: Part, invocation: Invocation, guest: Guest, *arguments: int) -> int:
        try:
            return method(self, invocation, guest, *arguments)
        except Refused as refused:
            return ERRNO[refused.code]

    return wrapped


class Preview1Files(Part):
    """The functions of preview 1 that are about files only; those that are about streams, too, are in `Preview1`."""

    @host_call(PREVIEW1, "fd_prestat_get", core="ii:i")
    @numbered
    def fd_prestat_get(self, invocation: Invocation, guest: Guest, fd: int, result: int) -> int:
        self._preopened(invocation, fd)
        guest.write(result, PRESTAT.pack(0, len(PREOPENED_NAME)))
        return SUCCESS

    @host_call(PREVIEW1, "fd_prestat_dir_name", core="iii:i")
    @numbered
    def fd_prestat_dir_name(self, invocation: Invocation, guest: Guest, fd: int, name: int, length: int) -> int:
        self._preopened(invocation, fd)
        if length < len(PREOPENED_NAME):
            raise Refused("name-too-long")
        guest.write(name, PREOPENED_NAME)
        return SUCCESS

    @host_call(PREVIEW1, "path_open", core="iiiiiIIii:i")
    @numbered
    def path_open(
        self,
        invocation: Invocation,
        guest: Guest,
        fd: int,
        follow: int,
        path: int,
        length: int,
        how: int,
        rights: int,
        inheriting: int,
        flags: int,
        result: int,
    ) -> int:
        files = self._files(invocation)
        opened = open_node(
            files.get(fd).descriptor.folder,
            _path(guest, path, length),
            write=bool(rights & WRITE_RIGHT),
            create=bool(how & CREATE),
            exclusive=bool(how & EXCLUSIVE),
            truncate=bool(how & TRUNCATE),
            directory=bool(how & ONLY_DIRECTORY),
        )
        number = files.add(opened)
        if number is None:
            return EMFILE
        guest.write(result, SIZES.pack(number))
        return SUCCESS

    @host_call(PREVIEW1, "path_filestat_get", core="iiiii:i")
    @numbered
    def path_filestat_get(
        self, invocation: Invocation, guest: Guest, fd: int, follow: int, path: int, length: int, result: int
    ) -> int:
        folder = self._files(invocation).get(fd).descriptor.folder
        guest.write(result, file_stat(Descriptor(find_node(folder, _path(guest, path, length)))))
        return SUCCESS

    @host_call(PREVIEW1, "path_readlink", core="iiiiii:i")
    @numbered
    def path_readlink(self, invocation: Invocation, guest: Guest, fd: int, path: int, length: int, *_: int) -> int:
        find_node(self._files(invocation).get(fd).descriptor.folder, _path(guest, path, length))
        return EINVAL  # it is no link

    @host_call(PREVIEW1, "fd_readdir", core="iiiIi:i")
    @numbered
    def fd_readdir(
        self, invocation: Invocation, guest: Guest, fd: int, buffer: int, length: int, cookie: int, used: int
    ) -> int:
        entries = list(self._files(invocation).get(fd).descriptor.folder.entries.items())
        written = bytearray()
        for number in range(min(cookie, len(entries)), len(entries)):
            name, node = entries[number][0].encode(), entries[number][1]
            written += DIRENT.pack(number + 1, node.number, len(name), _type(node)) + name
            if len(written) >= length:
                break
        guest.write(buffer, bytes(written[:length]))
        guest.write(used, SIZES.pack(min(len(written), length)))
        return SUCCESS

    @host_call(PREVIEW1, "fd_pread", core="iiiIi:i")
    @numbered
    def fd_pread(
        self, invocation: Invocation, guest: Guest, fd: int, vectors: int, count: int, offset: int, read: int
    ) -> int:
        elsewhere = OpenFile(self._files(invocation).get(fd).descriptor)
        elsewhere.position = offset
        return fill(guest, vectors, count, elsewhere.read, read)

    @host_call(PREVIEW1, "path_symlink", core="iiiii:i")
    @numbered
    def path_symlink(
        self, invocation: Invocation, guest: Guest, target: int, length: int, fd: int, *_: int
    ) -> NoReturn:
        self._files(invocation).get(fd)
        raise Refused("read-only")

    @numbered
    def need_nothing_of_file(self, invocation: Invocation, guest: Guest, fd: int, *_: Any) -> int:
        self._files(invocation).get(fd)
        return SUCCESS

    @numbered
    def refuse_file_change(self, invocation: Invocation, guest: Guest, fd: int, *_: Any) -> NoReturn:
        self._files(invocation).get(fd)
        raise Refused("read-only")

    @numbered
    def refuse_unsupported_file(self, invocation: Invocation, guest: Guest, fd: int, *_: Any) -> NoReturn:
        self._files(invocation).get(fd)
        raise Refused("unsupported")

    for _name, _params in NEEDLESS.items():
        need_nothing_of_file = host_call(PREVIEW1, _name, core=f"{_params}:i")(need_nothing_of_file)
    for _name, _params in CHANGES.items():
        refuse_file_change = host_call(PREVIEW1, _name, core=f"{_params}:i")(refuse_file_change)
    for _name, _params in UNSUPPORTED.items():
        refuse_unsupported_file = host_call(PREVIEW1, _name, core=f"{_params}:i")(refuse_unsupported_file)
    del _name, _params

    def _files(self, invocation: Invocation) -> OpenFiles:
        state = invocation.state(self)
        if state.files is None:
            state.files = OpenFiles(self._root(invocation), invocation.limits.resources)
        files: OpenFiles = state.files
        return files

    def _preopened(self, invocation: Invocation, fd: int) -> None:
        self._files(invocation).get(fd)
        if fd != PREOPENED:
            raise Refused("bad-descriptor")


def fill(guest: Guest, vectors: int, count: int, read: Callable[[int], bytes], result: int) -> int:
    """Reads at most `MOST_READ` bytes into the guest's vectors, and writes how many to `result`."""
    if count > MOST_VECTORS:
        return EINVAL
    done = 0
    for pointer, length in VECTOR.iter_unpack(guest.read(vectors, VECTOR.size * count)):
        piece = read(min(length, MOST_READ - done))
        guest.write(pointer, piece)
        done += len(piece)
        if len(piece) < length:
            break
    guest.write(result, SIZES.pack(done))
    return SUCCESS


def sought(file: OpenFile, offset: int, whence: int) -> int:
    """Where `fd_seek` leads, which is where `file` reads on."""
    bases = (0, file.position, len(file.descriptor.data))
    if whence >= len(bases):
        raise Refused("invalid")
    position = bases[whence] + (offset - (1 << 64) if offset >> 63 else offset)
    if not 0 <= position < 1 << 63:
        raise Refused("invalid")
    file.position = position
    return position


def file_stat(descriptor: Descriptor) -> bytes:
    """A `filestat`."""
    node = descriptor.node
    size = len(descriptor.data) if isinstance(node, File) else 0
    return FILESTAT.pack(0, node.number, _type(node), 1, size, 0, 0, 0)


def fd_stat(descriptor: Descriptor) -> bytes:
    """An `fdstat`."""
    if isinstance(descriptor.node, File):
        return FDSTAT.pack(REGULAR_FILE, 0, FILE_RIGHTS, 0)
    # A libc asks for no more than it may have, and would open for writing what then cannot be written.
    return FDSTAT.pack(DIRECTORY, 0, FOLDER_RIGHTS, FOLDER_RIGHTS | FILE_RIGHTS | WRITE_RIGHT)


def _type(node: Node) -> int:
    return REGULAR_FILE if isinstance(node, File) else DIRECTORY


def _path(guest: Guest, pointer: int, length: int) -> str:
    if length > MAX_PATH:
        raise Refused("name-too-long")
    try:
        return guest.read(pointer, length).decode()
    except UnicodeDecodeError:
        raise Refused("illegal-byte-sequence") from None
