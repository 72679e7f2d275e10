"""`KeyedMemory`: state of keys, for functions that are not durable: in memory, and lost with the process.

Promises: no more than `MOST_BYTES` in all; what is over is refused and nobody's state is dropped for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from guesthouse.limits import MiB
from guesthouse.queue.queue import StateFull

MOST_BYTES: Final = 64 * MiB
"""Of all keys of all functions, names included: as long as the process lives, nobody else gives it back."""
ENTRY_BYTES: Final = 256
"""What a value is taken to cost besides its bytes."""

Place = tuple[str, str, str]
"""Namespace and name of the function, and the key."""


class KeyedMemory:
    """That of one host."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._values: dict[Place, dict[str, bytes]] = {}
        self.size = 0
        """Bytes that all of it is taken to cost."""

    def get(self, place: Place, name: str) -> bytes | None:
        """A value."""
        return self._values.get(place, {}).get(name)

    def set(self, place: Place, name: str, value: bytes) -> None:
        """Sets one.  Raises `StateFull`."""
        values = self._values.get(place, {})
        older = values.get(name)
        grown = _cost(place, name, value) - (0 if older is None else _cost(place, name, older))
        if self.size + grown > self._most_bytes:
            raise StateFull(f"the state that is kept in memory is at its bound of {self._most_bytes} bytes")
        values[name] = value
        self._values[place] = values
        self.size += grown

    def clear(self, place: Place, name: str | None) -> None:
        """Forgets one, or all of a key."""
        values = self._values.get(place, {})
        for each in list(values) if name is None else [name]:
            value = values.pop(each, None)
            if value is not None:
                self.size -= _cost(place, each, value)
        if not values:
            self._values.pop(place, None)

    def names(self, place: Place) -> Sequence[str]:
        """Of a key's values, in their order."""
        return sorted(self._values.get(place, ()))


def _cost(place: Place, name: str, value: bytes) -> int:
    return ENTRY_BYTES + sum(map(len, place)) + len(name) + len(value)
