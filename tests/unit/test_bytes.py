"""Buffers: what a guest reads is what was put in, once, in order, and never more than it asked for."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.engine.values import Err, Ok
from guesthouse.errors import BodyTooLarge, Cancelled
from guesthouse.interfaces.bytes import Buffer, BytesInterface, StreamFailed, collect, discard, peek, stream
from unit.interface_fakes import chunks, invocation, now

BYTES = BytesInterface()
RUN = invocation()


def read(buffer: Buffer, size: int) -> bytes | None:
    found: bytes | None = now(BYTES.read(RUN, buffer, size))
    return found


def try_read(buffer: Buffer, size: int) -> object:
    return now(BYTES.try_read(RUN, buffer, size))


def test_a_resident_buffer_taken_whole_is_not_copied() -> None:
    """The very object that was put in comes out."""
    data = bytes(100_000)
    assert Buffer(data).take() is data
    assert read(Buffer(data), 1 << 20) is data
    assert peek(("buffer", Buffer(data))) is data


def test_resident_bytes_are_answered_without_waiting() -> None:
    """The hot path answers a plain value, not an awaitable."""
    assert BYTES.read(RUN, Buffer(b"abc"), 2) == b"ab"
    assert BYTES.read(RUN, Buffer(b""), 2) is None


def test_the_end_is_none_and_stays_none() -> None:
    """An empty buffer never answers an empty list."""
    buffer = Buffer(b"abc")
    assert [read(buffer, 2), read(buffer, 2), read(buffer, 2), read(buffer, 2)] == [b"ab", b"c", None, None]


def test_the_published_crate_reads_a_resident_body_in_one_read() -> None:
    """remaining, remaining, read(N), remaining, read(16384) -> none: what the crate's `into_bytes` does."""
    buffer = Buffer(b"x" * 20_000)
    assert BYTES.remaining(RUN, buffer) == 20_000
    assert len(read(buffer, max(BYTES.remaining(RUN, buffer), 16384)) or b"") == 20_000
    assert BYTES.remaining(RUN, buffer) == 0
    assert read(buffer, 16384) is None


def test_reading_zero_bytes_is_none_and_ends_nothing() -> None:
    """A read of nothing has no answer but none, and the bytes are still there."""
    for buffer in (Buffer(b"abc"), Buffer(source=chunks(b"abc"))):
        assert read(buffer, 0) is None
        assert try_read(buffer, 0) == Ok(None)
        assert read(buffer, 9) == b"abc"


def test_remaining_counts_what_is_there_and_not_what_may_come() -> None:
    """A stream has nothing ready until it was waited for."""
    buffer = Buffer(source=chunks(b"abcdef", b"gh"))
    assert BYTES.remaining(RUN, buffer) == 0
    assert read(buffer, 2) == b"ab"
    assert BYTES.remaining(RUN, buffer) == 4


def test_advance_skips_and_stops_at_the_end() -> None:
    """A cursor past the end is at the end."""
    buffer = Buffer(b"abcdef")
    BYTES.advance(RUN, buffer, 2)
    assert read(buffer, 2) == b"cd"
    BYTES.advance(RUN, buffer, 0xFFFFFFFF)
    assert read(buffer, 2) is None


def test_advance_skips_bytes_that_have_not_arrived() -> None:
    """Skipping does not wait: it takes effect when the bytes come."""
    buffer = Buffer(source=chunks(b"abc", b"def", b"ghi"))
    BYTES.advance(RUN, buffer, 4)
    assert [read(buffer, 9), read(buffer, 9), read(buffer, 9)] == [b"ef", b"ghi", None]


def test_empty_chunks_of_a_source_are_never_seen() -> None:
    """A source may yield nothing; a guest never gets an empty list."""
    buffer = Buffer(source=chunks(b"", b"a", b"", b""))
    assert [read(buffer, 9), read(buffer, 9)] == [b"a", None]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (StreamFailed("reset by peer"), ("failed", "reset by peer")),
        (StreamFailed("slow", timed_out=True), ("timed-out", None)),
        (TimeoutError(), ("timed-out", None)),
        (ConnectionResetError(104, "Connection reset"), ("failed", "the body broke off: Connection reset")),
        (Cancelled("gone"), ("failed", "gone")),
    ],
)
def test_a_source_that_fails_says_why_after_its_bytes_and_again(failure: Exception, error: object) -> None:
    """`try-read` answers the bytes, then the error every time; `read` takes it for the end."""
    buffer = Buffer(source=chunks(b"abc", failure))
    answers = [try_read(buffer, 2), try_read(buffer, 2), try_read(buffer, 2), try_read(buffer, 2)]
    assert answers == [Ok(b"ab"), Ok(b"c"), Err(error), Err(error)]
    assert read(Buffer(source=chunks(failure)), 9) is None


def test_a_regular_end_is_no_error_for_try_read() -> None:
    """`try-read` at the end answers ok(none)."""
    assert try_read(Buffer(b""), 5) == Ok(None)
    assert try_read(Buffer(source=chunks()), 5) == Ok(None)


def test_a_bug_in_a_source_is_not_a_stream_error() -> None:
    """An exception that no source may raise goes up, where it becomes a trap."""
    with pytest.raises(ZeroDivisionError):
        read(Buffer(source=chunks(ZeroDivisionError())), 5)


def test_a_source_over_its_limit_fails_and_is_closed() -> None:
    """No more than the limit is ever handed on."""
    closed: list[int] = []
    buffer = Buffer(source=chunks(b"abc", b"def"), limit=5, on_close=lambda: closed.append(1))
    assert read(buffer, 9) == b"abc"
    assert try_read(buffer, 9) == Err(("failed", "the body is larger than allowed"))
    assert isinstance(buffer.failure, BodyTooLarge)
    assert closed == [1]


def test_closing_calls_on_close_once_however_often() -> None:
    """End, drop and drop again are one release."""
    closed: list[int] = []
    buffer = Buffer(source=chunks(b"abc"), on_close=lambda: closed.append(1))
    read(buffer, 9)
    read(buffer, 9)
    buffer.close()
    discard(("buffer", buffer))
    assert closed == [1]


def test_a_read_that_was_cancelled_does_not_look_like_the_end() -> None:
    """After a cancelled wait the buffer has failed."""

    async def scenario() -> None:
        never = asyncio.Event()

        async def source() -> AsyncIterator[bytes]:
            await never.wait()
            yield b"late"

        buffer = Buffer(source=source())
        task = asyncio.ensure_future(buffer.fill())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert buffer.failure is not None
        assert peek(("buffer", buffer)) is None

    asyncio.run(scenario())


def test_peek_sees_all_or_nothing_and_moves_nothing() -> None:
    """Only data that is complete has a peek; looking twice sees the same."""
    assert peek(b"plain") == b"plain"
    assert peek(("value", b"v")) == b"v"
    buffer = Buffer(b"abcd")
    read(buffer, 1)
    assert peek(("buffer", buffer)) == b"bcd" == peek(("buffer", buffer))
    assert peek(("buffer", Buffer(source=chunks(b"x")))) is None


def test_collect_takes_the_rest_and_holds_the_limit() -> None:
    """What is left after the cursor is collected; one byte over the limit is refused."""
    assert now(collect(b"abc", 3)) == b"abc"
    assert now(collect(("buffer", Buffer(source=chunks(b"ab", b"c"))), 3)) == b"abc"
    for data in (b"abcd", ("value", b"abcd"), ("buffer", Buffer(source=chunks(b"ab", b"cd")))):
        with pytest.raises(BodyTooLarge):
            now(collect(data, 3))
    with pytest.raises(StreamFailed):
        now(collect(("buffer", Buffer(source=chunks(b"ab", StreamFailed("x")))), 3))


def test_stream_yields_as_it_arrives_and_raises_in_the_end() -> None:
    """Bytes before a failure are not lost."""
    got: list[bytes] = []

    async def consume() -> None:
        async for chunk in stream(("buffer", Buffer(b"", chunks(b"ab", b"c", StreamFailed("x"))))):
            got.append(chunk)

    with pytest.raises(StreamFailed):
        now(consume())
    assert got == [b"ab", b"c"]


def test_a_dropped_buffer_lets_go_of_its_source() -> None:
    """Nothing keeps a source alive after `close`."""
    source = chunks(b"x")
    buffer = Buffer(source=source)
    buffer.close()
    assert source not in gc.get_referents(buffer)


@given(st.lists(st.binary(max_size=9)), st.lists(st.integers(0, 12), min_size=1), st.booleans())
def test_any_reads_add_up_to_the_data(parts: list[bytes], sizes: list[int], resident: bool) -> None:
    """For every chunking and every sequence of sizes the bytes come once, in order, no piece larger than asked for."""
    data = b"".join(parts)
    buffer = Buffer(data) if resident else Buffer(source=chunks(*parts))
    got = b""
    for index in range(len(data) * 2 + len(sizes) + 2):
        size = sizes[index % len(sizes)] if index < len(sizes) else 3
        piece = read(buffer, size)
        assert piece is None or 0 < len(piece) <= size
        got += piece or b""
    assert got == data
    assert read(buffer, 5) is None
