"""The places where the cache can be kept, as tests use them: one that passes time at will, whatever its clock is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from guesthouse.engine.values import Ok
from guesthouse.interfaces.cache import CacheBackend, CacheInterface, MemoryCache, PersistentCache, settled
from guesthouse.interfaces.cache.valkey import ValkeyCache
from guesthouse.limits import CacheLimits
from guesthouse.storage.database import Database
from unit.interface_fakes import SimulatedClock, invocation
from valkey_server import ValkeyServer

CAPACITY = 1 << 30
PLACES = ("memory", "persistent", "valkey")
AGE = b"""
for _, key in ipairs(redis.call('KEYS', '*')) do
    local left = redis.call('PTTL', key)
    if left >= 0 then
        if left <= tonumber(ARGV[1]) then redis.call('DEL', key) else redis.call('PEXPIRE', key, left - ARGV[1]) end
    end
end
"""
"""Makes every item older by so many milliseconds."""


class Place(Protocol):
    """A backend, and how it gets older."""

    backend: CacheBackend

    def wait(self, found: Any) -> Any:
        """What a call answers, once it has."""

    def pass_ms(self, duration: int) -> None:
        """Lets time pass."""


class _Looped:
    """Runs what a backend answers later."""

    backend: CacheBackend

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.clock = SimulatedClock()

    def wait(self, found: Any) -> Any:
        return self.runner.run(settled(found))

    def pass_ms(self, duration: int) -> None:
        self.clock.pass_ms(duration)


class _OnServer(_Looped):
    """Items on a server, whose clock nobody can set: they are made older instead."""

    backend: ValkeyCache

    def pass_ms(self, duration: int) -> None:
        self.wait(self.backend._client.command(b"EVAL", AGE, b"0", b"%d" % duration))


@contextmanager
def place_of(kind: str, server: ValkeyServer | None = None, limits: CacheLimits | None = None) -> Iterator[Place]:
    """An empty place of a kind; `server` for those on one."""
    place = _Looped() if server is None else _OnServer()
    database = Database(None)
    if server is not None:
        assert server.ask("FLUSHALL") == b"+OK\r\n"
        place.backend = ValkeyCache.at(server.url, limits)
    elif kind == "memory":
        place.backend = MemoryCache(place.clock, CAPACITY, limits)
    else:
        place.backend = PersistentCache(database, place.clock, CAPACITY, limits)
    try:
        yield place
    finally:
        place.wait(place.backend.close())
        place.runner.close()
        database.close()


class Calls:
    """The host functions over a place, called by their names and awaited where they have to be."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.interface = CacheInterface(place.backend)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.interface, name)
        return lambda *arguments: self.place.wait(method(*arguments))


BARE = {"present", "absent", "unconditional"}


def condition_of(case: str | None, operand: bytes) -> Any:
    """A condition as a backend takes it; `None` for no condition at all."""
    if case is None or case in BARE:
        return None if case is None else (case, None)
    return (case, hashlib.sha256(operand).digest() if "hash" in case and operand else operand)


RUN = invocation()
HOUR = 3_600_000
UNBOUNDED = ("unbounded", None)


def elements(cache: Calls, name: bytes = b"l") -> list[bytes] | None:
    """The whole list."""
    case, found = cache.fetch(RUN, name, UNBOUNDED, UNBOUNDED).value
    return found if case == "found" else None


def fill(cache: Calls, *values: bytes, name: bytes = b"l", ttl: int = HOUR) -> None:
    """Makes the list anew."""
    cache.delete(RUN, name)
    assert cache.concatenate_back(RUN, name, list(values), ttl, False, 0) == Ok(len(values))
