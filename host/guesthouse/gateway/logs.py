"""A function's log over HTTP: the newest records, and then, if asked, each new one as it comes.

Promises: a reader that is too slow, or gone, costs no guest any time.  Must not know what made a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest, NotFound, Unavailable
from guesthouse.gateway.queries import choose, since_ns, whole_number
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
MOST_READERS: Final = 64
"""Who may follow one function: each gets every record while its guest waits."""
NDJSON: Final = "application/x-ndjson"
PARAMETERS: Final = frozenset({"tail", "follow", "level", "since", "invocation"})
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
        return self.answer(
            request,
            f"{namespace}/{name}",
            whole_number("tail", query.get("tail", str(TAIL)), MOST_TAIL),
            self._selection(query),
            _event if events else _line,
            follow=FOLLOW[query.get("follow", "0")],
            events=events,
        )

    def answer(
        self,
        request: Request,
        function: str,
        tail: int,
        selection: Selection,
        form: Callable[[Entry], bytes],
        *,
        follow: bool,
        events: bool = False,
    ) -> Response:
        """The newest `tail` selected records of `function`, each in its `form`, and all further ones if they are followed."""
        media_type = EVENTS if events else NDJSON
        if not follow:
            body = b"".join(form(entry) for entry in self._services.logs.tail(function, tail, selection))
            return Response(body, headers=HEADERS, media_type=media_type)
        heartbeat = b": \n\n" if events else b"\n"
        return self._streams.answer(
            request, lambda: self._follow(function, tail, selection), form, media_type=media_type, heartbeat=heartbeat
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
        since = since_ns(query["since"], self._services.clock.wall_ns()) if query.get("since") else 0
        return Selection(SEVERITY[level], since, invocation)


def _chosen(query: QueryParams) -> dict[str, str]:
    chosen = choose(query, PARAMETERS)
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
