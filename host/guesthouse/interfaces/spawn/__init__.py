"""`SpawnInterface`: a guest starts another function and goes on at once.

Promises: everything that stands in the way of a start is a value for the guest, never a trap.  Must not know how
functions are found or run: that is the `Spawner`'s, which also bounds depth and fan-out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import AdmissionFull, BodyTooLarge, Draining, GuesthouseError, NotFound, Unavailable
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Data, collect, discard
from guesthouse.interfaces.patterns import check_pattern, is_granted

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

SPAWN = "momento:spawn/spawn@1.0.0"
SPAWN_V1 = "momento:host/spawn@1.0.0"

Spawned: TypeAlias = "Ok[None] | Err[tuple[str, str | None]]"


class SpawnLimit(Unavailable):
    """A bound on spawning was reached: depth, fan-out, queue; the text names it and is the guest's to read."""


class Spawner(Protocol):
    """Whoever starts functions."""

    async def spawn(self, parent: Invocation, name: str, payload: bytes) -> None:
        """Accepts a run of `name`, a spawn function in the parent's namespace, and returns before it has begun.

        Raises `NotFound` where there is no such function or it is no spawn function, `SpawnLimit` at a bound (also
        `AdmissionFull`, `Draining`, `BodyTooLarge`), any other `Unavailable` where the start failed.
        """


class SpawnInterface(Interface):
    """`spawn` of both generations.  A grant may name functions: `spawn:fill` or `spawn:job-*`."""

    name = "spawn"
    transactional = True  # an accepted run is a row

    def __init__(self, spawner: Spawner) -> None:
        self._spawner = spawner

    def check_grant(self, pattern: str) -> None:
        """A function's name, or the beginning of one and a star."""
        check_pattern(self.name, pattern)

    @host_call(SPAWN, "spawn-function", Effect.WRITE)
    @host_call(SPAWN_V1, "spawn-function", Effect.WRITE)
    async def spawn_function(self, invocation: Invocation, name: str, data: Data) -> Spawned:
        """Starts the spawn function `name` with `data` as its payload; what was not granted is not found."""
        if not is_granted(invocation, self.name, name):
            discard(data)
            return Err(("function-not-found", None))
        try:
            payload = await collect(data, invocation.limits.request_bytes)
        except BodyTooLarge as error:
            return Err(("limit", str(error)))
        except GuesthouseError:
            return Err(("internal-error", None))
        try:
            await self._spawner.spawn(invocation, name, payload)
        except NotFound:
            return Err(("function-not-found", None))
        except (SpawnLimit, AdmissionFull, Draining, BodyTooLarge) as error:
            return Err(("limit", str(error)))
        except Unavailable:
            return Err(("internal-error", None))
        return Ok()
