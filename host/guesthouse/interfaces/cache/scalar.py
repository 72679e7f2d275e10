"""`ScalarCalls`: the values of the cache, for guests of both generations."""

from __future__ import annotations

from collections.abc import Coroutine
from types import CoroutineType
from typing import Any, NamedTuple, TypeAlias

from guesthouse.engine.values import Ok
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.bytes import Buffer, Data, peek
from guesthouse.interfaces.cache.backend import Later, OverLimit, settled
from guesthouse.interfaces.cache.calls import HEAVY_BYTES, Arriving, CacheCalls, answered, in_turn
from guesthouse.interfaces.cache.conditions import LARGE, Condition, Item

SCALAR = "momento:cache-scalar/cache-scalar@1.0.0"
SCALAR_V1 = "momento:functions/cache-scalar@1.0.0"

WitCondition: TypeAlias = "tuple[str, Data | None]"
MISS: Ok[None] = Ok(None)
DONE: Ok[None] = Ok()


class Found(NamedTuple):
    """WIT `get-with-hash-found`."""

    value: Data
    hash: Data


def _value(item: Item | None, key: Data) -> Any:
    if item is None:
        return MISS
    answer = Ok(_answer(key, item.value))
    return in_turn(answer) if len(item.value) >= HEAVY_BYTES and not isinstance(key, tuple) else answer


def _with_hash(item: Item | None, key: Data) -> Any:
    if item is None:
        return Ok(("missing", None))
    return _found(item, key) if item.at_hand else _found_later(item, key)


def _found(item: Item, key: Data) -> Ok[Any]:
    return Ok(("found", Found(_answer(key, item.value), _answer(key, item.hash))))


async def _found_later(item: Item, key: Data) -> Ok[Any]:
    await item.hashed()
    return _found(item, key)


def _done(_: object, key: Data) -> Ok[None]:
    return DONE


def _stored(done: bool, key: Data) -> Ok[Any]:
    return Ok(("stored" if done else "not-stored", None))


def _stored_hash(hash: bytes | None, key: Data) -> Ok[Any]:
    return Ok(("not-stored", None) if hash is None else ("stored", _answer(key, hash)))


class ScalarCalls(CacheCalls):
    """`cache-scalar`: get, set, conditional set and delete of bytes in the function's own namespace.

    Items (key and value) over their limit answer `limit-exceeded`; a time to live of zero answers `invalid-argument`,
    one over its limit is shortened to that; a key that holds a list `failed-precondition` where its value is asked for.
    """

    @host_call(SCALAR, "get", Effect.READ)
    @host_call(SCALAR_V1, "get", Effect.READ)
    @answered(_value)
    def get(self, namespace: str, key: Data) -> Later[Item | None]:
        """The value, or none."""
        return self._backend.get(namespace, self._key(key))

    @host_call(SCALAR, "get-with-hash", Effect.READ)
    @host_call(SCALAR_V1, "get-with-hash", Effect.READ)
    @answered(_with_hash)
    def get_with_hash(self, namespace: str, key: Data) -> Later[Item | None]:
        """The value and its hash, or that it is missing."""
        return self._backend.get(namespace, self._key(key))

    @host_call(SCALAR, "set", Effect.WRITE)
    @host_call(SCALAR_V1, "set", Effect.WRITE)
    @answered(_done)
    def set(self, namespace: str, key: Data, value: Data, ttl_ms: int) -> Later[bool]:
        """Stores the value, whatever was there."""
        name, item = self._item(key, value)
        return self._backend.set(namespace, name, item, self._ttl(ttl_ms))

    @host_call(SCALAR, "set-if", Effect.WRITE)
    @host_call(SCALAR_V1, "set-if", Effect.WRITE)
    @answered(_stored)
    def set_if(self, namespace: str, key: Data, value: Data, ttl_ms: int, condition: WitCondition) -> Later[bool]:
        """Stores the value if what is there fulfils the condition; says whether it did."""
        name, item = self._item(key, value)
        return self._backend.set(namespace, name, item, self._ttl(ttl_ms), _condition(condition))

    @host_call(SCALAR, "set-if-hash", Effect.WRITE)
    @host_call(SCALAR_V1, "set-if-hash", Effect.WRITE)
    @answered(_stored_hash)
    def set_if_hash(
        self, namespace: str, key: Data, value: Data, ttl_ms: int, condition: WitCondition
    ) -> Later[bytes | None]:
        """Stores the value if the hash of what is there fulfils the condition; answers the new value's hash."""
        name, item = self._item(key, value)
        ttl_ms, wanted = self._ttl(ttl_ms), _condition(condition)
        if not item.at_hand:
            return self._set_hashed(namespace, name, item, ttl_ms, wanted)
        done = self._backend.set(namespace, name, item, ttl_ms, wanted)
        if isinstance(done, CoroutineType):
            return _hash_of(item, done)
        return item.hash if done else None

    @host_call(SCALAR, "delete", Effect.WRITE)
    @host_call(SCALAR_V1, "delete", Effect.WRITE)
    @answered(_done)
    def delete(self, namespace: str, key: Data) -> Later[None]:
        """Forgets the key; one that is not there is fine."""
        return self._backend.delete(namespace, self._key(key))

    async def _set_hashed(
        self, namespace: str, name: bytes, item: Item, ttl_ms: int, condition: Condition
    ) -> bytes | None:
        """As `set-if-hash`, for a value that takes long to hash."""
        await item.hashed()
        done = self._backend.set(namespace, name, item, ttl_ms, condition)
        return item.hash if await settled(done) else None

    def _item(self, key: Data, value: Data) -> tuple[bytes, Item]:
        """Key and value as they are stored; raises `Arriving` and `OverLimit`."""
        name, content = self._key(key), peek(value)
        if content is None:
            raise Arriving
        if len(name) + len(content) > self._limits.item_bytes:
            raise OverLimit(f"an item, key and value, has at most {self._limits.item_bytes} bytes")
        return name, Item(content)


async def _hash_of(item: Item, done: Coroutine[Any, Any, bool]) -> bytes | None:
    return item.hash if await done else None


def _condition(condition: WitCondition) -> Condition:
    case, operand = condition
    if operand is None:
        return (case, None)
    found = peek(operand)
    if found is None:
        raise Arriving
    return (case, found)


def _answer(key: Data, value: bytes) -> Data:
    """`value` for whoever asked with `key`: plain bytes in the older generation, else `data`."""
    if not isinstance(key, tuple):
        return value
    return ("buffer", Buffer(value)) if len(value) >= LARGE else ("value", value)
