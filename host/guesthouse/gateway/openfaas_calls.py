"""`/function/`: a call in OpenFaaS's form, with its id and its times on the way in and out.

The function and the caller learn the call's id, which the caller may choose, and when it began; the caller also how long
it took until the answer.  Knows nothing of how a function runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.dispatch.invocations import CALL_ID, MOST_CALL_ID, START_TIME
from guesthouse.errors import BadRequest, GuesthouseError
from guesthouse.gateway.functions import Functions
from guesthouse.gateway.stamp import STAMPS, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from guesthouse.dispatch.places import Place
    from guesthouse.gateway.auth import Gate
    from guesthouse.gateway.exchange import Exchange
    from guesthouse.gateway.services import Outcome, Pending, Services
    from guesthouse.interfaces.invocation import WebRequest
    from guesthouse.registry.deployment import Deployment


class Calls:
    """Answers calls in that form."""

    def __init__(self, services: Services, gate: Gate) -> None:
        self._dispatcher = services.dispatcher
        self._clock = services.clock
        self.functions = Functions(services, gate, self._run)

    def now(self, exchange: Exchange, place: Place, query: bytes) -> bool:
        """Answers, if that needs no waiting; otherwise `exchange.later` has to be called in a task."""
        fields = exchange.fields
        try:
            call_id = chosen_id(fields)
        except GuesthouseError as error:
            exchange.refuse(error)
            return True
        stamp = exchange.stamp = Stamp(self._dispatcher.new_id(), call_id, self._clock)
        kept = [field for field in fields if field[0] not in STAMPS]
        exchange.fields = [*kept, (CALL_ID, stamp.call_id.encode()), (START_TIME, b"%d" % stamp.start_ns)]
        return self.functions.now(exchange, place, query)

    def _run(
        self, deployment: Deployment, request: WebRequest, body: bytes | AsyncIterator[bytes], exchange: Exchange
    ) -> Outcome | Pending:
        """Begins the invocation under the id that its caller is told."""
        invocation_id = exchange.stamp.invocation_id if exchange.stamp is not None else ""
        return self._dispatcher.web_now(deployment, request, body, exchange, invocation_id=invocation_id)


def chosen_id(fields: Sequence[tuple[str, bytes]]) -> str:
    """The id that a caller gave its call, empty for none; raises `BadRequest` for one that cannot be."""
    given = [value.decode("latin-1") for name, value in fields if name == CALL_ID]
    if not given:
        return ""
    if len(given) > 1:
        raise BadRequest("there is more than one X-Call-Id header")
    if not given[0] or len(given[0]) > MOST_CALL_ID or not (given[0].isascii() and given[0].isprintable()):
        raise BadRequest(f"X-Call-Id has 1 to {MOST_CALL_ID} bytes of printable text")
    return given[0]
