"""F5: nobody is told that the database is busy, however many write beside however long a reader; and the log is bounded."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from guesthouse.queue.call import Output
from guesthouse.storage import writer
from guesthouse.storage.database import Connection, rows
from unit.queue_places import QueuePlace


def test_64_writers_beside_a_reader_that_stays_are_never_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls come, run and end; the reader sees what was there when it began; afterwards the log begins anew."""
    for name, value in (("CHECKPOINT_PAGES", 10), ("STARVED_PAGES", 100), ("STARVED_PATIENCE_MS", 1)):
        monkeypatch.setattr(writer, name, value)
    place = QueuePlace(tmp_path / "guesthouse.db")
    before = place.put(3)
    reading, ended = threading.Event(), threading.Event()
    seen: list[int] = []

    def read(connection: Connection) -> None:
        query = "SELECT count(*) FROM invocations"
        seen.append(rows(connection, query)[0][0])
        reading.set()
        ended.wait(60)
        seen.append(rows(connection, query)[0][0])

    reader = threading.Thread(target=lambda: place.database.read_sync(read))
    reader.start()
    assert reading.wait(60)
    for _ in range(4):
        place.put(64, body=bytes(3_000))
        ends = [place.queue.succeed(of, place.record(of), Output(200, [], b""), None) for of in place.lease(64)]
        assert place.all(ends) == [None] * 64
    starved = place.database.wal_bytes
    ended.set()
    reader.join()
    assert seen == [len(before)] * 2
    for _ in range(3):
        place.put(20, body=bytes(3_000))
    assert place.database.wal_bytes < starved
    place.close()
