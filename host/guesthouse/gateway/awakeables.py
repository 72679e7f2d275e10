"""The routes of awakeables: whoever has the id of one may complete it, and needs no token besides.

Promises: an id that was not made here, and one of something that has ended, are answered alike; bodies are bounded, and
received for ids of this host alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from guesthouse.errors import BadRequest
from guesthouse.gateway.documents import receive
from guesthouse.gateway.services import Principal
from guesthouse.interfaces.durable.values import MOST_MESSAGE_BYTES

if TYPE_CHECKING:
    from guesthouse.gateway.app import App


class Awakeables:
    """The endpoints, named as in the table of routes."""

    def __init__(self, app: App) -> None:
        self._awakeables = app.services.awakeables
        self._most_bytes = app.services.invocations.most_body_bytes

    async def awakeable_resolve(self, request: Request, principal: Principal) -> Response:
        """Completes one with the body, whatever that is: who waits reads it as what was expected, or fails."""
        awakeable = self._known(request)
        await self._awakeables.resolve(awakeable, await receive(request, self._most_bytes, "a payload"))
        return Response(status_code=202)

    async def awakeable_reject(self, request: Request, principal: Principal) -> Response:
        """Completes one as failed, for the reason in the body."""
        awakeable = self._known(request)
        body = await receive(request, MOST_MESSAGE_BYTES, "a reason")
        try:
            reason = body.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"a reason has to be UTF-8; it is not at byte {error.start}") from None
        await self._awakeables.reject(awakeable, reason)
        return Response(status_code=202)

    def _known(self, request: Request) -> str:
        """The id, if it was made here: nobody else may have the host hold a body."""
        awakeable: str = request.path_params["awakeable"]
        self._awakeables.check(awakeable)
        return awakeable
