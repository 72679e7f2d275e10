"""What all calls of guests to the cache share: bytes that may still be arriving, bounds, and how calls are answered.

Promises: a call whose arguments are there, to a backend that answers at once, is answered without awaiting anything,
unless the answer itself is large; what cannot be used is an error value and never a trap.  Must not know where items
are kept.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from guesthouse.engine.values import Err
from guesthouse.errors import BadRequest, BodyTooLarge, GuesthouseError
from guesthouse.interfaces.base import Interface
from guesthouse.interfaces.bytes import Data, StreamFailed, collect, discard, peek
from guesthouse.interfaces.cache.backend import OverLimit, WrongKind
from guesthouse.limits import CacheLimits
from guesthouse.net.failures import ConnectTimeout, Timeout

if TYPE_CHECKING:
    from guesthouse.interfaces.cache.backend import CacheBackend
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.registry.deployment import Deployment

CacheError: TypeAlias = "tuple[str, str | None]"
Shape: TypeAlias = Callable[[Any, Data], Any]
"""Makes the WIT answer of what a backend answered and the key, whose form tells the generation."""


HEAVY_BYTES: Final = 256 * 1024
HEAVY_ELEMENTS: Final = 500
"""What takes about half a millisecond to put into a guest's memory: others have their turn before it."""


class Arriving(Exception):
    """An argument is a buffer whose bytes are not all there."""


class CacheCalls(Interface):
    """The base of the classes that answer calls to the cache."""

    name = "cache"

    def __init__(self, backend: CacheBackend) -> None:
        self._backend = backend
        self.transactional = backend.transactional
        self._limits = backend.limits
        self._most_key_bytes = self._limits.key_bytes
        self._most_ttl_ms = self._limits.ttl_ms

    def check_durable(self, deployment: Deployment, imports: Collection[tuple[str, str]]) -> None:
        """After a crash the guest goes on with what it had stored: it has to be there."""
        if not self._backend.lasting:
            raise BadRequest(
                "the function cannot be durable: it uses the cache, which this host has in memory; "
                "keep it on disk (`persist = true` in `[cache]`), or on a Valkey server"
            )

    def _key(self, key: Data) -> bytes:
        """A key's bytes; raises `Arriving`, or `OverLimit` for one that is too long."""
        found = peek(key)
        if found is None:
            raise Arriving
        if len(found) > self._most_key_bytes:
            raise OverLimit(f"a key has at most {self._most_key_bytes} bytes")
        return found

    def _ttl(self, ttl_ms: int) -> int:
        """The time to live that counts; raises `BadRequest` for none."""
        if ttl_ms == 0:
            raise BadRequest("the time to live must be at least one millisecond")
        return min(ttl_ms, self._most_ttl_ms)

    async def when_there(self, method: Callable[..., Any], invocation: Invocation, arguments: tuple[Any, ...]) -> Any:
        """Calls `method` again once all bytes of its arguments have arrived."""
        arrival = Arrival(self._limits)
        try:
            ready = [await arrival.resident(argument) for argument in arguments]
        except GuesthouseError as error:
            return Err(_arrival_error(error))
        finally:
            for argument in arguments:
                _discard(argument)
        answer = method(self, invocation, *ready)
        return await answer if type(answer) is CoroutineType else answer


class Arrival:
    """Collects the arguments of one call, at most as much as an item or a list may hold in all."""

    def __init__(self, limits: CacheLimits) -> None:
        self._most = limits.item_bytes
        self._left = max(2 * limits.item_bytes, limits.list_bytes)

    async def resident(self, argument: Any) -> Any:
        """An argument with every buffer in it replaced by its bytes."""
        if isinstance(argument, list):
            return [await self.resident(value) for value in argument]
        if not _is_case(argument):
            return argument
        case, payload = argument
        if case != "buffer":
            return (case, await self.resident(payload))
        found = await collect(argument, min(self._most, self._left))
        self._left -= len(found)
        return ("value", found)


def answered(shape: Shape) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes a method that asks the backend into a host function, which answers what `shape` makes of it.

    The method is called as `method(self, namespace, *arguments)`; the first argument is the key.
    """

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: CacheCalls, invocation: Invocation, *arguments: Any) -> Any:
            try:
                found = method(self, invocation.deployment.namespace, *arguments)
            except Arriving:
                return self.when_there(call, invocation, arguments)
            except GuesthouseError as error:
                return refused(error)
            if type(found) is CoroutineType:
                return _finish(found, shape, arguments[0])
            return shape(found, arguments[0])

        return call

    return wrap


async def in_turn(answer: Any) -> Any:
    """An answer that takes a while to hand over, after a turn of the loop: a guest may ask for one after another."""
    await asyncio.sleep(0)
    return answer


async def _finish(found: Coroutine[Any, Any, Any], shape: Shape, key: Data) -> Any:
    try:
        answer = shape(await found, key)
        return await answer if type(answer) is CoroutineType else answer
    except GuesthouseError as error:
        return refused(error)


def refused(error: GuesthouseError) -> Err[CacheError]:
    """The error of WIT that tells of `error`; nothing of the host's inside is said."""
    if isinstance(error, BodyTooLarge):
        return Err(("limit-exceeded", error.public))
    if isinstance(error, WrongKind):
        return Err(("failed-precondition", error.public))
    if isinstance(error, BadRequest):
        return Err(("invalid-argument", error.public))
    return Err(("timeout" if isinstance(error, (Timeout, ConnectTimeout)) else "internal-error", None))


def _arrival_error(error: GuesthouseError) -> CacheError:
    """What a guest is told where a body that it handed on did not arrive."""
    if isinstance(error, BodyTooLarge):
        return ("limit-exceeded", error.public)
    timed_out = isinstance(error, StreamFailed) and error.timed_out
    return ("timeout" if timed_out else "request-cancelled", None)


def _is_case(argument: Any) -> bool:
    """Whether this is a case of a variant: `data` is one, and so is what holds `data`."""
    return isinstance(argument, tuple) and len(argument) == 2 and isinstance(argument[0], str)


def _discard(argument: Any) -> None:
    """Lets go of every buffer in an argument."""
    if isinstance(argument, list):
        for value in argument:
            _discard(value)
    elif _is_case(argument):
        discard(argument)
        _discard(argument[1])
