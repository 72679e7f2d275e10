"""What a failed guest is told of: wasmtime's trap codes and the glue's reasons, as the errors of `guesthouse.errors`."""

from __future__ import annotations

from guesthouse._native.api import (
    REASON_CANCELLED,
    REASON_DEADLINE,
    REASON_MAY_LEAVE,
    REASON_REALLOC,
    GuestPointer,
)
from guesthouse.errors import Cancelled, DeadlineExceeded, FuelExhausted, GuesthouseError, HostError, Trap
from guesthouse.limits import PAGE, Limits

TRAP_WORDS = {
    0: ("stack-overflow", "the stack overflowed (guests linked with -zstack-size may need a larger one)"),
    1: ("memory-out-of-bounds", "memory was accessed out of bounds"),
    2: ("heap-misaligned", "an atomic access was not aligned"),
    3: ("table-out-of-bounds", "a table was accessed out of bounds"),
    4: ("indirect-call-to-null", "an uninitialized table element was called"),
    5: ("bad-signature", "a function was called with another signature than its own"),
    6: ("integer-overflow", "an integer operation overflowed"),
    7: ("division-by-zero", "an integer was divided by zero"),
    8: ("bad-conversion", "a float does not fit the integer it was converted to"),
    9: ("unreachable", "the guest gave up (unreachable: a panic or an abort)"),
}
"""wasmtime's trap codes: a short stable word and a sentence."""
OUT_OF_FUEL = 11
ALMOST_FULL = 16
"""A memory within a sixteenth of its limit is said to be probably the reason of a trap."""


def trap_of(fields: GuestPointer, message: str, limits: Limits) -> GuesthouseError:
    """The error for a guest that failed, from what the glue left in its fields."""
    if fields.reason == REASON_CANCELLED:
        return Cancelled()
    if fields.reason == REASON_DEADLINE:
        return DeadlineExceeded(f"the deadline of {limits.deadline_ms} ms passed")
    if fields.reason in (REASON_REALLOC, REASON_MAY_LEAVE):
        return Trap(_cause(message), "realloc" if fields.reason == REASON_REALLOC else "may-leave")
    if fields.trap_code == OUT_OF_FUEL:
        return FuelExhausted(f"all {limits.fuel} units of fuel were used")
    word, sentence = TRAP_WORDS.get(fields.trap_code, ("trap", ""))
    full = fields.peak_memory >= limits.memory_bytes - max(PAGE, limits.memory_bytes // ALMOST_FULL)
    hint = f"; its memory is at the limit of {limits.memory_bytes} bytes: probably out of memory" if full else ""
    return Trap(f"{sentence or _cause(message)}{hint}\n{message}".strip(), "out-of-memory" if full else word)


def host_error(interface: str, function: str, error: BaseException) -> GuesthouseError:
    """What a guest ends with whose host function raised: that, or a `HostError` in its place."""
    if isinstance(error, GuesthouseError):
        return error
    failure = HostError(f"the host function {interface} {function!r} raised {type(error).__name__}")
    failure.__cause__ = error
    return failure


def _cause(message: str) -> str:
    """The last line of the library's message, which is the cause below the backtrace."""
    return message.strip().rsplit("\n", 1)[-1].strip()
