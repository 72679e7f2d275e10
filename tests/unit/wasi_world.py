"""A guest's memory and one invocation of WASI on a simulated clock, for the tests of both versions of WASI."""

from __future__ import annotations

from typing import Any

from guesthouse.errors import Trap
from guesthouse.interfaces.invocation import Invocation
from guesthouse.interfaces.wasi import WasiInterface
from guesthouse.interfaces.wasi.tree import Find
from unit.interface_fakes import FakeLog, SimulatedClock, calls, invocation, now

MS = 1_000_000
SECOND = 1_000 * MS
P1 = "wasi_snapshot_preview1"


class Guest:
    """A linear memory."""

    def __init__(self, size: int = 1 << 17) -> None:
        self.memory = bytearray(size)

    def read(self, pointer: int, length: int) -> bytes:
        if pointer + length > len(self.memory):
            raise Trap("out of bounds", reason="memory-out-of-bounds")
        return bytes(self.memory[pointer : pointer + length])

    def write(self, pointer: int, data: bytes) -> None:
        if pointer + len(data) > len(self.memory):
            raise Trap("out of bounds", reason="memory-out-of-bounds")
        self.memory[pointer : pointer + len(data)] = data

    def u32(self, pointer: int) -> int:
        return int.from_bytes(self.read(pointer, 4), "little")

    def u64(self, pointer: int) -> int:
        return int.from_bytes(self.read(pointer, 8), "little")


class World:
    """One invocation with a clock that it sleeps on."""

    def __init__(self, secrets: Find | None = None, **fields: Any) -> None:
        self.clock = SimulatedClock()
        self.wasi = WasiInterface(self.clock, self.clock.sleep, secrets)
        self.calls = calls(self.wasi)
        self.run: Invocation = invocation(**fields)
        self.guest = Guest()

    def call(self, interface: str, function: str, *args: Any) -> Any:
        return now(self.plain(f"wasi:{interface}@0.2.12", function, *args))

    def plain(self, interface: str, function: str, *args: Any) -> Any:
        return self.calls[interface, function].method(self.run, *args)

    def p1(self, function: str, *args: int) -> int:
        answer = now(self.plain(P1, function, self.guest, *args))
        assert isinstance(answer, int)
        return answer

    @property
    def log(self) -> FakeLog:
        assert isinstance(self.run.log, FakeLog)
        return self.run.log
