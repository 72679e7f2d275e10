"""`MemoryCache`: the cache of one process, in its memory; `CacheBackend`: what any other would have to do.

Promises: a value past its time is never seen again, whether or not anything swept; memory stays under `capacity`, by
forgetting what was used least recently; namespaces never see each other's keys.  Must not know WIT or who asks.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from guesthouse.interfaces.cache.conditions import Condition, Item, holds

if TYPE_CHECKING:
    from guesthouse.clock import Clock

ENTRY_BYTES = 400
"""What an entry costs beside its key and value: objects of the interpreter, the table's slot."""
DEFAULT_CAPACITY = 256 << 20


class CacheBackend(Protocol):
    """A place for cached items; every method answers at once and is one atomic step."""

    def get(self, namespace: str, key: bytes) -> Item | None:
        """The item, unless it expired or was forgotten."""

    def set(self, namespace: str, key: bytes, item: Item, ttl_ms: int, condition: Condition | None = None) -> bool:
        """Stores `item` for `ttl_ms` milliseconds if `condition` holds; whether it did."""

    def delete(self, namespace: str, key: bytes) -> None:
        """Forgets the item, if there is one."""


class MemoryCache:
    """Items in memory, at most `capacity` bytes of them, counting keys, values and `ENTRY_BYTES` each."""

    def __init__(self, clock: Clock, capacity: int = DEFAULT_CAPACITY) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, bytes], tuple[Item, int]] = OrderedDict()
        self.capacity = capacity
        self.size = 0
        """Bytes in use, by the same count."""
        self.evicted = 0
        """Items forgotten early for lack of room, ever."""

    def __len__(self) -> int:
        """How many items are kept, expired ones that nobody asked for included."""
        return len(self._entries)

    def get(self, namespace: str, key: bytes) -> Item | None:
        name = (namespace, key)
        entry = self._entries.get(name)
        if entry is None:
            return None
        if entry[1] <= self._clock.monotonic_ns():
            self._remove(name)
            return None
        self._entries.move_to_end(name)
        return entry[0]

    def set(self, namespace: str, key: bytes, item: Item, ttl_ms: int, condition: Condition | None = None) -> bool:
        if condition is not None and not holds(condition, self.get(namespace, key)):
            return False
        name = (namespace, key)
        self._remove(name)
        self._entries[name] = (item, self._clock.monotonic_ns() + ttl_ms * 1_000_000)
        self.size += _size(name, item)
        while self.size > self.capacity:
            self._remove(next(iter(self._entries)))
            self.evicted += 1
        return True

    def delete(self, namespace: str, key: bytes) -> None:
        self._remove((namespace, key))

    def _remove(self, name: tuple[str, bytes]) -> None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self.size -= _size(name, entry[0])


def _size(name: tuple[str, bytes], item: Item) -> int:
    return len(name[1]) + len(item.value) + ENTRY_BYTES
