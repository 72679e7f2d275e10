"""`RawMemory`: a guest's memory as host functions without a WIT type see it (WASI preview 1): addresses and bytes."""

from __future__ import annotations

from typing import Any

from guesthouse.errors import Trap


class RawMemory:
    """The linear memory of one guest during one host call."""

    memory: Any = b""
    """All of it: a buffer whose slices are `bytes`; empty between host calls."""

    def read(self, pointer: int, length: int) -> bytes:
        """Guest memory; traps out of bounds."""
        if pointer + length > len(self.memory):
            raise Trap("a pointer given to the host lies outside memory", "memory-out-of-bounds")
        return bytes(self.memory[pointer : pointer + length])

    def write(self, pointer: int, data: bytes) -> None:
        """Writes guest memory; traps out of bounds."""
        if pointer + len(data) > len(self.memory):
            raise Trap("a pointer given to the host lies outside memory", "memory-out-of-bounds")
        self.memory[pointer : pointer + len(data)] = data
