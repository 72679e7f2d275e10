"""`Upstream`: a real HTTP server on loopback for tests of outgoing requests, which records every byte it was sent.

Promises: what it answers is written as it is, valid HTTP or not, at once or piece by piece.  Must not know of guests or
hosts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """All values of a header, by its name in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


Answer = Callable[[Received], bytes | AsyncIterator[bytes] | None]
"""The bytes to send back, or their pieces, after which the connection ends; `None` leaves it open without an answer."""

EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
"""The end of a body in chunks."""


def chunk(data: bytes) -> bytes:
    """A piece of a body in chunks."""
    return b"%x\r\n%s\r\n" % (len(data), data)


async def pieces(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Pieces that are there already; each is written for itself."""
    for part in parts:
        yield part
        await asyncio.sleep(0)


class Steps:
    """Pieces that a test sends one at a time: `send` them, then `end`, or `breaks` to end in the middle."""

    def __init__(self, *first: bytes) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for piece in first:
            self._queue.put_nowait(piece)

    def send(self, piece: bytes) -> None:
        """Has a piece sent."""
        self._queue.put_nowait(piece)

    def end(self, last: bytes = END) -> None:
        """Has the last piece sent, and the connection ended."""
        self._queue.put_nowait(last)
        self._queue.put_nowait(None)

    async def __call__(self) -> AsyncIterator[bytes]:
        """The pieces."""
        while (piece := await self._queue.get()) is not None:
            yield piece


def response(body: bytes = b"hello", status: str = "200 OK", *headers: str) -> bytes:
    """A well-formed response."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Upstream:
    """An async context manager; `close_after` ends each connection after the first answer."""

    def __init__(
        self, answer: Answer | None = None, *, tls: ssl.SSLContext | None = None, close_after: bool = False
    ) -> None:
        self.answer: Answer = answer or (lambda request: response())
        self.connections = 0
        self.requests: list[Received] = []
        self.wire = bytearray()
        self.arrived = asyncio.Event()
        """Set when a request has arrived."""
        self.left = asyncio.Event()
        """Set when a client ended the connection while it was being answered piece by piece."""
        self._tls = tls
        self._close_after = close_after
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in (serving := list(self._serving)):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """The URL of a path here."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                self.arrived.set()
                answer = self.answer(request)
                if isinstance(answer, AsyncIterator):
                    await self._stream(answer, reader, writer)
                    return
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
                    if self._close_after:
                        return
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _stream(
        self, answer: AsyncIterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async def send() -> None:
            async for piece in answer:
                writer.write(piece)
                await writer.drain()

        sending, gone = asyncio.ensure_future(send()), asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done() or sending.exception() is not None:
                self.left.set()
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> Received | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            self.wire += error.partial
            return None
        self.wire += head
        line, *fields = head[:-4].decode("utf-8", "replace").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (field.partition(":") for field in fields)]
        received = Received(line, headers, b"")
        length = int((received.values("content-length") or ["0"])[0])
        body = await reader.readexactly(length)
        self.wire += body
        return Received(line, headers, body)
