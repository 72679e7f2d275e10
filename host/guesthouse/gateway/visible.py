"""Which invocations a token may see: those of functions that it may read, or whatever else a route asks for.

Promises: what it may not see does not exist for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guesthouse.errors import Forbidden
from guesthouse.gateway.routes import READ
from guesthouse.queue.queue import UnknownInvocation

if TYPE_CHECKING:
    from guesthouse.gateway.services import Invocations, Principal
    from guesthouse.queue.call import Record

MOST_ID = 128
"""Characters of an id: far more than any that was made here has."""


async def find_visible(invocations: Invocations, id: str, principal: Principal, *scopes: str) -> Record:
    """What is known of an invocation, if the token has one of `scopes` for its function.

    Raises `UnknownInvocation`, and `Forbidden` where the token may read of it, but no more.
    """
    if len(id) > MOST_ID or not id.isascii():
        raise UnknownInvocation("there is no such invocation")
    record = await invocations.find(id)
    if not any(principal.allows(scope, record.namespace, record.name) for scope in scopes):
        if not readable(record, principal):
            raise UnknownInvocation("there is no such invocation")
        raise Forbidden(f"the token does not have the scope {scopes[0]!r} here")
    return record


def readable(record: Record, principal: Principal) -> bool:
    """Whether the token may read of this function's invocations."""
    return principal.allows(READ, record.namespace, record.name)
