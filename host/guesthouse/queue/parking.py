"""Calls behind their key: who has a key for itself, and who comes next.

Promises: of the exclusive calls of a function with one key, one has the key from its first lease to its end; whenever one
with a key leaves the queue, the first that is parked behind it becomes ready.
"""

from __future__ import annotations

from collections.abc import Sequence

from guesthouse.queue.queue import FunctionKey
from guesthouse.queue.rows import Code
from guesthouse.queue.unit import Move, Unit, Value, Woken, listed, parts


def unpark(unit: Unit, function: FunctionKey, keys: Sequence[str], most: int) -> int:
    """Makes the first calls ready that are parked behind each of some keys, up to `most` of one; how many."""
    query = (
        "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM invocations INDEXED BY invocations_parked"
        " WHERE state = 3 AND namespace = ? AND name = ? AND key = value)"
    )
    count = 0
    for (key,) in unit.rows(query, (listed(keys), *function)):
        unit.execute(
            f"UPDATE invocations SET state = {Code.READY:d} WHERE seq IN (SELECT seq FROM invocations"
            " INDEXED BY invocations_parked WHERE state = 3 AND namespace = ? AND name = ? AND key = ?"
            " ORDER BY due_ms, seq LIMIT ?)",
            (*function, key, most),
        )
        count += unit.connection.changes()
    unit.moves += [Move(function, Code.PARKED, Code.READY)] * count
    return count


def holders(unit: Unit, function: FunctionKey, keys: Sequence[str]) -> dict[str, int]:
    """The rows that have some of these keys for themselves."""
    query = (
        "SELECT key, seq FROM key_locks WHERE namespace = ? AND name = ? AND key IN (SELECT value FROM json_each(?))"
    )
    return dict(unit.rows(query, (*function, listed(keys)))) if keys else {}


def lock(unit: Unit, function: FunctionKey, taken: Sequence[tuple[str, int]]) -> None:
    """Gives keys to the rows of calls that were taken; those that have theirs already keep it."""
    rows: list[tuple[Value, ...]] = [(*function, key, seq) for key, seq in taken]
    for values, marks in parts(rows, 4):
        unit.execute(
            f"INSERT OR IGNORE INTO key_locks (namespace, name, key, seq) SELECT * FROM (VALUES {marks})"
            " WHERE column1 IS NOT NULL",
            values,
        )


def unlock(unit: Unit, ended: Sequence[tuple[int, FunctionKey, str]]) -> None:
    """Takes the keys back from exclusive calls that have ended, and lets the next of each come."""
    if not ended:
        return
    unit.delete("key_locks", [seq for seq, _, _ in ended])
    by_function: dict[FunctionKey, set[str]] = {}
    for _, function, key in ended:
        by_function.setdefault(function, set()).add(key)
    for function, keys in by_function.items():
        if unpark(unit, function, sorted(keys), 1):
            unit.news.append(Woken(function))
