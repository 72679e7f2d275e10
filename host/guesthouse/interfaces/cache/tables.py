"""`Tables`: the cache's tables inside one transaction, with everything that a call changes there.

Promises: what was changed adds up in the totals; each transaction that adds something also clears away at least as
much of what is expired or given up, so no sweep is needed.  Must not know how transactions are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from guesthouse.interfaces.cache.backend import ELEMENT_BYTES, ENTRY_BYTES, Popped, Range
from guesthouse.storage.database import Connection, rows

EXPIRED_AT_ONCE: Final = 8
"""Expired items that one transaction deletes."""
ORPHANS_AT_ONCE: Final = 256
"""Elements of lists that are gone which one transaction deletes, and twice as many as it adds."""
EVICTED_AT_ONCE: Final = 64
CHANCES: Final = 64
"""Items in use that one transaction passes by when it looks for some to evict."""


class Row(NamedTuple):
    """An item without its contents."""

    id: int
    size: int
    length: int | None
    """`None`: it is a value."""
    digest: bytes | None
    expires_ns: int


class Totals(NamedTuple):
    """Of all items, after a transaction."""

    entries: int
    size: int
    evicted: int
    """By this transaction."""


class Tables:
    """The tables, at the time `now_ns` of the wall's clock."""

    def __init__(self, connection: Connection, now_ns: int) -> None:
        self._connection = connection
        self.now_ns = now_ns
        self._entries = 0
        self._size = 0
        self._elements = 0

    def find(self, namespace: str, key: bytes) -> Row | None:
        """The item, if it has not expired."""
        found = rows(
            self._connection,
            "SELECT id, size, length, digest, expires_ns FROM cache_items WHERE namespace = ? AND key = ?",
            (namespace, key),
        )
        row = Row(*found[0]) if found else None
        return row if row is not None and row.expires_ns > self.now_ns else None

    def value(self, id: int) -> bytes:
        """The contents of a value."""
        value: bytes = rows(self._connection, "SELECT value FROM cache_items WHERE id = ?", (id,))[0][0]
        return value

    def insert(
        self, namespace: str, key: bytes, expires_ns: int, value: bytes | None = None, digest: bytes | None = None
    ) -> Row:
        """A new item in the place of whatever was there: a value, or without one an empty list."""
        for row in self._rows("namespace = ? AND key = ?", (namespace, key)):
            self.forget(row)
        size = ENTRY_BYTES + len(key) + len(value or b"")
        length = 0 if value is None else None
        self._connection.execute(
            "INSERT INTO cache_items (namespace, key, expires_ns, size, length, digest, value) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (namespace, key, expires_ns, size, length, digest, value),
        )
        row = Row(self._connection.last_insert_rowid(), size, length, digest, expires_ns)
        self._connection.execute("INSERT INTO cache_order (item) VALUES (?)", (row.id,))
        self._entries += 1
        self._size += size
        return row

    def forget(self, row: Row) -> None:
        """Deletes an item; the elements of a list go by and by."""
        self._connection.execute("DELETE FROM cache_items WHERE id = ?", (row.id,))
        self._connection.execute("DELETE FROM cache_order WHERE item = ?", (row.id,))
        if row.length:
            self._connection.execute("INSERT INTO cache_orphans (item) VALUES (?)", (row.id,))
        self._entries -= 1
        self._size -= row.size

    def expire(self, row: Row, expires_ns: int) -> None:
        """Changes when an item expires."""
        self._connection.execute("UPDATE cache_items SET expires_ns = ? WHERE id = ?", (expires_ns, row.id))

    # -- lists

    def add(self, row: Row, values: Sequence[bytes], front: bool) -> Row:
        """Puts elements, in their order, before or behind a list."""
        first, last = rows(
            self._connection,
            "SELECT (SELECT min(position) FROM cache_elements WHERE item = ?1), "
            "(SELECT max(position) FROM cache_elements WHERE item = ?1)",
            (row.id,),
        )[0]
        at = (0 if first is None else first - len(values)) if front else (0 if last is None else last + 1)
        elements = ((row.id, at + index, value) for index, value in enumerate(values))
        self._connection.executemany("INSERT INTO cache_elements (item, position, value) VALUES (?, ?, ?)", elements)
        self._elements += len(values)
        return self._resized(row, len(values), sum(map(len, values)))

    def take(self, row: Row, count: int, front: bool) -> tuple[Row, list[bytes]]:
        """Takes elements from one end, the outermost first."""
        order = "ASC" if front else "DESC"
        found = rows(
            self._connection,
            f"SELECT position, value FROM cache_elements WHERE item = ? ORDER BY position {order} LIMIT ?",
            (row.id, count),
        )
        if found:
            ends = sorted((found[0][0], found[-1][0]))
            self._delete(row, "position BETWEEN ? AND ?", ends)
        values: list[bytes] = [value for _, value in found]
        return self._resized(row, -len(values), -sum(map(len, values))), values

    def pop(self, row: Row, front: bool) -> Popped:
        """Takes the first or last element."""
        row, (value,) = self.take(row, 1, front)
        return Popped(value, row.length or 0)

    def fetch(self, row: Row, begin: int, end: int) -> list[bytes]:
        """The elements of a range."""
        query = "SELECT value FROM cache_elements WHERE item = ? ORDER BY position LIMIT ? OFFSET ?"
        return [value for (value,) in rows(self._connection, query, (row.id, end - begin, begin))]

    def erase(self, row: Row, ranges: Iterable[Range]) -> Row:
        """Deletes ranges (begin, end) of indexes, which neither touch nor overlap."""
        query = "SELECT position FROM cache_elements WHERE item = ? ORDER BY position"
        positions = [position for (position,) in rows(self._connection, query, (row.id,))]
        count = size = 0
        for begin, end in ranges:
            if begin < min(end, len(positions)):
                ends = (positions[begin], positions[min(end, len(positions)) - 1])
                deleted = self._delete(row, "position BETWEEN ? AND ?", ends)
                count, size = count + len(deleted), size + sum(deleted)
        return self._resized(row, -count, -size)

    def remove(self, row: Row, value: bytes) -> Row:
        """Deletes every element that equals `value`."""
        deleted = self._delete(row, "value = ?", (value,))
        return self._resized(row, -len(deleted), -sum(deleted))

    def _delete(self, row: Row, condition: str, values: Sequence[bytes | int]) -> list[int]:
        """Deletes elements of a list; the length of each."""
        query = f"DELETE FROM cache_elements WHERE item = ? AND {condition} RETURNING length(value)"
        return [size for (size,) in rows(self._connection, query, (row.id, *values))]

    def _resized(self, row: Row, count: int, size: int) -> Row:
        """Notes what was added or taken; an empty list disappears."""
        if not count:
            return row
        size += count * ELEMENT_BYTES
        changed = row._replace(length=(row.length or 0) + count, size=row.size + size)
        self._size += size
        if changed.length:
            query = "UPDATE cache_items SET length = ?, size = ? WHERE id = ?"
            self._connection.execute(query, (changed.length, changed.size, row.id))
        else:
            self.forget(changed)
        return changed

    # -- the end of a transaction

    def settle(self, capacity: int, in_use: Callable[[int], bool]) -> Totals:
        """Clears away what is expired, and evicts what is over `capacity` bytes; `in_use` items get a second chance."""
        for row in self._rows("expires_ns <= ? ORDER BY expires_ns LIMIT ?", (self.now_ns, EXPIRED_AT_ONCE)):
            self.forget(row)
        self._clear_orphans(max(ORPHANS_AT_ONCE, 2 * self._elements))
        entries, size = self._add_up()
        evicted, chances = 0, CHANCES
        while size > capacity and (oldest := self._oldest()):
            for row in oldest:
                if chances and in_use(row.id):
                    chances -= 1
                    self._connection.execute("INSERT OR REPLACE INTO cache_order (item) VALUES (?)", (row.id,))
                elif size + self._size > capacity:
                    self.forget(row)
                    evicted += 1
            entries, size = self._add_up()
        return Totals(entries, size, evicted)

    def _add_up(self) -> tuple[int, int]:
        query = "UPDATE cache_totals SET entries = entries + ?, size = size + ? RETURNING entries, size"
        ((entries, size),) = rows(self._connection, query, (self._entries, self._size))
        self._entries = self._size = 0
        return entries, size

    def _oldest(self) -> list[Row]:
        query = (
            "SELECT id, size, length, digest, expires_ns FROM cache_order JOIN cache_items ON id = item "
            "ORDER BY place LIMIT ?"
        )
        return [Row(*row) for row in rows(self._connection, query, (EVICTED_AT_ONCE,))]

    def _rows(self, condition: str, values: Sequence[str | bytes | int]) -> list[Row]:
        query = f"SELECT id, size, length, digest, expires_ns FROM cache_items WHERE {condition}"
        return [Row(*row) for row in rows(self._connection, query, values)]

    def _clear_orphans(self, most: int) -> None:
        while most > 0 and (found := rows(self._connection, "SELECT item FROM cache_orphans LIMIT 1")):
            ((orphan,),) = found
            query = (
                "DELETE FROM cache_elements WHERE item = ?1 AND position IN "
                "(SELECT position FROM cache_elements WHERE item = ?1 LIMIT ?2) RETURNING 1"
            )
            deleted = len(rows(self._connection, query, (orphan, most)))
            if deleted < most:
                self._connection.execute("DELETE FROM cache_orphans WHERE item = ?", (orphan,))
            most -= max(deleted, 1)


def totals(connection: Connection) -> tuple[int, int]:
    """Entries and bytes of the whole cache."""
    ((entries, size),) = rows(connection, "SELECT entries, size FROM cache_totals")
    return entries, size
