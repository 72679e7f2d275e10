"""A guest made of a bytearray: carries out plans as the C glue does, with a bump allocator for a `cabi_realloc`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from guesthouse.engine.canonical import Plan, ResourceTable
from guesthouse.engine.plan import BLOCK, ROOT_FLAT, ROOT_IN_MEMORY

ROOMY = 1 << 40


@dataclass
class Context:
    """A `LiftContext` of nothing but its fields."""

    memory: bytes
    resources: ResourceTable
    lift_budget: int


class FakeGuest:
    """Memory that begins with `start` bytes which nobody allocates, so that results have a place."""

    def __init__(self, size: int = 1 << 16, start: int = 1024, budget: int = ROOMY) -> None:
        self.bytes = bytearray(size)
        self.top = start
        self.budget = budget
        self.resources = ResourceTable(64)
        self.calls: list[tuple[int, int]] = []

    def realloc(self, align: int, size: int) -> int:
        """The next free address; records (align, size)."""
        self.calls.append((align, size))
        address = (self.top + align - 1) & -align
        self.top = address + size
        assert self.top <= len(self.bytes)
        return address

    def apply(self, plan: Plan) -> list[int]:
        """Carries a plan out; returns the 8-byte cells of a flat root, nothing for one in memory."""
        if not plan.blocks:
            return list(struct.unpack(f"<{len(plan.blob) // 8}Q", plan.blob))
        flat = bytearray()
        homes: list[tuple[bytearray, int]] = []
        for number, (align, size, begin, parent, offset) in enumerate(BLOCK.iter_unpack(plan.blocks)):
            assert begin + size <= len(plan.blob)
            if number == 0:
                assert parent in (ROOT_FLAT, ROOT_IN_MEMORY)
                flat = bytearray(size if parent == ROOT_FLAT else 0)
                homes.append((flat, 0) if parent == ROOT_FLAT else (self.bytes, offset))
                assert homes[0][1] % align == 0
            else:
                assert parent < number
                homes.append((self.bytes, self.realloc(align, size)))
                home, base = homes[parent]
                struct.pack_into("<I", home, base + offset, homes[number][1])
            home, base = homes[number]
            home[base : base + size] = plan.blob[begin : begin + size]
        return list(struct.unpack(f"<{len(flat) // 8}Q", flat))

    @property
    def context(self) -> Context:
        """What to lift with: the memory as it is now."""
        return Context(bytes(self.bytes), self.resources, self.budget)


def core_values(cells: Sequence[int], letters: str) -> list[int | float]:
    """Cells as the core values of these types: unsigned ints and floats."""
    assert len(cells) == len(letters)
    codes = {"i": "<I4x", "I": "<Q", "f": "<f4x", "F": "<d"}
    pairs = zip(cells, letters, strict=True)
    return [struct.unpack(codes[letter], struct.pack("<Q", cell))[0] for cell, letter in pairs]
