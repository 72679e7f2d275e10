"""`Connection`: one connection to a Valkey or Redis server, which takes requests and gives exactly their replies.

Promises: whoever is cut off in the middle of an exchange leaves a connection that is never used again; bytes that
nobody asked for end it; neither a fast nor a slow server holds up the loop or fills the memory.  Must not know which
address it leads to or what the commands mean.
"""

from __future__ import annotations

import asyncio
from typing import cast

from guesthouse.net.failures import Interrupted
from guesthouse.net.resp import BUSY, MORE, Budget, Reply, ReplyReader

STEPS = 1_000
"""Steps of the reader between two turns of the loop: about a millisecond."""
READ_AHEAD = 256 * 1024
"""Bytes of replies that are taken from the network before anybody looked at them."""
CHUNK = 256 * 1024
"""Bytes that are handed to the transport at once: more would be encrypted in one go."""


class Connection(asyncio.Protocol):
    """Made by `loop.create_connection`; one exchange at a time."""

    def __init__(self) -> None:
        self._reader = ReplyReader()
        self._transport: asyncio.Transport | None = None
        self._unsent = memoryview(b"")
        self._may_write = True
        self._waiter: asyncio.Future[None] | None = None
        self._busy = False
        self._ended = False

    @property
    def usable(self) -> bool:
        """True where the next exchange would begin with nothing left of an earlier one."""
        return not (self._gone or self._busy or self._unsent or self._reader.buffered)

    @property
    def _gone(self) -> bool:
        return self._ended or self._transport is None or self._transport.is_closing()

    async def exchange(self, request: bytes, replies: int, budget: Budget) -> list[Reply]:
        """Sends the request and returns that many replies; raises `Interrupted`, `Malformed` or `TooLarge`.

        Whatever it raises, and if it is cancelled, the connection is over; also if the server answered too early.
        """
        if not self.usable:
            raise Interrupted
        self._busy = True
        try:
            self._reader.allow(budget)
            self._unsent = memoryview(request)
            self._write()
            found: list[Reply] = []
            while len(found) < replies:
                found.append(await self._reply())
            self._busy = False
            return found
        finally:
            if self._busy or not self.usable:
                self.abort()

    def abort(self) -> None:
        """Ends the connection at once; may be called twice."""
        self._ended = True
        self._unsent = memoryview(b"")
        if self._transport is not None:
            self._transport.abort()

    async def _reply(self) -> Reply:
        while True:
            value = self._reader.parse(STEPS)
            if value is BUSY:
                await asyncio.sleep(0)
            elif value is MORE:
                await self._more()
            else:
                return cast(Reply, value)

    async def _more(self) -> None:
        if self._gone:
            raise Interrupted
        cast(asyncio.Transport, self._transport).resume_reading()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _write(self) -> None:
        while self._unsent and self._may_write and not self._gone:
            chunk, self._unsent = self._unsent[:CHUNK], self._unsent[CHUNK:]
            cast(asyncio.Transport, self._transport).write(chunk)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if not self._busy:
            self.abort()
            return
        self._reader.feed(data)
        if self._reader.buffered > READ_AHEAD and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def pause_writing(self) -> None:
        """Called by the loop when the server reads slowly."""
        self._may_write = False

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._may_write = True
        self._write()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the loop once, at the end."""
        self._ended = True
        self._wake()
