"""F2: an acknowledged write survives a power cut at any moment, whatever the disk made of what was not synced."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from faulty_disk import Event, FaultyDisk, cut_the_power
from guesthouse.storage import writer
from guesthouse.storage.database import Connection, Database, rows


def _create(connection: Connection) -> None:
    connection.execute("CREATE TABLE facts (number INTEGER, filler BLOB)")


def _add(number: int) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO facts VALUES (?, ?)", (number, bytes(700)))

    return work


def _facts(connection: Connection) -> list[int]:
    return [number for (number,) in rows(connection, "SELECT number FROM facts ORDER BY number")]


def _a_life(directory: Path) -> tuple[list[Event], dict[int, int]]:
    """The disk's log of a database with 40 writes, and the length of the log when each was acknowledged."""
    below = FaultyDisk("f2")
    database = Database(directory / "guesthouse.db", vfs="f2")
    database.write_sync(_create)
    acknowledged = {}
    for number in range(40):
        database.write_sync(_add(number))
        acknowledged[number] = len(below.disk.log)
    database.close()
    log = list(below.disk.log)
    below.unregister()
    return log, acknowledged


def test_an_acknowledged_write_survives_a_power_cut_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of the disk's calls: all acknowledged writes are there, in order, and no torn one."""
    monkeypatch.setattr(writer, "CHECKPOINT_PAGES", 12)
    (tmp_path / "live").mkdir()
    log, acknowledged = _a_life(tmp_path / "live")
    for cut in range(acknowledged[0], len(log) + 1):
        after = tmp_path / f"after-{cut}"
        cut_the_power(log[:cut], after, random.Random(cut))
        database = Database(after / "guesthouse.db")
        assert database.read_sync(lambda connection: rows(connection, "PRAGMA integrity_check")) == [("ok",)]
        found = database.read_sync(_facts)
        database.close()
        promised = [number for number, length in acknowledged.items() if length <= cut]
        assert found[: len(promised)] == promised
        assert found == list(range(len(found)))
