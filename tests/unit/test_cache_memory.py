"""The cache in memory: its times to the nanosecond, its bound, and what it forgets first."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from guesthouse.interfaces.cache import Item, MemoryCache
from guesthouse.interfaces.cache.backend import ELEMENT_BYTES, ENTRY_BYTES
from guesthouse.interfaces.cache.memory import ListEntry
from guesthouse.limits import CacheLimits
from unit.interface_fakes import SimulatedClock, now

HOUR = 3_600_000
ITEM = Item(b"x" * 10)
ROOM = ENTRY_BYTES + 11
"""What `ITEM` takes under a key of one byte."""


def cache_for(entries: int) -> MemoryCache:
    return MemoryCache(SimulatedClock(), capacity=entries * ROOM)


def put(cache: MemoryCache, *keys: bytes) -> None:
    for key in keys:
        assert cache.set("n", key, ITEM, HOUR)


def kept(cache: MemoryCache, *keys: bytes) -> list[bytes]:
    """Which of the keys are there, without using any."""
    return [key for key in keys if cache._entries.peek(("n", key)) is not None]


def test_a_value_is_gone_after_exactly_its_time() -> None:
    """TTL is in milliseconds; nothing has to sweep."""
    clock = SimulatedClock()
    cache = MemoryCache(clock)
    cache.set("n", b"k", ITEM, 10)
    cache.extend("n", b"l", [b"v"], 10, True, 0, front=True)
    clock.pass_ns(9_999_999)
    assert (cache.get("n", b"k"), cache.length("n", b"l")) == (ITEM, 1)
    clock.pass_ns(1)
    assert (cache.get("n", b"k"), cache.length("n", b"l")) == (None, None)


def test_a_wall_clock_that_jumps_changes_no_expiry() -> None:
    """Only time that passed counts."""
    clock = SimulatedClock()
    cache = MemoryCache(clock)
    cache.set("n", b"k", ITEM, 10)
    clock.wall += HOUR * 1_000_000
    assert cache.get("n", b"k") is ITEM


def test_the_least_recently_used_item_goes_first() -> None:
    """Reading keeps an item; what nobody asked for makes room."""
    cache = cache_for(3)
    put(cache, b"a", b"b", b"c")
    cache.get("n", b"a")
    put(cache, b"d")
    assert kept(cache, b"a", b"b", b"c", b"d") == [b"a", b"c", b"d"]
    assert cache.counts.evicted == 1


def test_a_flood_of_new_keys_leaves_what_is_used_again() -> None:
    """One function's keys that nobody reads twice push out each other, not the others' working set."""
    cache = cache_for(10)
    used = [bytes([letter]) for letter in b"abcd"]
    put(cache, *used)
    for key in used:
        cache.get("n", key)
    for number in range(1_000):
        cache.set("flood", b"%c" % (number % 256), ITEM, HOUR)
    assert kept(cache, *used) == used


def test_what_was_used_once_long_ago_makes_room_in_the_end() -> None:
    """Protection is a share of the room: the working set may move on."""
    cache = cache_for(10)
    old, new = ([bytes([letter]) for letter in letters] for letters in (b"abcdefgh", b"ijklmnop"))
    for keys in (old, new):
        for key in keys:
            put(cache, key)
            cache.get("n", key)
    assert kept(cache, *new) == new


def test_setting_an_item_again_keeps_its_standing_and_counts_once() -> None:
    """Larger or smaller, on probation or protected."""
    cache = cache_for(3)
    put(cache, b"a", b"b")
    cache.get("n", b"a")
    for value in (b"", b"y" * 20, b"x" * 10):
        cache.set("n", b"a", Item(value), HOUR)
        cache.set("n", b"b", Item(value), HOUR)
        assert cache.counts.size == 2 * (ENTRY_BYTES + 1 + len(value))
    put(cache, b"c", b"d")
    assert kept(cache, b"a", b"b", b"c", b"d") == [b"a", b"c", b"d"]


def test_an_item_larger_than_the_cache_is_forgotten_and_the_bound_holds() -> None:
    """A cache may forget at any time; it must not grow."""
    cache = MemoryCache(SimulatedClock(), capacity=1000)
    assert cache.set("n", b"k", Item(bytes(2000)), HOUR)
    assert cache.extend("n", b"l", [bytes(2000)], HOUR, True, 0, front=True) == 1
    assert cache.get("n", b"k") is None
    assert cache.length("n", b"l") is None
    assert (cache.counts.size, cache.counts.entries) == (0, 0)


def test_a_list_that_grows_pushes_out_others_and_in_the_end_itself() -> None:
    """Elements cost what they are, and a share for each."""
    cache = MemoryCache(SimulatedClock(), capacity=ROOM + ENTRY_BYTES + 1 + 4 * (ELEMENT_BYTES + 100))
    put(cache, b"a")
    for length in range(1, 5):
        assert cache.extend("n", b"l", [bytes(100)], HOUR, True, 0, front=False) == length
    assert kept(cache, b"a", b"l") == [b"a", b"l"]
    for _ in range(3):
        cache.extend("n", b"l", [bytes(100)], HOUR, True, 0, front=False)
    assert kept(cache, b"a") == []
    cache.extend("n", b"l", [bytes(1000)], HOUR, True, 0, front=False)
    assert cache.counts.size <= cache._entries.capacity


def test_a_flood_of_empty_elements_is_bounded() -> None:
    """A million pushes to one list end at its length, and leave no more than that."""
    cache = MemoryCache(SimulatedClock(), limits=CacheLimits(list_elements=1_000))
    for _ in range(100):
        cache.extend("n", b"l", [b""] * 1_000, HOUR, True, 1_000, front=True)
    assert cache.length("n", b"l") == 1_000
    assert cache.counts.size == ENTRY_BYTES + 1 + 1_000 * ELEMENT_BYTES


def test_the_hash_of_a_large_value_is_computed_once_and_beside_the_loop() -> None:
    """A condition on it waits; afterwards everybody knows it."""
    cache = MemoryCache(SimulatedClock())
    large = Item(bytes(200_000))
    cache.set("n", b"k", large, HOUR)
    assert not large.at_hand
    condition = ("present-and-hash-equal", b"no")
    waits = cache.set("n", b"k", ITEM, HOUR, condition)
    assert waits is not False
    assert now(waits) is False
    assert large.at_hand
    assert cache.set("n", b"k", ITEM, HOUR, condition) is False


KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
VALUES = st.binary(max_size=30)


class BoundedMachine(RuleBasedStateMachine):
    """With room for few items: it may forget, but never answers anything wrong or outgrows its bound."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = MemoryCache(SimulatedClock(), capacity=3 * ROOM)
        self.model: dict[bytes, Any] = {}

    @rule(key=KEYS)
    def look(self, key: bytes) -> None:
        known = self.model.get(key)
        if isinstance(known, list):
            found = self.cache.fetch("n", key, None, None)
        else:
            item = self.cache.get("n", key)
            found = None if item is None else item.value
        assert found in (known, None)

    @rule(key=KEYS, value=VALUES)
    def set(self, key: bytes, value: bytes) -> None:
        self.cache.set("n", key, Item(value), HOUR)
        self.model[key] = value

    @rule(key=KEYS, values=st.lists(VALUES, min_size=1, max_size=4), keep=st.integers(0, 4), front=st.booleans())
    def extend(self, key: bytes, values: list[bytes], keep: int, front: bool) -> None:
        known = self.model.get(key)
        if not isinstance(known, list):
            self.cache.delete("n", key)
            known = []
        there = self.cache.fetch("n", key, None, None) or []
        assert there in (known, [])
        joined = [*values, *there] if front else [*there, *values]
        if keep:
            joined = joined[:keep] if front else joined[-keep:]
        assert self.cache.extend("n", key, values, HOUR, False, keep, front=front) == len(joined)
        self.model[key] = joined

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.cache.delete("n", key)
        self.model.pop(key, None)

    @rule(key=KEYS, front=st.booleans())
    def pop(self, key: bytes, front: bool) -> None:
        known = self.model.get(key)
        if isinstance(known, list):
            popped = self.cache.pop("n", key, front=front)
            if popped is not None:
                assert popped.value == known.pop(0 if front else -1)

    @invariant()
    def size_is_what_is_kept_and_within_bounds(self) -> None:
        entries = self.cache._entries
        assert entries.size == sum(entry.size for entry in entries) <= entries.capacity
        assert entries._protected_size == sum(entry.size for entry in entries._protected.values())
        for kept in (*entries._probation.items(), *entries._protected.items()):
            (_, key), entry = kept
            parts = entry.elements if isinstance(entry, ListEntry) else None
            content = len(entry.item.value) if parts is None else sum(len(part) + ELEMENT_BYTES for part in parts)
            assert entry.size == ENTRY_BYTES + len(key) + content


TestBoundedCache = BoundedMachine.TestCase
TestBoundedCache.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
