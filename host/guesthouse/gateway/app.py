"""`App`: every request comes here; functions are answered at once, all other routes by Starlette behind.

The routes behind are built from the one table in `routes`, each with its scope checked before its endpoint runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute

from guesthouse.errors import Draining, GuesthouseError, HostError
from guesthouse.gateway import cache, health, logs, manage, topics
from guesthouse.gateway.auth import Gate
from guesthouse.gateway.functions import Functions, Place, parse_place, parse_query
from guesthouse.gateway.problems import MethodNotAllowed, RouteNotFound, problem
from guesthouse.gateway.routes import ANY_TOKEN, INVOKE, MANAGE, ROUTES, Route
from guesthouse.gateway.services import Principal, Services
from guesthouse.gateway.streams import Streams
from guesthouse.gateway.watch import Watch
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from guesthouse.gateway.exchange import Exchange

MOST_PLACES: Final = 4_096
LONGEST_PLACE: Final = 256
Endpoint = Callable[[Request, Principal], Awaitable[Response]]
Message = MutableMapping[str, Any]
log = logger("gateway")


class App:
    """The gateway's application, for our own protocol (`now`, then `run`); ASGI for everything but functions."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.gate = Gate(services.tokens, services.disposable)
        self.watch = Watch(services.config.http, services.clock)
        self.streams = Streams(self._still_admits)
        self.stopping = self.streams.stopping
        self._functions = Functions(services, self.gate)
        self._places: dict[bytes, Place | None] = {}
        self._routes = Starlette(
            routes=[self._route(route) for route in ROUTES if route.scope != INVOKE],
            exception_handlers={HTTPException: self._on_http_exception},
        )
        self._routes.router.redirect_slashes = False  # a path with one more slash is another path

    def now(self, exchange: Exchange) -> bool:
        """Answers a request to a function, if that needs no waiting; true if it did."""
        path, _, query = exchange.target.partition(b"?")
        try:
            place = self._places[path]
        except KeyError:
            try:
                place = self._place(path)
            except GuesthouseError as error:
                exchange.refuse(error)
                return True
        return place is not None and self._functions.now(exchange, place, query)

    async def run(self, exchange: Exchange) -> None:
        """Answers a request that `now` did not."""
        if exchange.state is not None:
            await self._functions.later(exchange)
            return
        try:
            await self(exchange.scope(), exchange.receive, exchange.asgi_send)
        except (ClientDisconnect, asyncio.CancelledError):
            exchange.abort()
        except Exception as error:
            log.error("a request failed in the host", exc_info=error)
            exchange.refuse(HostError("a request failed in the host"))

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """ASGI, without the functions."""
        await self._routes(scope, receive, send)

    def _place(self, path: bytes) -> Place | None:
        place = parse_place(path)
        if len(path) <= LONGEST_PLACE:
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            self._places[path] = place
        return place

    def _route(self, route: Route) -> StarletteRoute:
        """Starlette's form of a route: the token first, then the endpoint, every error as a problem."""
        endpoint: Endpoint = getattr(_MODULES[route.name](self), route.name.replace("-", "_"))

        async def guarded(request: Request) -> Response:
            try:
                principal = self._admit(route.scope, request)
                if route.scope == MANAGE and self.stopping.is_set():
                    raise Draining
                return await endpoint(request, principal)
            except GuesthouseError as error:
                return self._problem(error)
            except ClientDisconnect:
                raise
            except Exception as error:
                log.error("a request failed in the host", exc_info=error, route=route.name)
                return self._problem(HostError("a request failed in the host"))

        return StarletteRoute(route.path, guarded, methods=[route.method], name=route.name)

    def _admit(self, scope: str, request: Request) -> Principal:
        query = request.scope["query_string"]
        return self.gate.admit(
            scope,
            [(name.decode("latin-1"), value) for name, value in request.headers.raw],
            parse_query(query, self.services.config.http.query_parameters) if query else (),
            request.headers.get("host", "").encode("latin-1"),
            request.path_params.get("namespace"),
            request.path_params.get("name"),
        )

    def _still_admits(self, request: Request) -> bool:
        """Whether the token with which a request was admitted has neither expired nor been revoked since."""
        try:
            self._admit(ANY_TOKEN, request)
        except GuesthouseError:
            return False
        return True

    def _problem(self, error: GuesthouseError) -> Response:
        self.services.metrics.problem(error.problem_type)
        status, headers, body = problem(error)
        return Response(body, status, dict(headers))

    async def _on_http_exception(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status != 405:
            return self._problem(RouteNotFound("there is no such route"))
        found = [route for route in self._routes.routes if route.matches(request.scope)[0] != Match.NONE]
        allowed = ", ".join(sorted({method for route in found for method in getattr(route, "methods", ())}))
        response = self._problem(MethodNotAllowed(f"allowed here: {allowed}"))
        response.headers["allow"] = allowed
        return response


_MODULES: Final[dict[str, Callable[[App], object]]] = {
    **dict.fromkeys(
        ("deploy", "show", "delete", "versions", "version", "current", "list", "list-namespace"), manage.Manage
    ),
    "logs": logs.Logs,
    **dict.fromkeys(("cache-get", "cache-put", "cache-delete"), cache.Cache),
    **dict.fromkeys(("topic-publish", "topic-watch"), topics.Topics),
    **dict.fromkeys(("healthz", "readyz", "metrics", "openapi"), health.Health),
}
