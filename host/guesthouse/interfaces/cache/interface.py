"""`CacheInterface`: the cache, values and lists, of both generations over a `CacheBackend`."""

from __future__ import annotations

from guesthouse.interfaces.cache.lists import ListCalls
from guesthouse.interfaces.cache.scalar import ScalarCalls


class CacheInterface(ScalarCalls, ListCalls):
    """`cache-scalar` and `cache-list`: one space of keys, in which a key names a value or a list."""
