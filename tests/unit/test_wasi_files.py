"""Files through both versions of WASI: what can be read, in which layouts, and that nothing can be changed."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from guesthouse.interfaces.wasi.filesystem import CHANGES
from guesthouse.limits import Limits
from guesthouse.registry.deployment import Manifest
from unit.interface_fakes import deployment
from unit.wasi_world import World

FOLDER = "var/openfaas/secrets"
ROOT, WRITE = 3, 1 << 6
VALUES = {"key": b"0123456789", "cert.pem": b"---"}
EXIST, ILSEQ, INVAL, ISDIR, MFILE, NAMETOOLONG, NOENT, NOTDIR, NOTSUP, PERM, ROFS = (
    20, 25, 28, 31, 33, 37, 44, 54, 58, 63, 69
)  # fmt: skip


def world(**limits: int) -> World:
    manifest = Manifest(secrets=frozenset(VALUES), limits=Limits(**limits))
    return World(lambda namespace, name: VALUES.get(name), of=deployment(manifest=manifest), limits=Limits(**limits))


# --- 0.2


def types(of: World, name: str, *args: Any) -> Any:
    resource = "" if name.startswith("[") else "[method]descriptor."
    return of.call("filesystem/types", resource + name, *args)


def root(of: World) -> Any:
    ((found, name),) = of.call("filesystem/preopens", "get-directories")
    assert name == "/"
    return found


def opened(of: World, path: str) -> Any:
    answer = types(of, "open-at", root(of), frozenset(), path, frozenset(), frozenset({"read"}))
    assert isinstance(answer, Ok), answer
    return answer.value


def test_0_2_reads_files_whole_in_parts_and_as_streams() -> None:
    """From any offset; past the end there is nothing."""
    here = world()
    file = opened(here, f"{FOLDER}/key")
    assert types(here, "read", file, 4, 3) == Ok((b"3456", False))
    assert types(here, "read", file, 2**64 - 1, 8) == Ok((b"89", True))
    assert types(here, "read", file, 5, 2**64 - 1) == Ok((b"", True))
    stream = types(here, "read-via-stream", file, 7).value
    assert here.call("io/streams", "[method]input-stream.read", stream, 100) == Ok(b"789")
    assert here.call("io/streams", "[method]input-stream.read", stream, 100) == Err(("closed", None))
    far = types(here, "read-via-stream", file, 2**64 - 1).value
    assert here.call("io/streams", "[method]input-stream.read", far, 1) == Err(("closed", None))


def test_0_2_tells_what_is_there() -> None:
    """Types, lengths, names, and what is the same."""
    here = world()
    folder, file = opened(here, FOLDER), opened(here, f"{FOLDER}/key")
    assert types(here, "get-type", folder) == Ok("directory")
    assert types(here, "stat", file) == Ok(("regular-file", 1, 10, None, None, None))
    assert types(here, "stat-at", folder, frozenset(), "cert.pem").value.size == 3
    assert types(here, "get-flags", file) == Ok(frozenset({"read"}))
    entries = types(here, "read-directory", folder).value
    name = "[method]directory-entry-stream.read-directory-entry"
    found = [types(here, name, entries).value for _ in range(3)]
    assert sorted(found[:2]) == [("regular-file", "cert.pem"), ("regular-file", "key")]
    assert found[2] is None
    assert types(here, "is-same-object", root(here), root(here)) is True
    assert types(here, "is-same-object", file, folder) is False
    hashes = [types(here, "metadata-hash", file), types(here, "metadata-hash-at", folder, frozenset(), "key")]
    assert hashes[0] == hashes[1] != types(here, "metadata-hash", folder)


def test_0_2_refuses_every_change() -> None:
    """Whatever the arguments are."""
    here = world()
    for descriptor in (root(here), opened(here, f"{FOLDER}/key")):
        for name in CHANGES:
            assert types(here, name, descriptor, 0, 0, 0, 0) == Err("read-only")
        for name in ("sync", "sync-data"):
            assert types(here, name, descriptor) == Ok()
        assert types(here, "advise", descriptor, 0, 0, "normal") == Ok()


def test_0_2_answers_errors_and_never_traps() -> None:
    """A file taken for a folder, a folder for a file, a link that is none, ways out."""
    here = world()
    top, file = root(here), opened(here, f"{FOLDER}/key")
    nothing: frozenset[str] = frozenset()
    assert types(here, "read", top, 1, 0) == Err("is-directory")
    assert types(here, "read-via-stream", top, 0) == Err("is-directory")
    assert types(here, "read-directory", file) == Err("not-directory")
    assert types(here, "stat-at", file, nothing, "x") == Err("not-directory")
    assert types(here, "readlink-at", top, FOLDER) == Err("invalid")
    assert types(here, "readlink-at", top, "x") == Err("no-entry")
    for path, how, rights, code in (
        ("../x", (), (), "not-permitted"),
        ("/var", (), (), "not-permitted"),
        ("var\0", (), (), "invalid"),
        (f"{FOLDER}/key", (), ("write",), "read-only"),
        (f"{FOLDER}/key", ("truncate",), (), "read-only"),
        (f"{FOLDER}/key", ("directory",), (), "not-directory"),
        (f"{FOLDER}/new", ("create",), ("write",), "read-only"),
        (f"{FOLDER}/key", ("create", "exclusive"), (), "exist"),
    ):
        assert types(here, "open-at", top, nothing, path, frozenset(how), frozenset(rights)) == Err(code)


# --- preview 1


def p1_path(of: World, function: str, fd: int, path: bytes, *rest: int, flags: int = 0) -> int:
    of.guest.write(0x1000, path)
    return of.p1(function, fd, flags, 0x1000, len(path), *rest)


def p1_open(of: World, path: bytes, how: int = 0, rights: int = 2) -> int:
    """The error number; the descriptor is at 0."""
    return p1_path(of, "path_open", ROOT, path, how, rights, 0, 0, 0)


def p1_opened(of: World, path: str) -> int:
    assert p1_open(of, path.encode()) == 0
    return of.guest.u32(0)


def test_preview_1_has_one_preopened_folder() -> None:
    """`/`, at 3, where every libc looks."""
    here = world()
    assert here.p1("fd_prestat_get", ROOT, 8) == 0
    assert (here.guest.u32(8), here.guest.u32(12)) == (0, 1)
    assert here.p1("fd_prestat_dir_name", ROOT, 100, 1) == 0
    assert here.guest.read(100, 2) == b"/\0"
    assert here.p1("fd_prestat_dir_name", ROOT, 100, 0) == NAMETOOLONG
    assert here.p1("fd_prestat_get", 4, 8) == 8
    assert here.p1("fd_prestat_get", p1_opened(here, FOLDER), 8) == 8


def test_preview_1_reads_on_seeks_and_tells() -> None:
    """Each descriptor has a place of its own, which reading at an offset leaves alone."""
    here = world()
    fd, other = p1_opened(here, f"{FOLDER}/key"), p1_opened(here, f"{FOLDER}/key")
    here.guest.write(64, struct.pack("<IIII", 200, 3, 300, 4))
    assert here.p1("fd_read", fd, 64, 2, 8) == 0
    assert (here.guest.u32(8), here.guest.read(200, 3), here.guest.read(300, 4)) == (7, b"012", b"3456")
    assert here.p1("fd_pread", fd, 64, 1, 8, 8) == 0
    assert (here.guest.u32(8), here.guest.read(200, 3)) == (2, b"892")
    assert (here.p1("fd_tell", fd, 16), here.guest.u64(16)) == (0, 7)
    assert (here.p1("fd_tell", other, 16), here.guest.u64(16)) == (0, 0)
    for offset, whence, expected in ((2, 0, 2), (2**64 - 1, 1, 1), (2**64 - 4, 2, 6), (2**62, 0, 2**62)):
        assert (here.p1("fd_seek", fd, offset, whence, 16), here.guest.u64(16)) == (0, expected)
    for offset, whence in ((2**64 - 1, 0), (2**63 - 1, 1), (0, 3), (2**63, 2)):
        assert here.p1("fd_seek", fd, offset, whence, 16) == INVAL
    assert here.p1("fd_read", fd, 64, 1, 8) == 0
    assert here.guest.u32(8) == 0
    assert here.p1("fd_pread", fd, 64, 1, 2**64 - 1, 8) == 0


def test_preview_1_tells_what_is_there() -> None:
    """The layouts of `filestat` and `fdstat`: type, length, rights to read only."""
    here = world()
    assert p1_path(here, "path_filestat_get", ROOT, f"{FOLDER}/key".encode(), 200) == 0
    found = struct.unpack("<QQB7xQQQQQ", here.guest.read(200, 64))
    assert (found[2], found[3], found[4]) == (4, 1, 10)
    fd = p1_opened(here, f"{FOLDER}/key")
    assert here.p1("fd_filestat_get", fd, 300) == 0
    assert here.guest.read(300, 64) == here.guest.read(200, 64)
    for number, kind in ((fd, 4), (ROOT, 3)):
        assert here.p1("fd_fdstat_get", number, 200) == 0
        type_, flags, rights, inheriting = struct.unpack("<BxH4xQQ", here.guest.read(200, 24))
        assert (type_, flags, rights & WRITE) == (kind, 0, 0)
        assert bool(inheriting & WRITE) is (number == ROOT)  # or a libc would not ask for it, and not be refused


def entries(data: bytes) -> list[tuple[int, str, int]]:
    """Cookie, name and type of each whole entry."""
    found = []
    while len(data) >= 24:
        cookie, _, length, kind = struct.unpack_from("<QQIB", data)
        if len(data) < 24 + length:
            break
        found.append((cookie, data[24 : 24 + length].decode(), kind))
        data = data[24 + length :]
    return found


def test_preview_1_lists_a_folder_from_any_cookie_into_any_room() -> None:
    """What does not fit is cut off, and is had by going on at the last cookie."""
    here = world()
    fd = p1_opened(here, FOLDER)

    def read(room: int, cookie: int) -> list[tuple[int, str, int]]:
        assert here.p1("fd_readdir", fd, 0x2000, room, cookie, 8) == 0
        assert here.guest.u32(8) <= room
        return entries(here.guest.read(0x2000, here.guest.u32(8)))

    assert read(4096, 0) == [(1, "cert.pem", 4), (2, "key", 4)]
    assert read(40, 0) == [(1, "cert.pem", 4)]
    assert here.guest.u32(8) == 40
    assert read(4096, 1) == [(2, "key", 4)]
    assert read(4096, 2) == read(4096, 2**64 - 1) == read(0, 0) == []
    assert here.p1("fd_readdir", p1_opened(here, f"{FOLDER}/key"), 0, 100, 0, 8) == NOTDIR


@pytest.mark.parametrize(
    ("path", "how", "rights", "error"),
    [
        (b"../x", 0, 2, PERM),
        (b"/var", 0, 2, PERM),
        (b"", 0, 2, NOENT),
        (b"etc", 0, 2, NOENT),
        (b"var\0", 0, 2, INVAL),
        (b"\xff", 0, 2, ILSEQ),
        (b"a" * 256, 0, 2, NAMETOOLONG),
        (b"a/" * 2049, 0, 2, NAMETOOLONG),
        (FOLDER.encode() + b"/key/x", 0, 2, NOTDIR),
        (FOLDER.encode() + b"/key", 0, 2 | WRITE, ROFS),
        (FOLDER.encode() + b"/key", 8, 2, ROFS),
        (FOLDER.encode() + b"/key", 2, 2, NOTDIR),
        (FOLDER.encode() + b"/key", 1 | 4, 2, EXIST),
        (FOLDER.encode() + b"/new", 1, 2, ROFS),
        (FOLDER.encode(), 0, 2 | WRITE, ISDIR),
    ],
)
def test_preview_1_answers_the_error_numbers_of_its_libcs(path: bytes, how: int, rights: int, error: int) -> None:
    """For hostile paths and for everything but reading."""
    assert p1_open(world(), path, how, rights) == error


def test_preview_1_refuses_every_change() -> None:
    """On what is open; on what is not there is nothing to refuse."""
    here = world()
    fd = p1_opened(here, f"{FOLDER}/key")
    for function, args in {
        "fd_allocate": (0, 0),
        "fd_filestat_set_size": (0,),
        "fd_filestat_set_times": (0, 0, 0),
        "fd_pwrite": (0, 0, 0, 0),
        "path_create_directory": (0, 0),
        "path_filestat_set_times": (0, 0, 0, 0, 0, 0),
        "path_link": (0, 0, 0, 0, 0, 0),
        "path_remove_directory": (0, 0),
        "path_rename": (0, 0, 0, 0, 0),
        "path_unlink_file": (0, 0),
    }.items():
        assert [here.p1(function, number, *args) for number in (fd, ROOT, 99)] == [ROFS, ROFS, 8]
    assert [here.p1("path_symlink", 0, 0, number, 0, 0) for number in (ROOT, 99)] == [ROFS, 8]
    assert here.p1("fd_write", fd, 0, 0, 0) == 8
    for function, args in {"fd_fdstat_set_flags": (0,), "fd_fdstat_set_rights": (0, 0), "fd_renumber": (7,)}.items():
        assert [here.p1(function, number, *args) for number in (fd, 99)] == [NOTSUP, 8]
    for function, args in {"fd_advise": (0, 0, 0), "fd_sync": (), "fd_datasync": ()}.items():
        assert [here.p1(function, number, *args) for number in (fd, 99)] == [0, 8]
    assert here.p1("path_readlink", ROOT, 0x1000, 3, 0, 0, 0) in (NOENT, INVAL)


def test_a_descriptor_that_was_closed_is_bad_and_its_number_not_used_again() -> None:
    """Also the folder that all begins with: after that nothing can be opened."""
    here = world()
    fd = p1_opened(here, f"{FOLDER}/key")
    assert [here.p1("fd_close", fd), here.p1("fd_close", fd), here.p1("fd_read", fd, 0, 0, 8)] == [0, 8, 8]
    assert p1_opened(here, f"{FOLDER}/key") != fd
    assert here.p1("fd_close", ROOT) == 0
    assert p1_open(here, b"var") == 8
    assert here.p1("fd_prestat_get", ROOT, 8) == 8


def test_open_descriptors_are_bounded() -> None:
    """By the bound on resources, as handles are; a closed one makes room."""
    here = world(resources=4)
    numbers = [p1_opened(here, FOLDER) for _ in range(3)]
    assert p1_open(here, FOLDER.encode()) == MFILE
    assert here.p1("fd_close", numbers[0]) == 0
    assert p1_open(here, FOLDER.encode()) == 0


def test_a_path_that_is_too_long_is_refused_before_it_is_read() -> None:
    """Four gigabytes that begin within memory cost nothing; a short one out of bounds traps."""
    here = world()
    assert here.p1("path_open", ROOT, 0, 8, 2**32 - 1, 0, 0, 0, 0, 0) == NAMETOOLONG
    with pytest.raises(Trap):
        here.p1("path_open", ROOT, 0, len(here.guest.memory) - 2, 4, 0, 0, 0, 0, 0)
