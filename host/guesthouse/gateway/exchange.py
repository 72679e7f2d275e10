"""`Exchange`: one request on one connection, and the answer to it.

Promises: an answer is one well-formed HTTP/1.1 message whatever its maker does (own framing, HEAD and bodiless statuses
right), or a connection that breaks off; a reader that is too slow holds its writer back.  It is ASGI's `receive` and
`send` for the routes behind, and without them one call and one write for the hot route.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from socket import SO_LINGER, SOL_SOCKET
from struct import pack
from typing import TYPE_CHECKING, Any, Final

from guesthouse.errors import BodyTooLarge, Cancelled, GuesthouseError
from guesthouse.gateway.problems import phrase, problem
from guesthouse.interfaces.invocation import Headers
from guesthouse.interfaces.web.headers import BODILESS, check_headers, check_status

if TYPE_CHECKING:
    from guesthouse.gateway.protocol import Protocol
    from guesthouse.gateway.stamp import Stamp

STATUS_LINES: Final = {status: f"HTTP/1.1 {status} {phrase(status)}\r\n" for status in range(200, 600)}
ONE_WRITE: Final = 64 * 1024
"""Up to here copying a body behind its headers is cheaper than writing twice."""
MOST_STREAM_HEADERS: Final = 512
"""The deployment's own limit has been checked by whoever streams."""
NO_BODY, CHUNKED, UNTIL_CLOSE = range(3)
"""How the end of a streamed body is told."""
VERDICT: Final = "guesthouse-error"
"""What a function says of its answer to us alone."""
OWN: Final = frozenset({"date", "x-invocation-id", VERDICT})
"""Headers that every answer gets from us, and so from nobody else, or from nobody at all."""
OWN_LENGTHS: Final = frozenset(map(len, OWN))
KEEP_ALIVE: Final = ("connection", "keep-alive")
"""Told to clients where whoever streams asks for it, as for events, and it is so: otherwise HTTP/1.1 implies it."""
RESET: Final = pack("ii", 1, 0)
"""With this `SO_LINGER` a connection is not closed, but reset."""
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """A request as it arrives, and the ways to answer it; made by the connection's protocol."""

    # Defaults live in the class, so that making an exchange sets only what differs.
    length: int | None = 0
    """Of the body; `None`: not known beforehand."""
    http_10 = False
    keep_alive = True
    expects_continue = False
    asks = False
    """True where a header may say that the call is to be queued."""
    more_body = True
    arrived = 0
    """Bytes of the body so far."""
    begun = False
    """True once somebody looks at the request."""
    gone = False
    """True once the client is."""
    started = False
    """True once status and headers have left."""
    complete = False
    """True once the whole answer has."""
    too_large = False
    """True once the body was found to be over the limit it was read with."""
    task: asyncio.Task[None] | None = None
    later: Callable[[Exchange], Awaitable[None]] | None = None
    """What goes on with it in its task, where a hot route has begun to answer it."""
    state: Any = None
    """For whoever answers, between its beginning and its task."""
    stamp: Stamp | None = None
    """What every answer to it says of the call."""
    invocation_id = ""
    """Goes into the headers of a streamed answer, for whoever sets it before."""
    _body: bytes | bytearray = b""
    _body_over = False
    _waiter: asyncio.Future[None] | None = None
    _framing = NO_BODY
    _says_keep_alive = False
    _cancels = False
    _asgi_start: tuple[int, Sequence[tuple[bytes, bytes]]] | None = None

    def __init__(
        self, protocol: Protocol, method: str, target: bytes, fields: list[tuple[str, bytes]], host: bytes
    ) -> None:
        self.protocol = protocol
        self.method = method
        self.target = target
        """Path and query as they came."""
        self.fields = fields
        """Headers in order, names in lower case."""
        self.host = host

    # The request's body

    def feed(self, data: bytes) -> None:
        """A piece of the body has arrived."""
        self.arrived += len(data)
        if self.complete:
            return
        if not self._body:
            self._body = data
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += data
        self.wake()

    def take(self) -> bytes:
        """What has arrived of the body and was not taken yet."""
        body, self._body = self._body, b""
        return body if isinstance(body, bytes) else bytes(body)

    @property
    def buffered(self) -> int:
        """Bytes that have arrived and were not taken."""
        return len(self._body)

    def wake(self) -> None:
        """Something has changed that a reader may wait for."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def lose(self) -> None:
        """Nobody will see an answer any more."""
        if self.gone:
            return
        self.gone = True
        self.wake()
        if self._cancels and self.task is not None:
            self.task.cancel()

    def end_when_gone(self) -> None:
        """From now on its task is cancelled as soon as the client is gone: at its next wait, if it is already."""
        self._cancels = True
        if self.gone and self.task is not None:
            self.task.cancel()

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end; raises `Cancelled` when the client is gone before it."""
        if self.expects_continue and not self.started and not self.gone:
            self.expects_continue = False
            self.protocol.write(CONTINUE)
        while not self._body and self.more_body:
            if self.gone or self.complete:
                raise Cancelled("the client went away" if self.gone else "the request has been answered")
            self.protocol.flow.resume_reading()
            await self._change()
        return self.take()

    async def stream(self, limit: int, first: bytes = b"") -> AsyncIterator[bytes]:
        """The rest of the body after `first`; raises `BodyTooLarge` as soon as more than `limit` bytes have arrived."""
        data = first or await self.read()
        while data:
            if self.arrived > limit:
                self.too_large = True
                raise BodyTooLarge(f"the body is over {limit} bytes")
            yield data
            data = await self.read()

    # The answer, at once

    def answer(self, status: int, headers: Headers, body: bytes, invocation_id: str = "") -> None:
        """The whole answer; `headers` have to be checked."""
        if self.gone or self.complete:
            return
        if self.stamp is not None:
            headers = self.stamp.mark(headers)
        lines = [STATUS_LINES[status], self.protocol.watch.date_line]
        if invocation_id:
            lines.append(f"x-invocation-id: {invocation_id}\r\n")
        for name, value in headers:
            if len(name) not in OWN_LENGTHS or name.lower() not in OWN:
                lines.append(f"{name}: {value}\r\n")
        if status not in BODILESS:
            lines.append(f"content-length: {len(body)}\r\n")
        elif status == 205:
            lines.append("content-length: 0\r\n")
        lines.append("\r\n" if self._stays_open() else "connection: close\r\n\r\n")
        head = "".join(lines).encode()
        self.started = True
        if not body or status in BODILESS or self.method == "HEAD":
            self.protocol.write_soon(head)
        elif len(body) <= ONE_WRITE:
            self.protocol.write_soon(head + body)
        else:
            self.protocol.write(head)
            self.protocol.write(body)
        self._end()

    def refuse(self, error: GuesthouseError, invocation_id: str = "") -> None:
        """Answers `error` as a problem, or breaks off where an answer has begun."""
        if self.started:
            self.abort()
            return
        self.protocol.app.services.metrics.problem(error.problem_type)
        status, headers, body = problem(error, invocation_id)
        self.answer(status, headers, body, invocation_id)

    # The answer, streamed (`interfaces.invocation.ResponseSink`)

    async def start(self, status: int, headers: Headers) -> None:
        """Sends status and headers."""
        checked = [field for field in check_headers(headers, MOST_STREAM_HEADERS) if field[0].lower() != VERDICT]
        self._says_keep_alive = KEEP_ALIVE in headers
        if self.invocation_id:
            checked = [*checked, ("x-invocation-id", self.invocation_id)]
        self._start(check_status(status), checked)

    async def send(self, data: bytes) -> None:
        """Sends bytes of the body and waits while the client reads too slowly; raises `Cancelled` once it is gone."""
        if self.gone:
            raise Cancelled("the client went away")
        self._write(data)
        if self.protocol.flow.write_paused:
            await self.protocol.flow.drain()
            if self.gone:
                raise Cancelled("the client went away")

    def finish(self) -> None:
        """Ends a streamed answer."""
        if self._framing == CHUNKED and not self.gone:
            self.protocol.write(b"0\r\n\r\n")
        self._end()

    async def left(self) -> None:
        """Waits until the whole answer has been handed to the connection, or the client is gone."""
        while not self.complete and not self.gone:
            await self._change()
        self.protocol.watch.batch.flush()

    def abort(self) -> None:
        """Breaks the connection off, so that the client sees that the answer is not whole."""
        self.complete = True
        self.wake()
        if not self.gone:
            if self._framing == UNTIL_CLOSE:  # a close would be a regular end there
                self.protocol.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET)
            self.protocol.transport.abort()

    # ASGI, for the routes behind

    def scope(self) -> dict[str, Any]:
        """ASGI's scope."""
        raw_path, _, query = self.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.0" if self.http_10 else "1.1",
            "server": self.protocol.server,
            "client": self.protocol.client,
            "scheme": "http",
            "method": self.method,
            "root_path": "",
            "path": raw_path.decode("ascii"),  # not decoded: no route has a name that would need it
            "raw_path": raw_path,
            "query_string": query,
            "headers": [(name.encode("latin-1"), value) for name, value in self.fields],
            "state": {},
            "guesthouse.exchange": self,
        }

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive."""
        if not self._body_over and not self.gone and not self.complete:
            try:
                data = await self.read()
            except Cancelled:
                return {"type": "http.disconnect"}
            self._body_over = not self.more_body and not self._body
            return {"type": "http.request", "body": data, "more_body": not self._body_over}
        while not self.gone and not self.complete:
            await self._change()
        return {"type": "http.disconnect"}

    async def asgi_send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI's send."""
        if self.gone:
            return
        if message["type"] == "http.response.start":
            self._asgi_start = (message["status"], message.get("headers", ()))
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self.started:
            status, headers = self._asgi_start or (500, ())
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
            checked = check_headers(pairs, MOST_STREAM_HEADERS)
            if not more:
                self.answer(status, checked, body)
                return
            self._start(status, checked)
        self._write(body)
        if not more:
            self.finish()
        elif self.protocol.flow.write_paused:
            await self.protocol.flow.drain()

    # Underneath

    def _start(self, status: int, headers: Headers) -> None:
        if self.started or self.gone:
            return
        self.started = True
        if self.stamp is not None:
            headers = self.stamp.mark(headers)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        framing = "content-length: 0\r\n" if status == 205 else ""
        if self.http_10:
            self._framing, self.keep_alive = UNTIL_CLOSE, False
        elif status not in BODILESS:
            self._framing, framing = CHUNKED, "transfer-encoding: chunked\r\n"
        if status in BODILESS or self.method == "HEAD":
            self._framing = NO_BODY
        staying = "connection: keep-alive\r\n\r\n" if self._says_keep_alive else "\r\n"
        end = staying if self._stays_open() else "connection: close\r\n\r\n"
        head = f"{STATUS_LINES[status]}{self.protocol.watch.date_line}{lines}{framing}{end}"
        self.protocol.write(head.encode())

    def _write(self, data: bytes) -> None:
        if not data or self.gone:
            return
        if self._framing == CHUNKED:
            self.protocol.write(b"%x\r\n%b\r\n" % (len(data), data))
        elif self._framing == UNTIL_CLOSE:
            self.protocol.write(data)

    def _stays_open(self) -> bool:
        """Whether the connection is of use after this answer: not if the client is still sending what nobody reads."""
        if self.more_body:
            self.keep_alive = False
        return self.keep_alive

    def _end(self) -> None:
        self.complete = True
        self._body = b""
        self.wake()
        self.protocol.answered(self)

    async def _change(self) -> None:
        self._waiter = self.protocol.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
