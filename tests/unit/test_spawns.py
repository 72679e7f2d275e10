"""Spawns in flight: written down before they are acknowledged, and lost, never run again, if the process dies."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guesthouse.queue.call import Record
from guesthouse.queue.spawns import SpawnInFlight, Spawns
from guesthouse.queue.store import StoredQueue
from guesthouse.storage.database import Connection, Database, rows
from guesthouse.storage.errors import StorageBusy, StorageError


@pytest.fixture(params=["memory", "file"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened = Database(None if request.param == "memory" else tmp_path / "guesthouse.db")
    yield opened
    opened.close()


def _stored(database: Database) -> set[str]:
    return {found for (found,) in database.read_sync(lambda connection: rows(connection, "SELECT id FROM spawns"))}


def _flush(database: Database) -> None:
    """Returns when everything that was queued before is committed."""
    database.write_sync(lambda connection: None)


def test_a_spawn_is_on_disk_when_it_is_acknowledged_and_gone_when_it_ended(database: Database) -> None:
    """One row each while they run; ending many at once takes few writes."""
    spawns = Spawns(database)

    async def story() -> None:
        await asyncio.gather(*(spawns.begin(f"i{n}", "default", "fill", version=3) for n in range(100)))

    asyncio.run(story())
    assert spawns.count() == 100
    assert len(_stored(database)) == 100
    commits = database.commits
    for number in range(99):
        spawns.end(f"i{number}")
    _flush(database)
    assert spawns.count() == 1
    assert _stored(database) == {"i99"}
    assert database.commits - commits <= 100


def test_ending_what_never_began_or_twice_does_no_harm(database: Database) -> None:
    """Whoever is unsure may call it."""
    spawns = Spawns(database)
    asyncio.run(spawns.begin("i1", "default", "fill"))
    for ended in ("i1", "i1", "never"):
        spawns.end(ended)
    _flush(database)
    assert spawns.count() == 0
    assert _stored(database) == set()


def test_the_same_id_cannot_begin_twice(database: Database) -> None:
    """A bug of ours is not hidden, and the first one stays."""
    spawns = Spawns(database)
    asyncio.run(spawns.begin("i1", "default", "fill"))
    with pytest.raises(StorageError):
        asyncio.run(spawns.begin("i1", "default", "other"))
    assert spawns.count() == 1


def test_an_end_whose_write_failed_is_written_with_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy database loses no end: otherwise the next start would count a spawn that ended as lost."""
    spawns = Spawns(database)

    async def story() -> None:
        for number in range(3):
            await spawns.begin(f"i{number}", "default", "fill")

    asyncio.run(story())
    work = spawns._flush
    outcomes = iter([StorageBusy("locked"), None])

    def flush(connection: Connection) -> None:
        work(connection)
        if (error := next(outcomes)) is not None:
            raise error

    monkeypatch.setattr(spawns, "_flush", flush)
    spawns.end("i0")
    _flush(database)
    assert _stored(database) == {"i0", "i1", "i2"}
    assert spawns.count() == 3
    spawns.end("i1")
    _flush(database)
    assert _stored(database) == {"i2"}
    assert spawns.count() == 1


def test_ending_after_the_database_closed_does_not_raise(tmp_path: Path) -> None:
    """A run that outlives the shutdown ends quietly; the next start counts it as lost."""
    database = Database(tmp_path / "guesthouse.db")
    spawns = Spawns(database)
    asyncio.run(spawns.begin("i1", "default", "fill"))
    database.close()
    spawns.end("i1")
    spawns.end("i1")
    database = Database(tmp_path / "guesthouse.db")
    assert [lost.id for lost in asyncio.run(Spawns(database).sweep_lost())] == ["i1"]
    database.close()


def _record(id_: str, state: Any) -> Record:
    return Record(
        id=id_, namespace="default", name="fill", mode="spawn", state=state, started_ms=5, ended_ms=6, note="n"
    )


def test_the_record_of_an_end_is_written_with_it_and_its_bytes_are_told(database: Database) -> None:
    """Those that have one; ending twice keeps the first."""
    told: list[int] = []
    spawns, queue = Spawns(database, note_kept=told.append), StoredQueue(database)

    async def story() -> None:
        await asyncio.gather(*(spawns.begin(f"i{number}", "default", "fill") for number in range(3)))
        for number in range(2):
            spawns.end(f"i{number}", _record(f"i{number}", "succeeded"))
        spawns.end("i2")
        spawns.end("i0", _record("i0", "failed"))
        await database.write(lambda connection: None)
        found, _ = await queue.list()
        assert sorted(found, key=lambda record: record.id) == [
            _record(f"i{number}", "succeeded") for number in range(2)
        ]

    asyncio.run(story())
    assert _stored(database) == set()
    assert sum(told) >= database.read_sync(lambda c: rows(c, "SELECT sum(kept) FROM invocations"))[0][0] > 0


def test_what_a_dead_process_left_is_recorded_as_lost(database: Database) -> None:
    """With where it stood in its family, in the transaction that takes its row away."""
    told: list[int] = []
    spawns, queue = Spawns(database, note_kept=told.append), StoredQueue(database)

    async def story() -> None:
        await spawns.begin("i1", "default", "fill", version=2, root="i0", depth=4)
        (lost,) = await Spawns(database, note_kept=told.append).sweep_lost()
        record = await queue.find("i1")
        assert (record.state, record.result, record.mode, record.version) == ("lost", "lost", "spawn", 2)
        assert (record.root, record.depth, record.started_ms) == ("i0", 4, lost.started_ms)

    asyncio.run(story())
    assert len(told) == 1
    assert _stored(database) == set()


BEGINS_AND_DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from guesthouse.queue.call import Record
from guesthouse.queue.spawns import Spawns
from guesthouse.storage.database import Database
async def main():
    database = Database(Path(sys.argv[1]))
    spawns = Spawns(database)
    await spawns.begin("i1", "default", "fill", version=2, root="i0", depth=4)
    await spawns.begin("i2", "default", "ended")
    spawns.end("i2")
    await database.write(lambda connection: None)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def test_a_spawn_cut_off_by_a_kill_is_lost_once_and_never_comes_back(tmp_path: Path) -> None:
    """After kill -9: the next start learns what was in flight, with its family; the start after that, nothing."""
    path = tmp_path / "guesthouse.db"
    child = subprocess.run([sys.executable, "-c", BEGINS_AND_DIES, str(path)], timeout=60)
    assert child.returncode == -signal.SIGKILL
    database = Database(path)
    spawns = Spawns(database)
    (lost,) = asyncio.run(spawns.sweep_lost())
    assert lost == SpawnInFlight("i1", "default", "fill", 2, "i0", 4, lost.started_ms)
    assert lost.started_ms > 1_600_000_000_000
    assert spawns.count() == 0
    assert asyncio.run(spawns.sweep_lost()) == ()
    database.close()
    database = Database(path)
    assert asyncio.run(Spawns(database).sweep_lost()) == ()
    database.close()
