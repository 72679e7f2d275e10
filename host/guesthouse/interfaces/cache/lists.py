"""`ListCalls`: the lists of the cache, for guests of both generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from guesthouse.engine.values import Ok
from guesthouse.interfaces.base import Effect, host_call
from guesthouse.interfaces.bytes import Data, peek
from guesthouse.interfaces.cache.backend import Later, OverLimit, Popped
from guesthouse.interfaces.cache.calls import HEAVY_BYTES, HEAVY_ELEMENTS, Arriving, CacheCalls, answered, in_turn

LIST = "momento:cache-list/cache-list@1.0.0"
LIST_V1 = "momento:functions/cache-list@1.0.0"

Index: TypeAlias = "tuple[str, int | None]"
"""WIT `start-index` or `end-index`."""
EraseRange: TypeAlias = "tuple[str, Any]"
RemoveRange: TypeAlias = "tuple[str, Data]"
MISSING: Ok[Any] = Ok(("missing", None))


class PopFound(NamedTuple):
    """WIT `pop-found`."""

    value: Data
    list_length: int


def _new_length(length: int, key: Data) -> Ok[int]:
    return Ok(length)


def _length(length: int | None, key: Data) -> Ok[Any]:
    return MISSING if length is None else Ok(("found", length))


def _popped(popped: Popped | None, key: Data) -> Ok[Any]:
    return MISSING if popped is None else Ok(("found", PopFound(_element(key, popped.value), popped.length)))


def _fetched(elements: list[bytes] | None, key: Data) -> Any:
    if elements is None:
        return MISSING
    answer = Ok(("found", [("value", value) for value in elements] if isinstance(key, tuple) else elements))
    heavy = len(elements) >= HEAVY_ELEMENTS or sum(map(len, elements)) >= HEAVY_BYTES
    return in_turn(answer) if heavy else answer


def _element(key: Data, value: bytes) -> Data:
    """An element for whoever asked with `key`; never a buffer, for a guest may hold only so many handles."""
    return ("value", value) if isinstance(key, tuple) else value


class ListCalls(CacheCalls):
    """`cache-list`: lists of bytes in the function's own namespace; an empty list does not exist.

    An element over its limit, and a list that would become longer or larger than one may be, answer `limit-exceeded`
    and change nothing; a time to live of zero answers `invalid-argument`; a key that holds a value
    `failed-precondition`.  A time to live belongs to the whole list.
    """

    @host_call(LIST, "list-push-front", Effect.WRITE)
    @host_call(LIST_V1, "list-push-front", Effect.WRITE)
    @answered(_new_length)
    def push_front(self, namespace: str, name: Data, value: Data, ttl_ms: int, refresh: bool, keep: int) -> Later[int]:
        """Puts an element before the others, and drops from the back what is more than `keep` (0: nothing)."""
        return self._extend(namespace, name, (self._part(value),), ttl_ms, refresh, keep, True)

    @host_call(LIST, "list-push-back", Effect.WRITE)
    @host_call(LIST_V1, "list-push-back", Effect.WRITE)
    @answered(_new_length)
    def push_back(self, namespace: str, name: Data, value: Data, ttl_ms: int, refresh: bool, keep: int) -> Later[int]:
        """Puts an element behind the others, and drops from the front what is more than `keep` (0: nothing)."""
        return self._extend(namespace, name, (self._part(value),), ttl_ms, refresh, keep, False)

    @host_call(LIST, "list-concatenate-front", Effect.WRITE)
    @host_call(LIST_V1, "list-concatenate-front", Effect.WRITE)
    @answered(_new_length)
    def concatenate_front(
        self, namespace: str, name: Data, values: list[Data], ttl_ms: int, refresh: bool, keep: int
    ) -> Later[int]:
        """Puts elements, in their order, before the others; drops from the back as `push_front`."""
        return self._extend(namespace, name, [self._part(value) for value in values], ttl_ms, refresh, keep, True)

    @host_call(LIST, "list-concatenate-back", Effect.WRITE)
    @host_call(LIST_V1, "list-concatenate-back", Effect.WRITE)
    @answered(_new_length)
    def concatenate_back(
        self, namespace: str, name: Data, values: list[Data], ttl_ms: int, refresh: bool, keep: int
    ) -> Later[int]:
        """Puts elements, in their order, behind the others; drops from the front as `push_back`."""
        return self._extend(namespace, name, [self._part(value) for value in values], ttl_ms, refresh, keep, False)

    @host_call(LIST, "list-pop-front", Effect.WRITE)
    @host_call(LIST_V1, "list-pop-front", Effect.WRITE)
    @answered(_popped)
    def pop_front(self, namespace: str, name: Data) -> Later[Popped | None]:
        """Takes the first element."""
        return self._backend.pop(namespace, self._key(name), front=True)

    @host_call(LIST, "list-pop-back", Effect.WRITE)
    @host_call(LIST_V1, "list-pop-back", Effect.WRITE)
    @answered(_popped)
    def pop_back(self, namespace: str, name: Data) -> Later[Popped | None]:
        """Takes the last element."""
        return self._backend.pop(namespace, self._key(name), front=False)

    @host_call(LIST, "list-erase", Effect.WRITE)
    @host_call(LIST_V1, "list-erase", Effect.WRITE)
    @answered(_length)
    def erase(self, namespace: str, name: Data, range: EraseRange) -> Later[int | None]:
        """Deletes everything, or ranges, all of which mean the list as it was before."""
        case, payload = range
        if case == "all":
            return self._backend.erase(namespace, self._key(name), None)
        (ranges,) = payload
        most = self._limits.erase_ranges
        if len(ranges) > most:
            raise OverLimit(f"one call erases at most {most} ranges")
        return self._backend.erase(namespace, self._key(name), ranges)

    @host_call(LIST, "list-remove", Effect.WRITE)
    @host_call(LIST_V1, "list-remove", Effect.WRITE)
    @answered(_length)
    def remove(self, namespace: str, name: Data, range: RemoveRange) -> Later[int | None]:
        """Deletes every element that equals a value."""
        value = peek(range[1])
        if value is None:
            raise Arriving
        return self._backend.remove(namespace, self._key(name), value)

    @host_call(LIST, "list-fetch", Effect.READ)
    @host_call(LIST_V1, "list-fetch", Effect.READ)
    @answered(_fetched)
    def fetch(self, namespace: str, name: Data, start: Index, end: Index) -> Later[list[bytes] | None]:
        """The elements of a range; none of them where the range of a list is empty."""
        return self._backend.fetch(namespace, self._key(name), start[1], end[1])

    @host_call(LIST, "list-length", Effect.READ)
    @host_call(LIST_V1, "list-length", Effect.READ)
    @answered(_length)
    def length(self, namespace: str, name: Data) -> Later[int | None]:
        """How many elements there are."""
        return self._backend.length(namespace, self._key(name))

    @host_call(LIST, "list-retain", Effect.WRITE)
    @host_call(LIST_V1, "list-retain", Effect.WRITE)
    @answered(_length)
    def retain(
        self, namespace: str, name: Data, start: Index, end: Index, ttl_ms: int, refresh: bool
    ) -> Later[int | None]:
        """Deletes all but a range."""
        return self._backend.retain(namespace, self._key(name), start[1], end[1], self._ttl(ttl_ms), refresh)

    def _extend(
        self, namespace: str, name: Data, values: Sequence[bytes], ttl_ms: int, refresh: bool, keep: int, front: bool
    ) -> Later[int]:
        key, ttl_ms = self._key(name), self._ttl(ttl_ms)
        return self._backend.extend(namespace, key, values, ttl_ms, refresh, keep, front=front)

    def _part(self, value: Data) -> bytes:
        """An element's bytes; raises `Arriving` and `OverLimit`."""
        element = peek(value)
        if element is None:
            raise Arriving
        if len(element) > self._limits.element_bytes:
            raise OverLimit(f"an element of a list has at most {self._limits.element_bytes} bytes")
        return element
