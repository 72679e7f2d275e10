"""`wasi:random`: every generator here, insecure ones included, is the kernel's; one call answers at most 64 KiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.wasi.state import Part

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

RANDOM = "wasi:random/random@0.2.12"
INSECURE = "wasi:random/insecure@0.2.12"
INSECURE_SEED = "wasi:random/insecure-seed@0.2.12"


class Random(Part):
    """`wasi:random/random`, `insecure` and `insecure-seed`."""

    @host_call(RANDOM, "get-random-bytes", Effect.READ)
    @host_call(INSECURE, "get-insecure-random-bytes", Effect.READ)
    def random_bytes(self, invocation: Invocation, count: int) -> bytes:
        return self._random(count)

    @host_call(RANDOM, "get-random-u64", Effect.READ)
    @host_call(INSECURE, "get-insecure-random-u64", Effect.READ)
    def random_u64(self, invocation: Invocation) -> int:
        return int.from_bytes(self._random(8), "little")

    @host_call(INSECURE_SEED, "insecure-seed", Effect.READ)
    def insecure_seed(self, invocation: Invocation) -> tuple[int, int]:
        seed = self._random(16)
        return int.from_bytes(seed[:8], "little"), int.from_bytes(seed[8:], "little")
