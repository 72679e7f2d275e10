"""`PersistentCache`: the cache in the host's database; what was acknowledged survives `kill -9`.

Promises: the same answers as the cache in memory; nobody is told of a change before it is durable, and nobody sees it
before either; reads and writes leave the loop alone.  Times are the wall's, for they outlive the process: where that
clock is set, items expire earlier or later.  Over its capacity it forgets what was written first, with a second chance
for what was read since.  Must not know SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from guesthouse.interfaces.cache.backend import (
    ELEMENT_BYTES,
    ENTRY_BYTES,
    Counts,
    Popped,
    Range,
    WrongKind,
    bounds,
    check_list,
    merged,
)
from guesthouse.interfaces.cache.conditions import CONDITIONS, Condition, Item, compared
from guesthouse.interfaces.cache.tables import Row, Tables, Totals, totals
from guesthouse.limits import CacheLimits

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.storage.database import Connection, Database

MOST_REMEMBERED: Final = 100_000
"""Items of which is remembered that they were read: a few megabytes."""

T = TypeVar("T")


class PersistentCache:
    """Items in `database`, at most `capacity` bytes of them by their own count; all calls answer with coroutines."""

    transactional = True
    lasting = True

    def __init__(self, database: Database, clock: Clock, capacity: int, limits: CacheLimits | None = None) -> None:
        self._database = database
        self._now = clock.wall_ns
        self._capacity = capacity
        self.limits = limits or CacheLimits()
        self._read: set[int] = set()
        self.counts = Counts()
        self.counts.entries, self.counts.size = database.read_sync(totals)

    async def get(self, namespace: str, key: bytes) -> Item | None:
        def work(tables: Tables) -> tuple[Row, Item] | None:
            row = tables.find(namespace, key)
            if row is None:
                return None
            if row.length is not None:
                raise WrongKind("the key holds a list")
            return row, Item(tables.value(row.id), row.digest)

        found = await self._look(work)
        self._seen(None if found is None else found[0])
        return None if found is None else found[1]

    async def set(
        self, namespace: str, key: bytes, item: Item, ttl_ms: int, condition: Condition | None = None
    ) -> bool:
        digest = await item.hashed()
        operand = b"" if condition is None else await compared(condition)

        def work(tables: Tables) -> bool:
            if condition is not None and not _stores(condition, tables.find(namespace, key), operand):
                return False
            tables.insert(namespace, key, tables.now_ns + ttl_ms * 1_000_000, item.value, digest)
            return True

        return await self._change(work)

    async def delete(self, namespace: str, key: bytes) -> None:
        def work(tables: Tables) -> None:
            row = tables.find(namespace, key)
            if row is not None:
                tables.forget(row)

        await self._change(work)

    async def extend(
        self, namespace: str, key: bytes, values: Sequence[bytes], ttl_ms: int, refresh: bool, keep: int, *, front: bool
    ) -> int:
        if keep and len(values) > keep:
            values = values[:keep] if front else values[-keep:]

        def work(tables: Tables) -> int:
            row = _list(tables, namespace, key)
            expires_ns = tables.now_ns + ttl_ms * 1_000_000
            if row is None:
                if not values:
                    return 0
                row = tables.insert(namespace, key, expires_ns)
            elif refresh:
                tables.expire(row, expires_ns)
            if keep and (row.length or 0) + len(values) > keep:
                row, _ = tables.take(row, (row.length or 0) + len(values) - keep, not front)
                if not row.length:  # all that was there is dropped, and with it the list
                    row = tables.insert(namespace, key, expires_ns if refresh else row.expires_ns)
            if values:
                row = tables.add(row, values, front)
            length = row.length or 0
            check_list(length, row.size - ENTRY_BYTES - len(key) - length * ELEMENT_BYTES, self.limits)
            return length

        return await self._change(work)

    async def pop(self, namespace: str, key: bytes, *, front: bool) -> Popped | None:
        def work(tables: Tables) -> Popped | None:
            row = _list(tables, namespace, key)
            return None if row is None else tables.pop(row, front)

        popped = await self._change(work)
        self.counts.seen(popped is not None)
        return None if popped is None else Popped(*popped)  # a plain tuple where a journal has answered

    async def erase(self, namespace: str, key: bytes, ranges: Sequence[Range] | None) -> int | None:
        def work(tables: Tables, row: Row) -> int:
            if ranges is None:
                tables.forget(row)
                return 0
            return tables.erase(row, merged(ranges)).length or 0

        return await self._change_list(namespace, key, work)

    async def remove(self, namespace: str, key: bytes, value: bytes) -> int | None:
        return await self._change_list(namespace, key, lambda tables, row: tables.remove(row, value).length or 0)

    async def fetch(self, namespace: str, key: bytes, start: int | None, end: int | None) -> list[bytes] | None:
        def work(tables: Tables) -> tuple[Row, list[bytes]] | None:
            row = _list(tables, namespace, key)
            return None if row is None else (row, tables.fetch(row, *bounds(start, end, row.length or 0)))

        found = await self._look(work)
        self._seen(None if found is None else found[0])
        return None if found is None else found[1]

    async def length(self, namespace: str, key: bytes) -> int | None:
        row = await self._look(lambda tables: _list(tables, namespace, key))
        self._seen(row)
        return None if row is None else row.length

    async def retain(
        self, namespace: str, key: bytes, start: int | None, end: int | None, ttl_ms: int, refresh: bool
    ) -> int | None:
        def work(tables: Tables, row: Row) -> int:
            if refresh:
                tables.expire(row, tables.now_ns + ttl_ms * 1_000_000)
            length = row.length or 0
            begin, stop = bounds(start, end, length)
            return tables.erase(row, [(0, begin), (stop, length)]).length or 0

        return await self._change_list(namespace, key, work)

    async def close(self) -> None:
        """Nothing: the database is the host's."""

    async def _look(self, work: Callable[[Tables], T]) -> T:
        return await self._database.read(lambda connection: work(Tables(connection, self._now())))

    async def _change(self, work: Callable[[Tables], T]) -> T:
        """Runs `work` in a transaction, and afterwards clears away what has to go."""

        def unit(connection: Connection) -> tuple[T, Totals]:
            tables = Tables(connection, self._now())
            result = work(tables)
            return result, tables.settle(self._capacity, self._was_read)

        result, _ = await self._database.write(unit, committed=lambda done: self._note(done[1]))
        return result

    async def _change_list(self, namespace: str, key: bytes, work: Callable[[Tables, Row], int]) -> int | None:
        def unit(tables: Tables) -> int | None:
            row = _list(tables, namespace, key)
            return None if row is None else work(tables, row)

        return await self._change(unit)

    def _note(self, found: Totals) -> None:
        counts = self.counts
        counts.entries, counts.size = found.entries, found.size
        counts.evicted += found.evicted

    def _seen(self, row: Row | None) -> None:
        self.counts.seen(row is not None)
        if row is not None:
            if len(self._read) >= MOST_REMEMBERED:
                self._read.clear()
            self._read.add(row.id)

    def _was_read(self, id: int) -> bool:
        """Whether the item was read since this was asked last."""
        found = id in self._read
        self._read.discard(id)
        return found


def _list(tables: Tables, namespace: str, key: bytes) -> Row | None:
    row = tables.find(namespace, key)
    if row is not None and row.length is None:
        raise WrongKind("the key holds a value, not a list")
    return row


def _stores(condition: Condition, row: Row | None, operand: bytes) -> bool:
    """As `holds`, by what is kept of a value beside it."""
    stores = CONDITIONS[condition[0]]
    if row is None:
        return stores.absent
    return stores.equal if row.length is None and (condition[1] is None or row.digest == operand) else stores.different
