"""A plain model of the cache, and what its calls come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guesthouse.errors import GuesthouseError
from guesthouse.interfaces.cache import CONDITIONS, Item, OverLimit, Popped, WrongKind, holds
from guesthouse.limits import CacheLimits


class Model:
    """What a cache is, in the plainest words."""

    def __init__(self, limits: CacheLimits) -> None:
        self.limits = limits
        self.now = 0
        self.items: dict[tuple[str, bytes], tuple[bytes | list[bytes], int]] = {}

    def find(self, *name: Any) -> Any:
        content, expires = self.items.get(name, (None, 0))
        return content if expires > self.now else None

    def list(self, *name: Any) -> Any:
        found = self.find(*name)
        if isinstance(found, bytes):
            raise WrongKind
        return found

    def get(self, *name: Any) -> Any:
        found = self.find(*name)
        if isinstance(found, list):
            raise WrongKind
        return found

    def set(self, namespace: str, key: bytes, value: bytes, ttl: int, condition: Any) -> bool:
        found = self.find(namespace, key)
        if condition is not None:
            if isinstance(found, list):
                stores = CONDITIONS[condition[0]].different
            else:
                stores = holds(condition, None if found is None else Item(found))
            if not stores:
                return False
        self.items[namespace, key] = (value, self.now + ttl)
        return True

    def delete(self, *name: Any) -> None:
        self.items.pop(name, None)

    def extend(
        self, namespace: str, key: bytes, values: Any, ttl: int, refresh: bool, keep: int, *, front: bool
    ) -> int:
        found = self.list(namespace, key) or []
        joined = [*values, *found] if front else [*found, *values]
        if keep:
            joined = joined[:keep] if front else joined[-keep:]
        if len(joined) > self.limits.list_elements:
            raise OverLimit
        self.put(namespace, key, joined, ttl if refresh or not found else None)
        return len(joined)

    def put(self, namespace: str, key: bytes, elements: Any, ttl: int | None) -> None:
        expires = self.items.get((namespace, key), (None, 0))[1] if ttl is None else self.now + ttl
        self.items[namespace, key] = (elements, expires)
        if not elements:
            del self.items[namespace, key]

    def pop(self, *name: Any, front: bool) -> Any:
        found = self.list(*name)
        if found is None:
            return None
        value, *left = found if front else found[::-1]
        self.put(*name, left if front else left[::-1], None)
        return Popped(value, len(left))

    def erase(self, namespace: str, key: bytes, ranges: Any) -> Any:
        return self.only(
            namespace,
            key,
            lambda at, value: ranges is not None and not any(begin <= at < begin + count for begin, count in ranges),
        )

    def remove(self, namespace: str, key: bytes, value: bytes) -> Any:
        return self.only(namespace, key, lambda at, element: element != value)

    def only(self, namespace: str, key: bytes, stays: Callable[[int, bytes], bool]) -> Any:
        found = self.list(namespace, key)
        if found is None:
            return None
        left = [value for at, value in enumerate(found) if stays(at, value)]
        self.put(namespace, key, left, None)
        return len(left)

    def fetch(self, namespace: str, key: bytes, start: int | None, end: int | None) -> Any:
        found = self.list(namespace, key)
        return None if found is None else found[start:end]

    def length(self, *name: Any) -> Any:
        found = self.list(*name)
        return None if found is None else len(found)

    def retain(
        self, namespace: str, key: bytes, start: int | None, end: int | None, ttl: int, refresh: bool
    ) -> int | None:
        found = self.list(namespace, key)
        if found is None:
            return None
        self.put(namespace, key, found[start:end], ttl if refresh else None)
        return len(found[start:end])


def outcome(call: Callable[[], Any]) -> Any:
    """What a call answers, or the class of what it raises."""
    try:
        found = call()
    except GuesthouseError as error:
        return type(error)
    return found.value if isinstance(found, Item) else found
