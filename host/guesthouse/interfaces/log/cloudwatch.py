"""`CloudWatchLogs`: log groups of CloudWatch as destinations, written to under the roles that guests name.

Promises: a line never waits for AWS; lines of one destination arrive in their order; what AWS does not take after a
bounded number of tries, or what there is no room for, is dropped and counted, and a line there says how much it was.
Must not know how credentials are come by.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from guesthouse.clock import SYSTEM_CLOCK, Clock
from guesthouse.errors import Unavailable
from guesthouse.interfaces.log.destinations import LogDestination, cut
from guesthouse.net.aws import AwsAnswer, AwsFailure, AwsRequest, Credentials
from guesthouse.net.aws_failures import MALFORMED, NOT_FOUND, UNAUTHORIZED
from guesthouse.telemetry import logger

if TYPE_CHECKING:
    from guesthouse.interfaces.invocation import Invocation

MOST_STREAMS: Final = 256
"""Destinations that are open at once: each has a queue and a task."""
MOST_WAITING: Final = 10_000
"""Lines that wait for AWS in one stream."""
MOST_WAITING_BYTES: Final = 2 << 20
"""Bytes of lines that wait for AWS in one stream: two batches."""
MOST_EVENTS: Final = 10_000
"""Lines in one PutLogEvents: the service's bound."""
MOST_BATCH_BYTES: Final = 1_000_000
"""Bytes in one PutLogEvents, a little under the service's bound of 1,048,576."""
EVENT_BYTES: Final = 26
"""What the service adds to the size of each line."""
MOST_LINE_BYTES: Final = 256_000
"""A longer line is cut: the service took 256 KiB for many years."""
LINGER_SECONDS: Final = 0.2
"""How long the first line of a batch waits for company."""
IDLE_SECONDS: Final = 300.0
"""A stream without lines is kept that long: opening it again costs four calls."""
TRIES: Final = 4
"""How often a batch is sent in all."""
PAUSE_SECONDS: Final = 1.0
"""The pause after the first try; each further one is twice as long."""
CALL_MS: Final = 10_000
"""Longest wait for one call of AWS."""
CLOSE_SECONDS: Final = 5.0
"""How long the end of the host waits for what has not been sent."""

Sleep: TypeAlias = "Callable[[float], Awaitable[object]]"

log = logger(__name__)


class Aws(Protocol):
    """What this needs of `net.aws.AwsClients`."""

    async def assume_role(self, role_arn: str, region: str) -> Credentials:
        """The credentials of a role; raises `AwsFailure`."""

    async def call(self, request: AwsRequest) -> AwsAnswer:
        """Calls an operation; raises `AwsFailure`."""


class Place(NamedTuple):
    """Where lines go, and under which role."""

    role_arn: str
    region: str
    group: str
    stream: str
    owner: tuple[str, str]
    """Namespace and name of the function."""


class CloudWatchLogs:
    """The open streams of one host; a function's lines to one group are one stream for each host process."""

    def __init__(
        self,
        aws: Aws,
        region: str,
        clock: Clock = SYSTEM_CLOCK,
        dropped: Callable[[int], object] = lambda count: None,
        *,
        sleep: Sleep = asyncio.sleep,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._aws = aws
        self._region = region
        self._process = clock.random_bytes(4).hex()
        self._settings = dropped, sleep, idle_seconds
        self._streams: dict[Place, Stream] = {}

    async def open(self, invocation: Invocation, role_arn: str, group: str, region: str | None) -> LogDestination:
        """The stream of the invocation's function in `group`, made where it is missing.

        Raises `Unavailable` (mostly `AwsFailure`) where the role or AWS does not allow it.
        """
        deployment = invocation.deployment
        owner = deployment.namespace, deployment.name
        place = Place(role_arn, region or self._region, group, f"{deployment.path}/{self._process}", owner)
        stream = self._streams.get(place)
        if stream is None or stream.failed:
            if len(self._streams) >= MOST_STREAMS and not self._make_room():
                raise Unavailable(f"{MOST_STREAMS} log streams of CloudWatch are open on this host")
            stream = self._streams[place] = Stream(self._aws, place, self._forget, *self._settings)
        stream.users += 1
        invocation.closers.append(stream.release)
        await stream.ready()
        return stream

    async def close(self) -> None:
        """Sends what waits, for a bounded time; may be called again."""
        streams = list(self._streams.values())
        if streams:
            await asyncio.wait([stream.end() for stream in streams], timeout=CLOSE_SECONDS)
        for stream in streams:
            stream.cancel()

    def _make_room(self) -> bool:
        """Ends a stream that nobody uses and in which nothing waits."""
        for stream in self._streams.values():
            if stream.users == 0 and not stream.waiting:
                self._streams.pop(stream.place)
                stream.end()
                return True
        return False

    def _forget(self, stream: Stream) -> None:
        if self._streams.get(stream.place) is stream:
            del self._streams[stream.place]


class Stream:
    """One log stream: lines wait here until its task has sent them."""

    def __init__(
        self,
        aws: Aws,
        place: Place,
        ended: Callable[[Stream], None],
        dropped: Callable[[int], object],
        sleep: Sleep,
        idle_seconds: float,
    ) -> None:
        self.place = place
        self.users = 0
        """Invocations that may still send."""
        self._aws = aws
        self._ended = ended
        self._count_dropped = dropped
        self._sleep = sleep
        self._idle_seconds = idle_seconds
        self._untold = 0
        self._sending = 0
        self._waiting: deque[tuple[int, str, int]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._ending = False
        self._opened = asyncio.get_running_loop().create_task(self._open())
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"log group {place.group}")

    @property
    def waiting(self) -> int:
        """Lines that have not been sent."""
        return len(self._waiting)

    @property
    def failed(self) -> bool:
        """It could not be opened: nothing will ever be sent."""
        return self._opened.done() and (self._opened.cancelled() or self._opened.exception() is not None)

    async def ready(self) -> None:
        """Returns when the stream exists; raises `AwsFailure`."""
        await asyncio.shield(self._opened)

    def send(self, time_ns: int, line: str) -> None:
        """Takes a line in, or drops and counts it."""
        line = cut(line, MOST_LINE_BYTES) or " "  # the service takes no empty lines
        size = EVENT_BYTES + (len(line) if line.isascii() else len(line.encode()))
        if len(self._waiting) >= MOST_WAITING or self._bytes + size > MOST_WAITING_BYTES or self._task.done():
            self._drop(1)
            return
        self._waiting.append((time_ns // 1_000_000, line, size))
        self._bytes += size
        self._arrived.set()

    def release(self) -> None:
        """An invocation that used it has ended."""
        self.users -= 1

    def end(self) -> asyncio.Task[None]:
        """Sends what waits at once and takes no more after that; the task that does it."""
        self._ending = True
        self._arrived.set()
        return self._task

    def cancel(self) -> None:
        """Gives up; what waits is dropped."""
        self._opened.cancel()
        self._task.cancel()

    def _drop(self, count: int) -> None:
        if count:
            self._untold += count
            self._count_dropped(count)

    # -- the task

    async def _run(self) -> None:
        try:
            await asyncio.wait((self._opened,))
            if self.failed:
                return
            while await self._something():
                await self._put()
        finally:
            self._drop(len(self._waiting) + self._sending)
            self._waiting.clear()
            self._ended(self)

    async def _something(self) -> bool:
        """Waits until there is a batch to send; `False` when there will be none."""
        while not self._waiting:
            if self._ending:
                return False
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._idle_seconds):
                    await self._arrived.wait()
            except TimeoutError:
                if self.users == 0 and not self._waiting:
                    return False
        if not self._ending:
            await self._sleep(LINGER_SECONDS)
        return True

    def _batch(self) -> list[dict[str, Any]]:
        """The oldest lines that one call takes; their times never go back, as the service demands."""
        events: list[dict[str, Any]] = []
        room, last = MOST_BATCH_BYTES, 0
        while self._waiting and len(events) < MOST_EVENTS - 1 and self._waiting[0][2] <= room:
            time_ms, line, size = self._waiting.popleft()
            self._bytes -= size
            room -= size
            last = max(last, time_ms)
            events.append({"timestamp": last, "message": line})
        return events

    async def _put(self) -> None:
        events, told = self._batch(), self._untold
        self._sending = len(events)
        if told:
            text = f"WARN {told} log lines before this one were dropped"
            events.append({"timestamp": events[-1]["timestamp"], "message": text})
        failure = await self._sent(events)
        if failure is None:
            self._untold -= told
        else:
            self._drop(self._sending)
            log.warning("log lines were lost", group=self.place.group, count=self._sending, error=str(failure))
        self._sending = 0

    async def _sent(self, events: list[dict[str, Any]]) -> AwsFailure | None:
        """Sends a batch; what stood in the way until the last try."""
        pause = PAUSE_SECONDS
        for tries in range(1, TRIES + 1):
            try:
                answer = await self._ask("put_log_events", {"logStreamName": self.place.stream, "logEvents": events})
            except AwsFailure as failure:
                if failure.kind in (UNAUTHORIZED, MALFORMED) or tries == TRIES:
                    return failure
                if failure.kind == NOT_FOUND:  # somebody deleted it
                    await self._make_again()
                    continue
            else:
                self._drop(_rejected(len(events), answer))
                return None
            await self._sleep(pause)
            pause *= 2
        return AwsFailure(NOT_FOUND, f"the log group {self.place.group} cannot be made")

    # -- the service

    async def _open(self) -> None:
        await self._create("create_log_stream", missing=True)

    async def _make_again(self) -> None:
        try:
            await self._open()
        except AwsFailure as failure:
            log.warning("a log group could not be made", group=self.place.group, error=str(failure))

    async def _create(self, operation: str, *, missing: bool = False) -> None:
        """Makes the stream, or the group; what is there already is fine."""
        try:
            stream = {"logStreamName": self.place.stream} if operation == "create_log_stream" else {}
            await self._ask(operation, stream)
        except AwsFailure as failure:
            if missing and failure.kind == NOT_FOUND:
                await self._create("create_log_group")
                await self._create(operation)
            elif not str(failure).startswith("ResourceAlreadyExistsException"):
                raise

    async def _ask(self, operation: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        place = self.place
        credentials = await self._aws.assume_role(place.role_arn, place.region)
        request = AwsRequest(
            "logs",
            operation,
            credentials,
            place.region,
            {"logGroupName": place.group, **parameters},
            owner=place.owner,
            timeout_ms=CALL_MS,
        )
        return (await self._aws.call(request)).fields


def _rejected(count: int, answer: Mapping[str, Any]) -> int:
    """How many lines of a batch the service left out because of their time."""
    found = answer.get("rejectedLogEventsInfo") or {}
    old = max(found.get("tooOldLogEventEndIndex", 0), found.get("expiredLogEventEndIndex", 0))
    return int(old + count - found.get("tooNewLogEventStartIndex", count))
