"""`RespServer`: a server on loopback that takes commands like Valkey and answers whatever bytes a test says.

Promises: what it answers is written as it is, valid RESP or not; it remembers every command.  Must not know of guests
or hosts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

Answer = Callable[[list[bytes]], "bytes | AsyncIterator[bytes] | None"]
"""The bytes to send for a command, all at once or piece by piece; `None` sends nothing."""


class RespServer:
    """An async context manager; PING is answered as it should be, unless `honest` is false."""

    def __init__(self, answer: Answer, *, tls: ssl.SSLContext | None = None, honest: bool = True) -> None:
        self.answer = answer
        self.honest = honest
        self.commands: list[list[bytes]] = []
        self.connections = 0
        self.open = 0
        self.arrived = asyncio.Event()
        """Set when a command other than PING has arrived."""
        self.left = asyncio.Event()
        """Set when a connection has ended."""
        self.close_after = b""
        """A command after whose answer the connection ends."""
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> RespServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    command = await _read(reader)
                    await self._reply(command, writer)
                    if command[0] == self.close_after:
                        return
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()
            self.left.set()

    async def _reply(self, command: list[bytes], writer: asyncio.StreamWriter) -> None:
        self.commands.append(command)
        if command == [b"PING"] and self.honest:
            writer.write(b"+PONG\r\n")
            return
        self.arrived.set()
        answer = self.answer(command)
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
        elif answer is not None:
            async for piece in answer:
                if writer.is_closing():
                    return
                writer.write(piece)
                await writer.drain()


async def _read(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    command = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        command.append((await reader.readexactly(length + 2))[:-2])
    return command
