"""Callbacks that have to be delivered: which are due, and what became of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from guesthouse.queue.call import Callback, Output
from guesthouse.queue.rows import packed, read_callback, read_output
from guesthouse.queue.unit import listed
from guesthouse.storage.database import Connection, rows

PAGE_BYTES: Final = 32 << 20
"""Of the answers that one look takes from the disk: they stay in memory until they are delivered."""
COLUMNS: Final = "c.id, c.namespace, c.name, c.url, c.headers, c.attempts, c.due_ms"


class Due(NamedTuple):
    """Which callbacks somebody has room for."""

    now_ms: int
    most: int
    under_way: Collection[str]
    busy: Collection[str]
    """Destinations."""
    crowded: Collection[str]
    """Namespaces."""


def due(connection: Connection, wanted: Due) -> list[tuple[Callback, Output | None]]:
    """Callbacks that are due, in their order, with the answers that they deliver."""
    found: list[tuple[Callback, Output | None]] = []
    total = 0
    cursor = connection.execute(
        f"SELECT {COLUMNS}, o.status, o.headers, o.body FROM callbacks AS c INDEXED BY callbacks_by_due"
        " LEFT JOIN outputs AS o USING (seq) WHERE c.due_ms <= ?"
        " AND c.id NOT IN (SELECT value FROM json_each(?)) AND c.destination NOT IN (SELECT value FROM json_each(?))"
        " AND c.namespace NOT IN (SELECT value FROM json_each(?)) ORDER BY c.due_ms LIMIT ?",
        (wanted.now_ms, *(listed(list(of)) for of in wanted[2:]), wanted.most),
    )
    for row in cursor:
        output = None if row[7] is None else read_output(row[7:])
        found.append((read_callback(row[:7]), output))
        total += 0 if output is None else len(output.body)
        if total > PAGE_BYTES:
            break
    cursor.close()
    return found


def next_due_ms(connection: Connection) -> int | None:
    """When the next callback is due."""
    moment: int | None = rows(connection, "SELECT min(due_ms) FROM callbacks")[0][0]
    return moment


_THIS = "id = ? AND headers = ?"
"""A redriven call has a callback of the same id for its next end; its headers say of which run it tells."""


def forget(connection: Connection, settled: Sequence[Callback]) -> None:
    """Deletes callbacks."""
    connection.executemany(f"DELETE FROM callbacks WHERE {_THIS}", [(c.id, packed(c.headers)) for c in settled])


def postpone(connection: Connection, later: Sequence[tuple[Callback, int]]) -> None:
    """Tries callbacks again at their times, one attempt more."""
    connection.executemany(
        f"UPDATE callbacks SET due_ms = ?, attempts = attempts + 1 WHERE {_THIS}",
        [(due_ms, c.id, packed(c.headers)) for c, due_ms in later],
    )
