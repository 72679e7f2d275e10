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

from guesthouse.dispatch.places import ASYNC_FUNCTION, FUNCTION, FUNCTIONS, Place, parse_place
from guesthouse.errors import Draining, GuesthouseError, HostError
from guesthouse.gateway import (
    awakeables,
    cache,
    exports,
    health,
    invocations,
    logs,
    manage,
    openfaas,
    openfaas_system,
    topics,
)
from guesthouse.gateway.auth import Gate
from guesthouse.gateway.functions import Functions, failed, parse_query
from guesthouse.gateway.openfaas_calls import Calls
from guesthouse.gateway.problems import MethodNotAllowed, RouteNotFound, problem
from guesthouse.gateway.queueing import Queueing
from guesthouse.gateway.routes import ANY_TOKEN, MANAGE, ROUTES, Route
from guesthouse.gateway.services import Principal, Services
from guesthouse.gateway.streams import Streams
from guesthouse.gateway.watch import Watch
from guesthouse.telemetry import logger
from guesthouse.telemetry.openfaas import OpenFaasMetrics

if TYPE_CHECKING:
    from guesthouse.gateway.exchange import Exchange

MOST_PLACES: Final = 4_096
LONGEST_PLACE: Final = 256
Endpoint = Callable[[Request, Principal], Awaitable[Response]]
Answers = Callable[[Request], Awaitable[Response]]
Answerer = Callable[["Exchange", Place, bytes], bool]
"""Answers a request to a function, if that needs no waiting, or sets its `later`; true if it did."""
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
        self.figures = OpenFaasMetrics(
            services.metrics,
            lambda: [found.path for found in services.registry.list()],
            services.dispatcher.running,
        )
        self._functions = Functions(services, self.gate)
        self._queueing = Queueing(services, self._functions, self.gate)
        calls = Calls(services, self.gate)
        self._functions.queued = calls.functions.queued = self._queueing.direct
        self._forms: dict[bytes, Answerer] = {
            FUNCTIONS: self._functions.now,
            FUNCTION: calls.now,
            ASYNC_FUNCTION: self._queueing.now,
        }
        self._places: dict[bytes, tuple[Answerer, Place] | None] = {}
        self._routes = Starlette(
            routes=[self._route(route) for route in ROUTES if route.name in _MODULES],
            exception_handlers={HTTPException: self._on_http_exception},
        )
        self._routes.router.redirect_slashes = False  # a path with one more slash is another path

    def now(self, exchange: Exchange) -> bool:
        """Answers a request to a function, if that needs no waiting; true if it did."""
        path, _, query = exchange.target.partition(b"?")
        try:
            found = self._places[path]
        except KeyError:
            try:
                found = self._place(path)
            except GuesthouseError as error:
                exchange.refuse(error)
                return True
        if found is None:
            return False
        answer, place = found
        if exchange.asks:
            return self._queueing.asked(exchange, place, query, answer)
        return answer(exchange, place, query)

    async def run(self, exchange: Exchange) -> None:
        """Answers a request that `now` did not."""
        if exchange.later is not None:
            await _finish(exchange, exchange.later)
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

    def _place(self, path: bytes) -> tuple[Answerer, Place] | None:
        place = parse_place(path, self.services.config.namespace)
        found = None if place is None else (self._forms[place.form], place)
        if len(path) <= LONGEST_PLACE:
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            self._places[path] = found
        return found

    def _route(self, route: Route) -> StarletteRoute:
        """Starlette's form of a route: the token first, then the endpoint, every error as a problem."""
        endpoint: Endpoint = getattr(_MODULES[route.name](self), route.name.replace("-", "_"))

        async def guarded(request: Request) -> Response:
            try:
                principal = self._admit(ANY_TOKEN if route.elsewhere else route.scope, request)
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

        counted = self._counted(route, guarded) if route.path.startswith("/system/") else guarded
        return StarletteRoute(route.path, counted, methods=[route.method], name=route.name)

    def _counted(self, route: Route, endpoint: Answers) -> Answers:
        """An endpoint of OpenFaaS's interface, with its requests in OpenFaaS's metrics."""

        async def counted(request: Request) -> Response:
            began = self.services.clock.monotonic_ns()
            response = await endpoint(request)
            duration = self.services.clock.monotonic_ns() - began
            self.figures.request(route.method, route.path, response.status_code, duration)
            return response

        return counted

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
        return self._problem(MethodNotAllowed({method for route in found for method in getattr(route, "methods", ())}))


async def _finish(exchange: Exchange, later: Callable[[Exchange], Awaitable[None]]) -> None:
    """Goes on with what a hot route could not finish at once."""
    try:
        await later(exchange)
    except asyncio.CancelledError:
        if not exchange.gone:  # the server's last resort when it stops
            exchange.refuse(Draining())
    except GuesthouseError as error:
        exchange.refuse(error)
    except Exception as error:
        failed(exchange, error)


_OF_OPENFAAS = ("functions", "deploy", "update", "remove", "function", "scale", "info")
_ABOUT_INVOCATIONS = ("-output", "-attach", "-request", "-drop", "-cancel", "-kill")
_MODULES: Final[dict[str, Callable[[App], object]]] = {
    **dict.fromkeys(
        ("deploy", "show", "delete", "versions", "version", "current", "list", "list-namespace"), manage.Manage
    ),
    "logs": logs.Logs,
    **dict.fromkeys(("cache-get", "cache-put", "cache-delete"), cache.Cache),
    **dict.fromkeys(
        ("invocations", *(f"invocation{word}" for word in ("", *_ABOUT_INVOCATIONS)), "queues"), invocations.Invocations
    ),
    **dict.fromkeys((f"system-{word}" for word in _OF_OPENFAAS), openfaas.OpenFaas),
    **{
        route.name: openfaas_system.System
        for route in ROUTES
        if route.name.startswith("system-") and route.name.removeprefix("system-") not in _OF_OPENFAAS
    },
    **dict.fromkeys(("invocation-journal", "invocation-export", "invocation-redrive"), exports.Exports),
    **dict.fromkeys(("awakeable-resolve", "awakeable-reject"), awakeables.Awakeables),
    **dict.fromkeys(("topic-publish", "topic-watch"), topics.Topics),
    **dict.fromkeys(("healthz", "readyz", "metrics", "openapi"), health.Health),
}
