"""`MemoryCache`: the cache of one process, in its memory.

Promises: every call answers at once (but those that need the hash of a large value which nobody has asked for yet); a
value past its time is never seen again, whether or not anything swept; memory stays under `capacity`, by forgetting
what is used least; namespaces never see each other's keys.  Must not know WIT or who asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from guesthouse.interfaces.cache.backend import (
    ELEMENT_BYTES,
    ENTRY_BYTES,
    Counts,
    Later,
    Popped,
    Range,
    WrongKind,
    bounds,
    check_list,
    kept,
    merged,
    settled,
)
from guesthouse.interfaces.cache.conditions import CONDITIONS, HASHED, Condition, Item, holds
from guesthouse.interfaces.cache.segments import Segments
from guesthouse.limits import CacheLimits

if TYPE_CHECKING:
    from guesthouse.clock import Clock

DEFAULT_CAPACITY = 256 << 20
Name: TypeAlias = tuple[str, bytes]


class ValueEntry:
    """A value, until when, and what it costs."""

    __slots__ = ("expires_ns", "item", "size")

    def __init__(self, item: Item, expires_ns: int, size: int) -> None:
        self.item = item
        self.expires_ns = expires_ns
        self.size = size


class ListEntry:
    """The elements of a list, until when, and what it costs."""

    __slots__ = ("elements", "expires_ns", "size")

    def __init__(self, elements: deque[bytes], expires_ns: int, size: int) -> None:
        self.elements = elements
        self.expires_ns = expires_ns
        self.size = size


class MemoryCache:
    """Items in memory, at most `capacity` bytes of them by their own count: contents, keys, and a share for each."""

    transactional = False
    lasting = False

    def __init__(self, clock: Clock, capacity: int = DEFAULT_CAPACITY, limits: CacheLimits | None = None) -> None:
        self._now = clock.monotonic_ns
        self.limits = limits or CacheLimits()
        self._entries: Segments[Name, ValueEntry | ListEntry] = Segments(capacity)
        self._counts = Counts()

    @property
    def counts(self) -> Counts:
        """What happened so far; items that have expired, but that nobody asked for since, are counted as entries."""
        counts, entries = self._counts, self._entries
        counts.evicted, counts.entries, counts.size = entries.evicted, len(entries), entries.size
        return counts

    def get(self, namespace: str, key: bytes) -> Item | None:
        entry = self._entries.use((namespace, key))
        if entry is None or entry.expires_ns <= self._now():
            self._counts.misses += 1
            if entry is not None:
                self._entries.remove((namespace, key))
            return None
        if type(entry) is not ValueEntry:
            raise WrongKind("the key holds a list")
        self._counts.hits += 1
        return entry.item

    def set(
        self, namespace: str, key: bytes, item: Item, ttl_ms: int, condition: Condition | None = None
    ) -> Later[bool]:
        name = (namespace, key)
        now = self._now()
        if condition is not None:
            entry = self._entries.peek(name)
            if entry is not None and entry.expires_ns <= now:
                entry = None
            if isinstance(entry, ListEntry):
                stores = CONDITIONS[condition[0]].different
            elif entry is not None and condition[0] in HASHED and not entry.item.at_hand:
                return self._set_hashed(entry.item, namespace, key, item, ttl_ms, condition)
            else:
                stores = holds(condition, None if entry is None else entry.item)
            if not stores:
                return False
        size = len(key) + len(item.value) + ENTRY_BYTES
        self._entries.put(name, ValueEntry(item, now + ttl_ms * 1_000_000, size))
        return True

    def delete(self, namespace: str, key: bytes) -> None:
        self._entries.remove((namespace, key))

    def extend(
        self, namespace: str, key: bytes, values: Sequence[bytes], ttl_ms: int, refresh: bool, keep: int, *, front: bool
    ) -> int:
        name = (namespace, key)
        entry = found = self._list(name)
        if keep and len(values) > keep:
            values = values[:keep] if front else values[-keep:]
        if entry is None:
            if not values:
                return 0
            entry = ListEntry(deque(), 0, len(key) + ENTRY_BYTES)
        elements = entry.elements
        length = len(elements) + len(values)
        dropped = length - keep if keep and length > keep else 0
        size = entry.size + _cost(values)
        if dropped:
            length = keep
            size -= _cost_of_end(elements, dropped, front)
        check_list(length, size - len(key) - ENTRY_BYTES - length * ELEMENT_BYTES, self.limits)
        if dropped:
            drop = elements.pop if front else elements.popleft
            for _ in range(dropped):
                drop()
        if front:
            elements.extendleft(reversed(values))
        else:
            elements.extend(values)
        if refresh or found is None:
            entry.expires_ns = self._now() + ttl_ms * 1_000_000
        if found is None:
            entry.size = size
            self._entries.put(name, entry)
        else:
            self._entries.resize(name, entry, size)
        return length

    def pop(self, namespace: str, key: bytes, *, front: bool) -> Popped | None:
        name = (namespace, key)
        entry = self._read(name)
        if entry is None:
            return None
        value = entry.elements.popleft() if front else entry.elements.pop()
        self._changed(name, entry, entry.size - len(value) - ELEMENT_BYTES)
        return Popped(value, len(entry.elements))

    def erase(self, namespace: str, key: bytes, ranges: Sequence[Range] | None) -> int | None:
        name = (namespace, key)
        entry = self._list(name)
        if entry is None:
            return None
        if ranges is None:
            self._entries.remove(name)
            return 0
        elements = list(entry.elements)
        pieces = [elements[begin:end] for begin, end in kept(merged(ranges), len(elements))]
        return self._replace(name, entry, [element for piece in pieces for element in piece])

    def remove(self, namespace: str, key: bytes, value: bytes) -> int | None:
        name = (namespace, key)
        entry = self._list(name)
        if entry is None:
            return None
        return self._replace(name, entry, [element for element in entry.elements if element != value])

    def fetch(self, namespace: str, key: bytes, start: int | None, end: int | None) -> list[bytes] | None:
        entry = self._read((namespace, key))
        return None if entry is None else list(islice(entry.elements, *bounds(start, end, len(entry.elements))))

    def length(self, namespace: str, key: bytes) -> int | None:
        entry = self._read((namespace, key))
        return None if entry is None else len(entry.elements)

    def retain(
        self, namespace: str, key: bytes, start: int | None, end: int | None, ttl_ms: int, refresh: bool
    ) -> int | None:
        name = (namespace, key)
        entry = self._list(name)
        if entry is None:
            return None
        if refresh:
            entry.expires_ns = self._now() + ttl_ms * 1_000_000
        return self._replace(name, entry, list(islice(entry.elements, *bounds(start, end, len(entry.elements)))))

    async def close(self) -> None:
        self._entries = Segments(self._entries.capacity)

    async def _set_hashed(
        self, found: Item, namespace: str, key: bytes, item: Item, ttl_ms: int, condition: Condition
    ) -> bool:
        """Hashes the large value that is there, and then looks again."""
        await found.hashed()
        return await settled(self.set(namespace, key, item, ttl_ms, condition))

    def _list(self, name: Name) -> ListEntry | None:
        """The entry of a list; raises `WrongKind` for a value."""
        entry = self._entries.use(name)
        if entry is None:
            return None
        if entry.expires_ns <= self._now():
            self._entries.remove(name)
            return None
        if type(entry) is not ListEntry:
            raise WrongKind("the key holds a value, not a list")
        return entry

    def _read(self, name: Name) -> ListEntry | None:
        """As `_list`, for calls that count as reading."""
        entry = self._list(name)
        self._counts.seen(entry is not None)
        return entry

    def _replace(self, name: Name, entry: ListEntry, elements: list[bytes]) -> int:
        entry.elements = deque(elements)
        self._changed(name, entry, len(name[1]) + ENTRY_BYTES + _cost(elements))
        return len(elements)

    def _changed(self, name: Name, entry: ListEntry, size: int) -> None:
        """Notes a list's new size; an empty one disappears."""
        if entry.elements:
            self._entries.resize(name, entry, size)
        else:
            self._entries.remove(name)


def _cost(elements: Sequence[bytes]) -> int:
    if len(elements) == 1:  # a push
        return len(elements[0]) + ELEMENT_BYTES
    return sum(map(len, elements)) + len(elements) * ELEMENT_BYTES


def _cost_of_end(elements: deque[bytes], count: int, last: bool) -> int:
    """What so many elements at one end cost."""
    if count == 1:
        return len(elements[-1 if last else 0]) + ELEMENT_BYTES
    return sum(map(len, islice(reversed(elements) if last else elements, count))) + count * ELEMENT_BYTES
