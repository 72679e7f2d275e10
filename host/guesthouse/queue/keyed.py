"""Keyed state: what exclusive invocations of a function keep by their key, from one to the next.

Promises: it is changed by whoever has the lease, and by nobody who was superseded; its bytes are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from guesthouse.queue.call import Lease
from guesthouse.queue.journals import check_fence
from guesthouse.queue.queue import FunctionKey, StateFull
from guesthouse.queue.unit import Unit, Value
from guesthouse.storage.database import Connection, rows

ITEM_BYTES: Final = 128
"""What an item is taken to cost besides its name and value."""
MOST_ITEMS: Final = 1_000
"""Of one key: their sizes are added up at each change."""
_OF_KEY: Final = "namespace = ? AND name = ? AND key = ?"
_SIZE: Final = f"coalesce(sum({ITEM_BYTES} + length(CAST(item AS BLOB)) + length(value)), 0)"


class Setting(NamedTuple):
    """A change of the state of a key."""

    lease: Lease
    item: str | None = None
    """Its name; `None`: all of the key."""
    value: bytes | None = None
    """`None`: it goes."""


class Bounds(NamedTuple):
    """Bytes of keyed state."""

    key: int
    """Of one key."""
    all: int
    """Of all; half of them of one function, and three quarters of one namespace."""


def change(unit: Unit, setting: Setting, bounds: Bounds) -> None:
    """Sets or clears; raises `Fenced`, and `StateFull`, which has changed nothing."""
    lease, item, value = setting
    check_fence(unit, lease)
    function, of_key = _place(lease)
    which: tuple[Value, ...] = of_key if item is None else (*of_key, item)
    where = _OF_KEY if item is None else f"{_OF_KEY} AND item = ?"
    before = unit.rows(f"SELECT {_SIZE} FROM keyed_state WHERE {where}", which)[0][0]
    grown = -before
    if item is not None and value is not None:
        grown += ITEM_BYTES + len(item.encode()) + len(value)
        if grown > 0:
            _check(unit, of_key, function, grown, bounds, new=not before)
        unit.execute("INSERT OR REPLACE INTO keyed_state VALUES (?, ?, ?, ?, ?)", (*of_key, item, value))
    else:
        unit.execute(f"DELETE FROM keyed_state WHERE {where}", which)
    if grown:
        unit.execute(
            "INSERT INTO keyed_totals VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET size = size + excluded.size",
            (*function, grown),
        )


def _check(unit: Unit, of_key: Sequence[Value], function: FunctionKey, grown: int, bounds: Bounds, new: bool) -> None:
    count, size = unit.rows(f"SELECT count(*), {_SIZE} FROM keyed_state WHERE {_OF_KEY}", of_key)[0]
    if size + grown > bounds.key or (new and count >= MOST_ITEMS):
        raise StateFull(f"the state of a key is over {bounds.key} bytes, or {MOST_ITEMS} items")
    query = (
        "SELECT coalesce(sum(size), 0), coalesce(sum(size) FILTER (WHERE namespace = ?), 0),"
        " coalesce(sum(size) FILTER (WHERE namespace = ? AND name = ?), 0) FROM keyed_totals"
    )
    all_of, of_namespace, of_function = unit.rows(query, (function[0], *function))[0]
    most = bounds.all
    if all_of + grown > most or 4 * (of_namespace + grown) > 3 * most or 2 * (of_function + grown) > most:
        raise StateFull(f"the state of all keys is bounded by {most} bytes, half of them of one function")


def get(connection: Connection, function: FunctionKey, key: str, item: str) -> bytes | None:
    """The value of an item; `None`: it has none."""
    found = rows(connection, f"SELECT value FROM keyed_state WHERE {_OF_KEY} AND item = ?", (*function, key, item))
    return found[0][0] if found else None


def names(connection: Connection, function: FunctionKey, key: str) -> list[str]:
    """The names of a key's items, in order."""
    query = f"SELECT item FROM keyed_state WHERE {_OF_KEY} ORDER BY item"
    return [item for (item,) in rows(connection, query, (*function, key))]


def forget(unit: Unit, function: FunctionKey) -> None:
    """Clears the state of all keys of a function."""
    for table in ("keyed_state", "keyed_totals"):
        unit.execute(f"DELETE FROM {table} WHERE namespace = ? AND name = ?", function)


def _place(lease: Lease) -> tuple[FunctionKey, tuple[Value, ...]]:
    call = lease.call
    if call.key is None:
        raise ValueError("a call without a key has no state of one")
    return (call.namespace, call.name), (call.namespace, call.name, call.key)
