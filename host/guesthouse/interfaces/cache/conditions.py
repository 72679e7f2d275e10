"""When a conditional set stores: the table of every condition, over values and over hashes.

A condition is the WIT case and its operand.  `not-equal` also holds for an absent key, as the clients and the service's
reference say, though the interface text reads otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeAlias

Condition: TypeAlias = "tuple[str, bytes | None]"


class Item:
    """A value in the cache, with its hash for those who ask for it."""

    __slots__ = ("_hash", "value")

    def __init__(self, value: bytes) -> None:
        self.value = value
        self._hash: bytes | None = None

    @property
    def hash(self) -> bytes:
        """SHA-256 of the value: opaque to guests, computed once."""
        if self._hash is None:
            self._hash = hashlib.sha256(self.value).digest()
        return self._hash


CONDITIONS: dict[str, Callable[[Item | None, bytes | None], bool]] = {
    "present": lambda item, operand: item is not None,
    "present-and-not-equal": lambda item, operand: item is not None and item.value != operand,
    "absent": lambda item, operand: item is None,
    "equal": lambda item, operand: item is not None and item.value == operand,
    "absent-or-equal": lambda item, operand: item is None or item.value == operand,
    "not-equal": lambda item, operand: item is None or item.value != operand,
    "present-and-not-hash-equal": lambda item, operand: item is not None and item.hash != operand,
    "present-and-hash-equal": lambda item, operand: item is not None and item.hash == operand,
    "absent-or-hash-equal": lambda item, operand: item is None or item.hash == operand,
    "absent-or-not-hash-equal": lambda item, operand: item is None or item.hash != operand,
    "unconditional": lambda item, operand: True,
}


def holds(condition: Condition, item: Item | None) -> bool:
    """Whether `condition` lets a new value replace `item` (`None`: the key is absent)."""
    case, operand = condition
    return CONDITIONS[case](item, operand)
