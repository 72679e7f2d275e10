"""When a conditional set stores: the table of every condition, over values and over hashes.

A condition is the WIT case and its operand.  `not-equal` also holds for an absent key, as the clients and the service's
reference say, though the interface text reads otherwise.  A list counts as present, and as different from any value.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final, NamedTuple, TypeAlias

Condition: TypeAlias = "tuple[str, bytes | None]"

LARGE: Final = 64 * 1024
"""From this size on a value is hashed beside the loop, and answered as a buffer, which a guest may pass on uncopied."""


class Stores(NamedTuple):
    """Whether a condition lets a new value be stored, in each situation."""

    absent: bool
    equal: bool
    different: bool


_PRESENT_AND_EQUAL, _ABSENT_OR_EQUAL = Stores(False, True, False), Stores(True, True, False)
_PRESENT_AND_DIFFERENT, _ABSENT_OR_DIFFERENT = Stores(False, False, True), Stores(True, False, True)

CONDITIONS: Final[dict[str, Stores]] = {
    "present": Stores(False, True, True),
    "present-and-not-equal": _PRESENT_AND_DIFFERENT,
    "absent": Stores(True, False, False),
    "equal": _PRESENT_AND_EQUAL,
    "absent-or-equal": _ABSENT_OR_EQUAL,
    "not-equal": _ABSENT_OR_DIFFERENT,
    "present-and-not-hash-equal": _PRESENT_AND_DIFFERENT,
    "present-and-hash-equal": _PRESENT_AND_EQUAL,
    "absent-or-hash-equal": _ABSENT_OR_EQUAL,
    "absent-or-not-hash-equal": _ABSENT_OR_DIFFERENT,
    "unconditional": Stores(True, True, True),
}
HASHED: Final = frozenset(case for case in CONDITIONS if "hash" in case)
"""Conditions whose operand is a hash."""


class Item:
    """A value in the cache, with its hash for those who ask for it."""

    __slots__ = ("_hash", "value")

    def __init__(self, value: bytes, hash: bytes | None = None) -> None:
        self.value = value
        self._hash = hash

    @property
    def hash(self) -> bytes:
        """SHA-256 of the value: opaque to guests, computed once."""
        if self._hash is None:
            self._hash = hashlib.sha256(self.value).digest()
        return self._hash

    @property
    def at_hand(self) -> bool:
        """Whether asking for the hash takes no time to speak of; otherwise `hashed` should come first."""
        return self._hash is not None or len(self.value) < LARGE

    async def hashed(self) -> bytes:
        """The hash, computed beside the loop where that takes long."""
        if not self.at_hand:
            self._hash = await asyncio.to_thread(lambda: hashlib.sha256(self.value).digest())
        return self.hash


def holds(condition: Condition, item: Item | None) -> bool:
    """Whether `condition` lets a new value replace `item` (`None`: the key is absent)."""
    case, operand = condition
    stores = CONDITIONS[case]
    if item is None:
        return stores.absent
    if operand is None:
        return stores.equal
    return stores.equal if (item.hash if case in HASHED else item.value) == operand else stores.different


async def compared(condition: Condition) -> bytes:
    """The hash that the stored value's is compared with, for backends that keep it beside each value."""
    case, operand = condition
    if operand is None:
        return b""
    return operand if case in HASHED else await Item(operand).hashed()
