"""`CacheBackend`: what a place for cached items has to do; how its calls fail; how indexes of a list are meant.

A namespace and a key name one item: a value or a list.  Every call is one atomic step, and answers either at once or
with a coroutine (`Later`): a backend in memory never makes anybody wait.  Knows no WIT and no HTTP.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from guesthouse.errors import BodyTooLarge, InputError
from guesthouse.interfaces.cache.conditions import Condition, Item
from guesthouse.limits import CacheLimits

T = TypeVar("T")
Later: TypeAlias = T | Coroutine[Any, Any, T]
"""A value, or a coroutine of it; whoever calls tells them apart by `types.CoroutineType`."""
Range: TypeAlias = tuple[int, int]
"""Begin and count, or begin and end where it says so."""

ENTRY_BYTES = 400
"""What an item is taken to cost beside its key and value: objects of the interpreter, or pages of a file."""
ELEMENT_BYTES = 64
"""What an element of a list is taken to cost beside its bytes."""


class OverLimit(BodyTooLarge):
    """More than a bound of the cache allows; the text says which."""


class WrongKind(InputError):
    """A value was asked for where a list is, or the other way round."""

    status = 409
    problem_type = "wrong-kind"
    title = "The item is of another kind"


class Popped(NamedTuple):
    """An element that was taken from a list, and how many are left."""

    value: bytes
    length: int


@dataclass
class Counts:
    """What a backend has seen so far.  `entries` and `size` (bytes) are `None` where only the server knows."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0
    entries: int | None = 0
    size: int | None = 0

    def seen(self, found: bool) -> None:
        """Somebody has read."""
        if found:
            self.hits += 1
        else:
            self.misses += 1


class CacheBackend(Protocol):
    """A place for cached items.  Lists are answered as `None` where there is none; an empty list does not exist.

    Raises `WrongKind`; `OverLimit` for a list that would become too long; `Unavailable` where it cannot be reached.
    """

    limits: CacheLimits
    """What whoever calls has to keep to; lengths and sizes of lists are seen to here."""

    @property
    def transactional(self) -> bool:
        """Whether changes are units of work on the host's own database, with plain results."""

    @property
    def lasting(self) -> bool:
        """Whether items outlive the host's process."""

    @property
    def counts(self) -> Counts:
        """What happened so far."""

    def get(self, namespace: str, key: bytes) -> Later[Item | None]:
        """The value, unless it expired or was forgotten."""

    def set(
        self, namespace: str, key: bytes, item: Item, ttl_ms: int, condition: Condition | None = None
    ) -> Later[bool]:
        """Stores `item` for `ttl_ms` milliseconds, whatever was there, if `condition` holds; whether it did."""

    def delete(self, namespace: str, key: bytes) -> Later[None]:
        """Forgets the value or list, if there is one."""

    def extend(
        self, namespace: str, key: bytes, values: Sequence[bytes], ttl_ms: int, refresh: bool, keep: int, *, front: bool
    ) -> Later[int]:
        """Puts values, in their order, before or behind a list, which is made if need be; its new length.

        Then drops elements from the other end until `keep` are left (0: none).  The time to live is set where the
        list is made, and with `refresh` at every call.
        """

    def pop(self, namespace: str, key: bytes, *, front: bool) -> Later[Popped | None]:
        """Takes the first or last element."""

    def erase(self, namespace: str, key: bytes, ranges: Sequence[Range] | None) -> Later[int | None]:
        """Deletes ranges (begin, count) of the list as it was before, or all of it; the new length."""

    def remove(self, namespace: str, key: bytes, value: bytes) -> Later[int | None]:
        """Deletes every element that equals `value`; the new length."""

    def fetch(self, namespace: str, key: bytes, start: int | None, end: int | None) -> Later[list[bytes] | None]:
        """The elements from `start` to before `end`, as `bounds` understands them."""

    def length(self, namespace: str, key: bytes) -> Later[int | None]:
        """How many elements the list has."""

    def retain(
        self, namespace: str, key: bytes, start: int | None, end: int | None, ttl_ms: int, refresh: bool
    ) -> Later[int | None]:
        """Deletes all but the elements from `start` to before `end`; the new length."""

    async def close(self) -> None:
        """Called once when the host stops, after the last call."""


async def settled(found: Later[T]) -> T:
    """What a backend has answered, once it has."""
    return await found if isinstance(found, CoroutineType) else cast(T, found)


def bounds(start: int | None, end: int | None, length: int) -> Range:
    """Begin and end, from 0 to `length`, of indexes of which negative ones count from the end; `None`: unbounded."""
    begin = 0 if start is None else start + length if start < 0 else start
    stop = length if end is None else end + length if end < 0 else end
    begin = min(max(begin, 0), length)
    return begin, max(min(stop, length), begin)


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same indexes as ascending ranges (begin, end) that neither touch nor overlap."""
    found: list[Range] = []
    for begin, count in sorted(ranges):
        end = begin + count
        if found and begin <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = (found[-1][0], end)
        elif count:
            found.append((begin, end))
    return found


def kept(erased: Iterable[Range], length: int) -> Iterator[Range]:
    """What `merged` ranges leave of a list, as ranges (begin, end)."""
    at = 0
    for begin, end in erased:
        if begin >= length:
            break
        if begin > at:
            yield at, begin
        at = end
    if at < length:
        yield at, length


def check_list(length: int, size: int, limits: CacheLimits) -> None:
    """Raises `OverLimit` for a list that would have so many elements, of so many bytes together."""
    if length > limits.list_elements:
        raise OverLimit(f"a list has at most {limits.list_elements} elements")
    if size > limits.list_bytes:
        raise OverLimit(f"the elements of a list have at most {limits.list_bytes} bytes together")
