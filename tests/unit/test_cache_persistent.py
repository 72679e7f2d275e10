"""The cache in the database: what restarts leave, what is cleared away, and what is forgotten first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from guesthouse.errors import BadRequest
from guesthouse.interfaces.cache import CacheConfig, Item, PersistentCache
from guesthouse.interfaces.cache.backend import ELEMENT_BYTES, ENTRY_BYTES
from guesthouse.interfaces.cache.tables import ORPHANS_AT_ONCE
from guesthouse.storage.database import Database, rows
from guesthouse.storage.errors import StorageError
from unit.interface_fakes import SimulatedClock

T = TypeVar("T")
HOUR = 3_600_000
ITEM = Item(b"x" * 10)
ROOM = ENTRY_BYTES + 11
"""What `ITEM` takes under a key of one byte."""


class Cache:
    """A persistent cache, awaited."""

    def __init__(self, path: Path | None = None, entries: int = 1_000) -> None:
        self.clock = SimulatedClock()
        self.runner = asyncio.Runner()
        self.database = Database(path)
        self.inner = PersistentCache(self.database, self.clock, entries * ROOM)

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def put(self, *keys: bytes) -> None:
        for key in keys:
            self.wait(self.inner.set("n", key, ITEM, HOUR))

    def get(self, key: bytes) -> Item | None:
        return self.wait(self.inner.get("n", key))

    def push(self, key: bytes, count: int) -> None:
        self.wait(self.inner.extend("n", key, [b""] * count, HOUR, True, 0, front=True))

    def count(self, table: str) -> int:
        found: int = self.database.read_sync(lambda connection: rows(connection, f"SELECT count(*) FROM {table}"))[0][0]
        return found

    def kept(self, *keys: bytes) -> list[bytes]:
        found = self.database.read_sync(lambda connection: rows(connection, "SELECT key FROM cache_items"))
        return [key for key in keys if (key,) in found]

    def close(self) -> None:
        self.runner.close()
        self.database.close()


@pytest.fixture
def make() -> Iterator[Callable[..., Cache]]:
    made: list[Cache] = []

    def make(*arguments: Any, **options: Any) -> Cache:
        made.append(Cache(*arguments, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def test_items_are_there_after_a_restart_and_expire_when_they_should(
    make: Callable[..., Cache], tmp_path: Path
) -> None:
    """Values with their hashes, lists with their order, by the clock on the wall; and the counts."""
    first = make(tmp_path / "db")
    first.put(b"k")
    first.wait(first.inner.extend("n", b"l", [b"b", b"c"], 10, True, 0, front=False))
    first.wait(first.inner.extend("n", b"l", [b"a"], 10, False, 0, front=True))
    sizes = (first.inner.counts.entries, first.inner.counts.size)
    first.close()
    second = make(tmp_path / "db")
    assert (second.inner.counts.entries, second.inner.counts.size) == sizes
    found = second.get(b"k")
    assert found is not None
    assert (found.value, found.hash) == (ITEM.value, ITEM.hash)
    assert second.wait(second.inner.fetch("n", b"l", None, None)) == [b"a", b"b", b"c"]
    second.clock.pass_ns(9_999_999)
    assert second.wait(second.inner.length("n", b"l")) == 3
    second.clock.pass_ns(1)
    assert second.wait(second.inner.length("n", b"l")) is None


def test_what_is_expired_is_cleared_away_by_later_writes(make: Callable[..., Cache]) -> None:
    """Also what nobody asks for any more, and the elements of lists: a few with each write, so no write takes long."""
    cache = make()
    cache.put(*(bytes([number]) for number in range(20)))
    cache.push(b"list", 3 * ORPHANS_AT_ONCE)
    cache.clock.pass_ms(HOUR)
    for _ in range(8):
        cache.put(b"new")
    assert cache.count("cache_items") == cache.count("cache_order") == 1
    assert cache.count("cache_elements") == cache.count("cache_orphans") == 0
    assert (cache.inner.counts.entries, cache.inner.counts.size) == (1, ENTRY_BYTES + 3 + 10)


def test_a_large_list_is_gone_at_once_and_its_elements_by_and_by(make: Callable[..., Cache]) -> None:
    """Erasing all of it is a short piece of work; a new list under its key has nothing of it."""
    cache = make()
    cache.push(b"l", 10 * ORPHANS_AT_ONCE)
    assert cache.wait(cache.inner.erase("n", b"l", None)) == 0
    assert cache.count("cache_elements") >= 8 * ORPHANS_AT_ONCE
    cache.push(b"l", 2)
    assert cache.wait(cache.inner.fetch("n", b"l", None, None)) == [b"", b""]
    for _ in range(10):
        cache.put(b"k")
    assert cache.count("cache_elements") == 2


def test_over_its_capacity_it_forgets_what_was_written_first(make: Callable[..., Cache]) -> None:
    """But what was read since has a second chance, once."""
    cache = make(entries=3)
    cache.put(b"a", b"b", b"c")
    cache.get(b"a")
    cache.put(b"d")
    assert cache.kept(b"a", b"b", b"c", b"d") == [b"a", b"c", b"d"]
    cache.put(b"e", b"f")
    assert cache.kept(b"a", b"c", b"d", b"e", b"f") == [b"a", b"e", b"f"]
    cache.put(b"g")
    assert cache.kept(b"a", b"e", b"f", b"g") == [b"e", b"f", b"g"]
    assert (cache.inner.counts.evicted, cache.inner.counts.entries) == (4, 3)


def test_an_item_that_does_not_fit_is_forgotten_and_the_bound_holds(make: Callable[..., Cache]) -> None:
    """However many of the others were in use."""
    cache = make(entries=100)
    keys = [bytes([number]) for number in range(100)]
    cache.put(*keys)
    for key in keys:
        cache.get(key)
    assert cache.wait(cache.inner.set("n", b"big", Item(bytes(101 * ROOM)), HOUR))
    assert cache.kept(b"big") == []
    assert cache.count("cache_items") == cache.inner.counts.entries == 101 - cache.inner.counts.evicted
    assert (cache.inner.counts.size or 0) <= 100 * ROOM


def test_the_size_is_that_of_what_is_there(make: Callable[..., Cache]) -> None:
    """Through replacing, growing, shrinking and deleting."""
    cache = make()
    inner = cache.inner

    def expect(*sizes: int) -> None:
        assert inner.counts.size == sum(sizes)
        stored = cache.database.read_sync(lambda c: rows(c, "SELECT count(*), coalesce(sum(size), 0) FROM cache_items"))
        assert stored == [(inner.counts.entries, inner.counts.size)]

    a_list = ENTRY_BYTES + 1
    cache.put(b"k")
    cache.wait(inner.set("n", b"k", Item(b"xyz"), HOUR))
    expect(ENTRY_BYTES + 1 + 3)
    cache.wait(inner.extend("n", b"l", [b"aa", b"b", b"ccc"], HOUR, True, 0, front=True))
    expect(ENTRY_BYTES + 4, a_list, 6 + 3 * ELEMENT_BYTES)
    cache.wait(inner.extend("n", b"l", [b"dddd"], HOUR, True, 3, front=True))
    expect(ENTRY_BYTES + 4, a_list, 7 + 3 * ELEMENT_BYTES)
    cache.wait(inner.remove("n", b"l", b"b"))
    cache.wait(inner.pop("n", b"l", front=False))
    expect(ENTRY_BYTES + 4, a_list, 4 + ELEMENT_BYTES)
    cache.wait(inner.delete("n", b"k"))
    cache.wait(inner.retain("n", b"l", 1, None, HOUR, False))
    expect()


def test_a_write_that_fails_changes_no_count(make: Callable[..., Cache]) -> None:
    """What was not stored is not counted."""
    cache = make()
    cache.put(b"k")
    cache.database.close()
    with pytest.raises(StorageError):
        cache.put(b"l")
    assert cache.inner.counts.entries == 1


def test_a_cache_that_persists_needs_a_folder_and_no_server() -> None:
    """Mistakes of whoever configures it, told as such."""
    clock = SimulatedClock()
    database = Database(None)
    try:
        with pytest.raises(BadRequest, match="data directory"):
            CacheConfig(persist=True).open(database, clock, durable=False)
        with pytest.raises(BadRequest, match="persist or url"):
            CacheConfig("redis://localhost", persist=True).open(database, clock, durable=True)
        with pytest.raises(BadRequest):
            CacheConfig("http://localhost").open(database, clock, durable=True)
    finally:
        database.close()
