"""`Streams`: answers that have no end of their own: topics that are watched, logs that are followed.

Promises: such an answer ends when the server stops, and soon after its token has expired or was revoked; a quiet one
sends something now and then; nothing is kept of one that has ended, however it did.  Must not know what is streamed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from guesthouse.errors import Draining

HEARTBEAT_SECONDS: Final = 15.0
"""A quiet stream sends something this often, so that a reader that is gone is noticed, and no proxy closes it."""
MOST_AT_ONCE: Final = 64
"""Things in one write."""
EVENTS: Final = "text/event-stream"
HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

T = TypeVar("T")


class Source(Protocol[T]):
    """Where a stream's things come from: it exists, and collects them, before the stream begins."""

    async def wait(self) -> bool:
        """Waits until something can be taken; `False` once it is closed and all was taken."""

    def take(self, most: int) -> list[T]:
        """Up to `most` of what can be taken without waiting."""

    def close(self) -> None:
        """Collects no more; may be called again."""


class Streams:
    """Those of one gateway; `admits` says whether the token of a request is still good."""

    def __init__(self, admits: Callable[[Request], bool]) -> None:
        self._admits = admits
        self._open: set[Endless] = set()
        self.stopping = asyncio.Event()
        """Set when the server begins to stop."""

    def answer(
        self,
        request: Request,
        source: Callable[[], Source[T]],
        form: Callable[[T], bytes],
        *,
        media_type: str = EVENTS,
        heartbeat: bytes = b": \n\n",
        last: Callable[[str], bytes] = lambda reason: b"",
    ) -> Response:
        """Answers `request` with what `source` gives, each in its `form`; `last` makes the end, with why it ends."""
        if self.stopping.is_set():
            raise Draining
        if request.method == "HEAD":
            return Response(headers=HEADERS, media_type=media_type)
        return Endless(self._open, request, source(), form, heartbeat, last, media_type)

    def check(self) -> None:
        """Ends the streams whose tokens are good no more; to be called now and then."""
        for stream in [stream for stream in self._open if not self._admits(stream.request)]:
            stream.end("token")

    def stop(self) -> None:
        """Ends all, and lets none begin; may be called again."""
        self.stopping.set()
        for stream in self._open:
            stream.end("stop")


class Endless(StreamingResponse):
    """One stream: its source is closed with it, however it ends."""

    def __init__(
        self,
        open_: set[Endless],
        request: Request,
        source: Source[Any],
        form: Callable[[Any], bytes],
        heartbeat: bytes,
        last: Callable[[str], bytes],
        media_type: str,
    ) -> None:
        super().__init__(self._pieces(), headers=HEADERS, media_type=media_type)
        self.request = request
        self._all = open_
        self._source = source
        self._form = form
        self._heartbeat = heartbeat
        self._last = last
        self._reason = "stop"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._all.add(self)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._all.discard(self)
            self._source.close()

    def end(self, reason: str) -> None:
        """Sends what has been collected, and nothing after that."""
        self._reason = reason
        self._source.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._heartbeat  # sends the headers
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    more = await self._source.wait()
            except TimeoutError:
                yield self._heartbeat
                continue
            if not more:
                break
            yield b"".join(map(self._form, self._source.take(MOST_AT_ONCE)))
        last = self._last(self._reason)
        if last:
            yield last
