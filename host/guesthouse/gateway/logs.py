"""A function's log over HTTP: the newest records, and then, if asked, each new one as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from guesthouse.errors import BadRequest, NotFound
from guesthouse.gateway.services import Principal
from guesthouse.registry.deployment import check_name
from guesthouse.telemetry import Entry

if TYPE_CHECKING:
    from guesthouse.gateway.app import App

MOST_TAIL: Final = 1_000
TAIL: Final = 100
HEARTBEAT_SECONDS: Final = 15.0
"""A quiet stream sends something this often, so that a reader that is gone is noticed."""
NDJSON: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"


class Logs:
    """The endpoint, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._services = app.services
        self._stopping = app.stopping

    async def logs(self, request: Request, principal: Principal) -> Response:
        """`?tail=N` old records, with `?follow=1` also the new ones, as lines of JSON or as server-sent events."""
        path = request.path_params
        namespace, name = check_name("namespace", path["namespace"]), check_name("function", path["name"])
        if self._services.registry.get(namespace, name) is None:
            raise NotFound("there is no such function")
        events = EVENTS in request.headers.get("accept", "")
        form = _event if events else _line
        tail = _number(request.query_params.get("tail", str(TAIL)))
        function = f"{namespace}/{name}"
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
        if request.query_params.get("follow", "0") not in ("1", "true", ""):
            body = b"".join(form(entry) for entry in self._services.logs.tail(function, tail))
            return Response(body, headers=headers, media_type=EVENTS if events else NDJSON)
        lines = self._follow(function, tail, form, b": \n\n" if events else b"\n")
        return StreamingResponse(lines, headers=headers, media_type=EVENTS if events else NDJSON)

    async def _follow(
        self, function: str, tail: int, form: Callable[[Entry], bytes], heartbeat: bytes
    ) -> AsyncIterator[bytes]:
        """Lines until the reader goes away or the server stops."""
        yield heartbeat  # sends the headers
        entries = self._services.logs.follow(function, tail)
        stop = asyncio.ensure_future(self._stopping.wait())
        following = asyncio.ensure_future(anext(entries))
        try:
            while not stop.done():
                await asyncio.wait((stop, following), timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not following.done():
                    yield heartbeat
                    continue
                yield form(following.result())
                following = asyncio.ensure_future(anext(entries))
        finally:
            stop.cancel()
            following.cancel()
            await asyncio.wait((following,))
            await entries.aclose()


def _line(entry: Entry) -> bytes:
    time_ns, level, source, text = entry.record
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    time = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
    document = {"time": time, "level": level, "source": source, "invocation_id": entry.invocation_id, "text": text}
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _event(entry: Entry) -> bytes:
    return b"data: " + _line(entry) + b"\n"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise BadRequest("tail is a number")
    return min(int(text), MOST_TAIL)
