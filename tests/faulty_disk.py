"""A layer below SQLite that fails on request and writes down what it was told, to cut the power afterwards.

Everything goes to the real files as well.  Kept out of the tests' own files because two of them use it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import apsw

SECTOR = 512


@dataclass
class Event:
    """One call: a write (offset and data), a truncation (offset), a deletion or, with none of these, a sync."""

    file: str
    offset: int | None = None
    data: bytes | None = None
    deleted: bool = False


@dataclass
class Disk:
    """What the layer knows: the log of calls, and which sync or write is to fail."""

    log: list[Event] = field(default_factory=list)
    syncs: int = 0
    writes: int = 0
    fail_sync: int | None = None
    fail_write: int | None = None
    full: bool = False


class FaultyFile(apsw.VFSFile):
    """A file whose calls are logged, and fail when the disk says so."""

    def __init__(self, disk: Disk, filename: apsw.URIFilename | str | None, flags: list[int]) -> None:
        super().__init__("unix", filename, flags)
        self.disk = disk
        path = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        self.name = Path(path or "temporary").name

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.writes += 1
        if self.disk.full:
            raise apsw.FullError
        if self.disk.writes == self.disk.fail_write:
            raise apsw.IOError
        super().xWrite(data, offset)
        self.disk.log.append(Event(self.name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self.disk.log.append(Event(self.name, newsize))

    def xSync(self, flags: int) -> None:
        self.disk.syncs += 1
        if self.disk.syncs == self.disk.fail_sync:
            raise apsw.IOError
        super().xSync(flags)
        self.disk.log.append(Event(self.name))


class FaultyDisk(apsw.VFS):
    """The layer itself, by the name that `Database(vfs=)` takes."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "unix")
        self.disk = Disk()

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.disk.log.append(Event(Path(filename).name, deleted=True))

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> FaultyFile:
        return FaultyFile(self.disk, name, flags)


def cut_the_power(log: list[Event], directory: Path, chance: random.Random) -> None:
    """Writes the files as a disk may hold them that lost power at the end of `log`.

    What a file was synced for is there.  Of the rest any subset may be, in sectors.
    """
    images: dict[str, bytearray] = {}
    last_sync = {event.file: number for number, event in enumerate(log) if event.offset is None}
    for number, event in enumerate(log):
        if event.deleted:
            images.pop(event.file, None)
        if event.offset is None:
            continue
        image = images.setdefault(event.file, bytearray())
        certain = number < last_sync.get(event.file, -1)
        if event.data is None:
            if certain or chance.random() < 0.5:
                del image[event.offset :]
            continue
        for start in range(0, len(event.data), SECTOR):
            if certain or chance.random() < 0.5:
                piece = event.data[start : start + SECTOR]
                end = event.offset + start + len(piece)
                image.extend(bytes(max(0, end - len(image))))
                image[event.offset + start : end] = piece
    directory.mkdir()
    for name, image in images.items():
        (directory / name).write_bytes(image)
