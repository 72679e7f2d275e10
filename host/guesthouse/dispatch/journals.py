"""`StoredSink`: the end of a journal in the queue's database, for whoever has the lease of its call.

Promises: what is appended lies behind what was appended before, or nothing is changed; an effect on the host's own database is
committed with the segment that says so, or not at all.  Must not know what is in a segment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from guesthouse.errors import GuesthouseError
from guesthouse.queue.call import Lease
from guesthouse.queue.journals import Append, append_now
from guesthouse.queue.queue import Queue
from guesthouse.storage.database import Connection
from guesthouse.storage.joined import JOINED
from guesthouse.telemetry import DurableCounts


class StoredSink:
    """That of one run (`durable.sink.Sink`); `version` is the one that the run is of."""

    def __init__(self, queue: Queue, lease: Lease, version: int, counts: DurableCounts) -> None:
        self._queue = queue
        self._counts = counts
        self.lease = lease
        self.version = version
        self.segments = lease.segments
        """How many there are by now."""
        self.grown: Callable[[], None] = nothing
        """Called after each segment."""
        self.failure: GuesthouseError | None = None
        """Why nothing can be appended any more."""

    async def append(self, segment: bytes) -> None:
        """Adds records; on return they survive a crash.  Raises `Fenced` where somebody else runs the invocation now."""
        try:
            await self._queue.append(self.lease, self.segments, segment, version=self.version)
        except GuesthouseError as error:
            self.failure = error
            raise
        self.added(segment)

    def added(self, segment: bytes) -> None:
        """A segment is durable."""
        self.segments += 1
        self._counts.journal_bytes += len(segment)
        self.grown()

    @contextmanager
    def together(
        self, segment_of: Callable[[Any], bytes], done: Sequence[Any], committed: Callable[[Any], None]
    ) -> Iterator[None]:
        """See `Sink.together`."""
        joined = _Together(self, segment_of, done, committed)
        token = JOINED.set(joined)
        try:
            yield
        finally:
            JOINED.reset(token)
            if joined.failure is not None:
                self.failure = joined.failure
                raise joined.failure


class _Together:
    """What is committed with units of work (`storage.joined.Joined`)."""

    def __init__(
        self,
        sink: StoredSink,
        segment_of: Callable[[Any], bytes],
        done: Sequence[Any],
        committed: Callable[[Any], None],
    ) -> None:
        self._sink = sink
        self._segment_of = segment_of
        self._done = list(reversed(done))
        self._committed = committed
        self._stored: list[bytes] = []
        self.failure: GuesthouseError | None = None

    def stored(self) -> tuple[Any] | None:
        """The result of the next unit, where it was committed before."""
        return (self._done.pop(),) if self._done else None

    def store(self, connection: Connection, result: Any) -> None:
        """Stores the segment for a unit; on the writer's thread."""
        sink = self._sink
        segment = self._segment_of(result)
        try:
            append_now(connection, Append(sink.lease, None, segment, sink.version))
        except GuesthouseError as error:
            self.failure = error
            raise
        self.failure = None  # it was tried before, together with others
        self._stored.append(segment)

    def committed(self, result: Any) -> None:
        """A unit is durable; on the loop."""
        self._sink.added(self._stored.pop(0))
        self._committed(result)


def nothing() -> None:
    """Is told of segments."""
