"""The database: writes in groups, durable when acknowledged, each unit of work on its own, short readers beside."""

from __future__ import annotations

import asyncio
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from guesthouse.errors import HostError
from guesthouse.storage import database as database_module
from guesthouse.storage import schema, writer
from guesthouse.storage.database import Connection, Database, rows
from guesthouse.storage.errors import StorageBusy, StorageError


@pytest.fixture(params=["memory", "file"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    opened = Database(None if request.param == "memory" else tmp_path / "guesthouse.db")
    opened.write_sync(create)
    yield opened
    opened.close()


def create(connection: Connection) -> None:
    connection.execute("CREATE TABLE facts (number INTEGER PRIMARY KEY) STRICT")


def add(number: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute("INSERT INTO facts VALUES (?)", (number,))
        return number

    return work


def facts(connection: Connection) -> list[int]:
    return [number for (number,) in rows(connection, "SELECT number FROM facts ORDER BY number")]


class Gate:
    """A unit of work that holds the writer until it is let go."""

    def __init__(self, database: Database) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()
        self.future = database.submit(self._work)
        assert self._reached.wait(10)

    def _work(self, connection: Connection) -> None:
        self._reached.set()
        assert self._open.wait(10)

    def open(self) -> None:
        self._open.set()
        self.future.result(10)


def test_a_write_answers_its_result_and_later_reads_see_it(database: Database) -> None:
    """From a task and from a thread alike."""

    async def both() -> None:
        assert await database.write(add(1)) == 1
        assert await database.read(facts) == [1]

    asyncio.run(both())
    assert database.write_sync(add(2)) == 2
    assert database.read_sync(facts) == [1, 2]


def test_writes_that_queue_up_meanwhile_share_one_commit(database: Database) -> None:
    """64 tasks wait behind a busy writer: one transaction serves them all."""

    async def crowd() -> None:
        gate = Gate(database)
        before = database.commits
        tasks = [asyncio.create_task(database.write(add(number))) for number in range(64)]
        await asyncio.sleep(0)
        await asyncio.to_thread(gate.open)
        assert await asyncio.gather(*tasks) == list(range(64))
        assert database.commits - before == 2

    asyncio.run(crowd())


def test_a_failing_unit_of_work_takes_no_other_with_it(database: Database) -> None:
    """Neighbours in the same transaction stay, what it did itself is undone, and its caller gets its own error."""

    def half(connection: Connection) -> None:
        add(100)(connection)
        raise LookupError("mine")

    gate = Gate(database)
    futures = [database.submit(work) for work in (add(1), half, add(1), add(2))]
    gate.open()
    assert futures[0].result(10) == 1
    with pytest.raises(LookupError, match="mine"):
        futures[1].result(10)
    with pytest.raises(StorageError, match="UNIQUE"):
        futures[2].result(10)
    assert futures[3].result(10) == 2
    assert database.read_sync(facts) == [1, 2]


def test_a_unit_that_fails_alone_is_undone_and_the_next_one_works(database: Database) -> None:
    """It had the transaction for itself: nothing of it is there, its caller gets its own error."""

    def half(connection: Connection) -> None:
        add(100)(connection)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        database.write_sync(half)
    database.write_sync(add(1))
    with pytest.raises(StorageError, match="UNIQUE"):
        database.write_sync(add(1))
    database.write_sync(add(2))
    assert database.read_sync(facts) == [1, 2]
    assert not database.failed.is_set()


def test_a_cancelled_wait_does_not_undo_the_write(database: Database) -> None:
    """The task is gone, the row is there, and the writer goes on."""

    async def impatient() -> None:
        gate = Gate(database)
        task = asyncio.create_task(database.write(add(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(gate.open)
        assert await database.write(add(2)) == 2

    asyncio.run(impatient())
    assert database.read_sync(facts) == [1, 2]


def test_views_in_memory_are_told_in_the_order_of_the_commits_before_the_callers(database: Database) -> None:
    """`committed` runs for what was committed only, one after the other, before any result is delivered."""
    seen: list[int] = []
    gate = Gate(database)
    futures = [database.submit(add(number), committed=seen.append) for number in (3, 1, 3, 2)]
    futures[0].add_done_callback(lambda _: seen.append(-1))
    gate.open()
    futures[3].result(10)
    assert seen == [3, 1, 2, -1]


def test_each_loop_and_thread_gets_its_own_results(database: Database) -> None:
    """Four loops on four threads write at once."""
    found: list[list[int]] = []

    async def some(start: int) -> list[int]:
        return list(await asyncio.gather(*(database.write(add(start + number)) for number in range(50))))

    threads = [threading.Thread(target=lambda n=n: found.append(asyncio.run(some(n * 100)))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [list(range(n * 100, n * 100 + 50)) for n in range(4)]
    assert len(database.read_sync(facts)) == 200


def test_a_loop_that_is_gone_does_not_stop_the_writer(database: Database) -> None:
    """Its result has nobody to go to; the next write works."""
    gate = Gate(database)
    loop = asyncio.new_event_loop()
    task = loop.create_task(database.write(add(1)))
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    gate.open()
    assert database.write_sync(add(2)) == 2


def test_a_unit_of_work_cannot_wait_for_another(database: Database) -> None:
    """It would wait for itself for ever."""
    with pytest.raises(HostError, match="may not wait"):
        database.write_sync(lambda connection: database.write_sync(add(1)))


def test_closing_commits_what_is_queued_and_refuses_what_comes_after(tmp_path: Path) -> None:
    """The queue is drained; reads and writes afterwards say that the database is closed."""
    path = tmp_path / "guesthouse.db"
    first = Database(path)
    first.write_sync(create)
    gate = Gate(first)
    futures = [first.submit(add(number)) for number in range(10)]
    closing = threading.Thread(target=first.close)
    closing.start()
    gate.open()
    closing.join()
    assert [future.result(0) for future in futures] == list(range(10))
    for use in (lambda: first.write_sync(add(99)), lambda: first.read_sync(facts), first.data_version):
        with pytest.raises(StorageError, match="closed"):
            use()
    first.close()
    second = Database(path)
    assert second.read_sync(facts) == list(range(10))
    second.close()


def test_a_reader_sees_one_unchanging_view_and_blocks_no_writer(tmp_path: Path) -> None:
    """What is committed while it reads is not there for it, and is there for the next."""
    database = Database(tmp_path / "guesthouse.db")
    database.write_sync(create)

    def twice(connection: Connection) -> tuple[list[int], list[int]]:
        before = facts(connection)
        database.write_sync(add(1))
        return before, facts(connection)

    assert database.read_sync(twice) == ([], [])
    assert database.read_sync(facts) == [1]
    database.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    """Only the writer's thread writes; the refused reader does no harm to the next one."""
    database = Database(tmp_path / "guesthouse.db")
    database.write_sync(create)
    with pytest.raises(StorageError, match=r"readonly|read-only"):
        database.read_sync(add(1))
    assert database.read_sync(facts) == []
    database.close()


def test_the_log_stays_bounded(tmp_path: Path) -> None:
    """20 MiB of writes leave a log of a few MiB, without a pause to write nothing."""
    database = Database(tmp_path / "guesthouse.db")
    database.write_sync(lambda connection: connection.execute("CREATE TABLE blobs (data BLOB)") and None)
    for _ in range(200):
        database.write_sync(lambda c: c.execute("INSERT INTO blobs VALUES (zeroblob(100000))") and None)
    assert (tmp_path / "guesthouse.db-wal").stat().st_size < 8 << 20
    assert database.wal_bytes < 8 << 20
    database.close()


def test_a_reader_that_stays_stops_no_writer_and_the_log_is_cut_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F5: writes go on beside it, none is busy; once it has ended the log begins anew."""
    for name, value in (("CHECKPOINT_PAGES", 10), ("STARVED_PAGES", 50), ("STARVED_PATIENCE_MS", 1)):
        monkeypatch.setattr(writer, name, value)
    database = Database(tmp_path / "guesthouse.db")
    database.write_sync(create)
    database.write_sync(lambda c: c.execute("CREATE TABLE blobs (data BLOB)") and None)

    def write_much() -> None:
        for _ in range(40):
            database.write_sync(lambda c: c.execute("INSERT INTO blobs VALUES (zeroblob(20000))") and None)

    def long(connection: Connection) -> int:
        before = len(rows(connection, "SELECT rowid FROM blobs"))
        write_much()
        return len(rows(connection, "SELECT rowid FROM blobs")) - before

    assert database.read_sync(long) == 0
    starved = database.wal_bytes
    assert starved > 150 * 4096
    write_much()
    assert database.wal_bytes < starved
    database.close()


def test_another_process_that_holds_the_lock_makes_writes_busy_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told; when the lock is gone, writing goes on."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 1)
    database = Database(tmp_path / "guesthouse.db")
    database.write_sync(create)
    other = apsw.Connection(str(tmp_path / "guesthouse.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy):
        database.write_sync(add(1))
    other.execute("ROLLBACK")
    other.close()
    assert database.write_sync(add(2)) == 2
    assert database.read_sync(facts) == [2]
    assert not database.failed.is_set()
    database.close()


def test_every_commit_of_any_process_changes_the_data_version(database: Database, tmp_path: Path) -> None:
    """Reading does not; a commit of ours does, and so does one through another connection."""
    first = database.data_version()
    database.read_sync(facts)
    assert database.data_version() == first
    database.write_sync(add(1))
    second = database.data_version()
    assert second != first
    if (tmp_path / "guesthouse.db").exists():
        other = Database(tmp_path / "guesthouse.db", upgrade=False)
        other.write_sync(add(2))
        other.close()
        assert database.data_version() != second


def test_the_file_is_for_its_owner_only_and_synced_at_each_commit(tmp_path: Path) -> None:
    """Mode 0600 for the database and its log; write-ahead log with full synchronisation."""
    database = Database(tmp_path / "guesthouse.db")
    settings = database.write_sync(lambda c: (c.pragma("journal_mode"), c.pragma("synchronous"), c.pragma("mmap_size")))
    assert settings == ("wal", 2, 0)
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    database.close()


def test_files_of_others_and_of_newer_versions_are_refused_unchanged(tmp_path: Path) -> None:
    """Another program's database, a newer schema, and a file that is no database at all."""
    foreign, newer, noise = tmp_path / "foreign.db", tmp_path / "newer.db", tmp_path / "noise.db"
    connection = apsw.Connection(str(foreign))
    connection.execute("CREATE TABLE functions (theirs)")
    connection.close()
    Database(newer).close()
    connection = apsw.Connection(str(newer))
    connection.pragma("user_version", 99)
    connection.close()
    noise.write_bytes(b"not a database at all" * 400)
    for path, message in ((foreign, "another program"), (newer, "newer guesthouse"), (noise, "not a database")):
        before = path.read_bytes()
        with pytest.raises(StorageError, match=message):
            Database(path)
        assert path.read_bytes() == before


def test_an_upgrade_happens_whole_or_not_at_all_and_never_beside_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that fails leaves the old schema; a process that shares the directory does not upgrade."""
    path = tmp_path / "guesthouse.db"
    Database(path).close()
    released = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", (*released, "CREATE TABLE extra (a); CREATE TABLE functions (b)"))
    with pytest.raises(StorageError, match="already exists"):
        Database(path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*released, "CREATE TABLE extra (a)"))
    with pytest.raises(StorageError, match="has to upgrade"):
        Database(path, upgrade=False)
    Database(path).close()
    Database(path, upgrade=False).close()


def run_python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


WRITES_FOR_EVER = """
import sys, asyncio, itertools
from pathlib import Path
from guesthouse.storage.database import Database
async def main():
    database = Database(Path(sys.argv[1]))
    create = "CREATE TABLE IF NOT EXISTS facts (number INTEGER PRIMARY KEY) STRICT"
    await database.write(lambda c: c.execute(create) and None)
    (start,), = database.read_sync(lambda c: c.execute("SELECT coalesce(max(number) + 1, 0) FROM facts").fetchall())
    numbers = itertools.count(start)
    async def writer():
        for number in numbers:
            await database.write(lambda c: c.execute("INSERT INTO facts VALUES (?)", (number,)) and None)
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
    await asyncio.gather(*(writer() for _ in range(8)))
asyncio.run(main())
"""


@pytest.mark.parametrize("acknowledged", [1, 20, 333])
def test_a_killed_process_loses_no_acknowledged_write(tmp_path: Path, acknowledged: int) -> None:
    """F1: kill -9 in the middle of eight writers, twice on the same file: what they were told is true."""
    told: set[int] = set()
    for _ in range(2):
        child = run_python(WRITES_FOR_EVER, tmp_path / "guesthouse.db")
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(acknowledged)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        told |= {int(line) for line in lines if line.endswith("\n")}
    database = Database(tmp_path / "guesthouse.db")
    assert told <= set(database.read_sync(facts))
    database.close()
