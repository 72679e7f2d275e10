"""One connection of the simulated network: an asyncio transport whose other end is a small HTTP/1.1 server in this process.

Promises: requests are what was written, byte for byte, as a parser of real servers reads them; answers come in the turns of
the loop, never from inside of a write; a reader that pauses is waited for; nothing leaves a host that is dead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import httptools

from guesthouse.testing.messages import Answer, Request

CHUNK = 64 << 10
IDLE_SECONDS = 5.0
"""How long the server keeps a connection on which nothing comes."""
BODILESS = frozenset({204, 304})
Handler = Callable[[Request], Awaitable[Answer]]


class Wire(asyncio.Transport):
    """The client's end; `base` is what a request's path is put behind where it has no Host header."""

    def __init__(
        self, protocol: asyncio.Protocol, scheme: str, peer: tuple[Any, ...], handle: Handler, alive: Callable[[], bool]
    ) -> None:
        super().__init__({"peername": peer, "sockname": ("127.0.0.1", 0)})
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.BaseProtocol = protocol
        self._scheme = scheme
        self._handle = handle
        self._alive = alive
        self._parser = httptools.HttpRequestParser(self)
        self._requests: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._to_read: deque[bytes] = deque()
        self._paused = self._closed = False
        self._broken: Exception | None = None
        self._ending = False
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body = bytearray()
        self._delivering = False
        self._idle: asyncio.TimerHandle | None = None
        protocol.connection_made(self)

    # -- what the client does

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Takes bytes of requests."""
        if self._closed or not self._alive():
            return
        try:
            self._parser.feed_data(bytes(data))
        except httptools.HttpParserError:
            self._lose(ConnectionResetError("that is no HTTP"))

    def writelines(self, pieces: Any) -> None:
        """As `write`, for each."""
        self.write(b"".join(pieces))

    def close(self) -> None:
        """Ends the connection; nobody is told anything any more."""
        if self._task is not None:
            self._task.cancel()
        self._lose(None)

    abort = close

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def pause_reading(self) -> None:
        """Nothing more is delivered until `resume_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """Goes on delivering."""
        self._paused = False
        self._deliver_soon()

    def is_reading(self) -> bool:
        """Whether what arrives is delivered."""
        return not self._paused

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who reads."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Somebody else reads from now on."""
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        """Bytes that were not taken yet: everything is taken at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered."""

    def can_write_eof(self) -> bool:
        """Ends of one direction are not told."""
        return False

    # -- what the parser of the server says

    def on_message_begin(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._url, self._headers, self._body = b"", [], bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        authority = next((value for name, value in self._headers if name == "host"), "")
        self._requests.append(
            Request(
                self._parser.get_method().decode("latin-1"),
                f"{self._scheme}://{authority}{self._url.decode('latin-1')}",
                tuple(self._headers),
                bytes(self._body),
            )
        )
        if self._task is None:
            self._task = self._loop.create_task(self._answer(), name="simulated server")

    # -- what the server does

    async def _answer(self) -> None:
        while self._requests and not self._closed and self._alive():
            request = self._requests.popleft()
            answer = await self._handle(request)
            if answer.after:
                await asyncio.sleep(answer.after)
            if not self._alive() or not self._send(request, answer):
                return
        self._task = None
        self._idle = self._loop.call_later(IDLE_SECONDS, self._lose, None)

    def _send(self, request: Request, answer: Answer) -> bool:
        """Answers; false where nothing can follow on this connection."""
        if answer.fault == "hang":
            return False
        if answer.fault == "reset":
            self._lose(ConnectionResetError("reset by the simulated server"))
            return False
        try:
            phrase = HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = ""
        bodiless = answer.status in BODILESS or answer.status < 200
        lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in answer.headers)]
        if not bodiless and not any(name.lower() == "content-length" for name, _ in answer.headers):
            lines.append(f"content-length: {len(answer.body)}")
        body = b"" if bodiless or request.method == "HEAD" else answer.body
        if answer.fault == "cut":
            body = body[: len(body) // 2]
        data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        self._to_read.extend(data[at : at + CHUNK] for at in range(0, len(data), CHUNK))
        if answer.fault == "cut":
            self._broken = ConnectionResetError("cut off by the simulated server")
        self._ending = any((name.lower(), value.lower()) == ("connection", "close") for name, value in answer.headers)
        self._deliver_soon()
        return not self._ending and self._broken is None

    def _deliver_soon(self) -> None:
        if not self._delivering:
            self._delivering = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivering = False
        if self._closed or self._paused or not self._alive():
            return
        if self._to_read:
            assert isinstance(self._protocol, asyncio.Protocol)
            self._protocol.data_received(self._to_read.popleft())
            self._deliver_soon()
        elif self._broken is not None or self._ending:
            self._lose(self._broken)

    def _lose(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            if self._idle is not None:
                self._idle.cancel()
            self._loop.call_soon(self._protocol.connection_lost, error)
