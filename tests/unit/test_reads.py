"""Reads that are asked for together: each has its own end, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from guesthouse.errors import GuesthouseError
from guesthouse.storage.database import Connection, Database, rows
from play import PATIENCE, on_loop


def one(connection: Connection) -> int:
    return int(rows(connection, "SELECT 1")[0][0])


@pytest.fixture(params=["file", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return Database(tmp_path / "reads.db" if request.param == "file" else None)


@on_loop
async def test_hundreds_are_told_each_their_own(database: Database) -> None:
    """In few turns of few threads."""
    threads: set[int] = set()

    def number(connection: Connection, value: int) -> int:
        threads.add(threading.get_ident())
        return value + one(connection)

    asked = [database.read(lambda connection, value=value: number(connection, value)) for value in range(500)]
    assert await asyncio.gather(*asked) == [value + 1 for value in range(500)]
    assert len(threads) <= 4
    database.close()


@on_loop
async def test_an_error_of_one_is_no_others(database: Database) -> None:
    """Neither one of Python's nor one of SQLite's."""

    def fails(connection: Connection) -> None:
        raise ValueError("mine")

    def wrong(connection: Connection) -> None:
        rows(connection, "SELECT * FROM nothing")

    asked = [work for _ in range(20) for work in (one, fails, wrong)]
    results = await asyncio.gather(*map(database.read, asked), return_exceptions=True)
    for work, result in zip(asked, results, strict=True):
        if work is one:
            assert result == 1
        else:
            assert isinstance(result, ValueError if work is fails else GuesthouseError)
    assert await database.read(one) == 1
    database.close()


@on_loop
async def test_what_was_acknowledged_before_is_seen(database: Database) -> None:
    """Also where reads are under way all the time."""
    await database.write(lambda connection: connection.execute("CREATE TABLE mine (value INTEGER)") and None)
    for value in range(50):
        others = [asyncio.ensure_future(database.read(one)) for _ in range(5)]
        await database.write(
            lambda connection, value=value: connection.execute("INSERT INTO mine VALUES (?)", (value,)) and None
        )
        found = await database.read(lambda connection: rows(connection, "SELECT max(value) FROM mine"))
        assert found == [(value,)]
        await asyncio.gather(*others)
    database.close()


@on_loop
async def test_one_that_takes_long_holds_up_nobody_else(tmp_path: Path) -> None:
    """There is another reader."""
    database = Database(tmp_path / "reads.db")
    entered, release = threading.Event(), threading.Event()

    def long(connection: Connection) -> bool:
        entered.set()
        return release.wait(PATIENCE)

    asked = asyncio.ensure_future(database.read(long))
    assert await asyncio.to_thread(entered.wait, PATIENCE)
    assert await asyncio.wait_for(database.read(one), PATIENCE) == 1
    release.set()
    assert await asked
    database.close()


@on_loop
async def test_who_gives_up_is_passed_over(tmp_path: Path) -> None:
    """Their read is not made, if it was not under way."""
    database = Database(tmp_path / "reads.db")
    entered, release, made = threading.Semaphore(0), threading.Event(), threading.Event()

    def long(connection: Connection) -> bool:
        entered.release()
        return release.wait(PATIENCE)

    busy = [asyncio.ensure_future(database.read(long)) for _ in range(4)]
    for _ in busy:  # one reader each, however many stood behind the first: the next one waits
        assert await asyncio.to_thread(entered.acquire, timeout=PATIENCE)
    given_up = asyncio.ensure_future(database.read(lambda connection: made.set()))
    await asyncio.sleep(0)
    given_up.cancel()
    last = asyncio.ensure_future(database.read(one))
    release.set()
    assert await last == 1
    assert all(await asyncio.gather(*busy))
    assert not made.is_set()
    database.close()


@on_loop
async def test_a_database_that_is_closed_tells_so(database: Database) -> None:
    """Everybody who asks."""
    database.close()
    results = await asyncio.gather(*(database.read(one) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(result, GuesthouseError) for result in results)


@on_loop
async def test_what_was_acknowledged_while_another_one_reads_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one reader does all: what is asked later has a view of its own."""
    monkeypatch.setattr("guesthouse.storage.reads.MOST_READERS", 1)
    monkeypatch.setattr("guesthouse.storage.reads.TOGETHER_NS", 60_000_000_000)
    database = Database(tmp_path / "reads.db")
    reads, goes_on = threading.Event(), threading.Event()

    def slowly(connection: Connection) -> int:
        found = count(connection)
        reads.set()
        assert goes_on.wait(PATIENCE)
        return found

    def count(connection: Connection) -> int:
        return int(rows(connection, "SELECT count(*) FROM namespaces")[0][0])

    first = asyncio.ensure_future(database.read(slowly))
    assert await asyncio.to_thread(reads.wait, PATIENCE)
    await database.write(lambda connection: connection.execute("INSERT INTO namespaces VALUES ('a', '{}', '{}')"))
    second = asyncio.ensure_future(database.read(count))
    await asyncio.sleep(0)
    goes_on.set()
    assert (await first, await second) == (0, 1)
    database.close()
