"""`Plan`: what one call has to write into a guest, as flat bytes that C can carry out without Python.

Lowering needs memory from the guest's `cabi_realloc`, and Python may not run while a guest does.  So lowering only
records: every allocation that the canonical ABI would ask for, in its order (a parent before its children, fields and
elements from left to right), the bytes of each, and where its address has to be written.

| part | content |
|---|---|
| `blocks` | `<IIIII` for each block: align, size, where its bytes begin in `blob`, parent block, offset in the parent |
| `blob` | the bytes of all blocks; padding, and addresses that are still to be written, are zero |

Block 0 is the root, for which nothing is allocated: either the result's place in memory (parent `ROOT_IN_MEMORY`, the
last field the address that the guest gave) or the flat core values (parent `ROOT_FLAT`, 8 bytes each, i32 and f32 in
the low 4 bytes, the rest zero).  A plan that is only flat core values has no blocks at all.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import NamedTuple

if sys.byteorder != "little" or array("I").itemsize != 4:  # pragma: no cover
    raise ImportError("guesthouse needs a little-endian machine with 32-bit ints, as plans are raw words")

ROOT_IN_MEMORY = 0xFFFF_FFFF
"""Parent of a root that lies at an address the guest gave."""
ROOT_FLAT = 0xFFFF_FFFE
"""Parent of a root that is the flat core values."""
BLOCK = struct.Struct("<IIIII")


class Plan(NamedTuple):
    """The blocks to allocate and the bytes to write, see the module."""

    blocks: bytes
    blob: bytes

    @property
    def flat(self) -> tuple[int, ...]:
        """The flat core values of a plan whose root is flat, as unsigned 64-bit cells; addresses are still 0."""
        size = BLOCK.unpack_from(self.blocks)[1] if self.blocks else len(self.blob)
        return struct.unpack_from(f"<{size // 8}Q", self.blob)


EMPTY_PLAN = Plan(b"", b"")
"""The plan of a function without a result: nothing to write."""


def words(numbers: list[int]) -> bytes:
    """Unsigned 32-bit numbers as little-endian bytes; raises `OverflowError` for one that does not fit."""
    return array("I", numbers).tobytes()
