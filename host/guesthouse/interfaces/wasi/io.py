"""`wasi:io`: pollables, streams and errors, all that there is to them in a host without sockets.

Promises: what an input stream has is there from the beginning, an output stream always takes `PERMIT` bytes, waiting
suspends only the guest.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import Trap
from guesthouse.interfaces.base import host_call
from guesthouse.interfaces.wasi.state import Part

if TYPE_CHECKING:
    from guesthouse.interfaces.bytes import Buffer
    from guesthouse.interfaces.invocation import Invocation
    from guesthouse.interfaces.wasi.program import Output
    from guesthouse.interfaces.wasi.stdio import LineWriter
    from guesthouse.interfaces.wasi.time import GuestTime

POLL = "wasi:io/poll@0.2.12"
ERROR = "wasi:io/error@0.2.12"
STREAMS = "wasi:io/streams@0.2.12"
PERMIT = 64 * 1024
"""What one write may bring, and what `check-write` says."""
MOST_POLLABLES = 1024
CLOSED: Err[tuple[str, None]] = Err(("closed", None))


class Pollable:
    """Something to wait for: a time of the host's clock, or, without one, what is always ready."""

    __slots__ = ("time", "when")

    def __init__(self, time: GuestTime | None = None, when: int = 0) -> None:
        self.time = time
        self.when = when

    @property
    def ready(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self.time is None or self.when <= self.time.now()


class IoError:
    """`wasi:io/error`: never made here, but guests name it."""


class InputStream:
    """Standard input, or a file from somewhere on."""

    __slots__ = ("buffer",)

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer


class OutputStream:
    """Standard output or error: line by line into the log, or a command's answer."""

    __slots__ = ("writer",)

    def __init__(self, writer: LineWriter | Output) -> None:
        self.writer = writer


class Io(Part):
    """`wasi:io/poll`, `wasi:io/error` and `wasi:io/streams`."""

    @host_call(POLL, "[method]pollable.ready")
    def pollable_ready(self, invocation: Invocation, pollable: Pollable) -> bool:
        return pollable.ready

    @host_call(POLL, "[method]pollable.block")
    def pollable_block(self, invocation: Invocation, pollable: Pollable) -> Awaitable[None] | None:
        """Plain where there is nothing to wait for, else an awaitable."""
        return None if pollable.time is None or pollable.ready else pollable.time.wait(pollable.when)

    @host_call(POLL, "poll")
    def poll(self, invocation: Invocation, pollables: list[Pollable]) -> list[int] | Awaitable[list[int]]:
        """The indexes of what is ready: at once where anything is, else an awaitable that waits for the first."""
        if not 0 < len(pollables) <= MOST_POLLABLES:
            raise Trap(f"poll takes 1 to {MOST_POLLABLES} pollables, not {len(pollables)}", reason="wasi")
        return _ready(pollables) or self._poll_later(pollables)

    async def _poll_later(self, pollables: list[Pollable]) -> list[int]:
        first = min(pollables, key=lambda pollable: pollable.when)
        if first.time is not None:
            await first.time.wait(first.when)
        return _ready(pollables)

    @host_call(ERROR, "[method]error.to-debug-string")
    def error_to_debug_string(self, invocation: Invocation, error: IoError) -> str:
        return "error"

    @host_call(STREAMS, "[method]input-stream.read")
    @host_call(STREAMS, "[method]input-stream.blocking-read")
    def input_read(self, invocation: Invocation, stream: InputStream, length: int) -> Ok[bytes] | Err[tuple[str, None]]:
        """At most `PERMIT` bytes of what is left."""
        buffer = stream.buffer
        return Ok(buffer.read(min(length, PERMIT)) or b"") if buffer.remaining else CLOSED

    @host_call(STREAMS, "[method]input-stream.skip")
    @host_call(STREAMS, "[method]input-stream.blocking-skip")
    def input_skip(self, invocation: Invocation, stream: InputStream, length: int) -> Ok[int] | Err[tuple[str, None]]:
        """As far as there is something."""
        skipped = min(length, stream.buffer.remaining)
        if not stream.buffer.remaining:
            return CLOSED
        stream.buffer.advance(skipped)
        return Ok(skipped)

    @host_call(STREAMS, "[method]input-stream.subscribe")
    @host_call(STREAMS, "[method]output-stream.subscribe")
    def stream_subscribe(self, invocation: Invocation, stream: InputStream | OutputStream) -> Pollable:
        return Pollable()

    @host_call(STREAMS, "[method]output-stream.check-write")
    def output_check_write(self, invocation: Invocation, stream: OutputStream) -> Ok[int]:
        return Ok(PERMIT)

    @host_call(STREAMS, "[method]output-stream.write")
    @host_call(STREAMS, "[method]output-stream.blocking-write-and-flush")
    def output_write(self, invocation: Invocation, stream: OutputStream, contents: bytes) -> Ok[None]:
        if len(contents) > PERMIT:
            raise Trap(f"a write of {len(contents)} bytes where {PERMIT} are permitted", reason="wasi")
        stream.writer.write(contents)
        return Ok()

    @host_call(STREAMS, "[method]output-stream.flush")
    @host_call(STREAMS, "[method]output-stream.blocking-flush")
    def output_flush(self, invocation: Invocation, stream: OutputStream) -> Ok[None]:
        return Ok()

    @host_call(STREAMS, "[method]output-stream.write-zeroes")
    @host_call(STREAMS, "[method]output-stream.blocking-write-zeroes-and-flush")
    def output_write_zeroes(self, invocation: Invocation, stream: OutputStream, length: int) -> Ok[None]:
        if length > PERMIT:
            raise Trap(f"a write of {length} bytes where {PERMIT} are permitted", reason="wasi")
        stream.writer.write(b"\0" * length)
        return Ok()

    @host_call(STREAMS, "[method]output-stream.splice")
    @host_call(STREAMS, "[method]output-stream.blocking-splice")
    def output_splice(
        self, invocation: Invocation, stream: OutputStream, source: InputStream, length: int
    ) -> Ok[int] | Err[tuple[str, None]]:
        """Passes on at most `PERMIT` bytes, without the guest's memory."""
        if not source.buffer.remaining:
            return CLOSED
        contents = source.buffer.read(min(length, PERMIT)) or b""
        stream.writer.write(contents)
        return Ok(len(contents))


def _ready(pollables: list[Pollable]) -> list[int]:
    """The indexes of what is ready, all at the same moment."""
    time = next((pollable.time for pollable in pollables if pollable.time is not None), None)
    now = 0 if time is None else time.now()
    return [index for index, pollable in enumerate(pollables) if pollable.time is None or pollable.when <= now]
