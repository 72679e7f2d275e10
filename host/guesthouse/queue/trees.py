"""Trees of invocations: one, and those that it called and waits for, and theirs.

Promises: a tree that is killed ends in one transaction, and whoever runs one of them settles nothing any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guesthouse.queue.call import Record
from guesthouse.queue.closing import Closed, close, is_tied
from guesthouse.queue.parking import unpark
from guesthouse.queue.rows import ROW_BYTES, Code, completion_of, ending, packed
from guesthouse.queue.unit import FOUND_COLUMNS, Found, Move, Unit, found_in, listed
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
    root = unit.find(call_id)
    if root.code > Code.RUNNING:
        return []
    query = (
        f"{_TREE} SELECT json_group_array(json_array({FOUND_COLUMNS}, id)) FROM tree CROSS JOIN invocations USING (seq)"
        " WHERE state < 5"
    )
    members = unit.gathered(query, (call_id,))
    found = [found_in(row[:-1]) for row in members]
    _end(unit, found, root.seq, record)
    seqs = {row.seq for row in found}
    told = completion_of(record, None)
    # those whose parent ends too have nobody to tell
    outside = [row._replace(parent=None) if row.parent in seqs else row for row in found if is_tied(row)]
    close(unit, [Closed(row, told) for row in outside])
    for row in found:
        if row.key is not None and not row.exclusive and row.code < Code.RUNNING:
            unpark(unit, row.function, [row.key], 1)
    return [row[-1] for row in members]


def _end(unit: Unit, found: Sequence[Found], root: int, record: Record) -> None:
    """Writes the ends of rows: what is known of each stays, and of the root it is `record`."""
    end = ending(record, None)
    seqs, said = listed([row.seq for row in found]), {"result": record.result, "reason": record.reason}
    which = "WHERE seq IN (SELECT value FROM json_each(?1))"
    unit.execute(
        f"UPDATE invocations SET state = {end.code:d}, holder = NULL, ended_ms = ?2,"
        f" attempts = attempts + (state = {Code.SUSPENDED:d}),"
        " journal = CASE WHEN segments THEN journal + size - told - counted ELSE 0 END,"  # with its request, which stays
        " about = CASE WHEN seq = ?3 OR NOT json_valid(CAST(about AS TEXT)) THEN ?4"
        f" ELSE CAST(json_patch(CAST(about AS TEXT), ?5) AS BLOB) END {which}",
        (seqs, record.ended_ms or unit.now_ms, root, end.about, packed(said).decode()),
    )
    unit.execute(f"UPDATE invocations SET kept = {ROW_BYTES} + length(about) + journal {which}", (seqs,))
    query = f"SELECT json_group_array(json_array(seq, kept)) FROM invocations {which}"
    kept = dict(unit.gathered(query, (seqs,)))
    unit.moves += [Move(row.function, row.code, end.code, row.size, kept[row.seq]) for row in found]
    unit.delete("requests", [row.seq for row in found if not row.segments])
