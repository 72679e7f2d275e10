"""`Segments`: entries under a bound of bytes, of which the least useful go first: a segmented LRU.

A new entry is on probation, and protected once it was used again; eviction takes the least recently used of those on
probation.  So a flood of keys that nobody asks for twice, by one function, does not push out what the others use.
Knows nothing of time or of what entries hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, Protocol, TypeVar

PROTECTED_SHARE: Final = 0.8
"""Of the capacity: what is over goes back on probation, so that new entries always have some room."""


class Sized(Protocol):
    """What can be kept."""

    size: int
    """Bytes that it is taken to cost; to be changed by `Segments.resize` alone."""


Name = TypeVar("Name", bound=Hashable)
Entry = TypeVar("Entry", bound=Sized)


class Segments(Generic[Name, Entry]):
    """At most `capacity` bytes of entries by their names."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        """Bytes in use."""
        self.evicted = 0
        """Entries given up for lack of room, ever."""
        self._probation: OrderedDict[Name, Entry] = OrderedDict()
        self._protected: OrderedDict[Name, Entry] = OrderedDict()
        self._protected_size = 0
        self._most_protected = int(capacity * PROTECTED_SHARE)

    def __len__(self) -> int:
        return len(self._probation) + len(self._protected)

    def __iter__(self) -> Iterator[Entry]:
        yield from self._probation.values()
        yield from self._protected.values()

    def use(self, name: Name) -> Entry | None:
        """The entry, which counts as used by that."""
        entry = self._protected.get(name)
        if entry is not None:
            self._protected.move_to_end(name)
            return entry
        entry = self._probation.get(name)
        if entry is not None:
            self._promote(name, entry)
        return entry

    def peek(self, name: Name) -> Entry | None:
        """The entry, without using it."""
        return self._protected.get(name) or self._probation.get(name)

    def put(self, name: Name, entry: Entry) -> None:
        """Keeps a new entry, in the place of an older one of the name; others may have to go, in the end this one."""
        old = self._protected.get(name)
        if old is not None:
            self._protected[name] = entry
            self._protected.move_to_end(name)
            self._protected_size += entry.size - old.size
        else:
            old = self._probation.get(name)
            self._probation[name] = entry
            if old is not None:
                self._probation.move_to_end(name)
        self.size += entry.size - (0 if old is None else old.size)
        if self.size > self.capacity:
            self._evict()

    def resize(self, name: Name, entry: Entry, size: int) -> None:
        """Notes that a kept entry has become larger or smaller."""
        grown = size - entry.size
        if not grown:
            return
        entry.size = size
        self.size += grown
        if name in self._protected:
            self._protected_size += grown
        if self.size > self.capacity:
            self._evict()

    def remove(self, name: Name) -> None:
        """Forgets the entry, if there is one."""
        entry = self._protected.pop(name, None)
        if entry is not None:
            self._protected_size -= entry.size
        else:
            entry = self._probation.pop(name, None)
            if entry is None:
                return
        self.size -= entry.size

    def _promote(self, name: Name, entry: Entry) -> None:
        del self._probation[name]
        self._protected[name] = entry
        self._protected_size += entry.size
        while self._protected_size > self._most_protected:
            demoted, old = self._protected.popitem(last=False)
            self._protected_size -= old.size
            self._probation[demoted] = old

    def _evict(self) -> None:
        while self.size > self.capacity:
            name = next(iter(self._probation or self._protected))
            self.remove(name)
            self.evicted += 1
