"""`Protocol`: one connection, from bytes to `Exchange`s, strict about what HTTP/1.1 is and about time.

Promises: a request that RFC 9112 does not allow is refused and its connection closed (C3); no peer holds more memory
than `config.Http` allows (C2); a request that can be answered at once is answered from within the parser's callback,
without a task, a timer or an event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from guesthouse.errors import BadRequest, GuesthouseError, HostError
from guesthouse.gateway.batch import CLOSE, END
from guesthouse.gateway.deadlines import Deadlines
from guesthouse.gateway.exchange import Exchange
from guesthouse.gateway.grammar import (
    ASKING,
    NOT_HTTP,
    NOTED,
    check_host,
    check_target,
    check_transfer_encoding,
    lower_name,
)
from guesthouse.gateway.problems import HeadersTooLarge, TooManyConnections, UriTooLong
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from guesthouse.gateway.app import App

HELD_BYTES: Final = 64 * 1024
"""A body of known length up to here is received before anybody looks at the request."""
CHUNK_OVERHEAD: Final = 16
"""Bytes on the wire for each byte of a chunked body: one-byte chunks need six."""
log = logger("gateway")


class Protocol(Deadlines, HttpToolsProtocol):
    """uvicorn's protocol with our own exchanges, bounds and deadlines in place of its cycles and timers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.app: App = config.app  # type: ignore[assignment]
        self.watch = self.app.watch
        self.limits = self.watch.settings
        self._address = ""
        # The request whose headers arrive
        self._in_head = False
        self._head_bytes = 0
        self._read_bytes = 0
        self._behind = self._began_behind = False  # another request has ended in this read; had, when this one began
        self._asks_upgrade = self._asks = False
        self._url = b""
        self._fields: list[tuple[str, bytes]] = []
        self._host: bytes | None = None
        self._length: int | None = 0
        self._expects_continue = False
        self._upgrades = 0
        self._reframing = False
        # The request whose body arrives, the one that is being answered, and those behind it
        self._wire_bytes = 0
        self._active: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._refusal: GuesthouseError | None = None
        self._over = False
        """True once no request that follows will be answered."""

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast("asyncio.Transport", transport))
        self._address = self.client[0] if self.client else ""
        self.head_since = self.watch.now
        if not self.watch.admit(self._address):
            self.watch.refused += 1
            self.linger_since = self.watch.now
            self._say(TooManyConnections("there are too many connections"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self.watch.leave(self._address)
        self._lose()
        self._waiting.clear()
        self._active = self.receiving = None
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]

    def eof_received(self) -> None:
        """The client has ended its side, and so the connection: as uvicorn does."""
        self._lose()

    def _lose(self) -> None:
        for exchange in (self._active, self.receiving):
            if exchange is not None:
                exchange.lose()

    def write(self, data: bytes) -> None:
        """Sends `data`."""
        self.watch.batch.send(self.transport, data)

    def write_soon(self, data: bytes) -> None:
        """Sends a small whole answer, together with those of other connections."""
        self.watch.batch.hold(self.loop, self.transport, data)

    def close(self) -> None:
        """Closes the connection once everything is sent."""
        self.watch.batch.send(self.transport, CLOSE)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._advance()

    def shutdown(self) -> None:
        """The server stops: idle connections close, others after their answer."""
        if self._active is None and self.receiving is None:
            self.close()
        else:
            for exchange in (self._active, self.receiving, *self._waiting):
                if exchange is not None:
                    exchange.keep_alive = False

    def data_received(self, data: bytes) -> None:
        if self._over:
            return  # what a refused client still sends
        size = self._read_bytes = len(data)
        self._behind = False
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as upgrade:
                    data = data[upgrade.args[0] :]
                    self._ignore_upgrade()
            if self._in_head or self.receiving is not None:
                self._account(size)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, GuesthouseError):
                log.error("a request could not be read", exc_info=cause)
                cause = HostError("a request could not be read")
            self.refuse(cause)
        except GuesthouseError as error:
            self.refuse(error)
        except httptools.HttpParserError:
            self.refuse(BadRequest("this is not HTTP/1.1"))

    # The parser's callbacks

    def on_message_begin(self) -> None:
        if self._reframing:
            return
        self.idle_since = 0.0
        self.head_since = self.head_since or self.watch.now
        self._in_head = True
        self._began_behind = self._behind
        self._head_bytes = -self._read_bytes if self._behind else 0  # what came before it in this read is not its own
        self._url = b""
        self._fields = []
        self._host = None
        self._length = 0
        self._expects_continue = self._asks_upgrade = self._asks = False

    def on_url(self, url: bytes) -> None:
        if self._reframing:
            return
        self._url = self._url + url if self._url else url
        if len(self._url) > self.limits.uri_bytes:
            raise UriTooLong(f"the path and query are over {self.limits.uri_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nobody asked for it, and it must not pass for a header
        lower = lower_name(name)
        if value and value[-1] <= 32:
            value = value.rstrip(b" \t")
        if lower in NOTED:
            self._note(lower, value)
        self._fields.append((lower, value))

    def on_headers_complete(self) -> None:
        if self._reframing:
            return
        self._in_head, self.head_since = False, 0.0
        if self._over:
            return
        exchange = self._make_exchange()
        self.receiving = exchange
        self._wire_bytes = -self._read_bytes
        if self._active is None and not self._waiting and not self.flow.write_paused:
            self._active = exchange
            if exchange.expects_continue or (exchange.length or 0) > HELD_BYTES:
                self._begin(exchange)
        else:
            if len(self._waiting) >= self.limits.pipelined_requests:
                raise BadRequest(f"over {self.limits.pipelined_requests} requests wait on this connection")
            self._waiting.append(exchange)
            self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        exchange = self.receiving
        if exchange is None:
            return
        exchange.feed(body)
        if exchange.buffered > HELD_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        self._behind = True
        exchange = self.receiving
        if exchange is None or (self._asks_upgrade and exchange.length != 0 and self.parser.should_upgrade()):
            return  # the parser takes the body behind an upgrade for another protocol; see `_ignore_upgrade`
        self.receiving = None
        exchange.more_body = False
        if exchange.begun:
            exchange.wake()
        elif exchange is self._active:
            self._begin(exchange)

    # Requests

    def _note(self, name: str, value: bytes) -> None:
        """Takes in a header that decides where this request ends, who it is for, or how a function is called."""
        if name == "host":
            if self._host is not None:
                raise BadRequest("there is more than one Host header")
            self._host = check_host(value)
        elif name == "content-length":
            self._length = int(value)
        elif name == "transfer-encoding":
            check_transfer_encoding(value)
            self._length = None
        elif name == "upgrade":
            self._asks_upgrade = True
        elif name in ASKING:
            self._asks = True
        elif value.lower() == b"100-continue":
            self._expects_continue = True

    def _make_exchange(self) -> Exchange:
        """The request whose headers are complete; raises what makes it one that nobody may answer."""
        parser, limits, fields = self.parser, self.limits, self._fields
        version = parser.get_http_version()
        method = parser.get_method().decode("ascii")
        if method in NOT_HTTP:
            raise BadRequest(f"the method {method} is not answered here")
        if self._upgrades and self._asks_upgrade and parser.should_upgrade():
            raise BadRequest("a connection can be asked to upgrade once")
        if len(fields) > limits.header_count:
            raise HeadersTooLarge(f"there are over {limits.header_count} headers")
        if self._began_behind or self._head_bytes + self._read_bytes > limits.header_bytes:
            self._measure_head()
        if version != "1.1" and (version != "1.0" or self._length is None):
            raise BadRequest("this is not HTTP/1.1")
        if self._host is None and version == "1.1":
            raise BadRequest("there is no Host header")
        target, host = check_target(self._url, self._host or b"")
        exchange = Exchange(self, method, target, fields, host)
        exchange.length = self._length
        exchange.expects_continue, exchange.asks = self._expects_continue, self._asks
        exchange.http_10 = version == "1.0"
        exchange.keep_alive = not exchange.http_10 and parser.should_keep_alive()
        return exchange

    def _measure_head(self) -> None:
        """Counts exactly, where what was read could be too much."""
        if sum(len(name) + len(value) for name, value in self._fields) > self.limits.header_bytes:
            raise HeadersTooLarge(f"the headers are over {self.limits.header_bytes} bytes")

    def _begin(self, exchange: Exchange) -> None:
        """Somebody looks at the request: the hot route may answer it on the spot."""
        exchange.begun = True
        if self.app.now(exchange):
            return
        exchange.task = task = self.loop.create_task(self.app.run(exchange))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def answered(self, exchange: Exchange) -> None:
        """An exchange's answer has left completely."""
        self.server_state.total_requests += 1
        if self._active is exchange:
            self._active = None
        if exchange.gone or self.transport.is_closing():
            return
        if exchange.more_body:
            self._linger()
        elif not exchange.keep_alive:
            self._over = True
            self.close()
        else:
            if not self._waiting:
                self.flow.resume_reading()
            self._advance()

    def _advance(self) -> None:
        """Goes on with what waits: the next request, a refusal, or being idle."""
        if self._active is not None or self.flow.write_paused or self.transport.is_closing():
            return
        if self._waiting:
            exchange = self._active = self._waiting.popleft()
            if not self._waiting:
                self.flow.resume_reading()
            if not exchange.more_body or exchange.expects_continue or not 0 <= (exchange.length or -1) <= HELD_BYTES:
                self.loop.call_soon(self._begin_if_open, exchange)
        elif self._refusal is not None:
            self._say(self._refusal)
        elif self.receiving is None and not self._in_head:
            self.idle_since = self.watch.now

    def _begin_if_open(self, exchange: Exchange) -> None:
        if not exchange.gone and not exchange.begun:
            self._begin(exchange)

    # Bounds

    def _account(self, size: int) -> None:
        """After a read that ended inside a request: how much of it was not body."""
        exchange = self.receiving
        if exchange is None:
            self._head_bytes += size
            if self._head_bytes > self.limits.header_bytes + self.limits.uri_bytes:
                raise HeadersTooLarge(f"the headers are over {self.limits.header_bytes} bytes")
            return
        self._wire_bytes += size
        if exchange.length is not None:
            return
        if self._wire_bytes > self.limits.header_bytes + CHUNK_OVERHEAD * exchange.arrived:
            raise BadRequest("the body is mostly framing")
        if exchange is self._active and not exchange.begun:
            self._begin(exchange)

    # Refusals

    def refuse(self, error: GuesthouseError) -> None:
        """Answers nothing more on this connection but `error`, after what is being answered."""
        if self._over or self.transport.is_closing():
            return  # it has its last answer already
        self._refusal, self._over = error, True
        self.head_since = 0.0
        receiving, self.receiving = self.receiving, None
        if receiving is not None and receiving is self._active:
            self._break_off(receiving, error)
            return
        self._waiting = deque(exchange for exchange in self._waiting if exchange is not receiving)
        self.flow.pause_reading()
        self._advance()

    def _break_off(self, exchange: Exchange, error: GuesthouseError) -> None:
        """The request that is being answered turns out to be broken itself."""
        exchange.lose()
        self._active = None
        self._waiting.clear()
        if exchange.started:
            self.transport.abort()
        else:
            self._say(error)

    def _say(self, error: GuesthouseError) -> None:
        """The last answer on this connection."""
        Exchange(self, "GET", b"", [], b"").refuse(error)

    def _linger(self) -> None:
        """Ends our side, and goes on reading for a while: closing now would make the client lose the answer."""
        self._over = True
        self.linger_since = self.watch.now
        self.idle_since = self.head_since = 0.0
        self.receiving = None
        self.flow.resume_reading()
        self.watch.batch.send(self.transport, END)

    def _ignore_upgrade(self) -> None:
        """Goes on in HTTP/1.1 behind a request that asked for another protocol, with the body that the parser left."""
        self._upgrades += 1
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._asks_upgrade = False
        exchange = self.receiving
        if exchange is None or exchange.length == 0:
            return
        framing = b"transfer-encoding: chunked" if exchange.length is None else b"content-length: %d" % exchange.length
        self._reframing = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\nhost: -\r\n%b\r\n\r\n" % framing)
        self._reframing = False
