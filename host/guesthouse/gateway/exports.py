"""The routes of journals: what an invocation has done so far, all of it in one file, and how a dead letter goes on.

Promises: what callers and functions said to each other (it is in exports) is given only to whoever may manage the function;
the list of a journal has no word of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from guesthouse.dispatch.exports import MEDIA_TYPE, SUFFIX
from guesthouse.errors import BadRequest
from guesthouse.gateway.queries import choose, whole_number
from guesthouse.gateway.routes import MANAGE, READ
from guesthouse.gateway.services import Principal
from guesthouse.gateway.visible import find_visible

if TYPE_CHECKING:
    from guesthouse.gateway.app import App
    from guesthouse.queue.call import Record

MOST_ENTRIES: Final = 10_000
"""Entries that one list shows: a megabyte of JSON."""
MOST_NUMBER: Final = 1 << 31
WORDS: Final = {"true": True, "false": False}


class Exports:
    """Endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._invocations = app.services.invocations
        self._recordings = app.services.recordings

    async def invocation_journal(self, request: Request, principal: Principal) -> Response:
        """Which calls are recorded of it, and how large they are."""
        record = await self._find(request, principal, READ)
        found = await self._recordings.journal(record.id, MOST_ENTRIES)
        return Response(orjson.dumps(found), media_type="application/json", headers={"cache-control": "no-store"})

    async def invocation_export(self, request: Request, principal: Principal) -> Response:
        """The whole invocation, as one file."""
        query = choose(request.query_params, {"module"})
        record = await self._find(request, principal, MANAGE)
        data = await self._recordings.export(record.id, module=_truth("module", query.get("module", "true")))
        name = f'attachment; filename="{record.id}{SUFFIX}"'
        headers = {"cache-control": "no-store", "content-disposition": name, "x-content-type-options": "nosniff"}
        return Response(data, media_type=MEDIA_TYPE, headers=headers)

    async def invocation_redrive(self, request: Request, principal: Principal) -> Response:
        """Queues a dead letter once more."""
        query = choose(request.query_params, {"from", "version", "fail"})
        numbers: dict[str, Any] = {
            name: whole_number(name, query[name], MOST_NUMBER) for name in ("from", "version") if name in query
        }
        fail = _truth("fail", query.get("fail", "false"))
        record = await self._find(request, principal, MANAGE)
        await self._recordings.redrive(
            record.id, from_entry=numbers.get("from"), version=numbers.get("version"), fail=fail
        )
        return Response(status_code=202, headers={"location": f"/invocations/{record.id}"})

    async def _find(self, request: Request, principal: Principal, scope: str) -> Record:
        return await find_visible(self._invocations, request.path_params["id"], principal, scope)


def _truth(name: str, text: str) -> bool:
    if text not in WORDS:
        raise BadRequest(f"{name} is true or false")
    return WORDS[text]
