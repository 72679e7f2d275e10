"""The body of a response as the bytes interface has it: a buffer, resident or still arriving.

Promises: a body that breaks off says why to `try-read`, in the words of this package.  Must not know of connections.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from guesthouse.interfaces.bytes import Buffer, StreamFailed
from guesthouse.net.body import ResponseBody
from guesthouse.net.client import OutboundResponse
from guesthouse.net.failures import OutboundError, Timeout


class Arriving(AsyncIterator[bytes]):
    """The pieces of a response's body, as the source of a buffer."""

    __slots__ = ("_body",)

    def __init__(self, body: ResponseBody) -> None:
        self._body = body

    async def __anext__(self) -> bytes:
        """The next piece; raises `StreamFailed`."""
        try:
            return await self._body.__anext__()
        except OutboundError as failure:
            raise StreamFailed(str(failure), timed_out=isinstance(failure, Timeout)) from None


def buffer_of(answer: OutboundResponse) -> Buffer:
    """The body of an answer; its connection is given up when the buffer is closed."""
    if answer.rest is None:
        return Buffer(answer.body)
    return Buffer(source=Arriving(answer.rest), on_close=answer.rest.close)
