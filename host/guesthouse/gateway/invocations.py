"""The routes of invocations and queues: what became of calls, and what to do about them.

Promises: an invocation of a function that the token may not see does not exist for it; pages are bounded, also where most
of what is looked through may not be shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from guesthouse.dispatch.ended import read_answer
from guesthouse.errors import BadRequest, GuesthouseError
from guesthouse.gateway.queries import choose, since_ns, whole_number
from guesthouse.gateway.records import describe_page, describe_queue, describe_record, describe_request
from guesthouse.gateway.routes import INVOKE, MANAGE, READ
from guesthouse.gateway.services import Principal
from guesthouse.gateway.visible import find_visible, readable
from guesthouse.gateway.wishes import MOST_WAIT_SECONDS
from guesthouse.queue.call import LIVE, Output, Record, State
from guesthouse.queue.queue import FunctionKey, Page
from guesthouse.registry.deployment import check_name

if TYPE_CHECKING:
    from guesthouse.gateway.app import App
    from guesthouse.gateway.exchange import Exchange

MOST_RECORDS: Final = 1_000
"""On one page: a megabyte of JSON."""
RECORDS: Final = 100
MOST_PAGES: Final = 10
"""Pages that one request looks through for records that its token may see."""
MOST_CURSOR: Final = 256
WAIT_SECONDS: Final = 60
STATES: Final = frozenset(get_args(State))


class Invocations:
    """Endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._invocations = app.services.invocations
        self._clock = app.services.clock

    async def invocations(self, request: Request, principal: Principal) -> Response:
        """A page of records, newest first."""
        query = choose(request.query_params, {"function", "state", "since", "limit", "after"})
        most = max(1, whole_number("limit", query.get("limit", str(RECORDS)), MOST_RECORDS))
        state, after = query.get("state"), query.get("after")
        if state is not None and state not in STATES:
            raise BadRequest(f"state is one of {', '.join(sorted(STATES))}")
        if after is not None and len(after) > MOST_CURSOR:
            raise BadRequest("after is what the page before says as its next")
        wanted = Page(
            _function(query["function"]) if "function" in query else None,
            state=state,
            since_ms=since_ns(query["since"], self._clock.wall_ns()) // 1_000_000 if query.get("since") else None,
            after=after,
        )
        return _json(describe_page(*await self._page(principal, most, wanted)))

    async def _page(self, principal: Principal, most: int, wanted: Page) -> tuple[list[Record], str | None]:
        after = wanted.after
        found: list[Record] = []
        for _ in range(MOST_PAGES):
            records, after = await self._invocations.list(wanted._replace(most=most - len(found), after=after))
            found += [record for record in records if readable(record, principal)]
            if after is None or len(found) >= most:
                break
        return found, after

    async def invocation(self, request: Request, principal: Principal) -> Response:
        """What is known of one."""
        return _json(describe_record(await self._find(request, principal, READ)))

    async def invocation_output(self, request: Request, principal: Principal) -> Response:
        """What it answered."""
        return await self._answer(await self._find(request, principal, READ, INVOKE))

    async def invocation_attach(self, request: Request, principal: Principal) -> Response:
        """Waits for its end, and answers what it answered."""
        query = choose(request.query_params, {"timeout"})
        timeout_s = whole_number("timeout", query.get("timeout", str(WAIT_SECONDS)), MOST_WAIT_SECONDS)
        exchange: Exchange = request.scope["guesthouse.exchange"]
        exchange.end_when_gone()
        record = await self._find(request, principal, READ, INVOKE)
        if record.state in LIVE:
            record = await self._invocations.attach(record.id, timeout_s)
        if record.state in LIVE:
            return Response(status_code=202, headers={"location": f"/invocations/{record.id}"})
        return await self._answer(record)

    async def invocation_request(self, request: Request, principal: Principal) -> Response:
        """What it was asked, where it may be asked once more."""
        record = await self._find(request, principal, READ, INVOKE)
        return _json(describe_request(await self._invocations.request(record.id)))

    async def invocation_drop(self, request: Request, principal: Principal) -> Response:
        """Forgets the request of a dead letter."""
        record = await self._find(request, principal, MANAGE)
        await self._invocations.drop(record.id)
        return Response(status_code=204)

    async def invocation_cancel(self, request: Request, principal: Principal) -> Response:
        """Ends one that has not ended."""
        record = await self._find(request, principal, INVOKE, MANAGE)
        await self._invocations.cancel(record.id)
        return Response(status_code=202)

    async def invocation_kill(self, request: Request, principal: Principal) -> Response:
        """Ends one that has not ended, and all that it called and waits for, without asking."""
        record = await self._find(request, principal, INVOKE, MANAGE)
        await self._invocations.kill(record.id)
        return Response(status_code=202)

    async def queues(self, request: Request, principal: Principal) -> Response:
        """Every queue that the token may read of."""
        found = [
            describe_queue(state)
            for state in await self._invocations.queues()
            if principal.allows(READ, *state.function)
        ]
        return _json({"queues": found})

    async def _find(self, request: Request, principal: Principal, *scopes: str) -> Record:
        return await find_visible(self._invocations, request.path_params["id"], principal, *scopes)

    async def _answer(self, record: Record) -> Response:
        """The function's own answer, or the problem that it ended with."""
        try:
            return PassedOn(record.id, await read_answer(self._invocations, record))
        except GuesthouseError as error:
            return PassedOn(record.id, error)


class PassedOn(Response):
    """An answer of a function that was kept, written as the invoke route writes it."""

    def __init__(self, id: str, answer: Output | GuesthouseError) -> None:
        super().__init__()
        self._id = id
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["guesthouse.exchange"]
        if isinstance(self._answer, Output):
            exchange.answer(self._answer.status, self._answer.headers, self._answer.body, self._id)
        else:
            exchange.refuse(self._answer, self._id)


def _function(text: str) -> FunctionKey:
    namespace, slash, name = text.partition("/")
    if not slash:
        raise BadRequest("function is NAMESPACE/NAME")
    return check_name("namespace", namespace), check_name("function", name)


def _json(document: Any) -> Response:
    return Response(orjson.dumps(document), media_type="application/json", headers={"cache-control": "no-store"})
