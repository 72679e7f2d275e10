"""`ResponseStream`: an answer that leaves while its guest still runs, as server-sent events or as raw bytes.

Promises: one call of `send_sse` is one event, whatever its data holds; the head goes out once; every mistake of the
guest is a `Refused` with a text for it.  Must not know what carries the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from guesthouse.errors import BadAnswer, GuesthouseError
from guesthouse.interfaces.bytes import Data, buffer_of, collect, discard, peek
from guesthouse.interfaces.web.headers import BODILESS, check_headers, check_status

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation, ResponseSink

SSE_HEADERS: Final = (
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("connection", "keep-alive"),
)
MOST_NAME_BYTES: Final = 512
MOST_DATA_BYTES: Final = 1 << 20
ENDS_A_FIELD = re.compile(r"[\r\n\0]")


class Refused(Exception):
    """What the guest asked of the stream cannot be done; the text is the guest's to read."""


class ResponseStream:
    """The answer of one invocation, from its first streamed byte on."""

    __slots__ = ("_explicit", "_invocation", "_left", "sse", "started", "status")

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._left = invocation.limits.response_bytes
        self._explicit = False
        self.started = False
        """True once status and headers have left; from then on the returned response cannot replace them."""
        self.sse = False
        """True once an event was sent."""
        self.status = 200

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Sends status and headers, once, before anything else."""
        if self.started:
            raise Refused("the response was already started")
        sink = self._sink()
        try:
            checked = check_headers(headers, self._invocation.limits.response_headers)
            self.status = check_status(status)
        except BadAnswer as error:
            raise Refused(str(error)) from None
        self.started = self._explicit = True
        await sink.start(status, checked)

    async def send(self, data: Data) -> None:
        """Sends bytes of a body that was started explicitly, as they are."""
        if not self._explicit:
            raise Refused("send-response-start must be called before send-data")
        sink = self._sink()
        found = peek(data)
        if found is not None:
            self._charge(len(found))
            if found:
                await sink.send(found)
            return
        buffer = buffer_of(data)
        while await buffer.fill():
            self._charge(buffer.remaining)
            await sink.send(buffer.take())
        if buffer.failure is not None:
            raise Refused(f"the data broke off: {buffer.failure.public}")

    async def send_sse(self, event: str | None, event_id: str | None, data: Data | None) -> None:
        """Sends one event; the first one also starts the answer, where the guest has not."""
        if event is None and data is None:
            raise Refused("event or data must be provided")
        _check_field("bad event name", event)
        _check_field("bad event id", event_id)
        text = None if data is None else await self._read_event_data(data)
        sink = self._sink()
        block = format_event(event, event_id, text)
        self._charge(len(block))
        if not self.started:
            self.started = True
            await sink.start(200, SSE_HEADERS)
        self.sse = True
        await sink.send(block)

    async def finish(self, status: int, body: Data) -> bool:
        """Ends the answer as the response that the guest returned in the end asks; `False` if it has to be broken off.

        After events a status that is not 2xx becomes one last event `http-error`; after a raw body nothing but breaking
        off can tell the client, for its status has left long ago.
        """
        try:
            if 200 <= status <= 299:
                return True
            return self.sse and await self._send_error(status, body)
        finally:
            discard(body)  # what it was read from may be somebody else's connection

    async def _send_error(self, status: int, body: Data) -> bool:
        text = f"HTTP {status}: ".encode() + (await _prefix(body, MOST_DATA_BYTES)).decode("utf-8", "replace").encode()
        text = text[:MOST_DATA_BYTES].decode("utf-8", "ignore").encode()  # the cut may have gone through a character
        await self._sink().send(format_event("http-error", None, text))
        return True

    def _sink(self) -> ResponseSink:
        sink = self._invocation.response
        if sink is None:
            raise Refused("this invocation has nobody to stream a response to")
        if self.started and self.status in BODILESS:
            raise Refused(f"a response with status {self.status} has no body")
        return sink

    def _charge(self, size: int) -> None:
        if size > self._left:
            raise Refused(f"the response is over {self._invocation.limits.response_bytes} bytes")
        self._left -= size

    async def _read_event_data(self, data: Data) -> bytes:
        try:
            found = peek(data)
            if found is None or len(found) > MOST_DATA_BYTES:
                found = await collect(data, MOST_DATA_BYTES)
            found.decode()
        except UnicodeDecodeError as error:
            raise Refused(f"bad data: not valid UTF-8 at byte {error.start}") from None
        except GuesthouseError as error:
            raise Refused(f"bad data: {error.public}") from None
        return found


def format_event(event: str | None, event_id: str | None, data: bytes | None) -> bytes:
    """One event as it goes over the wire; every line break in `data` begins another `data:` line of the same event."""
    lines = []
    if event is not None:
        lines.append(b"event: " + event.encode())
    if event_id is not None:
        lines.append(b"id: " + event_id.encode())
    if data is not None:
        one_break = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines.append(b"data: " + one_break.replace(b"\n", b"\ndata: ") if data else b"data:")
    return b"\n".join(lines) + b"\n\n"


def _check_field(what: str, value: str | None) -> None:
    if value is None:
        return
    if len(value.encode()) > MOST_NAME_BYTES:
        raise Refused(f"{what}: over {MOST_NAME_BYTES} bytes")
    if ENDS_A_FIELD.search(value):
        raise Refused(f"{what}: holds a line break or a null character")


async def _prefix(data: Data, most: int) -> bytes:
    """The first `most` bytes of what can be read of `data`, also where it breaks off."""
    found = peek(data)
    if found is not None:
        return found[:most]
    buffer, pieces = buffer_of(data), []
    while most > 0 and await buffer.fill():
        pieces.append(buffer.read(most) or b"")
        most -= len(pieces[-1])
    return b"".join(pieces)
