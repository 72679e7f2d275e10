"""`CacheInterface`: the scalar cache of both generations over a `CacheBackend`.

Promises: a miss is a value and never an error; every argument that cannot be used is an error and never a trap; the
namespace is the function's own.  Must not know where items are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Effect, Interface, host_call
from guesthouse.interfaces.bytes import Buffer, Data, StreamFailed, collect, discard, peek
from guesthouse.interfaces.cache.conditions import Item

if TYPE_CHECKING:
    from guesthouse.interfaces.cache.memory import CacheBackend
    from guesthouse.interfaces.invocation import Invocation

CACHE = "momento:cache-scalar/cache-scalar@1.0.0"
CACHE_V1 = "momento:functions/cache-scalar@1.0.0"
MOST_ITEM_BYTES = 5_000_000
MOST_TTL_MS = 24 * 3_600_000
BUFFERED_FROM = 64 * 1024
"""From this size on a value is answered as a buffer: a guest that only passes it on never copies it."""

CacheError: TypeAlias = "tuple[str, str | None]"
WitCondition: TypeAlias = "tuple[str, Data | None]"
MISS: Ok[None] = Ok(None)
DONE: Ok[None] = Ok()


class Found(NamedTuple):
    """WIT `get-with-hash-found`."""

    value: Data
    hash: Data


class CacheInterface(Interface):
    """`cache-scalar`: get, set, conditional set and delete of bytes in the function's own namespace.

    Items (key and value) over `most_item_bytes` answer `limit-exceeded`; a time to live of zero answers
    `invalid-argument`, one over `most_ttl_ms` milliseconds is shortened to that.  Each operation is one atomic step.
    """

    name = "cache"

    def __init__(
        self, backend: CacheBackend, *, most_item_bytes: int = MOST_ITEM_BYTES, most_ttl_ms: int = MOST_TTL_MS
    ) -> None:
        self._backend = backend
        self._most_item_bytes = most_item_bytes
        self._most_ttl_ms = most_ttl_ms

    @host_call(CACHE, "get", Effect.READ)
    @host_call(CACHE_V1, "get", Effect.READ)
    def get(self, invocation: Invocation, key: Data) -> Any:
        """The value, or none."""
        name = peek(key)
        if name is None:
            return self._when_there(self.get, invocation, key)
        item = self._backend.get(invocation.deployment.namespace, name)
        return MISS if item is None else Ok(_answer(key, item.value))

    @host_call(CACHE, "get-with-hash", Effect.READ)
    @host_call(CACHE_V1, "get-with-hash", Effect.READ)
    def get_with_hash(self, invocation: Invocation, key: Data) -> Any:
        """The value and its hash, or that it is missing."""
        name = peek(key)
        if name is None:
            return self._when_there(self.get_with_hash, invocation, key)
        item = self._backend.get(invocation.deployment.namespace, name)
        if item is None:
            return Ok(("missing", None))
        return Ok(("found", Found(_answer(key, item.value), _answer(key, item.hash))))

    @host_call(CACHE, "set", Effect.WRITE)
    @host_call(CACHE_V1, "set", Effect.WRITE)
    def set(self, invocation: Invocation, key: Data, value: Data, ttl_ms: int) -> Any:
        """Stores the value, whatever was there."""
        name, content = peek(key), peek(value)
        if name is None or content is None:
            return self._when_there(self.set, invocation, key, value, ttl_ms)
        refused = self._check(name, content, ttl_ms)
        if refused is not None:
            return refused
        self._backend.set(invocation.deployment.namespace, name, Item(content), min(ttl_ms, self._most_ttl_ms))
        return DONE

    @host_call(CACHE, "set-if", Effect.WRITE)
    @host_call(CACHE_V1, "set-if", Effect.WRITE)
    def set_if(self, invocation: Invocation, key: Data, value: Data, ttl_ms: int, condition: WitCondition) -> Any:
        """Stores the value if what is there fulfils the condition; says whether it did."""
        return self._set_if(self.set_if, False, invocation, key, value, ttl_ms, condition)

    @host_call(CACHE, "set-if-hash", Effect.WRITE)
    @host_call(CACHE_V1, "set-if-hash", Effect.WRITE)
    def set_if_hash(self, invocation: Invocation, key: Data, value: Data, ttl_ms: int, condition: WitCondition) -> Any:
        """Stores the value if the hash of what is there fulfils the condition; answers the new value's hash."""
        return self._set_if(self.set_if_hash, True, invocation, key, value, ttl_ms, condition)

    @host_call(CACHE, "delete", Effect.WRITE)
    @host_call(CACHE_V1, "delete", Effect.WRITE)
    def delete(self, invocation: Invocation, key: Data) -> Any:
        """Forgets the key; one that is not there is fine."""
        name = peek(key)
        if name is None:
            return self._when_there(self.delete, invocation, key)
        self._backend.delete(invocation.deployment.namespace, name)
        return DONE

    def _set_if(
        self,
        method: Callable[..., Any],
        with_hash: bool,
        invocation: Invocation,
        key: Data,
        value: Data,
        ttl_ms: int,
        condition: WitCondition,
    ) -> Any:
        case, operand = condition
        name, content, compared = peek(key), peek(value), None if operand is None else peek(operand)
        if name is None or content is None or (compared is None and operand is not None):
            return self._when_there(method, invocation, key, value, ttl_ms, condition)
        refused = self._check(name, content, ttl_ms)
        if refused is not None:
            return refused
        item = Item(content)
        ttl_ms = min(ttl_ms, self._most_ttl_ms)
        if not self._backend.set(invocation.deployment.namespace, name, item, ttl_ms, (case, compared)):
            return Ok(("not-stored", None))
        return Ok(("stored", _answer(key, item.hash) if with_hash else None))

    async def _when_there(self, method: Callable[..., Any], invocation: Invocation, *arguments: Any) -> Any:
        """Calls `method` again once all bytes of its arguments have arrived."""
        try:
            ready = [await self._resident(argument) for argument in arguments]
        except BodyTooLarge:
            return self._too_large()
        except GuesthouseError as error:
            timed_out = isinstance(error, StreamFailed) and error.timed_out
            return Err(("timeout" if timed_out else "request-cancelled", None))
        finally:
            for argument in arguments:
                held = isinstance(argument, tuple) and isinstance(argument[1], tuple)  # a condition holds its operand
                discard(argument[1] if held else argument)
        return method(invocation, *ready)

    async def _resident(self, argument: Any) -> Any:
        if not isinstance(argument, tuple):
            return argument
        case, payload = argument
        if case == "buffer":
            return ("value", await collect(argument, self._most_item_bytes))
        return (case, await self._resident(payload))  # a condition, whose operand is data

    def _check(self, key: bytes, value: bytes, ttl_ms: int) -> Err[CacheError] | None:
        if ttl_ms == 0:
            return Err(("invalid-argument", "the time to live must be at least one millisecond"))
        if len(key) + len(value) > self._most_item_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> Err[CacheError]:
        return Err(("limit-exceeded", f"an item, key and value, has at most {self._most_item_bytes} bytes"))


def _answer(key: Data, value: bytes) -> Data:
    """`value` for whoever asked with `key`: plain bytes in the older generation, else `data`."""
    if not isinstance(key, tuple):
        return value
    return ("buffer", Buffer(value)) if len(value) >= BUFFERED_FROM else ("value", value)
