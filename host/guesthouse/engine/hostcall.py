"""`HostCall`: one function that the host answers, as the linker and the journal need to know it."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Effect(enum.Enum):
    """What a host call does to the world: what the journal, the grants and the metrics need to know of it."""

    NONE = "none"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class HostCall:
    """One function that an interface of the host answers.

    `core` is `None` for functions with a WIT type.  Otherwise it is the core signature of a function that is imported
    without one (WASI preview 1), written `iiI:i` (i = i32, I = i64, f = f32, F = f64, results after the colon), and the
    method gets `(invocation, guest, *core_values)` with `guest.read(pointer, length) -> bytes` and
    `guest.write(pointer, data)`, both of which trap out of bounds; it returns the core result.
    """

    interface: str
    """Full id: `momento:cache-scalar/cache-scalar@1.0.0`."""
    function: str
    """The name that core modules use: `get`, `[method]buffer.read`."""
    effect: Effect
    blocking: bool
    core: str | None
    method: Callable[..., Any]
    owner: str
    """The host interface's word for grants and metrics: `cache`."""
    ambient: bool
    """True where every guest may call it without a grant."""
    local: bool
    """True where it touches nothing but its invocation: it may then run in any thread, and not only on the loop's."""


async def in_thread(method: Callable[..., Any], *args: Any) -> Any:
    """Calls a function that blocks; what it raises comes back as a value, for a future cannot carry every exception."""

    def work() -> tuple[Any, BaseException | None]:
        try:
            return method(*args), None
        except BaseException as error:
            return None, error

    result, error = await asyncio.to_thread(work)
    if error is not None:
        raise error
    return result
