"""What operators and tools ask: is it alive, is it ready, what are its figures, what can it be asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from guesthouse.errors import Draining
from guesthouse.gateway.openapi import describe
from guesthouse.gateway.services import Principal

if TYPE_CHECKING:
    from guesthouse.gateway.app import App

METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"


class Health:
    """Endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._services = app.services
        self._stopping = app.stopping
        self._exposing = asyncio.Lock()

    async def healthz(self, request: Request, principal: Principal) -> Response:
        """The loop turns; that is all it says."""
        return PlainTextResponse("ok\n")

    async def readyz(self, request: Request, principal: Principal) -> Response:
        """Whether new requests should come here."""
        if self._stopping.is_set():
            raise Draining
        return PlainTextResponse("ready\n")

    async def metrics(self, request: Request, principal: Principal) -> Response:
        """Prometheus' text, made beside the loop, one at a time."""
        async with self._exposing:
            text = await asyncio.to_thread(self._services.metrics.expose)
        return Response(text, headers={"content-type": METRICS_TYPE})

    async def openapi(self, request: Request, principal: Principal) -> Response:
        """The description of this interface."""
        return Response(orjson.dumps(describe(self._services.version)), media_type="application/json")
