"""A function's log over HTTP: the newest records, and then, if asked, each new one as it comes.

Promises: a reader that is too slow, or gone, costs no guest any time.  Must not know what made a record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest, NotFound, Unavailable
from guesthouse.gateway.auth import PARAMETER
from guesthouse.gateway.services import Principal
from guesthouse.gateway.streams import EVENTS, HEADERS
from guesthouse.registry.deployment import check_name
from guesthouse.telemetry import Entry, Selection
from guesthouse.telemetry.records import SEVERITY, Follower, rfc3339

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

    from guesthouse.gateway.app import App

MOST_TAIL: Final = 1_000
TAIL: Final = 100
MOST_DIGITS: Final = 20
MOST_READERS: Final = 64
"""Who may follow one function: each gets every record while its guest waits."""
NDJSON: Final = "application/x-ndjson"
UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
AGO: Final = re.compile(r"([0-9]{1,9})([smhd])\Z")
PARAMETERS: Final = frozenset({"tail", "follow", "level", "since", "invocation", PARAMETER})
FOLLOW: Final = {"1": True, "true": True, "": True, "0": False, "false": False}
INVOCATION: Final = re.compile(r"[\w-]{1,64}\Z", re.ASCII)


class TooManyReaders(Unavailable):
    """A function's log is followed by as many as there may be."""

    status = 429
    problem_type = "too-many-readers"
    title = "Too many follow this log already"


class Logs:
    """The endpoint, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._services = app.services
        self._streams = app.streams

    async def logs(self, request: Request, principal: Principal) -> Response:
        """`?tail=N` old records, with `?follow=1` also the new ones, as lines of JSON or as server-sent events.

        `?level=`, `?since=` and `?invocation=` choose among them.
        """
        path, query = request.path_params, _chosen(request.query_params)
        namespace, name = check_name("namespace", path["namespace"]), check_name("function", path["name"])
        if self._services.registry.get(namespace, name) is None:
            raise NotFound("there is no such function")
        events = EVENTS in request.headers.get("accept", "")
        form = _event if events else _line
        tail = _number(query.get("tail", str(TAIL)))
        selection = self._selection(query)
        function = f"{namespace}/{name}"
        if not FOLLOW[query.get("follow", "0")]:
            body = b"".join(form(entry) for entry in self._services.logs.tail(function, tail, selection))
            return Response(body, headers=HEADERS, media_type=EVENTS if events else NDJSON)
        return self._streams.answer(
            request,
            lambda: self._follow(function, tail, selection),
            form,
            media_type=EVENTS if events else NDJSON,
            heartbeat=b": \n\n" if events else b"\n",
        )

    def _follow(self, function: str, tail: int, selection: Selection) -> Follower:
        if self._services.logs.followed(function) >= MOST_READERS:
            raise TooManyReaders(f"{MOST_READERS} readers follow the log of {function}")
        return self._services.logs.follow(function, tail, selection)

    def _selection(self, query: Mapping[str, str]) -> Selection:
        level, invocation = query.get("level", "debug"), query.get("invocation", "")
        if level not in SEVERITY or level == "off":
            raise BadRequest("level is one of debug, info, warn and error")
        if invocation and not INVOCATION.match(invocation):
            raise BadRequest("invocation is the id of an invocation, or its end")
        since_ns = _since_ns(query["since"], self._services.clock.wall_ns()) if query.get("since") else 0
        return Selection(SEVERITY[level], since_ns, invocation)


def _chosen(query: QueryParams) -> dict[str, str]:
    """The parameters, each at most once; raises `BadRequest` for what is none, as a typing error would be obeyed in silence."""
    chosen: dict[str, str] = {}
    for name, value in query.multi_items():
        if name not in PARAMETERS:
            raise BadRequest(f"unknown parameter {name[:64]!r}")
        if name in chosen:
            raise BadRequest(f"{name} is given twice")
        chosen[name] = value
    if chosen.get("follow", "0") not in FOLLOW:
        raise BadRequest("follow is 1 or 0")
    return chosen


def _line(entry: Entry) -> bytes:
    time_ns, level, source, text = entry.record
    document = {
        "time": rfc3339(time_ns),
        "level": level,
        "source": source,
        "invocation_id": entry.invocation_id,
        "text": text,
    }
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _event(entry: Entry) -> bytes:
    return b"data: " + _line(entry) + b"\n"


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise BadRequest("tail is a number")
    return min(int(text), MOST_TAIL)


def _since_ns(text: str, now_ns: int) -> int:
    """A time from which on records are wanted, in nanoseconds: `15m` ago, or RFC 3339."""
    ago = AGO.match(text)
    if ago is not None:
        return now_ns - int(ago[1]) * UNITS[ago[2]] * 1_000_000_000
    try:
        if len(text) > 40:
            raise ValueError
        time = datetime.fromisoformat(text[:11] + text[11:].replace(" ", "+"))  # a plus in a query is a space
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000) * 1_000
    except (ValueError, OverflowError):
        raise BadRequest("since is a time like 2026-01-02T03:04:05Z, or 90s, 15m, 2h, 1d for that long ago") from None
