"""`Spawns`: one row for each spawn that was accepted and has not ended.

At most once: a row that is still there when the host starts belongs to a run that a dead process began.  It is recorded as
lost and never run again.  A record of an end is written in the transaction that deletes the row.  Knows nothing of how spawns
run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import Record
from guesthouse.queue.inserting import insert_records
from guesthouse.queue.rows import Ending, ending
from guesthouse.queue.unit import Unit, listed
from guesthouse.storage.database import Connection, Database, rows
from guesthouse.storage.space import FreeSpace

Written = tuple[Record, Ending]
COLUMNS = "id, namespace, name, version, root, depth, started_ms"


@dataclass(frozen=True, slots=True)
class SpawnInFlight:
    """A spawn that was accepted: which function, and where it stands in its family."""

    id: str
    """Id of the invocation."""
    namespace: str
    name: str
    version: int
    root: str
    """Id of the invocation that began the chain of spawns."""
    depth: int
    started_ms: int
    """Milliseconds since 1970-01-01 UTC."""


class Spawns:
    """The spawns in flight of one database.  All methods may be called from any thread.

    `note_kept` is told of the bytes that records take, on the writer's thread; `space` says whether the disk has room.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock = SYSTEM_CLOCK,
        *,
        note_kept: Callable[[int], None] | None = None,
        space: FreeSpace | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._note_kept = note_kept
        self._space = space or FreeSpace(database.directory, clock)
        self._live: set[str] = set()
        self._ended: deque[tuple[str, Written | None]] = deque()
        self._flushing = False
        self._deleting: list[tuple[str, Written | None]] = []

    async def begin(
        self, id: str, namespace: str, name: str, *, version: int = 0, root: str = "", depth: int = 0
    ) -> None:
        """Writes down that a spawn was accepted; on return that survives a crash.  What ends must call `end`.

        Call `end` also if this is cancelled: the row may have been written.  Raises what `Database.write` raises.
        """
        self._space.check()
        row = (id, namespace, name, version, root, depth, self._clock.wall_ns() // 1_000_000)
        await self._database.write(lambda connection: _insert(connection, row), committed=self._live.add)

    def end(self, id: str, record: Record | None = None) -> None:
        """Forgets a spawn, however it ended, and writes its record; not waited for, and several at once.  Never raises."""
        self._ended.append((id, None if record is None else (record, ending(record, None))))
        if not self._flushing:
            self._flushing = True
            try:
                self._database.submit(self._flush, committed=self._flushed).add_done_callback(self._settled)
            except GuesthouseError:
                self._flushing = False  # the database is closed or broken: the next start counts it as lost

    def count(self) -> int:
        """How many spawns are in flight."""
        return len(self._live)

    async def sweep_lost(self) -> tuple[SpawnInFlight, ...]:
        """Records as lost and returns what a dead process left; called once, when the host starts, before any `begin`."""
        lost, _ = await self._database.write(self._sweep, committed=lambda found: self._note(found[1]))
        return tuple(lost)

    def _flush(self, connection: Connection) -> None:
        """Deletes all that have ended so far; what a failed commit undid is tried again by the next."""
        self._flushing = False  # before looking: whoever adds from now on asks for another flush
        while self._ended:
            self._deleting.append(self._ended.popleft())
        ids = listed([ended for ended, _ in self._deleting])
        connection.execute("DELETE FROM spawns WHERE id IN (SELECT value FROM json_each(?))", (ids,))
        self._write(connection, [end for _, end in self._deleting if end is not None])

    def _settled(self, flush: Future[None]) -> None:
        if flush.exception() is not None:
            self._flushing = False

    def _flushed(self, _: None) -> None:
        self._live.difference_update(ended for ended, _ in self._deleting)
        self._note([end for _, end in self._deleting if end is not None])
        self._deleting.clear()

    def _note(self, records: Sequence[Written]) -> None:
        if self._note_kept is not None:
            self._note_kept(sum(end.kept for _, end in records))

    def _sweep(self, connection: Connection) -> tuple[Sequence[SpawnInFlight], Sequence[Written]]:
        now_ms = self._clock.wall_ns() // 1_000_000
        query = f"SELECT {COLUMNS} FROM spawns ORDER BY started_ms, id"
        lost = [SpawnInFlight(*row) for row in rows(connection, query)]
        records = [(record, ending(record, None)) for record in (_lost(spawn, now_ms) for spawn in lost)]
        connection.execute("DELETE FROM spawns")
        self._write(connection, records)
        return lost, records

    def _write(self, connection: Connection, records: Sequence[Written]) -> None:
        insert_records(Unit(connection, self._clock.wall_ns() // 1_000_000), records)


def _insert(connection: Connection, row: tuple[str | int, ...]) -> str:
    connection.execute(f"INSERT INTO spawns ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return str(row[0])


def _lost(spawn: SpawnInFlight, now_ms: int) -> Record:
    return Record(
        id=spawn.id,
        namespace=spawn.namespace,
        name=spawn.name,
        mode="spawn",
        state="lost",
        version=spawn.version,
        queued_ms=spawn.started_ms,
        started_ms=spawn.started_ms,
        ended_ms=now_ms,
        attempts=1,
        result="lost",
        reason="the host ended while it ran",
        root=spawn.root,
        depth=spawn.depth,
    )
