"""F3: once a sync or a write has failed nothing is acknowledged any more, and what was acknowledged is still there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faulty_disk import FaultyDisk
from guesthouse.storage import writer
from guesthouse.storage.database import Connection, Database, rows
from guesthouse.storage.errors import StorageFailed, StorageFull


@pytest.fixture
def below() -> Iterator[FaultyDisk]:
    layer = FaultyDisk("f3")
    yield layer
    layer.unregister()


def _create(connection: Connection) -> None:
    connection.execute("CREATE TABLE facts (number INTEGER, filler BLOB)")


def _add(number: int) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO facts VALUES (?, ?)", (number, bytes(1500)))

    return work


def _open(directory: Path, vfs: str) -> Database:
    database = Database(directory / "guesthouse.db", vfs=vfs)
    database.write_sync(_create)
    return database


def _write_until_it_fails(database: Database, count: int = 30) -> list[int]:
    """The numbers that were acknowledged."""
    acknowledged = []
    try:
        for number in range(count):
            database.write_sync(_add(number))
            acknowledged.append(number)
    except StorageFailed:
        pass
    return acknowledged


def _facts(directory: Path) -> list[int]:
    database = Database(directory / "guesthouse.db")
    found = database.read_sync(lambda connection: rows(connection, "SELECT number FROM facts ORDER BY number"))
    database.close()
    return [number for (number,) in found]


@pytest.mark.parametrize("what", ["fail_sync", "fail_write"])
@pytest.mark.parametrize("k", range(1, 40, 3))
def test_after_one_failure_nothing_is_acknowledged_any_more(
    tmp_path: Path, below: FaultyDisk, monkeypatch: pytest.MonkeyPatch, what: str, k: int
) -> None:
    """The k-th sync or write fails, in the log or in a checkpoint: the database stops, tells why, and loses nothing."""
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 5)
    told: list[StorageFailed] = []
    database = _open(tmp_path, "f3")
    database.on_failure(told.append)
    before = below.disk.syncs if what == "fail_sync" else below.disk.writes
    setattr(below.disk, what, before + k)
    acknowledged = _write_until_it_fails(database)
    assert database.failed.wait(10)
    with pytest.raises(StorageFailed):
        database.write_sync(_add(99))
    database.close()
    assert len(told) == 1
    found = _facts(tmp_path)
    assert found[: len(acknowledged)] == acknowledged
    assert 99 not in found


def test_a_checkpoint_that_fails_at_the_end_is_not_hidden(tmp_path: Path, below: FaultyDisk) -> None:
    """The sync of the database file while closing fails: it is told, and the log still has everything."""
    database = _open(tmp_path, "f3")
    acknowledged = _write_until_it_fails(database, 5)
    below.disk.fail_sync = below.disk.syncs + 2
    database.close()
    assert database.failed.is_set()
    assert _facts(tmp_path) == acknowledged


def test_a_full_disk_refuses_writes_and_serves_again_without_a_restart(tmp_path: Path, below: FaultyDisk) -> None:
    """While the disk is full each write is refused as such; nothing of it is there, and the next one after it works."""
    database = _open(tmp_path, "f3")
    below.disk.full = True
    for number in (1, 2):
        with pytest.raises(StorageFull):
            database.write_sync(_add(number))
    below.disk.full = False
    database.write_sync(_add(3))
    assert not database.failed.is_set()
    database.close()
    assert _facts(tmp_path) == [3]
