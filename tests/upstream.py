"""`Upstream`: a real HTTP server on loopback for tests of outgoing requests, which records every byte it was sent.

Promises: what it answers is written as it is, valid HTTP or not.  Must not know of guests or hosts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
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


Answer = Callable[[Received], bytes | None]
"""The bytes to send back; `None` leaves the connection open without an answer."""


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
        self._tls = tls
        self._close_after = close_after
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """The URL of a path here."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                self.arrived.set()
                answer = self.answer(request)
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
