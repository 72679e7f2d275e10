"""`CacheConfig`: which cache a host has, as a person says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from guesthouse.errors import BadRequest
from guesthouse.interfaces.cache.memory import DEFAULT_CAPACITY, MemoryCache
from guesthouse.interfaces.cache.persistent import PersistentCache
from guesthouse.limits import CacheLimits

if TYPE_CHECKING:
    from guesthouse.clock import Clock
    from guesthouse.interfaces.cache.backend import CacheBackend
    from guesthouse.storage.database import Database


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Where items are kept: in memory, in the host's database (`persist`), or on the server at `url`."""

    url: str | None = None
    """Of a Valkey or Redis server: `redis://host:6379`."""
    persist: bool = False
    max_bytes: int = DEFAULT_CAPACITY
    """Bytes of all items together; on a server of its own that is the server's business."""
    limits: CacheLimits = field(default_factory=CacheLimits)
    ca_file: str | None = None
    """PEM file of authorities that the server's certificate may come from, beside the system's."""

    def open(self, database: Database, clock: Clock, *, durable: bool) -> CacheBackend:
        """The cache; `durable` says whether `database` is a file.  Raises `BadRequest` where this cannot be."""
        if self.url is not None:
            if self.persist:
                raise BadRequest("the cache is either kept by the host or on a server: give persist or url")
            from guesthouse.interfaces.cache.valkey import ValkeyCache  # only where wanted

            return ValkeyCache.at(self.url, self.limits, self.ca_file)
        if not self.persist:
            return MemoryCache(clock, self.max_bytes, self.limits)
        if not durable:
            raise BadRequest("a cache that persists needs a data directory")
        return PersistentCache(database, clock, self.max_bytes, self.limits)
