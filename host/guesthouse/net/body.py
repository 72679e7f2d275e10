"""`ResponseBody`: the body of a response while it arrives, piece by piece, as soon as there is one.

Promises: bytes that came before a failure are handed out before it; never more than the limit; the connection is given
up, and what was held for it given back, at the end, at a failure, when time is up, or when nobody wants the rest.  Must
not know what the bytes are for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp

from guesthouse.net.failures import Interrupted, OutboundError, Timeout, TooLarge

Explain = Callable[[BaseException], OutboundError]
"""What an error of the connection means."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large and how slow a body may be."""

    size: int
    """Bytes of all of it."""
    until: float
    """When all of it has to be there, in the loop's time."""
    idle: float
    """Seconds that the server may be silent while somebody waits for more."""


class ResponseBody(AsyncIterator[bytes]):
    """Iterates over the body once; `close` gives up what has not arrived."""

    __slots__ = ("_at_end", "_bounds", "_content", "_explain", "_failure", "_left", "_response", "_timer")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        bounds: Bounds,
        explain: Explain,
        at_end: Callable[[OutboundError | None], None],
    ) -> None:
        """`at_end` is called once, when the connection is no longer needed, with what it failed with."""
        self._response = response
        self._content = response.content
        self._bounds = bounds
        self._explain = explain
        self._at_end: Callable[[OutboundError | None], None] | None = at_end
        self._left = bounds.size
        self._failure: OutboundError | None = None
        self._timer = asyncio.get_running_loop().call_at(bounds.until, self._too_late)
        self._content.on_eof(self._ended)

    async def __anext__(self) -> bytes:
        """What has arrived since the last time, at least one byte; raises an `OutboundError` where it broke off."""
        piece = await self._next() if self._failure is None else self._held()
        if len(piece) > self._left:
            piece = piece[: self._left]
            self._fail(TooLarge())
        self._left -= len(piece)
        if piece:
            return piece
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    def close(self) -> None:
        """Ends the connection if the body is not complete; may be called again."""
        self._response.close()
        self._ended()

    async def collect(self) -> bytes:
        """All that is left; raises an `OutboundError` if it breaks off."""
        try:
            pieces = [piece async for piece in self]
        finally:
            self.close()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._bounds.idle):
                return await self._content.readany()
        except TimeoutError:
            self._fail(Timeout("the server was silent for too long"))
        except (aiohttp.ClientError, OSError) as error:
            self._fail(self._failure or self._explain(error))
        except RuntimeError:  # aiohttp's way to say that the connection has gone
            self._fail(self._failure or Interrupted())
        return self._held()

    def _held(self) -> bytes:
        """What came before a failure and was not read: aiohttp keeps it, and has no other way to ask for it."""
        return self._content._read_nowait(-1)

    def _too_late(self) -> None:
        self._fail(Timeout())

    def _fail(self, failure: OutboundError) -> None:
        self._failure = failure
        self.close()

    def _ended(self) -> None:
        self._timer.cancel()
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            at_end(self._failure)
