"""`BytesInterface`: the guest's hands on a `Buffer`.  Must not know what any buffer is for."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import GuesthouseError
from guesthouse.interfaces.base import Interface, host_call
from guesthouse.interfaces.bytes.buffer import Buffer, StreamFailed

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

BYTES = "momento:bytes/bytes@1.0.0"
U32_MAX = 0xFFFFFFFF

ReadResult = Ok[bytes | None] | Err[tuple[str, str | None]]


class BytesInterface(Interface):
    """`momento:bytes`: reading from buffers that the host owns."""

    name = "bytes"
    ambient = True
    local = True
    resources = {(BYTES, "buffer"): Buffer}  # noqa: RUF012  # a ClassVar in the base class

    @host_call(BYTES, "[method]buffer.remaining")
    def remaining(self, invocation: Invocation, buffer: Buffer) -> int:
        """Bytes that can be read without waiting."""
        return min(buffer.remaining, U32_MAX)

    @host_call(BYTES, "[method]buffer.read")
    def read(self, invocation: Invocation, buffer: Buffer, max_size: int) -> Any:
        """The next bytes, never more than `max_size`, never none of them; `None` at the end, to which a failure counts.

        A plain answer where bytes are there (the hot path), else an awaitable of it.  Reading zero bytes answers `None`
        without ending anything, for there is nothing else that it could answer.
        """
        found = buffer.read(max_size)
        if found is not None or buffer.complete or max_size == 0:
            return found
        return self._read_later(buffer, max_size)

    @host_call(BYTES, "[method]buffer.try-read")
    def try_read(self, invocation: Invocation, buffer: Buffer, max_size: int) -> ReadResult | Awaitable[ReadResult]:
        """Like `read`, but a source that failed says why, after the bytes that came before, and again at every call."""
        found = buffer.read(max_size)
        if found is not None:
            return Ok(found)
        if buffer.complete or max_size == 0:
            return _ended(buffer)
        return self._try_read_later(buffer, max_size)

    @host_call(BYTES, "[method]buffer.advance")
    def advance(self, invocation: Invocation, buffer: Buffer, size: int) -> None:
        """Moves the cursor; past the end it stays at the end."""
        buffer.advance(size)

    async def _read_later(self, buffer: Buffer, max_size: int) -> bytes | None:
        await buffer.fill()
        return buffer.read(max_size)

    async def _try_read_later(self, buffer: Buffer, max_size: int) -> ReadResult:
        return Ok(buffer.read(max_size)) if await buffer.fill() else _ended(buffer)


def _ended(buffer: Buffer) -> ReadResult:
    failure = buffer.failure
    if failure is None or buffer.remaining:
        return Ok(None)
    return Err(stream_error(failure))


def stream_error(failure: GuesthouseError) -> tuple[str, str | None]:
    """A source's failure as WIT `stream-error`."""
    if isinstance(failure, StreamFailed) and failure.timed_out:
        return ("timed-out", None)
    return ("failed", failure.public)
