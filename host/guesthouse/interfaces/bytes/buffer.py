"""`Buffer`: bytes that the host keeps for a guest, there already or still arriving, and the ways to use `data` values.

Promises: a cursor that only moves forward, nothing read past what was asked for, no copy of data that is taken whole,
no more than `limit` bytes ever accepted from a source.  Must not know what the bytes are or where they come from.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, Protocol, TypeAlias

from guesthouse.errors import BodyTooLarge, GuesthouseError, Unavailable

Data: TypeAlias = "tuple[str, Any] | bytes"
"""`("buffer", Buffer)` or `("value", bytes)`; plain `bytes` where the older interfaces say `list<u8>`."""


class StreamFailed(Unavailable):
    """The source of a body failed part-way; `timed_out` when it was too slow rather than broken."""

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Tape(Protocol):
    """Where a journal notes what arrives."""

    stream: int

    def note(self, data: bytes | None, failure: tuple[bool, str] | None = None) -> None: ...


class Buffer:
    """Bytes with a read cursor; `source` yields what has not arrived yet, at most `limit` bytes of it.

    A source says that it failed by raising `StreamFailed`, `TimeoutError`, `OSError` or any `GuesthouseError`.
    `on_close` is called once, when nobody needs the source any more (end, failure, or handle dropped).
    """

    __slots__ = ("_at", "_data", "_left", "_on_close", "_skip", "_source", "failure", "uploaded")

    def __init__(
        self,
        data: bytes = b"",
        source: AsyncIterator[bytes] | None = None,
        *,
        limit: int | None = None,
        on_close: Callable[[], None] | None = None,
        uploaded: bool = False,
    ) -> None:
        self._data = data
        self._at = 0
        self._source = source
        self._left = limit
        self._skip = 0
        self._on_close = on_close
        self.uploaded = uploaded
        """True where the caller is sending it, who may not read an answer before everything is sent."""
        self.failure: GuesthouseError | None = None
        """Why the source broke off; `None` while it is fine and after a regular end."""

    @property
    def remaining(self) -> int:
        """How many bytes can be read without waiting."""
        return len(self._data) - self._at

    @property
    def complete(self) -> bool:
        """True once nothing more will arrive: the end was seen, or the source failed."""
        return self._source is None

    def read(self, max_size: int) -> bytes | None:
        """Up to `max_size` of the bytes that are there; `None` where there are none (ask `fill` for more)."""
        data, at = self._data, self._at
        left = len(data) - at
        if left <= 0 or max_size <= 0:
            return None
        if left > max_size:
            self._at = at + max_size
            return data[at : at + max_size]
        self._data, self._at = b"", 0
        return data[at:] if at else data

    def take(self) -> bytes:
        """All bytes that are there, without a copy where nothing was read before."""
        return self.read(len(self._data)) or b""

    def peek(self) -> bytes | None:
        """All bytes to the end, without moving the cursor; `None` while they are not all there, or never will be."""
        if self._source is not None or self.failure is not None:
            return None
        return self._data[self._at :] if self._at else self._data

    def advance(self, size: int) -> None:
        """Moves the cursor, at most to the end; bytes that have not arrived yet are skipped when they do."""
        left = len(self._data) - self._at
        self._at += min(size, left)
        if size > left and self._source is not None:
            self._skip += size - left

    async def fill(self) -> bool:
        """Waits until a byte can be read; `False` at the end and after a failure, which `failure` then holds."""
        while self._at >= len(self._data):
            if self._source is None:
                return False
            try:
                self._accept(await self._source.__anext__())
            except StopAsyncIteration:
                self.close()
            except (GuesthouseError, OSError) as error:
                self._fail(_failure(error))
            except BaseException:  # cancelled in the middle: what follows must not look like a regular end
                self._fail(StreamFailed("reading the body was cancelled"))
                raise
        return True

    def close(self) -> None:
        """Lets go of the source; bytes that are there stay readable."""
        self._source = None
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    # -- for journals

    @property
    def stream(self) -> int:
        """The number by which a journal knows what arrives; 0: none does."""
        return getattr(self._source, "stream", 0)

    async def settle(self) -> None:
        """Waits until nothing more will arrive; what is there by then can be read, and why it broke off is told after it."""
        pieces: list[bytes] = []
        while await self.fill():
            pieces.append(self.take())
        self._data, self._at = pieces[0] if len(pieces) == 1 else b"".join(pieces), 0

    def packed(self) -> Any:
        """As a journal can hold it: its bytes; with why it broke off; or by which number its pieces are known."""
        if self._source is not None:
            return {"stream": self.stream}
        data = self._data[self._at :] if self._at else self._data
        return data if self.failure is None else [data, *_told(self.failure)]

    @classmethod
    def unpacked(cls, plain: Any) -> Buffer:
        """The buffer that was packed; one of pieces has to be given them (`play`)."""
        if isinstance(plain, bytes):
            return cls(plain)
        if isinstance(plain, dict):
            return cls(source=_Played(plain["stream"]))
        data, timed_out, text = plain
        made = cls(data)
        made.failure = StreamFailed(text, timed_out=timed_out)
        return made

    def tape(self, tape: Tape) -> None:
        """Has everything noted that arrives from now on."""
        if self._source is not None:
            self._source = _Taped(self._source, tape)

    def play(self, pieces: AsyncIterator[Any]) -> None:
        """Has the pieces arrive that were noted."""
        self._source = _Played(self.stream, pieces)

    def _accept(self, chunk: bytes) -> None:
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                raise BodyTooLarge("the body is larger than allowed")
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        self._data, self._at = chunk, 0

    def _fail(self, error: GuesthouseError) -> None:
        self.failure = error
        self.close()


def _told(failure: GuesthouseError) -> tuple[bool, str]:
    """What a guest can learn of a failure: whether it took too long, and the text."""
    return isinstance(failure, StreamFailed) and failure.timed_out, failure.public


def _failure(error: GuesthouseError | OSError) -> GuesthouseError:
    """Why a source broke off."""
    if isinstance(error, GuesthouseError):
        return error
    if isinstance(error, TimeoutError):
        return StreamFailed("the body did not arrive in time", timed_out=True)
    return StreamFailed(f"the body broke off: {error.strerror or type(error).__name__}")


class _Taped(AsyncIterator[bytes]):
    """A source of which everything is noted."""

    def __init__(self, source: AsyncIterator[bytes], tape: Tape) -> None:
        self._source = source
        self._tape = tape
        self.stream = tape.stream

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._source)
        except StopAsyncIteration:
            self._tape.note(None)
            raise
        except (GuesthouseError, OSError) as error:
            failure = _failure(error)
            self._tape.note(None, _told(failure))
            raise failure from None
        self._tape.note(piece)
        return piece


class _Played(AsyncIterator[bytes]):
    """The pieces that a journal has noted, as a source."""

    def __init__(self, stream: int, pieces: AsyncIterator[Any] | None = None) -> None:
        self.stream = stream
        self._pieces = pieces

    async def __anext__(self) -> bytes:
        piece = None if self._pieces is None else await anext(self._pieces)
        if piece is None:
            raise StreamFailed("the body was not recorded")
        if piece.data is not None:
            data: bytes = piece.data
            return data
        if piece.failure is None:
            raise StopAsyncIteration
        timed_out, text = piece.failure
        raise StreamFailed(text, timed_out=timed_out)


def peek(data: Data) -> bytes | None:
    """The bytes of `data` without waiting or copying; `None` where they have to be collected."""
    if not isinstance(data, tuple):
        return data
    case, payload = data
    found: bytes | None = payload if case == "value" else payload.peek()
    return found


def buffer_of(data: Data) -> Buffer:
    """The buffer in `data`, for which `peek` had no answer."""
    assert isinstance(data, tuple)
    assert isinstance(data[1], Buffer)
    return data[1]


def discard(data: Data | None) -> None:
    """Lets go of the source of `data` that was handed over and is not wanted (any more)."""
    if isinstance(data, tuple) and isinstance(data[1], Buffer):
        data[1].close()


async def collect(data: Data, limit: int) -> bytes:
    """All bytes of `data`; raises `BodyTooLarge` over `limit` bytes and what the source failed with."""
    found = peek(data)
    if found is None:
        found = await _gather(buffer_of(data), limit)
    if len(found) > limit:
        raise BodyTooLarge(f"the data is over {limit} bytes")
    return found


async def stream(data: Data) -> AsyncGenerator[bytes, None]:
    """The bytes of `data` as they arrive; raises what the source failed with after the bytes before it."""
    found = peek(data)
    if found is not None:
        if found:
            yield found
        return
    buffer = buffer_of(data)
    try:
        while await buffer.fill():
            yield buffer.take()
        if buffer.failure is not None:
            raise buffer.failure
    finally:
        buffer.close()


async def _gather(buffer: Buffer, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        while await buffer.fill():
            piece = buffer.take()
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise BodyTooLarge(f"the data is over {limit} bytes")
        if buffer.failure is not None:
            raise buffer.failure
    finally:
        buffer.close()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
