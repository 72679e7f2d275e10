"""Trees of invocations: one, and those that it called and waits for, and theirs.

Promises: a tree that is killed ends in one transaction, and whoever runs one of them settles nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from guesthouse.queue.call import Record
from guesthouse.queue.closing import Closed, close, is_tied
from guesthouse.queue.parking import unpark
from guesthouse.queue.rows import RECORD_COLUMNS, Code, completion_of, ending, read_record
from guesthouse.queue.unit import FOUND_COLUMNS, Found, Move, Unit, Value, found_in, listed, parts
from guesthouse.storage.database import Connection, rows

_TREE: Final = (
    "WITH RECURSIVE tree (seq, depth) AS (SELECT seq, 0 FROM invocations WHERE id = ? UNION ALL"
    " SELECT i.seq, tree.depth + 1 FROM tree CROSS JOIN invocations AS i INDEXED BY invocations_children"
    " ON i.parent = tree.seq WHERE i.parent IS NOT NULL AND i.state < 5)"
)
"""Rows get ascending numbers and a child comes after its parent, so there are no circles."""


def live_children(connection: Connection, id: str) -> list[tuple[str, int]]:
    """Those below an invocation that have not ended, by id, with their depth below it; the deepest first."""
    query = (
        f"{_TREE} SELECT i.id, tree.depth FROM tree CROSS JOIN invocations AS i USING (seq) WHERE tree.depth > 0"
        " ORDER BY tree.depth DESC, i.seq"
    )
    return [(found, depth) for found, depth in rows(connection, query, (id,))]


def kill(unit: Unit, wanted: tuple[str, Record]) -> list[str]:
    """Ends an invocation and all below it as cancelled, for the reason of `record`; the ids of those that had not ended."""
    call_id, record = wanted
    if unit.find(call_id).code > Code.RUNNING:
        return []
    query = f"{_TREE} SELECT {FOUND_COLUMNS} FROM tree CROSS JOIN invocations USING (seq) WHERE state < 5"
    found = [found_in(row) for row in unit.rows(query, (call_id,))]
    seqs = [row.seq for row in found]
    query = f"SELECT {RECORD_COLUMNS} FROM invocations WHERE seq IN (SELECT value FROM json_each(?))"
    records = {row[0]: _killed(row, record) for row in unit.rows(query, (listed(seqs),))}
    _end(unit, found, records)
    close(unit, [Closed(row, completion_of(records[row.seq], None)) for row in found if is_tied(row)])
    for row in found:
        if row.key is not None and not row.exclusive and row.code < Code.RUNNING:
            unpark(unit, row.function, [row.key], 1)
    return [records[seq].id for seq in seqs]


def _killed(row: Sequence[Any], record: Record) -> Record:
    """What is known of a row's invocation that is killed; what cannot be read of it is left out."""
    known = read_record(row)
    return replace(
        record if known.id == record.id else known,
        state=record.state,
        result=record.result,
        reason=record.reason,
        ended_ms=record.ended_ms,
        due_ms=0,
    )


def _end(unit: Unit, found: Sequence[Found], records: dict[int, Record]) -> None:
    written: list[tuple[Value, ...]] = []
    for row in found:
        end = ending(records[row.seq], None)
        journal = row.journal + (row.request if row.segments else 0)  # which stays where there is a journal
        kept = end.kept + journal
        written.append((row.seq, int(end.code), records[row.seq].ended_ms or unit.now_ms, end.about, kept, journal))
        unit.moves.append(Move(row.function, row.code, end.code, row.size, kept))
    for values, marks in parts(written, 6):
        unit.execute(
            "UPDATE invocations SET state = column2, holder = NULL, ended_ms = column3, about = column4, kept = column5,"
            f" journal = column6, attempts = attempts + (state = {Code.SUSPENDED:d}) FROM (VALUES {marks}) WHERE seq = column1",
            values,
        )
    unit.delete("requests", [row.seq for row in found if not row.segments])
